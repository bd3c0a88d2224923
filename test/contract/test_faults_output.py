"""Output folders that cannot be written, are not empty, or contain harmful links."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from contract.faults import GOOD, DataFolder, as_csv

from model.frozen.pipeline import Pipeline

MASK = "Segmentation/good 0.png"


def test_a_file_where_the_folder_should_be(data, call, tmp_path):
    (tmp_path / "file").write_text("")
    ended = call(data.root, output=tmp_path / "file" / "out")
    assert ended.code == 2
    assert "cannot be used" in ended.last_line


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user")
def test_a_folder_of_another_user(repository, tiny_weights, open_folder):
    data, output = DataFolder(open_folder / "data"), open_folder / "out"
    output.mkdir(mode=0o755)
    shutil.copytree(tiny_weights, open_folder / "weights").chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups",
         sys.executable, str(repository / "inference.py"), "--input", str(data.root), "--output", str(output),
         "--weights", str(open_folder / "weights"), "--device", "cpu"],
        capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "HOME": "/tmp"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot be used (Permission denied); mount a writable one" in done.stderr.splitlines()[-1]
    assert list(output.iterdir()) == []


def test_existing_files_are_overwritten_with_a_warning_and_other_files_stay(data, call, untouched, tmp_path, caplog):
    out = tmp_path / "out"
    (out / "Segmentation").mkdir(parents=True)
    (out / MASK).write_bytes(b"old")
    (out / "detection_predictions.json").write_text("old")
    (out / "notes.txt").write_bytes(b"mine")
    ended = call(data.root)
    assert ended.code == 0
    assert "is not empty" in caplog.text
    assert ended.answers.pop(("notes.txt",)) == b"mine"
    assert ended.answers == untouched


def test_a_failure_in_the_middle_leaves_valid_answers_and_no_partial_file(data, call, untouched, tmp_path):
    out = tmp_path / "out"
    (out / "detection_predictions.json" / "a folder").mkdir(parents=True)
    ended = call(data.root)
    assert ended.code == 1
    assert ended.last_line.startswith("unexpected IsADirectoryError")
    assert "detection_predictions.json" in ended.last_line
    assert (out / MASK).read_bytes() == untouched[(MASK,)]
    assert len(json.loads((out / "classification_predictions.json").read_text("utf-8"))) == 1
    assert not list(out.rglob("*.partial"))


@pytest.mark.parametrize("link", ["Segmentation", "Segmentation/deep", MASK])
def test_links_out_of_the_folder_are_refused_and_nothing_is_created_behind_them(data, call, tmp_path, link):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(elsewhere / "m.png" if link == MASK else elsewhere)
    if link == "Segmentation/deep":
        data.write("good.csv", as_csv([(*GOOD[0][:4], "../Segmentation/deep/a/b/m.png")]))
    ended = call(data.root)
    assert ended.code == 2
    assert ended.last_line.endswith("leaves the output folder through a link; remove the link")
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_the_place_of_a_temporary_file_is_not_written_through(data, call, tmp_path):
    """Someone who guesses the name of a temporary file must not redirect its bytes."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    call(data.root)
    names = []
    original = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda source, target: (names.append(source), original(source, target)))
        call(data.root)
    for name in names:
        os.symlink(victim, name)
    assert names
    assert call(data.root).code == 0
    assert victim.read_bytes() == b"untouched"


def test_a_lost_row_is_a_failure(data, call, monkeypatch):
    run = Pipeline.run
    monkeypatch.setattr(Pipeline, "run", lambda self, samples, *others: run(self, samples[1:], *others))
    ended = call(data.root)
    assert ended.code == 1
    assert re.search(r"4 rows but \d answers", ended.last_line)
