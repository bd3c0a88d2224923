import logging
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from challenge.errors import ManifestError, PathError
from challenge.manifest import Manifest, Sample, read_manifest, superseded
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec, with_extra_tasks

HEADER = "image_path,task_id,task_name,num_classes,mask_path\n"


def read(tmp_path: Path, *contents: str | bytes, truth: bool = False) -> Manifest:
    """Write contents as 0.csv, 1.csv, ... and read them."""
    folder = tmp_path / "csv_files"
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"{number}.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_manifest(tmp_path, truth=truth)


def only(tmp_path: Path, row: str, header: str = HEADER) -> Sample:
    (sample,) = read(tmp_path, header + row).samples
    return sample


def test_the_phantom_folder(phantom_folder: Path) -> None:
    manifest = read_manifest(phantom_folder)
    per_task = Counter(sample.task_id for sample in manifest.samples)
    assert set(CATALOGUE) < set(per_task)
    assert all(count >= 3 for count in per_task.values())
    assert manifest.repeated == ()
    assert superseded(manifest.samples) == []
    assert {sample.row.file for sample in manifest.samples if sample.task_id == "organ_cls"} == {
        "Cls-Six_organ_cls part1.csv",
        "Cls-Six_organ_cls part2.csv",
    }
    mixed = {sample.kind for sample in manifest.samples if sample.row.file == "Mixed.csv"}
    assert mixed == set(TaskKind)


def test_real_data(ultrasound_data: Path) -> None:
    manifest = read_manifest(ultrasound_data / "val")
    assert len(manifest.samples) == 1581
    extra = [sample for sample in manifest.samples if sample.task_id == "fetal_head_biometry"]
    assert {(sample.kind, sample.num_classes) for sample in extra} == {(TaskKind.REGRESSION, 4)}


def test_rows_keep_their_place_and_cells(tmp_path: Path) -> None:
    sample = only(
        tmp_path,
        '"../Classification/a, b\u00a0(1).JPG",organ_cls,classification,6,4,patient 7\n',
        "Image_Path , task_id,task_name,num_classes,mask,group\n",
    )
    assert sample.image_path == "../Classification/a, b\u00a0(1).JPG"
    assert (sample.kind, sample.num_classes, sample.group) == (TaskKind.CLASSIFICATION, 6, "patient 7")
    assert sample.cells["mask"] == "4"
    assert str(sample.row) == "0.csv, line 2"
    assert sample.mask_file is None


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    manifest = read(tmp_path, HEADER + "b.png,FUGC,Regression\n", HEADER + "a.png,IUGC,Regression\na.png,FUGC,x\n")
    assert [(str(s.row), s.task_id) for s in manifest.samples] == [
        ("0.csv, line 2", "FUGC"),
        ("1.csv, line 2", "IUGC"),
        ("1.csv, line 3", "FUGC"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        ("\ufeff" + HEADER + "a.png,organ_cls,classification,6\n").encode(),
        (HEADER + "a.png,organ_cls,classification,6\n").replace("\n", "\r\n").encode(),
        (HEADER + "a.png,organ_cls,classification,6\n").replace(",", ";").encode(),
        (HEADER + "a.png,organ_cls,classification,6").encode(),
        (HEADER + "\n,,,\na.png,organ_cls\n\n").encode(),
        (HEADER + "a.png,organ_cls,segmentation,99\n").encode(),
    ],
    ids=["byte order mark", "CRLF", "semicolons", "no last line end", "blank lines", "the catalogue outranks the row"],
)
def test_spellings_of_the_same_row(tmp_path: Path, content: bytes) -> None:
    (sample,) = read(tmp_path, content).samples
    assert (sample.image_path, sample.task_id, sample.kind) == ("a.png", "organ_cls", TaskKind.CLASSIFICATION)
    assert sample.num_classes == 6


