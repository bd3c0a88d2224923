"""The options of a run."""

from dataclasses import dataclass
from pathlib import Path

from challenge.profile import FMC_UIA, Profile
from model.frozen.postprocess import Postprocess


@dataclass(frozen=True)
class Options:
    """The options that `inference.py --help` explains. No `tasks` means all; `ray` is a cluster's address.

    `postprocess` is None for what the weights recommend.
    """

    weights: Path
    batch_size: int = 4
    device: str = "auto"
    precision: str = "auto"
    mask_resize: str = "logits"
    postprocess: Postprocess | None = None
    tasks: tuple[str, ...] = ()
    resume: bool = False
    num_parts: int = 1
    part_id: int = 0
    ray: str | None = None
    profile: Profile = FMC_UIA
