"""Putting points back into the order that a task's rule asks for, as a flip or rotation may exchange them."""

from collections.abc import Sequence

from torch import Tensor
from torchvision import tv_tensors

from training.augmentation.task_rules import PointPair


def in_order(target: Tensor, pairs: Sequence[PointPair]) -> Tensor:
    """Return the points (M, 2) with both points of every pair in order; other targets as they are.

    A pair with a missing point (NaN) stays as it is.
    """
    if not pairs or not isinstance(target, tv_tensors.KeyPoints):
        return target
    points: Tensor = target.clone()
    for pair in pairs:
        if points[pair.first, pair.axis] > points[pair.second, pair.axis]:
            points[[pair.first, pair.second]] = points[[pair.second, pair.first]]
    return points


def follows(points: Sequence[tuple[float, float] | None], pairs: Sequence[PointPair]) -> bool:
    """Return whether points (x, y) stand in the order of the rule; missing ones break nothing."""
    for pair in pairs:
        first, second = points[pair.first], points[pair.second]
        if first and second and first[pair.axis] > second[pair.axis]:
            return False
    return True
