"""Numbers, colours or palette indices of a true mask -> class indices. `true_masks` has the table of rules.

All functions take one picture and the task's number of classes, background included. They raise MaskError if the
values leave the classes uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from challenge.errors import MaskError

Labels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.generic]
Colour = tuple[int, int, int]

REMEDY = "store class numbers as an 8-bit grey PNG"
_BLACK = (0, 0, 0)
_SHOWN = 6


@dataclass(frozen=True)
class TrueMask:
    """`labels` (H, W) uint8 class indices on the file's own grid; `notes` say what was read by a rule."""

    labels: Labels
    notes: tuple[str, ...] = ()


def from_numbers(values: Numbers, num_classes: int, *, wide: bool = False) -> TrueMask:
    """(H, W) numbers: class indices, or 0 and 255 for two classes. `wide`: 16 bits, which may be 257 times these."""
    found = _distinct(values)
    _check_whole(found)
    if wide and found[-1] >= num_classes and not (found % 257).any():
        narrow = from_numbers((np.asarray(values) // 257).astype(np.uint8), num_classes)
        return TrueMask(narrow.labels, ("16-bit values were divided by 257", *narrow.notes))
    if found[-1] < num_classes:
        return TrueMask(values.astype(np.uint8))
    if num_classes == 2 and set(found.tolist()) <= {0, 255}:
        return TrueMask((values != 0).astype(np.uint8), ("0 and 255 were read as classes 0 and 1",))
    rim = "; a smoothed, scaled or JPEG-compressed mask has such values between" if len(found) > num_classes else ""
    raise MaskError(f"the mask holds {_listed(found)}, the classes are 0..{num_classes - 1}{rim}; {REMEDY}")


def from_colours(rgb: Labels, num_classes: int) -> TrueMask:
    """(H, W, 3) uint8: grey is taken as numbers, and one colour on black is class 1 of two."""
    if (rgb == rgb[..., :1]).all():
        return from_numbers(rgb[..., 0], num_classes)
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=-1, dtype=np.uint32)
    found = np.unique(packed)
    if num_classes == 2 and len(found) == 2 and found[0] == 0:
        return TrueMask((packed != 0).astype(np.uint8), (f"#{found[1]:06x} on black was read as class 1",))
    shown = _listed([f"#{value:06x}" for value in found])
    raise MaskError(f"the mask holds the colours {shown}, which do not tell the classes 0..{num_classes - 1}; {REMEDY}")


def from_palette(indices: Labels, palette: Sequence[Colour], num_classes: int) -> TrueMask:
    """(H, W) uint8 indices: used directly, or by their colours if a tool has reordered the palette.

    `palette` is the colour of every index.
    """
    used = [int(index) for index in _distinct(indices)]
    if used[-1] >= len(palette):
        raise MaskError(f"the mask uses palette entry {used[-1]}, but the palette has {len(palette)}; {REMEDY}")
    colours = [palette[index] for index in used]
    if len(set(colours)) < len(colours):  # if indices share a colour, colours cannot tell the classes
        return from_numbers(indices, num_classes)
    told = _told_by_colours(colours, num_classes)
    if told == used:
        return TrueMask(indices)
    if told is not None:
        table = np.zeros(256, np.uint8)
        table[used] = told
        return TrueMask(table[indices], ("the classes were read from the palette's colours, not from its indices",))
    if used[-1] < num_classes and _in_order(used, palette, num_classes):
        return TrueMask(indices)
    shown = ", ".join(f"{index} in #{bytes(palette[index]).hex()}" for index in used[:_SHOWN])
    raise MaskError(
        f"the palette's indices and colours ({shown}) do not tell the classes 0..{num_classes - 1}; {REMEDY}"
    )


def united(masks: Sequence[TrueMask]) -> TrueMask:
    """Join the masks of one image and task: a pixel gets the class that one of them gives it.

    Raises MaskError if their sizes differ or two of them give a pixel different classes.
    """
    joined = masks[0].labels
    for mask in masks[1:]:
        if mask.labels.shape != joined.shape:
            sizes = ["{1}x{0}".format(*labels.shape) for labels in (joined, mask.labels)]
            raise MaskError(f"the masks of one image have {sizes[0]} and {sizes[1]} pixels; correct one of them")
        if ((joined > 0) & (mask.labels > 0) & (joined != mask.labels)).any():
            raise MaskError("the masks of one image give the same pixels different classes; correct one of them")
        joined = np.maximum(joined, mask.labels)
    notes = dict.fromkeys(note for mask in masks for note in mask.notes)
    more = (f"{len(masks)} masks of one image were joined",) if len(masks) > 1 else ()
    return TrueMask(joined, (*more, *notes))


def _distinct(values: Numbers) -> npt.NDArray[np.generic]:
    """The different values in ascending order."""
    if values.dtype in (np.uint8, np.bool_):
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def _check_whole(found: Numbers) -> None:
    numbers = found.astype(np.float64)
    odd = numbers[~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers)))]
    if odd.size:
        raise MaskError(f"the mask holds {odd[0]:g}, which is not a class number; {REMEDY}")


def _listed(values: Sequence[object] | Numbers) -> str:
    shown = ", ".join(f"{value}" for value in values[:_SHOWN])
    return f"{shown} and {len(values) - _SHOWN} more" if len(values) > _SHOWN else shown


def _told_by_colours(colours: Sequence[Colour], num_classes: int) -> list[int] | None:
    """The classes of a palette's used colours if these are certain: greys that are class numbers, or two classes, one
    of them black."""
    greys = [red if red == green == blue else 256 for red, green, blue in colours]
    if max(greys) < num_classes:
        return greys
    if num_classes == 2 and len(colours) == 2 and _BLACK in colours:
        return [int(colour != _BLACK) for colour in colours]
    return None


def _in_order(used: Sequence[int], palette: Sequence[Colour], num_classes: int) -> bool:
    """Whether a palette lists the classes in order, and no tool has cut and reordered it.

    Such a tool keeps only the used colours and sorts them by frequency or brightness.
    """
    colours = [palette[index] for index in used]
    if all(colour in _VOC for colour in colours):
        return [_VOC[colour] for colour in colours] == list(used)
    if _BLACK in colours and palette.index(_BLACK):
        return False
    if palette[0] != _BLACK or len(palette) < num_classes:
        return bool(set(palette) - set(colours) - {_BLACK})
    greys = all(red == green == blue for red, green, blue in colours)
    return not greys or colours == sorted(colours)


def _voc_colour(index: int) -> Colour:
    """The colour of a class in PASCAL VOC and labelme: bits 0, 3, 6 of the index make the red, ..."""
    red, green, blue = (
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)
    )
    return red, green, blue


_VOC = {_voc_colour(index): index for index in range(256)}
