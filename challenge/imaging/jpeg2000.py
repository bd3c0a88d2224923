"""Signs of damage in a JPEG 2000 file; its decoder reports none (ITU-T T.800, annex A)."""

_FILE, _CODESTREAM = b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"
_DATA = b"\xff\x93"
_HOLE = bytes(64)

NOTE = "a run of zeros in the compressed data; part of the picture may be wrong"


def hole_notes(data: bytes) -> tuple[str, ...]:
    """Note zeros in the data of a file or codestream. They may also be a flat area, so they are not an error."""
    if not data.startswith((_FILE, _CODESTREAM)):
        return ()
    first = data.find(_DATA, max(0, data.find(_CODESTREAM)))
    return (NOTE,) if first >= 0 and _HOLE in data[first:] else ()
