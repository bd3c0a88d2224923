import numpy as np
import pytest

from challenge.imaging.geometry import Fit, Resize
from challenge.predictions import BlankMask
from challenge.tasks import CATALOGUE
from model.frozen.outputs.decode import decode, fallback, prior

RESIZE = Resize.of(512, 128, 256)


def test_probabilities_sum_to_one_even_for_huge_logits():
    answer = decode(np.array([1000.0, -1000, 999, 0, 0, 0], np.float32), CATALOGUE["organ_cls"], RESIZE)
    assert abs(sum(answer.probabilities) - 1) < 1e-12
    assert answer.predicted_class == 0
    assert answer.probabilities[0] == pytest.approx(1 / (1 + np.exp(-1)))


def test_box_is_that_of_the_best_cell_in_native_pixels():
    raw = np.zeros((5, 64, 64), np.float32)
    raw[:4, 10, 20] = 0.25, 0.5, 0.75, 1.0
    raw[4, 10, 20] = 1
    answer = decode(raw, CATALOGUE["thyroid_nodule_det"], RESIZE)
    assert answer.pixels == (128, 64, 384, 128)
    assert answer.normalized == (0.25, 0.5, 0.75, 1.0)


def test_tidy_sorts_corners_and_clips_and_official_does_neither():
    raw = np.array([0.9, 0.5, -0.1, 0.25], np.float32)
    grid = np.zeros((5, 8, 8), np.float32)
    grid[:4] = raw[:, None, None]
    tidy = decode(grid, CATALOGUE["thyroid_nodule_det"], RESIZE)
    np.testing.assert_allclose(tidy.pixels, (0, 32, 460.8, 64), rtol=1e-6)
    official = decode(grid, CATALOGUE["thyroid_nodule_det"], RESIZE, tidy_coordinates=False)
    np.testing.assert_allclose(official.pixels, (460.8, 64, -51.2, 32), rtol=1e-6)


def test_points_go_back_through_a_letterbox():
    resize = Resize.of(512, 128, 256, Fit.LETTERBOX)  # fills rows 96..160
    raw = np.array([0.5, 0.5, 0.0, 96 / 256, 1.0, 160 / 256], np.float32)
    answer = decode(raw, CATALOGUE["IUGC"], resize)
    np.testing.assert_allclose(answer.pixels, (256, 64, 0, 0, 512, 128), atol=1e-6)


@pytest.mark.parametrize("mask_resize", ["logits", "labels"])
def test_masks_boxes_and_points_go_back_from_a_crop(mask_resize):
    resize = Resize.of(512, 128, 256, Fit.CROP)  # shows columns 192..320
    raw = np.zeros((2, 256, 256), np.float32)
    raw[1, :, 128:] = 5
    raw[0, :, :128] = 5
    expected = np.zeros((128, 512), np.uint8)
    expected[:, 256:320] = 1
    np.testing.assert_array_equal(decode(raw, CATALOGUE["lung"], resize, mask_resize=mask_resize).labels, expected)
    grid = np.zeros((5, 8, 8), np.float32)
    grid[:4] = np.array([0, 0.5, 1, 1], np.float32)[:, None, None]
    assert decode(grid, CATALOGUE["thyroid_nodule_det"], resize).pixels == (192, 64, 320, 128)
    points = decode(np.array([0, 0, 0.5, 0.5, 1, 1], np.float32), CATALOGUE["IUGC"], resize)
    assert points.pixels == (192, 0, 256, 64, 320, 128)
    assert points.normalized[:2] == (0.375, 0)


def test_mask_has_native_size_and_both_ways_agree_on_plain_halves():
    raw = np.zeros((2, 256, 256), np.float32)
    raw[1, :, 128:] = 5
    raw[0, :, :128] = 5
    smooth = decode(raw, CATALOGUE["lung"], RESIZE).labels
    blocky = decode(raw, CATALOGUE["lung"], RESIZE, mask_resize="labels").labels
    assert smooth.shape == (128, 512)
    expected = np.zeros((128, 512), np.uint8)
    expected[:, 256:] = 1
    np.testing.assert_array_equal(smooth, expected)
    np.testing.assert_array_equal(blocky, expected)


