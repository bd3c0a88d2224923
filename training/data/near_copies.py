"""Finds near-copies: an image that was cropped or compressed again, or the next frame of the same scan.

Every pair of images is compared by 32x32 grey thumbnails, in three steps:

1. **Correlation after a small shift and zoom.** To first order, an image that is shifted or zoomed a little is the
   image plus multiples of its derivatives (Lucas & Kanade, IJCAI 1981). So the other image is fitted by the image and
   four derivatives (across, down, and both times the distance from the centre). The multiple correlation must be
   over the threshold. A copy without 2 % of every side is found that way; its plain correlation may be .83.
2. **A shift that a copy may have.** A fit that moves pixels further than `_FURTHEST` is no copy.
3. **Alike inside the picture.** Images of one probe share the black outside of its sector, which alone lets different
   patients correlate over .95. So where one of the two is not black, the correlation must be nearly as high.

The first step is done for all pairs in blocks of matrix products, in one direction and with a lower threshold. Only
the few pairs that are left are fitted in both directions, as a whole and inside the picture; one direction suffices.
"""

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from challenge.host.progress import progress
from training.data.thumbnails import SIDE, Thumbnail, read_thumbnails
from training.text_files import write_text

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

BLOCK = 1024
"""Images of a block: 5 x BLOCK x BLOCK float32 correlations are in memory at once."""

_VERSION = 1  # of the search: count up whenever it finds other pairs
_FLAT = 1.0
"""Grey levels: a thumbnail with a smaller standard deviation shows nothing, and is no copy of anything."""
_BLACK = 8
"""Grey levels: what is not brighter is outside of the picture."""
_INSIDE_LESS = 0.07
"""How much lower than the threshold the correlation inside the picture may be."""
_FURTHEST = 1.25
"""Thumbnail pixels (4 % of a side) by which the fit may move the image, or its border by zooming."""
_SEARCHED_LESS = 0.02
"""How much lower the correlation of a pair may be that is looked at again: in float64, and fitted the other way."""
_CLOSEST = 32
"""Pairs of one image with the images of a block: a still video of thousands of frames would give millions."""
_PAIRS = 512
"""Pairs that are fitted at once."""


@dataclass(frozen=True)
class NearCopy:
    """Two images, by the hashes of their files, and their correlation after a small shift and zoom."""

    one: str
    other: str
    correlation: float


@dataclass(frozen=True)
class Images:
    """Images to compare: their thumbnails and groups by content hash. Images of one group are not compared."""

    thumbnails: Mapping[str, Thumbnail]
    groups: Mapping[str, str]


def search(images: Images, least: float, others: Images | None = None, block: int = BLOCK) -> list[NearCopy]:
    """Return the near-copies among `images`, or between `images` and `others`; the closest come first.

    `least` is the threshold (0..1). The order of the images does not matter.
    """
    ones = _Side.of(images)
    against = _Side.of(others) if others else ones
    starts = _block_starts(ones, against, block)
    found = [
        NearCopy(ones.contents[i], against.contents[j], round(float(correlation), 4))
        for pairs in progress(_candidates(ones, against, starts, block, least), len(starts), "near-copy blocks")
        for i, j, correlation in _verified(ones, against, pairs, least)
    ]
    return sorted(found, key=lambda copy: (-copy.correlation, copy.one, copy.other))


def cached_search(
    files: Mapping[str, Path], groups: Mapping[str, str], least: float, cache: Path, others: Mapping[str, Path] | None
) -> list[NearCopy]:
    """Do as `search` does for image files by content hash; `groups` are those of all of them.

    What is found is kept in `cache`, so that a second run need not search again.
    """
    path = cache / "near-copies" / f"{_key(files, groups, least, others or {})}.json"
    if path.is_file():
        return [NearCopy(*entry) for entry in json.loads(path.read_text("utf-8"))]
    start = time.monotonic()
    found = search(
        Images(read_thumbnails(files, cache), groups),
        least,
        Images(read_thumbnails(others, cache), groups) if others else None,
    )
    seconds = time.monotonic() - start
    logger.info("compared %d images in %.0f s: %d pairs of near-copies", len(files), seconds, len(found))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps([[copy.one, copy.other, copy.correlation] for copy in found]))
    return found