def test_line_numbers_count_lines_not_rows(tmp_path: Path) -> None:
    text = 'image_path,task_id,task_name,"a\nb"\n"a\nb.png",FUGC,Regression\n\nc.png,FUGC,Regression\n'
    assert [sample.row.line for sample in read(tmp_path, text).samples] == [3, 6]


def test_a_manifest_with_only_a_header_is_valid(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER).samples == ()


def test_left_over_dot_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "csv_files").mkdir()
    (tmp_path / "csv_files" / "._0.csv").write_bytes(b"\x00\x05\x16\x07\xff")
    (tmp_path / "csv_files" / "0.CSV").write_text(HEADER + "a.png,FUGC,Regression\n")
    assert len(read_manifest(tmp_path).samples) == 1


def test_no_folder_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no folder .*csv_files"):
        read_manifest(tmp_path)
    (tmp_path / "csv_files" / "folder.csv").mkdir(parents=True)
    with pytest.raises(ManifestError, match="holds no"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0.csv is empty"),
        (b"\n \n", "0.csv is empty"),
        (b"\xef\xbb\xbf", "0.csv is empty"),
        (b"image_path,task\n", r"0.csv lacks the column\(s\) task_id, task_name; found: image_path, task"),
        (HEADER.encode() + b"a\xff.png,FUGC,Regression\n", "0.csv, line 2: not UTF-8"),
        (HEADER.encode() + b"\n,FUGC,Regression\n", "0.csv, line 3: image_path or task_id is empty"),
        (HEADER.encode() + b"a.png, ,Regression\n", "0.csv, line 2: image_path or task_id is empty"),
        (HEADER.encode() + b"a.png,FUGS,guess\n", r"0.csv, line 2: .*'FUGS' \(did you mean 'FUGC'\?\).*'guess'"),
        (HEADER.encode() + b'a.png,FUGC,Regression\n"b.png,FUGC,Regression\n', "0.csv, line 3: not valid csv"),
        (HEADER.encode() + b"a.png,lung,segmentation,2,../../m.png\n", "0.csv, line 2: mask_path: .* leaves"),
        (HEADER.encode() + b"a.png,lung,segmentation,2,/m.png\n", "0.csv, line 2: mask_path: .* absolute"),
        (HEADER.encode() + b"a.png,../../x,segmentation,2,\n", "0.csv, line 2: task_id: .* leaves"),
    ],
)
def test_unusable_values_are_named_with_their_place(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, content)


def test_an_escaping_mask_path_is_a_path_error(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="correct the cell"):
        only(tmp_path, "a.png,lung,segmentation,2,../a/../../b.png\n")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("../x/a.png,lung,segmentation,2,../Segmentation/Two/m/a b.jpg\n", "Segmentation/Two/m/a b.jpg"),
        ("../x/a.b.png,lung,segmentation,2,\n", "Segmentation/Two/lung/a.b.png"),
        ("..\\x\\a.png,cardiac_multi,segmentation,4,NaN\n", "Segmentation/Four/cardiac_multi/a.png"),
        ("../x/a.png,mine,segmentation,12\n", "Segmentation/12/mine/a.png"),
    ],
)
def test_where_masks_go(tmp_path: Path, row: str, expected: str) -> None:
    assert only(tmp_path, row).mask_file == PurePosixPath(expected)


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [("7", "classification", 7), ("3.0", "Regression", 3), ("1", "segmentation", 2), ("999", "segmentation", 256),
     ("", "detection", 1), ("many", "classification", 2), ("nan", "Regression", 1), ("-4", "Regression", 1)],
)  # fmt: skip
def test_num_classes_of_unknown_tasks(tmp_path: Path, cell: str, kind: str, expected: int) -> None:
    assert only(tmp_path, f"a.png,mine,{kind},{cell}\n").num_classes == expected


def test_the_weights_decide_about_a_task(tmp_path: Path) -> None:
    (tmp_path / "csv_files").mkdir()
    (tmp_path / "csv_files" / "a.csv").write_text(HEADER + "a.png,mine,,9\n")
    tasks = with_extra_tasks([TaskSpec("mine", TaskKind.REGRESSION, 4)])
    (sample,) = read_manifest(tmp_path, tasks).samples
    assert (sample.kind, sample.num_classes) == (TaskKind.REGRESSION, 4)


