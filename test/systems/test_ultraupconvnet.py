import pytest
import timm
import torch
from systems.system_mixin import ONE_OF_EACH, SystemMixin, count, on_meta, run

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.networks import build

TINY = {"encoder": "test_convnext", "channels": 16, "prompt_scale": 0.5}
PUBLISHED = [
    TaskSpec("mask", TaskKind.SEGMENTATION, 2),
    TaskSpec("two", TaskKind.CLASSIFICATION, 2),
    TaskSpec("four", TaskKind.CLASSIFICATION, 4),
]


class TestUltraUPConvNet(SystemMixin):
    name, options = "ultraupconvnet", TINY


class TestWithoutPrompts(SystemMixin):
    name, options, prompted_tasks = "ultraupconvnet", {**TINY, "prompts": False}, ()


@pytest.mark.parametrize(
    ("prompts", "live", "published", "entries"),
    [(True, 31_118_995, 60_477_123, 281), (False, 31_083_662, 60_441_790, 266)],
)
def test_published_sizes(prompts, live, published, entries):
    network = on_meta("ultraupconvnet", PUBLISHED, vocabulary="published", prompts=prompts)
    assert count(network) == live
    assert len(network.state_dict()) == entries
    with torch.device("meta"):
        never_called = timm.create_model("convnext_tiny", num_classes=1000)
    unused_head = 768 * 1000 + 1000
    assert count(network) + count(never_called) + unused_head == published


def test_the_27_tasks_have_their_own_count():
    assert count(on_meta("ultraupconvnet")) == 34_740_955


def test_published_prompts_have_no_boxes():
    with pytest.raises(UserError, match="detection"):
        build("ultraupconvnet", [CATALOGUE["thyroid_nodule_det"]], **TINY, vocabulary="published")


@torch.no_grad()
def test_scalars_at_zero_make_every_prompt_equal():
    network = build("ultraupconvnet", CATALOGUE.values(), **{**TINY, "prompt_scale": 0.0}).eval()
    images = torch.randn(1, 3, 64, 64)
    for task_id in ONE_OF_EACH:
        answers = [run(network, images, task_id, [index]) for index in (0, 7, 20)]
        assert torch.equal(answers[0], answers[1])
        assert torch.equal(answers[0], answers[2])


def test_with_scalars_at_zero_the_first_step_changes_only_the_scalars():
    network = build("ultraupconvnet", CATALOGUE.values(), **{**TINY, "prompt_scale": 0.0}).train()
    network(torch.randn(2, 3, 64, 64), "cardiac_multi").square().sum().backward()
    for added in network.decoder.added:
        assert added.scale.grad != 0
        assert not added.project.weight.grad.any()


@pytest.mark.parametrize("prompt", [0, 1, 2, 3], ids=["position", "task", "type", "nature"])
@torch.no_grad()
def test_each_of_the_four_prompts_matters(prompt):
    torch.manual_seed(0)
    network = build("ultraupconvnet", CATALOGUE.values(), **TINY).eval()
    table = network.decoder.prompts
    start = sum(table.vocabulary.sizes[:prompt])
    images = torch.randn(1, 3, 64, 64)
    before = {task_id: network(images, task_id) for task_id in ONE_OF_EACH}
    own = slice(start, start + table.vocabulary.sizes[prompt])
    table.codes[:, own] = table.codes[:, own].roll(1, dims=1)
    for task_id in ONE_OF_EACH:
        assert (network(images, task_id) - before[task_id]).abs().max() > 1e-5


@torch.no_grad()
def test_the_pooled_vector_comes_from_the_encoder_before_its_prompts():
    torch.manual_seed(0)
    network = build("ultraupconvnet", CATALOGUE.values(), **TINY).eval()
    network.pooling.added.scale.zero_()
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(run(network, images, "organ_cls", [0]), run(network, images, "organ_cls", [5]))
    assert not torch.equal(run(network, images, "cardiac_multi", [0]), run(network, images, "cardiac_multi", [5]))


@torch.no_grad()
def test_pooling_for_export_is_adaptive_pooling(monkeypatch):
    pooling = build("ultraupconvnet", [PUBLISHED[0]], **TINY).decoder.decoder.pooling
    features = torch.randn(2, 5, 8, 8)
    blocks = [branch[0] for branch in pooling.branches]
    expected = [block(features) for block in blocks]
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    for block, value in zip(blocks, expected, strict=True):
        torch.testing.assert_close(block(features), value)


@torch.no_grad()
def test_group_norm_has_no_statistics_that_a_batch_of_another_task_could_move():
    batch, group = (build("ultraupconvnet", [PUBLISHED[0]], **TINY, norm=norm) for norm in ("batch", "group"))
    assert count(batch) == count(group)
    assert not any("running" in key for key in group.decoder.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(
        group.train()(images, "mask")[:1], group.eval()(images[:1], "mask"), atol=1e-5, rtol=1e-4
    )
    with pytest.raises(UserError, match="neither 'batch' nor 'group'"):
        build("ultraupconvnet", [PUBLISHED[0]], **TINY, norm="layer")


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 256])
@torch.no_grad()
def test_whole_size(size):
    network = build("ultraupconvnet", PUBLISHED, vocabulary="published").eval()
    images = torch.randn(1, 3, size, size)
    shapes = [tuple(network(images, spec.task_id).shape) for spec in PUBLISHED]
    assert shapes == [(1, 2, size, size), (1, 2), (1, 4)]
