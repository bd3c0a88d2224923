"""`inference.py` as a process: exit codes, and one sentence on the last line of stderr."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "csv_files").mkdir(parents=True)
    Image.fromarray(np.zeros((50, 80), np.uint8)).save(folder / "a.png")
    (folder / "csv_files" / "x.csv").write_text("image_path,task_id,task_name\n../a.png,organ_cls,classification\n")
    return folder


@pytest.fixture
def call(repository, tiny_weights, data, tmp_path):
    def run(*options, **changes):
        command = {"--input": data, "--output": tmp_path / "out", "--weights": tiny_weights, **changes}
        arguments = [str(part) for pair in command.items() for part in pair]
        return subprocess.run(
            [sys.executable, str(repository / "inference.py"), *arguments, *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def last_line(result):
    return result.stderr.strip().splitlines()[-1]


def test_complete_run(call, tmp_path):
    result = call("--report", str(tmp_path / "report.json"))
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["status"], report["exit_code"], report["rows"], report["answered"]) == ("complete", 0, 1, 1)
    assert report["timings"]["first_prediction_s"] > 0
    assert not (tmp_path / "out" / "report.json").exists()


def test_strict_reports_fallbacks_by_exit_code_3(call, data):
    (data / "a.png").write_bytes(b"")
    assert call().returncode == 0
    result = call("--strict")
    assert result.returncode == 3
    assert "x.csv, line 2" in last_line(result)
    assert "the file is empty" in last_line(result)


def test_user_errors_are_exit_code_2_with_one_sentence(call, data, tmp_path):
    assert call("--no-such-option").returncode == 2
    missing = call(**{"--weights": tmp_path / "nothing"})
    assert missing.returncode == 2
    assert "weights.json" in last_line(missing)
    (data / "csv_files" / "x.csv").write_bytes(b"")
    empty = call("--report", str(tmp_path / "report.json"))
    assert empty.returncode == 2
    assert last_line(empty).startswith("x.csv is empty")
    assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 2


def test_unavailable_precision_is_refused(call):
    result = call("--precision", "float16", **{"--device": "cpu"})
    assert result.returncode == 2
    assert last_line(result) == "--precision float16 needs a GPU that CUDA can use; use auto, float32 or bfloat16"


def test_unwritable_output_is_refused(call, tmp_path):
    (tmp_path / "file").write_text("")
    result = call(**{"--output": tmp_path / "file" / "out"})
    assert result.returncode == 2
    assert "cannot be used" in last_line(result)


def test_list_tasks(call):
    result = call("--list-tasks")
    assert result.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert len(lines) == 29
    assert "prior" in lines["cervix"]


@pytest.mark.parametrize(
    "module", ["challenge.imaging.decode", "challenge.writers", "model.frozen.run.submission", "inference"]
)
def test_importing_the_container_s_code_imports_no_torch_pandas_opencv_or_openvino(repository, module):
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'pandas', 'cv2', 'timm', 'openvino') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert result.stdout.strip() == "[]"


def test_a_path_that_is_empty_or_too_long_is_refused_before_any_work(call, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for option in ("--input", "--output", "--weights"):
        result = call(**{option: ""})
        assert result.returncode == 2
        assert (
            last_line(result)
            == f"Error: Invalid value for '{option}': the path is empty; is a variable of the shell unset?"
        )
    result = call("--report", str(tmp_path / ("a" * 300)))
    assert result.returncode == 2
    assert "the name is too long" in last_line(result)
    assert os.listdir() == []


def test_a_relative_path_where_the_current_folder_was_deleted_is_refused(call, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = call(**{"--output": "out"})
    assert result.returncode == 2
    assert last_line(result).endswith("out is relative to a folder that is gone; change to another")
    assert call().returncode == 0


def test_a_report_without_a_reader_is_one_sentence_and_all_answers_remain(call, tmp_path):
    os.mkfifo(tmp_path / "report")
    result = call("--report", str(tmp_path / "report"))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "the answers are not affected" in last_line(result)
    assert (tmp_path / "out" / "classification_predictions.json").exists()


@pytest.mark.parametrize("command", [("inference.py",), ("-m", "evaluate"), ("-m", "training"), ("-m", "bench")])
def test_both_words_for_help(repository, command):
    def shown(word):
        call = [sys.executable, *command, word]
        return subprocess.run(call, cwd=repository, capture_output=True, text=True, check=True).stdout

    assert "-h, --help" in shown("-h")
    assert shown("-h") == shown("--help")
