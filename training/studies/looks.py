"""Which images of a task look least like the others: a stand-in for another hospital, where there is only one.

A network that is judged by such images has to answer for a kind of picture that it never learned. What counts is how
the picture was made (shape, black borders, grey curve, gain over depth, sharpness, tint), not what it shows.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge import targets
from challenge.errors import ImageError, PathError, UserError
from challenge.host.atomic import write_atomically
from challenge.imaging.decode import read_image
from challenge.manifest import Sample
from challenge.paths import find_image
from challenge.tasks import TaskKind
from training.data.groups import group_of
from training.data.pixels import Pixels, in_parallel
from training.figures import literal, new_figure

Doubles = npt.NDArray[np.float64]

LEAST_GROUPS = 4
"""Of a label: with fewer there is nothing to hold out."""

_SIDE = 256
"""Pixels of the longer side that a picture is looked at with."""
_BLACK = 8
_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.99)
_DEPTHS = 4
_SCALES = 3
_SHOWN = 8
"""Images of either part in a picture."""


def look(pixels: Pixels) -> Doubles:
    """(H, W, 3) uint8 RGB -> numbers that describe how the picture was made."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    colours = np.asarray(image, np.float64)
    grey = colours.mean(axis=2)
    depths = [_mean(part) for part in np.array_split(grey, _DEPTHS)]
    numbers = [np.log(width / height), (grey < _BLACK).mean(), np.ptp(colours, axis=2).mean()]
    return np.array([*numbers, *np.quantile(grey, _QUANTILES), *np.subtract(depths, grey.mean()), *_sharpness(grey)])


def _sharpness(grey: Doubles) -> list[float]:
    """Return the logarithms of the mean squared steps across and down, at full, half and quarter size."""
    steps: list[float] = []
    for _ in range(_SCALES):
        steps += [float(np.log1p(_mean(np.square(np.diff(grey, axis=axis))))) for axis in (0, 1)]
        height, width = len(grey) // 2, grey.shape[1] // 2
        grey = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    return steps


def _mean(values: Doubles) -> float:
    return float(values.mean()) if values.size else 0.0


def farthest(looks: Doubles) -> Doubles:
    """(N, features) -> (N,): how far each lies along the direction in which they differ most, the longer tail up."""
    spread = looks.std(axis=0)
    standard = (looks - looks.mean(axis=0)) / np.where(spread > 0, spread, 1)
    along: Doubles = standard @ np.linalg.svd(standard, full_matrices=False)[2][0]
    return along if np.power(along, 3).sum() >= 0 else -along


def unlike(root: Path, samples: Sequence[Sample], task_id: str, share: float) -> list[Sample]:
    """Return all rows of the images that look least like the others of a task, `share` of its groups.

    Groups stay together. In a classification task each label gives its share, so every class is judged. Raises
    UserError for a task without rows, too few groups of a label, or an image that cannot be read.
    """
    rows = [sample for sample in samples if sample.task_id == task_id]
    if not rows:
        raise UserError(f"no row of the data is of the task {task_id}; name one that has rows")
    images = sorted({row.image_path for row in rows})
    try:
        looks = [*in_parallel(lambda name: look(read_image(find_image(root, name)).pixels), images, "looks")]
    except (ImageError, PathError, OSError) as error:
        raise UserError(f"{error}; 'python -m training inspect --fix' writes a folder without such rows") from error
    place = dict(zip(images, farthest(np.stack(looks)), strict=True))
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        label = str(targets.label(row)) if row.kind is TaskKind.CLASSIFICATION else ""
        groups[label][group_of(row)].append(float(place[row.image_path]))
    held: set[str] = set()
    for label, found in groups.items():
        if len(found) < LEAST_GROUPS:
            raise UserError(f"{task_id} has {len(found)} groups{f' of label {label}' if label else ''}, too few to "
                            f"hold some out; {LEAST_GROUPS} are needed")  # fmt: skip
        ranked = sorted(found, key=lambda name: (-float(np.mean(found[name])), name))
        held.update(ranked[: max(1, round(share * len(ranked)))])
    chosen = {row.image_path for row in rows if group_of(row) in held}
    return [sample for sample in samples if sample.image_path in chosen]


def write_rows(samples: Sequence[Sample], path: Path) -> None:
    """Write rows as a file for `data.dev_rows`."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(("image_path", "task_id"))
    writer.writerows(sorted((sample.image_path, sample.task_id) for sample in samples))
    write_atomically(path, [stream.getvalue().encode()])


def draw(root: Path, samples: Sequence[Sample], held: Sequence[Sample], task_id: str, path: Path) -> None:
    """Draw some images of a task that are held out, and below some that are not."""
    names = {sample.image_path for sample in samples if sample.task_id == task_id}
    out = {sample.image_path for sample in held}
    figure = new_figure(2.2 * _SHOWN / 2, 9)
    places = figure.subplots(4, _SHOWN // 2, squeeze=False).reshape(2, -1)
    for axes_of_part, part, title in zip(places, (names & out, names - out), ("held out", "taught"), strict=True):
        for axes in axes_of_part:
            axes.axis("off")
        every = max(1, len(part) // _SHOWN)
        for axes, name in zip(axes_of_part, sorted(part)[::every], strict=False):
            axes.imshow(read_image(find_image(root, name)).pixels)
            axes.set_title(literal(f"{title}: {Path(name).name[-20:]}"), fontsize=7)
    figure.savefig(path, dpi=90)
