"""Faults of a runtime: outputs that are not numbers, missing providers, downloads, weights read twice."""

import socket
from collections import Counter
from importlib.metadata import distributions

import numpy as np
import onnxruntime
import pytest
import torch

from challenge.tasks import CATALOGUE
from model.frozen.metadata import read_metadata
from model.frozen.runtimes import choose
from model.frozen.runtimes.onnx import OnnxRuntime
from model.networks.registry import build, list_systems


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_serving_opens_no_socket(data, call, untouched, no_network):
    ended = call(data.root)
    assert (ended.code, ended.answers) == (0, untouched)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_cost_only_their_row(data, call, untouched, monkeypatch, value):
    honest = OnnxRuntime.run

    def run(self, graph, inputs):
        outputs = honest(self, graph, inputs)
        return (
            {name: np.full_like(array, value) for name, array in outputs.items()} if "organ_cls" in graph else outputs
        )

    monkeypatch.setattr(OnnxRuntime, "run", run)
    ended = call(data.root, "--strict")
    assert ended.code == 3
    assert ended.fallbacks == {"good.csv, line 3": "the network's output is not finite"}
    key = ("../images/good 0.png", "organ_cls")
    assert ended.answers[key]["predicted_probs"] == [1 / 6] * 6
    assert ended.answers | {key: untouched[key]} == untouched


def test_every_graph_is_loaded_once(data, call, monkeypatch):
    loaded = Counter()
    session = onnxruntime.InferenceSession

    def counting(path, *others, **options):
        loaded[path] += 1
        return session(path, *others, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counting)
    data.add(*((f"../images/good {number}.png", "breast_2cls", "classification", "2", "") for number in range(2)))
    assert call(data.root).code == 0
    assert set(loaded.values()) == {1}


def test_an_error_in_a_worker_ends_the_run_without_hanging(data, call, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("challenge.writers.output_file", fail)
    ended = call(data.root)
    assert ended.code == 1
    assert ended.last_line == "unexpected OSError: [Errno 5] Input/output error"


@pytest.fixture
def listed_cuda(monkeypatch):
    """CUDA is listed and a device is there, but this machine's onnxruntime falls back to the CPU, as it does."""
    if choose.cuda_device_count():
        pytest.skip("this machine has a CUDA device")
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(choose, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **_: real(*a, providers=["CPUExecutionProvider"]))


def test_a_silent_fallback_to_the_cpu_is_fatal_for_cuda(data, call, listed_cuda, tmp_path):
    ended = call(data.root, "--device", "cuda")
    assert ended.code == 2
    assert ended.last_line.startswith("--device cuda: CUDA was found but onnxruntime could not use it")
    assert not (tmp_path / "out").exists()


def test_a_silent_fallback_to_the_cpu_is_logged_and_reported_for_auto(data, call, untouched, listed_cuda, caplog):
    ended = call(data.root, "--device", "auto")
    assert (ended.code, ended.answers) == (0, untouched)
    assert "device: cpu, because CUDA was found but onnxruntime could not use it" in caplog.text
    assert ended.report["device"] == {
        "requested": "auto",
        "used": "cpu",
        "runtime": "onnxruntime",
        "providers": ["CPUExecutionProvider"],
    }


def test_a_gpu_without_enough_memory_gets_smaller_batches(tiny_weights, monkeypatch):
    runtime = OnnxRuntime(tiny_weights, read_metadata(tiny_weights).graphs, "cpu")
    images = np.random.default_rng(0).integers(0, 256, (5, 256, 256, 3), np.uint8)
    expected = runtime.run("encoder", {"images": images})
    session, sizes = runtime._sessions["encoder"], []

    class Small:
        def run(self, outputs, inputs):
            sizes.append(len(inputs["images"]))
            if sizes[-1] > limit:
                raise RuntimeError("Failed to allocate memory for requested buffer of size 123")
            return session.run(outputs, inputs)

    monkeypatch.setattr(runtime, "device", "cuda")
    monkeypatch.setitem(runtime._sessions, "encoder", Small())
    limit = 2
    halved = runtime.run("encoder", {"images": images})
    assert sizes == [5, 2, 3, 1, 2]
    for name, array in expected.items():
        np.testing.assert_allclose(halved[name], array, atol=1e-4)
    limit = 0
    with pytest.raises(RuntimeError, match="Failed to allocate"):
        runtime.run("encoder", {"images": images})


def test_missing_cuda_is_reported(data, call, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    refused = call(data.root, "--device", "cuda")
    assert refused.code == 2
    assert refused.last_line == ("--device cuda: this onnxruntime has no CUDA provider; use --device cpu or auto")
    ended = call(data.root, "--device", "auto")
    assert ended.code == 0
    assert ended.report["device"] == {
        "requested": "auto",
        "used": "cpu",
        "runtime": "onnxruntime",
        "providers": ["CPUExecutionProvider"],
    }


def test_sessions_have_their_threads_set_and_do_not_spin(tiny_weights, monkeypatch):
    asked = []
    session = onnxruntime.InferenceSession

    def recording(path, options, **others):
        asked.append(options)
        return session(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", recording)
    runtime = OnnxRuntime(tiny_weights, read_metadata(tiny_weights).graphs, "cpu")
    runtime.run("encoder", {"images": np.zeros((1, 256, 256, 3), np.uint8)})
    (options,) = asked
    assert options.intra_op_num_threads >= 1
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_only_one_onnxruntime_is_installed():
    names = {distribution.name.lower() for distribution in distributions()}
    assert len(names & {"onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"}) == 1


@pytest.mark.parametrize("name", list_systems())
def test_building_a_system_opens_no_socket(name, no_network):
    with torch.device("meta"):  # shapes without numbers: fast, and nothing to download either
        assert build(name, tuple(CATALOGUE.values())).state_dict()
