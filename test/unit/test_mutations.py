"""The search with damaged files finds crashes and broken promises, and continues where it stopped."""

import json
from itertools import repeat

import pytest
from evil_child import write_evil_child
from fuzz.mutate import FORMATS, mutated, seeds
from fuzz.mutations import Progress, Watch, broken_promise, fuzz
from phantoms.bad_inputs import BAD_INPUTS

from challenge.imaging import child as decoder
from challenge.imaging.decode import decode_file

SCAN = next(bad for bad in BAD_INPUTS if bad.name == "scan.dcm").data()


@pytest.mark.parametrize("ending", FORMATS)
def test_damage_begins_with_whole_files_and_can_be_repeated(tmp_path, ending):
    for number, data in enumerate(seeds(ending)):
        path = tmp_path / f"{number}{ending}"
        path.write_bytes(data)
        assert min(decode_file(path).size) > 1
    damaged = [mutated(ending, 1, number) for number in range(30)]
    assert damaged == [mutated(ending, 1, number) for number in range(30)]
    assert len(set(damaged)) > 20
    assert damaged != [mutated(ending, 2, number) for number in range(30)]


def test_the_watch_reports_what_ends_the_child_and_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "CHILD", write_evil_child(tmp_path))
    for name in ("good.dcm", "SIGSEGV.dcm", "SIGABRT.dcm"):
        (tmp_path / name).write_bytes(SCAN)
    watch = Watch()
    try:
        assert watch.finding(tmp_path / "SIGSEGV.dcm") == "the decoder ended by SIGSEGV"
        assert watch.finding(tmp_path / "good.dcm") is None
        assert watch.finding(tmp_path / "SIGABRT.dcm") == "the decoder ended by SIGABRT"
        assert watch.finding(tmp_path / "good.dcm") is None
        watch._child._process.kill()  # as if an earlier file had damaged its memory
        assert watch.finding(tmp_path / "good.dcm") == "the decoder ended by SIGKILL, but only after other files"
        assert watch.finding(tmp_path / "good.dcm") is None
    finally:
        watch.close()


@pytest.mark.parametrize(
    ("size", "table", "count", "told"),
    [
        ([4, 3], {"shape": [3, 4, 1]}, 12, None),
        (None, {"shape": [3, 4, 3]}, 36, None),
        ([3, 4], {"shape": [3, 4, 1]}, 12, "decoded as 4x3, but the header says [3, 4]"),
        (None, {"shape": [0, 4, 1]}, 0, "pixels of shape [0, 4, 1]"),
        (None, {"shape": [3, 4, 3]}, 12, "pixels of shape [3, 4, 3]"),
        (None, {"error": "a.png: no image"}, 0, None),
        (None, {"error": "no image"}, 0, "no sentence: 'no image'"),
        (None, {"error": "a.png: one\ntwo"}, 0, "no sentence: 'a.png: one\\ntwo'"),
    ],
)
def test_broken_promises(size, table, count, told):
    assert broken_promise("a.png", size, table, count) == told


def test_counts_and_findings_are_kept_and_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Watch, "finding", lambda self, path: "bad" if path.read_bytes() == mutated(".gif", 5, 60) else None
    )
    file = tmp_path / "progress.json"
    for expected in (50, 100):
        stops = iter([False, False, True])
        fuzz(tmp_path, [".gif", ".bmp"], Progress.of(file, 5), lambda stops=stops: next(stops))
        assert json.loads(file.read_text())["inputs"] == dict(zip(FORMATS, repeat(0))) | {
            ".gif": expected,
            ".bmp": expected,
        }
    assert json.loads(file.read_text())["findings"] == [{"file": "5-60.gif", "reason": "bad"}]
    assert (tmp_path / "5-60.gif").read_bytes() == mutated(".gif", 5, 60)
