"""Accuracy, F1, MCC and AUC against scikit-learn, and the official script's value if scikit-learn refuses."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from evaluate.metrics import classification as cls


def official_auc(true: np.ndarray, probabilities: np.ndarray) -> float:
    """What the official script does, with scikit-learn itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if probabilities.shape[1] == 2:
                area = roc_auc_score(true, probabilities[:, 1])
            else:
                area = roc_auc_score(true, probabilities, average="macro", multi_class="ovr")
        except ValueError:
            return 0.0
    return 0.0 if np.isnan(area) else float(area)


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and predicted classes and probabilities; few digits, so that there are ties; classes may be absent."""
    classes, rows = draw(st.integers(2, 5)), draw(st.integers(1, 25))
    true = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    predicted = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    scores = rng.integers(1, draw(st.sampled_from([3, 20])), (rows, classes)).astype(float)
    return true, predicted, scores / scores.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=60)
@given(answers())
def test_confusion_metrics_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    true, predicted, _ = case
    table = cls.confusion(true, predicted)
    assert cls.accuracy(table) == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    assert cls.f1(table) == pytest.approx(f1_score(true, predicted, average=None, zero_division=0), abs=1e-12)
    for average, ours in (("macro", cls.f1_macro), ("weighted", cls.f1_weighted)):
        assert ours(table) == pytest.approx(f1_score(true, predicted, average=average, zero_division=0), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cls.matthews(table) == pytest.approx(matthews_corrcoef(true, predicted), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(answers())
def test_auc_equals_scikit_learn_or_is_refused_like_there(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    true, _, probabilities = case
    expected = official_auc(true, probabilities)
    if cls.auc_refusal(true, probabilities):
        assert expected == 0.0
    else:
        assert cls.auc_official(true, probabilities) == pytest.approx(expected, abs=1e-9)


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 3, 40), rng.integers(0, 3, 40)
    probabilities = rng.dirichlet(np.ones(3), 40)
    counts = rng.integers(0, 4, (5, 40))
    table = cls.confusion(true, predicted, counts)
    areas = cls.auc_official(true, probabilities, counts)
    for draw, repeats in enumerate(counts):
        rows = np.repeat(np.arange(40), repeats)
        assert cls.f1_macro(table)[draw] == pytest.approx(f1_score(true[rows], predicted[rows], average="macro"))
        assert cls.matthews(table)[draw] == pytest.approx(matthews_corrcoef(true[rows], predicted[rows]))
        assert areas[draw] == pytest.approx(official_auc(true[rows], probabilities[rows]))


def test_absent_class_is_refused_and_auc_present_takes_the_others() -> None:
    true = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1], [0.1, 0.6, 0.3]])
    refusal = cls.auc_refusal(true, probabilities)
    assert refusal is not None
    assert "class 2" in refusal
    assert np.isnan(cls.auc_official(true, probabilities))
    assert cls.auc_present(true, probabilities) == 1.0
    assert np.isnan(cls.auc_present(true[:2], probabilities[:2]))


def test_probabilities_that_do_not_sum_to_one_are_refused_for_more_than_two_classes() -> None:
    true = np.array([0, 1, 2])
    slightly_off = np.eye(3) * (1 + 2e-5)
    assert "sum" in (cls.auc_refusal(true, slightly_off) or "")
    assert official_auc(true, slightly_off) == 0.0
    assert cls.auc_refusal(true, np.eye(3) * (1 + 5e-6)) is None
    assert cls.auc_refusal(np.array([0, 1]), np.array([[0.9, 0.3], [0.4, 0.8]])) is None
    assert cls.auc_present(true, slightly_off) == 1.0


def test_matthews_where_it_is_undefined() -> None:
    table = cls.confusion([1, 1, 1], [1, 1, 1])
    assert cls.matthews(table) == 0.0
    assert np.isnan(cls.matthews(table, undefined=np.nan))


def test_a_draw_without_rows_is_undefined() -> None:
    nothing = np.zeros((1, 3))
    table = cls.confusion([0, 1, 1], [0, 1, 0], nothing)
    for value in (cls.accuracy(table), cls.f1_macro(table), cls.f1_weighted(table), cls.matthews(table)):
        assert np.isnan(value).all()
