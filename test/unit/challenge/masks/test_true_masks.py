"""One ellipse stored in many ways: read as the ellipse or refused with a sentence, never read as anything else."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from challenge.errors import MaskError
from challenge.masks.true_masks import read_true_mask, read_true_masks

HEIGHT, WIDTH = 24, 32


def ellipse(classes: int = 2) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    away = ((rows - 11) / 6) ** 2 + ((columns - 13) / 9) ** 2
    return ((away < 1).astype(np.uint8) + (away < 0.3) * (classes > 2)).astype(np.uint8)


def stored(folder: Path, image: Image.Image, form: str = "PNG", **options: object) -> Path:
    path = folder / "mask.png"
    image.save(path, form, **options)
    return path


def palette_image(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def read(path: Path, classes: int = 2) -> tuple[np.ndarray, str]:
    mask = read_true_mask(path, classes)
    assert (mask.labels.dtype, mask.labels.shape) == (np.uint8, (HEIGHT, WIDTH))
    return mask.labels, "; ".join(mask.notes)


BLACK, WHITE, RED, GREEN, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
VOC_1, VOC_2 = (128, 0, 0), (0, 128, 0)


def painted(labels: np.ndarray, *colours: tuple[int, ...]) -> np.ndarray:
    return np.array(colours, np.uint8)[labels]


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "I", "F", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("classes", [2, 3])
def test_class_indices_are_read_unchanged_and_without_a_note(tmp_path, mode, classes):
    labels = ellipse(2 if mode == "1" else classes)
    if mode == "P":
        image = palette_image(labels, BLACK, RED, GREEN)
    elif mode in ("1", "I;16", "I", "F"):
        image = Image.fromarray(labels.astype({"1": bool, "I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    else:
        image = Image.fromarray(labels).convert(mode)
    form = "TIFF" if mode in ("I", "F") else "PNG"
    found, note = read(stored(tmp_path, image, form), classes)
    np.testing.assert_array_equal(found, labels)
    assert not note


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.array([0, 255], np.uint8), "0 and 255 were read"),
        (np.array([0, 257], np.uint16), "divided by 257"),
        (np.array([0, 65535], np.uint16), "divided by 257; 0 and 255 were read"),
    ],
)
def test_two_classes_in_the_whole_range_are_noted(tmp_path, values, note):
    labels = ellipse()
    found, told = read(stored(tmp_path, Image.fromarray(values[labels])))
    np.testing.assert_array_equal(found, labels)
    assert note in told
    whole = Image.new("L", (WIDTH, HEIGHT), 255)
    assert read(stored(tmp_path, whole))[0].all()


def test_three_classes_in_the_high_byte(tmp_path):
    labels = ellipse(3)
    found, note = read(stored(tmp_path, Image.fromarray(labels * np.uint16(257))), 3)
    np.testing.assert_array_equal(found, labels)
    assert "257" in note


@pytest.mark.parametrize("grey", [True, False])
def test_one_colour_on_black_is_class_1_of_two(tmp_path, grey):
    labels = ellipse()
    pixels = painted(labels, BLACK, WHITE if grey else GREEN)
    found, note = read(stored(tmp_path, Image.fromarray(pixels)))
    np.testing.assert_array_equal(found, labels)
    assert note


@pytest.mark.parametrize(
    ("order", "colours"),
    [
        ((1, 0), (WHITE, BLACK)),  # an optimiser put the palette of a black and white picture into its own order
        ((1, 0), (VOC_1, BLACK)),
        ((1, 0), ((1, 1, 1), BLACK)),
        ((0, 1), (BLACK, WHITE)),
        ((0, 1), (BLACK, VOC_1)),
        ((0, 200), (BLACK, *((i, i, i) for i in range(1, 200)), WHITE)),
    ],
)
def test_a_palette_of_two_colours_is_read_by_its_colours(tmp_path, order, colours):
    labels = ellipse()
    found, note = read(stored(tmp_path, palette_image(np.array(order)[labels], *colours)))
    np.testing.assert_array_equal(found, labels)
    assert bool(note) is (order != (0, 1))


@pytest.mark.parametrize(
    ("order", "colours", "right"),
    [
        ((0, 1, 2), (BLACK, RED, GREEN), True),
        ((0, 1, 2), (BLACK, VOC_1, VOC_2), True),
        ((0, 1, 2), ((0, 0, 0), (127, 127, 127), (255, 255, 255)), True),
        ((2, 0, 1), ((1, 1, 1), (2, 2, 2), (0, 0, 0)), True),  # greys that are class numbers, put into another order
        ((0, 1, 2), (BLUE, RED, GREEN, (9, 9, 9)), True),  # a table of colours; an optimiser keeps no unused one
        ((0, 1, 2), (BLUE, BLUE, BLUE), True),  # colours that say nothing
        ((1, 0, 2), (VOC_1, BLACK, VOC_2), False),
        ((0, 2, 1), (BLACK, VOC_2, VOC_1), False),
        ((0, 2, 1), ((0, 0, 0), (255, 255, 255), (127, 127, 127)), False),
        ((0, 1, 2), (BLUE, RED, GREEN), False),
        ((0, 1, 3), (BLACK, RED, BLUE, GREEN), False),
    ],
)
def test_palettes_of_three_classes_are_read_by_index_or_refused(tmp_path, order, colours, right):
    labels = ellipse(3)
    path = stored(tmp_path, palette_image(np.array(order)[labels], *colours))
    if right:
        np.testing.assert_array_equal(read(path, 3)[0], labels)
    else:
        with pytest.raises(MaskError, match=r"^mask.png: the palette's indices and colours .* classes 0..2"):
            read(path, 3)


def test_a_palette_that_lost_a_class_is_refused(tmp_path):
    """Only class 2: an optimiser makes its index 1; the colour is that of class 2 in the VOC table."""
    with pytest.raises(MaskError, match="do not tell the classes"):
        read(stored(tmp_path, palette_image(ellipse(), BLACK, VOC_2)), 3)
    with pytest.raises(MaskError, match="do not tell the classes"):
        read(stored(tmp_path, palette_image(ellipse(), BLACK, RED)), 3)


@pytest.mark.parametrize(
    ("values", "classes", "match"),
    [
        (np.array([0, 2], np.uint8), 2, "holds 0, 2, the classes are 0..1"),
        (np.array([0, 128], np.uint8), 2, "holds 0, 128"),
        (np.array([0, 255], np.uint8), 3, "holds 0, 255, the classes are 0..2"),
        (np.array([0, 256], np.uint16), 2, "holds 0, 256"),
        (np.array([0, 0.5], np.float32), 2, "holds 0.5, which is not a class number"),
        (np.array([0, np.nan], np.float32), 2, "holds nan, which is not a class number"),
        (np.array([0, -1], np.int32), 2, "holds -1, which is not a class number"),
        (np.array([0, -1], np.float32), 2, "holds -1, which is not a class number"),
        (np.array([0, 255], np.uint8), 257, "257 classes, but a mask can have at most 256"),
    ],
)
def test_numbers_that_are_not_classes(tmp_path, values, classes, match):
    form = "PNG" if values.dtype.kind == "u" else "TIFF"
    with pytest.raises(MaskError, match=f"^mask.png: .*{match}"):
        read(stored(tmp_path, Image.fromarray(values[ellipse()]), form), classes)


def test_a_smoothed_border_is_named(tmp_path):
    large = Image.fromarray(ellipse() * np.uint8(255)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BILINEAR, (3, 3, 29, 21)
    )
    with pytest.raises(MaskError, match=r"holds 0, .* and \d+ more, the classes are 0..1; a smoothed, scaled or JPEG"):
        read(stored(tmp_path, large))


@pytest.mark.parametrize("colours", [((1, 0, 0), (0, 1, 0)), (RED, GREEN), (WHITE, RED)])
def test_colours_without_a_background_are_refused(tmp_path, colours):
    with pytest.raises(MaskError, match="which do not tell the classes 0..1"):
        read(stored(tmp_path, Image.fromarray(painted(ellipse(), *colours))))


def test_several_colours_are_refused(tmp_path):
    with pytest.raises(MaskError, match="colours #000000, #00ff00, #ff0000, which do not tell the classes 0..2"):
        read(stored(tmp_path, Image.fromarray(painted(ellipse(3), BLACK, RED, GREEN))), 3)


def test_a_mask_in_the_alpha_channel_is_refused(tmp_path):
    labels = ellipse()
    clear, solid = (0, 0, 0, 0), (0, 0, 0, 255)
    with pytest.raises(MaskError, match="its shapes are in the alpha channel"):
        read(stored(tmp_path, Image.fromarray(painted(labels, clear, solid))))
    grey = np.dstack([np.full_like(labels, 7), labels * np.uint8(255)])
    with pytest.raises(MaskError, match="its shapes are in the alpha channel"):
        read(stored(tmp_path, Image.fromarray(grey)))
    with pytest.raises(MaskError, match="foreground pixels are transparent"):
        read(stored(tmp_path, Image.fromarray(painted(labels, solid, (1, 1, 1, 0)))))
    with pytest.raises(MaskError, match="palette's transparency"):
        read(stored(tmp_path, palette_image(labels, BLACK, BLACK), transparency=b"\x00\xff"))


def test_alpha_beside_colours_is_ignored_and_noted(tmp_path):
    labels = ellipse()
    found, note = read(stored(tmp_path, Image.fromarray(painted(labels, (0, 0, 0, 0), (1, 1, 1, 255)))))
    np.testing.assert_array_equal(found, labels)
    assert note == "the alpha channel was ignored"


def test_one_page_per_class_is_refused(tmp_path):
    pages = [Image.fromarray((ellipse() == number).astype(np.uint8)) for number in (0, 1)]
    with pytest.raises(MaskError, match="holds 2 pages, but a mask has one"):
        read(stored(tmp_path, pages[0], "TIFF", save_all=True, append_images=pages[1:]))


def tiff(path: Path, pixels: np.ndarray, **changed: int) -> Path:
    """An uncompressed TIFF of one strip with tags that Pillow does not write."""
    bits = pixels.dtype.itemsize * 8
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    tags = {256: pixels.shape[1], 257: pixels.shape[0], 258: bits, 259: 1, 262: 1, 273: 8, 277: channels,
            278: pixels.shape[0], 279: pixels.nbytes}  # fmt: skip
    tags |= {int(name[1:]): value for name, value in changed.items()}
    data = pixels.tobytes()
    entries = b"".join(
        struct.pack("<HHIHH", tag, 3, channels, bits, bits) if tag == 258 and channels == 2
        else struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in sorted(tags.items())
    )  # fmt: skip
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries
                     + bytes(4))  # fmt: skip
    return path


def test_files_that_a_decoder_would_change_are_refused(tmp_path):
    labels, path = ellipse(), tmp_path / "mask.tif"
    with pytest.raises(MaskError, match="holds -1, which is not a class number"):
        read(tiff(path, (-labels.astype(np.int8)).astype(np.int8), t339=2))
    with pytest.raises(MaskError, match="stores white as 0"):
        read(tiff(path, np.where(labels, 0, 65535).astype(np.uint16), t262=0))
    with pytest.raises(MaskError, match="holds 2 channels"):
        read(tiff(path, np.dstack([1 - labels, labels]), t338=0))


def png(path: Path, rows: np.ndarray, depth: int, colour: int) -> Path:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines))
                     + chunk(b"IEND", b""))  # fmt: skip
    return path


def test_16_bits_per_colour_are_refused(tmp_path):
    """Pillow keeps only the high byte, in which class 1 is background."""
    rgb = np.repeat(ellipse()[..., None], 3, axis=2).astype(">u2")
    with pytest.raises(MaskError, match="has 16 bits per colour"):
        read(png(tmp_path / "mask.png", rgb, depth=16, colour=2))
    path = tmp_path / "mask.ppm"
    path.write_bytes(f"P6 {WIDTH} {HEIGHT} 65535\n".encode() + rgb.tobytes())
    with pytest.raises(MaskError, match="has 16 bits per colour"):
        read(path)


def test_grey_maps_that_would_be_stretched_are_refused(tmp_path):
    path = tmp_path / "mask.pgm"
    labels = ellipse(3)
    path.write_bytes(f"P5 {WIDTH} {HEIGHT} 255\n".encode() + labels.tobytes())
    np.testing.assert_array_equal(read(path, 3)[0], labels)
    path.write_bytes(f"P5 {WIDTH} {HEIGHT} 128\n".encode() + labels.tobytes())
    with pytest.raises(MaskError, match="white is 128 in the file"):
        read(path, 5)


@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("WEBP", {"quality": 80}), ("JPEG2000", {})])
def test_lossy_files_are_refused(tmp_path, form, options):
    with pytest.raises(MaskError, match="mask.png: .*"):
        read(stored(tmp_path, Image.fromarray(ellipse()), form, **options))


def test_lossless_webp_is_read(tmp_path):
    found, _ = read(stored(tmp_path, Image.fromarray(ellipse()), "WEBP", lossless=True))
    np.testing.assert_array_equal(found, ellipse())


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha"])
def test_medical_files_hold_class_indices(tmp_path, ending):
    path = tmp_path / f"mask.{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(ellipse(3)), str(path))
    np.testing.assert_array_equal(read(path, 3)[0], ellipse(3))
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([ellipse()] * 5)), str(path))
    with pytest.raises(MaskError, match="holds 5 slices, but a mask has one"):
        read(path)


def test_nrrd_files_hold_class_indices(tmp_path):
    path = tmp_path / "mask.seg.nrrd"
    head = f"NRRD0005\ntype: uint8\ndimension: 2\nsizes: {WIDTH} {HEIGHT}\nencoding: gzip\n\n"
    path.write_bytes(head.encode() + gzip.compress(ellipse(3).tobytes()))
    np.testing.assert_array_equal(read(path, 3)[0], ellipse(3))


def test_dicom_is_refused(tmp_path):
    path = tmp_path / "mask.dcm"
    path.write_bytes(bytes(128) + b"DICM" + bytes(64))
    with pytest.raises(MaskError, match=r"^mask.dcm: DICOM masks are not supported"):
        read(path)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_orientation_tags_are_noted(tmp_path, form):
    labels = ellipse()
    exif = Image.Exif()
    exif[0x0112] = 3
    found, note = read(stored(tmp_path, Image.fromarray(labels), form, exif=exif))
    np.testing.assert_array_equal(found, labels if form == "PNG" else labels[::-1, ::-1])
    assert "the orientation tag 3" in note


def test_a_bomb_is_refused_by_its_header(tmp_path):
    path = png(tmp_path / "mask.png", ellipse(), depth=8, colour=0)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    with pytest.raises(MaskError, match=r"mask.png: 30000x30000 pixels are more than the limit of 100,000,000"):
        read(path)


def test_damaged_and_missing_files_are_named(tmp_path):
    path = stored(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), np.uint8)))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(MaskError, match=r"^mask.png: the mask (cannot be read|is damaged)"):
        read(path)
    path = stored(tmp_path, Image.fromarray(ellipse()), compress_level=0)
    whole = path.read_bytes()
    path.write_bytes(whole[:400] + bytes(200) + whole[600:])
    with pytest.raises(MaskError, match=r"^mask.png: the mask is damaged \(.*broken PNG file"):
        read(path)
    path.write_bytes(b"nothing")
    with pytest.raises(MaskError, match=r"^mask.png: the mask is not an image"):
        read(path)
    path.unlink()
    with pytest.raises(MaskError, match=r"^mask.png: the mask cannot be read \(No such file"):
        read(path)


def test_masks_of_one_image_are_joined(tmp_path):
    whole = ellipse()
    halves = whole.copy(), whole.copy()
    halves[0][:, 12:], halves[1][:, :10] = 0, 0
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, half in zip(paths, halves, strict=True):
        Image.fromarray(half * np.uint8(255)).save(path)
    mask = read_true_masks(paths, 2)
    np.testing.assert_array_equal(mask.labels, whole)
    assert mask.notes == ("2 masks of one image were joined", "0 and 255 were read as classes 0 and 1")
    assert read_true_masks(paths[:1], 2).notes == ("0 and 255 were read as classes 0 and 1",)


def test_masks_of_one_image_that_contradict_are_refused(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.fromarray(ellipse()).save(paths[0])
    Image.fromarray(ellipse() * np.uint8(2)).save(paths[1])
    with pytest.raises(MaskError, match="give the same pixels different classes"):
        read_true_masks(paths, 3)
    Image.new("L", (9, 7)).save(paths[1])
    with pytest.raises(MaskError, match="have 32x24 and 9x7 pixels"):
        read_true_masks(paths, 3)


def test_the_content_decides_the_format(tmp_path):
    path = tmp_path / "mask.jpg"
    stream = io.BytesIO()
    Image.fromarray(ellipse()).save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read(path)[0], ellipse())
