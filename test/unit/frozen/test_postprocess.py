"""Clean masks and averages with the flipped image; scipy is the oracle for connected components."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from challenge.tasks import TaskKind
from model.frozen.postprocess import (
    Postprocess,
    Postprocessing,
    SecondLook,
    connected_components,
    holes,
    largest_component_of,
)

CELLS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
ONE, FULL, BOTH = (
    Postprocessing(largest_component=True),
    Postprocessing(fill_holes=True),
    Postprocessing(largest_component=True, fill_holes=True),
)


def logits_of(labels, classes):
    """Margins of 1 for every cell's class."""
    return (np.arange(classes)[:, None, None] == labels).astype(np.float32)


def cell(*values):
    """A grid (5, 1, 1)."""
    return [[[value]] for value in values]


def drawn(text):
    rows = [line.strip() for line in text.strip().splitlines()]
    return np.array([[int(cell) for cell in row.replace(".", "0")] for row in rows])


@settings(max_examples=200, deadline=None)
@given(CELLS)
def test_connected_components_and_holes_are_those_of_scipy(own):
    found, (truth, count) = connected_components(own), ndimage.label(own)
    assert len(set(zip(found[own], truth[own], strict=True))) == count
    assert not found[~own].any()
    np.testing.assert_array_equal(holes(own), ndimage.binary_fill_holes(own) & ~own)
    assert largest_component_of(own).sum() == max([0, *np.bincount(truth[own])])


def test_islands_become_background_and_holes_their_ring():
    labels = drawn("""
        11......
        11..222.
        ..1.2.2.
        ....222.
        1......2
    """)
    clean = BOTH.clean_mask(logits_of(labels, 3)).argmax(axis=0)
    expected = drawn("""
        11......
        11..222.
        ....222.
        ....222.
        ........
    """)
    np.testing.assert_array_equal(clean, expected)
    only_full = FULL.clean_mask(logits_of(labels, 3)).argmax(axis=0)
    np.testing.assert_array_equal(only_full == 1, labels == 1)


def test_a_ring_of_one_class_keeps_the_other_class_that_it_encloses():
    labels = drawn("""
        .....
        .222.
        .212.
        .222.
        .....
    """)
    np.testing.assert_array_equal(BOTH.clean_mask(logits_of(labels, 3)).argmax(axis=0), labels)
    logits = logits_of(labels, 3)
    logits[0, 2, 2] = 0.5  # in the enclosed cell background comes second: nothing there is touched
    np.testing.assert_array_equal(FULL.clean_mask(logits), logits)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(2, 4), st.integers(2, 12), st.integers(2, 12)),
              elements=st.floats(-8, 8, width=16)))  # fmt: skip
def test_cleaning_changes_no_cell_that_keeps_its_class_and_leaves_one_component_each(logits):
    clean = ONE.clean_mask(logits)
    before, after = logits.argmax(axis=0), clean.argmax(axis=0)
    for number in range(1, len(logits)):
        assert not ((after == number) & (before == number) & (clean[number] != logits[number])).any()
        assert ndimage.label(after == number)[1] <= 1


def test_what_is_not_finite_is_left_for_the_decoder_to_refuse():
    logits = np.full((2, 4, 4), np.nan, np.float32)
    assert BOTH.clean_mask(logits) is logits


@pytest.mark.parametrize(
    ("kind", "answer", "mirrored"),
    [
        (TaskKind.SEGMENTATION, [[[1, 2, 3]], [[4, 5, 6]]], [[[3, 2, 1]], [[6, 5, 4]]]),
        (TaskKind.CLASSIFICATION, [0.5, -1.0], [0.5, -1.0]),
        (TaskKind.REGRESSION, [0.1, 0.2, 0.7, 0.4, 0.3, 0.9], [0.3, 0.4, 0.9, 0.2, 0.7, 0.9]),
        (TaskKind.DETECTION, cell(0.1, 0.2, 0.5, 0.6, 3), cell(0.5, 0.2, 0.9, 0.6, 3)),
    ],
)  # fmt: skip
def test_averaging_with_a_network_that_is_equivariant_to_the_flip_changes_nothing(kind, answer, mirrored):
    postprocessing = Postprocessing(flip=True, point_order=(1, 0, 2) if kind is TaskKind.REGRESSION else ())
    outputs, other = (np.array([values], np.float32) for values in (answer, mirrored))
    np.testing.assert_allclose(postprocessing.average_with_flipped(outputs, other, kind), outputs, atol=1e-6)
    away = postprocessing.average_with_flipped(outputs, other + np.float32(0.2), kind)
    assert away.dtype == np.float32
    assert np.abs(away - outputs).max() == pytest.approx(0.1, abs=1e-6)


def test_levels_include_the_ones_before():
    points, look = Postprocessing(point_order=(1, 0)), SecondLook()
    masks = replace(points, largest_component=True, fill_holes=True)
    everything = replace(masks, second_look=look, flip=True)
    assert everything.up_to(Postprocess.NONE) == points
    assert everything.up_to(Postprocess.MASKS) == masks
    assert everything.up_to(Postprocess.LOOK) == replace(masks, second_look=look)
    assert everything.up_to(Postprocess.FLIP) == everything


@settings(max_examples=100, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 3)))
def test_labels_are_cleaned_as_logits_are(labels):
    for how in (ONE, FULL, BOTH):
        clean = labels.copy()
        how.clean_labels(clean)
        np.testing.assert_array_equal(clean, how.clean_mask(logits_of(labels, 4)).argmax(axis=0))
