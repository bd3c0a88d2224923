"""A whole run opens no socket, unpickles nothing and starts no program but its own decoder.

The interpreter itself reports each attempt.
"""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys

import pytest
from onnx import TensorProto, helper
from phantoms.bad_inputs import BAD_INPUTS

from challenge.errors import WeightsError
from model.frozen.metadata import Graph
from model.frozen.runtimes.onnx import OnnxRuntime

# Installed before inference.py is imported. Building a socket object is harmless; the events below are not.
WATCHED = """
import os, runpy, sys

DECODER = [sys.executable, "-I", "-S", "-B", "-X", "utf8", os.path.abspath("challenge/imaging/child_main.py")]
FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind", "pickle.find_class",
             "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn")

def refuse(event, arguments):
    if event == "subprocess.Popen" and arguments[1] == DECODER:
        sys.stderr.write("DECODER\\n")
    elif event in FORBIDDEN:
        sys.stderr.write(f"FORBIDDEN {event} {arguments}\\n")
        raise RuntimeError(event)

sys.addaudithook(refuse)
try:
    ATTEMPT
except RuntimeError:
    sys.exit(7)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def watched(repository, *arguments, attempt="pass"):
    code = WATCHED.replace("ATTEMPT", attempt)
    return subprocess.run([sys.executable, "-c", code, "inference.py", *map(str, arguments)],
                          cwd=repository, capture_output=True, text=True)  # fmt: skip


@pytest.mark.parametrize(
    "attempt",
    ["import socket; socket.create_connection(('192.0.2.1', 80), 1)",
     "import fractions, pickle; pickle.loads(pickle.dumps(fractions.Fraction(1, 2)))",
     "import subprocess; subprocess.run(['true'])"],
    ids=["socket", "pickle", "program"],
)  # fmt: skip
def test_the_watch_sees(repository, attempt):
    assert watched(repository, attempt=attempt).returncode == 7


def test_no_network_no_pickle_no_program(repository, phantom_folder, tiny_weights, tmp_path):
    run = watched(repository, "--input", phantom_folder, "--output", tmp_path / "out", "--weights", tiny_weights,
                  "--report", tmp_path / "report.json")  # fmt: skip
    assert "FORBIDDEN" not in run.stderr
    assert run.returncode == 0, run.stderr


def test_only_the_decoder_child_is_started_and_only_for_files_that_need_it(repository, data, tiny_weights, tmp_path):
    """A file for SimpleITK starts one child, whatever the number of such files. In it, the same code is forbidden."""

    def run():
        return watched(repository, "--input", data.root, "--output", tmp_path / "out", "--weights", tiny_weights)

    assert "DECODER" not in run().stderr
    scan = next(bad for bad in BAD_INPUTS if bad.name == "scan.dcm").data()
    for number in range(3):
        (data.root / "images" / f"{number}.dcm").write_bytes(scan)
    data.add(*((f"../images/{number}.dcm", "organ_cls", "classification", "6", "") for number in range(3)))
    ended = run()
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("DECODER") == 1
    assert "FORBIDDEN" not in ended.stderr
    assert "fallback" not in ended.stderr.replace("0 of them with a fallback", "")


def test_openvino_sends_no_usage_data(repository, tiny_weights):
    """OpenVINO's import sends an event if openvino-telemetry is installed; the runtime's module blocks it."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    code = (
        "import sys; from pathlib import Path; from model.frozen.metadata import read_metadata; "
        "from model.frozen.runtimes.openvino import OpenVinoRuntime; import numpy as np; "
        f"folder = Path({str(tiny_weights)!r}); runtime = OpenVinoRuntime(folder, read_metadata(folder).graphs); "
        "assert runtime.run('encoder', {'images': np.zeros((1, 256, 256, 3), np.uint8)}); "
        "assert [name for name in sys.modules if name.startswith('openvino_telemetry.')] == []; sys.exit(0)"
    )
    run = watched(repository, attempt=code)
    assert "FORBIDDEN" not in run.stderr
    assert run.returncode == 0, run.stderr


def test_pickled_weights_are_refused_unread(repository, phantom_folder, tiny_weights, tmp_path):
    """A pickle instead of a graph has another hash; with a corrected hash it is still not an ONNX file."""
    weights = shutil.copytree(tiny_weights, tmp_path / "weights")
    metadata = json.loads((weights / "weights.json").read_text())
    graph = next(iter(metadata["graphs"].values()))
    content = pickle.dumps({"state_dict": print})
    (weights / graph["file"]).write_bytes(content)
    arguments = ("--input", phantom_folder, "--output", tmp_path / "out", "--weights", weights)
    for digest in (graph["sha256"], hashlib.sha256(content).hexdigest()):
        graph["sha256"] = digest
        (weights / "weights.json").write_text(json.dumps(metadata))
        run = watched(repository, *arguments)
        assert run.returncode == 2
        assert "FORBIDDEN" not in run.stderr
        assert graph["file"] in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("absolute", [False, True])
def test_graphs_cannot_read_files_outside_their_folder(tmp_path, absolute):
    """ONNX may store tensors in other files. onnxruntime refuses files outside the folder."""
    secret, folder = tmp_path / "secret", tmp_path / "weights"
    secret.write_bytes(bytes(16))
    folder.mkdir()
    tensor = TensorProto(name="s", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=str(secret) if absolute else "../secret")
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Identity", ["s"], ["y"])], "g", [], [value], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "g.onnx").write_bytes(model.SerializeToString())
    runtime = OnnxRuntime(folder, {"g": Graph("g.onnx", "", (), ("y",))}, "cpu")
    with pytest.raises(WeightsError, match="[Ee]xternal data"):
        runtime.run("g", {})