def test_repeated_rows_are_answered_once(tmp_path: Path) -> None:
    row = "a.png,FUGC,Regression\n"
    manifest = read(tmp_path, HEADER + row + row, HEADER + row + "a.png,IUGC,Regression\n")
    assert [sample.task_id for sample in manifest.samples] == ["FUGC", "IUGC"]
    assert [str(sample.row) for sample in manifest.repeated] == ["0.csv, line 3", "1.csv, line 2"]


def test_two_masks_of_one_image_and_task_are_two_samples(tmp_path: Path) -> None:
    rows = [f"a.png,lung,segmentation,2,{mask}\n" for mask in ("../m.png", "../n.png", "..//m.png", "", "../m.png")]
    manifest = read(tmp_path, HEADER + "".join(rows))
    assert [str(sample.mask_file) for sample in manifest.samples] == ["m.png", "n.png", "Segmentation/Two/lung/a.png"]
    assert [str(sample.row) for sample in manifest.repeated] == ["0.csv, line 4", "0.csv, line 6"]
    assert superseded(manifest.samples) == []


def test_mask_path_does_not_make_a_second_row_for_other_kinds(tmp_path: Path) -> None:
    manifest = read(tmp_path, HEADER + "a.png,FUGC,Regression,2,../m.png\na.png,FUGC,Regression,2,../n.png\n")
    assert (len(manifest.samples), len(manifest.repeated)) == (1, 1)


LABELS = "image_path,task_id,task_name,num_classes,mask,comment\n"
DOUBLED = "image_path,mask,Mask,task_id,task_name,num_classes\n"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (LABELS + "a.png,organ_cls,classification,6,4,left, BI-RADS 4\n",
         "7 cells for 6 columns; put cells that hold a comma in quotes"),
        (LABELS + "a.png,organ_cls,classification,6,10,25,,60\n", "8 cells for 6 columns; put cells"),
        (LABELS.replace(",", ";") + "a.png;organ_cls;classification;6;4;a;b\n", "7 cells for 6 columns; put cells"),
        (DOUBLED + "a.png,0,9,organ_cls,classification,6\n", "two columns 'mask' hold '0' and '9'"),
        ("mask,image_path,task_id,task_name,mask\n4,a.png,organ_cls,classification\n",
         "two columns 'mask' hold '4' and ''"),
        ("mask,mask,image_path,task_id,task_name,mask\n4,4,a.png,organ_cls,classification,5\n",
         "two columns 'mask' hold '4' and '5'"),
    ],
    ids=["remark", "decimal commas", "semicolons", "label twice", "short row", "three times"],
)  # fmt: skip
def test_an_ambiguous_row_is_noted_and_refused_as_truth(tmp_path: Path, content: str, note: str) -> None:
    (sample,) = read(tmp_path, content).samples
    assert sample.note
    assert sample.note.startswith(note)
    with pytest.raises(ManifestError, match="^0.csv, line 2: " + re.escape(note)):
        read_manifest(tmp_path, truth=True)