def _key(files: Mapping[str, Path], groups: Mapping[str, str], least: float, others: Mapping[str, Path]) -> str:
    known = [[[content, groups[content]] for content in sorted(side)] for side in (files, others)]
    return hashlib.blake2b(json.dumps([_VERSION, least, known]).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class _Side:
    """The images that are not flat, in the order of their hashes: (N, SIDE * SIDE) uint8 and (N,) int64 group ids."""

    contents: Sequence[str]
    pixels: npt.NDArray[np.uint8]
    groups: npt.NDArray[np.int64]

    @classmethod
    def of(cls, images: Images) -> "_Side":
        contents = [key for key in sorted(images.thumbnails) if images.thumbnails[key].std() >= _FLAT]
        pixels = np.empty((len(contents), SIDE * SIDE), np.uint8)
        for row, content in zip(pixels, contents, strict=True):
            row[:] = images.thumbnails[content].ravel()
        return cls(contents, pixels, np.array([_number(images.groups[content]) for content in contents], np.int64))


def _number(group: str) -> int:
    """Return a number for a name, as numbers are compared faster."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "big", signed=True)


def _block_starts(ones: _Side, others: _Side, block: int) -> list[tuple[int, int]]:
    """Every block of the one side with every block of the other; within one side only those that come later."""
    return [
        (i, j)
        for i in range(0, len(ones.contents), block)
        for j in range(i if others is ones else 0, len(others.contents), block)
    ]


def _candidates(
    ones: _Side, others: _Side, starts: Sequence[tuple[int, int]], block: int, least: float
) -> Iterator[Numbers]:
    """Yield for each pair of blocks the (P, 2) numbers of images that may be near-copies."""
    lowest = max(0.0, least - _SEARCHED_LESS) ** 2
    for first, blocks in itertools.groupby(starts, key=lambda start: start[0]):
        bases = _bases(ones.pixels[first : first + block])
        for _, second in blocks:
            squares = _squares(bases, _standardised(others.pixels[second : second + block]))
            groups, others_groups = ones.groups[first : first + block], others.groups[second : second + block]
            squares[groups[:, None] == others_groups] = 0
            if others is ones and first == second:
                squares[np.tril_indices(len(squares))] = 0
            yield np.argwhere(_near(squares, lowest)) + np.array([first, second])


def _squares(bases: Floats, rows: Floats) -> Floats:
    """Orthonormal rows of N images and M standardised images -> (N, M) squared multiple correlations."""
    products = (bases @ rows.T).reshape(-1, _DEGREES, len(rows))
    squares: Floats = np.einsum("nkm,nkm->nm", products, products)
    return squares


def _near(squares: Floats, lowest: float) -> npt.NDArray[np.bool_]:
    """(N, M) -> which squares are over `lowest`; of each row the `_CLOSEST` largest at most."""
    near: npt.NDArray[np.bool_] = squares > lowest
    if near.sum(axis=1).max(initial=0) > _CLOSEST:
        further = np.argpartition(-squares, _CLOSEST, axis=1)[:, _CLOSEST:]
        np.put_along_axis(near, further, False, axis=1)
    return near


def _verified(ones: _Side, others: _Side, pairs: Numbers, least: float) -> Iterator[tuple[int, int, float]]:
    """Of (P, 2) numbers of images yield those pairs that are near-copies, with their correlation."""
    for start in range(0, len(pairs), _PAIRS):
        i, j = pairs[start : start + _PAIRS].T
        one, other = ones.pixels[i].astype(np.float64), others.pixels[j].astype(np.float64)
        correlations = np.maximum(_alike(one, other, least), _alike(other, one, least))
        good = correlations > least
        yield from zip(i[good], j[good], correlations[good], strict=True)


def _alike(one: Doubles, other: Doubles, least: float) -> Doubles:
    """Return how each `other` correlates with the shifted and zoomed `one`, both (P, SIDE * SIDE); 0 for no copy."""
    everywhere, moved = _fit(one, other, np.ones_like(one))
    inside, _ = _fit(one, other, _inside((one > _BLACK) | (other > _BLACK)).astype(np.float64))
    return np.where((inside > least - _INSIDE_LESS) & (moved <= _FURTHEST), everywhere, 0)


_DEGREES = 5
"""Terms of a fit: the image and four derivatives, besides a constant."""


def _terms(pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """(N, SIDE * SIDE) grey levels -> (N, SIDE * SIDE, _DEGREES): the image, and what shifts and zooms it."""
    images = pixels.reshape(-1, SIDE, SIDE)
    down, across = np.gradient(images, axis=(1, 2))
    from_centre = np.linspace(-1, 1, SIDE, dtype=pixels.dtype)
    terms = (images, across, down, across * from_centre, down * from_centre[:, None])
    return np.stack(terms, axis=-1).reshape(len(images), SIDE * SIDE, _DEGREES)


def _bases(pixels: npt.NDArray[np.uint8]) -> Floats:
    """(N, SIDE * SIDE) uint8 -> (N * _DEGREES, SIDE * SIDE): orthonormal rows that span each image's terms."""
    terms = _terms(pixels.astype(np.float32))
    terms -= terms.mean(axis=1, keepdims=True)
    bases: Floats = np.linalg.qr(terms)[0].transpose(0, 2, 1).reshape(-1, SIDE * SIDE)
    return bases


def _standardised(pixels: npt.NDArray[np.uint8]) -> Floats:
    """(N, SIDE * SIDE) uint8 -> float32 rows with mean 0 and norm 1."""
    rows = pixels.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _inside(bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(P, SIDE * SIDE) -> the same without the border of the bright region, where the black still shows through."""
    padded = np.pad(bright.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    rows = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
    return (rows[:, :, :-2] & rows[:, :, 1:-1] & rows[:, :, 2:]).reshape(bright.shape)


def _fit(one: Doubles, other: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """Fit each `other` by the terms of `one`, both (P, SIDE * SIDE), where `weights` are 1.

    Returns the multiple correlations, and by how many pixels the fit moves `one` at most: infinite for a negative.
    """
    terms = np.concatenate([_terms(one), np.ones((*one.shape, 1))], axis=-1)
    weighted = (terms * weights[..., None]).transpose(0, 2, 1)
    # The small ridge is for terms that are zero, such as a derivative along stripes.
    factors = np.linalg.solve(
        weighted @ terms + 1e-3 * np.eye(_DEGREES + 1), weighted @ other[..., None]
    )  # (P, _DEGREES + 1, 1)
    rest = ((other - (terms @ factors)[..., 0]) ** 2 * weights).sum(axis=1)
    means = (other * weights).sum(axis=1, keepdims=True) / np.maximum(weights.sum(axis=1, keepdims=True), 1)
    whole = ((other - means) ** 2 * weights).sum(axis=1)
    explained = 1 - rest / np.maximum(whole, 1e-9)
    level = factors[:, 0, 0]
    moved = np.abs(factors[:, 1:_DEGREES, 0]).max(axis=1) / np.maximum(level, 1e-9)
    return np.sqrt(np.clip(explained, 0, 1)), np.where(level > 0, moved, np.inf)
