"""Numbers of any type -> 8-bit grey levels. One rule for high bit depths in all formats.

| numbers | result |
|---|---|
| unsigned, 8 bit | unchanged |
| the file has a window (DICOM), and it is plausible | linear from the window's lower end..upper end, clipped |
| whole, none below 0, none above 65535 | linear from 0..R: R is the range that the file states (DICOM BitsStored, PGM maximum), else the smallest of 255, 1023, 4095, 16383, 65535 that holds the largest number; a stated range that is far above the numbers is ignored |
| signed, 8 bit, some below 0 | plus 128 |
| fractions in 0..1 | times 255 |
| all others, and numbers far below 255 or below 1 | linear from their own minimum..maximum |

"Far below" means less than a sixteenth. Whole numbers are divided without rounding: by 1, 4, 16, 64, and by 257 for
65535. A note says if the range is a guess: neither the stated one nor, without one, 65535 for unsigned 16 bit.
Another note says if a few numbers are so large that all others become nearly black. NaN, infinity and DICOM padding
are left out of the range and become black.
"""  # noqa: E501

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.generic]
Pixels = npt.NDArray[np.uint8]

RANGES = (255, 1023, 4095, 16383, 65535)
FAR_BELOW = 16
"""A range may be larger than the largest number by this factor; beyond it the range is ignored."""
_DARK, _FEW = 16, 0.01
"""A picture with fewer levels above the first than this share shows a mark, drawn with the largest number, alone."""


@dataclass(frozen=True)
class Stated:
    """What a file says about its numbers, in their units; None where it says nothing."""

    maximum: int | None = None
    """The largest number that it allows: 2**BitsStored - 1, or a PGM file's maximum."""
    window: tuple[float, float] | None = None
    """The numbers shown as black and as white."""
    padding: tuple[float, float] | None = None
    """Numbers from the first to the second are padding outside the picture."""


NOTHING = Stated()


def to_eight_bit(values: Numbers, stated: Stated = NOTHING) -> tuple[Pixels, tuple[str, ...]]:
    """Return grey levels of `values`, uint8 of the same shape, and notes about what had to be guessed."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False), ()
    valid = _valid(values, stated.padding)
    if valid is not None:
        if not valid.any():
            return np.zeros(values.shape, np.uint8), ("no pixel holds a number",)
        values = np.where(valid, values, values[valid].min())
    pixels, notes = _scaled(values, stated)
    return (pixels, notes) if valid is None else (np.where(valid, pixels, np.uint8(0)), notes)


def range_of(largest: float) -> int | None:
    """Return the smallest range that holds `largest`, or None if none does."""
    return next((top for top in RANGES if largest <= top), None)


def _valid(values: Numbers, padding: tuple[float, float] | None) -> npt.NDArray[np.bool_] | None:
    """Which numbers belong to the picture; None if all do."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if padding:
        valid &= (values < padding[0]) | (values > padding[1])  # type: ignore[operator]
    return None if valid.all() else valid


def _scaled(values: Numbers, stated: Stated) -> tuple[Pixels, tuple[str, ...]]:
    low, high = values.min().item(), values.max().item()
    notes: tuple[str, ...] = ()
    if stated.window:
        if _is_sane(stated.window, values, high):
            return _linear(values, *stated.window), ()
        notes = ("the window fits almost none of the numbers and was ignored",)
    if low >= 0 and 255 / FAR_BELOW < high <= RANGES[-1] and _are_whole(values):
        return _from_zero(values, high, stated.maximum, notes)
    if values.dtype == np.int8 and low < 0:
        return (values.astype(np.int16) + 128).astype(np.uint8), (*notes, "signed 8 bit: 128 was added")
    if low >= 0 and 1 / FAR_BELOW < high <= 1 and values.dtype.kind == "f":
        return _linear(values, 0, 1), (*notes, "numbers in 0..1: scaled from this range")
    return _linear(values, low, high), (*notes, f"numbers from {low:g} to {high:g}: scaled from this range")


def _is_sane(window: tuple[float, float], values: Numbers, high: float) -> bool:
    """Whether the numbers reach a sixteenth of the window, and a sixteenth of them are inside it."""
    low, top = window
    inside = (values > low) & (values < top)  # type: ignore[operator]
    return top > low and (high - low) * FAR_BELOW > top - low and bool(inside.mean() * FAR_BELOW > 1)


def _are_whole(values: Numbers) -> bool:
    return values.dtype.kind in "iu" or bool((values == np.floor(values)).all())


def _from_zero(
    values: Numbers, high: float, maximum: int | None, notes: tuple[str, ...]
) -> tuple[Pixels, tuple[str, ...]]:
    believed = maximum is not None and maximum / FAR_BELOW < high <= maximum
    top = maximum if believed and maximum else range_of(high) or RANGES[-1]
    own = maximum or (RANGES[-1] if values.dtype == np.uint16 else None)
    if top != own:
        notes = (*notes, f"numbers up to {high:g}{f' of {own}' if own else ''}: scaled from 0..{top}")
    whole = values.astype(np.int32 if values.dtype.itemsize > 2 or values.dtype.kind == "f" else np.uint16, copy=False)
    pixels = _divided(whole, top)
    if top > RANGES[0] and (pixels >= _DARK).mean() < _FEW:
        notes = (*notes, f"nearly black: few numbers are as large as {high:g}")
    return pixels, notes


def _divided(whole: Numbers, top: int) -> Pixels:
    """From 0..top to 0..255."""
    if top == RANGES[-1]:
        return np.floor_divide(whole, 257).astype(np.uint8)
    if (top + 1) % 256 == 0:
        return np.floor_divide(whole, (top + 1) // 256).astype(np.uint8)
    return _linear(whole, 0, top)


def _linear(values: Numbers, low: float, high: float) -> Pixels:
    """Scale from low..high to 0..255, and clip. An empty range gives black."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = np.round((values.astype(np.float64) - low) * (255.0 / (high - low)))
    return np.clip(scaled, 0, 255).astype(np.uint8)
