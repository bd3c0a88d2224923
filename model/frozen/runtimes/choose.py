"""Which engine answers, on what, in which precision."""

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


def open_runtime(folder: Path, metadata: WeightsMetadata, device: str = "auto", precision: str = "auto") -> Runtime:
    """Return the runtime that docs/performance.md found fastest for `auto|cpu|cuda` and the precision; log why.

    `auto` computes in less than float32 only where `metadata.precisions` says that it does no harm. Raises UserError if
    the device or the precision cannot be had.
    """
    if precision == "bfloat16" and device == "cuda":
        raise UserError("--precision bfloat16 is for CPUs; use --device cpu, or --precision float32 or float16")
    if precision != "bfloat16" and choose_device(device) == "cuda":
        try:
            return _on_cuda(folder, metadata, precision)
        except ProviderError as error:
            if device == "cuda":
                raise UserError(f"--device cuda: {error}; use --device cpu or auto") from error
            logger.warning("device: cpu, because %s", error)
    return _on_cpu(folder, metadata, precision)


def _on_cuda(folder: Path, metadata: WeightsMetadata, precision: str) -> Runtime:
    if precision != "float16":
        return _chosen(OnnxRuntime(folder, metadata.graphs, "cuda"), "CUDA answers")
    try:
        return _chosen(OnnxRuntime(folder, metadata.graphs, "cuda", "float16"), "--precision asks for it")
    except ProviderError as error:
        raise UserError(f"--precision float16: {error}; use --precision float32") from error


def _on_cpu(folder: Path, metadata: WeightsMetadata, precision: str) -> Runtime:
    if precision == "float16":
        raise UserError("--precision float16 needs a GPU with TensorRT; use auto, float32 or bfloat16")
    reason = "--precision asks for it" if precision == "float32" else "the weights vouch for no other precision"
    if precision == "bfloat16" or (precision == "auto" and "bfloat16" in metadata.precisions):
        why = "--precision asks for it" if precision == "bfloat16" else "the weights vouch for it"
        try:
            reduced = OpenVinoRuntime(folder, metadata.graphs, "bfloat16")
            return _chosen(reduced, f"the processor computes in it and {why}")
        except ProviderError as error:
            if precision == "bfloat16":
                raise UserError(f"--precision bfloat16: {error}; use --precision float32") from error
            reason = str(error)
    return _chosen(OnnxRuntime(folder, metadata.graphs), reason)


def _chosen(runtime: Runtime, reason: str) -> Runtime:
    logger.info("runtime: %s on %s in %s, because %s", runtime.name, runtime.device, runtime.precision, reason)
    return runtime


def choose_device(wanted: str) -> str:
    """Return `cpu` or `cuda` for `auto|cpu|cuda`, and log why. Raises UserError if `cuda` cannot be had."""
    if wanted == "cpu":
        return "cpu"
    if CUDA not in ort.get_available_providers():
        reason = "this onnxruntime has no CUDA provider"
    elif not cuda_device_count():
        reason = "no CUDA device is visible (driver missing, or the container was started without --gpus)"
    else:
        ort.preload_dlls()
        return "cuda"
    if wanted == "cuda":
        raise UserError(f"--device cuda: {reason}; use --device cpu or auto")
    logger.info("device: cpu, because %s", reason)
    return "cpu"


def cuda_device_count() -> int:
    """Number of CUDA devices by the driver's own word; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
