"""MetaImage, NIfTI and NRRD by our own readers; SimpleITK is the oracle for correct files."""

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from challenge.errors import ImageError
from challenge.imaging.decode import read_image, read_size
from challenge.imaging.medical import volume
from challenge.imaging.medical.frames import HEAD_BYTES, open_frame, read_frame, reader_of

WIDTH, HEIGHT = 30, 20
RNG = np.random.default_rng(0)
GREY = RNG.integers(1, 256, (HEIGHT, WIDTH), np.uint8)
COLOUR = np.dstack([GREY, GREY // 2, 255 - GREY])
ALIKE = np.dstack([GREY, GREY, GREY // 2])


def frame_of(path: Path):
    reader = reader_of(path, path.read_bytes()[:HEAD_BYTES])
    assert reader is not None
    return open_frame(path, reader)


def meta(pixels: bytes, size=f"{WIDTH} {HEIGHT}", data_file="LOCAL", **keys) -> bytes:
    lines = {"ObjectType": "Image", "NDims": str(len(size.split())), "DimSize": size, "ElementType": "MET_UCHAR"}
    lines |= {key: str(value) for key, value in keys.items()} | {"ElementDataFile": data_file}
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode() + pixels


def nifti(array, dims, code, order="<", magic=b"n+1\0", slope=0.0, intercept=0.0, intent=0) -> bytes:
    head = bytearray(352)
    struct.pack_into(order + "i", head, 0, 348)
    struct.pack_into(f"{order}{1 + len(dims)}h", head, 40, len(dims), *dims)
    struct.pack_into(order + "hh", head, 68, intent, code)
    struct.pack_into(order + "3f", head, 108, 352 if magic == b"n+1\0" else 0, slope, intercept)
    head[344:348] = magic
    pixels = array.astype(array.dtype.newbyteorder(order)).tobytes()
    return bytes(head[:348]) if magic == b"ni1\0" else bytes(head) + pixels


def nifti2(array, dims, code) -> bytes:
    head = bytearray(544)
    struct.pack_into("<i8shh", head, 0, 540, b"n+2\0\r\n\x1a\n", code, 8 * array.itemsize)
    struct.pack_into(f"<{1 + len(dims)}q", head, 16, len(dims), *dims)
    struct.pack_into("<q", head, 168, 544)
    return bytes(head) + array.tobytes()


def nrrd(pixels: bytes, sizes=f"{WIDTH} {HEIGHT}", **fields) -> bytes:
    fields = {"type": "uint8", "dimension": len(sizes.split()), "sizes": sizes, "encoding": "raw", **fields}
    return ("NRRD0005\n# a comment: x\n" + "".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n").encode() + pixels


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".nhdr"])
@pytest.mark.parametrize(
    "array",
    [
        GREY,
        GREY.astype(np.uint16) * 201,
        GREY.astype(np.int16) * 77 - 9000,
        GREY.astype(np.float32) / 7,
        GREY.astype(np.float64) * 1e9,
        RNG.integers(0, 256, (5, HEIGHT, WIDTH), np.uint8),
        RNG.integers(0, 4000, (4, HEIGHT, WIDTH)).astype(np.int32),
        RNG.integers(0, 256, (2, 4, HEIGHT, WIDTH), np.uint8),
    ],
    ids=["u8", "u16", "i16", "f32", "f64", "volume", "i32 volume", "4D"],
)
def test_ordinary_files_equal_the_oracle(tmp_path, array, ending, compressed):
    path = tmp_path / f"a scan (1){ending}"
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path), compressed)
    expected, frames = array, 1
    while expected.ndim > 2:
        frames, expected = frames * len(expected), expected[len(expected) // 2]
    frame = frame_of(path)
    assert frame.values.dtype == array.dtype
    np.testing.assert_array_equal(frame.values, expected)
    assert (frame.frames, frame.faults, frame.notes) == (frames, (), ())
    assert read_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("ending", [".mha", ".nii.gz", ".nrrd"])
def test_colour_files_equal_the_oracle(tmp_path, ending, dtype):
    path = tmp_path / f"colour{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(COLOUR.astype(dtype), isVector=True), str(path))
    np.testing.assert_array_equal(frame_of(path).values, COLOUR.astype(dtype))
    np.testing.assert_array_equal(read_image(path).pixels, COLOUR)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (
            "a.mha",
            meta(
                (GREY.astype(np.uint16) * 9).astype(">u2").tobytes(),
                ElementType="MET_USHORT",
                BinaryDataByteOrderMSB="True",
            ),
        ),
        ("a.nii", nifti(GREY.astype(np.uint16) * 9, (WIDTH, HEIGHT), 512, ">")),
        ("a.nrrd", nrrd((GREY.astype(np.uint16) * 9).astype(">u2").tobytes(), type="unsigned short", endian="big")),
    ],
)
def test_big_endian(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(frame_of(tmp_path / name).values, GREY.astype(np.uint16) * 9)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.mhd", meta(b"", data_file="some pixels (1).raw")),
        ("a.mhd", meta(b"", data_file="some pixels (1).raw", HeaderSize="0")),
        ("a.mhd", meta(b"", data_file="some pixels (1).raw", HeaderSize="-1")),
        ("a.nhdr", nrrd(b"", **{"data file": "some pixels (1).raw"})),
        ("a.nhdr", nrrd(b"", datafile="some pixels (1).raw", **{"byte skip": -1})),
    ],
)
def test_a_data_file_beside_the_header(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert read_size(tmp_path / name) == (WIDTH, HEIGHT)
    with pytest.raises(ImageError, match="'some pixels .1..raw' is missing"):
        read_image(tmp_path / name)
    (tmp_path / "some pixels (1).raw").write_bytes(GREY.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels[..., 0], GREY)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub\\x", "LIST", "LIST 2", ".", "..", "x%03d.raw 1 9 1", ""]
)
def test_no_other_file_is_opened(tmp_path, name):
    (tmp_path / "secret").write_bytes(GREY.tobytes())
    folder = tmp_path / "images"
    folder.mkdir()
    for file, data in (("a.mhd", meta(b"", data_file=name)), ("a.nhdr", nrrd(b"", **{"data file": name or " "}))):
        (folder / file).write_bytes(data + bytes(100))
        with pytest.raises(ImageError, match="only a file beside it is read|is missing"):
            read_image(folder / file)


