"""Element lengths of hand-made DICOM files (PS3.5, section 7)."""

import struct

import numpy as np
import pytest
import SimpleITK as sitk

from challenge.imaging.medical.dicom_lengths import check_lengths

UNDEFINED = b"\xff\xff\xff\xff"
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
SEQUENCE = b"\x08\x00\x40\x11"
PIXELS = b"\xe0\x7f\x10\x00OB\0\0"


def element(group, number, kind, value):
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def file(*elements, syntax=b"1.2.840.10008.1.2.1\0"):
    return bytes(128) + b"DICM" + element(2, 0x10, b"UI", syntax) + b"".join(elements)


ROWS = element(0x28, 0x10, b"US", b"\x04\x00")
EMPTY = b"\0\0\0\0"


@pytest.mark.parametrize(
    "data",
    [
        file(ROWS),
        file(SEQUENCE + b"SQ\0\0" + UNDEFINED, ITEM + UNDEFINED, ROWS, ITEM_END + EMPTY, SEQUENCE_END + EMPTY, ROWS),
        file(SEQUENCE + b"SQ\0\0" + struct.pack("<I", 18), ITEM + struct.pack("<I", 10), ROWS, ROWS),
        file(SEQUENCE + b"UN\0\0" + UNDEFINED, ITEM + UNDEFINED, b"\x28\x00\x10\x00\x02\0\0\0\x04\0",
             ITEM_END + EMPTY, SEQUENCE_END + EMPTY, ROWS),
        file(b"\x28\x00\x10\x00\x02\0\0\0\x04\0", syntax=b"1.2.840.10008.1.2\0"),
        file(b"\x00\x28\x00\x10US\x00\x02\x00\x04", syntax=b"1.2.840.10008.1.2.2\0"),
        file(ROWS, PIXELS + UNDEFINED, ITEM + EMPTY, ITEM + struct.pack("<I", 3) + b"abc", SEQUENCE_END + EMPTY),
    ],
    ids=["plain", "open sequence", "sequence of known length", "unknown type, implicit inside", "implicit",
         "big-endian", "compressed pixels"],
)  # fmt: skip
def test_correct_files(data):
    check_lengths(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"DICM", "no DICM mark"),
        (file(ROWS)[:-1], "0028,0010 claims 2 bytes of 1"),
        (file(ROWS)[:-3], "cut off"),
        (file(PIXELS + struct.pack("<I", 1 << 30), b"xx"), "7fe0,0010 claims 1073741824 bytes of 2"),
        (file(PIXELS + UNDEFINED, ITEM + struct.pack("<I", 99)), "damaged fragments"),
        (file(b"\x28\x00\x10\x00\x00\x00\x02\x00"), "0028,0010 has no type"),
        (file(SEQUENCE_END + EMPTY), "ends twice"),
        (file(ROWS, syntax=b"1.2.840.10008.1.2.1.99"), "deflated"),
    ],
)
def test_lengths_that_do_not_fit(data, message):
    with pytest.raises(ValueError, match=message):
        check_lengths(data)


@pytest.mark.parametrize("compressor", [None, "JPEG2000"])
def test_files_of_another_writer(tmp_path, compressor):
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.dcm"))
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8)))
    data = (tmp_path / "a.dcm").read_bytes()
    check_lengths(data)
    with pytest.raises(ValueError, match=r"claims|cut off|fragments"):
        check_lengths(data[:-20])
