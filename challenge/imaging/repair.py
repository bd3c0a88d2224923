"""Truncated and damaged files: finds damage that decoders do not notice, and makes the rest decodable.

Pillow's switch for truncated files is not used: it is process-wide, and threads decode side by side.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from challenge.errors import ImageError
from challenge.imaging import jpeg, tiff
from challenge.imaging.intensity import Pixels
from challenge.imaging.medical.volume import LEAST

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_FEW_ZEROS = 0.01
_BROKEN, _MIDST = 4, 0.2
"""The least number of pixels of one value at the edge of a gap, and the largest share of them in the picture around."""
_STEP = 1 << 16
"""Bytes that are inflated at a time when nothing but their number is wanted."""
_WEBP_ZEROS, _WEBP_PIXELS = 32, 8192
_WEBP_PIXEL_CHUNKS = (b"VP8 ", b"VP8L", b"ANMF")
_ZEROS = re.compile(rb"\0{%d,}" % _WEBP_ZEROS)
_PLAIN = re.compile(rb"BM|P[1-6]\s|II[*+]\0|MM\0[*+]")


class DamageError(Exception):
    """Damage to a file that its decoder silently ignores."""


def check_whole(data: bytes) -> None:
    """Raise DamageError for damage that decoders silently ignore."""
    if data.startswith(_PNG_SIGNATURE):
        for name, body, checksum in _png_chunks(data):
            if name == b"IDAT" and checksum != zlib.crc32(name + body):
                raise DamageError("a checksum is wrong")
    elif data.startswith(jpeg.SIGNATURE):
        if jpeg.hole(data) is not None:
            raise DamageError("a part of the data is zeros")
    elif (directory := tiff.read_directory(data)) and directory.has_hole(data):
        raise DamageError("a part of the data is zeros")


def check_end(data: bytes, pixels: Pixels) -> None:
    """Raise DamageError if decoded pixels are cut off or partly lost, even though the file has an end."""
    is_short = False
    if data.startswith(jpeg.SIGNATURE):
        is_short = jpeg.is_short(data, pixels)
    elif data.startswith(_PNG_SIGNATURE) and not pixels[-1].any():
        is_short = _is_short_png(data)
    elif data.startswith(b"RIFF"):
        is_short = _webp_zeros(data) > _WEBP_ZEROS + pixels.shape[0] * pixels.shape[1] // _WEBP_PIXELS
    if is_short:
        raise DamageError("a part or the end is missing")


def _webp_zeros(data: bytes) -> int:
    """Return the longest run of zeros in a WebP file's pixels; in a flat area one may stand for 10,000 pixels."""
    longest, position, stop = 0, 12, 8 + int.from_bytes(data[4:8], "little")
    while position + 8 <= min(stop, len(data)):
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : min(stop, position + 8 + length)] if name in _WEBP_PIXEL_CHUNKS else b""
        longest = max([longest, *(len(found.group()) for found in _ZEROS.finditer(body))])
        position += 8 + length + length % 2
    return longest


def is_plain(data: bytes) -> bool:
    """Whether the file is of a format that is usually uncompressed."""
    return bool(_PLAIN.match(data))


def zero_notes(pixels: Pixels, name: str) -> tuple[str, ...]:
    """Note rows of zeros at the end or beginning of an uncompressed file. Raises ImageError if most rows are zeros.

    An interrupted copy looks like this. So does a dark picture, but it has zeros elsewhere too. Rows of one value that
    begin or end in the middle of a row of the picture are noted wherever they are.
    """
    for plane in [pixels] if pixels.ndim == 2 else np.moveaxis(pixels[..., :3], 2, 0):
        if gap := _gap(plane):
            return _gap_notes(*gap, len(plane), name)
    rows = np.flatnonzero(pixels.reshape(len(pixels), -1).any(axis=1))
    if not len(rows):
        return ("all pixels are 0",)
    picture = pixels[rows[0] : rows[-1] + 1]
    if len(picture) == len(pixels) or (picture[1:-1] == 0).sum() > picture.size * _FEW_ZEROS:
        return ()
    if len(picture) < len(pixels) * LEAST:
        raise ImageError(f"{name}: only {len(picture)} of {len(pixels)} rows are not empty; the file is incomplete")
    return (f"{len(pixels) - len(picture)} rows of zeros; the file may be incomplete",)


def _gap_notes(start: int, stop: int, height: int, name: str) -> tuple[str, ...]:
    if stop - start > height * LEAST:
        raise ImageError(f"{name}: {stop - start} of {height} rows have a single value; the file is incomplete")
    return (f"{stop - start} rows of one value interrupt the picture; the file may be incomplete",)