@pytest.mark.parametrize("name", ["Größe Å.raw", "100%d.raw", "./plain.raw"])
def test_the_name_of_a_data_file_is_used_literally(tmp_path, name):
    (tmp_path / name).write_bytes(GREY.tobytes())
    for file, data in (("a.mhd", meta(b"", data_file="NAME")), ("a.nhdr", nrrd(b"", **{"data file": "NAME"}))):
        (tmp_path / file).write_bytes(data.replace(b"NAME", name.encode()))
        np.testing.assert_array_equal(read_image(tmp_path / file).pixels[..., 0], GREY)


def test_a_wrong_checksum_is_noted_and_all_pixels_are_kept(tmp_path):
    header = nrrd(b"", encoding="gzip")
    packed = gzip.compress(GREY.tobytes())
    (tmp_path / "a.nrrd").write_bytes(header + packed[:-8] + b"odd!" + packed[-4:])
    image = read_image(tmp_path / "a.nrrd")
    assert image.notes == ("the checksum of the compressed pixels is wrong",)
    np.testing.assert_array_equal(image.pixels[..., 0].ravel()[:-1], GREY.ravel()[:-1])


def test_a_link_to_another_folder_is_not_followed_and_a_pipe_not_opened(tmp_path):
    (tmp_path / "secret").write_bytes(GREY.tobytes())
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.mhd").write_bytes(meta(b"", data_file="a.raw"))
    (folder / "a.raw").symlink_to(tmp_path / "secret")
    with pytest.raises(ImageError, match="a link to another folder"):
        read_image(folder / "a.mhd")
    (folder / "a.raw").unlink()
    os.mkfifo(folder / "a.raw")
    with pytest.raises(ImageError, match="is missing"):
        read_image(folder / "a.mhd")


