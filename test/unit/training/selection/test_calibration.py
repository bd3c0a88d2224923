"""Temperatures make probabilities honest and move no decision."""

import json

import numpy as np
import pytest
import torch
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from challenge.manifest import Row, Sample
from challenge.tasks import TaskKind
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.run import export_run
from training.loop.runs import train_run
from training.selection import calibration
from training.selection.calibration import (
    FILE,
    are_enough,
    calibrate,
    check_calibration,
    expected_calibration_error,
    fit_temperature,
    holds_for_others,
    read_temperatures,
)


def honest(count, sharpness, seed=0):
    """Logits `sharpness` times too large for the labels that were drawn from them."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 3, generator=rng) * 1.5
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=rng)[:, 0]
    return logits * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done_to_the_logits(sharpness):
    logits, labels = honest(20_000, sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


def test_calibration_error_of_hand_made_cases():
    sure = torch.tensor([[1.0, 0.0]] * 4)
    assert expected_calibration_error(sure, torch.tensor([0, 0, 0, 0])) == 0
    assert expected_calibration_error(sure, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25)
    mixed = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    assert expected_calibration_error(mixed, torch.tensor([0, 1])) == pytest.approx((0.1 + 0.6) / 2, abs=1e-6)


def test_tempering_lowers_the_error_of_too_sure_logits():
    logits, labels = honest(5_000, 3.0)
    temperature = fit_temperature(logits, labels)
    before, after = (expected_calibration_error((logits / t).softmax(dim=1), labels) for t in (1.0, temperature))
    assert after < 0.3 * before


def rows(count, groups):
    """Samples of one task, dealt to so many patients."""
    return [
        Sample(
            f"{n}.png", "breast_2cls", TaskKind.CLASSIFICATION, 3, Row("a.csv", n), cells={"group": f"p{n % groups}"}
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(("sharpness", "groups", "holds"), [(3.0, 50, True), (1.0, 50, False), (3.0, 1, False)])
def test_a_temperature_is_kept_if_it_holds_for_patients_that_did_not_fit_it(sharpness, groups, holds):
    logits, labels = honest(400, sharpness)
    assert holds_for_others(rows(400, groups), logits, labels) is holds


def test_a_gain_within_its_own_standard_error_is_not_kept():
    logits, labels = honest(60, 1.3, seed=15)  # a mean gain of 0.019 over the fifths, with a standard error of 0.036
    assert not holds_for_others(rows(60, 30), logits, labels)


def test_a_gain_with_one_patient_alone_is_not_kept():
    logits, labels = honest(100, 1.0)
    logits[::5] *= 8.0  # patient 0 of 5: so sure of so many wrong answers that the temperature of all rows rises
    assert fit_temperature(logits, labels) > 1.5
    assert not holds_for_others(rows(100, 5), logits, labels)


@pytest.mark.parametrize("holds", [True, False])
def test_a_run_is_calibrated_on_its_dev_rows_and_exported_so(four_kinds, tmp_path, monkeypatch, holds):
    monkeypatch.setattr(calibration, "holds_for_others", lambda *_: holds)
    monkeypatch.setattr(calibration, "are_enough", lambda *_: True)
    source = DataSource(four_kinds, tmp_path / "cache")
    run = tmp_path / "run"
    train_run(tiny_config(data={"dev_fraction": 0.4}), source, run, Ranks())
    plain = export_run(run, tmp_path / "plain", None, None)
    (found,) = calibrate(run, source)
    assert (found.task_id, found.kept) == ("breast_2cls", holds)
    kept = {"breast_2cls": found.temperature} if holds else {}
    assert read_temperatures(run) == kept
    (checked,) = check_calibration(run, DataSource(four_kinds, tmp_path / "cache", four_kinds), [found])
    assert (checked.rows, checked.temperature, checked.kept) == (8, found.temperature, holds)
    tempered = export_run(run, tmp_path / "tempered", None, None)
    assert tempered.extra["temperatures"] == kept
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    one, other = (
        next(iter(Router(facts, OnnxRuntime(tmp_path / name, facts.graphs, "cpu")).run(images, [["breast_2cls"]] * 2)))
        for name, facts in (("plain", plain), ("tempered", tempered))
    )
    np.testing.assert_allclose(one[2] / kept.get("breast_2cls", 1.0), other[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("counts", "enough"), [((25, 25), True), ((25, 24), False), ((46, 4), False), ((45, 5), True), ((60, 0), False)]
)
def test_a_temperature_needs_fifty_rows_and_five_of_every_class(counts, enough):
    labels = torch.tensor([0] * counts[0] + [1] * counts[1])
    assert are_enough(labels, 2) is enough


def test_too_few_rows_keep_no_temperature(four_kinds, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "holds_for_others", lambda *_: True)
    source = DataSource(four_kinds, tmp_path / "cache")
    train_run(tiny_config(data={"dev_fraction": 0.4}, optim={"images": 4}), source, tmp_path / "run", Ranks())
    (found,) = calibrate(tmp_path / "run", source)
    assert (found.kept, found.verdict) == (False, "no: too few rows")
    assert read_temperatures(tmp_path / "run") == {}


def test_damaged_temperatures_are_named(tmp_path):
    assert read_temperatures(tmp_path) == {}
    (tmp_path / FILE).write_text(json.dumps({"breast_2cls": "warm"}))
    with pytest.raises(UserError, match=r"temperatures\.json is damaged"):
        read_temperatures(tmp_path)
