"""Grouped, stratified splits of training rows: no patient, video or image on both sides."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from challenge.manifest import Sample
from training.data.groups import group_of

Content = Mapping[str, str]
"""What an image is, by its `image_path`: images of one content stay together.

It is a hash of the file, so that this holds for copies under two names, or what `training.data.joining` makes of it
for near-copies.
"""


_LEAST = 4


class DisjointSets:
    """Which keys are joined, directly or through others (union-find). A key that was never joined is alone."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        """Return the key that stands for the set of `key`."""
        parent = self._parent
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    def join(self, one: str, other: str) -> None:
        """Make one set of the sets of two keys; `other`'s key stands for it."""
        self._parent[self.find(one)] = self.find(other)


def split(
    samples: Sequence[Sample], dev_fraction: float, seed: int, content: Content | None = None
) -> tuple[list[Sample], list[Sample]]:
    """Return (train, dev). Rows that share a group or an image stay together; strata are tasks and labels.

    Within each stratum whole components go to dev, in an order that depends on `seed` alone, until `dev_fraction` of
    its rows is there.
    """
    dev: set[tuple[str, str]] = set()
    for components in _strata(samples, seed, content):
        wanted, taken = dev_fraction * sum(map(len, components)), 0
        for rows in components[:-1]:
            if taken + len(rows) / 2 > wanted:
                break
            taken += len(rows)
            dev.update(map(_key, rows))
    return [s for s in samples if _key(s) not in dev], [s for s in samples if _key(s) in dev]


def folds(
    samples: Sequence[Sample], count: int, seed: int, content: Content | None = None
) -> list[tuple[list[Sample], list[Sample]]]:
    """Return `count` pairs (train, dev) for cross-validation; every row is in exactly one dev part.

    Within each stratum a component goes to the fold that has the fewest of the stratum's rows so far, and among
    those to the one with the fewest rows of all.
    """
    fold: dict[tuple[str, str], int] = {}
    total = [0] * count
    for components in _strata(samples, seed, content):
        here = [0] * count
        for rows in components:
            number = min(range(count), key=lambda i: (here[i], total[i], i))
            here[number] += len(rows)
            total[number] += len(rows)
            fold.update(dict.fromkeys(map(_key, rows), number))
    return [
        ([s for s in samples if fold[_key(s)] != number], [s for s in samples if fold[_key(s)] == number])
        for number in range(count)
    ]


def subset(samples: Sequence[Sample], count: int, seed: int, content: Content | None = None) -> list[Sample]:
    """Return about `count` of the rows, or all of them if there are no more. The same seed gives the same rows.

    Rows that share a group or an image stay together. Every stratum of tasks and labels has the same part of its
    rows, but at least `_LEAST` if it has so many: a class without a row would have no score.
    """
    if len(samples) <= count:
        return list(samples)
    chosen: set[tuple[str, str]] = set()
    for components in _strata(samples, seed, content):
        wanted, taken = max(_LEAST, sum(map(len, components)) * count / len(samples)), 0
        for rows in components:
            if taken + len(rows) / 2 > wanted and taken:
                break
            taken += len(rows)
            chosen.update(map(_key, rows))
    return [sample for sample in samples if _key(sample) in chosen]


def without_shared(
    train: Sequence[Sample],
    held_out: Sequence[Sample],
    content: Content | None = None,
    held_out_content: Content | None = None,
) -> tuple[list[Sample], list[Sample]]:
    """Return (kept, dropped) of the training rows: dropped are those that share a group or content with `held_out`.

    The two may come from different data folders, hence a `content` for each.
    """
    groups, contents = set(map(group_of, held_out)), set((held_out_content or {}).values())
    kept: list[Sample] = []
    dropped: list[Sample] = []
    for sample in train:
        shared = group_of(sample) in groups or (content or {}).get(sample.image_path) in contents
        (dropped if shared else kept).append(sample)
    return kept, dropped


def _key(sample: Sample) -> tuple[str, str]:
    return sample.image_path, sample.task_id


def _strata(samples: Sequence[Sample], seed: int, content: Content | None) -> list[list[list[Sample]]]:
    """Components by the tasks and labels of their rows, each list in an order that depends on `seed` alone."""
    strata: dict[Hashable, list[list[Sample]]] = defaultdict(list)
    for component in _components(samples, content or {}):
        strata[frozenset((s.task_id, s.cells.get("mask", "")) for s in component)].append(component)
    for components in strata.values():
        components.sort(key=lambda rows: _order(rows, seed))
    return list(strata.values())


def _order(rows: list[Sample], seed: int) -> str:
    key = min(s.group or s.image_path for s in rows)
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def _components(samples: Sequence[Sample], content: Content) -> list[list[Sample]]:
    """Connected components of rows by equal group, equal path or equal content of the image."""
    sets = DisjointSets()
    for sample in samples:
        image = f"image:{sample.image_path}"
        sets.join(f"group:{group_of(sample)}", image)
        if sample.image_path in content:
            sets.join(f"content:{content[sample.image_path]}", image)
    components: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        components[sets.find(f"image:{sample.image_path}")].append(sample)
    return list(components.values())