def test_header_and_data_may_be_links_into_one_folder(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "images"
    store.mkdir()
    folder.mkdir()
    for name, data in (("a.mhd", meta(b"", data_file="a.raw")), ("a.raw", GREY.tobytes())):
        (store / name).write_bytes(data)
        (folder / name).symlink_to(store / name)
    np.testing.assert_array_equal(read_image(folder / "a.mhd").pixels[..., 0], GREY)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_nifti_pair_by_either_file(tmp_path, compressed):
    gz = ".gz" if compressed else ""
    pack = gzip.compress if compressed else bytes
    (tmp_path / f"a b.hdr{gz}").write_bytes(pack(nifti(GREY, (WIDTH, HEIGHT, 1), 2, magic=b"ni1\0")))
    (tmp_path / f"a b.img{gz}").write_bytes(pack(b"BM" + GREY.tobytes()[2:]))  # pixels may look like a mark
    for name in (f"a b.hdr{gz}", f"a b.img{gz}"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels[1:, :, 0], GREY[1:])
        assert read_size(tmp_path / name) == (WIDTH, HEIGHT)


def test_nifti_2_and_scaled_numbers(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(nifti2(GREY, (WIDTH, HEIGHT, 1), 2))
    np.testing.assert_array_equal(frame_of(path).values, GREY)
    path.write_bytes(nifti(GREY, (WIDTH, HEIGHT), 2, slope=2.0, intercept=-3.0))
    np.testing.assert_array_equal(frame_of(path).values, GREY * 2.0 - 3)
    path.write_bytes(nifti(GREY, (WIDTH, HEIGHT), 2, slope=float("nan"), intercept=1.0))
    np.testing.assert_array_equal(frame_of(path).values, GREY)


@pytest.mark.parametrize(
    ("dims", "array", "expected", "is_noted"),
    [
        ((1, WIDTH, HEIGHT), GREY, GREY, False),
        ((WIDTH, 1, HEIGHT), GREY, GREY, False),
        ((WIDTH, HEIGHT, 1, 1), GREY, GREY, False),
        ((1, HEIGHT), GREY[:, 0], GREY[:, :1], False),
        ((3, WIDTH, HEIGHT), COLOUR, COLOUR, False),
        ((WIDTH, HEIGHT, 3), np.moveaxis(ALIKE, 2, 0), ALIKE, True),
        ((WIDTH, HEIGHT, 3), np.moveaxis(COLOUR, 2, 0), COLOUR[..., 1], True),
    ],
    ids=["nnU-Net", "one row per frame", "4D", "one column", "interleaved", "planes alike", "frames unlike"],
)  # fmt: skip
def test_which_axes_make_the_picture(tmp_path, dims, array, expected, is_noted):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(array, dims, 2)))
    (tmp_path / "a.nrrd").write_bytes(nrrd(array.tobytes(), " ".join(map(str, dims))))
    (tmp_path / "a.mha").write_bytes(meta(array.tobytes(), " ".join(map(str, dims))))
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.pixels, expected if expected.ndim == 3 else np.dstack([expected] * 3))
        assert bool(image.notes) == is_noted
        assert read_size(tmp_path / name) == image.size


