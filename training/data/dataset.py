"""Training rows as batches on the network's grid: what a `Draw` of the sampler becomes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from challenge import targets
from challenge.manifest import Sample
from challenge.tasks import TaskKind, TaskSpec
from training.augmentation.augment import Item, drawn_preset, eval_preset
from training.augmentation.painting import Painting, painted
from training.augmentation.point_order import in_order
from training.augmentation.settings import AugmentConfig
from training.augmentation.task_rules import TaskRules
from training.data.pixels import PixelStore
from training.data.sampling import Draw


@dataclass(frozen=True)
class Batch:
    """Images (B, 3, S, S) uint8, and by task the targets that the kind's losses take.

    Masks (B, S, S) uint8 class indices; classes (B,) int64; boxes (B, 4) and points (B, 2M) float32 in 0..1 of the
    image, NaN for a missing point. A task other than the drawn one has zeros where an image has no row for it.
    `paintings` are what is still to be painted on the images, one each (`training.augmentation.painting`), if any.
    """

    images: Tensor
    targets: Mapping[str, Tensor]
    paintings: Sequence[Painting] = ()


class Dataset:
    """Rows by task. `rules` tell what each task allows; without `augment` nothing is random.

    With `joint` a draw's images come with the targets of every task that has a row for them. With `paint_later` batches
    say what is to be painted on their images, and whoever takes them paints it.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        store: PixelStore,
        rules: Mapping[str, TaskRules],
        augment: AugmentConfig | None = None,
        seed: int = 0,
        joint: bool = False,
        paint_later: bool = False,
    ) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._by_image: dict[str, dict[str, Sample]] = defaultdict(dict)
        for sample in samples:
            self.samples[sample.task_id].append(sample)
            if joint:
                self._by_image[sample.image_path][sample.task_id] = sample
        self._store, self._rules, self._augment, self._seed = store, rules, augment, seed
        self._paint_later = paint_later

    @property
    def tasks(self) -> list[TaskSpec]:
        """The tasks that have rows."""
        return [TaskSpec(rows[0].task_id, rows[0].kind, rows[0].num_classes) for rows in self.samples.values()]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of rows of each task."""
        return {task_id: len(rows) for task_id, rows in self.samples.items()}

    def __getitem__(self, draw: Draw) -> Batch:
        """Return the batch of a draw; the draw's random keys decide how each row is augmented."""
        return self.share(draw, 0, 1)

    def share(self, draw: Draw, rank: int, ranks: int) -> Batch:
        """Return one rank's share of a draw's batch, with targets of every task that the whole draw teaches."""
        own = draw.share(rank, ranks)
        rows = [self._row(own.task_id, row, key) for row, key in zip(own.rows, own.keys, strict=True)]
        blanks = {task_id: torch.zeros_like(self._plain(self.samples[task_id][0])) for task_id in self.known(draw)}
        targets = {t: torch.stack([known.get(t, blank) for _, known, _ in rows]) for t, blank in blanks.items()}
        paintings = [painting for _, _, painting in rows] if self._paint_later else []
        return Batch(torch.stack([image for image, _, _ in rows]), targets, paintings)

    def known(self, draw: Draw) -> dict[str, list[int]]:
        """Return the tasks that a draw's images teach, the drawn one first, each with the positions of its images."""
        positions: dict[str, list[int]] = {draw.task_id: list(range(len(draw.rows)))}
        for position, row in enumerate(draw.rows):
            for sample in self._others(self.samples[draw.task_id][row]):
                positions.setdefault(sample.task_id, []).append(position)
        return positions

    def item(self, task_id: str, row: int, key: Sequence[int] = ()) -> Item:
        """Return one row, augmented by the random numbers that (seed, *key) gives, if the dataset augments."""
        item, painting = self._drawn(task_id, row, key)
        return replace(item, image=tv_tensors.Image(_finished(item.image, painting)))

    def _drawn(self, task_id: str, row: int, key: Sequence[int]) -> tuple[Item, Painting]:
        """Return one row, moved, and what is to be painted on its image, which may have one channel."""
        sample = self.samples[task_id][row]
        others, rules = self._others(sample), self._rules[task_id]
        for other in others:
            rules = rules.and_also(self._rules[other.task_id])
        pixels = torch.from_numpy(self._store.image(sample)).permute(2, 0, 1)
        also = tuple(self._target(other) for other in others)
        aspect = self._store.resize_of(sample).aspect
        item = Item(tv_tensors.Image(pixels), self._target(sample), also, aspect)
        if self._augment is None:
            return eval_preset(item, rules), {}
        rng = np.random.default_rng((self._seed, _AUGMENT, *key))
        return drawn_preset(item, rules, self._augment, rng, self._any_image)

    def _any_image(self, rng: np.random.Generator) -> Tensor:
        """Return the image (3, S, S) uint8 of some row, every task being as likely as any other."""
        rows = self.samples[sorted(self.samples)[rng.integers(len(self.samples))]]
        return torch.from_numpy(self._store.image(rows[rng.integers(len(rows))])).permute(2, 0, 1)

    def _others(self, sample: Sample) -> list[Sample]:
        tasks = self._by_image.get(sample.image_path, {})
        return [other for task_id, other in tasks.items() if task_id != sample.task_id]

    def _row(self, task_id: str, row: int, key: Sequence[int]) -> tuple[Tensor, dict[str, Tensor], Painting]:
        """Return an image, its targets as the losses take them, by task, and what is to be painted on the image."""
        item, painting = self._drawn(task_id, row, key)
        sample = self.samples[task_id][row]
        known = {task_id: _as_target(item.target)}
        for other, target in zip(self._others(sample), item.also, strict=True):
            known[other.task_id] = _as_target(in_order(target, self._rules[other.task_id].pairs))
        return _finished(item.image, {} if self._paint_later else painting), known, painting

    def _plain(self, sample: Sample) -> Tensor:
        """Return a row's target without augmentation, as the losses take it."""
        return _as_target(in_order(self._target(sample), self._rules[sample.task_id].pairs))

    def mean_target(self, task_id: str) -> list[float]:
        """Mean box or points of a task, in 0..1 of the image, over the values that exist."""
        rows = self.samples[task_id]
        values = torch.stack([self._plain(sample) for sample in rows])
        return [float(value) for value in values.nanmean(dim=0).nan_to_num(0.5)]

    def class_counts(self, task_id: str) -> list[int]:
        """Rows of each class of a classification task."""
        rows = self.samples[task_id]
        labels = [targets.label(s) for s in rows]
        return [labels.count(number) for number in range(rows[0].num_classes)]

    def passes(self, least_area: float, repeat: int) -> dict[str, list[int]]:
        """Return the rows of a pass by task: those of small objects `repeat` times, the others once.

        An object is small if its true mask or box covers less than `least_area` of the image, but is there at all.
        """
        counts = {
            task_id: [repeat if 0 < self._area(sample) < least_area else 1 for sample in rows]
            for task_id, rows in self.samples.items()
        }
        return {task_id: np.repeat(np.arange(len(c)), c).tolist() for task_id, c in counts.items()}

    def _area(self, sample: Sample) -> float:
        """Return the part of the image that a row's true mask or box covers; 1 for other kinds."""
        if sample.kind is TaskKind.SEGMENTATION:
            return float((self._store.mask(sample) > 0).mean())
        if sample.kind is TaskKind.DETECTION:
            x0, y0, x1, y1 = map(float, self._plain(sample))
            return (x1 - x0) * (y1 - y0)
        return 1.0

    def _target(self, sample: Sample) -> Tensor:
        match sample.kind:
            case TaskKind.SEGMENTATION:
                target: Tensor = tv_tensors.Mask(torch.from_numpy(self._store.mask(sample)))
            case TaskKind.CLASSIFICATION:
                target = torch.tensor(targets.label(sample))
            case TaskKind.DETECTION:
                x0, y0, x1, y1 = targets.box(sample) or (0.0, 0.0, 0.0, 0.0)
                resize = self._store.resize_of(sample)
                shown = resize.shown
                corners = np.clip([(x0, y0), (x1, y1)], (shown.left, shown.top), (shown.right, shown.bottom))
                grid = torch.tensor(resize.to_grid(corners).reshape(1, 4), dtype=torch.float32)
                canvas = (resize.size, resize.size)
                target = tv_tensors.BoundingBoxes(grid, format="XYXY", canvas_size=canvas, clamping_mode=None)
            case TaskKind.REGRESSION:
                missing = (float("nan"), float("nan"))
                resize = self._store.resize_of(sample)
                points = resize.to_grid([point or missing for point in targets.points(sample)])
                grid = torch.tensor(points, dtype=torch.float32)
                target = tv_tensors.KeyPoints(grid, canvas_size=(resize.size, resize.size))
        return target


_AUGMENT = 1  # keeps these random numbers apart from the sampler's


def _finished(image: Tensor, painting: Painting) -> Tensor:
    """(1 or 3, S, S) uint8 -> (3, S, S) uint8 with everything painted."""
    return painted(image.as_subclass(Tensor)[None], [painting])[0].expand(3, -1, -1)


def _as_target(target: Tensor) -> Tensor:
    plain = target.as_subclass(Tensor)
    if isinstance(target, tv_tensors.BoundingBoxes | tv_tensors.KeyPoints):
        plain = plain.reshape(-1) / target.canvas_size[0]
    return plain
