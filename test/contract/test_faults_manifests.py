"""Unusual manifests: each is answered like a plain one, or refused in one sentence before any work."""

from pathlib import Path

import pytest
from contract.faults import COLUMNS, GOOD, as_csv

from challenge.errors import ManifestError
from challenge.manifest import read_manifest

PLAIN = as_csv(GOOD)
ROW = ("../images/good 0.png", "organ_cls", "classification", "6", "")
SEGMENTATION = ("../images/good 1.png", "lung", "segmentation", "2")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b",", b";"),
        as_csv([(*row, "a\nb, \"c\"") for row in GOOD], (*COLUMNS, "a remark\nof two lines")),
        as_csv(GOOD, [f" {name.upper()} " for name in COLUMNS]),
        as_csv([(*row, "NaN", "") for row in GOOD], (*COLUMNS, "mask", "x_min")),
        PLAIN + b"\n,,,,\n\n",
        PLAIN + PLAIN.split(b"\n", 1)[1],
        as_csv([(*row[:3], "99", row[4]) for row in GOOD]),
        as_csv([(*row[:3], "NaN", row[4]) for row in GOOD]),
    ],
    ids=["byte order mark", "CRLF", "CR", "semicolons", "quoted line ends", "names in capitals", "NaN in labels",
         "blank rows", "every row twice", "another num_classes", "num_classes NaN"],
)  # fmt: skip
def test_other_spellings_give_the_same_answers(data, call, untouched, content):
    data.write("good.csv", content)
    ended = call(data.root, "--strict")
    assert (ended.code, ended.fallbacks) == (0, {})
    assert ended.answers == untouched


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "odd.csv is empty"),
        (b"\xef\xbb\xbf\r\n", "odd.csv is empty"),
        (b"image_path,task_id\n", "odd.csv lacks the column(s) task_name; found: image_path, task_id"),
        (as_csv([]).decode().encode("utf-16"), "odd.csv, line 1: not UTF-8"),
        (as_csv([ROW]) + b"\xe9.png,organ_cls,classification\n", "odd.csv, line 3: not UTF-8"),
        (as_csv([ROW]) + b'"a.png,organ_cls,classification\n', "odd.csv, line 3: not valid csv"),
        (as_csv([("", *ROW[1:])]), "odd.csv, line 2: image_path or task_id is empty"),
        (as_csv([(ROW[0], "organ_cl", "clasification")]),
         "odd.csv, line 2: neither the task 'organ_cl' (did you mean 'organ_cls'?)"),
        (as_csv([(*SEGMENTATION, "../../m.png")]), "odd.csv, line 2: mask_path: the path '../../m.png' leaves"),
        (as_csv([(*SEGMENTATION, "/m.png")]), "odd.csv, line 2: mask_path: the path '/m.png' is absolute"),
        (as_csv([(*SEGMENTATION, "../" + "m" * 300)]), "odd.csv, line 2: mask_path: the path"),
        (as_csv([(*SEGMENTATION, "../Detection_predictions.json/m.png")]), "odd.csv, line 2: mask_path:"),
        (as_csv([(*SEGMENTATION, "../.journal/m.png")]), "odd.csv, line 2: mask_path:"),
        (as_csv([(*SEGMENTATION, "../Segmentation/good 0.png/m.png")]),
         "odd.csv, line 2: mask_path: 'Segmentation/good 0.png/m.png' lies below the mask of good.csv, line 2"),
    ],
    ids=["zero bytes", "only a mark", "missing column", "UTF-16", "Latin-1", "open quote", "no image", "unknown task",
         "mask outside", "absolute mask", "long name", "answer file", "journal", "mask below a mask"],
)  # fmt: skip
def test_unusable_manifests_end_with_2_before_any_work(data, call, tmp_path, content, sentence):
    data.write("odd.csv", content)
    ended = call(data.root)
    assert ended.code == 2
    assert ended.last_line.startswith(sentence)
    assert (ended.report["status"], ended.report["exit_code"], ended.report["answered"]) == ("failed", 2, 0)
    assert not (tmp_path / "out").exists()


def test_a_manifest_that_may_not_be_read(data, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ManifestError, match=r"good.csv cannot be read \(Permission denied\); make it readable"):
        read_manifest(data.root)


@pytest.mark.parametrize("folder", [False, True])
def test_no_manifest_at_all(tmp_path, call, folder):
    root = tmp_path / "empty"
    (root / "csv_files" if folder else root).mkdir(parents=True)
    ended = call(root)
    assert ended.code == 2
    assert str(root / "csv_files") in ended.last_line


def test_a_manifest_with_only_a_header_beside_others(data, call, untouched):
    data.write("odd.csv", as_csv([]))
    assert call(data.root, "--strict").answers == untouched


def test_only_a_header_gives_three_empty_lists(data, call, tmp_path):
    data.write("good.csv", as_csv([]))
    ended = call(data.root)
    assert (ended.code, ended.report["rows"], ended.answers) == (0, 0, {})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{kind}_predictions.json" for kind in ("classification", "detection", "regression")
    ]


def test_two_images_for_one_mask_the_later_wins(data, call, untouched):
    data.add(("../images/good 1.png", "lung", "segmentation", "2", "../Segmentation//good 0.png"))
    ended = call(data.root)
    assert ended.code == 0
    assert list(ended.fallbacks) == ["good.csv, line 2"]
    assert "a later row writes the same mask" in ended.fallbacks["good.csv, line 2"]
    mask = ("Segmentation/good 0.png",)
    assert ended.answers[mask] != untouched[mask]
    assert ended.answers | {mask: untouched[mask]} == untouched


def test_an_unknown_task_costs_its_own_row(data, call, untouched):
    data.add(("../images/good 0.png", "kidney_cls", "Classification", "4", ""))
    ended = call(data.root, "--strict")
    assert ended.code == 3
    assert ended.fallbacks == {"odd.csv, line 2": "the weights have no task 'kidney_cls'"}
    answer = ended.answers.pop(("../images/good 0.png", "kidney_cls"))
    assert answer["predicted_probs"] == [0.25] * 4
    assert ended.answers == untouched


def test_one_task_alone(data, call, untouched):
    data.write("good.csv", as_csv([ROW]))
    key = (ROW[0], ROW[1])
    assert call(data.root).answers == {key: untouched[key]}


def test_rows_with_cells_beyond_the_columns_are_answered_and_noted(data, call, untouched):
    data.write("odd.csv", as_csv([("../images/good 1.png", "organ_cls", "classification", "6", "", "left", "side")]))
    ended = call(data.root, "--strict")
    assert ended.code == 0
    assert ended.notes == {"odd.csv, line 2": "7 cells for 5 columns; put cells that hold a comma in quotes"}
    data.write("odd.csv", as_csv([(*GOOD[0], "../Segmentation/other.png")], (*COLUMNS, "mask_path")))
    assert call(data.root).last_line == (
        "odd.csv, line 2: two columns 'mask_path' hold '../Segmentation/good 0.png' and '../Segmentation/other.png'; "
        "remove one of them"
    )