def test_colour_axes_that_the_header_names(tmp_path):
    planes = np.moveaxis(COLOUR, 2, 0).copy()
    (tmp_path / "a.nrrd").write_bytes(nrrd(planes.tobytes(), f"{WIDTH} {HEIGHT} 3", kinds="domain domain RGB-color"))
    (tmp_path / "b.nii").write_bytes(nifti(planes, (WIDTH, HEIGHT, 1, 1, 3), 2, intent=1007))
    (tmp_path / "c.nii").write_bytes(nifti(COLOUR, (WIDTH, HEIGHT), 128))
    for name in ("a.nrrd", "b.nii", "c.nii"):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.pixels, COLOUR)
        assert image.notes == ()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.mha", meta(b"", "-4 4"), "size of -4x4"),
        ("a.mha", meta(b"", "0 4"), "size of 0x4"),
        ("a.mha", meta(b"", "99999999999999999999 4"), "size of 9999"),
        ("a.mha", meta(b"", "4 x"), "not numbers"),
        ("a.mha", meta(b"", "4 4", NDims="3"), "NDims is '3'"),
        ("a.mha", meta(b"", "4 4", NDims="-1"), "NDims is '-1'"),
        ("a.mha", meta(b"", "30000 30000 9"), "900000000|limit"),
        ("a.mha", meta(b"", "1000 1000 1001"), "1,001,000,000 bytes"),
        ("a.mha", meta(bytes(600), BinaryData="False"), "as text .* not supported"),
        ("a.mha", meta(bytes(600), ElementType="MET_OTHER"), "'MET_OTHER' is not supported"),
        ("a.mha", meta(bytes(600), ElementNumberOfChannels="-3"), "ElementNumberOfChannels|size"),
        ("a.mha", meta(bytes(600))[:60], "no DimSize|does not end|no ElementType"),
        ("a.mhd", meta(b"", data_file="a.raw", HeaderSize="-7"), "HeaderSize is '-7'"),
        ("a.nii", nifti(GREY, (-3, 5), 2), "size of -3x5"),
        ("a.nii", nifti(GREY, (WIDTH, HEIGHT), 1792), "data type 1792 is not supported"),
        ("a.nii", bytes(400), "no NIfTI mark"),
        ("a.nii", nifti(GREY, (WIDTH, HEIGHT), 2)[:300], "no NIfTI mark"),
        ("a.nii", b"\0" + nifti(GREY, (WIDTH, HEIGHT), 2)[1:], "damaged"),
        ("a.nii.gz", gzip.compress(nifti(GREY, (WIDTH, HEIGHT), 2))[:20], "no NIfTI mark"),
        ("a.nrrd", nrrd(b"", encoding="bzip2"), "encoding 'bzip2' is not supported"),
        ("a.nrrd", nrrd(b"", encoding="ascii"), "encoding 'ascii' is not supported"),
        ("a.nrrd", nrrd(b"", type="block"), "type 'block' is not supported"),
        ("a.nrrd", nrrd(b"", dimension=3), "dimension is '3'"),
        ("a.nrrd", nrrd(b"", "-3 3"), "size of -3x3"),
        ("a.nrrd", nrrd(b"", **{"line skip": 2}), "line skip"),
        ("a.nrrd", nrrd(b"", **{"byte skip": -5}), "byte skip"),
        ("a.nrrd", nrrd(b"", kinds="RGB-color"), "kinds"),
        ("a.nrrd", b"NRRD0005\ntype: uint8\n\n", "no field 'dimension'"),
    ],
)
def test_unreadable_files_are_one_sentence(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=message) as error:
        read_image(tmp_path / name)
    assert str(error.value).startswith(f"{name}: ")
    if "not supported" in message:  # the fallback has the size of the header
        assert read_size(tmp_path / name) == (WIDTH, HEIGHT)


