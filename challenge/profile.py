"""What differs from challenge to challenge: how rows are read, and how answers are written down."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from challenge.journal import MaskFile
from challenge.manifest import Manifest, Sample, read_manifest
from challenge.predictions import BlankMask, MaskPrediction, Prediction
from challenge.tasks import TaskKind, TaskSpec
from challenge.writers import Entry, entry, write_json, write_mask


@dataclass(frozen=True)
class Profile:
    """One challenge. A run touches its manifest and its files through these four functions alone.

    `read_manifest` gets the data root and the known tasks; `write_mask` the output folder, a row and its mask;
    `entry` turns any other answer into JSON, which the journal keeps; `write_json` gets the output folder and a
    function that gives a kind's entries in manifest order.
    """

    name: str
    read_manifest: Callable[[Path, Mapping[str, TaskSpec]], Manifest]
    write_mask: Callable[[Path, Sample, MaskPrediction | BlankMask], MaskFile]
    entry: Callable[[Sample, Prediction], Entry]
    write_json: Callable[[Path, Callable[[TaskKind], Iterable[Entry]]], None]


FMC_UIA = Profile("fmc_uia", read_manifest, write_mask, entry, write_json)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (FMC_UIA,)}