def test_the_first_of_equal_columns_counts(tmp_path: Path) -> None:
    sample = only(tmp_path, "a.png,0,9,organ_cls,classification,6\n", DOUBLED)
    assert sample.cells["mask"] == "0"
    assert str(sample.note).endswith("; the first counts")


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        DOUBLED + "a.png,4, 4 ,organ_cls,classification,6\n",
        "task_id,image_path,task_id,task_name\norgan_cls,a.png,organ_cls,classification\n",
        LABELS + "a.png,organ_cls,classification,6,4,left,,,\n",
        LABELS + "a.png,organ_cls,classification\n",
        LABELS + 'a.png,organ_cls,classification,6,4,"left, BI-RADS 4"\n',
        "image_path,,task_id,task_name,\na.png,x,organ_cls,classification,y\n",
    ],
    ids=["equal cells", "equal task_id", "empty cells behind", "short", "quoted comma", "columns without a name"],
)
def test_rows_whose_meaning_is_clear(tmp_path: Path, content: str, truth: bool) -> None:
    (sample,) = read(tmp_path, content, truth=truth).samples
    assert (sample.image_path, sample.task_id, sample.note) == ("a.png", "organ_cls", None)


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize("name", ["image_path", "task_id", "task_name", "num_classes", "mask_path"])
def test_two_different_cells_for_one_value_are_refused(tmp_path: Path, name: str, truth: bool) -> None:
    with pytest.raises(ManifestError, match=f"^0.csv, line 2: two columns '{name}' hold '.*' and 'other'; remove one"):
        read(tmp_path, f"{HEADER.strip()},{name}\na.png,lung,segmentation,2,../m.png,other\n", truth=truth)


@pytest.mark.parametrize(
    ("mask_path", "official"),
    [
        ("../masks/Dr. X../1.png", "masks/Dr. X1.png"),
        ("../a../b../m.png", "abm.png"),
        ("..\\masks\\1.png", "..\\\\masks\\\\1.png"),
        ("../masks/1.png", None),
        ("masks//./1.png", None),
        ("../masks/..1.png", None),
        ("./../masks/1.png", None),
        ("", None),
        ("nan", None),
    ],
)
def test_a_mask_that_the_official_script_would_not_find_is_noted(
    tmp_path: Path, mask_path: str, official: str | None
) -> None:
    sample = only(tmp_path, f"a.png,lung,segmentation,2,{mask_path}\n")
    if official is None:
        assert sample.note is None
    else:
        assert sample.note == (
            f"the official script reads the mask '{official}', but it is written to '{sample.mask_file}'"
        )


def test_three_rows_of_one_mask_lose_the_first_two(tmp_path: Path) -> None:
    rows = "".join(f"{name}.png,lung,segmentation,2,../m.png\n" for name in "abc")
    lost = superseded(read(tmp_path, HEADER + rows).samples)
    assert [str(sample.row) for sample in lost] == ["0.csv, line 2", "0.csv, line 3"]


def test_the_later_of_two_rows_with_one_mask_wins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "a.png,lung,segmentation,2,../m.png\nb.png,lung,segmentation,2,../c.png\nb.png,cervix,segmentation,2,m.png\n"
    with caplog.at_level(logging.WARNING):
        lost = superseded(read(tmp_path, HEADER + rows).samples)
    assert [str(sample.row) for sample in lost] == ["0.csv, line 2"]
    assert "0.csv, line 2 and 0.csv, line 4 write the same mask m.png; the later row wins" in caplog.text


def test_blank_lines_above_the_header_and_long_cells_are_harmless(tmp_path: Path) -> None:
    header = "image_path,task_id,task_name,num_classes,outline\n"
    row = f'a.png,organ_cls,classification,6,"{"1, " * 60_000}"\n'
    (sample,) = read(tmp_path, "\r\n\n" + header.replace(",", ";") + row.replace(",", ";")).samples
    assert (sample.image_path, sample.row.line) == ("a.png", 4)


@pytest.mark.parametrize("text", ["NA", "nan", "<NA>", "None", ""])
def test_words_for_no_value(tmp_path: Path, text: str) -> None:
    found = only(tmp_path, f"im/a.png,lung,segmentation,2,{text},{text}\n", HEADER.replace("\n", ",group\n"))
    assert (str(found.mask_file), found.group) == ("Segmentation/Two/lung/a.png", None)


def test_spaces_around_a_task_are_noted_if_the_official_script_misses_the_answer(tmp_path: Path) -> None:
    (first, second) = read(
        tmp_path, HEADER + "a.png,organ_cls ,classification,6,\na.png,lung ,segmentation,2,\n"
    ).samples
    assert first.task_id == "organ_cls"
    assert "looks for answers of 'organ_cls '" in str(first.note)
    assert second.note is None
