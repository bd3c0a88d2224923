"""The oracle computes the published graph straight from a synthetic state dict, by its published names."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.frozen.metadata import read_metadata
from training.__main__ import main, run
from training.conversion.ultraupconvnet import convert, published_tasks

WIDTHS, DEPTHS, DIM = (96, 192, 384, 768), (3, 3, 9, 3), 256
TASKS = [CATALOGUE["breast_lesion"], CATALOGUE["breast_2cls"]]


def convnext_shapes():
    shapes = {
        "downsample_layers.0.0": (96, 3, 4, 4),
        "downsample_layers.0.1": (96,),
        "norm": (768,),
        "head": (1000, 768),
    }
    for i in (1, 2, 3):
        shapes[f"downsample_layers.{i}.0"] = (WIDTHS[i - 1],)
        shapes[f"downsample_layers.{i}.1"] = (WIDTHS[i], WIDTHS[i - 1], 2, 2)
    for i, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        for j in range(depth):
            parts = {"dwconv": (width, 1, 7, 7), "norm": (width,), "pwconv1": (4 * width, width),
                     "pwconv2": (width, 4 * width)}  # fmt: skip
            shapes |= {f"stages.{i}.{j}.{part}": shape for part, shape in parts.items()}
    return shapes


def linear(name, shape):
    scale = 1.0 if len(shape) == 1 else float(np.prod(shape[1:])) ** -0.5
    weight = torch.randn(shape) * scale if len(shape) > 1 else 1 + 0.1 * torch.randn(shape)
    return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(shape[0])}


def conv_bn(name, out, into, kernel):
    return {
        f"{name}.conv.weight": torch.randn(out, into, kernel, kernel) * (into * kernel**2) ** -0.5,
        **linear(f"{name}.bn", (out,)),
        f"{name}.bn.running_mean": 0.1 * torch.randn(out),
        f"{name}.bn.running_var": 0.5 + torch.rand(out),
        f"{name}.bn.num_batches_tracked": torch.tensor(7),
    }


def synthetic(prompts=True):
    """A state dict with the published names and shapes, in which every part moves the answers."""
    torch.manual_seed(0)
    state = {}
    for place in ("backbone", "seg_head.backbone"):
        for name, shape in convnext_shapes().items():
            state |= linear(f"{place}.{name}", shape)
        for i, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            state |= {f"{place}.stages.{i}.{j}.gamma": 0.3 + 0.1 * torch.randn(width) for j in range(depth)}
    for number in (1, 2, 3, 4):
        state |= conv_bn(f"seg_head.ppm.cba{number}", 192, 768, 1)
    state |= conv_bn("seg_head.ppm.out", DIM, 1536, 1)
    for number, width in enumerate(WIDTHS[:3], 1):
        state |= conv_bn(f"seg_head.fpn.fpn_in.fpn_layer{number}", DIM, width, 1)
        state |= conv_bn(f"seg_head.fpn.fpn_out.fpn_layer{number}", DIM, DIM, 3)
    state |= conv_bn("seg_head.fuse", DIM, 4 * DIM, 1) | conv_bn("seg_head.seg.0", DIM, DIM, 1)
    state |= linear("seg_head.seg.1", (2, DIM, 1, 1)) | linear("seg_head.out", (2, 2, 3, 3))
    state |= linear("cls_head_2cls", (2, 768)) | linear("cls_head_4cls", (4, 768))
    if prompts:
        state |= linear("dec_prompt_mlp", (768, 15))
        for i, width in enumerate(WIDTHS):
            state |= linear(f"prompt_proj_layers.{i}", (width, 15))
            state[f"prompt_scale_seg.{i}"] = torch.tensor([0.5 + i])
        state["prompt_scale_cls"] = torch.tensor([2.0])
    return state


@pytest.fixture(scope="module")
def state():
    return synthetic()


def published(state, images, code):
    """(B, 3, S, S) BGR in 0..1 and the prompts (15,) -> logits of masks, of two and of four classes."""

    def layer(x, name, **options):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def block(x, name, padding=0):
        bn = [state[f"{name}.bn.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(layer(x, f"{name}.conv", padding=padding), *bn))

    def norm(x, name):
        shape, last = (x.shape[1],), x.movedim(1, -1)
        return F.layer_norm(last, shape, state[f"{name}.weight"], state[f"{name}.bias"], 1e-6).movedim(-1, 1)

    def dense(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def resize(x, like, align_corners=False):
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=align_corners)

    x, levels = images, []
    for i, depth in enumerate(DEPTHS):
        place = f"backbone.downsample_layers.{i}"
        x = (
            norm(layer(x, f"{place}.0", stride=4), f"{place}.1")
            if i == 0
            else layer(norm(x, f"{place}.0"), f"{place}.1", stride=2)
        )
        for j in range(depth):
            name = f"backbone.stages.{i}.{j}"
            y = norm(layer(x, f"{name}.dwconv", padding=3, groups=WIDTHS[i]), f"{name}.norm").movedim(1, -1)
            y = dense(F.gelu(dense(y, f"{name}.pwconv1")), f"{name}.pwconv2") * state[f"{name}.gamma"]
            x = x + y.movedim(-1, 1)
        levels.append(x)
    pooled = norm(levels[-1].mean(dim=(2, 3)), "backbone.norm")
    pooled = pooled + state["prompt_scale_cls"] * dense(code, "dec_prompt_mlp")
    for i in range(4):
        added = state[f"prompt_scale_seg.{i}"] * dense(code, f"prompt_proj_layers.{i}")
        levels[i] = levels[i] + added[None, :, None, None]
    parts = [levels[3]]
    for number, bins in enumerate((1, 2, 3, 6), 1):
        parts.append(
            resize(block(F.adaptive_avg_pool2d(levels[3], bins), f"seg_head.ppm.cba{number}"), levels[3], True)
        )
    top = block(torch.cat(parts, dim=1), "seg_head.ppm.out")
    maps = [top]
    for number in (3, 2, 1):
        here = block(levels[number - 1], f"seg_head.fpn.fpn_in.fpn_layer{number}")
        top = here + resize(top, here)
        maps.insert(0, block(top, f"seg_head.fpn.fpn_out.fpn_layer{number}", padding=1))
    fused = block(torch.cat([resize(m, maps[0]) for m in maps], dim=1), "seg_head.fuse")
    logits = resize(layer(block(fused, "seg_head.seg.0"), "seg_head.seg.1"), images)
    return layer(logits, "seg_head.out", padding=1), dense(pooled, "cls_head_2cls"), dense(pooled, "cls_head_4cls")


def test_the_synthetic_checkpoint_has_the_published_size(state):
    assert len(state) == 465
    assert len(synthetic(prompts=False)) == 450
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(value.numel() for key, value in state.items() if not key.endswith(buffers)) == 60_477_123


@torch.no_grad()
def test_the_converted_network_gives_the_published_answers(state):
    four = TaskSpec("breast_luminal", TaskKind.CLASSIFICATION, 4)
    network, report = convert(state, [*TASKS, four])
    torch.manual_seed(1)
    rgb = torch.rand(2, 3, 96, 96)
    for task, (spec, position, kind, nature) in enumerate(
        [(TASKS[0], 0, 0, 0), (TASKS[1], 0, 1, 0), (four, 7, 1, 1)]  # luminal is in no table: "indis", "organ"
    ):
        code = torch.zeros(15)
        code[[position, 8 + kind, 10, 13 + nature]] = 1
        expected = published(state, rgb.flip(1), code)[task]
        assert expected.std() > 0.05
        torch.testing.assert_close(network(rgb, spec.task_id), expected, atol=2e-3, rtol=1e-3)
        assert not torch.allclose(network(rgb.flip(1), spec.task_id), expected, atol=2e-3, rtol=1e-3)
    assert not report.unknown
    assert len(report.used) + len(report.left_out) == 465
    left_out = {key.rpartition(".")[0] for key in report.left_out if not key.startswith("seg_head.backbone.")}
    assert left_out == {"backbone.head"}
    assert sum(key.startswith("seg_head.backbone.") for key in report.left_out) == 182


def test_without_prompts_and_without_the_four_way_head():
    state = synthetic(prompts=False)
    network, report = convert(state, TASKS)
    assert not network.indices
    assert {"cls_head_4cls.weight", "cls_head_4cls.bias"} <= set(report.left_out)
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_083_662 - 4 * 769


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "backbone.stages.2.8.gamma"}, "leaves 1 of"),
        (lambda s: {**s, "seg_head.fpn.fpn_in.fpn_layer4.conv.weight": torch.ones(1)}, "1 tensors that.*lacks"),
        (lambda s: {**s, "cls_head_2cls.bias": torch.ones(3)}, r"cls_head_2cls.bias has the shape \(3,\)"),
    ],
)
def test_changed_checkpoints_are_refused(state, change, message):
    with pytest.raises(UserError, match=message):
        convert(change(state), TASKS)


def test_tasks_that_fit():
    challenge = {"breast_lesion", "breast_2cls", "thyroid_nodule", "liver_lesion_2cls", "fetal_head"}
    others = {"cardiac", "kidney", "appendix_2cls", "fatty_liver_2cls", "breast_luminal_4cls"}
    assert set(published_tasks()) == challenge | others


@torch.no_grad()
def test_every_published_head_is_used_and_gets_the_prompts_of_its_organ(state):
    network, report = convert(state, list(published_tasks().values()))
    assert not [key for key in report.left_out if not key.startswith(("seg_head.backbone.", "backbone.head."))]
    torch.manual_seed(1)
    rgb = torch.rand(1, 3, 64, 64)
    for task_id, branch, entries in (("kidney", 0, (4, 8, 10, 14)), ("breast_luminal_4cls", 2, (0, 9, 10, 13))):
        code = torch.zeros(15)
        code[list(entries)] = 1
        expected = published(state, rgb.flip(1), code)[branch]
        torch.testing.assert_close(network(rgb, task_id), expected, atol=2e-3, rtol=1e-3)


def test_a_task_that_does_not_fit_is_an_error(tmp_path, monkeypatch, capsys):
    arguments = ["convert-ultraupconvnet", "x.pth", "--output", str(tmp_path / "w"), "--task", "organ_cls"]
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    assert run() == 2
    assert "cannot answer 'organ_cls'" in capsys.readouterr().err


@pytest.mark.slow
def test_from_checkpoint_to_answers(state, tmp_path, phantom_folder):
    import inference

    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 7}, tmp_path / "best.pth")
    arguments = ["convert-ultraupconvnet", str(tmp_path / "best.pth"), "--output", str(tmp_path / "weights")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "465" in result.output
    facts = read_metadata(tmp_path / "weights")
    assert set(facts.tasks) == set(published_tasks())
    served = CliRunner().invoke(
        inference.main,
        ["--weights", str(tmp_path / "weights"), "--input", str(phantom_folder), "--output", str(tmp_path / "out"),
         "--tasks", ",".join(task for task in facts.tasks if task in CATALOGUE), "--strict"],
    )  # fmt: skip
    assert served.exit_code == 0, served.output
