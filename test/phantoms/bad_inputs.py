"""Damaged and strange image files, and what a reader that follows `challenge.imaging.decode` makes of them."""

import csv
import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.paths import MANIFEST_FOLDER

WIDTH, HEIGHT = 48, 36
FOLDER = "Segmentation/Two/odd files (do not trust)"


class Reading(StrEnum):
    """The outcome of reading a file."""

    PLAIN = "plain"
    NOTED = "noted"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class BadInput:
    """One file; `size` is the native width and height that its header gives, None if it has none."""

    name: str
    data: Callable[[], bytes]
    reading: Reading
    size: tuple[int, int] | None = (WIDTH, HEIGHT)


def picture() -> npt.NDArray[np.uint8]:
    """Return the files' picture: (HEIGHT, WIDTH) uint8, darker on the left, with one bright block."""
    grey = np.tile(np.linspace(20, 120, WIDTH).astype(np.uint8), (HEIGHT, 1))
    grey[8:20, 30:42] = 240
    return grey


def write_bad_inputs(folder: Path) -> dict[str, Path]:
    """Write every bad file into `folder`; return their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {bad.name: folder / bad.name for bad in BAD_INPUTS}
    for bad in BAD_INPUTS:
        paths[bad.name].write_bytes(bad.data())
    return paths


def write_bad_folder(data_root: Path) -> int:
    """Write a data folder whose rows are the bad files and a missing one, once per kind; return the number of rows.

    Added to an existing data folder, it leaves that folder's files alone.
    """
    names = [*write_bad_inputs(data_root / FOLDER), "missing.png"]
    tasks = (
        ("breast_lesion", "segmentation"),
        ("organ_cls", "classification"),
        ("thyroid_nodule_det", "detection"),
        ("FUGC", "Regression"),
    )
    (data_root / MANIFEST_FOLDER).mkdir(parents=True, exist_ok=True)
    with (data_root / MANIFEST_FOLDER / "Odd files.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image_path", "task_id", "task_name", "mask_path"))
        for name in names:
            for task, kind in tasks:
                mask = f"../{FOLDER}/masks/{name}.png" if kind == "segmentation" else ""
                writer.writerow((f"../{FOLDER}/{name}", task, kind, mask))
    return len(names) * len(tasks)


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _truncated(kind: str) -> Callable[[], bytes]:
    """Nine tenths of a file. Noise keeps the compressed data large, so that its loss matters."""

    def data() -> bytes:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
        whole = _file(Image.fromarray(noise), kind)
        return whole[: len(whole) * 9 // 10]

    return data


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to look at it"
    return _file(Image.fromarray(picture()), "JPEG", quality=95, exif=exif)


def _bomb() -> bytes:
    """A valid header of 900 million pixels, and hardly any data."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(10_000))),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _wide() -> bytes:
    """A line of pixels that fits into a kilobyte but needs gigabytes to resize."""
    return _file(Image.new("L", (1_000_001, 1), 9), "PNG")


def _damaged_length() -> bytes:
    """A DICOM file, one element of which claims a gigabyte."""
    data = bytearray(_medical(".dcm", picture())())
    where = data.index(b"OB", 132) + 4
    data[where : where + 4] = struct.pack("<I", 1 << 30)
    return bytes(data)


def _meta_image(sizes: str, pixels: str) -> Callable[[], bytes]:
    header = f"ObjectType = Image\nNDims = {len(sizes.split())}\nDimSize = {sizes}\nElementType = MET_UCHAR\n"
    return lambda: f"{header}ElementDataFile = {pixels}\n".encode() + bytes(64)


