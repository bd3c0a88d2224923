"""Encoders give four maps at strides 4, 8, 16 and 32, from pyramids and from plain ViTs."""

import pytest
import torch

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build
from model.networks.encoders import Encoder, SimplePyramid


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
def test_maps_have_the_strides_and_the_channels_that_the_encoder_states(name):
    encoder = Encoder(name).eval()
    maps = encoder(torch.randn(2, 3, 96, 96))
    assert [tuple(each.shape) for each in maps] == [
        (2, channels, 96 // stride, 96 // stride)
        for channels, stride in zip(encoder.channels, (4, 8, 16, 32), strict=True)
    ]


def test_the_pyramid_of_a_vit_keeps_positions():
    torch.manual_seed(0)
    pyramid = SimplePyramid(16).eval()
    tokens = torch.zeros(1, 16, 4, 4)
    empty = pyramid(tokens.clone())
    tokens[:, :, 1, 2] = 1
    for before, after, scale in zip(empty, pyramid(tokens), (4, 2, 1, 0.5), strict=True):
        changed = (before != after).any(1)[0].nonzero()
        assert changed[:, 0].min() >= int(1 * scale)
        assert changed[:, 0].max() < max(1, 2 * scale)
        assert changed[:, 1].min() >= int(2 * scale)
        assert changed[:, 1].max() < 3 * scale


def test_what_is_built_around_a_pretrained_vit_learns_with_the_decoder():
    network = build("atlas", [CATALOGUE["lung"]], encoder="test_vit")
    inside = {id(parameter) for parameter in network.encoder_parameters()}
    neck = {id(parameter) for parameter in network.backbone.pyramid.parameters()}
    assert neck
    assert not neck & inside
    assert inside | neck == {id(parameter) for parameter in network.encoder.parameters()}


def test_an_encoder_without_the_strides_is_refused():
    with pytest.raises(UserError, match="strides .* choose a pyramid, or a ViT with patches of 16"):
        Encoder("vit_tiny_r_s16_p8_224")
