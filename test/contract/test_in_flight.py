"""A file that kills its decoder costs only its rows: at once in the child, on `--resume` in the run's own process."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from contract.faults import DataFolder, answers
from evil_child import write_evil_child
from phantoms.bad_inputs import BAD_INPUTS
from PIL import Image

from challenge.imaging import child as decoder
from challenge.imaging.decode import read_image
from model.frozen import loading
from model.frozen.run.journal import Journal, read_journal

SCAN = next(bad for bad in BAD_INPUTS if bad.name == "scan.dcm").data()
PLAIN = ("organ_cls", "classification", "6", "")
_META = b"ObjectType = Image\nNDims = %b\nDimSize = %b\n%bElementType = MET_UCHAR\nElementDataFile = %b\n"
# Headers that ITK's reader of MetaImage does not survive, and an empty picture.
DAMAGED_META = {
    "negative.mhd": _META % (b"-1", b"160 120", b"ElementSpacing = 1 1\n", b"q.raw"),
    "aborting.mha": _META % (b"2", b"4 4", b"", b"n" * 20 + b"\r\r\r" + bytes(range(14, 255)) * 4),
    "empty.mha": _META % (b"2", b"0 0", b"", b"LOCAL"),
}


def masked(name):
    return f"../images/{name}", "lung", "segmentation", "2", f"../Segmentation/{name}.png"


@pytest.fixture
def evil(monkeypatch, tmp_path):
    decoder._close()
    monkeypatch.setattr(decoder, "CHILD", write_evil_child(tmp_path))
    yield
    decoder._close()


def test_a_child_that_dies_or_hangs_costs_its_own_rows(evil, data, call, untouched, monkeypatch, tmp_path):
    names = ("SIGSEGV.dcm", "SIGKILL.dcm", "bomb.dcm", "sleep.dcm", "exit.dcm")
    monkeypatch.setattr(decoder, "SECONDS", 5)
    for name in (*names, "good.dcm"):
        (data.root / "images" / name).write_bytes(SCAN)
    data.add(*map(masked, names), ("../images/good.dcm", *PLAIN))
    ended = call(data.root)
    assert ended.code == 0
    assert [ended.fallbacks[f"odd.csv, line {line}"] for line in range(2, 7)] == [
        "SIGSEGV.dcm: the decoder ended by SIGSEGV", "SIGKILL.dcm: the decoder ended by SIGKILL",
        "bomb.dcm: damaged image (MemoryError)", "sleep.dcm: took longer than 5 s",
        "exit.dcm: the decoder ended with exit code 3",
    ]  # fmt: skip
    assert len(ended.fallbacks) == len(names)
    assert {key: answer for key, answer in ended.answers.items() if key in untouched} == untouched
    for name in names:
        with Image.open(tmp_path / "out" / "Segmentation" / f"{name}.png") as mask:
            assert mask.size == (48, 36)
            assert not np.asarray(mask).any()


def test_damaged_headers_cost_their_own_rows(data, call, untouched, monkeypatch):
    monkeypatch.setattr(decoder, "HEADER_SECONDS", 5)
    for name, content in DAMAGED_META.items():
        (data.root / "images" / name).write_bytes(content + bytes(200))
    data.add(*((f"../images/{name}", *PLAIN) for name in DAMAGED_META))
    ended = call(data.root)
    assert ended.code == 0
    assert set(ended.fallbacks) == {"odd.csv, line 2", "odd.csv, line 3", "odd.csv, line 4"}
    assert {key: answer for key, answer in ended.answers.items() if key in untouched} == untouched


# inference.py where decoding `killer.png` ends the process, as a flaw in a decoder of PNG would.
DRIVER = """
import os, signal, sys
from pathlib import Path
root, tests, child, *sys.argv[1:] = sys.argv[1:]
sys.path[:0] = [root, tests]
from challenge.imaging import child as decoder
from challenge.imaging import decode as images
decode = images.decode_file

def killing(path):
    if path.stem.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, path.stem))
    return decode(path)

images.decode_file, decoder.CHILD = killing, Path(child)
from inference import run
raise SystemExit(run())
"""


def test_resume_after_a_death_reads_the_images_in_flight_in_a_child(
    repository, data: DataFolder, untouched, tiny_weights, tmp_path, call, monkeypatch
):
    Image.new("L", (48, 36), 9).save(data.root / "images" / "SIGSEGV.png")
    Image.new("L", (48, 36), 9).save(data.root / "images" / "last.png")
    data.add(masked("SIGSEGV.png"), ("../images/last.png", *PLAIN))
    output, child = tmp_path / "out", write_evil_child(tmp_path)

    def run(*options):
        command = [sys.executable, "-c", DRIVER, repository, repository / "test", child, "--input", data.root,
                   "--output", output, "--weights", tiny_weights, "--batch-size", 1, "--device", "cpu",
                   *options]  # fmt: skip
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    assert run().returncode == -signal.SIGSEGV
    again = run("--resume")
    assert again.returncode == 0, again.stderr
    assert "SIGSEGV.png: the decoder ended by SIGSEGV" in again.stderr
    found = answers(output)
    with Image.open(output / "Segmentation" / "SIGSEGV.png.png") as mask:
        assert mask.size == (48, 36)
    assert {key: answer for key, answer in found.items() if key in untouched} == untouched
    assert ("../images/last.png", "organ_cls") in found


def test_only_images_in_flight_are_read_in_a_child(data, call, monkeypatch, tmp_path):
    for number in range(20):
        Image.new("L", (8, 8), number).save(data.root / "images" / f"{number}.png")
    data.add(*((f"../images/{number}.png", *PLAIN) for number in range(20)))
    expected = call(data.root, output=tmp_path / "undisturbed").answers
    read = {}

    def dying(path, *, isolated):
        read[path.name] = isolated
        if path.name == "8.png" and not isolated:
            raise RuntimeError
        return read_image(path, isolated=isolated)

    monkeypatch.setattr(loading, "read_image", dying)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__exit__", lambda journal, *_: os.close(journal._descriptor))  # as a death leaves it
        assert call(data.root).code == 1
    with read_journal(tmp_path / "out")[1] as journal:
        suspects = {name.rpartition("/")[2] for name in journal.suspects}
        assert 0 < len(journal) < 15
    read.clear()
    assert call(data.root, "--resume").answers == expected
    assert "8.png" in suspects
    assert {name for name, isolated in read.items() if isolated} == suspects
    assert set(read) - suspects
