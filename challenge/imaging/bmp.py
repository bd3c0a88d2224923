"""BMP files with a black-and-white palette: Pillow reads one bit per pixel, whatever the header says."""

from PIL import ImageFile

_BITS_AT = {"BMP": 28, "DIB": 14}


def with_whole_pixels(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    """Return an opened image that Pillow reads with one byte per pixel if the header says so.

    Raises OSError for 4 bits per pixel, which Pillow cannot read in such a file.
    """
    at = _BITS_AT.get(image.format or "")
    if at is None or image.mode not in ("1", "L") or image.fp is None:
        return image
    position = image.fp.tell()
    image.fp.seek(at)
    bits = int.from_bytes(image.fp.read(2), "little")
    image.fp.seek(position)
    if bits == 4:
        raise OSError("a BMP file of 4 bits with a grey palette is not supported")
    if bits == 8 and image.mode == "1":
        image.tile = [tile._replace(args=("1;8", *_after_first(tile))) for tile in image.tile]
    return image


def _after_first(tile: ImageFile._Tile) -> tuple[object, ...]:
    return tile.args[1:] if isinstance(tile.args, tuple) else ()
