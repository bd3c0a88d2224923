"""Small grey copies of images, to compare them by. They do not depend on the recipe's grid, so the split does not."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.host.atomic import write_atomically
from challenge.imaging.decode import read_image
from training.data.pixels import in_parallel

Thumbnail = npt.NDArray[np.uint8]
"""(SIDE, SIDE) grey levels of the whole image, stretched to a square."""

SIDE = 32

_VERSION = 1  # of what is cached: count up whenever decoding or shrinking changes


def thumbnail(pixels: npt.NDArray[np.uint8]) -> Thumbnail:
    """(H, W, 3) uint8 RGB -> (SIDE, SIDE) uint8 grey, by Pillow's bilinear filter, which widens when it shrinks."""
    is_grey = pixels.strides[2] == 0
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if is_grey else pixels)).convert("L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.uint8)


def read_thumbnails(files: Mapping[str, Path], cache: Path) -> dict[str, Thumbnail]:
    """Return the thumbnails of image files by the hash of their content. Those not yet in `cache` are decoded.

    Raises ImageError for a file that cannot be decoded.
    """
    store = cache / f"thumbnails-{SIDE}-v{_VERSION}.npz"
    known = _load(store)
    missing = {content: path for content, path in files.items() if content not in known}
    decoded = in_parallel(lambda path: thumbnail(read_image(path).pixels), [*missing.values()], "thumbnails")
    known |= dict(zip(missing, decoded, strict=True))
    if missing:
        _save(store, known)
    return {content: known[content] for content in files}


def _load(store: Path) -> dict[str, Thumbnail]:
    """Return what is stored; nothing if there is no file, or if it is damaged: it is then written again."""
    try:
        with np.load(store) as arrays:
            return dict(zip(arrays["contents"].tolist(), arrays["pixels"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def _save(store: Path, thumbnails: Mapping[str, Thumbnail]) -> None:
    stream = io.BytesIO()
    np.savez(stream, contents=np.array([*thumbnails]), pixels=np.stack([*thumbnails.values()]))
    store.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(store, [stream.getvalue()])
