"""Hand-written journals: what merging accepts, refuses, counts and copies."""

import json
import os
import zlib
from dataclasses import fields, replace

import pytest

from challenge.errors import UserError
from challenge.predictions import MaskFile
from challenge.tasks import TaskKind
from model.frozen.run.journal import Identity, Record, open_journal
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport


def identity(part_id, part_rows, rows=4, **known):
    whole = {field.name: 0 if field.type in (int, "int") else "same" for field in fields(Identity)}
    own = {"profile": "fmc", "num_parts": 2, "part_id": part_id, "part_rows": part_rows, "rows": rows}
    return Identity(**{**whole, **own, **known})


def answer(index, kind=TaskKind.CLASSIFICATION, **more):
    entry = {"image_path": f"{index}.png", "task_id": "t", "number": index}
    return Record(index, kind, f"a.csv, line {index + 2}", f"{index}.png", "t", entry, **more)


def mask(folder, index, content, **more):
    """A mask record and its file in `folder`."""
    name = f"m{index}.png"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    file = MaskFile(name, len(content), zlib.crc32(content))
    return Record(index, TaskKind.SEGMENTATION, f"a.csv, line {index + 2}", f"{index}.png", "s", None, file, **more)


@pytest.fixture
def part(tmp_path):
    def write(number, records, **known):
        folder = tmp_path / f"part-{number}"
        folder.mkdir(exist_ok=True)
        known = {"part_rows": len(records), **known}
        with open_journal(folder, identity(number, **known), resume=False) as journal:
            for record in records:
                journal.append(record)
        return folder

    return write


def test_rows_of_all_parts_come_in_manifest_order_and_are_counted(part, tmp_path):
    first = part(0, [answer(1), mask(tmp_path / "part-0", 0, b"zero", note="odd")])
    second = part(1, [answer(3, reason="broken"), answer(2, TaskKind.DETECTION)])
    report = RunReport()
    merge([second, first], tmp_path / "out", report)
    classes = json.loads((tmp_path / "out" / "classification_predictions.json").read_text())
    boxes = json.loads((tmp_path / "out" / "detection_predictions.json").read_text())
    assert [entry["number"] for entry in classes] == [1, 3]
    assert [entry["number"] for entry in boxes] == [2]
    assert json.loads((tmp_path / "out" / "regression_predictions.json").read_text()) == []
    assert (tmp_path / "out" / "m0.png").read_bytes() == b"zero"
    assert (report.rows, report.answered, report.status) == (4, 4, "complete")
    assert dict(report.counts) == {"segmentation": 1, "classification": 2, "detection": 1}
    assert [fallback["row"] for fallback in report.fallbacks] == ["a.csv, line 5"]
    assert [note["row"] for note in report.notes] == ["a.csv, line 2"]
    assert report.weights == {"sha256": "same"}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(([0, 1], [1, 2]), id="one row twice, one missing"),
        pytest.param(([0, 1, 2], [2, 3]), id="one row twice, none missing"),
        pytest.param(([0, 1], [2]), id="one row missing"),
    ],
)
def test_parts_that_do_not_hold_every_row_once_are_refused(part, tmp_path, rows):
    folders = [part(number, [answer(index) for index in indices]) for number, indices in enumerate(rows)]
    with pytest.raises(UserError, match="do not hold every row exactly once; run them again"):
        merge(folders, tmp_path / "out", RunReport())
    assert not (tmp_path / "out").exists()


def test_a_row_number_beyond_the_last_is_refused(part, tmp_path):
    folders = [part(0, [answer(0), answer(1)]), part(1, [answer(2), answer(4)])]
    with pytest.raises(UserError, match=r"part-1.* run that part again"):
        merge(folders, tmp_path / "out", RunReport())
    assert not (tmp_path / "out").exists()


