"""What `export` writes and refuses to replace, and the sources and licences that weights keep."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from challenge.host.disk import is_full
from model.frozen.metadata import read_metadata, verify
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export import run as module
from training.export.run import export_run
from training.loop.finetune import finetune_config
from training.loop.runs import train_run
from training.run_folder.provenance import Provenance, Source
from training.run_folder.trainable import FILE, load_network, read_start, write_trainable

LICENCE = "Licence of these weights\n\nResearch alone. Données: CC BY-NC-SA 4.0.\n"
SOURCES = """
[breast_lesion]
source = "Set A (2020); benign"
licence = "CC BY 4.0"
[breast_2cls]
source = "Set B"
licence = "CC0"
classes = ["benign", "malignant"]
"""


@pytest.fixture(scope="module")
def run(four_kinds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train_run(tiny_config(optim={"images": 8}), DataSource(four_kinds, folder / "cache"), folder / "run", Ranks())
    return folder / "run"


@pytest.fixture(scope="module")
def other(four_kinds, run):
    """A run of the same recipe and name with another seed."""
    config = tiny_config(optim={"images": 8}, seed=1)
    train_run(config, DataSource(four_kinds, run.parent / "cache"), run.parent / "other", Ranks())
    return run.parent / "other"


@pytest.fixture(scope="module")
def weights(run):
    """Weights with sources and a LICENSE that their author put there."""
    (run.parent / "sources.toml").write_text(SOURCES, "utf-8")
    export_run(run, run.parent / "weights", None, run.parent / "sources.toml")
    (run.parent / "weights" / "LICENSE").write_text(LICENCE, "utf-8")
    return run.parent / "weights"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_network_is_replaced_only_if_asked_to(run, other, weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    before = contents(folder)
    command = ["export", str(other), "--output", str(folder)]
    assert_refused(
        CliRunner().invoke(main, command, catch_exceptions=False),
        "holds another network; choose another folder, or add --overwrite",
    )
    assert contents(folder) == before
    assert CliRunner().invoke(main, [*command, "--overwrite"], catch_exceptions=False).exit_code == 0
    verify(read_metadata(folder), folder)
    start = read_start(folder)[0].state
    assert all(torch.equal(value, start[name]) for name, value in read_start(other)[0].state.items())


def test_the_same_network_is_exported_again(run, weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    (run / "temperatures.json").write_text(json.dumps({"breast_2cls": 2.0}), "utf-8")
    try:
        export_run(run, folder, None, None)
    finally:
        (run / "temperatures.json").unlink()
    assert read_metadata(folder).extra["temperatures"] == {"breast_2cls": 2.0}
    assert (folder / "LICENSE").read_text("utf-8") == LICENCE


def test_weights_go_among_other_files_only_if_asked_to(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter 1", "utf-8")
    with pytest.raises(UserError, match=r"holds other files \(thesis\.tex\)"):
        export_run(run, tmp_path, None, None)
    export_run(run, tmp_path, None, None, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text("utf-8") == "chapter 1"


def test_graphs_that_the_new_network_lacks_are_removed_and_nothing_else(run, weights, tmp_path):
    folder, outside = shutil.copytree(weights, tmp_path / "weights"), tmp_path / "mine.onnx"
    (folder / FILE).unlink()
    outside.write_bytes(b"mine")
    (folder / "heads" / "gone.onnx").write_bytes(b"old")
    table = json.loads((folder / "weights.json").read_text("utf-8"))
    for name, file in (("head.gone", "heads/gone.onnx"), ("head.mine", "../mine.onnx")):
        table["graphs"][name] = {**table["graphs"]["encoder"], "file": file}
    (folder / "weights.json").write_text(json.dumps(table), "utf-8")
    export_run(run, folder, None, None, overwrite=True)
    assert not (folder / "heads" / "gone.onnx").exists()
    assert outside.read_bytes() == b"mine"


def test_an_export_that_fails_leaves_the_weights_that_were_there(other, weights, tmp_path, monkeypatch):
    folder = shutil.copytree(weights, tmp_path / "weights")
    before = contents(folder)

    def differs(*_):
        raise UserError("the exported graph differs")

    monkeypatch.setattr(module, "check_parity", differs)
    with pytest.raises(UserError, match="differs"):
        export_run(other, folder, None, None, overwrite=True)
    assert contents(folder) == before
    assert not list(folder.glob(".*"))


def test_fine_tuned_weights_keep_sources_licences_and_the_licence_file(weights, run, tmp_path):
    write_folder(tmp_path / "data", seed=5, per_task=6, only=("breast_2cls", "lung"))
    start, base = read_start(weights)
    config = finetune_config(base, 8, keep_others=False)
    train_run(config, DataSource(tmp_path / "data", tmp_path / "cache"), tmp_path / "tuned", Ranks(), start=start)
    train_run(config, DataSource(tmp_path / "data", tmp_path / "cache"), tmp_path / "tuned", Ranks(), resume=True)
    facts = export_run(tmp_path / "tuned", tmp_path / "weights", None, None)
    rows, before = read_start(tmp_path / "tuned")[0].facts.rows, start.facts.rows
    assert facts.tasks["breast_lesion"].trained_on == f"Set A (2020); benign; {before['breast_lesion']} images"
    assert facts.tasks["breast_2cls"].trained_on == (
        f"Set B; {before['breast_2cls']} images; then further data; {rows['breast_2cls']} images"
    )
    assert facts.tasks["lung"].trained_on == f"{rows['lung']} images"
    assert facts.extra["licences"] == {
        "breast_lesion": "CC BY 4.0", "breast_2cls": "CC0; not stated for the further data",
    }  # fmt: skip
    assert (tmp_path / "weights" / "LICENSE").read_text("utf-8") == LICENCE
    card = (tmp_path / "weights" / "README.md").read_text("utf-8")
    assert "| breast_lesion | segmentation | Set A (2020); benign;" in card
    assert "see `LICENSE` in this folder" in card
    # And so does the round after it, even from the tensors alone.
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "weights" / FILE, tmp_path / "alone")
    kept = read_start(tmp_path / "alone")[0].facts.provenance
    assert kept.licence == LICENCE
    assert kept.sources["breast_lesion"] == Source("Set A (2020); benign", "CC BY 4.0")
    assert kept.sources["breast_2cls"].classes == facts.tasks["breast_2cls"].class_names == ("benign", "malignant")
    assert "- breast_2cls: 0 benign, 1 malignant" in card


def test_a_second_round_on_the_same_rows_has_the_same_sources(weights, run, four_kinds, tmp_path):
    start, config = read_start(weights)
    train_run(config, DataSource(four_kinds, run.parent / "cache"), tmp_path / "second", Ranks(), start=start)
    facts = export_run(tmp_path / "second", tmp_path / "weights", None, None)
    assert facts.tasks["breast_2cls"].trained_on == read_metadata(weights).tasks["breast_2cls"].trained_on


def test_sources_of_weights_whose_tensors_do_not_record_them(run, weights, tmp_path):
    """Weights of the first edition have their sources only in `weights.json`."""
    folder = shutil.copytree(weights, tmp_path / "weights")
    network, state = load_network(run)
    write_trainable(network, state.config, folder, replace(state.facts, provenance=Provenance()), state.counters)
    kept = read_start(folder)[0].facts.provenance
    assert kept == Provenance({"breast_lesion": Source("Set A (2020); benign", "CC BY 4.0"),
                               "breast_2cls": Source("Set B", "CC0", ("benign", "malignant"))}, LICENCE)  # fmt: skip


def test_names_for_another_number_of_classes_are_refused(run, tmp_path):
    (tmp_path / "sources.toml").write_text(SOURCES.replace('["benign", ', '["normal", "benign", '), "utf-8")
    with pytest.raises(UserError, match="breast_2cls has 2 classes, but 3 names"):
        export_run(run, tmp_path / "weights", None, tmp_path / "sources.toml")
    assert not (tmp_path / "weights").exists()


def test_a_card_without_a_licence_file_does_not_name_one(run, tmp_path):
    export_run(run, tmp_path / "weights", None, None)
    assert "LICENSE" not in (tmp_path / "weights" / "README.md").read_text("utf-8")


def test_a_mean_of_runs_adds_up_steps_and_images_on_its_card(run, weights, four_kinds, tmp_path):
    start, config = read_start(weights)
    for seed in (1, 2):
        place = DataSource(four_kinds, run.parent / "cache")
        train_run(replace(config, seed=seed), place, tmp_path / f"{seed}", Ranks(), start=start)
    arguments = ["average", tmp_path / "1", tmp_path / "2", "--output", tmp_path / "mean"]
    assert CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).exit_code == 0
    export_run(tmp_path / "mean", tmp_path / "weights", None, None)
    assert "Trained on 16 image presentations in 4 steps" in (tmp_path / "weights" / "README.md").read_text("utf-8")
    assert (tmp_path / "weights" / "LICENSE").read_text("utf-8") == LICENCE


def test_a_disk_that_fills_while_tensors_are_written_is_reported_as_full(run, tmp_path):
    network, state = module.load_network(run)
    (tmp_path / FILE).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write_trainable(network, state.config, tmp_path, state.facts)
    assert is_full(caught.value)
