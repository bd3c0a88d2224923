"""The rearranged pyramid is the pyramid: same answers, fewer multiplications."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.networks.decoders.fpn import FPN
from training.export.rearranging import RearrangedFPN, rearranged

CHANNELS = (6, 8, 10, 12)


def trained(seed=0):
    """A pyramid with random weights, norms and biases too."""
    torch.manual_seed(seed)
    pyramid = FPN(CHANNELS, 16, 8).eval()
    for parameter in pyramid.parameters():
        nn.init.normal_(parameter, std=0.3)
    return pyramid


def features(side=16, batch=2):
    torch.manual_seed(side)
    return [torch.randn(batch, c, side >> i, side >> i) for i, c in enumerate(CHANNELS)]


@pytest.mark.parametrize("side", [8, 16, 24])
def test_the_answers_are_those_of_the_pyramid_up_to_the_border(side):
    pyramid = trained()
    with torch.no_grad():
        expected = pyramid(*features(side))
        found = rearranged(pyramid)(*features(side))
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_every_weight_of_the_finest_level_counts():
    pyramid = trained()
    before = RearrangedFPN(pyramid).eval()(*features())
    for parameter in (*pyramid.laterals[-1].parameters(), *pyramid.levels[-1].parameters()):
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.5)
            assert not torch.allclose(RearrangedFPN(pyramid).eval()(*features()), before)
            parameter.copy_(kept)


def test_dropout_of_a_pyramid_in_training_is_not_exported():
    pyramid = trained().train()
    form = rearranged(pyramid)
    torch.testing.assert_close(form(*features()), form(*features()))


def test_other_modules_stay_as_they_are():
    module = nn.Conv2d(1, 1, 1)
    assert rearranged(module) is module


def test_the_default_pyramid_needs_a_fifth_fewer_multiplications():
    channels = (24, 40, 112, 320)
    maps = [torch.zeros(1, count, 64 >> i, 64 >> i) for i, count in enumerate(channels)]

    def multiplications(module):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*maps)
        return counter.get_total_flops()

    pyramid = FPN(channels, 128, 64).eval()
    assert multiplications(rearranged(pyramid)) < 0.8 * multiplications(pyramid)