def test_a_part_with_fewer_rows_than_it_was_given_is_not_complete(part, tmp_path):
    folders = [part(0, [answer(0), answer(1)]), part(1, [answer(2)], part_rows=2)]
    with pytest.raises(UserError, match=r"part-1 has answered 1 of its 2 rows; run that part again with --resume"):
        merge(folders, tmp_path / "out", RunReport())


@pytest.mark.parametrize(
    "name", ["weights", "manifest", "precision", "mask_resize", "postprocess", "tasks", "batch_size"]
)
def test_parts_of_different_runs_are_refused(part, tmp_path, name):
    other = 9 if name == "batch_size" else "other"
    folders = [part(0, [answer(0), answer(1)]), part(1, [answer(2), answer(3)], **{name: other})]
    with pytest.raises(UserError, match=rf"part-1 belongs to another run than .*part-0 \({name} is {other}"):
        merge(folders, tmp_path / "out", RunReport())


@pytest.mark.parametrize("linked", [True, False])
def test_merging_again_replaces_the_masks_and_leaves_the_parts_alone(part, tmp_path, monkeypatch, linked):
    if not linked:

        def refused(*_, **__):
            raise OSError("no second names here")

        monkeypatch.setattr(os, "link", refused)
    folders = [part(0, [mask(tmp_path / "part-0", 0, b"new"), answer(1)]), part(1, [answer(2), answer(3)])]
    (tmp_path / "out").mkdir()
    (tmp_path / "kept").write_bytes(b"of somebody else")
    os.link(tmp_path / "kept", tmp_path / "out" / "m0.png") if linked else (tmp_path / "out" / "m0.png").write_bytes(
        b""
    )
    for _ in range(2):
        merge(folders, tmp_path / "out", RunReport())
        assert (tmp_path / "out" / "m0.png").read_bytes() == b"new"
    assert (folders[0] / "m0.png").read_bytes() == b"new"
    assert (tmp_path / "kept").read_bytes() == b"of somebody else"


def test_a_row_without_entry_and_mask_is_counted_but_not_written(part, tmp_path):
    lost = replace(answer(1, TaskKind.SEGMENTATION), entry=None, reason="a later row writes the same mask m0.png")
    folders = [part(0, [mask(tmp_path / "part-0", 0, b"x"), lost]), part(1, [answer(2), answer(3)])]
    report = RunReport()
    merge(folders, tmp_path / "out", report)
    assert (report.answered, len(report.fallbacks)) == (4, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".png") == ["m0.png"]


@pytest.mark.parametrize("damage", ["missing", "shorter", "other"])
def test_a_changed_mask_is_refused(part, tmp_path, damage):
    folders = [part(0, [mask(tmp_path / "part-0", 0, b"mask"), answer(1)]), part(1, [answer(2), answer(3)])]
    file = folders[0] / "m0.png"
    file.unlink() if damage == "missing" else file.write_bytes({"shorter": b"mas", "other": b"mosk"}[damage])
    with pytest.raises(UserError, match=r"a\.csv, line 2: .*m0\.png is missing or altered; run that part again"):
        merge(folders, tmp_path / "out", RunReport())
    assert not (tmp_path / "out").exists()


def test_each_part_may_be_given_once_and_none_may_be_the_output(part, tmp_path):
    first, second = part(0, [answer(0), answer(1)]), part(1, [answer(2), answer(3)])
    again = tmp_path / "again"
    again.mkdir()
    (again / ".journal").write_bytes((first / ".journal").read_bytes())
    with pytest.raises(UserError, match="are both part 0; give it once"):
        merge([first, again, second], tmp_path / "out", RunReport())
    with pytest.raises(UserError, match="of 2 parts these are missing: 0; give their folders too"):
        merge([second], tmp_path / "out", RunReport())
    (tmp_path / "link").symlink_to(first)
    with pytest.raises(UserError, match="is one of the parts; give another folder"):
        merge([first, second], tmp_path / "link", RunReport())
