"""Answers and reports whose target is a file that is still needed."""

import json
import os
import stat

import pytest
from contract.faults import contents

import inference
from challenge.errors import UserError
from model.frozen.pipeline import Pipeline


def test_the_data_folder_as_output_is_refused_before_any_work(data, call, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "run", None)
    before = contents(data.root)
    (tmp_path / "link").symlink_to("data")
    for output in (data.root, tmp_path / "link", tmp_path / "new" / ".." / "data"):
        ended = call(data.root, output=output)
        assert (ended.code, ended.report["exit_code"]) == (2, 2)
        assert "is the input folder" in ended.last_line
    assert contents(data.root) == before
    assert not (tmp_path / "new").exists()


def test_another_data_folder_as_output_is_refused(data, call, tmp_path):
    other = type(data)(tmp_path / "other")
    before = contents(other.root)
    ended = call(data.root, output=other.root)
    assert ended.code == 2
    assert "is a data folder" in ended.last_line
    assert contents(other.root) == before


@pytest.mark.parametrize("how", ["same folder", "hard link", "true mask", "csv", "weights"])
def test_an_answer_never_replaces_an_input(data, call, tmp_path, tiny_weights, how):
    output, mask = tmp_path / "out", "m.png"
    output.mkdir()
    victim = {"true mask": data.root / "m.png", "csv": data.root / "csv_files" / "good.csv",
              "weights": tiny_weights / "weights.json"}.get(how, data.root / "images" / "good 1.png")  # fmt: skip
    if how == "true mask":
        victim.write_bytes(b"a true mask")
    if how == "same folder":
        output, mask = data.root / "images", "good 1.png"
    else:
        os.link(victim, output / mask)
    data.add(("../images/good 0.png", "lung", "segmentation", "2", f"../{mask}"))
    before = victim.read_bytes()
    ended = call(data.root, output=output)
    assert ended.code == 2
    assert ended.last_line == f"the answer {output / mask} would replace the input {victim}; give another --output"
    assert victim.read_bytes() == before
    assert not (output / "Segmentation").exists()


def test_the_list_of_images_is_an_input_too(data, call, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    row = {
        "img_path_relative": "images/good 0.png",
        "task": "classification",
        "dataset_name": "BUSI",
        "organ": "breast",
    }
    (output / "classification.json").write_text(json.dumps([row]))
    ended = call(data.root, "--profile", "uusic", "--input-json", str(output / "classification.json"))
    assert ended.code == 2
    assert "would replace the input" in ended.last_line
    assert json.loads((output / "classification.json").read_text()) == [row]


def test_a_link_in_the_place_of_a_json_file_is_refused_before_any_work(data, call, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "run", None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "detection_predictions.json").symlink_to("elsewhere.json")
    ended = call(data.root)
    assert ended.code == 2
    assert ended.last_line.endswith("leaves the output folder through a link; remove the link")


def test_the_python_interface_keeps_the_data_too(data, tiny_weights):
    before = contents(data.root)
    with pytest.raises(UserError, match="is the input folder"):
        inference.Model(tiny_weights).predict(str(data.root), str(data.root))
    assert contents(data.root) == before


@pytest.mark.parametrize("target", ["out/run.json", "data/run.json", "data/csv_files/good.csv", "weights", "link.json"])
def test_a_report_in_a_place_of_others_is_refused_before_any_work(process, data, tmp_path, tiny_weights, target):
    (tmp_path / "link.json").symlink_to("data/images/good 0.png")
    before = contents(data.root)
    path = tiny_weights / "run.json" if target == "weights" else tmp_path / target
    done = process("", "--report", path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{path} is inside ")
    assert contents(data.root) == before
    assert (tmp_path / "link.json").is_symlink()
    assert not (tmp_path / "out").exists()
    assert not (tiny_weights / "run.json").exists()


def test_a_pipe_gets_only_the_report(process, tmp_path):
    done = process("", "--report", "/dev/stdout")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "complete"


def test_a_report_into_a_device_leaves_the_device(process, tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        pytest.skip("only root may make a device")
    assert process("", "--report", device).returncode == 0
    assert stat.S_ISCHR(device.stat().st_mode)
