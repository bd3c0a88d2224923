import os

import onnxruntime
import pytest

from challenge.errors import UserError, WeightsError
from model.frozen import limits
from model.frozen.facts import read_facts
from model.frozen.runtimes import onnx as runtime_module
from model.frozen.runtimes.onnx import OnnxRuntime, choose_device


def test_cpu_is_what_is_asked_for():
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("providers", "devices", "reason"),
    [(["CPUExecutionProvider"], 1, "no CUDA provider"), (["CUDAExecutionProvider"], 0, "no CUDA device is visible")],
)
def test_missing_cuda_is_an_error_for_cuda_and_a_log_line_for_auto(monkeypatch, caplog, providers, devices, reason):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(runtime_module, "cuda_device_count", lambda: devices)
    with caplog.at_level("INFO"):
        assert choose_device("auto") == "cpu"
    assert reason in caplog.text
    with pytest.raises(UserError, match=reason):
        choose_device("cuda")


def test_cuda_is_taken_where_it_is(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(runtime_module, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    assert choose_device("auto") == choose_device("cuda") == "cuda"


def test_graph_that_is_no_onnx_file_is_a_weights_error(tiny_weights, tmp_path):
    facts = read_facts(tiny_weights)
    (tmp_path / "encoder.onnx").write_bytes(b"nothing")
    runtime = OnnxRuntime(tmp_path, facts.graphs, "cpu")
    with pytest.raises(WeightsError, match="cannot load"):
        runtime.run("encoder", {})


def test_cpus_are_those_of_the_affinity_mask_and_the_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(limits, "_QUOTAS", (quota, tmp_path / "absent"))
    for text, expected in [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)]:
        quota.write_text(text)
        assert limits.available_cpus() == expected
    quota.unlink()
    assert limits.available_cpus() == 8


def test_the_memory_limit_is_the_cgroups(monkeypatch, tmp_path):
    second, first = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    monkeypatch.setattr(limits, "_MEMORY", (second, first))
    assert limits.memory_limit_mib() is None
    first.write_text(f"{(1 << 63) - 4096}\n")
    assert limits.memory_limit_mib() is None
    second.write_text("max\n")
    assert limits.memory_limit_mib() is None
    second.write_text(f"{4 << 30}\n")
    assert limits.memory_limit_mib() == 4096
