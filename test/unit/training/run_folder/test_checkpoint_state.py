"""A run's facts survive being saved and loaded; weights of schema 1 are still read."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from challenge.tasks import TaskKind, TaskSpec
from training.__main__ import main
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import Resume, RunState
from training.run_folder.digests import Digests
from training.run_folder.provenance import Provenance, Source
from training.run_folder.run_facts import Counters, RunFacts
from training.run_folder.trainable import FILE, Start, read_start

SAMPLES = Path(__file__).with_name("samples")
FACTS = RunFacts(
    images_before=5,
    rows={"lung": 3},
    means={"IUGC": [0.25, 0.5]},
    digests=Digests("a", "b", "c"),
    provenance=Provenance({"lung": Source("Set A", "CC BY 4.0")}, "text"),
    dev={"lung": {"DSC": 0.5}},
)


def test_a_state_survives_its_file(tmp_path):
    resume = Resume({"a": 1}, {}, {}, {"step": 7, "drawn": {"lung": 2}}, 0.5, 0.25, 1, {"lung": [torch.ones(())]})
    tasks = (TaskSpec("lung", TaskKind.SEGMENTATION, 2),)
    state = RunState(tiny_config(), tasks, {"w": torch.ones(1)}, None, Counters(7, 14, 1.5), FACTS, resume)
    checkpoint_file.save(tmp_path / "last.pt", state)
    assert checkpoint_file.load(tmp_path / "last.pt") == state
    checkpoint_file.save(tmp_path / "best.pt", replace(state, resume=None))
    assert checkpoint_file.load(tmp_path / "best.pt") == replace(state, resume=None)


def test_the_average_is_what_is_exported():
    state = RunState(tiny_config(), (), {"w": torch.zeros(1)}, {"w": torch.ones(1)}, Counters(), RunFacts())
    assert Start.of(state).state == {"w": torch.ones(1)}
    assert Start.of(replace(state, ema=None)).state == {"w": torch.zeros(1)}


def test_a_run_keeps_the_facts_of_its_start_and_adds_its_own():
    facts = FACTS.continued(Counters(2, 10), {"lung": 4}, {}, Digests("other", "b"))
    assert (facts.images_before, facts.rows, facts.means) == (15, {"lung": 4}, FACTS.means)
    assert facts.provenance.sources["lung"].source == "Set A; 3 images; then further data"
    assert facts.dev == {}
    again = FACTS.continued(Counters(), {"lung": 3}, {}, Digests("a", "b"))
    assert again.provenance == FACTS.provenance


def test_weights_of_schema_1_are_read(tmp_path):
    shutil.copy(SAMPLES / "schema-1.safetensors", tmp_path / FILE)
    start, config = read_start(tmp_path)
    assert start.tasks == (TaskSpec("breast_2cls", TaskKind.CLASSIFICATION, 2),)
    assert start.counters == Counters(8, 64, 12.5)
    assert start.facts == RunFacts(images_before=32, rows={"breast_2cls": 5}, dev={"breast_2cls": {"AUC": 0.75}})
    assert {name: tuple(value.shape) for name, value in start.state.items()} == {
        "heads.breast_2cls.weight": (2, 4), "heads.breast_2cls.bias": (2,),
    }  # fmt: skip
    assert (config.name, config.data.image_size) == ("first-edition", 64)


@pytest.mark.parametrize("command", ["score", "refine", "calibrate"])
def test_a_run_of_the_first_edition_is_one_sentence(command, tmp_path):
    shutil.copy(SAMPLES / "first-edition.pt", tmp_path / checkpoint_file.LAST)
    assert_refused(
        CliRunner().invoke(main, [command, str(tmp_path), "--data-root", str(tmp_path)], catch_exceptions=False),
        "first edition and cannot be read any more; train again",
    )
