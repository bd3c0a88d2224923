"""The oracle is the official graph on segmentation-models-pytorch: same weights in, same logits out."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from oracles.official_baseline import OfficialBaseline, baseline_for, preprocess
from phantoms import TASKS

from challenge.errors import UserError
from challenge.imaging.decode import read_image
from challenge.manifest import read_manifest
from challenge.paths import find_image
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from training.__main__ import run
from training.conversion.baseline import convert

TASK_OF_KIND = {
    TaskKind.SEGMENTATION: "cardiac_multi",
    TaskKind.CLASSIFICATION: "organ_cls",
    TaskKind.DETECTION: "thyroid_nodule_det",
    TaskKind.REGRESSION: "IUGC",
}


@pytest.fixture(scope="module")
def official(phantom_folder):
    return baseline_for(phantom_folder)


@pytest.fixture(scope="module")
def answers(official, phantom_folder):
    """Every task's raw output on a phantom and on a black image, by the official network and by the converted one."""
    sample = next(s for s in read_manifest(phantom_folder).samples if s.task_id == "IUGC")
    pixels = read_image(find_image(phantom_folder, sample.image_path)).pixels
    images = torch.stack([preprocess(pixels), preprocess(pixels * 0)])
    converted, report = convert(official.state_dict())
    with torch.no_grad():
        deepest, dense = official.features(images)
        maps = converted.stages["encoder"].module(images)
        pyramid = converted.stages["pyramid"].module(*maps)
        return SimpleNamespace(
            report=report,
            converted=converted,
            images=images,
            official={task: official.answer(task, deepest, dense) for task in TASKS},
            own={
                task: converted.stages[f"head.{task}"].module(pyramid if spec.kind.is_dense else maps[-1])
                for task, spec in TASKS.items()
            },
        )


@pytest.fixture(scope="module")
def state():
    """The state dict of a random baseline with one task of each kind; tests copy it before they change it."""
    return OfficialBaseline(CATALOGUE[task] for task in TASK_OF_KIND.values()).state_dict()


def test_the_oracle_has_the_published_size():
    official = OfficialBaseline(CATALOGUE.values())
    assert sum(parameter.numel() for parameter in official.parameters()) == 20_268_076
    assert sum(parameter.numel() for parameter in official.encoder.parameters()) == 17_548_616
    assert len(official.state_dict()) == 823


@pytest.mark.parametrize("task", TASKS)
def test_the_oracle_reacts_to_the_image(answers, task):
    image, black = answers.official[task]
    match TASKS[task].kind:
        case TaskKind.CLASSIFICATION:
            assert (image.softmax(0) - black.softmax(0)).abs().max() > 0.01
        case TaskKind.REGRESSION:
            assert (image - black).abs().max() * 256 > 1
        case TaskKind.DETECTION:
            assert (image[:4] - black[:4]).abs().max() * 256 > 1
        case TaskKind.SEGMENTATION:
            assert (image.argmax(0) != black.argmax(0)).float().mean() > 0.01


@pytest.mark.parametrize("task", TASKS)
def test_logits_equal_the_official_ones(answers, task):
    torch.testing.assert_close(answers.own[task], answers.official[task], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASK_OF_KIND.values())
def test_the_whole_forward_pass_uses_the_same_path(answers, task):
    with torch.no_grad():
        torch.testing.assert_close(answers.converted(answers.images, task), answers.own[task], atol=1e-4, rtol=0)


def test_every_key_is_accounted_for(answers, official):
    report = answers.report
    assert len(official.state_dict()) == 823 + 14 + 2  # a detection and a regression head more
    assert {*report.used, *report.left_out} == set(official.state_dict())
    assert sorted(report.used.values()) == sorted(answers.converted.state_dict())
    assert len(set(report.left_out)) == 6
    assert all(key.startswith(("encoder._conv_head.", "encoder._bn1.")) for key in report.left_out)
    assert not report.unknown
    assert report.table().splitlines()[-1].split() == ["all", "839", "833", "6", "0"]