def _gap(plane: Pixels) -> tuple[int, int] | None:
    """Return the first rows of one value, from..to, that begin or end in the middle of a row, or None."""
    is_flat = plane.min(axis=1) == plane.max(axis=1)
    edges = np.flatnonzero(np.diff(is_flat.astype(np.int8), prepend=0, append=0)).tolist()
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        sides = (plane[:start][::-1], plane[start, 0]), (plane[stop:], plane[stop - 1, 0])
        # From either end of a row, because BMP files begin with the lowest row.
        if any(_breaks_off(turned, value) for rows, value in sides for turned in (rows, rows[:, ::-1])):
            return start, stop
    return None


def _breaks_off(rows: Pixels, value: np.uint8) -> bool:
    """Whether the first row begins with pixels of `value`, unlike the second, and continues as picture."""
    if len(rows) < 2:
        return False
    first, second = rows[:2] == value
    count = int(first.argmin())
    return count >= _BROKEN and max(second[:count].mean(), first[count:].mean()) < _MIDST


def repaired(data: bytes) -> tuple[bytes, float] | None:
    """Return the file's bytes, repaired for a strict decoder, and the share of the rows that are there.

    None if nothing can be done; empty bytes if the share is below `LEAST`.
    """
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.without_end(data) + jpeg.END, jpeg.share(data)
    if data.startswith(_PNG_SIGNATURE):
        return _repaired_png(data)
    if data.startswith(b"BM") and len(data) >= 54:
        return _repaired_bmp(data)
    return None


def _repaired_bmp(data: bytes) -> tuple[bytes, float] | None:
    start, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    length = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    share = (len(data) - start) / max(1, length)
    if compression not in (0, 3):
        return None
    if share < LEAST:  # do not allocate what a header merely claims
        return b"", share
    return data + bytes(max(0, start + length - len(data))), min(1.0, share)


@dataclass(frozen=True)
class _Png:
    """A PNG without interlacing: its chunks, its pixels as they are compressed, and bytes and number of its lines."""

    chunks: list[tuple[bytes, bytes]]
    header: bytes
    pixels: bytes
    line: int
    height: int


def _read_png(data: bytes) -> _Png | None:
    chunks = [(name, body) for name, body, _ in _png_chunks(data)]
    header = next((body for name, body in chunks if name == b"IHDR"), b"")
    if len(header) != 13:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if interlaced or colour not in _PNG_CHANNELS or width * height > 100_000_000:
        return None
    line = 1 + (width * depth * _PNG_CHANNELS[colour] + 7) // 8
    return _Png(chunks, header, b"".join(body for name, body in chunks if name == b"IDAT"), line, height)


def _is_short_png(data: bytes) -> bool:
    """Whether less than all lines can be inflated. A decoder leaves the others black."""
    png = _read_png(data)
    if png is None:
        return False
    missing, decompressor, rest = png.line * png.height, zlib.decompressobj(), png.pixels
    try:
        while missing > 0 and rest:
            missing -= len(decompressor.decompress(rest, _STEP))
            rest = decompressor.unconsumed_tail
    except zlib.error:  # the lines before it are counted in smaller steps
        missing = png.line * png.height - len(_inflate(png.pixels, png.line * png.height))
    return missing > 0


def _repaired_png(data: bytes) -> tuple[bytes, float] | None:
    """Rewrite a PNG from the scan lines that can still be inflated; missing lines become zeros."""
    png = _read_png(data)
    if png is None:
        return None
    raw = _inflate(png.pixels, png.line * png.height)
    share = len(raw) // png.line / png.height
    if share < LEAST:
        return b"", share
    raw = raw[: len(raw) // png.line * png.line].ljust(png.line * png.height, b"\0")
    kept = [chunk for chunk in png.chunks if chunk[0] in (b"PLTE", b"tRNS")]
    return _png([(b"IHDR", png.header), *kept, (b"IDAT", zlib.compress(raw, 1)), (b"IEND", b"")]), share


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Yield name, content and checksum of each chunk. The last may be cut off; zeros at the end are not content."""
    position = len(_PNG_SIGNATURE)
    if b"IEND" not in data[-100:]:
        data = data.rstrip(b"\0")
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        yield name, body, int.from_bytes(checksum) if len(checksum) == 4 else None
        position += 12 + length


def _inflate(data: bytes, limit: int) -> bytes:
    """Inflate as much as possible, in small steps, so that only a damaged tail is lost."""
    decompressor = zlib.decompressobj()
    out = bytearray()
    try:
        for start in range(0, len(data), 512):
            out += decompressor.decompress(data[start : start + 512], max(1, limit - len(out)))
            if len(out) >= limit:
                break
    except zlib.error:
        pass
    return bytes(out[:limit])
