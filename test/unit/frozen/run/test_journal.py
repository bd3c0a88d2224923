"""The journal survives the death of its writer, and works only for its own run."""

import json
import zlib
from dataclasses import asdict, replace

import pytest

from challenge.errors import UserError
from challenge.paths import JOURNAL
from challenge.predictions import MaskFile
from challenge.tasks import TaskKind
from model.frozen.run.journal import SCHEMA, Identity, Journal, Record, open_journal, read_journal

RUN = Identity("fmc", "a" * 64, "b" * 64, 3, 8, "float32", "logits", "masks", "", 1, 0, 3)
RECORDS = [
    Record(2, TaskKind.CLASSIFICATION, "a.csv, line 4", "../ü.png", "t", {"predicted_probs": [1 / 3, 2 / 3]}),
    Record(0, TaskKind.SEGMENTATION, "a.csv, line 2", "../a.png", "s", None, MaskFile("m.png", 3, 7), None, "odd"),
    Record(1, TaskKind.CLASSIFICATION, "a.csv, line 3", "../b.png", "t", {"predicted_probs": [0.1, 0.9]}, None, "bad"),
]


def write(folder, records=RECORDS):
    with open_journal(folder, RUN, resume=False) as journal:
        for record in records:
            journal.append(record)


def read(folder):
    with open_journal(folder, RUN, resume=True) as journal:
        return list(journal.records())


def test_records_come_back_in_manifest_order_to_the_last_digit(tmp_path):
    write(tmp_path)
    assert read(tmp_path) == sorted(RECORDS, key=lambda record: record.index)
    with open_journal(tmp_path, RUN, resume=True) as journal:
        assert list(journal.entries(TaskKind.CLASSIFICATION)) == [RECORDS[2].entry, RECORDS[0].entry]


def test_a_line_cut_anywhere_costs_only_its_row(tmp_path):
    write(tmp_path)
    whole = (tmp_path / JOURNAL).read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last + 1):
        (tmp_path / JOURNAL).write_bytes(whole[:-cut])
        with open_journal(tmp_path, RUN, resume=True) as journal:
            assert [record.index for record in journal.records()] == [0, 2]
            journal.append(RECORDS[2])
        assert (tmp_path / JOURNAL).read_bytes() == whole


def test_an_altered_line_and_all_after_it_are_ignored(tmp_path):
    write(tmp_path)
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content.replace(b'"odd"', b'"ode"'))
    assert [record.index for record in read(tmp_path)] == [2]


def test_a_row_written_again_replaces_the_earlier_answer(tmp_path):
    write(tmp_path, [*RECORDS, replace(RECORDS[0], note="second")])
    assert [record.note for record in read(tmp_path)] == ["odd", None, "second"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": "c" * 64}, "weights is cccccccccccc there and aaaaaaaaaaaa here"),
        ({"manifest": "c" * 64}, "manifest is cccc"),
        ({"batch_size": 4}, "batch_size is 4 there and 8 here"),
        ({"tasks": "lung"}, "tasks is lung there and all here"),
        ({"num_parts": 3, "part_id": 2}, "num_parts is 3 there and 1 here; part_id is 2 there and 0 here"),
    ],
)
def test_the_journal_of_another_run_is_refused_with_what_differs(tmp_path, change, told):
    with open_journal(tmp_path, replace(RUN, **change), resume=False) as journal:
        journal.append(RECORDS[0])
    with pytest.raises(UserError, match=told):
        open_journal(tmp_path, RUN, resume=True)
    with open_journal(tmp_path, RUN, resume=False) as journal:
        assert len(journal) == 0


def test_without_a_readable_header_the_run_starts_again(tmp_path):
    for content in (b"", b"12345678 {", b"no journal at all\n" * 3):
        (tmp_path / JOURNAL).write_bytes(content)
        assert read(tmp_path) == []
    (tmp_path / JOURNAL).write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        read_journal(tmp_path)


def line(table) -> bytes:
    body = json.dumps(table).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


FIRST = {"schema": SCHEMA, **asdict(RUN)}
ROW = asdict(RECORDS[0])


