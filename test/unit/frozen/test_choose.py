"""Which runtime is chosen, on made-up machines."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import onnxruntime
import pytest

from challenge.errors import UserError, WeightsError
from model.frozen.metadata import Graph, read_metadata
from model.frozen.runtimes import choose
from model.frozen.runtimes.choose import choose_device, open_runtime
from model.frozen.runtimes.float16 import inner_graphs
from model.frozen.runtimes.onnx import CPU, CUDA, TENSORRT, OnnxRuntime


@pytest.fixture
def metadata(tiny_weights):
    return read_metadata(tiny_weights)


@pytest.fixture
def tested(metadata):
    return replace(metadata, precisions=("float32", "bfloat16"))


@pytest.fixture
def processor(monkeypatch):
    """Install an OpenVINO that knows this machine's processor to have these capabilities."""

    def install(*capabilities):
        core = SimpleNamespace(get_property=lambda *_: list(capabilities))
        monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=lambda: core))

    return install


@pytest.fixture
def gpu(monkeypatch):
    """List these providers, a CUDA device beside them; sessions really get the last `obtained` of those asked for."""

    def install(*listed, obtained=3):
        sessions = []

        def session(path, options, providers):
            sessions.append(providers)
            return SimpleNamespace(get_providers=lambda: [name for name, _ in providers][-obtained:])

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*listed, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(choose, "cuda_device_count", lambda: 1)
        return sessions

    return install


def test_cpu_is_what_is_asked_for():
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("providers", "devices", "reason"),
    [([CPU], 1, "no CUDA provider"), ([CUDA], 0, "no CUDA device is visible")],
)
def test_missing_cuda_is_an_error_for_cuda_and_a_log_line_for_auto(monkeypatch, caplog, providers, devices, reason):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(choose, "cuda_device_count", lambda: devices)
    with caplog.at_level("INFO"):
        assert choose_device("auto") == "cpu"
    assert reason in caplog.text
    with pytest.raises(UserError, match=reason):
        choose_device("cuda")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_cuda_is_taken_where_it_is(gpu, tiny_weights, metadata, device):
    sessions = gpu(TENSORRT, CUDA)
    runtime = open_runtime(tiny_weights, metadata, device)
    assert (runtime.device, runtime.precision, runtime.providers) == ("cuda", "float32", (CUDA, CPU))
    assert sessions == [[(CUDA, {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}), (CPU, {})]]


def test_float32_by_onnxruntime_is_the_rule(tiny_weights, metadata, processor, caplog):
    processor("FP32", "BF16")
    with caplog.at_level("INFO"):
        runtime = open_runtime(tiny_weights, metadata, "cpu")
    assert isinstance(runtime, OnnxRuntime)
    assert "onnxruntime on cpu in float32, because the weights were tested in no other precision" in caplog.text
    assert open_runtime(tiny_weights, metadata, "cpu", "float32").precision == "float32"


def test_auto_takes_bfloat16_where_weights_and_processor_allow_it(tiny_weights, tested, processor, caplog):
    processor("FP32", "BF16")
    with caplog.at_level("INFO"):
        runtime = open_runtime(tiny_weights, tested, "cpu")
    assert (runtime.name, runtime.device, runtime.precision) == ("OpenVINO", "cpu", "bfloat16")
    assert "runtime: OpenVINO on cpu in bfloat16, because the processor supports it and the weights" in caplog.text
    assert open_runtime(tiny_weights, tested, "cpu", "float32").name == "onnxruntime"


def test_a_processor_without_bfloat16(tiny_weights, metadata, tested, processor, caplog):
    processor("FP32", "INT8")
    with caplog.at_level("INFO"):
        assert open_runtime(tiny_weights, tested, "cpu").precision == "float32"
    assert "because this processor has neither AVX512-BF16 nor AMX" in caplog.text
    with pytest.raises(UserError, match="--precision bfloat16: this processor has neither .*; use --precision float32"):
        open_runtime(tiny_weights, metadata, "cpu", "bfloat16")


def test_without_a_temporary_folder_auto_stays_with_float32(tiny_weights, tested, processor, monkeypatch, caplog):
    def refuse():
        raise FileNotFoundError(2, "No usable temporary directory found")

    processor("BF16")
    monkeypatch.setattr("model.frozen.runtimes.openvino.gettempdir", refuse)
    with caplog.at_level("INFO"):
        assert open_runtime(tiny_weights, tested, "cpu").precision == "float32"
    assert "because OpenVINO needs a writable temporary folder" in caplog.text


