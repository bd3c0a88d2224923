"""Incomplete and damaged files: the picture with a note, or a refusal if most of it is missing."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError
from challenge.imaging import jpeg
from challenge.imaging.decode import DecodedImage, read_image, read_size
from test.unit.challenge.imaging.test_deep_images import tiff

WIDTH, HEIGHT = 160, 200
_NOISE = np.random.default_rng(0).integers(0, 64, (HEIGHT, WIDTH))
PICTURE = (_NOISE + np.linspace(1, 190, WIDTH)).astype(np.uint8)  # no zeros
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "PNG": ("PNG", {}),
    "JPEG": ("JPEG", {}),
    "optimised JPEG": ("JPEG", {"optimize": True}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "BMP": ("BMP", {}),
    "GIF": ("GIF", {}),
    "PPM": ("PPM", {}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "deflated TIFF": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "JPEG TIFF": ("TIFF", {"compression": "jpeg"}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "JPEG 2000": ("JPEG2000", {}),
}


def encoded(form: str, mode: str = "L", picture: np.ndarray = PICTURE, **more: object) -> bytes:
    kind, options = FORMS[form]
    stream = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(stream, kind, **options, **more)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    def inner(data: bytes) -> DecodedImage | None:
        """The file's picture, or None if it is refused."""
        (tmp_path / "file").write_bytes(data)
        try:
            return read_image(tmp_path / "file")
        except ImageError as error:
            assert str(error).startswith("file: ")  # noqa: PT017
            return None

    return inner


