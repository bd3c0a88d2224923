"""A small B-mode scanner: probe geometry, tissue on the beam grid, speckle, attenuation, scan conversion.

Tissue is painted where the beams run, not on the image, so that speckle widens with depth under a convex probe and
shadows follow the beams. Lengths are pixels of the image, origin at its outer corner (as in `imaging/geometry.py`).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]

SAMPLES, LINES = 384, 160
_BLACK, _WHITE = -38.0, 16.0  # dB
_NOISE = -55.0, 24.0  # dB of the receiver's own noise at the surface, and what the gain adds to it over the depth


@dataclass(frozen=True)
class Linear:
    """Parallel beams: a rectangle that leaves `margin` (a share of the width) black on either side."""

    width: int
    height: int
    margin: float = 0.0

    def beams(self) -> tuple[Array, Array]:
        """Return x and y, (SAMPLES, LINES) each, of every sample on every beam."""
        depth, across = _unit_grid()
        left = self.margin * self.width
        return np.asarray(left + across * (self.width - 2 * left)), np.asarray(depth * self.height)

    def locate(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return the fractional sample and line at image positions; outside of the sector they leave the grid."""
        left = self.margin * self.width
        return np.asarray(y / self.height * SAMPLES - 0.5), np.asarray(
            (x - left) / (self.width - 2 * left) * LINES - 0.5
        )


@dataclass(frozen=True)
class Convex:
    """Beams that fan out by `half_angle` radians from a circle of `near` to one of `far` (shares of the height)."""

    width: int
    height: int
    near: float = 0.3
    far: float = 1.26
    half_angle: float = 0.62

    def beams(self) -> tuple[Array, Array]:
        """See `Linear.beams`."""
        depth, across = _unit_grid()
        radius = (self.near + depth * (self.far - self.near)) * self.height
        angle = (across - 0.5) * 2 * self.half_angle
        return self.width / 2 + radius * np.sin(angle), self._apex + radius * np.cos(angle)

    def locate(self, x: Array, y: Array) -> tuple[Array, Array]:
        """See `Linear.locate`."""
        across, down = x - self.width / 2, y - self._apex
        depth = (np.sqrt(across * across + down * down) / self.height - self.near) / (self.far - self.near)
        angle = np.arctan2(across, down)
        return depth * SAMPLES - 0.5, (angle / self.half_angle / 2 + 0.5) * LINES - 0.5

    @property
    def _apex(self) -> float:
        """The y of the circles' centre: the outermost beams begin just below the image's top."""
        return self.height * (0.015 - self.near * math.cos(self.half_angle))


Probe = Linear | Convex


class Shape(Protocol):
    """A region by its level function: negative inside, 0 on the border, about a relative distance outside."""

    def level(self, x: Array, y: Array) -> Array:
        """Return the level at image positions."""


class Tissue:
    """What lies under the probe, on the beam grid: scatterer strength, interfaces (both in dB) and attenuation."""

    def __init__(self, probe: Probe, echo: float = 0.0, loss: float = 0.0) -> None:
        """Begin with a uniform medium; `loss` is dB over the full depth, beyond what the gain makes up for."""
        self.probe = probe
        self.x, self.y = probe.beams()
        self.echo = np.full((SAMPLES, LINES), echo, np.float32)
        self.loss = np.full((SAMPLES, LINES), loss, np.float32)
        self.interface = np.zeros((SAMPLES, LINES), np.float32)
        # Pixels between neighbours along the beam and across.
        self._spacing = [np.hypot(np.gradient(self.x, axis=axis), np.gradient(self.y, axis=axis)) for axis in (0, 1)]

    def fill(self, shape: Shape, echo: float, loss: float = 0.0) -> None:
        """Replace what lies inside of `shape`; paint from the large to the small, fills before lines."""
        inside = shape.level(self.x, self.y) < 0
        self.echo[inside], self.loss[inside], self.interface[inside] = echo, loss, 0

    def line(self, shape: Shape, brightness: float, thickness: float = 0.02, loss: float = 0.0) -> None:
        """Draw the border of `shape`: bright (dB) where the beam meets it upright, weak where it runs along it."""
        level = shape.level(self.x, self.y)
        profile = np.exp(-((level / thickness) ** 2))
        upright, along = (np.abs(np.gradient(level, axis=axis)) / self._spacing[axis] for axis in (0, 1))
        facing = upright / (upright + along + 1e-12)
        self.interface = np.maximum(self.interface, amplitude(brightness) * profile * (0.03 + 0.97 * facing**2))
        self.loss = self.loss + loss * profile * (0.3 + 0.7 * facing)

    def vary(self, rng: np.random.Generator, depth: float, across: float, strength: float) -> None:
        """Add a smooth random change of scatterer strength (dB); its grain is given as shares of the grid."""
        self.echo += strength * smooth_noise(rng, depth, across)


def amplitude(decibel: npt.ArrayLike) -> Array:
    """Return the amplitude of a level in dB."""
    return np.asarray(10.0 ** (np.asarray(decibel, np.float32) / 20), np.float32)


