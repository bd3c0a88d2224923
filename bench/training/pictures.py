"""Pictures with true answers that cost a few milliseconds: a sector, random tissue, bright organs, grain.

They look like ultrasound only from afar. What counts is that no two scenes are alike, that two images of one scene
are, and that every answer can be seen in the picture. `test/phantoms` draws better ones, at three times the cost.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

Labels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
Point = tuple[float, float]

_TISSUE = 10  # random grey levels across and down
_CORNERS = 40  # of the polygon that stands for an ellipse
_PLACES = ((0.36, 0.4), (0.64, 0.4), (0.32, 0.65), (0.68, 0.65))  # of the organs
_SIDES = (220, 620)
"""Smallest and largest native width, in pixels."""
_NUMBERS = 24  # 2, 3, 6 and 8 classes divide it: every class is as likely as any other


@dataclass(frozen=True)
class Organ:
    """An ellipse: centre and half axes in parts of the image's width and height, `turn` in radians, grey level."""

    x: float
    y: float
    long: float
    short: float
    turn: float
    grey: int

    @classmethod
    def draw(cls, rng: np.random.Generator, x: float, y: float) -> "Organ":
        """Draw one round about a place. It stays in the sector."""
        long = rng.uniform(0.07, 0.11)
        short, turn = long * rng.uniform(0.45, 0.8), rng.uniform(-0.7, 0.7)
        return cls(x + rng.uniform(-0.04, 0.04), y + rng.uniform(-0.06, 0.06), long, short, turn,
                   int(rng.integers(150, 256)))  # fmt: skip

    def at(self, angle: float, part: float = 1.0) -> Point:
        """Return the point at an angle of the border (0: end of the long axis), or at `part` of the way to it."""
        across, down = part * self.long * math.cos(angle), part * self.short * math.sin(angle)
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        return self.x + across * cosine - down * sine, self.y + across * sine + down * cosine


@dataclass(frozen=True)
class Scene:
    """What the images of one patient have in common. `number` decides the classes of all tasks."""

    width: int
    height: int
    sector: tuple[float, float, float]
    tissue: Labels
    organs: tuple[Organ, ...]
    number: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Scene":
        """Draw a patient."""
        width = int(rng.integers(*_SIDES))
        organs = tuple(Organ.draw(rng, *place) for place in _PLACES)
        tissue = rng.integers(0, 200, (_TISSUE, _TISSUE), np.uint8)
        sector = (rng.uniform(0.02, 0.4), rng.uniform(0.86, 1.0), rng.uniform(0.0, 0.12))
        return cls(width, int(width * rng.uniform(0.65, 1.0)), sector, tissue, organs, int(rng.integers(_NUMBERS)))

    def moved(self, rng: np.random.Generator) -> "Scene":
        """Return what the same patient shows a moment later: the organs have moved a little."""
        organs = tuple(
            replace(organ, x=organ.x + rng.uniform(-0.015, 0.015), y=organ.y + rng.uniform(-0.015, 0.015))
            for organ in self.organs
        )
        return replace(self, organs=organs)

    def picture(self, rng: np.random.Generator, spots: int = 0) -> Image.Image:
        """Paint an image in mode L. `spots` dark dots lie on the first organ: they show its class."""
        size = self.width, self.height
        image = Image.fromarray(self.tissue).resize(size, Image.Resampling.BICUBIC)
        brush = ImageDraw.Draw(image)
        for organ in self.organs:
            brush.polygon(self._polygon(organ), fill=organ.grey)
        radius = self.width / 150
        for spot in range(spots):
            x, y = self._native(self.organs[0].at(0, 0.8 * (2 * (spot + 0.5) / spots - 1)))
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
        grain = rng.integers(60, 256, (self.height // 3, self.width // 3), np.uint8)
        grey = ImageChops.multiply(image, Image.fromarray(grain).resize(size, Image.Resampling.BILINEAR))
        return ImageChops.multiply(grey, self._sector())

    def label(self, classes: int) -> int:
        """Return the class of a task of so many classes."""
        return self.number % classes

    def mask(self, classes: int) -> Labels:
        """Return (height, width) class indices: class k is the k-th organ."""
        image = Image.new("L", (self.width, self.height))
        brush = ImageDraw.Draw(image)
        for number in range(1, classes):
            brush.polygon(self._polygon(self.organs[number - 1]), fill=number)
        return np.asarray(image)

    def box(self) -> Box:
        """Return the first organ's x_min, y_min, x_max, y_max in native pixels."""
        across, down = zip(*self._polygon(self.organs[0]), strict=True)
        return min(across), min(down), max(across), max(down)

    def points(self, count: int) -> list[Point]:
        """Return `count` ends of the first organ's axes in native pixels."""
        return [self._native(self.organs[0].at(angle)) for angle in (0, math.pi, math.pi / 2)[:count]]

    def _polygon(self, organ: Organ) -> list[Point]:
        return [self._native(organ.at(2 * math.pi * corner / _CORNERS)) for corner in range(_CORNERS)]

    def _native(self, point: Point) -> Point:
        return point[0] * self.width, point[1] * self.height

    def _sector(self) -> Image.Image:
        """White where the beams reach: a trapezium with a round bottom."""
        narrow, deep, edge = self.sector
        image = Image.new("L", (self.width, self.height))
        brush = ImageDraw.Draw(image)
        top, bottom = (narrow, 0.01), (edge, deep * 0.85)
        round_off = [(edge + (1 - 2 * edge) * t, deep * (0.85 + 0.15 * math.sin(math.pi * t))) for t in _STEPS]
        outline = [top, bottom, *round_off, (1 - edge, deep * 0.85), (1 - narrow, 0.01)]
        brush.polygon([self._native(point) for point in outline], fill=255)
        return image


_STEPS = [step / 16 for step in range(1, 16)]
