"""Hostile and unusual paths: images are found or cost only their row; masks never leave the output folder."""

import shutil
import unicodedata

import pytest
from contract.faults import as_csv

OUTSIDE = [
    "../../secret.png", "../images/../../secret.png", "..\\..\\secret.png", "../../../../../../etc/passwd",
    "/etc/passwd", "//server/share/a.png", "\\\\server\\share\\a.png", "C:\\a.png", "../C:\\a.png", "c:a.png",
    "~/a.png", "~root/a.png", "file:///../../etc/passwd", "../images/good 0.png\0.jpg", "..", "../..", "../.", "./..",
    "../images/..", "....//....//secret.png/..", "%2e%2e/%2e%2e/../../secret.png",
]  # fmt: skip


def row(path, task="organ_cls", kind="classification", mask=""):
    return path, task, kind, "2", mask


def test_image_paths_out_of_the_folder_cost_their_own_rows(data, call, untouched, tmp_path):
    shutil.copy(data.root / "images" / "good 0.png", tmp_path / "secret.png")
    data.add(*map(row, OUTSIDE))
    ended = call(data.root, "--strict")
    assert ended.code == 3
    assert len(ended.fallbacks) == len(OUTSIDE)
    assert not any("secret" in name for key in ended.answers for name in key if key[-1] != "organ_cls")
    for path in OUTSIDE:
        assert ended.answers.pop((path, "organ_cls"))["predicted_probs"] == [1 / 6] * 6
    assert ended.answers == untouched


@pytest.mark.parametrize("mask", OUTSIDE)
def test_mask_paths_out_of_the_folder_end_with_2(data, call, tmp_path, mask):
    before = sorted(tmp_path.rglob("*"))
    data.add(row("../images/good 1.png", "lung", "segmentation", mask))
    ended = call(data.root)
    assert ended.code == 2
    assert ended.last_line.startswith("odd.csv, line 2: mask_path: the path ")
    assert ended.last_line.endswith("; correct the cell")
    after = {path for path in tmp_path.rglob("*") if path.name not in ("odd.csv", "report.json")}
    assert after == set(before)


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("images/sub/a b (1).PNG", "..\\images\\sub\\a b (1).PNG"),
        ("images/sub/a b (1).PNG", "../Images/SUB/A B (1).png"),
        ("images/café/x.png", unicodedata.normalize("NFD", "../images/café/x.png")),
        (unicodedata.normalize("NFD", "images/café/x.png"), "../images/café/x.png"),
        ("images/a\u00a0b,c;d.e/x.png", "../images/a\u00a0b,c;d.e/x.png"),
        ("images/a.png", "images/./a.png"),
        ("csv_files/a.png", "a.png"),
    ],
    ids=["backslashes", "case", "NFD for NFC", "NFC for NFD", "no-break space and commas", "no dots", "beside the csv"],
)
def test_other_spellings_find_the_image_and_are_repeated_as_written(data, call, stored, written):
    source, target = data.root / "images" / "good 0.png", data.root / stored
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    data.write("odd.csv", as_csv([row(written)]))
    ended = call(data.root, "--strict")
    assert (ended.code, ended.fallbacks) == (0, {})
    answer, twin = ended.answers[written, "organ_cls"], ended.answers["../images/good 0.png", "organ_cls"]
    assert {**answer, "image_path": twin["image_path"]} == twin


def test_a_mask_path_with_backslashes_is_a_path_of_folders(data, call, tmp_path):
    data.add(row("../images/good 1.png", "lung", "segmentation", "..\\Segmentation\\Two\\m 1.png"))
    assert call(data.root).code == 0
    assert (tmp_path / "out" / "Segmentation" / "Two" / "m 1.png").is_file()


def test_the_longest_name_that_a_file_system_takes(data, call, tmp_path):
    name = "m" * 251 + ".png"
    data.add(row("../images/good 1.png", "lung", "segmentation", f"../{name}"))
    assert call(data.root).code == 0
    assert (tmp_path / "out" / name).is_file()


def test_a_missing_image_with_a_name_that_is_too_long(data, call, untouched):
    paths = ["../images/" + "n" * 300, "../" + "d/" * 2000 + "a.png"]
    data.add(*map(row, paths))
    ended = call(data.root)
    assert (ended.code, len(ended.fallbacks)) == (0, 2)
    assert {key: answer for key, answer in ended.answers.items() if key[0] not in paths} == untouched