def smooth_noise(rng: np.random.Generator, depth: float, across: float) -> Array:
    """Return (SAMPLES, LINES) noise of mean 0 and deviation 1 whose grain is a share of the grid."""
    spectrum = np.fft.fft2(rng.standard_normal((SAMPLES, LINES), np.float32))
    noise = np.fft.ifft2(spectrum * _gaussian(depth * SAMPLES, across * LINES)).real
    return np.asarray((noise - noise.mean()) / noise.std())


def scan(tissue: Tissue, rng: np.random.Generator) -> Array:
    """Return the B-mode image (height, width) with values 0..1, black outside of the sector."""
    return _scan_converted(_log_compressed(_envelope(tissue, rng)), tissue.probe)


def _envelope(tissue: Tissue, rng: np.random.Generator) -> Array:
    """Fully developed speckle: the modulus of a complex Gaussian field, blurred by the pulse."""
    scatterers: ComplexArray = np.fft.fft2(_complex_noise(rng) * amplitude(tissue.echo)).astype(np.complex64)
    depth = (np.arange(SAMPLES, dtype=np.float32) + 0.5)[:, None] / SAMPLES
    # The beam is narrow at its focus and wide elsewhere: two point spread functions, mixed by depth.
    focused = np.exp(-(((depth - 0.45) / 0.28) ** 2))
    echo = focused * _pulse(scatterers, 1.1) + (1 - focused) * _pulse(scatterers, 2.0)
    broken = amplitude(3.5 * smooth_noise(rng, 0.02, 0.05)) * (1 + 0.25 * _complex_noise(rng))
    echo = echo + np.fft.ifft2(np.fft.fft2(tissue.interface * broken) * _gaussian(1.0, 1.0))
    passed = amplitude(-np.cumsum(tissue.loss, axis=0) / SAMPLES)
    noise = _complex_noise(rng) * amplitude(_NOISE[0] + _NOISE[1] * depth)
    return np.asarray(np.abs(echo * passed + noise))


def _pulse(spectrum: ComplexArray, lines: float) -> ComplexArray:
    """The pulse's blur at unit power: a Gaussian of deviation s lowers white noise by 1 / (2 sqrt(pi) s) per axis."""
    return np.asarray(np.fft.ifft2(spectrum * _gaussian(1.25, lines)) * math.sqrt(4 * math.pi * 1.25 * lines))


def _complex_noise(rng: np.random.Generator) -> ComplexArray:
    parts = rng.standard_normal((2, SAMPLES, LINES), np.float32) * np.float32(0.5**0.5)
    return np.asarray(parts[0] + 1j * parts[1])


def _gaussian(samples: float, lines: float) -> Array:
    """Return the transfer function of a Gaussian blur with these deviations (of the grid's samples and lines)."""
    down = np.exp(-2 * (np.pi * samples * np.fft.fftfreq(SAMPLES).astype(np.float32)) ** 2)[:, None]
    return np.asarray(down * np.exp(-2 * (np.pi * lines * np.fft.fftfreq(LINES).astype(np.float32)) ** 2))


def _log_compressed(envelope: Array) -> Array:
    decibel = 20 * np.log10(envelope + np.float32(1e-9))
    return np.asarray(np.clip((decibel - _BLACK) / (_WHITE - _BLACK), 0, 1))


def _scan_converted(polar: Array, probe: Probe) -> Array:
    """Bilinear from the beam grid to the image's pixel centres."""
    x, y = pixel_centres(probe.width, probe.height)
    sample, line = probe.locate(x, y)
    inside = (sample > -0.5) & (sample < SAMPLES - 0.5) & (line > -0.5) & (line < LINES - 0.5)
    image = np.zeros((probe.height, probe.width), np.float32)
    down, across = np.clip(sample[inside], 0, SAMPLES - 1.001), np.clip(line[inside], 0, LINES - 1.001)
    row, column = down.astype(np.int64), across.astype(np.int64)
    a, b = down - row, across - column
    image[inside] = (1 - a) * ((1 - b) * polar[row, column] + b * polar[row, column + 1]) + a * (
        (1 - b) * polar[row + 1, column] + b * polar[row + 1, column + 1]
    )
    return image


def pixel_centres(width: int, height: int) -> tuple[Array, Array]:
    """Return x and y, (height, width) each, of all pixel centres."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5)
    return x, y


def in_sector(probe: Probe) -> npt.NDArray[np.bool_]:
    """Return (height, width): which pixels the beams reach."""
    sample, line = probe.locate(*pixel_centres(probe.width, probe.height))
    return np.asarray((sample > -0.5) & (sample < SAMPLES - 0.5) & (line > -0.5) & (line < LINES - 0.5))


def _unit_grid() -> tuple[Array, Array]:
    depth = (np.arange(SAMPLES, dtype=np.float32) + 0.5) / SAMPLES
    across = (np.arange(LINES, dtype=np.float32) + 0.5) / LINES
    return np.repeat(depth[:, None], LINES, 1), np.repeat(across[None, :], SAMPLES, 0)
