"""How the decoders are wired: with simple layers instead of learned ones, the output can be computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model.networks.blocks.fuse import UniversalPrompt
from model.networks.blocks.moe import MixtureOfExperts
from model.networks.decoders.dpt import DPT, ResidualUnit
from model.networks.decoders.fpn import FPN
from model.networks.decoders.swin_unet import FinalExpansion, PatchExpanding
from model.networks.decoders.unet import UNetDecoder, UNetEncoder
from model.networks.decoders.upernet import PoolingBlock, PyramidPooling, RefinedSegmentationHead, UPerNet
from model.networks.systems.atlas import LevelsHead


def plain(count):
    return nn.ModuleList(nn.Identity() for _ in range(count))


def maps(*sides, channels=2, seed=0):
    torch.manual_seed(seed)
    return [torch.randn(1, channels, side, side) for side in sides]


def larger(x, side, corners):
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=corners)


def test_the_pyramid_adds_from_the_top_down_and_merges_its_levels():
    pyramid = FPN((2, 2, 2, 2), 2, 2, dropout=0.5).eval()
    pyramid.laterals = plain(4)
    pyramid.levels = nn.ModuleList(nn.Upsample(scale_factor=factor) for factor in (4, 2, 1, 1))
    f4, f8, f16, f32 = maps(16, 8, 4, 2)
    top16 = f16 + f32.repeat_interleave(2, 2).repeat_interleave(2, 3)
    top8 = f8 + top16.repeat_interleave(2, 2).repeat_interleave(2, 3)
    top4 = f4 + top8.repeat_interleave(2, 2).repeat_interleave(2, 3)
    coarser = top8
    for top, factor in ((top16, 2), (f32, 4)):
        coarser = coarser + top.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    expected = top4 + larger(coarser, 16, corners=True)
    torch.testing.assert_close(pyramid(f4, f8, f16, f32), expected)
    assert [len(level) for level in FPN((2, 2, 2, 2), 2, 2).levels] == [3, 2, 1, 1]
    dropped = pyramid.train()(*maps(16, 8, 4, 2, channels=2))
    assert pyramid.dropout.p == 0.5
    assert dropped.shape == expected.shape


def test_a_transposed_step_is_joined_to_its_skip_level_by_level():
    decoder = UNetDecoder(2, (2, 2))
    decoder.ups = nn.ModuleList(nn.Upsample(scale_factor=2) for _ in range(2))
    decoder.blocks = nn.ModuleList(nn.Conv2d(4, 2, 1, bias=False) for _ in range(2))
    with torch.no_grad():
        for block in decoder.blocks:  # of the four channels: from below 1 and 2, of the skip 3 and 4
            block.weight.copy_(torch.tensor([[1.0, 0, 10, 0], [0, 1, 0, 100]])[:, :, None, None])
    deep, coarse, fine = maps(2, 4, 8)
    factor = torch.tensor([10.0, 100.0]).view(1, 2, 1, 1)
    first = deep.repeat_interleave(2, 2).repeat_interleave(2, 3) + factor * coarse
    second = first.repeat_interleave(2, 2).repeat_interleave(2, 3) + factor * fine
    torch.testing.assert_close(decoder(deep, coarse, fine), second)
    decoder.all_levels = True
    for found, expected in zip(decoder(deep, coarse, fine), (second, first), strict=True):
        torch.testing.assert_close(found, expected)


def test_every_stage_of_the_encoder_but_the_first_halves_the_map():
    encoder = UNetEncoder((4, 6, 8))
    assert [tuple(m.shape) for m in encoder(torch.randn(1, 3, 16, 16))] == [
        (1, 4, 16, 16), (1, 6, 8, 8), (1, 8, 4, 4),
    ]  # fmt: skip
    assert [[block[0].stride[0] for block in stage] for stage in encoder.stages] == [[1, 1], [2, 1], [2, 1]]


@pytest.mark.parametrize("size", [7, 8, 16])
def test_means_over_windows_are_the_same_in_either_form(size, monkeypatch):
    features = torch.randn(2, 3, size, size + 1)
    for bins in (1, 2, 3, 6):
        expected = F.adaptive_avg_pool2d(features, bins)
        torch.testing.assert_close(PoolingBlock(bins)(features), expected)
        with monkeypatch.context() as patch:
            patch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
            torch.testing.assert_close(PoolingBlock(bins)(features), expected, rtol=1e-5, atol=1e-5)


def test_pooled_maps_come_after_the_map_itself():
    pooling = PyramidPooling(4, 4)
    pooling.branches = nn.ModuleList(PoolingBlock(b) for b in (1, 2, 3, 6))
    pooling.fuse = nn.Identity()
    (features,) = maps(6, channels=4)
    found = pooling(features)
    torch.testing.assert_close(found[:, :4], features)
    for number, bins in enumerate((1, 2, 3, 6), 1):
        expected = larger(F.adaptive_avg_pool2d(features, bins), 6, corners=True)
        torch.testing.assert_close(found[:, 4 * number : 4 * number + 4], expected)


def test_the_fused_levels_are_sums_from_the_top_down_finest_first():
    decoder = UPerNet((2, 2, 2, 2), 2)
    decoder.pooling = decoder.fuse = decoder.project = nn.Identity()
    decoder.laterals = plain(3)
    decoder.smooth = nn.ModuleList(nn.LeakyReLU(0.5) for _ in range(3))  # what is carried on is not smoothed
    f4, f8, f16, f32 = maps(16, 8, 4, 2)
    top16 = f16 + larger(f32, 4, corners=False)
    top8 = f8 + larger(top16, 8, corners=False)
    top4 = f4 + larger(top8, 16, corners=False)
    levels = [F.leaky_relu(top, 0.5) for top in (top4, top8, top16)]
    expected = torch.cat([*(larger(level, 16, corners=False) for level in levels), larger(f32, 16, False)], dim=1)
    torch.testing.assert_close(decoder(f4, f8, f16, f32), expected)


def test_maps_of_one_stride_are_fused_from_coarse_to_fine():
    decoder = DPT(2, (2, 2, 2, 2), 2)
    decoder.project, decoder.skip, decoder.refine = plain(4), plain(3), nn.ModuleList(nn.LeakyReLU(0.5) for _ in "1234")
    decoder.reassemble = nn.ModuleList(
        [nn.Upsample(scale_factor=4), nn.Upsample(scale_factor=2), nn.Identity(), nn.AvgPool2d(2)]
    )
    first, second, third, fourth = maps(4, 4, 4, 4)

    def refined(x):
        return F.leaky_relu(x, 0.5)

    merged = refined(F.avg_pool2d(fourth, 2))
    merged = refined(larger(merged, 4, corners=True) + third)
    merged = refined(larger(merged, 8, corners=True) + second.repeat_interleave(2, 2).repeat_interleave(2, 3))
    merged = refined(larger(merged, 16, corners=True) + first.repeat_interleave(4, 2).repeat_interleave(4, 3))
    torch.testing.assert_close(decoder(first, second, third, fourth), merged)


def test_a_residual_unit_adds_its_two_convolutions():
    unit = ResidualUnit(1)
    with torch.no_grad():
        for layer, weight, bias in ((unit.block[1], 2.0, -1.0), (unit.block[3], 3.0, 0.5)):
            layer.weight.zero_()
            layer.weight[0, 0, 1, 1] = weight
            layer.bias.fill_(bias)
    x = torch.tensor([-1.0, 0.25, 2.0]).view(1, 1, 1, 3)
    # relu: 0, 0.25, 2; times 2 less 1: -1, -0.5, 3; relu: 0, 0, 3; times 3 plus 0.5: 0.5, 0.5, 9.5.
    assert unit(x).flatten().tolist() == [-0.5, 0.75, 11.5]


@pytest.mark.parametrize(("layer", "factor"), [(PatchExpanding(1, 1), 2), (FinalExpansion(1), 4)])
def test_a_cell_expands_into_its_square_row_by_row(layer, factor):
    layer.norm = nn.Identity()
    with torch.no_grad():
        layer.expand.weight.copy_(torch.arange(factor**2).float()[:, None])
    cells = torch.tensor([[1.0, 100.0], [10000.0, 0.0]])
    finer = layer(cells[None, None]) if isinstance(layer, FinalExpansion) else layer(cells[None, :, :, None])
    square = torch.arange(factor**2).float().view(factor, factor)
    torch.testing.assert_close(finer.flatten(), torch.kron(cells, square).flatten())


def test_refined_masks_are_enlarged_by_pixel_centres():
    head = RefinedSegmentationHead(1, 1)
    with torch.no_grad():
        head.classify.weight.fill_(2.0)
        head.classify.bias.fill_(1.0)
        head.refine.weight.zero_()
        head.refine.weight[0, 0, 1, 1] = 1.0
        head.refine.bias.zero_()
    features = torch.randn(1, 1, 3, 3)
    torch.testing.assert_close(head(features), larger(2 * features + 1, 12, corners=False))


def test_classes_are_read_from_the_means_of_all_levels_in_order():
    head = LevelsHead((1, 2), 3, dropout=0.5).eval()
    head.norm = nn.Identity()
    with torch.no_grad():
        head.classify.weight.copy_(torch.eye(3))
        head.classify.bias.zero_()
    first, second = torch.full((1, 1, 4, 4), 5.0), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert head(first, second)[0].tolist() == [5.0, 1.0, 3.0]


def test_the_prompt_goes_into_the_fuse_and_its_maps_behind_the_features():
    prompt = UniversalPrompt(2, 3, grid=2)
    with torch.no_grad():
        prompt.prompt.copy_(torch.arange(12.0).view(1, 3, 2, 2))
    seen = []

    class Fuse(nn.Module):
        def forward(self, joined):
            seen.append(joined)
            return joined[:, 2:] * 2

    prompt.fuse = Fuse()
    (features,) = maps(4)
    joined = prompt(features)
    enlarged = larger(prompt.prompt, 4, corners=False)
    torch.testing.assert_close(seen[0], torch.cat([features, enlarged], dim=1))
    torch.testing.assert_close(joined, torch.cat([features, 2 * enlarged], dim=1))


def test_a_token_is_the_gated_mean_of_its_experts():
    mixture = MixtureOfExperts(nn.Linear(1, 1), 1, 1, num_experts=3, chosen=2).eval()
    with torch.no_grad():
        for number, expert in enumerate(mixture.experts):
            expert.weight.fill_(10.0**number)
            expert.bias.zero_()
        mixture.router.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))  # the token, the task
        mixture.router.bias.zero_()
    token, task = torch.tensor([[[2.0]]]), torch.tensor([[1.0]])
    gates = torch.tensor([2.0, 1.0]).softmax(0)  # of experts 1 and 2; expert 0 scores 0 and is not chosen
    expected = float(gates @ torch.tensor([20.0, 200.0]))
    assert mixture(token, task).item() == pytest.approx(expected, rel=1e-5)