def packed(array: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Per file name: what comes before the pixels, and the pixels."""
    return {
        "a.mha": (meta(b""), array),
        "b.mha": (meta(b"", CompressedData="True"), zlib.compress(array)),
        "a.nii": (nifti(GREY, (WIDTH, HEIGHT), 2)[:352], array),
        "a.nrrd": (nrrd(b""), array),
        "b.nrrd": (nrrd(b"", encoding="gzip"), gzip.compress(array)),
    }


@pytest.mark.parametrize("name", list(packed(b"")))
def test_incomplete_pixels_are_noted_and_less_than_half_is_refused(tmp_path, name):
    head, pixels = packed(GREY.tobytes())[name]
    path = tmp_path / name
    path.write_bytes(head + pixels)
    assert read_image(path).notes == ()
    path.write_bytes(head + pixels[: len(pixels) * 9 // 10])
    image = read_image(path)
    assert image.notes == ("incomplete file; the missing part was filled",)
    np.testing.assert_array_equal(image.pixels[: HEIGHT // 2, :, 0], GREY[: HEIGHT // 2])
    with pytest.raises(ImageError, match="incomplete"):
        read_frame(path, reader_of(path, path.read_bytes()) or "")
    for rest in (pixels[: len(pixels) * 2 // 5], b""):
        path.write_bytes(head + rest)
        with pytest.raises(ImageError, match="bytes are there"):
            read_image(path)
        assert read_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ["b.mha", "b.nrrd"])
def test_damaged_compressed_pixels(tmp_path, name):
    head, pixels = packed(GREY.tobytes())[name]
    path = tmp_path / name
    damaged = bytearray(pixels)
    damaged[12] ^= 0xFF
    path.write_bytes(head + damaged)
    try:
        assert read_image(path).notes
    except ImageError as error:
        assert "bytes are there" in str(error)  # noqa: PT017
    checksum = bytearray(pixels)
    checksum[-5] ^= 0xFF
    path.write_bytes(head + checksum)
    with pytest.raises(ImageError, match="there|incomplete|checksum"):  # a strict reading takes no chances
        read_frame(path, reader_of(path, head) or "")


def test_a_compressed_volume_is_never_inflated_beyond_its_size(tmp_path):
    path = tmp_path / "a.mha"
    path.write_bytes(meta(zlib.compress(bytes(300_000_000)), "4 4", CompressedData="True"))
    assert read_image(path).notes


def test_only_the_middle_frame_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.mha"
    with path.open("wb") as stream:
        stream.write(meta(b"", f"{WIDTH} {HEIGHT} 1000000"))
        stream.seek(500_000 * GREY.size, os.SEEK_CUR)
        stream.write(GREY.tobytes())
        stream.truncate(stream.tell() + 499_999 * GREY.size)
    monkeypatch.setattr(volume, "VOLUME_LIMIT", 1 << 40)
    np.testing.assert_array_equal(frame_of(path).values, GREY)


def test_gzip_files_of_several_parts(tmp_path):
    data = nifti(GREY, (WIDTH, HEIGHT), 2)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    np.testing.assert_array_equal(frame_of(tmp_path / "a.nii.gz").values, GREY)


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "noending"])
def test_the_content_decides_the_reader(tmp_path, name):
    for data in (meta(GREY.tobytes()), nifti(GREY, (WIDTH, HEIGHT), 2), nrrd(GREY.tobytes()),
                 gzip.compress(nifti(GREY, (WIDTH, HEIGHT), 2)), nifti2(GREY, (WIDTH, HEIGHT), 2)):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels[..., 0], GREY)


def test_random_damage_gives_a_picture_or_an_image_error(tmp_path):
    one = nifti(GREY, (WIDTH, HEIGHT), 2)
    files = [meta(GREY.tobytes()), meta(zlib.compress(GREY.tobytes()), CompressedData="True"), nrrd(GREY.tobytes()),
             one, nifti2(GREY, (WIDTH, HEIGHT), 2), gzip.compress(one),
             nrrd(gzip.compress(GREY.tobytes()), encoding="gzip")]  # fmt: skip
    rng, path, readable = np.random.default_rng(0), tmp_path / "file.nii", 0
    for number in range(700):
        data = bytearray(files[number % len(files)])
        for position in rng.integers(0, rng.choice([100, 360, len(data)]), rng.integers(1, 4)) % len(data):
            data[position] = rng.integers(256)
        path.write_bytes(data)
        size = read_size(path)
        try:
            image = read_image(path)
        except ImageError as error:
            assert str(error).startswith("file.nii: ")  # noqa: PT017
            assert len(str(error).splitlines()) == 1  # noqa: PT017
        else:
            readable += 1
            assert image.size == size
    assert 100 < readable < 700
