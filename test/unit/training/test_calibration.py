"""Temperatures make probabilities honest and move no decision."""

import json

import numpy as np
import pytest
import torch
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from training.calibration import (
    FILE,
    calibrate,
    check_calibration,
    expected_calibration_error,
    fit_temperature,
    read_temperatures,
)
from training.distributed import Ranks
from training.export_run import export_run
from training.rows import DataSource
from training.runs import train_run


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


def test_a_run_is_calibrated_on_its_dev_rows_and_exported_so(four_kinds, tmp_path):
    source = DataSource(four_kinds, tmp_path / "cache")
    run = tmp_path / "run"
    train_run(tiny_config(data={"dev_fraction": 0.4}), source, run, Ranks())
    plain = export_run(run, tmp_path / "plain", None, None)
    (found,) = calibrate(run, source)
    assert found.task_id == "breast_2cls"
    assert read_temperatures(run) == {"breast_2cls": found.temperature}
    (checked,) = check_calibration(run, DataSource(four_kinds, tmp_path / "cache", four_kinds))
    assert (checked.rows, checked.temperature) == (8, found.temperature)
    tempered = export_run(run, tmp_path / "tempered", None, None)
    assert tempered.extra["temperatures"] == {"breast_2cls": found.temperature}
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    one, other = (
        next(iter(Router(facts, OnnxRuntime(tmp_path / name, facts.graphs, "cpu")).run(images, [["breast_2cls"]] * 2)))
        for name, facts in (("plain", plain), ("tempered", tempered))
    )
    np.testing.assert_allclose(one[2] / found.temperature, other[2], rtol=1e-4, atol=1e-6)


def test_damaged_temperatures_are_named(tmp_path):
    assert read_temperatures(tmp_path) == {}
    (tmp_path / FILE).write_text(json.dumps({"breast_2cls": "warm"}))
    with pytest.raises(UserError, match=r"temperatures\.json is damaged"):
        read_temperatures(tmp_path)
