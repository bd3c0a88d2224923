"""One file per task kind; the config chooses by name, and `task_loss` gives the loss of one task."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec, nearest
from training.config import LossConfig
from training.losses import classification, detection, ellipse, regression, segmentation

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes the raw output (float32) and the target of the kind, returns a scalar."""

Recipe = Callable[[LossConfig, Sequence[int]], Loss]


def _plain(loss: Loss) -> Recipe:
    return lambda config, counts: loss


def _cross_entropy(config: LossConfig, counts: Sequence[int]) -> Loss:
    weights = classification.class_weights(counts, config.class_weights)
    return partial(classification.cross_entropy, label_smoothing=config.label_smoothing, class_weights=weights)


def _boundary(config: LossConfig, counts: Sequence[int]) -> Loss:
    return partial(segmentation.boundary_loss, weight=config.boundary_weight)


def _heatmap(loss: Callable[[Tensor, Tensor, float], Tensor]) -> Recipe:
    def recipe(config: LossConfig, counts: Sequence[int]) -> Loss:
        def on_maps(output: Tensor, target: Tensor) -> Tensor:
            if output.dim() != 4:
                raise UserError("heatmap losses need a keypoint head that gives maps; choose loss.regression = 'mse'")
            return loss(output, target, config.heatmap_sigma)

        return on_maps

    return recipe


LOSSES: Mapping[TaskKind, Mapping[str, Recipe]] = {
    TaskKind.SEGMENTATION: {
        "dice": _plain(segmentation.dice_loss),
        "image_dice": _plain(segmentation.image_dice_loss),
        "ce_squared_dice": _plain(segmentation.cross_entropy_squared_dice),
        "ce_and_dice": _plain(segmentation.cross_entropy_and_dice),
        "ce_image_dice": _plain(segmentation.cross_entropy_image_dice),
        "boundary": _boundary,
    },
    TaskKind.CLASSIFICATION: {"ce": _cross_entropy},
    TaskKind.DETECTION: {
        "positive_cell": _plain(detection.positive_cell_loss),
        "focal_grid": _plain(detection.focal_grid_loss),
        "focal_grid_giou": _plain(detection.focal_grid_giou_loss),
        "one_box": _plain(detection.one_box_loss),
    },
    TaskKind.REGRESSION: {
        "mse": _plain(regression.masked_mse),
        "l1": _plain(regression.masked_l1),
        "heatmap_mse": _heatmap(regression.heatmap_mse),
        "heatmap_ce": _heatmap(regression.heatmap_cross_entropy),
        "ellipse": _plain(ellipse.ellipse_loss),
    },
}
"""Losses by task kind and by the name that configs use."""


def task_loss(spec: TaskSpec, config: LossConfig, class_counts: Sequence[int] = ()) -> Loss:
    """Return the loss of a task; `class_counts` are its training rows per class. Raises UserError."""
    name, known = config.tasks.get(spec.task_id) or getattr(config, spec.kind), LOSSES[spec.kind]
    if name not in known:
        raise UserError(f"unknown loss.{spec.kind} {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    return known[name](config, class_counts)
