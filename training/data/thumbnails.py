"""Small grey copies of images, to compare them by. They do not depend on the recipe's grid, so the split does not."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.imaging.decode import read_image
from training.data.array_cache import ArrayCache, Entry
from training.data.pixels import in_parallel

Thumbnail = npt.NDArray[np.uint8]
"""(SIDE, SIDE) grey levels of the whole image, stretched to a square."""

SIDE = 32

_VERSION = 1  # of what is cached: count up whenever decoding or shrinking changes
_LIMIT_BYTES = 1_000_000_000


def thumbnail(pixels: npt.NDArray[np.uint8]) -> Thumbnail:
    """(H, W, 3) uint8 RGB -> (SIDE, SIDE) uint8 grey, by Pillow's bilinear filter, which widens when it shrinks."""
    is_grey = pixels.strides[2] == 0
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if is_grey else pixels)).convert("L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.uint8)


def read_thumbnails(files: Mapping[str, Path], cache: Path) -> dict[str, Thumbnail]:
    """Return the thumbnails of image files by the hash of their content. Those not yet in `cache` are decoded.

    Raises ImageError for a file that cannot be decoded.
    """
    store = ArrayCache(cache / f"thumbnails-{SIDE}-v{_VERSION}", (SIDE, SIDE), _LIMIT_BYTES)
    found = {content: store.read(record.slot) for content, record in store.open_for(files).items()}
    missing = {content: path for content, path in files.items() if content not in found}
    decoded = in_parallel(lambda path: thumbnail(read_image(path).pixels), [*missing.values()], "thumbnails")
    made = dict(zip(missing, decoded, strict=True))
    for _ in store.add(_entries(made)):
        pass
    return found | made


def _entries(thumbnails: Mapping[str, Thumbnail]) -> Iterator[Entry]:
    for content, pixels in thumbnails.items():
        yield Entry(content, pixels, SIDE, SIDE, int(pixels.max()))