def test_tasks_are_read_from_the_heads():
    own = [
        TaskSpec("my-liver", TaskKind.SEGMENTATION, 7),
        TaskSpec("views_9", TaskKind.CLASSIFICATION, 9),
        TaskSpec("stone", TaskKind.DETECTION, 1),
        TaskSpec("spine", TaskKind.REGRESSION, 17),
    ]
    specs = [CATALOGUE["lung"], *own, CATALOGUE["FUGC"]]
    converted, _ = convert(OfficialBaseline(specs).state_dict())
    assert list(converted.tasks.values()) == specs


def test_old_and_half_precision_checkpoints(state):
    old = {key: value.half() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    converted, _ = convert(old)
    assert all(parameter.dtype is torch.float32 for parameter in converted.parameters())


def test_keys_outside_the_network_are_reported(state):
    _, report = convert({**state, "loss.weight": torch.ones(3)})
    assert report.unknown == ["loss.weight"]
    assert "unknown   loss.weight" in report.lines()


def without(state, *prefixes):
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def renamed(state, old, new):
    return {key.replace(f"heads.{old}.", f"heads.{new}."): value for key, value in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "heads."), "no keys heads"),
        (lambda s: renamed(s, "organ_cls", "lung"), "'lung' is classification with 6 classes.*segmentation with 2"),
        (lambda s: renamed(s, "IUGC", "FUGC"), "'FUGC' is regression with 3 points.*2 points"),
        (lambda s: renamed(s, "IUGC", "../../up"), "unusable name"),
        (lambda s: {**s, "heads.extra.project.weight": torch.ones(2, 2)}, "'extra'.*is none of the official"),
        (lambda s: {**s, "heads.extra.linear.weight": torch.ones(5, 448)}, "an odd number for x, y pairs"),
        (lambda s: {**s, "heads.extra.conv_block.6.weight": torch.ones(6, 128, 1, 1)}, "not 5"),
        (lambda s: without(s, "heads.thyroid_nodule_det.conv_block.6"), "'thyroid_nodule_det' is incomplete"),
        (lambda s: without(s, "heads.organ_cls.head.3.bias"), "leaves 1 of"),
        (lambda s: without(s, "encoder._blocks.31._bn2.weight"), "leaves 1 of"),
        (lambda s: without(s, "fpn_decoder."), "leaves 29 of"),
        (lambda s: {**s, "encoder._blocks.32._bn2.weight": torch.ones(448)}, "1 tensors that the official.*lacks"),
        (lambda s: {**s, "heads.organ_cls.head.4.bias": torch.ones(6)}, "1 tensors that the official.*lacks"),
        (lambda s: {**s, "fpn_decoder.p5.bias": torch.ones(7)}, r"has the shape \(7,\)"),
        (lambda s: {**s, "fpn_decoder.p5.bias": torch.full((256,), torch.nan)}, "not finite"),
    ],
)
def test_a_checkpoint_that_is_not_official_is_refused_in_one_sentence(state, change, message):
    with pytest.raises(UserError, match=message) as caught:
        convert(change(state))
    assert "\n" not in str(caught.value)


def test_the_command_ends_with_2_and_writes_nothing(tmp_path, monkeypatch, capsys):
    checkpoint, output = tmp_path / "best_model.pth", tmp_path / "weights"
    checkpoint.write_text("version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.setattr(sys, "argv", ["training", "convert-baseline", str(checkpoint), "--output", str(output)])
    assert run() == 2
    assert "Git LFS pointer" in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_the_command_keeps_existing_weights(tmp_path, monkeypatch, capsys):
    (tmp_path / "weights.json").write_text(json.dumps({"schema": 1}))
    monkeypatch.setattr(sys, "argv", ["training", "convert-baseline", "best_model.pth", "--output", str(tmp_path)])
    assert run() == 2
    assert "choose another folder" in capsys.readouterr().err
