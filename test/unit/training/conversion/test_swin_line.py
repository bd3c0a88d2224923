import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from unit.training.conversion.swin_checkpoints import BUFFERS, Made, Sizes, published

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind
from model.frozen.metadata import read_metadata
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from training.__main__ import main
from training.conversion.swin_line import NETWORKS, convert, convert_file, network_of

NAMES = tuple(NETWORKS)
COUNTS = {
    ("perceptguide", True): (597, 66_288_068),
    ("perceptguide", False): (453, 66_183_236),
    ("uniusnet", True): (455, 65_043_716),
    ("uniusnet", False): (447, 65_020_676),
    ("uusic25", True): (457, 65_044_488),
    ("uusic25", False): (449, 65_021_448),
}
PROMPTS = {  # task: what is answered, then the entries of its prompts in 18 and in 15 places
    "breast_lesion": ("mask", (1, 11, 13, 16), (0, 8, 10, 13)),
    "kidney": ("mask", (8, 11, 13, 17), (4, 8, 10, 14)),
    "breast_2cls": (2, (1, 12, 13, 16), (0, 9, 10, 13)),
    "fatty_liver_2cls": (2, (5, 12, 13, 17), (6, 9, 10, 14)),
    "thyroid_gland": ("mask", (2, 11, 13, 17), None),
    "breast_luminal_4cls": (4, None, (0, 9, 10, 13)),
}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def code(network, task_id):
    width, entries = (18, PROMPTS[task_id][1]) if network == "perceptguide" else (15, PROMPTS[task_id][2])
    vector = torch.zeros(width)
    vector[list(entries)] = 1
    return vector


def tasks(network):
    return list(NETWORKS[network].tasks.values())


@pytest.mark.parametrize(("name", "prompts"), COUNTS)
def test_made_checkpoints_have_the_published_entries_and_parameters(name, prompts):
    shapes = Made(name, Sizes(), prompts).shapes()
    numbers = sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(BUFFERS))
    assert (len(shapes), numbers) == COUNTS[name, prompts]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prompts", [True, False])
