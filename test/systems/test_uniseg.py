import pytest
import torch
from systems.system_mixin import SystemMixin, count, on_meta, run

from challenge.tasks import CATALOGUE, TaskKind
from model.networks import build
from model.networks.blocks.fuse import UniversalPrompt, features_and_own_map
from model.networks.decoders.upernet import UPerNet

TINY = {"features": (4, 8, 8, 8, 8, 12), "grid": 2}
DENSE = ("cardiac_multi", "thyroid_nodule_det")


class TestUniSeg(SystemMixin):
    name, options, prompted_tasks = "uniseg", TINY, DENSE
    noise = 1e-4  # instance norms of maps of 2 x 2


class TestUniSegOnTimmEncoder(SystemMixin):
    name, options, prompted_tasks = "uniseg", {"encoder": "test_efficientnet", "grid": 2}, DENSE
    noise = 1e-4  # instance norms of maps of 2 x 2


class TestWithoutPrompt(SystemMixin):
    name, options, prompted_tasks = "uniseg", {**TINY, "prompts": False}, ()
    noise = 1e-4  # instance norms of maps of 2 x 2


class TestWithDeepSupervision(SystemMixin):
    name, options, prompted_tasks = "uniseg", {**TINY, "deep_supervision": True}, DENSE
    noise = 1e-4  # instance norms of maps of 2 x 2
    # The coarser outputs are for training alone, so they lie on no path.
    test_every_parameter_lies_on_a_path_and_in_one_optimiser_group = None
    test_gradient_reaches_every_parameter_of_the_tasks_path_and_no_other = None


def test_size_of_the_reference_network():
    network = on_meta("uniseg", deep_supervision=True)
    assert count(network) - count(network.heads) == 21_470_493
    assert tuple(network.universal_prompt.prompt.shape) == (1, 27, 8, 8)
    assert count(network.universal_prompt.fuse) == 845_085
    # Plain training supervises the finest output alone: the four others hold 5 x (512 + 256 + 128 + 64) weights.
    assert count(on_meta("uniseg")) == count(network) - 4_800 == 22_383_060


@pytest.mark.parametrize(
    ("channels", "tasks", "expected"),
    [(768, 27, 1_818_909), (768, 17, 1_761_699), (768, 7, 1_694_754), (448, 27, 659_229), (512, 17, 806_307),
     (320, 27, 356_637), (1024, 27, 3_161_373)],
)  # fmt: skip
def test_sizes_of_fuse(channels, tasks, expected):
    with torch.device("meta"):
        assert count(UniversalPrompt(channels, tasks).fuse) == expected


def test_fuse_on_a_timm_encoder_of_768_channels():
    assert count(on_meta("uniseg", encoder="convnext_tiny").universal_prompt.fuse) == 1_818_909


def test_decoders_take_one_channel_more():
    network = on_meta("uniseg")
    assert network.decoder.decoder.ups[0].in_channels == 513
    assert on_meta("uniseg", prompts=False).decoder.decoder.ups[0].in_channels == 512
    with torch.device("meta"):
        assert count(UPerNet((96, 192, 384, 769))) - count(UPerNet((96, 192, 384, 768))) == 1_024


def test_the_prompt_learns_from_the_first_step_on():
    network = build("uniseg", CATALOGUE.values(), **TINY).train()
    network(torch.randn(2, 3, 64, 64), "cardiac_multi").square().sum().backward()
    assert network.universal_prompt.prompt.grad.abs().max() > 0


@torch.no_grad()
def test_task_maps_have_mean_zero_before_their_activation():
    torch.manual_seed(0)
    prompt = UniversalPrompt(12, 5, grid=4)
    captured = []
    prompt.fuse[-1][1].register_forward_hook(lambda _module, _inputs, output: captured.append(output.clone()))
    joined = prompt(torch.randn(3, 12, 4, 4))
    assert joined.shape == (3, 17, 4, 4)
    assert captured[0].shape == (3, 5, 4, 4)
    torch.testing.assert_close(captured[0].mean(dim=(2, 3)), torch.zeros(3, 5), atol=1e-5, rtol=0)


@torch.no_grad()
def test_other_image_sizes_interpolate_the_prompt():
    prompt = UniversalPrompt(12, 5, grid=4)
    assert prompt(torch.randn(1, 12, 6, 6)).shape == (1, 17, 6, 6)


def test_every_image_keeps_its_own_map():
    joined = torch.arange(2 * 5).view(2, 5, 1, 1).float()
    kept = features_and_own_map(joined, 2, torch.tensor([2, 0]))
    assert kept.flatten(1).tolist() == [[0, 1, 4], [5, 6, 7]]


@torch.no_grad()
def test_only_the_prompt_makes_masks_of_tasks_differ():
    torch.manual_seed(0)
    network = build("uniseg", CATALOGUE.values(), **TINY).eval()
    images = torch.randn(1, 3, 64, 64)
    assert not any(p.numel() for p in network.heads["lung"].parameters())
    assert torch.equal(run(network, images, "lung", [network.indices["cervix"]]), network(images, "cervix"))
    assert not torch.allclose(network(images, "lung"), network(images, "cervix"), atol=1e-5)


@pytest.mark.parametrize(("options", "sides"), [
    (TINY, (64, 32, 16, 8, 4)), ({"encoder": "test_efficientnet", "grid": 2}, (16, 8, 4)),
])  # fmt: skip
def test_deep_supervision_at_every_scale_of_the_decoder(options, sides):
    torch.manual_seed(0)
    network = build("uniseg", CATALOGUE.values(), **options, deep_supervision=True).train()
    images = torch.randn(2, 3, 64, 64)
    found = network.supervised(images, ["cardiac_multi", "thyroid_nodule_det"])
    outputs = found["cardiac_multi"]
    assert [tuple(output.shape) for output in outputs] == [(2, 4, s, s) for s in sides]
    assert [tuple(output.shape) for output in found["thyroid_nodule_det"]] == [(2, 5, 16, 16)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(conv.weight.grad.any() for conv in network.classify)
    network.eval()
    torch.testing.assert_close(network.supervised(images, ["lung"])["lung"][0], network(images, "lung"))


def test_without_deep_supervision_the_answer_alone_is_supervised():
    network = build("uniseg", CATALOGUE.values(), **TINY).eval()
    images = torch.randn(1, 3, 64, 64)
    (output,) = network.supervised(images, ["lung"])["lung"]
    assert torch.equal(output, network(images, "lung"))


def test_every_convolution_starts_with_he_s_weights():
    torch.manual_seed(0)
    network = build("uniseg", CATALOGUE.values(), features=(16, 16, 32, 32, 64, 64), grid=2, deep_supervision=True)
    for conv in (*network.decoder.decoder.ups, *network.classify):
        fan_in = conv.weight[0].numel()  # torch counts that of a transposed convolution by its outputs
        expected = (2 / (1 + 0.01**2) / fan_in) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.25)


def test_only_masks_or_no_masks_at_all():
    for kind in TaskKind:
        tasks = [spec for spec in CATALOGUE.values() if spec.kind is kind]
        network = build("uniseg", tasks, **TINY)
        assert network(torch.randn(2, 3, 64, 64), tasks[0].task_id).shape[0] == 2


@pytest.mark.slow
@torch.no_grad()
def test_whole_size():
    network = build("uniseg", CATALOGUE.values()).eval()
    images = torch.randn(1, 3, 256, 256)
    assert network(images, "cardiac_multi").shape == (1, 4, 256, 256)
    assert network(images, "thyroid_nodule_det").shape == (1, 5, 64, 64)
