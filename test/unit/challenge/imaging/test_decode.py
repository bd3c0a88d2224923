import io
import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from phantoms.bad_inputs import BAD_INPUTS, HEIGHT, WIDTH, BadInput, Reading, picture, write_bad_inputs
from PIL import Image, ImageCms

from challenge.errors import ImageError
from challenge.imaging import decode as images
from challenge.imaging.decode import DecodedImage, read_image, read_size


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    """Write bytes to a file of that name and read it."""

    def inner(data: bytes, name: str = "image.png") -> DecodedImage:
        (tmp_path / name).write_bytes(data)
        return read_image(tmp_path / name)

    return inner


def assert_grey(image: DecodedImage, expected: np.ndarray, tolerance: int = 0) -> None:
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape == (*expected.shape, 3)
    assert image.size == expected.shape[::-1]
    assert np.abs(image.pixels.astype(int) - expected[..., None]).max() <= tolerance


GREY = Image.fromarray(picture())
COLOUR = np.dstack([picture(), 255 - picture(), picture() // 2])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_grey_values_are_kept(read, mode: str) -> None:
    assert_grey(read(encoded(GREY.convert(mode), "PNG")), picture())


def test_one_bit(read) -> None:
    bits = picture() > 127
    assert_grey(read(encoded(Image.fromarray(bits), "PNG")), np.where(bits, 255, 0))


@pytest.mark.parametrize("opacity", [0, 90])
def test_alpha_is_dropped_not_blended(read, opacity: int) -> None:
    alpha = np.full((HEIGHT, WIDTH), opacity, np.uint8)
    for pixels in (np.dstack([COLOUR, alpha]), np.dstack([picture(), alpha])):
        image = read(encoded(Image.fromarray(pixels), "PNG"))
        np.testing.assert_array_equal(image.pixels, pixels[..., :3] if pixels.shape[2] == 4 else pixels[..., [0, 0, 0]])


@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255, 7])])
def test_palettes_become_their_colours(read, transparency: int | bytes | None) -> None:
    indices = picture() % 4
    colours = np.array([[10, 20, 30], [200, 0, 100], [0, 255, 0], [90, 80, 70]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colours.ravel().tolist())
    options = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(read(encoded(image, "PNG", **options)).pixels, colours[indices])


def test_cmyk_and_its_inverted_adobe_form(read) -> None:
    data = encoded(GREY.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data  # Pillow writes the inverted form
    assert_grey(read(data), picture(), tolerance=25)
    assert_grey(read(encoded(GREY.convert("CMYK"), "TIFF")), picture())


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces(read, mode: str) -> None:
    if mode == "LAB":
        rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(GREY.convert("RGB"), rgb, lab, outputMode="LAB")
        assert image is not None
    else:
        image = GREY.convert(mode)
    assert_grey(read(encoded(image, "TIFF")), picture(), tolerance=2)


def test_16_bits_are_divided_not_clipped(read) -> None:
    values = np.array([[0, 256, 257, 40_000, 65_535]], np.uint16)
    expected = np.array([[0, 0, 1, 155, 255]])
    assert_grey(read(encoded(Image.fromarray(values), "PNG")), expected)
    assert_grey(read(encoded(Image.fromarray(values), "TIFF")), expected)
    big_endian = Image.frombytes("I;16B", (5, 1), values.astype(">u2").tobytes())
    assert_grey(read(encoded(big_endian, "TIFF")), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_other_numbers_are_scaled_from_their_own_range(read, dtype: type) -> None:
    values = np.array([[-500, 0, 500]], dtype)
    assert_grey(read(encoded(Image.fromarray(values), "TIFF")), np.array([[0, 128, 255]]))


@pytest.mark.parametrize("values", [[[7.0, 7.0]], [[np.nan, np.nan]], [[0.0, np.inf]]])
def test_numbers_without_a_range_become_black(read, values: list[list[float]]) -> None:
    assert_grey(read(encoded(Image.fromarray(np.array(values, np.float32)), "TIFF")), np.zeros((1, 2), int))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_ignored(read, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with caplog.at_level(logging.INFO):
        image = read(encoded(GREY.convert("RGB"), kind, exif=exif, quality=100))
    assert_grey(image, picture(), tolerance=40)
    assert image.notes == ()
    assert ("EXIF orientation 6 is ignored" in caplog.text) == (kind == "JPEG")


def test_tiff_orientation_is_the_decoders_and_the_header_agrees(read, tmp_path: Path) -> None:
    image = read(encoded(GREY, "TIFF", tiffinfo={0x0112: 6}))
    assert image.size == read_size(tmp_path / "image.png") == (HEIGHT, WIDTH)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_not_cost_the_image(read) -> None:
    data = encoded(GREY, "JPEG", quality=95, exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\xff" * 20)
    assert_grey(read(data), picture(), tolerance=40)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_bad_inputs(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize("item", BAD_INPUTS, ids=lambda item: item.name)
def test_bad_inputs(bad: dict[str, Path], item: BadInput) -> None:
    path = bad[item.name]
    assert read_size(path) == item.size
    if item.reading is Reading.UNREADABLE:
        with pytest.raises(ImageError, match=item.name):
            read_image(path)
        return
    image = read_image(path)
    assert image.size == item.size
    assert bool(image.notes) == (item.reading is Reading.NOTED)


@pytest.mark.parametrize(
    "name", ["frames.gif", "frames.tiff", "volume.mha", "scan.dcm", "a scan named.png", "16 bit.png"]
)
def test_which_frame_is_read(bad: dict[str, Path], name: str) -> None:
    assert_grey(read_image(bad[name]), picture())


def test_medical_images_of_other_number_types_are_scaled(bad: dict[str, Path]) -> None:
    assert_grey(read_image(bad["scan.nii.gz"]), picture().astype(int) * 9 // 16)  # 240 * 9 needs 12 bits


def test_dicom_whose_zero_is_white_is_inverted(bad: dict[str, Path], read) -> None:
    data = bad["scan.dcm"].read_bytes()
    assert_grey(read(data.replace(b"MONOCHROME2", b"MONOCHROME1"), "scan.dcm"), 255 - picture())


def test_frames_and_truncation_are_noted(bad: dict[str, Path]) -> None:
    assert read_image(bad["frames.gif"]).notes == ("3 frames; the first was used",)
    assert read_image(bad["volume.mha"]).notes == ("3 frames; the middle one was used",)
    assert "truncated" in read_image(bad["truncated.jpg"]).notes[0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_readable_part_of_a_truncated_file_is_kept(read, kind: str, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 160), np.uint8)
    whole = encoded(Image.fromarray(noise).convert(mode), kind)
    image, reference = read(whole[: len(whole) * 3 // 4]), read(whole)
    assert image.size == (160, 200)
    assert image.notes == ("truncated file; the missing part was filled",)
    rows = slice(100, 200) if kind == "BMP" else slice(0, 100)  # BMP files begin with the last row
    np.testing.assert_array_equal(image.pixels[rows], reference.pixels[rows])


def test_a_png_with_a_damaged_middle_keeps_its_beginning(read) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 160), np.uint8)
    data = bytearray(encoded(Image.fromarray(noise), "PNG"))
    data[len(data) * 3 // 4] ^= 0xFF
    image = read(bytes(data))
    np.testing.assert_array_equal(image.pixels[:100, :, 0], noise[:100])
    assert image.notes


def test_the_length_field_of_a_bmp_is_ignored(read) -> None:
    data = bytearray(encoded(GREY.convert("RGB"), "BMP")[:-100])
    data[2:6] = struct.pack("<I", 0xFFFFFFFF)
    image = read(bytes(data))
    assert image.size == (WIDTH, HEIGHT)
    assert image.notes


@pytest.mark.parametrize("kind", ["BMP", "PNG"])
def test_less_than_half_of_a_picture_is_refused(read, kind: str) -> None:
    whole = encoded(Image.new("L", (2000, 2000), 90), kind, **({"compress_level": 0} if kind == "PNG" else {}))
    with pytest.raises(ImageError, match="damaged image"):
        read(whole[: len(whole) * 45 // 100])
    assert read(whole[: len(whole) * 55 // 100]).size == (2000, 2000)


def test_the_pixel_limit_is_checked_before_decoding(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PIXEL_LIMIT", WIDTH * HEIGHT)
    assert_grey(read(encoded(GREY, "PNG")), picture())
    monkeypatch.setattr(images, "PIXEL_LIMIT", WIDTH * HEIGHT - 1)
    with pytest.raises(ImageError, match="48x36 pixels are more than the limit of 1,727"):
        read(encoded(GREY, "PNG"))


def test_the_limit_holds_for_medical_images(bad: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100)
    for name in ("volume.mha", "scan.dcm"):
        with pytest.raises(ImageError, match="48x36 pixels"):
            read_image(bad[name])


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.png", tmp_path):
        with pytest.raises(ImageError, match=path.name):
            read_image(path)
        assert read_size(path) is None


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(GREY, "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF"])
def test_random_damage_gives_an_image_or_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(images, "PIXEL_LIMIT", 1_000_000)  # damaged headers ask for large images, which take long
    whole, rng = encoded(GREY.convert("RGB"), kind), np.random.default_rng(0)
    path = tmp_path / "file"
    readable = unreadable = 0
    for number in range(150):
        data = bytearray(whole)
        for position in rng.integers(0, rng.choice([60, len(data)]), rng.integers(1, 4)):
            data[position] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data) // 2, len(data))] if number % 2 else data)
        size = read_size(path)
        assert size is None or min(size) > 0
        try:
            assert min(read_image(path).size) > 0
            readable += 1
        except ImageError as error:
            assert str(error).startswith("file: ")  # noqa: PT017
            unreadable += 1
    assert readable > 0
    assert unreadable > 0


def test_a_damaged_later_frame_does_not_cost_the_first(read) -> None:
    frames = [Image.fromarray(255 - picture()), Image.fromarray(picture() // 2)]
    data = encoded(GREY, "GIF", save_all=True, append_images=frames)
    first = len(encoded(GREY, "GIF"))
    image = read(data[: first + 12])
    assert_grey(image, picture())


def test_every_phantom_image_is_read_without_a_note(phantom_folder: Path) -> None:
    modes = set()
    for path in sorted(phantom_folder.rglob("*")):
        if path.suffix.lower() in (".png", ".jpg", ".bmp"):
            image = read_image(path)
            assert image.notes == ()
            assert image.size == read_size(path)
            with Image.open(path) as opened:
                modes.add(opened.mode)
    assert {"L", "LA", "P", "RGB", "RGBA", "I;16"} <= modes


def test_compressed_text_bombs_are_harmless(read) -> None:
    body = b"comment\0\0" + zlib.compress(bytes(20_000_000))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = encoded(GREY, "PNG")
    try:
        assert_grey(read(data[:33] + chunk + data[33:]), picture())
    except ImageError as error:
        assert "damaged" in str(error)  # noqa: PT017
