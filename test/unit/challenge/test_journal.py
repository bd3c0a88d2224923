"""The journal survives what kills its writer, and serves no other run than its own."""

from dataclasses import replace

import pytest

from challenge.errors import UserError
from challenge.journal import FILE, Identity, MaskFile, Record, open_journal, read_journal
from challenge.tasks import TaskKind

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


def test_a_line_that_is_torn_anywhere_costs_that_row_alone(tmp_path):
    write(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last + 1):
        (tmp_path / FILE).write_bytes(whole[:-cut])
        with open_journal(tmp_path, RUN, resume=True) as journal:
            assert [record.index for record in journal.records()] == [0, 2]
            journal.append(RECORDS[2])
        assert (tmp_path / FILE).read_bytes() == whole


def test_an_altered_line_and_those_after_it_are_not_believed(tmp_path):
    write(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.replace(b'"odd"', b'"ode"'))
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
        (tmp_path / FILE).write_bytes(content)
        assert read(tmp_path) == []
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        read_journal(tmp_path)


def test_two_writers_are_refused(tmp_path):
    with (
        open_journal(tmp_path, RUN, resume=False),
        pytest.raises(UserError, match="another run is writing"),
    ):
        open_journal(tmp_path, RUN, resume=True)


def test_a_mask_counts_only_if_it_is_what_was_written(tmp_path):
    (tmp_path / "m.png").write_bytes(b"123456789")
    mask = MaskFile("m.png", 9, 0xCBF43926)  # the check value of CRC-32
    assert mask.is_whole(tmp_path)
    assert not replace(mask, size=10).is_whole(tmp_path)
    (tmp_path / "m.png").write_bytes(b"123456780")
    assert not mask.is_whole(tmp_path)
    (tmp_path / "m.png").unlink()
    assert not mask.is_whole(tmp_path)
