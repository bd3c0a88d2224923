"""Maxima and spreads of maps, and the Dice that a mask may expect, against values by hand."""

import numpy as np
import pytest

from challenge.imaging.geometry import Fit, Resize
from challenge.predictions import BlankMask, BoxPrediction, ClassPrediction, MaskPrediction, Peak, PointsPrediction
from challenge.tasks import CATALOGUE
from model.frozen.outputs.confidence import Confidence, peaks_of, soft_dice
from model.frozen.outputs.decode import decode
from model.frozen.outputs.joining import join_maps


def maps(*cells, size=4):
    """One map whose cells (row, column) share the probability equally."""
    logits = np.full((1, size, size), -1000, np.float32)
    for cell in cells:
        logits[0, *cell] = 3
    return logits


def test_a_map_with_one_cell_is_sure_and_does_not_spread():
    assert peaks_of(maps((2, 1)), Resize.of(400, 200, 256)) == (Peak(1.0, 0.0),)


def test_the_spread_is_in_native_pixels_of_each_axis():
    # Cells are 100 x 50 native pixels: two cells beside each other are 50 from their mean, two below each other 25.
    resize = Resize.of(400, 200, 256)
    (beside,) = peaks_of(maps((2, 1), (2, 2)), resize)
    (below,) = peaks_of(maps((1, 1), (2, 1)), resize)
    (diagonal,) = peaks_of(maps((1, 1), (2, 2)), resize)
    assert (beside.maximum, beside.spread) == pytest.approx((0.5, 50))
    assert (below.maximum, below.spread) == pytest.approx((0.5, 25))
    assert diagonal.spread == pytest.approx(np.hypot(50, 25))


def test_a_letterbox_has_square_cells():
    (peak,) = peaks_of(maps((1, 1), (2, 1)), Resize.of(400, 200, 256, Fit.LETTERBOX))
    assert peak.spread == pytest.approx(50)


def test_weights_are_a_softmax():
    logits = np.zeros((1, 1, 2), np.float32).repeat(2, axis=1)
    logits[0, 0, 0] = np.log(5)  # 5/8, and three cells of 1/8
    (peak,) = peaks_of(logits, Resize.of(2, 2, 2))
    assert peak.maximum == pytest.approx(5 / 8)
    assert peak.spread == pytest.approx(np.sqrt(2 * (1 / 4 * 3 / 4)))


def test_every_point_has_its_map_and_what_is_not_finite_has_none():
    both = np.concatenate([maps((0, 0)), maps((0, 0), (0, 3))])
    assert [peak.maximum for peak in peaks_of(both, Resize.of(8, 8, 8))] == pytest.approx([1, 0.5])
    both[1, 2, 2] = np.nan
    assert peaks_of(both, Resize.of(8, 8, 8)) is None


def test_a_mask_expects_the_dice_of_its_probabilities_and_its_arg_max():
    probabilities = np.array([[0.9, 0.6], [0.2, 0.1]])
    logits = np.stack([np.log(1 - probabilities), np.log(probabilities)]).astype(np.float32)
    assert soft_dice(logits) == pytest.approx(2 * 1.5 / (1.8 + 2))
    assert soft_dice(1000 * logits) == pytest.approx(1)


def test_a_class_without_a_cell_gets_nothing_and_classes_count_alike():
    logits = np.zeros((3, 2, 2), np.float32)
    logits[1] = 50
    assert soft_dice(logits) == pytest.approx(0.5)
    logits[1] = -50
    logits[2] = -50
    assert soft_dice(logits) == 0


def test_members_of_an_ensemble_get_the_mean_of_their_maps():
    one, other = maps((0, 0))[None], maps((0, 3))[None]
    (peak,) = peaks_of(join_maps([one, other])[0], Resize.of(4, 4, 4))
    assert (peak.maximum, peak.spread) == pytest.approx((0.5, 1.5))
    assert np.array_equal(join_maps([one]), one)
    assert join_maps([one, None]) is None
    assert join_maps([one, one[..., :2]]) is None


def test_confidence_in_one_number():
    peaks = (Peak(0.2, 4.0), Peak(0.4, 8.0))
    assert Confidence.of(PointsPrediction((), (), peaks)) == Confidence(pytest.approx(0.3), pytest.approx(6.0))
    assert Confidence.of(BoxPrediction((0, 0, 1, 1), (0, 0, 1, 1), peaks[0])) == Confidence(0.2, 4.0)
    assert Confidence.of(ClassPrediction((0.3, 0.7), 1)) == Confidence(0.7)
    assert Confidence.of(MaskPrediction(np.zeros((1, 1), np.uint8), confidence=0.5)) == Confidence(0.5)
    for unknown in (BlankMask(2, 2), BoxPrediction((0, 0, 1, 1), (0, 0, 1, 1)), PointsPrediction((), ())):
        assert Confidence.of(unknown) is None


def test_a_grid_of_boxes_has_its_map_with_it_and_a_single_box_has_none():
    raw = np.zeros((5, 4, 4), np.float32)
    raw[4] = maps((1, 2))[0]
    resize, spec = Resize.of(8, 8, 8), CATALOGUE["thyroid_nodule_det"]
    assert decode(raw, spec, resize).peak == Peak(1.0, 0.0)
    single = np.zeros((5, 1, 1), np.float32)
    assert decode(single, spec, resize).peak is None
    assert decode(single, spec, resize, maps=maps((1, 2))).peak == Peak(1.0, 0.0)
    points = np.zeros(4, np.float32)
    assert decode(points, CATALOGUE["FUGC"], resize).peaks is None
    both = np.concatenate([maps((1, 2))] * 2)
    assert decode(points, CATALOGUE["FUGC"], resize, maps=both).peaks == (Peak(1.0, 0.0),) * 2