def damaged(whole: bytes, share: float, how: str) -> bytes:
    kept = int(len(whole) * share)
    if how == "hole":
        return whole[:kept] + bytes(len(whole) // 20) + whole[kept + len(whole) // 20 :]
    return whole[:kept] + (bytes(len(whole) - kept) if how == "zeros" else b"")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("how", ["cut", "zeros"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("form", list(FORMS))
def test_missing_parts_are_noted(read, form: str, mode: str, how: str) -> None:
    whole = encoded(form, mode)
    reference = read(whole)
    assert reference is not None
    assert reference.notes == ()
    for share in (0.05, 0.2, 0.4, 0.6, 0.8, 0.95):
        image = read(damaged(whole, share, how))
        assert image is None or image.notes, f"{share:.0%} of {form} pass for the whole"
        if share < 0.45 and form != "progressive JPEG":
            assert image is None, f"{share:.0%} of {form} pass for a picture"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "deflated TIFF", "LZW TIFF"])
def test_a_hole_of_zeros_is_noted(read, form: str, mode: str) -> None:
    whole = encoded(form, mode)
    for share in (0.6, 0.8, 0.93):
        image = read(damaged(whole, share, "hole"))
        assert image is None or image.notes, f"a hole at {share:.0%} of {form}"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("form", ["BMP", "PPM", "TIFF", "JPEG TIFF", "WebP", "lossless WebP", "JPEG 2000"])
def test_a_hole_is_noted_in_pictures_with_dark_corners(read, form: str, share: float) -> None:
    picture = PICTURE.copy()
    picture[:40, :60] = 0
    for mode in ("L", "RGB"):
        whole = encoded(form, mode, picture)
        reference = read(whole)
        assert reference is not None
        assert reference.notes == ()
        image = read(damaged(whole, share, "hole"))
        assert image is None or image.notes, f"a hole at {share:.0%} of {form}"


def test_a_hole_is_noted_with_inverted_grey_and_with_planar_channels(read) -> None:
    colours = np.dstack([PICTURE, PICTURE // 2 + 1, PICTURE]).astype(np.uint16)
    for tags in ({"photometric": 0}, {"planar": True}):
        values = PICTURE.astype(np.uint16) * 257 if "photometric" in tags else colours * 257
        whole = tiff(values, **tags)
        assert read(whole).notes == ()
        assert read(whole[:40000] + bytes(2000) + whole[42000:]).notes


def test_margins_and_panels_are_not_damage(read) -> None:
    picture = np.zeros((HEIGHT, 2 * WIDTH), np.uint8)
    picture[20:150, 10:100], picture[30:120, 110:300] = 90, 200
    rows, columns = np.mgrid[:HEIGHT, : 2 * WIDTH]
    sector = np.where(np.hypot(rows, columns - WIDTH) < 150, 77, 0).astype(np.uint8)
    for ground in (0, 255, 40):
        for drawn in (picture, sector, picture[::-1], PICTURE // 200 * 200):
            image = read(encoded("BMP", picture=np.where(drawn == 0, np.uint8(ground), drawn)))
            assert image is not None
            assert image.notes in ((), ("80 rows of zeros; the file may be incomplete",)), ground


@pytest.mark.parametrize("form", ["JPEG", "progressive JPEG", "PNG", "BMP"])
def test_a_file_with_an_end_marker_may_lack_its_middle(read, form: str) -> None:
    whole = encoded(form)
    image = read(whole[: len(whole) * 3 // 4] + whole[-12:])
    assert image is None or image.notes


def png_of(compressed: bytes) -> bytes:
    """A PNG with right checksums and an end, of PICTURE's size in grey."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", compressed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


@pytest.mark.parametrize("lines", [HEIGHT - 1, HEIGHT, HEIGHT + 1])
@pytest.mark.parametrize("fault", ["none", "no end of the stream", "more data"])
def test_a_png_in_order_may_lack_lines(read, lines: int, fault: str) -> None:
    """Decoders leave missing lines black without an error; a picture may end black, and may have data behind it."""
    picture = np.vstack([PICTURE[:-1], np.zeros((2, WIDTH), np.uint8)])
    raw = b"".join(b"\0" + row.tobytes() for row in picture[:lines])
    stream = zlib.compress(raw)
    stream = {
        "none": stream,
        "no end of the stream": stream[:-4],
        "more data": stream + b"more",
    }[fault]
    image = read(png_of(stream))
    assert image is not None
    assert bool(image.notes) == (lines < HEIGHT)
    np.testing.assert_array_equal(image.pixels[..., 0], picture[:HEIGHT])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_share_of_a_jpeg_that_is_there(mode: str) -> None:
    whole = encoded("JPEG", mode)
    assert jpeg.share(whole) == 1
    for share in (0.3, 0.6, 0.9):
        assert jpeg.share(whole[: int(len(whole) * share)]) == pytest.approx(share, abs=0.1)
        assert jpeg.share(whole[: int(len(whole) * share)] + jpeg.END) == pytest.approx(share, abs=0.1)


def test_a_thumbnail_is_not_mistaken_for_the_picture(read) -> None:
    thumbnail = encoded("JPEG", picture=PICTURE[:40, :40])
    whole = encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail)
    assert thumbnail in whole
    image, reference = read(whole[: len(whole) * 3 // 4]), read(whole)
    assert image is not None
    assert reference is not None
    np.testing.assert_array_equal(image.pixels[: HEIGHT // 2], reference.pixels[: HEIGHT // 2])
    assert image.notes
    assert reference.notes == ()


@pytest.mark.parametrize("level", [0, 127, 128, 255])
@pytest.mark.parametrize("form", list(FORMS))
def test_flat_areas_are_not_damage(read, form: str, level: int) -> None:
    """Grey at the end is what decoders fill with; a black field compresses to zeros with tables of its own."""
    picture = PICTURE.copy()
    picture[HEIGHT // 3 :] = level
    picture[: HEIGHT // 3, : WIDTH // 3] = 0
    for mode in ("L", "RGB"):
        image = read(encoded(form, mode, np.tile(picture, (1, 8))))
        assert image is not None
        assert image.notes == ()


def test_zeros_after_the_end_are_not_damage(read) -> None:
    for form in ("PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF"):
        image = read(encoded(form) + bytes(600))
        assert image is not None, form
        assert image.notes == (), form


def test_a_wrong_checksum_is_noted(read) -> None:
    whole = bytearray(encoded("PNG"))
    whole[whole.index(b"IEND") - 5] ^= 1
    image = read(bytes(whole))
    assert image is not None
    assert image.notes
    np.testing.assert_array_equal(image.pixels[..., 0], PICTURE)


@pytest.mark.parametrize("form", ["WebP", "lossless WebP", "WebP with alpha"])
def test_the_size_of_a_webp_file_that_is_cut(tmp_path: Path, form: str) -> None:
    alpha = form == "WebP with alpha"
    picture = np.dstack([PICTURE] * 4) if alpha else PICTURE
    whole = encoded("WebP" if alpha else form, "RGBA" if alpha else "RGB", picture)
    (tmp_path / "file").write_bytes(whole[: len(whole) // 2])
    assert read_size(tmp_path / "file") == (WIDTH, HEIGHT)
    for length in (12, 20, 29):
        (tmp_path / "file").write_bytes(whole[:length])
        assert read_size(tmp_path / "file") is None
