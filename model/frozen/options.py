"""The options of a run."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from challenge.errors import UserError
from challenge.profile import FMC_UIA, Profile
from model.frozen.outputs.postprocess import Postprocess

AUTO = "auto"
POSTPROCESS_VARIABLE = "FMC_UIA_POSTPROCESS"
"""The environment variable that sets the level of post-processing where no option does; the image has it."""


def postprocess_of(name: str) -> Postprocess | None:
    """Return a level by its name; None for `auto`, what the weights recommend. Raises ValueError."""
    return None if name == AUTO else Postprocess(name)


def _from_environment() -> Postprocess | None:
    name = os.environ.get(POSTPROCESS_VARIABLE) or AUTO
    try:
        return postprocess_of(name.lower())
    except ValueError as error:
        raise UserError(f"{POSTPROCESS_VARIABLE} is {name!r}; set it to {', '.join([AUTO, *Postprocess])}") from error


@dataclass(frozen=True)
class Options:
    """The options that `inference.py --help` explains. No `tasks` means all; `ray` is a cluster's address.

    `postprocess` is None for what the weights recommend; without it, `POSTPROCESS_VARIABLE` decides. `tensorrt` is the
    folder of TensorRT's engines, None without TensorRT.
    """

    weights: Path
    batch_size: int = 4
    device: str = "auto"
    precision: str = "auto"
    mask_resize: str = "logits"
    postprocess: Postprocess | None = field(default_factory=_from_environment)
    tasks: tuple[str, ...] = ()
    resume: bool = False
    num_parts: int = 1
    part_id: int = 0
    ray: str | None = None
    profile: Profile = FMC_UIA
    tensorrt: Path | None = None
    soft_masks: Path | None = None
    """The folder for the probabilities of masks, None for no such files."""
    confidence: Path | None = None
    """The file for the confidence of every row, None for none."""
