"""Files of tensors (`torch.save`, safetensors), read without running any code that they may carry."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from challenge.errors import UserError
from challenge.host.lfs import START_BYTES, is_lfs_pointer

_WRAPPERS = ("model_state_dict", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel and torch.compile put these before every key


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint on the CPU: a plain state dict, or one under a key of `_WRAPPERS`.

    Beside such a key there may be anything that `read_torch_file` loads: an optimiser's state, the epoch.
    Prefixes of DataParallel and torch.compile are stripped. Raises UserError if the file is missing, is no PyTorch
    checkpoint, or holds anything whose loading would run code.
    """
    state = read_torch_file(path)
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict; save it again with torch.save(model.state_dict(), ...)")
    return {_without_prefix(str(key)): value for key, value in state.items()}


def read_torch_file(path: Path) -> Any:
    """Return what `torch.save` wrote, on the CPU: tensors and plain data; or the tensors of a `.safetensors` file.

    Raises UserError if the file is missing, empty, cut, a Git LFS pointer, no PyTorch checkpoint, or holds anything
    whose loading would run code.
    """
    refuse_pointer(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is damaged or not a safetensors file ({error}); copy it again") from error
    try:
        with warnings.catch_warnings(action="ignore"):  # of foreign pickles, which the errors below tell of
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a PyTorch checkpoint, or it holds Python objects, which could run code and are not loaded; "
            "save it again with torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(
            f"{path} is damaged or not a PyTorch checkpoint ({type(error).__name__}); copy it again"
        ) from error


def refuse_pointer(path: Path) -> None:
    """Raise UserError if the file cannot be read, is empty, or is a Git LFS pointer."""
    try:
        with path.open("rb") as stream:
            head = stream.read(START_BYTES)
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    if not head:
        raise UserError(f"{path} is empty; copy it again")
    if is_lfs_pointer(head):
        raise UserError(f"{path} is a Git LFS pointer, not the checkpoint itself; run `git lfs pull` there")


def _without_prefix(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.partition(".")[2]
    return key