@torch.no_grad()
def test_the_converted_network_gives_the_published_answers(name, prompts):
    made = Made(name, prompts=prompts)
    state = made.state()
    network, report = convert(state, tasks(name))
    assert bool(network.indices) is prompts
    exact, images = {key: value.double() for key, value in state.items()}, IMAGES.double()
    for task_id in PROMPTS.keys() & network.tasks.keys():
        kind = PROMPTS[task_id][0]
        expected = published(exact, made, images.flip(1), code(name, task_id).double())[kind]
        assert expected.std() > 0.05
        torch.testing.assert_close(network.double()(images, task_id), expected, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(network.float()(IMAGES, task_id), expected.float(), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(network(IMAGES.flip(1), task_id), expected.float(), atol=1e-3)
    assert not report.unknown
    assert {key.rpartition(".")[2] for key in report.left_out} == set(BUFFERS)
    assert len(report.used) + len(report.left_out) == len(state)


@pytest.mark.parametrize("name", NAMES)
def test_the_map_is_one_to_one_and_keeps_shapes(name):
    state = Made(name).state()
    kinds = {spec.kind: spec for spec in tasks(name) if spec.num_classes == 2}
    chosen = [*kinds.values(), *(spec for spec in tasks(name) if spec.num_classes == 4)]
    network, report = convert(state, chosen)
    own = network.state_dict()
    assert sorted(report.used.values()) == sorted(own)
    for key, ours in report.used.items():
        hyper = "hyper_param" in key
        assert own[ours].shape == (state[key].shape[1:3] if hyper else state[key].shape), key


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_swapping_two_tensors_of_one_shape_changes_the_logits(name):
    state = Made(name).state()
    chosen = [spec for spec in tasks(name) if spec.task_id in ("kidney", "breast_2cls", "breast_luminal_4cls")]

    def answers(state):
        network, _ = convert(state, chosen)
        return torch.cat([network.double()(IMAGES[:1].double(), spec.task_id).flatten() for spec in chosen])

    groups = defaultdict(list)
    for key, value in state.items():
        if not key.endswith(BUFFERS):
            groups[value.shape].append(key)
    before = answers(state)
    pairs = [(group[0], group[-1]) for group in groups.values() if len(group) > 1]
    assert len(pairs) > 20
    for one, other in pairs:
        swapped = {**state, one: state[other], other: state[one]}
        assert (answers(swapped) - before).abs().max() > 1e-6, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_every_head_is_answered(name):
    others = {"cardiac", "kidney", "appendix_2cls", "fatty_liver_2cls"}
    challenge = {"breast_lesion", "fetal_head", "thyroid_nodule", "breast_2cls", "liver_lesion_2cls"}
    own = {
        "perceptguide": {"ovary_tumor", "carotid_artery", "thyroid_gland", "thyroid_2cls", "carotid_2cls"},
        "uniusnet": set(),
        "uusic25": {"breast_luminal_4cls"},
    }
    assert set(NETWORKS[name].tasks) == challenge | others | own[name]


def test_the_other_name_of_the_4_way_head():
    state = Made("uusic25").state()
    renamed = {
        key.replace("_head_2cls.0", "_head.0").replace("_head_4cls.0", "_head.1"): value for key, value in state.items()
    }
    assert network_of(renamed) is NETWORKS["uusic25"]
    spec = NETWORKS["uusic25"].tasks["breast_luminal_4cls"]
    with torch.no_grad():
        answers = [convert(s, [spec])[0](IMAGES, spec.task_id) for s in (state, renamed)]
    assert torch.equal(*answers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "norm_task_seg.bias"}, "leaves 1 of .*a complete checkpoint of"),
        (lambda s: {**s, "layers.0.extra.weight": torch.ones(1)}, "1 tensors that PerceptGuide lacks"),
        (lambda s: {**s, "norm.bias": torch.ones(3)}, r"norm.bias has the shape \(3,\)"),
        (lambda s: {**s, "norm.bias": torch.full_like(s["norm.bias"], torch.nan)}, "not finite"),
        (lambda s: {"conv_blocks_context.0.blocks.0.conv.weight": torch.ones(1)}, "no Swin encoder of four stages"),
    ],
)
def test_changed_checkpoints_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        convert(change(Made("perceptguide").state()), tasks("perceptguide"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_a_resumable_file_is_read_and_onnxruntime_gives_the_published_answers(name, tmp_path):
    made = Made(name)
    state = made.state()
    saved = {"model": {f"module.swin.{key}": value for key, value in state.items()},
             "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "epoch": 199}  # fmt: skip
    torch.save(saved, tmp_path / "latest_199.pth")
    chosen = sorted(PROMPTS.keys() & NETWORKS[name].tasks.keys())
    report = convert_file(tmp_path / "latest_199.pth", tmp_path / "weights", chosen)
    assert len(report.used) + len(report.left_out) == len(state)
    facts = read_metadata(tmp_path / "weights")
    assert (facts.image_size, facts.mean, facts.std) == (64, (0.0,) * 3, (1.0,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    bgr = torch.from_numpy(pixels).permute(0, 3, 1, 2).flip(1) / 255
    runtime = OnnxRuntime(tmp_path / "weights", facts.graphs)
    seen = set()
    for task_id, numbers, answer in Router(facts, runtime).run(pixels, [chosen] * 3):
        expected = published(state, made, bgr[list(numbers)], code(name, task_id))[PROMPTS[task_id][0]]
        np.testing.assert_allclose(answer, expected.numpy(), atol=1e-5, rtol=1e-5, err_msg=task_id)
        seen.add(task_id)
    assert seen == set(chosen)
    written = json.loads((tmp_path / "weights/conversion.json").read_text("utf-8"))
    assert written["system"]["options"]["window"] == 2
    assert written["used"].keys() == report.used.keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_command_reports_every_key_and_the_weights_answer_strictly(name, tmp_path, phantom_folder):
    import inference

    torch.save(Made(name).state(), tmp_path / "best.pth")
    arguments = ["convert-perceptguide", str(tmp_path / "best.pth"), "--output", str(tmp_path / "weights"), "--verbose"]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False).output
    assert all(f"{key}" in shown for key in Made(name).shapes())
    answered = [task for task in read_metadata(tmp_path / "weights").tasks if task in CATALOGUE]
    served = CliRunner().invoke(
        inference.main,
        ["--weights", str(tmp_path / "weights"), "--input", str(phantom_folder), "--output", str(tmp_path / "out"),
         "--tasks", ",".join(answered), "--strict"],
    )  # fmt: skip
    assert served.exit_code == 0, served.output


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_published_sizes(name):
    made = Made(name, Sizes())
    state = made.state()
    chosen = [spec for spec in tasks(name) if spec.task_id in ("breast_lesion", "breast_2cls", "breast_luminal_4cls")]
    network, report = convert(state, chosen)
    assert len(report.used) + len(report.left_out) == COUNTS[name, True][0]
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[name, True][1]
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    for spec in chosen:
        expected = published(state, made, image.flip(1), code(name, spec.task_id))[PROMPTS[spec.task_id][0]]
        torch.testing.assert_close(network(image, spec.task_id), expected, atol=1e-4, rtol=1e-4)
    assert spec.kind is TaskKind.CLASSIFICATION
