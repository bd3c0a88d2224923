"""Make truncated image files decodable, without Pillow's process-wide switch for it (threads decode side by side)."""

import struct
import zlib

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A file that holds less than a hundredth of its pixels tells nothing, and a false header could cost gigabytes.
_MOST_MISSING = 100
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def repaired(data: bytes) -> bytes | None:
    """Return the file's bytes mended so that a strict decoder takes them, or None if nothing can be done."""
    if data.startswith(b"\xff\xd8"):
        return data + b"\xff\xd9"  # an end marker: decoders fill what is missing
    if data.startswith(_PNG_SIGNATURE):
        return _repaired_png(data)
    if data.startswith(b"BM") and len(data) >= 54:
        return _repaired_bmp(data)
    return None


def _repaired_bmp(data: bytes) -> bytes | None:
    start, _, width, height, _, bits = struct.unpack_from("<IIiiHH", data, 10)
    length = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if length > len(data) * _MOST_MISSING:
        return None
    return data + bytes(max(0, length - len(data)))


def _repaired_png(data: bytes) -> bytes | None:
    """Rewrite a PNG from the scan lines that can still be inflated; missing ones become zeros."""
    kept, pixels, position = [], b"", len(_PNG_SIGNATURE)
    header = b""
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if name == b"IHDR":
            header = body
        elif name == b"IDAT":
            pixels += body
        elif name in (b"PLTE", b"tRNS") and len(body) == length:
            kept.append((name, body))
        position += 12 + length
    if len(header) != 13:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if interlaced or colour not in _PNG_CHANNELS or width * height > 100_000_000:
        return None
    line = 1 + (width * depth * _PNG_CHANNELS[colour] + 7) // 8
    raw = _inflate(pixels, line * height)
    if line * height > len(raw) * _MOST_MISSING:
        return None
    raw = raw[: len(raw) // line * line].ljust(line * height, b"\0")
    chunks = [(b"IHDR", header), *kept, (b"IDAT", zlib.compress(raw, 1)), (b"IEND", b"")]
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _inflate(data: bytes, limit: int) -> bytes:
    """Inflate as much as the stream allows, in small steps so that a damaged tail loses only itself."""
    decompressor = zlib.decompressobj()
    out = bytearray()
    try:
        for start in range(0, len(data), 512):
            out += decompressor.decompress(data[start : start + 512], max(0, limit - len(out)))
            if len(out) >= limit:
                break
    except zlib.error:
        pass
    return bytes(out)
