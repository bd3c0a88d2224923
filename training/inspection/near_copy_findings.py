"""Pictures that are nearly the same: in the data folder and in --val-root, or in two groups of the data folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from challenge.manifest import Sample
from training.config import DataConfig
from training.data.groups import group_of
from training.data.joining import join_near_copies
from training.data.near_copies import Images, NearCopy, search
from training.data.thumbnails import Thumbnail
from training.data.usable import Finding, Level

LEAST = DataConfig.near_copies
"""The threshold of the recipes, unless they say otherwise."""

ACROSS, NAMED, JOINED = "near-copy in both folders", "near-copies in two groups", "near-copies joined into a group"


@dataclass(frozen=True)
class Pair:
    """Two rows whose images are near-copies, the data folders that they come from, and the correlation."""

    one: Sample
    other: Sample
    roots: tuple[Path, Path]
    correlation: float


@dataclass(frozen=True)
class Pictures:
    """The images of a data folder by the hash of their file: the rows that have them, and their thumbnails."""

    root: Path
    rows: Mapping[str, list[Sample]]
    thumbnails: Mapping[str, Thumbnail]

    @property
    def images(self) -> Images:
        """What is to be compared."""
        return Images(self.thumbnails, {content: group_of(rows[0]) for content, rows in self.rows.items()})

    @property
    def content(self) -> dict[str, str]:
        """The hash of every image by its `image_path`."""
        return {row.image_path: content for content, rows in self.rows.items() for row in rows}


@dataclass(frozen=True)
class Alike:
    """What was found, the closest first. `largest` is the number of images in the largest group that `train` joins."""

    across: tuple[Pair, ...] = ()
    named: tuple[Pair, ...] = ()
    joined: tuple[Pair, ...] = ()
    largest: int = 0


def find_alike(folder: Pictures, held_out: Pictures | None = None) -> Alike:
    """Find the pairs, as `train` does: which it leaves out, keeps apart and joins."""
    across = search(folder.images, LEAST, held_out.images) if held_out else []
    samples = [row for rows in folder.rows.values() for row in rows]
    found = join_near_copies(samples, folder.content, search(folder.images, LEAST))
    return Alike(
        across=tuple(_pair(copy, folder, held_out or folder) for copy in across),
        named=tuple(_pair(copy, folder, folder) for copy in found.apart),
        joined=tuple(_pair(copy, folder, folder) for copy in found.joined),
        largest=found.largest,
    )


def findings(alike: Alike, folder: Pictures) -> Iterator[Finding]:
    """Yield an error for every row with a near-copy in the other folder, and a warning for every other pair."""
    closest: dict[str, Pair] = {}
    for pair in alike.across:
        closest.setdefault(pair.one.image_path, pair)
    for rows in folder.rows.values():
        for row in rows:
            if twin := closest.get(row.image_path):
                yield Finding(Level.ERROR, ACROSS, _detail(twin), row)
    for fault, pairs in ((NAMED, alike.named), (JOINED, alike.joined)):
        for pair in pairs:
            yield Finding(Level.WARNING, fault, _detail(pair), pair.one)


def _pair(copy: NearCopy, folder: Pictures, other: Pictures) -> Pair:
    one, another = folder.rows[copy.one][0], other.rows[copy.other][0]
    return Pair(one, another, (folder.root, other.root), copy.correlation)


def _detail(pair: Pair) -> str:
    groups = f"groups {group_of(pair.one)} and {group_of(pair.other)}"
    return f"correlation {pair.correlation:.3f} with {pair.other.image_path} ({pair.other.row}), {groups}"
