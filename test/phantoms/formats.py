"""One picture in every encoding that real challenge folders hold."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from phantoms.physics import Array


@dataclass(frozen=True)
class Encoding:
    """A file ending and how grey values 0..1 become such a file's bytes."""

    ending: str
    encode: Callable[[Array], bytes]


def encode_mask(labels: npt.NDArray[np.uint8]) -> bytes:
    """Return class indices (H, W) uint8 as an 8-bit single-channel PNG."""
    return _file(Image.fromarray(labels), "PNG")


def _file(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    if kind == "PNG":
        options["compress_level"] = 1  # speckle hardly compresses
    image.save(stream, kind, **options)
    return stream.getvalue()


def _bytes(grey: Array) -> npt.NDArray[np.uint8]:
    return np.round(grey * 255).astype(np.uint8)


def _grey_png(grey: Array) -> bytes:
    return _file(Image.fromarray(_bytes(grey)), "PNG")


def _jpeg(grey: Array) -> bytes:
    return _file(Image.fromarray(_bytes(grey)).convert("RGB"), "JPEG", quality=92)


def _bmp(grey: Array) -> bytes:
    return _file(Image.fromarray(_bytes(grey)).convert("RGB"), "BMP")


def _png16(grey: Array) -> bytes:
    return _file(Image.fromarray(np.round(grey * 65535).astype(np.uint16)), "PNG")


def _palette(grey: Array) -> bytes:
    """Indices that are not grey values: the palette runs from white to black, and one entry is transparent."""
    image = Image.fromarray(255 - _bytes(grey)).convert("P")
    image.putpalette([value for entry in range(255, -1, -1) for value in (entry,) * 3])
    return _file(image, "PNG", transparency=255)


def _rgba(grey: Array) -> bytes:
    """Half transparent to the right: a reader that blends instead of dropping alpha would see another picture."""
    height, width = grey.shape
    alpha = np.broadcast_to(np.linspace(255, 128, width).astype(np.uint8), (height, width))
    return _file(Image.fromarray(np.dstack([_bytes(grey)] * 3 + [alpha])), "PNG")


def _grey_alpha(grey: Array) -> bytes:
    alpha = np.where(grey > 0, np.uint8(255), np.uint8(0))
    return _file(Image.fromarray(np.dstack([_bytes(grey), alpha])), "PNG")


def _tinted(grey: Array) -> bytes:
    """The sepia map that some scanners show; its red channel is the grey value."""
    channels = [_bytes(grey), _bytes(grey**1.08 * 0.93), _bytes(grey**1.2 * 0.8)]
    return _file(Image.fromarray(np.dstack(channels)), "PNG")


ENCODINGS: Mapping[str, Encoding] = {
    "grey": Encoding(".png", _grey_png),
    "jpeg": Encoding(".jpg", _jpeg),
    "camera": Encoding(".JPG", _jpeg),
    "bmp": Encoding(".bmp", _bmp),
    "16 bit": Encoding(".png", _png16),
    "palette": Encoding(".png", _palette),
    "rgba": Encoding(".png", _rgba),
    "grey and alpha": Encoding(".png", _grey_alpha),
    "tinted": Encoding(".png", _tinted),
}