@pytest.mark.parametrize(
    "tables",
    [
        [{**FIRST, "engine": "x"}],
        [{name: value for name, value in FIRST.items() if name != "precision"}],
        [{**FIRST, "schema": SCHEMA + 1}],
        [{**FIRST, "schema": 1}],
        [{**FIRST, "rows": "3"}],
        [{**FIRST, "rows": True}],
        [[FIRST]], ["text"], [7], [None],
        [FIRST, {**ROW, "engine": "x"}],
        [FIRST, {name: value for name, value in ROW.items() if name != "note"}],
        [FIRST, {**ROW, "kind": "tracking"}],
        [FIRST, {**ROW, "index": 3}], [FIRST, {**ROW, "index": -1}], [FIRST, {**ROW, "index": "2"}],
        [FIRST, {**ROW, "entry": [1]}],
        [FIRST, {**ROW, "mask": {"file": "m.png", "size": 3}}],
        [FIRST, {**ROW, "mask": {"file": "m.png", "size": 3, "crc32": 7, "sha256": ""}}],
        [FIRST, {**ROW, "mask": {"file": "m.png", "size": "3", "crc32": 7}}],
        [FIRST, []], [FIRST, "text"], [FIRST, None], [FIRST, FIRST], [FIRST, {}],
        [FIRST, {"reading": ["../a.png"]}], [FIRST, {"reading": {"../a.png": [1]}}],
        [FIRST, {"reading": {"../a.png": [1, 2.5]}}], [FIRST, {"suspects": {}}],
        [FIRST, {"reading": {}, "suspects": []}],
    ],
)  # fmt: skip
def test_another_versions_journal_is_reported_and_not_used(tmp_path, tables, caplog):
    content = b"".join(map(line, tables))
    (tmp_path / JOURNAL).write_bytes(content)
    with pytest.raises(UserError, match=r"--resume: .*\.journal was written by another version .*; leave out --resume"):
        open_journal(tmp_path, RUN, resume=True)
    with pytest.raises(UserError, match=r"\.journal was written by another version .*; run that part again"):
        read_journal(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == content
    with open_journal(tmp_path, RUN, resume=False) as journal:
        assert (len(journal), journal.identity, journal.suspects, journal.stamps) == (0, RUN, set(), {})
    assert "written by another version of this program; the run starts again" in caplog.text
    assert read(tmp_path) == []


def test_a_line_that_is_not_json_or_too_deep_belongs_to_another_version(tmp_path):
    for body in (b"{", b"[" * 100_000, b"\xff"):
        (tmp_path / JOURNAL).write_bytes(line(FIRST) + b"%08x %b\n" % (zlib.crc32(body), body))
        with pytest.raises(UserError, match="another version"):
            open_journal(tmp_path, RUN, resume=True)


def die(journal: Journal) -> None:
    """Leave a journal as a killed process does: nothing more is written."""
    journal._in_flight = False
    journal.__exit__()


def reopened(folder) -> Journal:
    return open_journal(folder, RUN, resume=True)


def test_images_in_flight_at_a_death_are_suspects_until_they_are_answered(tmp_path):
    journal = open_journal(tmp_path, RUN, resume=False)
    journal.about_to_read({"../ü.png": (5, 6), "../a.png": (1, 2)})
    journal.about_to_read({"../b.png": None})
    journal.append(RECORDS[0])  # of ü.png
    assert journal.suspects == set()
    die(journal)
    journal = reopened(tmp_path)
    assert journal.suspects == {"../a.png", "../b.png"}
    assert journal.stamps == {"../ü.png": (5, 6), "../a.png": (1, 2), "../b.png": None}
    journal.append(RECORDS[1])
    assert journal.suspects == {"../b.png"}
    assert len(journal) == 2
    die(journal)
    journal = reopened(tmp_path)
    assert journal.suspects == {"../b.png"}
    die(journal)


def test_a_normal_end_adds_no_suspects_and_clears_none(tmp_path):
    journal = open_journal(tmp_path, RUN, resume=False)
    journal.about_to_read({"../a.png": None})
    die(journal)
    with reopened(tmp_path) as journal:
        journal.about_to_read({"../b.png": None})
    with reopened(tmp_path) as journal:
        assert journal.suspects == {"../a.png"}
        journal.about_to_read({"../a.png": None})
        journal.append(RECORDS[1])
    with reopened(tmp_path) as journal:
        assert journal.suspects == set()
    with open_journal(tmp_path, RUN, resume=False) as journal:
        assert (journal.suspects, journal.stamps) == (set(), {})


def test_two_writers_are_refused(tmp_path):
    with (
        open_journal(tmp_path, RUN, resume=False),
        pytest.raises(UserError, match="another run is writing"),
    ):
        open_journal(tmp_path, RUN, resume=True)


def test_a_mask_counts_only_if_it_is_unchanged(tmp_path):
    (tmp_path / "m.png").write_bytes(b"123456789")
    mask = MaskFile("m.png", 9, 0xCBF43926)  # the check value of CRC-32
    assert mask.is_whole(tmp_path)
    assert not replace(mask, size=10).is_whole(tmp_path)
    (tmp_path / "m.png").write_bytes(b"123456780")
    assert not mask.is_whole(tmp_path)
    (tmp_path / "m.png").unlink()
    assert not mask.is_whole(tmp_path)
