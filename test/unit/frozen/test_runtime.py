import ctypes
import os
import sys

import numpy as np
import pytest

from challenge.errors import WeightsError
from challenge.host import limits
from model.frozen.metadata import read_metadata
from model.frozen.runtimes.onnx import OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime


def test_graph_that_is_not_an_onnx_file_is_a_weights_error(tiny_weights, tmp_path):
    metadata = read_metadata(tiny_weights)
    (tmp_path / "encoder.onnx").write_bytes(b"nothing")
    runtime = OnnxRuntime(tmp_path, metadata.graphs, "cpu")
    with pytest.raises(WeightsError, match="cannot load"):
        runtime.run("encoder", {})


def test_cpus_are_those_of_the_affinity_mask_and_the_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(limits, "_ROOT", tmp_path)
    quota = tmp_path / "sys/fs/cgroup/cpu.max"
    quota.parent.mkdir(parents=True)
    for text, expected in [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)]:
        quota.write_text(text)
        assert limits.available_cpus() == expected
    quota.unlink()
    assert limits.available_cpus() == 8


def test_the_memory_limit_is_the_cgroups(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "_ROOT", tmp_path)
    second, first = (tmp_path / "sys/fs/cgroup" / name for name in ("memory.max", "memory/memory.limit_in_bytes"))
    first.parent.mkdir(parents=True)
    assert limits.memory_limit_mib() is None
    first.write_text(f"{(1 << 63) - 4096}\n")
    assert limits.memory_limit_mib() is None
    second.write_text("max\n")
    assert limits.memory_limit_mib() is None
    second.write_text(f"{4 << 30}\n")
    assert limits.memory_limit_mib() == 4096


class SignalStack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    @classmethod
    def of_this_thread(cls):
        stack = cls()
        assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
        return stack.start, stack.flags, stack.size


@pytest.mark.skipif(sys.platform != "linux", reason="other systems load OpenVINO without a stack for signals")
def test_signals_keep_their_stack_when_openvino_is_loaded(tiny_weights):
    """It sets a signal stack and frees it later on any thread; the next Ctrl-C on this thread would then crash."""
    before = SignalStack.of_this_thread()
    metadata = read_metadata(tiny_weights)
    name = next(name for name, graph in metadata.graphs.items() if graph.inputs == ("images",))
    image = np.zeros((1, metadata.image_size, metadata.image_size, 3), np.uint8)
    runtime = OpenVinoRuntime(tiny_weights, metadata.graphs)
    runtime.run(name, {"images": image})
    assert SignalStack.of_this_thread() == before
