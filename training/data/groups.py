"""Which rows come from one patient or video: the column `group`, else a guess from the file's name.

The guess, in this order, always within the file's folder:

| the stem | examples | group |
|---|---|---|
| begins with a named patient, subject, case or video | `Patient00168_Plane3_1_of_3` | `patient00168` |
| ends in a frame, slice, view or head-circumference mark | `20220112VAS_slice_599`, `010_2HC` | `20220112vas`, `010` |
| has an id with a digit, a separator and a number | `106_2`, `Cov_Fig15A_0` | `106`, `cov_fig15a` |
| anything else | `benign (383)`, `liver-0041`, `00468` | the stem itself |

A guess that joins too much costs little (rows move together); one that joins too little lets a patient stand on both
sides, so give a `group` column where you can.
"""

import re
from pathlib import PurePosixPath

from challenge.manifest import Sample

_NAMED = re.compile(r"(?:patient|pat|subject|subj|case|video|vid)[ _-]?\d+")
_MARK = re.compile(r"[ _.-]+(?:frame|slice|img|image|view|\d?hc|[24]ch)[ _-]?\d*(?:[ _-](?:ed|es))?$")
_NUMBER = re.compile(r"[ _-]+\d+$")


def group_of(sample: Sample) -> str:
    """Return the sample's group: its column, else the guess from its file name."""
    return sample.group or guessed_group(sample.image_path)


def guessed_group(image_path: str) -> str:
    """Return the patient or video that a file name suggests, with its folder."""
    path = PurePosixPath(image_path.strip().replace("\\", "/"))
    stem = path.stem.casefold()
    named = _NAMED.match(stem)
    if named:
        return f"{path.parent}/{named[0]}"
    shorter = _MARK.sub("", stem)
    if shorter == stem:
        without = _NUMBER.sub("", stem)
        # A word and a number ("liver-0041") counts the images of a collection, not the frames of a patient.
        shorter = without if any(character.isdigit() for character in without) else stem
    return f"{path.parent}/{shorter}"
