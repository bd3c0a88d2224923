"""Joins near-copies into groups, so that a split keeps them together. Two groups that have a name stay apart."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from challenge.manifest import Sample
from training.data.groups import group_of
from training.data.near_copies import NearCopy
from training.data.split import Content, DisjointSets


@dataclass(frozen=True)
class Joined:
    """Rows with their near-copies joined.

    `content` says by `image_path` what stays together: near-copies and their groups have one value. `joined` are the
    pairs that were joined, `apart` those of two groups with different names in the column `group`. `largest` is the
    number of images in the largest joined group.
    """

    content: Content
    joined: Sequence[NearCopy]
    apart: Sequence[NearCopy]
    largest: int


def join_near_copies(samples: Sequence[Sample], content: Content, near_copies: Sequence[NearCopy]) -> Joined:
    """Join the groups of near-copies, the closest pair first, unless both groups have a name.

    So no chain of images without a group joins two named patients. `near_copies` are among the images of `samples`,
    whose hashes are `content`.
    """
    sets, named = _groups(samples, content)
    joined: list[NearCopy] = []
    apart: list[NearCopy] = []
    for copy in sorted(near_copies, key=lambda copy: -copy.correlation):
        one, other = sets.find(copy.one), sets.find(copy.other)
        if one == other:
            joined.append(copy)
        elif named[one] and named[other]:
            apart.append(copy)
        else:
            sets.join(one, other)
            named[other] = named[one] or named[other]
            joined.append(copy)
    sizes = Counter(sets.find(image) for image in set(content.values()))
    largest = max((sizes[sets.find(copy.one)] for copy in joined), default=0)
    together = {sample.image_path: sets.find(content[sample.image_path]) for sample in samples}
    return Joined(together, joined, apart, largest)


def _groups(samples: Sequence[Sample], content: Content) -> tuple[DisjointSets, dict[str, bool]]:
    """Images by their hashes, joined by group; and whether a set has a name."""
    sets = DisjointSets()
    for sample in samples:
        sets.join(f"group of {group_of(sample)}", content[sample.image_path])
    named: dict[str, bool] = defaultdict(bool)
    for sample in samples:
        named[sets.find(content[sample.image_path])] |= bool(sample.group)
    return sets, named
