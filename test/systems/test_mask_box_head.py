"""Boxes that use a mask: its extent is found to a fraction of a cell, near the box, and only where it is confident."""

import pytest
import torch
from systems.system_mixin import SystemMixin
from systems.test_atlas import TINY

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build
from model.networks.heads.mask_box import with_mask

BOX = torch.tensor([[0.3, 0.4, 0.5, 0.6]])


class TestAtlasWithMasks(SystemMixin):
    """The mask is another lesion's, as that task is among those that the mixin exports."""

    name, options = "atlas", {**TINY, "box_masks": {"thyroid_nodule_det": "breast_lesion"}}
    prompted_tasks = ()

    def may_rest(self, name):
        """Only masks train the mask's head."""
        return name.startswith("heads.breast_lesion.")


def drawn(*boxes, size=64, logit=20.0, classes=2):
    """Logits (1, K, s, s) of a mask whose last class fills `boxes` (0..1)."""
    mask = torch.zeros(1, classes, size, size)
    mask[:, 0] = 20
    for x0, y0, x1, y1 in boxes:
        rows, columns = slice(round(y0 * size), round(y1 * size)), slice(round(x0 * size), round(x1 * size))
        mask[0, -1, rows, columns] = 20 + logit
    return mask


@pytest.mark.parametrize("classes", [2, 4])
def test_the_answer_is_the_mean_of_box_and_extent(classes):
    seen = (0.25, 0.375, 0.625, 0.5)
    answer = with_mask(BOX, drawn(seen, classes=classes))
    torch.testing.assert_close(answer, (BOX + torch.tensor([seen])) / 2, atol=1e-4, rtol=0)


def test_borders_are_found_to_a_fraction_of_a_cell():
    mask = drawn((0.25, 0.375, 0.625, 0.5))
    mask[0, 1, :, 40] = torch.where(mask[0, 1, :, 39] > 0, 20.0, 0.0)  # half a cell to the right, where p is 0.5
    assert with_mask(BOX, mask)[0, 2].item() == pytest.approx((0.5 + 40.5 / 64) / 2, abs=1e-4)


def test_the_mask_beyond_one_side_length_of_the_box_is_ignored():
    near = (0.25, 0.375, 0.625, 0.5)
    assert with_mask(BOX, drawn(near, (0.75, 0.375, 0.9, 0.5))).equal(with_mask(BOX, drawn(near)))
    assert not with_mask(BOX, drawn(near, (0.64, 0.375, 0.7, 0.5))).equal(with_mask(BOX, drawn(near)))


@pytest.mark.parametrize("mask", [drawn(), drawn((0.8, 0.8, 0.9, 0.9)), drawn((0.3, 0.4, 0.5, 0.6), logit=-0.1)])
def test_a_mask_with_nothing_near_the_box_changes_nothing(mask):
    assert with_mask(BOX, mask).equal(BOX)


def test_each_image_uses_its_own_mask():
    masks = torch.cat([drawn((0.25, 0.375, 0.625, 0.5)), drawn((0.3125, 0.4375, 0.5, 0.625))])
    both = with_mask(BOX.expand(2, 4), masks)
    for number in range(2):
        torch.testing.assert_close(both[number : number + 1], with_mask(BOX, masks[number : number + 1]))


def test_the_head_of_the_box_keeps_its_names_so_that_masks_can_be_joined_later():
    plain, joined = build("atlas", CATALOGUE.values(), **TINY), TestAtlasWithMasks().make()
    assert plain.state_dict().keys() == joined.state_dict().keys()


def test_a_stage_that_wraps_heads_follows_the_mode_of_the_network():
    network = TestAtlasWithMasks().make()
    for mode in (False, True):
        network.train(mode)
        assert {stage.module.training for stage in network.stages.values()} == {mode}


def test_the_box_moves_with_the_mask_and_the_answer_has_no_mask():
    network = TestAtlasWithMasks().make().eval()
    assert network.paths["thyroid_nodule_det"][:-1] == network.paths["breast_lesion"]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        plain = build("atlas", CATALOGUE.values(), **TINY).eval()
        plain.load_state_dict(network.state_dict())
        last = network.heads["breast_lesion"][-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, -9.0]))
        silent = network(images, "thyroid_nodule_det")
        last.bias.copy_(torch.tensor([0.0, 9.0]))
        loud = network(images, "thyroid_nodule_det")
        torch.testing.assert_close(silent, plain(images, "thyroid_nodule_det"))
        assert (loud - silent).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_masks": {"thyroid_nodule_det": "organ_cls"}}, "organ_cls a segmentation task"),
        ({"box_masks": {"organ_cls": "thyroid_nodule"}}, "organ_cls must be a detection task"),
        ({"box_masks": {"thyroid_nodule_det": "thyroid_nodule"}, "one_box": False}, "needs one_box"),
    ],
)
def test_masks_that_cannot_be_joined_are_reported(options, message):
    with pytest.raises(UserError, match=message):
        build("atlas", CATALOGUE.values(), **TINY, **options)


def test_boxes_of_data_that_has_no_masks_stay_as_they_are():
    network = build(
        "atlas", [CATALOGUE["thyroid_nodule_det"]], **TINY, box_masks={"thyroid_nodule_det": "breast_lesion"}
    )
    assert network.paths["thyroid_nodule_det"] == ("encoder", "pyramid", "head.thyroid_nodule_det")
