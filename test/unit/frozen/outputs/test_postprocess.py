"""Clean masks and the levels of post-processing; scipy is the oracle for connected components."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from model.frozen.outputs.postprocess import (
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


def test_levels_include_the_ones_before():
    points, look = Postprocessing(point_order=(1, 0)), SecondLook()
    masks = replace(points, largest_component=True, fill_holes=True)
    flipped = replace(masks, second_look=look, views=("flip",))
    everything = replace(flipped, views=("flip", "scale 1.2"))
    assert everything.up_to(Postprocess.NONE) == points
    assert everything.up_to(Postprocess.MASKS) == masks
    assert everything.up_to(Postprocess.LOOK) == replace(masks, second_look=look)
    assert everything.up_to(Postprocess.FLIP) == flipped
    assert everything.up_to(Postprocess.VIEWS) == everything


def test_the_flip_of_earlier_versions_is_a_view_and_unknown_views_are_refused():
    assert Postprocessing.from_table({"flip": True, "point_order": [1, 0]}).views == ("flip",)
    assert Postprocessing.from_table({"flip": False}) == Postprocessing()
    assert Postprocessing.from_table({"views": ["scale 1.2"]}).views == ("scale 1.2",)
    with pytest.raises(ValueError, match="upside down: the views are flip"):
        Postprocessing(views=("upside down",))


@settings(max_examples=100, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 3)))
def test_labels_are_cleaned_as_logits_are(labels):
    for how in (ONE, FULL, BOTH):
        clean = labels.copy()
        how.clean_labels(clean)
        np.testing.assert_array_equal(clean, how.clean_mask(logits_of(labels, 4)).argmax(axis=0))
