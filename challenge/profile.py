"""Profiles: what differs between the challenges, namely how rows are read and answers are written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from challenge.host.places import INPUT_JSON
from challenge.manifest import Manifest, Sample, read_manifest
from challenge.paths import JSON_FILES, UUSIC_JSON_FILE
from challenge.predictions import BlankMask, MaskFile, MaskPrediction, Prediction
from challenge.tasks import TaskKind, TaskSpec
from challenge.uusic import writers as uusic_writers
from challenge.uusic.heads import head_table
from challenge.uusic.manifest import parse_list, read_list
from challenge.writers import JsonObject, entry, write_json, write_mask


@dataclass(frozen=True)
class Profile:
    """One challenge. A run reads its manifest and writes its files only through these four functions.

    `read_manifest` takes the data root and the known tasks; `write_mask` takes the output folder, a row and its mask;
    `entry` turns any other answer into a JSON object, which the journal keeps; `write_json` takes the output folder and
    a function that returns the JSON objects of a kind in manifest order. If the weights lack one of `own_tasks`, the
    prior answers, which does not count as a fallback. `answer_files` are the names of the JSON files; `list_file` is
    the list of images, if that is a file outside the data root.
    """

    name: str
    read_manifest: Callable[[Path, Mapping[str, TaskSpec]], Manifest]
    write_mask: Callable[[Path, Sample, MaskPrediction | BlankMask], MaskFile]
    entry: Callable[[Sample, Prediction], JsonObject]
    write_json: Callable[[Path, Callable[[TaskKind], Iterable[JsonObject]]], None]
    answer_files: Sequence[str]
    own_tasks: Sequence[TaskSpec] = ()
    list_file: Path | None = None


def uusic(source: Path | list[Mapping[str, str]]) -> Profile:
    """Return the profile of UUSIC 2025 for a list of images, or for the file that holds it."""
    if isinstance(source, Path):
        return replace(UUSIC, read_manifest=lambda _, tasks: read_list(source, tasks), list_file=source)
    return replace(UUSIC, read_manifest=lambda _, tasks: parse_list(source, "data_list", tasks))


def choose_profile(name: str, list_file: Path) -> Profile:
    """Return the profile called `name`; `auto` is UUSIC's where `list_file` exists, else FMC_UIA's."""
    if name == "uusic" or (name == "auto" and list_file.exists()):
        return uusic(list_file)
    return FMC_UIA


FMC_UIA = Profile("fmc", read_manifest, write_mask, entry, write_json, tuple(JSON_FILES.values()))
UUSIC = Profile(
    "uusic",
    lambda _, tasks: read_list(INPUT_JSON, tasks),
    uusic_writers.write_mask,
    uusic_writers.entry,
    uusic_writers.write_json,
    (UUSIC_JSON_FILE,),
    head_table().own_tasks,
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (FMC_UIA, UUSIC)}
