"""Reduced precision: used or refused, reported, repeatable to the byte, and close to float32."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.frozen.metadata import read_metadata
from model.frozen.options import Options
from model.frozen.router import Router
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission
from model.frozen.runtimes import openvino as openvino_module
from model.frozen.runtimes.base import ProviderError, runtime_threads
from model.frozen.runtimes.onnx import OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answers_of(weights, runtime):
    """The outputs for a batch of noise, by task."""
    metadata = read_metadata(weights)
    images = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    tasks = [task_id for task_id, task in metadata.tasks.items() if task.path]
    return {task_id: output for task_id, _, output in Router(metadata, runtime).run(images, [tasks] * 2)}


@pytest.fixture(scope="module")
def reduced(tiny_weights):
    """Options for bfloat16, where this machine has it."""
    try:
        OpenVinoRuntime(tiny_weights, {}, "bfloat16")
    except ProviderError as error:
        pytest.skip(str(error))
    return Options(tiny_weights, device="cpu", precision="bfloat16")


@pytest.fixture(scope="module")
def whole(reduced, phantom_folder, tmp_path_factory):
    """The phantoms' answers in bfloat16, and the report."""
    folder, report = tmp_path_factory.mktemp("whole"), RunReport()
    run_submission(phantom_folder, folder, reduced, report)
    return contents(folder), report


def test_all_rows_are_answered_and_the_report_names_the_runtime(whole):
    _, report = whole
    table = report.to_dict()
    assert (table["answered"], table["fallbacks"]) == (table["rows"], [])
    assert table["precision"] == "bfloat16"
    assert table["device"] == {"requested": "cpu", "used": "cpu", "runtime": "OpenVINO", "providers": ["CPU"]}
    assert "openvino" in table["versions"]


def test_the_same_run_gives_the_same_bytes_and_other_ones_than_float32(reduced, whole, phantom_folder, tmp_path):
    run_submission(phantom_folder, tmp_path / "again", reduced, RunReport())
    assert contents(tmp_path / "again") == whole[0]
    run_submission(phantom_folder, tmp_path / "float32", Options(reduced.weights, device="cpu"), RunReport())
    assert contents(tmp_path / "float32") != whole[0]


def test_parts_and_resume_give_the_same_bytes(reduced, whole, phantom_folder, tmp_path):
    parts = [tmp_path / "0", tmp_path / "1"]
    stopped = RunReport()
    first = replace(reduced, num_parts=2, part_id=0)
    run_submission(phantom_folder, parts[0], first, stopped, lambda: stopped.answered > 0)
    assert stopped.status == "stopped"
    run_submission(phantom_folder, parts[0], replace(first, resume=True), RunReport())
    run_submission(phantom_folder, parts[1], replace(first, part_id=1), RunReport())
    report = RunReport()
    merge(parts, tmp_path / "whole", report)
    assert contents(tmp_path / "whole") == whole[0]
    assert report.precision == "bfloat16"


def test_a_run_does_not_continue_in_another_precision(data, call, reduced, tmp_path):
    stopped = RunReport()
    run_submission(data.root, tmp_path / "out", reduced, stopped, lambda: True)
    ended = call(data.root, "--resume", "--precision", "float32")
    assert ended.code == 2
    assert "precision is bfloat16 there and float32 here" in ended.last_line


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to count threads in")
def test_threads_do_not_multiply_with_the_graphs(reduced):
    def count():
        return int(re.search(r"^Threads:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])

    graphs = read_metadata(reduced.weights).graphs
    before = count()
    runtime = OpenVinoRuntime(reduced.weights, graphs, "bfloat16")
    answers_of(reduced.weights, runtime)
    assert count() - before <= len(graphs) + runtime_threads() + 4


def test_bfloat16_is_close_to_float32(reduced):
    exact = answers_of(reduced.weights, OnnxRuntime(reduced.weights, read_metadata(reduced.weights).graphs))
    rounded = answers_of(
        reduced.weights, OpenVinoRuntime(reduced.weights, read_metadata(reduced.weights).graphs, "bfloat16")
    )
    for task_id, output in exact.items():
        assert rounded[task_id].dtype == np.float32
        difference = np.abs(rounded[task_id] - output).max() / max(1, np.abs(output).max())
        assert 0 < difference < 0.2, task_id


def test_both_engines_agree_in_float32_on_the_shipped_graphs(repository):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    weights = repository / "weights"
    graphs = read_metadata(weights).graphs
    ours = answers_of(weights, OnnxRuntime(weights, graphs))
    for task_id, output in answers_of(weights, OpenVinoRuntime(weights, graphs)).items():
        np.testing.assert_allclose(output, ours[task_id], rtol=1e-3, atol=1e-3, err_msg=task_id)


def test_weights_that_were_tested_in_bfloat16_run_in_it(reduced, data, tmp_path):
    weights = shutil.copytree(reduced.weights, tmp_path / "tested")
    table = json.loads((reduced.weights / "weights.json").read_text())
    (weights / "weights.json").write_text(json.dumps({**table, "precisions": ["float32", "bfloat16"]}))
    report = RunReport()
    run_submission(data.root, tmp_path / "out", Options(weights, device="cpu"), report)
    assert report.precision == "bfloat16"


def test_the_first_filters_stay_in_float32(reduced, repository, phantom_folder, monkeypatch):
    weights = repository / "weights"
    graphs = read_metadata(weights).graphs
    files = sorted(phantom_folder.rglob("*.png"))[:2]
    inputs = {"images": np.stack([np.asarray(Image.open(file).convert("RGB").resize((256, 256))) for file in files])}
    exact = OpenVinoRuntime(weights, graphs).run("encoder", inputs)["f4"]
    kept = OpenVinoRuntime(weights, graphs, "bfloat16").run("encoder", inputs)["f4"]
    monkeypatch.setattr(openvino_module, "_EXACT_CONVOLUTIONS", 0)
    plain = OpenVinoRuntime(weights, graphs, "bfloat16").run("encoder", inputs)["f4"]
    assert 0 < np.square(kept - exact).mean() < 0.5 * np.square(plain - exact).mean()
