"""Chooses the runtime, the device and the precision."""

import ctypes
import logging
from pathlib import Path

import onnxruntime as ort

from challenge.errors import UserError
from model.frozen.metadata import WeightsMetadata
from model.frozen.runtimes.base import ProviderError, Runtime
from model.frozen.runtimes.onnx import CUDA, OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime

logger = logging.getLogger(__name__)


def open_runtime(
    folder: Path, metadata: WeightsMetadata, device: str = "auto", precision: str = "auto", tensorrt: Path | None = None
) -> Runtime:
    """Return the fastest runtime for `auto|cpu|cuda` and the precision (docs/performance.md); log why.

    The precision `auto` is lower than float32 only where `metadata.precisions` allows it. `tensorrt` is a folder for
    TensorRT's engines, if it shall compute float16. Raises UserError if the device or the precision is not available.
    """
    if tensorrt and (precision != "float16" or device == "cpu"):
        raise UserError("--tensorrt computes in float16 on a GPU; add --precision float16, and no --device cpu")
    if precision == "bfloat16" and device == "cuda":
        raise UserError("--precision bfloat16 is for CPUs; use --device cpu, or another --precision")
    if precision != "bfloat16" and choose_device(device) == "cuda":
        try:
            return _on_cuda(folder, metadata, precision, tensorrt)
        except ProviderError as error:
            if device == "cuda":
                raise UserError(f"--device cuda: {error}; use --device cpu or auto") from error
            logger.warning("device: cpu, because %s", error)
    return _on_cpu(folder, metadata, precision)


def _on_cuda(folder: Path, metadata: WeightsMetadata, precision: str, tensorrt: Path | None) -> Runtime:
    """Raises ProviderError if CUDA cannot be used at all."""
    fastest = next((name for name in ("float16", "tf32") if name in metadata.precisions), "float32")
    wanted = fastest if precision == "auto" else precision
    reason = "CUDA answers"
    if wanted != "float32":
        why = "the weights were tested in it" if precision == "auto" else "--precision asks for it"
        try:
            return _chosen(OnnxRuntime(folder, metadata.graphs, "cuda", wanted, _made(tensorrt)), why)
        except ProviderError as error:
            if precision != "auto":
                raise UserError(f"--precision {wanted}: {error}; use --precision float32") from error
            reason = str(error)
    return _chosen(OnnxRuntime(folder, metadata.graphs, "cuda"), reason)


def _made(folder: Path | None) -> Path | None:
    """Make TensorRT's folder, which TensorRT does not. Raises ProviderError."""
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProviderError(f"the folder of --tensorrt cannot be made ({error})") from error
    return folder


def _on_cpu(folder: Path, metadata: WeightsMetadata, precision: str) -> Runtime:
    if precision in ("float16", "tf32"):
        raise UserError(f"--precision {precision} needs a GPU that CUDA can use; use auto, float32 or bfloat16")
    reason = "--precision asks for it" if precision == "float32" else "the weights were tested in no other precision"
    if precision == "bfloat16" or (precision == "auto" and "bfloat16" in metadata.precisions):
        why = "--precision asks for it" if precision == "bfloat16" else "the weights were tested in it"
        try:
            reduced = OpenVinoRuntime(folder, metadata.graphs, "bfloat16")
            return _chosen(reduced, f"the processor supports it and {why}")
        except ProviderError as error:
            if precision == "bfloat16":
                raise UserError(f"--precision bfloat16: {error}; use --precision float32") from error
            reason = str(error)
    return _chosen(OnnxRuntime(folder, metadata.graphs), reason)


def _chosen(runtime: Runtime, reason: str) -> Runtime:
    logger.info("runtime: %s on %s in %s, because %s", runtime.name, runtime.device, runtime.precision, reason)
    return runtime


def choose_device(wanted: str) -> str:
    """Return `cpu` or `cuda` for `auto|cpu|cuda`; log why. Raises UserError if `cuda` is not available."""
    if wanted == "cpu":
        return "cpu"
    reason = why_no_cuda()
    if reason is None:
        ort.preload_dlls()
        return "cuda"
    if wanted == "cuda":
        raise UserError(f"--device cuda: {reason}; use --device cpu or auto")
    logger.info("device: cpu, because %s", reason)
    return "cpu"


def why_no_cuda() -> str | None:
    """Return why CUDA cannot be used here; None if it can, as far as that is seen without a session."""
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime has no CUDA provider"
    if not cuda_device_count():
        return "no CUDA device is visible (driver missing; in a container, start it with --gpus)"
    return None


def cuda_device_count() -> int:
    """Return the number of CUDA devices that the driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
