"""The machine: device, determinism."""

import os

import torch

from challenge.errors import UserError
from training.config import RuntimeConfig
from training.distributed import Ranks


def set_up(config: RuntimeConfig, ranks: Ranks) -> torch.device:
    """Return this rank's device, and switch determinism on or off. Raises UserError if there is no such device."""
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UserError("runtime.device is 'cuda', but PyTorch finds no GPU; check the driver, or set it to 'auto'")
    device = torch.device("cuda", ranks.local) if available and config.device != "cpu" else torch.device("cpu")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Bilinear upsampling has no deterministic backward pass on CUDA: it warns there instead of ending the run.
    torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not config.deterministic
    return device
