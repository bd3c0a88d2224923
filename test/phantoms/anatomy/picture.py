"""What a painter returns: a picture and all of its true answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from phantoms.physics import Array

Box = tuple[int, int, int, int]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Picture:
    """`grey` (height, width) 0..1; truths by task: masks (height, width) uint8, labels, boxes and points in pixels."""

    grey: Array
    masks: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    boxes: Mapping[str, Box] = field(default_factory=dict)
    points: Mapping[str, Points] = field(default_factory=dict)


Painter = Callable[[np.random.Generator, int, int, int], Picture]
"""Generator, width, height and the number of the case (which decides its class) -> Picture."""
