"""Images that are in memory already -> 8-bit RGB, by the rules of `challenge.imaging.decode`."""

import numpy as np
from PIL import Image

from challenge.errors import ImageError
from challenge.imaging.decode import DecodedImage, as_rgb, check_limit
from challenge.imaging.intensity import NOTHING, Numbers, to_eight_bit
from challenge.imaging.raster import numbers_of

_MOST_CHANNELS = 4
_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


def image_of(image: Numbers | Image.Image, name: str = "the image") -> DecodedImage:
    """Return an array or a Pillow image as a decoded file of the same pixels would be.

    An array is uint8 or uint16, (H, W) or (H, W, channels): grey, grey and alpha, RGB, or RGB and alpha. Its range is
    told as that of a file is (`challenge.imaging.intensity`). Raises ImageError for anything else, and over the limits
    on an image's size; its message begins with `name`.
    """
    if isinstance(image, Image.Image):
        check_limit(image.size, name)
        try:
            values, stated = numbers_of(image)
        except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes only now
            raise ImageError(f"{name}: damaged image ({error})") from error
    else:
        values, stated = _checked(image, name), NOTHING
        check_limit((values.shape[1], values.shape[0]), name)
    pixels, notes = to_eight_bit(values, stated)
    return as_rgb(pixels, notes)


def _checked(values: Numbers, name: str) -> Numbers:
    if not isinstance(values, np.ndarray):
        raise ImageError(f"{name} is a {type(values).__name__}; give an array, a Pillow image or a path")
    if values.dtype not in _TYPES:
        raise ImageError(f"{name}: the numbers are {values.dtype}; give uint8 or uint16")
    if values.ndim == 2 or (values.ndim == 3 and 1 <= values.shape[2] <= _MOST_CHANNELS):
        return values
    raise ImageError(f"{name}: the shape is {values.shape}; give (H, W) or (H, W, channels)")