def _frames(kind: str) -> Callable[[], bytes]:
    def data() -> bytes:
        first = Image.fromarray(picture())
        others = [Image.fromarray(255 - picture()), Image.fromarray(picture() // 2)]
        return _file(first, kind, save_all=True, append_images=others)

    return data


def _medical(ending: str, array: npt.NDArray[np.generic]) -> Callable[[], bytes]:
    def data() -> bytes:
        import SimpleITK as sitk

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"image{ending}"
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
            return path.read_bytes()

    return data


def _saved(image: Image.Image, kind: str) -> Callable[[], bytes]:
    return lambda: _file(image, kind)


_GREY = Image.fromarray(picture())
_ALPHA = Image.fromarray(np.dstack([picture(), np.full((HEIGHT, WIDTH), 90, np.uint8)]))
_PALETTE = Image.fromarray(picture()).quantize(8)
_HTML = b"<!DOCTYPE html><html><body>404: not found</body></html>"
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n"
_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 36\n%%EndComments\nshowpage\n"

BAD_INPUTS: tuple[BadInput, ...] = (
    BadInput("empty.png", lambda: b"", Reading.UNREADABLE, None),
    BadInput("page.png", lambda: _HTML, Reading.UNREADABLE, None),
    BadInput("pointer.png", lambda: _POINTER, Reading.UNREADABLE, None),
    BadInput("program.png", lambda: _POSTSCRIPT, Reading.UNREADABLE, None),
    BadInput("noise.jpg", lambda: np.random.default_rng(0).bytes(5000), Reading.UNREADABLE, None),
    BadInput("wide.png", _wide, Reading.UNREADABLE, (1_000_001, 1)),
    BadInput("one dimension.mha", _meta_image("64", "LOCAL"), Reading.UNREADABLE, None),
    BadInput("endless.mha", _meta_image("512 512 99999", "LOCAL"), Reading.UNREADABLE, (512, 512)),
    BadInput("elsewhere.mhd", _meta_image("4 4", "/etc/passwd"), Reading.UNREADABLE, (4, 4)),
    BadInput("damaged length.dcm", _damaged_length, Reading.UNREADABLE, None),
    BadInput("truncated.dcm", lambda: _medical(".dcm", picture())()[:-500], Reading.UNREADABLE),
    BadInput("bomb.png", _bomb, Reading.UNREADABLE, (30_000, 30_000)),
    BadInput("header only.jpg", lambda: _file(_GREY, "JPEG")[:4], Reading.UNREADABLE, None),
    BadInput("truncated.jpg", _truncated("JPEG"), Reading.NOTED),
    BadInput("truncated.png", _truncated("PNG"), Reading.NOTED),
    BadInput("truncated.bmp", _truncated("BMP"), Reading.NOTED),
    BadInput("frames.gif", _frames("GIF"), Reading.NOTED),
    BadInput("frames.tiff", _frames("TIFF"), Reading.NOTED),
    BadInput("video.dcm", _medical(".dcm", np.stack([picture()] * 5)), Reading.NOTED),
    BadInput("volume.mha", _medical(".mha", np.stack([picture() // 2, picture(), 255 - picture()])), Reading.NOTED),
    BadInput("cmyk.jpg", _saved(_GREY.convert("CMYK"), "JPEG"), Reading.PLAIN),
    BadInput("rotated.jpg", _rotated, Reading.PLAIN),
    BadInput("one pixel.png", _saved(Image.new("L", (1, 1), 77), "PNG"), Reading.PLAIN, (1, 1)),
    BadInput("one bit.png", _saved(_GREY.point(lambda value: 255 * (value > 127)).convert("1"), "PNG"), Reading.PLAIN),
    BadInput("palette.png", _saved(_PALETTE, "PNG"), Reading.PLAIN),
    BadInput("colour and alpha.png", _saved(_ALPHA.convert("RGBA"), "PNG"), Reading.PLAIN),
    BadInput("portrait.bmp", _saved(Image.new("RGB", (1, 999), (7, 8, 9)), "BMP"), Reading.PLAIN, (1, 999)),
    BadInput("grey and alpha.png", _saved(_ALPHA, "PNG"), Reading.PLAIN),
    BadInput("16 bit.png", _saved(Image.fromarray(picture().astype(np.uint16) * 257), "PNG"), Reading.PLAIN),
    BadInput("scan.dcm", _medical(".dcm", picture()), Reading.PLAIN),
    BadInput("a scan named.png", _medical(".dcm", picture()), Reading.PLAIN),
    BadInput("scan.nii.gz", _medical(".nii.gz", picture().astype(np.int16) * 9), Reading.NOTED),
)
"""Every file, and what becomes of it."""
