"""The image's entry point gives up rights first, and has the same command line as `inference.py`."""

import json
import os
import subprocess
import sys

import pytest
from rights import as_root, run_script

import inference
from challenge.host import places

# The entry point, with what every thread may do whenever an image is opened.
WATCHED = """
import entrypoint
sys.argv = ["entrypoint.py", *sys.argv[1:]]
images, seen = sys.argv[2], []

def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(images) and not str(arguments[0]).endswith(".csv"):
        seen.append([status(task) for task in os.listdir("/proc/self/task")])

sys.addaudithook(watch)
code = entrypoint.start()
tell(code=code, images=len(seen), threads=max(map(len, seen)), statuses=[one for all_ in seen for one in all_])
"""


def command(repository, script, *arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": ".", **variables}
    return subprocess.run([sys.executable, script, *map(str, arguments)], cwd=repository, env=environment,
                          capture_output=True, text=True)  # fmt: skip


def test_it_imports_nothing_that_starts_a_thread(repository):
    code = "import entrypoint, json, os, sys; print(json.dumps([len(os.listdir('/proc/self/task')), [*sys.modules]]))"
    run = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": ".:docker"})  # fmt: skip
    threads, modules = json.loads(run.stdout)
    assert threads == 1
    assert not {"numpy", "PIL", "onnxruntime", "SimpleITK", "inference"} & set(modules)


def test_places_are_the_command_line_s_own():
    here = {one.name: one.to_info_dict() for one in places._places.params if one.name != "others"}
    there = {one.name: one.to_info_dict() for one in inference.main.params if one.name in here}
    assert here == there
    assert len(here) == 7


def test_places_are_found_among_everything_else(tmp_path):
    found = places.Places.of(["--tasks", "a,b", "--output=/o", "--strict", "--merge", "p", "--batch-size=4", "q",
                              "--report", "/r/x.json"])  # fmt: skip
    assert (str(found.output_dir), str(found.report_file)) == ("/o", "/r/x.json")
    assert (str(found.data_root), found.weights) == ("/input", places.DEFAULT_WEIGHTS)
    assert {"p", "q", "--merge"} <= set(found.others)


ODD = [["--help"], ["--list-tasks"], ["--bogus"], ["--output"], ["--part-id", "3"], ["part"], ["--merge"],
       ["--output", "inference.py"], ["--batch-size", "none"], ["--input", "/no such folder"]]  # fmt: skip


@pytest.mark.parametrize("arguments", ODD, ids=" ".join)
def test_odd_command_lines_end_as_they_do_without_it(repository, tmp_path, arguments):
    output = [] if "--output" in arguments else ["--output", tmp_path]
    plain = command(repository, "inference.py", *output, *arguments)
    through = command(repository, "docker/entrypoint.py", *output, *arguments, FMC_UIA_STEP_DOWN="1")
    assert (through.returncode, through.stderr.splitlines()[-1:]) == (plain.returncode, plain.stderr.splitlines()[-1:])
    assert through.stdout == plain.stdout.replace("inference.py", "entrypoint.py")
    assert "Traceback" not in through.stderr


@as_root
def test_no_thread_has_rights_when_an_image_is_opened(repository, data, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("FMC_UIA_STEP_DOWN", "1")
    found = run_script(repository, "sys.path.insert(0, 'docker')\n" + WATCHED, "--input", data.root,
                       "--output", tmp_path / "out", "--weights", tiny_weights, "--device", "cpu")  # fmt: skip
    assert found["code"] == 0
    assert found["images"] >= 2
    assert found["threads"] > 1
    assert {(one["CapEff"], one["CapPrm"], one["CapBnd"], *one["NoNewPrivs"]) for one in found["statuses"]} == {
        (2, 2, 2, 1)
    }


@as_root
@pytest.mark.parametrize("variables", [{}, {"FMC_UIA_STEP_DOWN": "0"}])
def test_without_the_switch_nothing_is_given_up(repository, data, tiny_weights, tmp_path, variables, monkeypatch):
    monkeypatch.delenv("FMC_UIA_STEP_DOWN", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = run_script(repository, "sys.path.insert(0, 'docker')\n" + WATCHED, "--input", data.root,
                       "--output", tmp_path / "out", "--weights", tiny_weights, "--device", "cpu")  # fmt: skip
    assert {one["NoNewPrivs"][0] for one in found["statuses"]} == {0}


@as_root
def test_a_command_that_writes_nothing_is_not_refused(repository, open_folder):
    os.chown(open_folder, 12345, 12345)
    code = """
sys.path.insert(0, "docker")
from entrypoint import give_up_rights
confine()
give_up_rights(["--output", sys.argv[1], "--list-tasks"])
try:
    give_up_rights(["--output", sys.argv[1]])
except UserError as error:
    tell(refused=str(error))
"""
    assert "--user 12345:12345" in run_script(repository, code, open_folder)["refused"]


def test_a_mask_that_cannot_be_written_ends_the_run_with_one_sentence(call, data, monkeypatch, capsys):
    def refuse(target, *_, **__):
        raise PermissionError(1, "Operation not permitted", str(target))

    monkeypatch.setattr("challenge.writers.write_atomically", refuse)
    ended = call(data.root)
    assert ended.code == 2
    assert ended.report["exit_code"] == 2
    assert "good 0.png cannot be written by uid" in ended.last_line