@pytest.mark.parametrize("task_id", ["organ_cls", "lung", "thyroid_nodule_det", "IUGC"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_output_is_refused(task_id, value):
    with pytest.raises(ValueError, match="not finite"):
        decode(np.full((5, 64, 64), value, np.float32), CATALOGUE[task_id], RESIZE)


def test_priors_are_the_contract_s():
    assert prior(CATALOGUE["lung"], 512, 128) == BlankMask(512, 128)
    classes = prior(CATALOGUE["organ_cls"], 512, 128)
    assert (classes.predicted_class, set(classes.probabilities)) == (0, {1 / 6})
    assert prior(CATALOGUE["spinal_cord_injury_loc"], 512, 128).pixels == (128, 32, 384, 96)
    assert prior(CATALOGUE["FUGC"], 512, 128).pixels == (256, 64, 256, 64)


def test_fallback_uses_the_training_means():
    box = fallback(CATALOGUE["thyroid_nodule_det"], 100, 200, (0.1, 0.2, 0.3, 0.4))
    np.testing.assert_allclose(box.pixels, (10, 40, 30, 80))


@pytest.mark.parametrize("tie", [(0, 1), (2, 3), (1, 3)])
def test_of_equal_classes_the_first_is_answered(tie):
    logits = np.zeros(6, np.float32)
    logits[list(tie)] = 2.5
    assert decode(logits, CATALOGUE["organ_cls"], RESIZE).predicted_class == tie[0]


def test_of_equally_good_cells_the_first_in_reading_order_is_answered():
    raw = np.zeros((5, 4, 4), np.float32)
    for value, (row, column) in ((0.25, (1, 3)), (0.5, (2, 0)), (0.75, (1, 2))):
        raw[:4, row, column], raw[4, row, column] = value, 1
    assert decode(raw, CATALOGUE["thyroid_nodule_det"], RESIZE).normalized == (0.75,) * 4
    raw[4] = -3  # all cells alike: the very first
    raw[:4, 0, 0] = 0.125
    assert decode(raw, CATALOGUE["thyroid_nodule_det"], RESIZE).normalized == (0.125,) * 4


def test_what_lies_outside_is_clipped_to_either_side_of_the_image():
    raw = np.array([-0.2, 0.5, 1.5, 1.25, 0.5, -1.0], np.float32)
    tidy = decode(raw, CATALOGUE["IUGC"], RESIZE)
    assert tidy.pixels == (0, 64, 512, 128, 256, 0)
    assert tidy.normalized == (0, 0.5, 1, 1, 0.5, 0)
    official = decode(raw, CATALOGUE["IUGC"], RESIZE, tidy_coordinates=False)
    np.testing.assert_allclose(official.pixels, (-102.4, 64, 768, 160, 256, -128), rtol=1e-6)
    np.testing.assert_allclose(official.normalized, raw, rtol=1e-6)


def test_corners_are_put_in_order_axis_by_axis():
    grid = np.zeros((5, 2, 2), np.float32)
    for corners, expected in (
        ((0.75, 0.25, 0.25, 0.5), (128, 32, 384, 64)),
        ((0.25, 0.5, 0.75, 0.25), (128, 32, 384, 64)),
    ):
        grid[:4] = np.array(corners, np.float32)[:, None, None]
        assert decode(grid, CATALOGUE["thyroid_nodule_det"], RESIZE).pixels == expected


def test_labels_of_another_size_are_not_resized_in_silence():
    with pytest.raises(ValueError, match="labels are resized from 256 pixels, the network gives 64"):
        decode(np.zeros((2, 64, 64), np.float32), CATALOGUE["lung"], RESIZE, mask_resize="labels")


def test_fallback_points_are_the_training_means_of_each_point_and_stay_in_the_image():
    points = fallback(CATALOGUE["FUGC"], 100, 200, (0.1, 0.2, 0.9, 1.5))
    np.testing.assert_allclose(points.pixels, (10, 40, 90, 200))
    np.testing.assert_allclose(points.normalized, (0.1, 0.2, 0.9, 1.0))
    assert fallback(CATALOGUE["IUGC"], 100, 200, None).pixels == (50, 100) * 3
    assert fallback(CATALOGUE["organ_cls"], 100, 200, None).probabilities == (1 / 6,) * 6
    assert fallback(CATALOGUE["lung"], 100, 200, None) == BlankMask(100, 200)
