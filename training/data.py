"""Training rows as batches on the network's grid: what a `Draw` of the sampler becomes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from challenge import targets
from challenge.manifest import Sample
from challenge.tasks import TaskKind, TaskSpec
from training.augment import Item, eval_preset, train_preset
from training.config import AugmentConfig
from training.pixels import PixelStore
from training.sampling import Draw
from training.task_rules import TaskRules


@dataclass(frozen=True)
class Batch:
    """Rows of one task: `images` (B, 3, S, S) uint8, and the `target` that the kind's losses take.

    Masks (B, S, S) uint8 class indices; classes (B,) int64; boxes (B, 4) and points (B, 2M) float32 in 0..1 of the
    image, NaN for a missing point.
    """

    task_id: str
    images: Tensor
    target: Tensor

    def __len__(self) -> int:
        """Rows."""
        return len(self.images)


class Dataset:
    """Rows by task. `rules` tell what each task allows; without `augment` nothing is random."""

    def __init__(
        self,
        samples: Sequence[Sample],
        store: PixelStore,
        rules: Mapping[str, TaskRules],
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self.samples[sample.task_id].append(sample)
        self._store, self._rules, self._augment, self._seed = store, rules, augment, seed

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
        items = [self.item(draw.task_id, row, key) for row, key in zip(draw.rows, draw.keys, strict=True)]
        kind = self.samples[draw.task_id][0].kind
        images = torch.stack([item.image.as_subclass(Tensor) for item in items])
        return Batch(draw.task_id, images, torch.stack([_as_target(item.target, kind) for item in items]))

    def item(self, task_id: str, row: int, key: Sequence[int] = ()) -> Item:
        """Return one row, augmented by the random numbers that (seed, *key) gives, if the dataset augments."""
        sample, rules = self.samples[task_id][row], self._rules[task_id]
        pixels = torch.from_numpy(self._store.image(sample)).permute(2, 0, 1)
        item = Item(tv_tensors.Image(pixels.contiguous()), self._target(sample))
        if self._augment is None:
            return eval_preset(item, rules)
        return train_preset(item, rules, self._augment, np.random.default_rng((self._seed, _AUGMENT, *key)))

    def mean_target(self, task_id: str) -> list[float]:
        """Mean box or points of a task, in 0..1 of the image, over the values that exist."""
        rows = self.samples[task_id]
        values = torch.stack(
            [_as_target(eval_preset(Item(_BLANK, self._target(s)), self._rules[task_id]).target, s.kind) for s in rows]
        )
        return [float(value) for value in values.nanmean(dim=0).nan_to_num(0.5)]

    def class_counts(self, task_id: str) -> list[int]:
        """Rows of each class of a classification task."""
        rows = self.samples[task_id]
        labels = [targets.label(s) for s in rows]
        return [labels.count(number) for number in range(rows[0].num_classes)]

    def _target(self, sample: Sample) -> Tensor:
        match sample.kind:
            case TaskKind.SEGMENTATION:
                target: Tensor = tv_tensors.Mask(torch.from_numpy(self._store.mask(sample)))
            case TaskKind.CLASSIFICATION:
                target = torch.tensor(targets.label(sample))
            case TaskKind.DETECTION:
                x0, y0, x1, y1 = targets.box(sample) or (0.0, 0.0, 0.0, 0.0)
                resize = self._store.resize_of(sample)
                corners = np.clip([(x0, y0), (x1, y1)], 0, (resize.width, resize.height))
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
_BLANK = tv_tensors.Image(torch.zeros(3, 1, 1, dtype=torch.uint8))


def _as_target(target: Tensor, kind: TaskKind) -> Tensor:
    plain = target.as_subclass(Tensor)
    if isinstance(target, tv_tensors.BoundingBoxes | tv_tensors.KeyPoints):
        plain = plain.reshape(-1) / target.canvas_size[0]
    return plain
