"""Means of raw outputs, by kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from challenge.tasks import TaskKind
from model.frozen.outputs.joining import HOW, join

LOGITS = arrays(np.float32, (3, 2, 4), elements=st.floats(-50, 50, width=32))


def test_every_kind_says_how_it_is_joined():
    assert set(HOW) == set(TaskKind)


@given(LOGITS)
def test_classes_get_the_mean_of_their_probabilities(logits):
    joined = join(TaskKind.CLASSIFICATION, list(logits))
    assert joined.dtype == np.float32
    np.testing.assert_allclose(softmax(joined, axis=1), softmax(logits, axis=2).mean(axis=0), atol=1e-5)


def test_a_class_that_all_rule_out_stays_finite():
    sure = np.array([[1000, -1000]], np.float32)
    np.testing.assert_allclose(join(TaskKind.CLASSIFICATION, [sure, sure]), [[0, -2000]])


@pytest.mark.parametrize("kind", [TaskKind.SEGMENTATION, TaskKind.DETECTION, TaskKind.REGRESSION])
def test_maps_boxes_and_points_get_their_mean(kind):
    outputs = np.random.default_rng(0).normal(size=(3, 2, 5, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(join(kind, list(outputs)), outputs.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("kind", TaskKind)
def test_one_alone_is_unchanged_and_what_is_not_finite_stays_so(kind):
    one, spoilt = np.ones((2, 5), np.float32), np.full((2, 5), np.nan, np.float32)
    assert join(kind, [one]) is one
    assert not np.isfinite(join(kind, [one, spoilt])).any()
