import torch
from systems.system_mixin import SystemMixin, on_meta

from challenge.tasks import CATALOGUE, TaskKind
from model.networks import build
from model.networks.decoders.fpn import FPN
from model.networks.heads.dense import BoxHead, HeatmapHead, soft_argmax

TINY = {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}


class TestAtlas(SystemMixin):
    name, options, prompted_tasks = "atlas", TINY, ()


class TestAtlasGrid(SystemMixin):
    """The best cell instead of one box, and points read in a window."""

    name, options, prompted_tasks = "atlas", {**TINY, "one_box": False, "reach": 3}, ()


def test_encoder_and_pyramid_are_those_of_the_baseline():
    options = {"encoder": "tf_efficientnet_lite0", "pyramid_channels": 128}
    ours = on_meta("atlas", **options, channels=64)
    theirs = on_meta("mh_mtl", **options, segmentation_channels=64)
    for part in (ours.pyramid, ours.backbone):
        twin = theirs.pyramid if isinstance(part, FPN) else theirs.backbone
        assert {k: v.shape for k, v in part.state_dict().items()} == {k: v.shape for k, v in twin.state_dict().items()}


def spike(size, *places, height=30.0):
    """Maps (1, 1, size, size) of zeros with `height` at (column, row), half of it at every further place."""
    maps = torch.zeros(1, 1, size, size)
    for number, (column, row) in enumerate(places):
        maps[0, 0, row, column] = height / (number + 1)
    return maps


def test_a_point_is_read_at_the_centre_of_its_cell():
    torch.testing.assert_close(soft_argmax(spike(16, (3, 10)))[0], torch.tensor([3.5, 10.5]) / 16)


def test_a_point_between_two_cells_is_read_between_them():
    maps = spike(16, (3, 10))
    maps[0, 0, 10, 4] = maps[0, 0, 10, 3]
    torch.testing.assert_close(soft_argmax(maps)[0], torch.tensor([4.0, 10.5]) / 16)


def test_a_window_excludes_a_second_peak():
    maps = spike(16, (3, 10)) + spike(16, (12, 10), height=29.5)
    whole, near = soft_argmax(maps)[0, 0], soft_argmax(maps, reach=3)[0, 0]
    assert whole > 5 / 16
    torch.testing.assert_close(near, torch.tensor(3.5 / 16))


def test_heads_give_maps_in_training_and_answers_in_evaluation():
    features = torch.randn(2, 32, 16, 16)
    points, box = HeatmapHead(32, 4), BoxHead(32)
    assert points(features).shape == (2, 4, 16, 16)
    assert box(features).shape == (2, 5, 16, 16)
    assert points.eval()(features).shape == (2, 8)
    assert box.eval()(features).shape == (2, 5, 1, 1)


def test_boxes_start_around_their_cell_and_answers_are_inside_the_image():
    head = BoxHead(32)
    features = torch.zeros(1, 32, 16, 16)
    x0, y0, x1, y1 = head(features)[0, :4]
    centres = ((torch.arange(16) + 0.5) / 16).expand(16, 16)
    torch.testing.assert_close((x0 + x1) / 2, centres)
    torch.testing.assert_close((y0 + y1) / 2, centres.T)
    assert 0.3 < (x1 - x0).mean() < 0.5
    assert x0.min() < 0
    head.one_box = False
    assert 0 <= head.eval()(features)[:, :4].min() <= head(features)[:, :4].max() <= 1


def test_a_head_can_start_with_rare_objects():
    head = BoxHead(32)
    before = head(torch.zeros(1, 32, 4, 4))[:, 4]
    assert before.abs().max() < 1
    head.start_rare()
    assert head(torch.zeros(1, 32, 4, 4))[:, 4].max() < -1.5


@torch.no_grad()
def test_several_tasks_on_one_image_share_their_stages_and_answer_as_alone():
    network = build("atlas", CATALOGUE.values(), **TINY).eval()
    images = torch.randn(2, 3, 64, 64)
    wanted = ["breast_lesion", "breast_2cls", "thyroid_nodule_det", "FUGC"]
    calls = []
    network.backbone.register_forward_hook(lambda *_: calls.append(1))
    together = network.answers(images, wanted)
    assert list(together) == wanted
    assert len(calls) == 1
    for task_id, output in together.items():
        assert torch.equal(output, network(images, task_id))


@torch.no_grad()
def test_a_stage_with_a_task_input_runs_once_per_task():
    tasks = [spec for spec in CATALOGUE.values() if spec.kind is TaskKind.SEGMENTATION]
    options = {"encoder": "test_efficientnet", "channels": 16, "prompt_scale": 1.0}
    network = build("ultraupconvnet", tasks, **options).eval()
    images = torch.randn(2, 3, 64, 64)
    together = network.answers(images, ["breast_lesion", "lung"])
    for task_id, output in together.items():
        assert torch.equal(output, network(images, task_id))


@torch.no_grad()
def test_adapters_start_as_the_identity_and_each_task_has_its_own():
    torch.manual_seed(0)
    plain = build("atlas", CATALOGUE.values(), **TINY).eval()
    adapted = build("atlas", CATALOGUE.values(), **TINY, adapter=4).eval()
    missing, unexpected = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"adapters"}
    images = torch.randn(1, 3, 64, 64)
    local = ("breast_lesion", "thyroid_nodule_det", "FUGC")
    for task_id in local:
        assert torch.equal(adapted(images, task_id), plain(images, task_id))
    for parameter in adapted.adapters["breast_lesion"].parameters():
        parameter.normal_()
    changed = {task_id for task_id in local if not torch.equal(adapted(images, task_id), plain(images, task_id))}
    assert changed == {"breast_lesion"}
