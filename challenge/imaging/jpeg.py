"""What the markers of a JPEG file say, and how much of its picture is really there (ITU-T T.81, annex B)."""

import io
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.imaging.intensity import Pixels

SIGNATURE = b"\xff\xd8"
END = b"\xff\xd9"

_SCAN, _END, _JFIF, _ADOBE = 0xDA, 0xD9, 0xE0, 0xEE
_NO_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
_AFTER_SCAN = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_DCT = (0xC0, 0xC1, 0xC2)
_PROGRESSIVE = 0xC2
_TABLES = 0xC4
_COEFFICIENTS = 64
_HOLE = bytes(64)
# Bytes that hold no marker, decode to anything but grey, and are the same every time.
_NOISE = bytes(np.random.default_rng(1).integers(1, 255, 1 << 14, np.uint8))
_FILLED = (127, 128)  # decoders fill missing parts with the middle of the range; CMYK inverts it


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker's code and where its content begins and ends, the end marker (if any) last."""
    position = len(SIGNATURE)
    while position + 2 <= len(data) and data[position] == 0xFF:
        code = data[position + 1]
        position += 1 if code == 0xFF else 2
        if code == _END:
            yield code, position - 2, position
            return
        if code == 0xFF or code in _NO_LENGTH:
            continue
        end = position + int.from_bytes(data[position : position + 2])
        yield code, position + 2, end
        position = end
        if code == _SCAN:
            found = _AFTER_SCAN.search(data, end)
            position = found.end() - 2 if found else len(data)


def is_dct(data: bytes) -> bool:
    """Whether the data are an ordinary JPEG: not lossless, JPEG-LS or JPEG 2000."""
    return data.startswith(SIGNATURE) and any(code in _DCT for code, *_ in segments(data))


def colours(data: bytes) -> str | None:
    """Return "YCbCr" or "RGB" as the colour markers say, or None without such markers."""
    kind = None
    for code, start, end in segments(data):
        if code == _JFIF and data.startswith(b"JFIF\0", start):
            kind = kind or "YCbCr"
        elif code == _ADOBE and data.startswith(b"Adobe", start) and end - start >= 12:
            kind = "YCbCr" if data[start + 11] else "RGB"
    return kind


def is_short(data: bytes, pixels: Pixels) -> bool:
    """Whether data with an end marker end too early. `pixels` are what a decoder made of them.

    Decoders fill missing parts with grey. In a progressive file, missing scans leave the picture blurred.
    """
    if _is_progressive(data):
        return not _are_all_sharpened(data) or bool(_rows_that_differ(data).any())
    low, high = _FILLED
    end = pixels[-1, -8:]
    return bool(((end >= low) & (end <= high)).all()) and share(data) < 1


def _is_progressive(data: bytes) -> bool:
    """Whether the header before the first scan says so. The scans, nearly the whole file, are not searched."""
    first = next((code for code, *_ in segments(data) if code in (_PROGRESSIVE, _SCAN)), None)
    return first == _PROGRESSIVE


def _are_all_sharpened(data: bytes) -> bool:
    """Whether the scans of a progressive file contain all bits of all coefficients (G.1.1.1)."""
    missing: dict[tuple[int, int], int] = {}
    for code, start, end in segments(data):
        content = data[start:end]
        if code == _PROGRESSIVE and len(content) >= 6:
            missing = {(number, at): 1 for number in content[6:18:3] for at in range(_COEFFICIENTS)}
        if code == _SCAN and content and content[0] <= 4 and len(content) >= 4 + 2 * content[0]:
            first, last, bits = content[1 + 2 * content[0] : 4 + 2 * content[0]]
            for number in content[1 : 1 + 2 * content[0] : 2]:
                missing |= {(number, at): bits & 15 for at in range(first, min(last + 1, _COEFFICIENTS))}
    return not any(missing.values())


def share(data: bytes) -> float:
    """Return the share of the rows that the data contain, 0..1. Without a header it raises the decoder's error.

    In a progressive file the first scan counts; later scans only add detail.
    """
    codes = [code for code, *_ in segments(data)]
    if _PROGRESSIVE in codes and codes.count(_SCAN) > 1:
        return 1.0
    different = _rows_that_differ(data)
    return float(different.argmax()) / len(different) if different.any() else 1.0


def _rows_that_differ(data: bytes) -> npt.NDArray[np.bool_]:
    """Which rows differ between noise and nothing after the data: the data do not reach these rows."""
    body = without_end(data)
    with_nothing, with_noise = (np.asarray(Image.open(io.BytesIO(body + fill + END))) for fill in (b"", _NOISE))
    different: npt.NDArray[np.bool_] = (with_nothing != with_noise).reshape(len(with_nothing), -1).any(axis=1)
    return different


def hole(data: bytes) -> int | None:
    """Return where a run of zeros begins in the compressed data that no picture can produce, or None.

    Zeros are the first code of each table. They can be a flat area only if this code means "nothing more" in all
    tables.
    """
    if _HOLE not in data:
        return None
    is_flat, first_scan, stop = True, None, len(data)
    for code, start, end in segments(data):
        if code == _PROGRESSIVE:  # its codes may stand for many empty blocks
            return None
        is_flat &= code != _TABLES or _first_codes(data[start:end]) == {0}
        first_scan = end if code == _SCAN and first_scan is None else first_scan
        stop = start if code == _END else stop
    found = -1 if is_flat or first_scan is None else data.find(_HOLE, first_scan, stop)
    return None if found < 0 else found


def _first_codes(tables: bytes) -> set[int]:
    """Return what zeros mean in each of a segment's Huffman tables (B.2.4.2)."""
    codes, position = set(), 0
    while position + 17 < len(tables):
        codes.add(tables[position + 17])
        position += 17 + sum(tables[position + 1 : position + 17])
    return codes


def without_end(data: bytes) -> bytes:
    """Return the data before a hole or the end marker; without these, before zeros and half a marker at the end."""
    gap = hole(data)
    if gap is not None:
        return data[:gap]
    end = next((start for code, start, _ in segments(data) if code == _END), None)
    return data.rstrip(b"\0").rstrip(b"\xff") if end is None else data[:end]
