"""Every bad image with every kind of task in one run: each row gets what is promised, and so do its neighbours."""

import csv
import shutil

import numpy as np
import pytest
from phantoms.bad_inputs import BAD_INPUTS, Reading, write_bad_folder
from PIL import Image

UNREADABLE = [bad.name for bad in BAD_INPUTS if bad.reading is Reading.UNREADABLE] + ["missing.png"]
NOTED = [bad.name for bad in BAD_INPUTS if bad.reading is Reading.NOTED]
SIZES = {bad.name: bad.size or (256, 256) for bad in BAD_INPUTS} | {"missing.png": (256, 256)}
KINDS = ("segmentation", "classification", "detection", "regression")


def bad_rows(folder):
    """(image name, kind) by row of the manifest of bad files."""
    with (folder / "csv_files" / "Odd files.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        f"Odd files.csv, line {line}": (row["image_path"].rpartition("/")[2], row["task_name"].lower())
        for line, row in enumerate(rows, start=2)
    }


def of_image(rows, entries):
    return sorted(rows[row] for row in entries)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_of_them_in_one_run(data, call, untouched, tmp_path):
    assert write_bad_folder(data.root) == 4 * len(SIZES)
    ended = call(data.root, "--strict")
    rows = bad_rows(data.root)
    assert ended.code == 3
    assert ended.last_line.startswith(f"{4 * len(UNREADABLE)} rows got a fallback, the first at Odd files.csv, line ")
    assert of_image(rows, ended.fallbacks) == sorted((name, kind) for name in UNREADABLE for kind in KINDS)
    assert of_image(rows, ended.notes) == sorted((name, kind) for name in NOTED for kind in KINDS)
    assert ended.report["answered"] == ended.report["rows"] == len(rows) + len(untouched)
    assert all(rows[row][0] in reason for row, reason in ended.fallbacks.items())
    assert {key: answer for key, answer in ended.answers.items() if key in untouched} == untouched
    for name, size in SIZES.items():
        (mask,) = (tmp_path / "out").rglob(f"{name}.png")
        with Image.open(mask) as image:
            assert (image.size, image.mode) == (size, "L"), name
    shutil.rmtree(tmp_path / "out")  # the mask of the largest header is not small


def test_without_strict_fallbacks_end_with_0(data, call, untouched):
    (data.root / "images" / "empty.png").write_bytes(b"")
    data.add(("../images/empty.png", "organ_cls", "classification", "6", ""))
    ended = call(data.root)
    assert ended.code == 0
    assert ended.fallbacks == {"odd.csv, line 2": "empty.png: the file is empty"}
    answer = ended.answers.pop(("../images/empty.png", "organ_cls"))
    assert (answer["predicted_class"], answer["predicted_probs"]) == (0, [1 / 6] * 6)
    assert ended.answers == untouched


def test_the_same_picture_in_other_encodings_gets_the_same_answer(data, call):
    """16 bits, a palette or an alpha channel must not change what the network sees."""
    grey = np.random.default_rng(1).integers(0, 256, (50, 70), np.uint8)
    plain = Image.fromarray(grey)
    alpha = np.dstack([grey, np.full_like(grey, 10)])
    files = {
        "l.png": plain, "rgb.bmp": plain.convert("RGB"), "la.png": Image.fromarray(alpha),
        "rgba.png": Image.fromarray(alpha).convert("RGBA"), "p.png": plain.convert("P"),
        "16.png": Image.fromarray(grey.astype(np.uint16) * 257), "raw.tiff": plain,
    }  # fmt: skip
    for name, image in files.items():
        image.save(data.root / "images" / name)
    data.add(*((f"../images/{name}", "organ_cls", "classification", "6", "") for name in files))
    ended = call(data.root)
    assert not ended.fallbacks
    probabilities = {ended.answers[f"../images/{name}", "organ_cls"]["predicted_probs"][0] for name in files}
    assert len(probabilities) == 1


def test_a_file_larger_than_memory_costs_its_own_row(data, call, untouched):
    with (data.root / "images" / "huge.png").open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: it takes no room on the disk
    data.add(("../images/huge.png", "IUGC", "Regression", "3", ""))
    ended = call(data.root)
    assert ended.code == 0
    assert "larger than the limit of 1,000,000,000 bytes" in ended.fallbacks["odd.csv, line 2"]
    del ended.answers["../images/huge.png", "IUGC"]
    assert ended.answers == untouched


def test_a_metaimage_header_reads_no_other_file(data, call, tmp_path):
    (tmp_path / "secret.raw").write_bytes(bytes(range(16)))
    (data.root / "images" / "beside.raw").write_bytes(bytes(range(16)))
    header = "ObjectType = Image\n{}NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = {}\n"
    evil = {
        "up": ("", "../../secret.raw"),
        "absolute": ("", tmp_path / "secret.raw"),
        "list": ("", f"LIST\n{tmp_path / 'secret.raw'}"),
        "pattern": ("", "%d.raw 1 9 1"),
        "folder": ("", ".."),
        "behind a comment": ("Comment = ElementDataFile = LOCAL\n", tmp_path / "secret.raw"),
        "far behind": (f"Comment = {'c' * 200_000}\n", tmp_path / "secret.raw"),
    }
    for name, parts in {**evil, "fine": ("", "beside.raw")}.items():
        (data.root / "images" / f"{name}.mhd").write_text(header.format(*parts))
    data.add(*((f"../images/{name}.mhd", "organ_cls", "classification", "6", "") for name in (*evil, "fine")))
    ended = call(data.root)
    # Images are read by several threads: the order of the fallbacks is not fixed.
    assert set(ended.fallbacks) == {f"odd.csv, line {line}" for line in range(2, 2 + len(evil))}
    assert all("only a file beside it is read" in reason for reason in ended.fallbacks.values())
