"""Several batches run at once, and no answer depends on how many."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from challenge.manifest import read_manifest
from model.frozen.loading import plan, rows_of
from model.frozen.metadata import read_metadata
from model.frozen.pipeline import Pipeline
from model.frozen.router import Router
from model.frozen.runtimes import base
from model.frozen.runtimes.base import ProviderError
from model.frozen.runtimes.onnx import OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime


class Meeting:
    """A runtime of two lanes, in which a batch waits at the encoder until another one is there too."""

    def __init__(self, runtime):
        self.lanes, self._runtime, self._barrier = 2, runtime, Barrier(2, timeout=30)

    def run(self, graph, inputs):
        if graph == "encoder":
            self._barrier.wait()
        return self._runtime.run(graph, inputs)


@pytest.fixture
def pipeline(tiny_weights, phantom_folder):
    metadata = read_metadata(tiny_weights)
    return Pipeline(Router(metadata, OnnxRuntime(tiny_weights, metadata.graphs)), phantom_folder, 2)


@pytest.fixture
def batches(pipeline, phantom_folder):
    samples = read_manifest(phantom_folder, pipeline.metadata.specs).samples
    asked = [
        s for s in samples if s.task_id in pipeline.metadata.tasks and s.task_id not in pipeline.metadata.prior_tasks
    ]
    return plan(asked, 2)[:6]


def test_two_batches_run_at_once(pipeline, batches):
    meeting = Pipeline(Router(pipeline.metadata, Meeting(pipeline.router.runtime)), pipeline.data_root, 2)
    answers = []
    assert set(meeting.run(batches, answers.append)) == set(rows_of(batches))
    assert Counter(answer.sample for answer in answers) == Counter(rows_of(batches))
    assert not any(answer.reason for answer in answers)


def test_a_stop_keeps_finished_results_and_starts_no_more(pipeline, batches):
    seen = []

    def stop():
        seen.append(True)
        return len(seen) > 2

    assert set(pipeline.run(batches, lambda _: None, stop)) == set(rows_of(batches[:2]))


def runtime_of(name, folder, cpus, monkeypatch):
    monkeypatch.setattr(base, "available_cpus", lambda: cpus)
    engine, precision = name.split()
    graphs = read_metadata(folder).graphs
    try:
        return OnnxRuntime(folder, graphs) if engine == "onnxruntime" else OpenVinoRuntime(folder, graphs, precision)
    except ProviderError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["onnxruntime float32", "OpenVINO float32", "OpenVINO bfloat16"])
def test_neither_threads_nor_lanes_change_a_byte(name, repository, monkeypatch):
    weights = repository / "weights"
    metadata = read_metadata(weights)
    tasks = ["breast_lesion", "breast_2cls", "thyroid_nodule_det", "FUGC"]
    batches = np.random.default_rng(0).integers(0, 256, (4, 3, 256, 256, 3), np.uint8)

    def answers(runtime, images):
        found = Router(metadata, runtime).run(images, [tasks] * len(images))
        return {task_id: output.tobytes() for task_id, _, output in found}

    one = runtime_of(name, weights, 1, monkeypatch)
    expected = [answers(one, images) for images in batches]
    assert expected[0] != expected[1]
    for cpus in (2, 5):
        runtime = runtime_of(name, weights, cpus, monkeypatch)
        assert (one.lanes, runtime.lanes) == (1, 2)
        with ThreadPoolExecutor(runtime.lanes) as pool:
            assert list(pool.map(lambda images, runtime=runtime: answers(runtime, images), batches)) == expected


def test_a_gpu_has_one_lane(tiny_weights, monkeypatch):
    monkeypatch.setattr(OnnxRuntime, "_check_provider", lambda self: None)
    assert OnnxRuntime(tiny_weights, read_metadata(tiny_weights).graphs, "cuda").lanes == 1
