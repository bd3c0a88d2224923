import pytest
import torch

from training.losses.deep_supervision import scale_weights, supervised_loss
from training.losses.segmentation import cross_entropy_and_dice


def test_weights_halve_and_the_coarsest_counts_nothing():
    assert scale_weights(1) == [1.0]
    assert scale_weights(5) == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])
    assert scale_weights(3) == pytest.approx([2 / 3, 1 / 3, 0])


def test_one_scale_is_the_loss_itself():
    logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 8, 8))
    assert torch.equal(
        supervised_loss(cross_entropy_and_dice, [logits], target), cross_entropy_and_dice(logits, target)
    )


def test_coarser_outputs_see_the_target_at_their_own_scale():
    seen = []

    def loss(output, target):
        seen.append((output.shape[-1], target))
        return output.mean()

    target = torch.arange(4).repeat_interleave(2).repeat(1, 8, 1)  # columns of two pixels
    outputs = [torch.full((1, 4, side, side), value) for side, value in ((8, 1.0), (4, 10.0), (2, 100.0))]
    assert supervised_loss(loss, outputs, target).item() == pytest.approx(2 / 3 * 1 + 1 / 3 * 10)
    assert [side for side, _ in seen] == [8, 4]
    assert torch.equal(seen[0][1], target)
    assert seen[1][1].dtype is target.dtype
    assert seen[1][1].tolist() == [[[0, 1, 2, 3]] * 4]


def test_a_perfect_answer_at_all_scales_costs_nothing():
    target = torch.zeros(1, 16, 16, dtype=torch.long)
    target[:, :, 8:] = 1
    outputs = []
    for side in (16, 8, 4):
        labels = target[:, :: 16 // side, :: 16 // side]
        outputs.append(20.0 * torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).float())
    assert supervised_loss(cross_entropy_and_dice, outputs, target).item() < 1e-3
    outputs[1] = -outputs[1]
    assert supervised_loss(cross_entropy_and_dice, outputs, target).item() > 1
