import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge.errors import ImageError, PathError
from challenge.paths import check_links, find_image, find_quietly, inside_root, official_path, output_file

PIECES = [
    "..",
    ".",
    "",
    "a",
    "b c",
    "..a",
    "a..",
    "...",
    "~",
    "C:",
    "\\",
    "/",
    "//",
    "csv_files",
    "\u00a0",
    "%2e%2e",
    " ",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../Segmentation/Two/a.png", "Segmentation/Two/a.png"),
        ("Segmentation/a.png", "Segmentation/a.png"),
        ("../Detection/One/set_2,245/part (1)/v1.0/a b.JPG", "Detection/One/set_2,245/part (1)/v1.0/a b.JPG"),
        ("../Uterine\u00a0fibroid/1.png", "Uterine\u00a0fibroid/1.png"),
        ("..\\Regression\\x\\1.bmp", "Regression/x/1.bmp"),
        ("  ../a//./b.png\r\n", "a/b.png"),
        ("../...hidden/..a.png", "...hidden/..a.png"),
        ("../a\u00a0", "a\u00a0"),
    ],
)
def test_paths_below_the_root(text: str, expected: str) -> None:
    assert inside_root(text) == PurePosixPath(expected)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "..", "../", "../..", "../../etc/passwd", "../a/../../b", "../a/..", "a/../b", "..\\..\\b",
        "/etc/passwd", "\\\\server\\share", "C:\\windows", "c:/x", "~/x", "~root/x", "../a\0b", "../././..",
    ],
)  # fmt: skip
def test_escaping_and_malformed_paths_are_refused(text: str) -> None:
    with pytest.raises(PathError):
        inside_root(text)


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(["/", "\\"]))
def test_no_path_ever_leaves_the_root(pieces: list[str], separator: str) -> None:
    root = "/data/root"
    try:
        relative = inside_root(separator.join(pieces))
    except PathError:
        return
    assert not relative.is_absolute()
    assert relative.parts
    assert os.path.normpath(f"{root}/{relative}").startswith(root + "/")


@given(st.text(max_size=40))
def test_any_text_is_a_safe_path_or_refused(text: str) -> None:
    try:
        relative = inside_root(text)
    except PathError:
        return
    assert ".." not in relative.parts
    assert "\0" not in str(relative)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    for name in ("Segmentation/One.PNG", "Segmentation/caf\u00e9/x.png", "csv_files/beside.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("../Segmentation/One.PNG", "Segmentation/One.PNG"),
        ("../segmentation/one.png", "Segmentation/One.PNG"),
        ("beside.png", "csv_files/beside.png"),
        (unicodedata.normalize("NFD", "../Segmentation/caf\u00e9/x.png"), "Segmentation/caf\u00e9/x.png"),
        (unicodedata.normalize("NFD", "../Segmentation/CAF\u00c9/X.png"), "Segmentation/caf\u00e9/x.png"),
    ],
)
def test_images_are_found(data_root: Path, text: str, found: str) -> None:
    assert find_image(data_root, text) == data_root / found


@pytest.mark.parametrize(
    "text", ["../nothing.png", "../Segmentation", "../Segmentation/One.PNG/x", "../" + "n" * 5000, "../a/" * 3000 + "b"]
)
def test_missing_images(data_root: Path, text: str) -> None:
    with pytest.raises((ImageError, PathError)):
        find_image(data_root, text)


def test_two_names_that_differ_by_case_alone_are_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "A.png").write_bytes(b"2")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system ignores case")
    assert find_image(tmp_path, "../A.png").read_bytes() == b"2"
    with pytest.raises(ImageError):
        find_image(tmp_path, "../A.PNG")


def test_a_folder_is_listed_once_however_many_rows_write_another_case(tmp_path: Path, monkeypatch) -> None:
    for number in range(20):
        (tmp_path / f"{number}.PNG").write_bytes(b"x")
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: (listed.append(folder), iterdir(folder))[1])
    for number in range(20):
        assert find_image(tmp_path, f"../{number}.png").name == f"{number}.PNG"
    assert listed == [tmp_path]


def test_a_file_added_later_is_found(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        find_image(tmp_path, "../a.png")
    (tmp_path / "A.png").write_bytes(b"x")
    os.utime(tmp_path, ns=(0, 1))  # clocks of file systems are coarse
    assert find_image(tmp_path, "../a.png").name == "A.png"


def test_an_escaping_image_path_is_refused(data_root: Path) -> None:
    with pytest.raises(PathError):
        find_image(data_root / "Segmentation", "../../csv_files/beside.png")


def test_output_folders_are_made(tmp_path: Path) -> None:
    target = output_file(tmp_path / "out", PurePosixPath("a/b c/d.png"))
    assert target == tmp_path / "out/a/b c/d.png"
    assert target.parent.is_dir()


def test_links_out_of_the_output_folder_are_refused(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "folder").symlink_to(elsewhere)
    (out / "file.png").symlink_to(elsewhere / "file.png")
    for name in ("folder/a.png", "file.png"):
        with pytest.raises(PathError, match="through a link"):
            output_file(out, PurePosixPath(name))
    assert list(elsewhere.iterdir()) == []


def test_links_are_found_before_anything_is_written(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    check_links(out, [PurePosixPath("a/b.png")])
    assert not out.exists()
    (out / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    (out / "outwards").symlink_to(elsewhere)
    (out / "inwards").symlink_to("inner")
    (out / "dangling.png").symlink_to("nothing")
    (out / "loop").symlink_to("loop")
    check_links(out, map(PurePosixPath, ("inner/a.png", "inwards/a.png", "new/a.png")))
    for name in ("outwards/a.png", "outwards/new/a.png", "dangling.png", "loop"):
        with pytest.raises(PathError, match="through a link"):
            check_links(out, map(PurePosixPath, ("inner/a.png", name)))
    assert list(elsewhere.iterdir()) == []


def test_open_quietly(data_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        assert find_quietly(data_root, "../segmentation/one.png") == data_root / "Segmentation/One.PNG"
        assert find_quietly(data_root, "../nothing.png") is None
        assert find_quietly(data_root, "../../x") is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("../a/b.png", "a/b.png"), ("a/b.png", "a/b.png"), ("../Dr. X../b.png", "Dr. Xb.png"), ("../../a", "a")],
)
def test_the_official_rule(text: str, expected: str) -> None:
    assert official_path(text) == expected
