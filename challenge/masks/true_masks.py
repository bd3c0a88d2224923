"""A true mask's file -> class indices. Training, inspection, scores and converters all use this reader.

A file is read only if its classes are certain; notes name the rules that were used. K is the task's number of classes.

| file | result |
|---|---|
| 1-bit, 8-bit, 16-bit or 32-bit grey, float: whole numbers in 0..K-1 | class indices |
| two classes, 0 and 255 (or 255 alone, or 65535 in 16 bits) | 0 and 1; noted |
| 16 bits, every value a multiple of 257 (widened 8 bits) | divided by 257; noted if this changes the values |
| colour with red = green = blue | as grey |
| colour, two classes, black and one colour | the colour is class 1; noted |
| palette, used colours are greys in 0..K-1, or two classes and two colours, one of them black | by the colours; noted if the indices differ |
| palette, other | by the indices, if these are classes and entry 0 is black, or the palette has colours beyond the used ones |
| alpha | ignored, noted; MaskError if the colour is the same everywhere or the foreground is transparent |
| EXIF orientation | ignored as for images (TIFF: applied by its decoder); noted |
| MetaImage, NIfTI, NRRD of one slice | the stored numbers, by the rules above |
| several pages, slices or channels; one class per channel; DICOM | MaskError |
| values between the classes, negative, not whole, beyond K-1; more than 256 classes | MaskError |
| JPEG and other lossy files, unless they hold exactly 0 and 255 of two classes | MaskError: compression changed their values |
| 16 bits per colour, grey with white as 0 in more than 8 bits, other modes | MaskError |
| more pixels or bytes than images may have (`challenge.imaging.decode`), damaged, not an image | MaskError |
"""  # noqa: E501

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from challenge.errors import ImageError, MaskError
from challenge.imaging.bmp import with_whole_pixels
from challenge.imaging.decode import BYTE_LIMIT, PIXEL_LIMIT, SIDE_LIMIT
from challenge.imaging.medical.frames import HEAD_BYTES, frame_size, read_frame, reader_of
from challenge.masks.mask_values import REMEDY, Labels, TrueMask, from_colours, from_numbers, from_palette, united

__all__ = ["TrueMask", "read_true_mask", "read_true_masks"]

_FORMATS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM", "WEBP", "JPEG", "JPEG2000")
"""Formats that Pillow may try: they open no other file and run no program."""
_MOST_CLASSES = 256
_ORIENTATION, _BITS, _WHITE_IS_ZERO, _CHANNELS, _SAMPLE_FORMAT = 0x0112, 258, 262, 277, 339
_PNG_MARK = b"\x89PNG"
_PNG_DEPTH = 24
"""Where a PNG file states the bits per channel."""


def read_true_mask(path: Path, num_classes: int) -> TrueMask:
    """Return the class indices of a true mask of `num_classes` classes, background included.

    The content decides the format, not the ending. Raises MaskError, one sentence with the file's name.
    """
    try:
        return _read(path, num_classes)
    except MaskError as error:
        raise MaskError(f"{path.name}: {error}") from error
    except UnidentifiedImageError as error:
        raise MaskError(f"{path.name}: the mask is not an image; {REMEDY}") from error
    except OSError as error:
        raise MaskError(f"{path.name}: the mask cannot be read ({error.strerror or error})") from error
    except ImageError as error:
        raise MaskError(str(error)) from error
    except Exception as error:  # decoders may raise any error on damaged files
        raise MaskError(f"{path.name}: the mask is damaged ({type(error).__name__}: {error})") from error


def read_true_masks(paths: Sequence[Path], num_classes: int) -> TrueMask:
    """Return all masks of an image and task, joined into one. Raises MaskError, also if two contradict each other."""
    return united([read_true_mask(path, num_classes) for path in paths])


def _read(path: Path, num_classes: int) -> TrueMask:
    if num_classes > _MOST_CLASSES:
        raise MaskError(f"the task has {num_classes} classes, but a mask can have at most {_MOST_CLASSES}")
    if path.stat().st_size > BYTE_LIMIT:
        raise MaskError(f"the file is larger than the limit of {BYTE_LIMIT:,} bytes")
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    reader = reader_of(path, head)
    if reader:
        return _read_medical(path, reader, num_classes)
    if head.startswith(_PNG_MARK):
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()  # decoding alone ignores checksums, so damaged bytes would become wrong labels
    with Image.open(path, formats=_FORMATS) as image:
        return _read_picture(with_whole_pixels(image), head, num_classes)


def _read_medical(path: Path, reader: str, num_classes: int) -> TrueMask:
    if reader == "GDCMImageIO":
        raise MaskError(f"DICOM masks are not supported; {REMEDY}")
    _check_size(frame_size(path, reader))
    array, frames = read_frame(path, reader)
    if frames > 1:
        raise MaskError(f"the file holds {frames} slices, but a mask has one; {REMEDY}")
    if array.ndim > 2:
        raise MaskError(f"the file holds {array.shape[-1]} channels, but a mask has one; {REMEDY}")
    return from_numbers(array, num_classes, wide=array.dtype == np.uint16)


