"""Closed regions with a formula, so that masks, boxes and points are known exactly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phantoms.physics import Array, Probe, Shape, in_sector, pixel_centres

Wave = tuple[int, float, float]
"""Order, relative height and phase of one ripple on a contour."""


@dataclass(frozen=True)
class Blob:
    """An ellipse with half axes `a`, `b`, turned by `angle` radians, its contour rippled by `waves`."""

    x: float
    y: float
    a: float
    b: float
    angle: float = 0.0
    waves: tuple[Wave, ...] = ()

    def level(self, x: Array, y: Array) -> Array:
        """See `phantoms.physics.Shape`."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u = ((x - self.x) * cos + (y - self.y) * sin) / self.a
        v = ((y - self.y) * cos - (x - self.x) * sin) / self.b
        distance = np.sqrt(u * u + v * v)
        if not self.waves:
            return np.asarray(distance - 1)
        around = np.arctan2(v, u)
        ripple = sum(height * np.cos(order * around + phase) for order, height, phase in self.waves)
        return np.asarray(distance / (1 + ripple) - 1)

    def point(self, turn: float, share: float = 1.0) -> tuple[float, float]:
        """Return the position at `turn` radians from the long axis, `share` of the way out (ripples left aside)."""
        u, v = share * self.a * math.cos(turn), share * self.b * math.sin(turn)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + u * cos - v * sin, self.y + u * sin + v * cos

    def scaled(self, factor: float) -> "Blob":
        """Return the same contour, `factor` times as large."""
        return Blob(self.x, self.y, self.a * factor, self.b * factor, self.angle, self.waves)


@dataclass(frozen=True)
class Capsule:
    """All within `radius` of the straight line between two points."""

    x0: float
    y0: float
    x1: float
    y1: float
    radius: float

    def level(self, x: Array, y: Array) -> Array:
        """See `phantoms.physics.Shape`."""
        along_x, along_y = self.x1 - self.x0, self.y1 - self.y0
        share = ((x - self.x0) * along_x + (y - self.y0) * along_y) / (along_x**2 + along_y**2)
        share = np.clip(share, 0, 1)
        distance = np.hypot(x - self.x0 - share * along_x, y - self.y0 - share * along_y)
        return np.asarray(distance / self.radius - 1)


@dataclass(frozen=True)
class Below:
    """All that lies deeper than a wavy, slanted line; lengths in pixels."""

    y: float
    scale: float
    slope: float = 0.0
    waves: tuple[tuple[float, float, float], ...] = ()  # length, height, phase

    def level(self, x: Array, y: Array) -> Array:
        """See `phantoms.physics.Shape`."""
        border = self.y + self.slope * x
        for length, height, phase in self.waves:
            border = border + height * np.sin(2 * np.pi * x / length + phase)
        return np.asarray((border - y) / self.scale)


@dataclass(frozen=True)
class Both:
    """The intersection of two shapes."""

    one: Shape
    other: Shape

    def level(self, x: Array, y: Array) -> Array:
        """See `phantoms.physics.Shape`."""
        return np.maximum(self.one.level(x, y), self.other.level(x, y))


@dataclass(frozen=True)
class HalfPlane:
    """All to the left of the way from one point to another, as seen on the screen."""

    x0: float
    y0: float
    x1: float
    y1: float

    def level(self, x: Array, y: Array) -> Array:
        """See `phantoms.physics.Shape`."""
        along_x, along_y = self.x1 - self.x0, self.y1 - self.y0
        across = along_x * (y - self.y0) - along_y * (x - self.x0)
        return np.asarray(across / (along_x**2 + along_y**2))


def ripples(rng: np.random.Generator, orders: Sequence[int], height: float) -> tuple[Wave, ...]:
    """Return one ripple per order, of random phase, the higher orders lower."""
    return tuple((order, height * rng.uniform(0.6, 1.2), rng.uniform(0, 2 * np.pi)) for order in orders)


def label_map(probe: Probe, shapes: Sequence[tuple[Shape, int]]) -> npt.NDArray[np.uint8]:
    """Return (height, width) uint8 class indices; later shapes lie over earlier ones, nothing leaves the sector."""
    x, y = pixel_centres(probe.width, probe.height)
    labels = np.zeros((probe.height, probe.width), np.uint8)
    for shape, index in shapes:
        labels[shape.level(x, y) < 0] = index
    labels[~in_sector(probe)] = 0
    return labels


def extent(labels: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return (x_min, y_min, x_max, y_max) of the pixels that are not 0, the maxima exclusive."""
    rows, columns = np.flatnonzero(labels.any(axis=1)), np.flatnonzero(labels.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
