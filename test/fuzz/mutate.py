"""Small image files of every supported format, and random damage to them: the same number gives the same damage."""

import gzip
import io
import random
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from phantoms.bad_inputs import picture
from PIL import Image

PNG_MARK = b"\x89PNG\r\n\x1a\n"
_GZIP_MARK = b"\x1f\x8b"
_HEAD = 400  # headers are where damage does most
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (b"0", b"-1", b"1", b"3", b"-001", b"65536", b"99999", b"2147483648", b"99999999999999999999", b"1e30", b"nan",
          b"", b"%s", b"x" * 300)  # fmt: skip


def mutated(ending: str, seed: int, number: int) -> bytes:
    """Return the damaged file of a format's `ending` that `seed` and `number` stand for."""
    chance = random.Random(f"{seed} {ending} {number}")
    whole = chance.choice(seeds(ending))
    inside = whole.startswith(_GZIP_MARK) and chance.random() < 0.7
    data = gzip.decompress(whole) if inside else whole
    for _ in range(chance.choice((1, 1, 2, 3, 6, 12))):
        data = chance.choice(_DAMAGES)(data, chance)
    if inside:
        return gzip.compress(data, 1)
    return with_check_sums(data) if chance.random() < 0.5 and data.startswith(PNG_MARK) else data


def with_check_sums(data: bytes) -> bytes:
    """Mend a PNG's check sums: decoders look no further if they are wrong."""
    out, position = bytearray(data), len(PNG_MARK)
    while position + 12 <= len(data):
        end = position + 8 + struct.unpack_from(">I", data, position)[0]
        if end + 4 > len(data):
            break
        struct.pack_into(">I", out, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(out)


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randrange(max(1, min(len(data), _HEAD) if chance.random() < 0.6 else len(data)))


def _put(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def _flip(data: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return _put(data, place, bytes([(data[place] if data else 0) ^ 1 << chance.randrange(8)]))


def _set(data: bytes, chance: random.Random) -> bytes:
    return _put(data, _place(data, chance), bytes([chance.randrange(256)]))


def _number(data: bytes, chance: random.Random) -> bytes:
    form = chance.choice(("<B", "<H", ">H", "<I", ">I"))
    number = chance.choice(_NUMBERS) & (1 << 8 * struct.calcsize(form)) - 1
    return _put(data, _place(data, chance), struct.pack(form, number))


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _remove(data: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return data[:place] + data[place + chance.choice((1, 2, 4, 30)) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    place, other = _place(data, chance), _place(data, chance)
    return data[:place] + data[other : other + chance.choice((1, 4, 16, 64))] + data[place:]


def _insert(data: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return data[:place] + chance.randbytes(chance.choice((1, 2, 8, 40))) + data[place:]


def _word(data: bytes, chance: random.Random) -> bytes:
    """Replace a number of a header of text."""
    found = [match.span() for match in re.finditer(rb"-?[0-9]+", data[:_HEAD])]
    start, end = chance.choice(found) if found else (0, 0)
    return data[:start] + chance.choice(_WORDS) + data[end:]


def _line(data: bytes, chance: random.Random) -> bytes:
    """Drop, repeat or move a line of a header of text."""
    lines = data[:_HEAD].split(b"\n")
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.randrange(3)):
        lines.insert(chance.randrange(len(lines) + 1), line)
    return b"\n".join(lines) + data[_HEAD:]


_DAMAGES = (_flip, _set, _set, _number, _number, _number, _cut, _remove, _repeat, _insert, _word, _word, _line)


@cache
def seeds(ending: str) -> Sequence[bytes]:
    """Return whole files of a format."""
    return tuple(FORMATS[ending]())


def _saved(kind: str, **options: object) -> Callable[..., bytes]:
    def save(image: Image.Image, **more: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options, **more)
        return stream.getvalue()

    return save


def _modes(*names: str) -> Iterator[Image.Image]:
    grey = Image.fromarray(picture())
    for name in names:
        yield Image.fromarray(picture().astype(np.uint16) * 257) if name == "I;16" else grey.convert(name)


def _pillow(kind: str, modes: Sequence[str], *options: Mapping[str, object]) -> Callable[[], Iterator[bytes]]:
    def files() -> Iterator[bytes]:
        for more in options or ({},):
            for image in _modes(*modes):
                yield _saved(kind)(image, **more)

    return files


def _tiff() -> Iterator[bytes]:
    packed = [{"compression": name} for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")]
    yield from _pillow("TIFF", ("L", "RGB", "I;16", "F", "1", "P", "CMYK"), *packed)()
    yield from _pillow("TIFF", ("L", "RGB"), {"compression": "jpeg"})()
    yield from _pillow("TIFF", ("1",), {"compression": "group4"})()


def _medical(ending: str, *compressors: str | None) -> Callable[[], Iterator[bytes]]:
    def files() -> Iterator[bytes]:
        import SimpleITK as sitk

        grey = picture()
        arrays = {"grey": grey, "deep": grey.astype(np.uint16) * 16, "colour": np.dstack([grey] * 3),
                  "frames": np.stack([grey] * 3)}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            for name, array in arrays.items():
                for compressor in compressors:
                    writer = sitk.ImageFileWriter()
                    writer.SetFileName(f"{folder}/image{ending}")
                    writer.SetUseCompression(compressor is not None)
                    writer.SetCompressor(compressor or "")
                    try:
                        writer.Execute(sitk.GetImageFromArray(array, isVector=name == "colour"))
                    except RuntimeError:  # this format has no such pixels
                        continue
                    yield Path(folder, f"image{ending}").read_bytes()

    return files


FORMATS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    ".dcm": _medical(".dcm", None, "JPEG2000", "JPEG"),
    ".mha": _medical(".mha", None, ""),
    ".nii": _medical(".nii", None),
    ".nii.gz": _medical(".nii.gz", ""),
    ".nrrd": _medical(".nrrd", None, ""),
    ".tif": _tiff,
    ".png": _pillow("PNG", ("L", "LA", "RGB", "RGBA", "P", "1", "I;16")),
    ".jpg": _pillow("JPEG", ("L", "RGB", "CMYK"), {}, {"progressive": True}),
    ".jp2": _pillow("JPEG2000", ("L", "RGB", "RGBA", "I;16"), {}, {"irreversible": True}, {"no_jp2": True}),
    ".webp": _pillow("WEBP", ("RGB", "RGBA"), {}, {"lossless": True}),
    ".bmp": _pillow("BMP", ("L", "RGB", "P", "1")),
    ".gif": _pillow("GIF", ("L", "P"), {}, {"save_all": True, "append_images": [Image.fromarray(255 - picture())]}),
    ".pgm": _pillow("PPM", ("L", "RGB", "1", "I;16")),
}
"""By ending: how its whole files are made."""