def _read_picture(image: ImageFile.ImageFile, head: bytes, num_classes: int) -> TrueMask:
    _check_size(image.size)
    _check_form(image, head)
    notes = _orientation_notes(image)
    image.load()
    mask = _by_mode(image, num_classes)
    if _is_lossy(image, head) and set(np.unique(np.asarray(image)).tolist()) != {0, 255}:
        raise MaskError(f"lossy compression changed the mask's values; {REMEDY}")
    return TrueMask(mask.labels, (*mask.notes, *notes))


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        raise MaskError(f"{size[0]}x{size[1]} pixels are more than the limit of {PIXEL_LIMIT:,}")


def _check_form(image: ImageFile.ImageFile, head: bytes) -> None:
    """Refuse files that the decoder would silently turn into other numbers."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise MaskError(f"the file holds {frames} pages, but a mask has one; {REMEDY}")
    bits, single = _bits(image, head), image.mode in ("1", "L", "P") or image.mode.startswith(("I", "F"))
    if bits > 8 and not single:
        raise MaskError(f"the mask has {bits} bits per colour; {REMEDY}")
    tags = getattr(image, "tag_v2", {})
    channels = tags.get(_CHANNELS, len(image.getbands()))
    if channels != len(image.getbands()):
        raise MaskError(f"the file holds {channels} channels, but a mask has one; {REMEDY}")
    if image.format == "PPM" and _ppm_maximum(image) not in (1, 255, 65535):
        raise MaskError(f"white is {_ppm_maximum(image)} in the file, so its values would be stretched; {REMEDY}")
    if tags.get(_WHITE_IS_ZERO) == 0 and bits > 8:
        raise MaskError(f"the file stores white as 0, which is ambiguous in {bits} bits; {REMEDY}")


def _bits(image: ImageFile.ImageFile, head: bytes) -> int:
    """Bits per channel in the file. Pillow reduces colours to 8 bits."""
    match image.format:
        case "PNG":
            return head[_PNG_DEPTH]
        case "TIFF":
            return int(max(getattr(image, "tag_v2", {}).get(_BITS, (1,))))
        case "PPM":
            return 8 if _ppm_maximum(image) < 256 else 16
    return 8


def _ppm_maximum(image: ImageFile.ImageFile) -> int:
    """White in a PGM or PPM file. Pillow stretches the values if it is not the largest number of 8 or 16 bits."""
    arguments = image.tile[0].args
    return int(arguments[-1]) if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else 255


def _by_mode(image: ImageFile.ImageFile, num_classes: int) -> TrueMask:
    pixels = np.asarray(image)
    match image.mode:
        case "1" | "L" | "I" | "F":
            signed = getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT) == (2,) and image.mode == "L"
            return from_numbers(pixels.view(np.int8) if signed else pixels, num_classes, wide=image.format == "PPM")
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            return from_numbers(pixels, num_classes, wide=True)
        case "LA":
            return _without_alpha(np.repeat(pixels[..., :1], 3, axis=2), pixels[..., 1], num_classes)
        case "RGBA":
            return _without_alpha(pixels[..., :3], pixels[..., 3], num_classes)
        case "RGB":
            return from_colours(pixels, num_classes)
        case "P":
            return _by_palette(image, pixels, num_classes)
    raise MaskError(f"the mask is a picture of mode {image.mode}; {REMEDY}")


def _by_palette(image: ImageFile.ImageFile, indices: Labels, num_classes: int) -> TrueMask:
    flat = image.getpalette("RGB") or []
    palette = list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
    if "transparency" not in image.info:
        return from_palette(indices, palette, num_classes)
    used = {palette[index] for index in np.unique(indices) if index < len(palette)}
    if len(used) == 1:
        raise MaskError(f"the mask's shapes may be in its palette's transparency; {REMEDY}")
    return from_palette(indices, palette, num_classes)


def _without_alpha(rgb: Labels, alpha: Labels, num_classes: int) -> TrueMask:
    if (alpha == 255).all():
        return from_colours(rgb, num_classes)
    if (rgb == rgb[0, 0]).all():
        raise MaskError(f"the mask has one colour everywhere; its shapes are in the alpha channel; {REMEDY}")
    mask = from_colours(rgb, num_classes)
    if (mask.labels[alpha == 0] > 0).any():
        raise MaskError(f"foreground pixels are transparent, so their class is unclear; {REMEDY}")
    return TrueMask(mask.labels, (*mask.notes, "the alpha channel was ignored"))


def _orientation_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data says nothing about the pixels
        return ()
    if orientation in (0, 1):
        return ()
    done = (
        "was applied, as for images in TIFF" if image.format == "TIFF" else "was ignored; the raw pixel grid was used"
    )
    return (f"the orientation tag {orientation} {done}",)


def _is_lossy(image: ImageFile.ImageFile, head: bytes) -> bool:
    match image.format:
        case "JPEG" | "MPO" | "JPEG2000":
            return True
        case "WEBP":
            return b"VP8L" not in head
        case "TIFF":
            return image.info.get("compression") == "jpeg"
    return False