def test_without_openvino(tiny_weights, metadata, tested, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level("INFO"):
        assert open_runtime(tiny_weights, tested, "cpu").name == "onnxruntime"
    assert "because OpenVINO is not installed" in caplog.text
    with pytest.raises(UserError, match="--precision bfloat16: OpenVINO is not installed"):
        open_runtime(tiny_weights, metadata, "cpu", "bfloat16")


def test_bfloat16_is_for_the_cpu_even_beside_a_gpu(gpu, processor, tiny_weights, metadata):
    gpu(CUDA)
    processor("BF16")
    assert open_runtime(tiny_weights, metadata, "auto", "bfloat16").device == "cpu"
    with pytest.raises(UserError, match="bfloat16 is for CPUs; use --device cpu"):
        open_runtime(tiny_weights, metadata, "cuda", "bfloat16")


@pytest.mark.parametrize(("precision", "switch"), [("float32", "0"), ("tf32", "1"), ("float16", "0")])
def test_precisions_of_cuda(gpu, tiny_weights, metadata, caplog, precision, switch):
    sessions = gpu(TENSORRT, CUDA)
    with caplog.at_level("INFO"):
        runtime = open_runtime(tiny_weights, metadata, "cuda", precision)
    assert (runtime.device, runtime.precision, runtime.providers) == ("cuda", precision, (CUDA, CPU))
    assert [options["use_tf32"] for name, options in sessions[0] if name == CUDA] == [switch]
    assert f"runtime: onnxruntime on cuda in {precision}, because" in caplog.text


@pytest.mark.parametrize(
    ("precisions", "taken"),
    [
        (("float32",), "float32"),
        (("float32", "bfloat16"), "float32"),
        (("float32", "tf32"), "tf32"),
        (("float32", "bfloat16", "tf32", "float16"), "float16"),
    ],
)
def test_auto_takes_less_than_float32_on_cuda_only_where_the_weights_were_tested_in_it(
    gpu, tiny_weights, metadata, precisions, taken
):
    gpu(TENSORRT, CUDA)
    assert open_runtime(tiny_weights, replace(metadata, precisions=precisions)).precision == taken


def test_float16_needs_onnx_and_auto_goes_on_without(gpu, tiny_weights, metadata, monkeypatch, caplog):
    gpu(CUDA)
    monkeypatch.setattr("model.frozen.runtimes.float16.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"--precision float16: .* needs the package onnx .*; use --precision float32"):
        open_runtime(tiny_weights, metadata, "cuda", "float16")
    with caplog.at_level("INFO"):
        runtime = open_runtime(tiny_weights, replace(metadata, precisions=("float32", "float16")))
    assert (runtime.device, runtime.precision) == ("cuda", "float32")
    assert "because float16 without TensorRT needs the package onnx" in caplog.text


def test_tensorrt_keeps_its_engines_where_the_user_says_and_leaves_heads_to_cuda(gpu, tiny_weights, metadata, tmp_path):
    sessions, folder = gpu(TENSORRT, CUDA), tmp_path / "made" / "engines"
    runtime = open_runtime(tiny_weights, metadata, "auto", "float16", folder)
    assert (runtime.device, runtime.precision, runtime.providers) == ("cuda", "float16", (TENSORRT, CUDA, CPU))
    name, options = sessions[0][0]
    assert (name, options["trt_fp16_enable"], options["trt_engine_cache_enable"]) == (TENSORRT, "1", "1")
    assert options["trt_engine_cache_path"] == str(folder)
    assert folder.is_dir()
    runtime._load(next(name for name in metadata.graphs if name not in inner_graphs(metadata.graphs)))
    assert [name for name, _ in sessions[-1]] == [CUDA, CPU]


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize(
    ("listed", "reason"),
    [((CUDA,), "this onnxruntime has no TensorrtExecutionProvider"), ((TENSORRT, CUDA), "TensorRT was found but")],
)
def test_a_missing_tensorrt_is_refused_and_not_replaced_by_cuda(
    gpu, tiny_weights, metadata, device, listed, reason, tmp_path
):
    gpu(*listed, obtained=2)
    with pytest.raises(UserError, match=f"--precision float16: {reason}.*; use --precision float32"):
        open_runtime(tiny_weights, metadata, device, "float16", tmp_path)


def test_tensorrt_is_for_float16_on_a_gpu(tiny_weights, metadata, tmp_path, gpu):
    gpu(TENSORRT, CUDA)
    for device, precision in (("auto", "auto"), ("cuda", "float32"), ("cpu", "float16")):
        with pytest.raises(UserError, match="--tensorrt computes in float16 on a GPU"):
            open_runtime(tiny_weights, metadata, device, precision, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="the folder of --tensorrt cannot be made"):
        open_runtime(tiny_weights, metadata, "cuda", "float16", tmp_path / "file" / "engines")


@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_precisions_of_a_gpu_are_refused_without_one(tiny_weights, metadata, precision):
    with pytest.raises(UserError, match=f"--precision {precision} needs a GPU"):
        open_runtime(tiny_weights, metadata, "cpu", precision)


def test_a_graph_that_openvino_cannot_load_is_a_weights_error(tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    (tmp_path / "g.onnx").write_bytes(b"nothing")
    runtime = choose.OpenVinoRuntime(tmp_path, {"g": Graph("g.onnx", "", (), ("y",))})
    with pytest.raises(
        WeightsError, match=r"OpenVINO cannot load .*g\.onnx: [^\n]+; use --precision float32"
    ) as caught:
        runtime.run("g", {})
    assert "\n" not in str(caught.value)
