"""A file is complete on disk before it gets its name, and no line follows a torn line of the journal."""

import errno
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from challenge.errors import UserError
from challenge.host.atomic import write_atomically
from challenge.paths import JOURNAL
from challenge.tasks import TaskKind
from model.frozen.run.journal import Identity, Record, open_journal


def identity(**known):
    """A run's identity; fields that are not given are the same in all tests."""
    whole = {field.name: 0 if field.type in (int, "int") else "same" for field in fields(Identity)}
    return Identity(**{**whole, "num_parts": 1, "rows": 10, **known})


def record(index, text="x"):
    entry = {"image_path": f"{index}.png", "predicted_probs": [0.25, 0.75], "text": text}
    return Record(index, TaskKind.CLASSIFICATION, f"a.csv, line {index + 2}", f"{index}.png", "t", entry)


@pytest.fixture
def events(monkeypatch, tmp_path):
    """What reaches the disk, in order: ("sync", inode, bytes) and ("rename", inode, bytes that the target held)."""
    seen = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        status = os.fstat(descriptor)
        seen.append(("sync", status.st_ino, status.st_size))
        fsync(descriptor)

    def renamed(source, target, **more):
        earlier = Path(target).read_bytes() if Path(target).exists() else None
        seen.append(("rename", os.stat(source).st_ino, earlier))
        replace(source, target, **more)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "fdatasync", synced, raising=False)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    return seen


def test_a_file_is_synced_before_the_rename(events, tmp_path):
    target = tmp_path / "answers.json"
    target.write_bytes(b"earlier")
    write_atomically(target, [b"half, ", b"and the other half"])
    own = os.stat(target).st_ino
    of_file = [event for event in events if event[1] == own]
    # The whole of it is flushed, and then the file that was flushed takes the name from the earlier one.
    assert of_file == [("sync", own, 24), ("rename", own, b"earlier")]
    assert target.read_bytes() == b"half, and the other half"
    assert os.listdir(tmp_path) == ["answers.json"]


def test_files_without_sync_are_renamed_too(events, tmp_path):
    target = tmp_path / "mask.png"
    write_atomically(target, [b"1"], durable=False)
    own = os.stat(target).st_ino
    assert [event for event in events if event[1] == own] == [("rename", own, None)]


def test_a_file_being_written_has_neither_the_targets_name_nor_its_ending(tmp_path):
    target, seen = tmp_path / f"{'n' * 251}.png", []

    def chunks():
        yield b"first"
        seen.extend(os.listdir(tmp_path))
        yield b"second"

    assert write_atomically(target, chunks()) == (11, 0x1D64FBFF)
    (partial,) = seen
    assert partial.startswith(".")
    assert partial.endswith(".partial")


def test_the_rows_of_the_journal_reach_the_disk_64_at_a_time(events, tmp_path):
    with open_journal(tmp_path, identity(rows=200, part_rows=200), resume=False) as journal:
        own = os.stat(tmp_path / JOURNAL).st_ino
        events.clear()
        for index in range(200):
            journal.append(record(index))
        synced = [size for kind, inode, size in events if (kind, inode) == ("sync", own)]
        assert len(synced) == 200 // 64
        journal.sync()
        assert [size for _, inode, size in events if inode == own][-1] == journal.size
    assert journal.size == (tmp_path / JOURNAL).stat().st_size


@pytest.fixture
def tearing(monkeypatch):
    """Return a function that makes the next positioned write stop half-way, as on a full disk."""
    whole, left = os.pwrite, []

    def pwrite(descriptor, data, offset):
        if not left:
            return whole(descriptor, data, offset)
        if left.pop() == "half":
            left.append("none")
            return whole(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    return lambda: left.append("half")


def test_half_a_line_is_removed_before_the_next_line(tearing, tmp_path):
    clean = tmp_path / "clean"
    clean.mkdir()
    with open_journal(clean, identity(), resume=False) as journal:
        journal.append(record(0))
        journal.append(record(2, "short"))
    with open_journal(tmp_path, identity(), resume=False) as journal:
        journal.append(record(0))
        tearing()
        with pytest.raises(OSError, match="No space left"):
            journal.append(record(1, "long " * 500))
        # The row that did not fit is as if it had never come.
        assert len(journal) == 1
        assert [known.index for known in journal.records()] == [0]
        journal.append(record(2, "short"))
        assert [known.index for known in journal.records()] == [0, 2]
    assert (tmp_path / JOURNAL).read_bytes() == (clean / JOURNAL).read_bytes()


def test_half_a_line_is_removed_on_resume(tearing, tmp_path):
    with open_journal(tmp_path, identity(), resume=False) as journal:
        journal.append(record(0))
        tearing()
        with pytest.raises(OSError, match="No space left"):
            journal.append(record(1, "long " * 50))
    with open_journal(tmp_path, identity(), resume=True) as journal:
        assert [known.index for known in journal.records()] == [0]
        journal.append(record(1, "short"))
        assert [known.entry["text"] for known in journal.records()] == ["x", "short"]
    with open_journal(tmp_path, identity(), resume=True) as journal:
        assert len(journal) == 2


def test_partial_writes_are_continued_until_all_bytes_are_written(monkeypatch, tmp_path):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: whole(descriptor, data[:7], offset))
    with open_journal(tmp_path, identity(), resume=False) as journal:
        journal.append(record(0))
        journal.append(record(1))
    with open_journal(tmp_path, identity(), resume=True) as journal:
        assert list(journal.records()) == [record(0), record(1)]


def test_the_answers_of_a_kind_are_those_alone_in_manifest_order(tmp_path):
    kinds = (TaskKind.REGRESSION, TaskKind.CLASSIFICATION, TaskKind.DETECTION, TaskKind.CLASSIFICATION)
    with open_journal(tmp_path, identity(), resume=False) as journal:
        for index in (3, 0, 2, 1):
            journal.append(replace(record(index), kind=kinds[index]))
        found = {kind: [entry["image_path"] for entry in journal.entries(kind)] for kind in TaskKind}
    assert found == {
        TaskKind.SEGMENTATION: [],
        TaskKind.CLASSIFICATION: ["1.png", "3.png"],
        TaskKind.DETECTION: ["2.png"],
        TaskKind.REGRESSION: ["0.png"],
    }


OTHERS = [field.name for field in fields(Identity) if field.name not in ("rows", "part_rows")]


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_that_differs_in_any_fact_is_another_run(name, tmp_path):
    other = 7 if isinstance(getattr(identity(), name), int) else "other"
    with open_journal(tmp_path, identity(**{name: other}), resume=False):
        pass
    with pytest.raises(UserError, match=f"{name} is {other} there and "):
        open_journal(tmp_path, identity(), resume=True)
