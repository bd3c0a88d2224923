"""The image under the strict conditions of a foreign host."""

import json
import logging
import shutil
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny import export_tiny_ensemble

from evaluate.uusic_folder import write_uusic_folder

logger = logging.getLogger(__name__)

# Runs inside, instead of inference.py: what does this process really have?
PROBE = """
import json, os, pwd, socket, sys, threading

def refused(what):
    try:
        what()
    except OSError as error:
        return error.strerror or str(error)
    return None

def threads_until_refused():
    held, started = threading.Event(), 0
    try:
        while started < 1000:
            threading.Thread(target=held.wait).start()
            started += 1
    except RuntimeError:
        pass
    held.set()
    return started

def size(folder):
    stat = os.statvfs(folder)
    return stat.f_blocks * stat.f_frsize

def first(*files):
    return next((int(open(file).read()) for file in files if os.path.exists(file)), None)

def known():
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None

json.dump({
    "uid": os.getuid(), "user": known(), "tty": [os.isatty(n) for n in range(3)],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "connect": refused(lambda: socket.create_connection(("192.0.2.1", 80), 5)),
    "resolve": refused(lambda: socket.getaddrinfo("pypi.org", 443)),
    "write_root": refused(lambda: open("/opt/app/new", "w")), "write_input": refused(lambda: open("/input/new", "w")),
    "write_tmp": refused(lambda: open("/tmp/new", "w")), "write_output": refused(lambda: open("/output/new", "w")),
    "tmp": size("/tmp"), "shm": size("/dev/shm"),
    "memory": first("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "threads": threads_until_refused(),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0],
}, sys.stdout)
"""


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_host_s_conditions_hold_inside(stranger_runs, phantoms, output):
    run = stranger_runs(phantoms, output, "-c", PROBE, options="--entrypoint python3")
    found = json.loads(run.stdout)
    logger.info("inside: %s", found)
    assert (found["uid"], found["user"]) == (12345, None)
    assert found["tty"] == [False, False, False]
    assert found["interfaces"] == ["lo"]
    assert found["connect"]
    assert found["resolve"]
    assert found["write_root"]
    assert found["write_input"]
    assert found["write_tmp"] is None
    assert found["write_output"] is None
    assert found["tmp"] == found["shm"] == 64 << 20
    assert found["memory"] == 4 << 30
    assert found["threads"] < 128
    assert int(found["capabilities"], 16) == 0


def test_answers_are_those_of_a_local_run_byte_for_byte(answered, local_python, phantoms, output, repository):
    subprocess.run([local_python, "inference.py", "--input", phantoms, "--output", output, "--log-level", "WARNING"],
                   cwd=repository, check=True)  # fmt: skip
    inside, here = contents(answered), contents(output)
    assert len(here) > 27
    assert sorted(inside) == sorted(here)
    assert [name for name in here if inside[name] != here[name]] == []


def test_the_same_image_answers_uusic_if_a_list_is_mounted(stranger_runs, phantoms, output, tmp_path):
    write_uusic_folder(phantoms, tmp_path / "uusic", "test")
    listed = tmp_path / "uusic" / "list.json"
    stranger_runs(tmp_path / "uusic", output, options=f"--volume {listed}:/input_json:ro")
    rows = json.loads(listed.read_text("utf-8"))
    masks = {row["img_path_relative"].replace("img", "mask") for row in rows if row["task"] == "segmentation"}
    assert set(contents(output)) == masks | {"classification.json"}
    classified = [row["img_path_relative"] for row in rows if row["task"] == "classification"]
    assert list(json.loads((output / "classification.json").read_text("utf-8"))) == classified


def test_a_stopped_container_ends_with_143_and_resumes(stranger_runs, engine, answered, phantoms, output):
    journal, name = output / ".journal", "fmc-uia-stopped"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stranger_runs, phantoms, output, options=f"--name {name}", check=False)
        while not running.done() and not (journal.is_file() and journal.read_bytes().count(b"\n") > 8):
            time.sleep(0.02)
        engine.run(engine.command, "kill", "--signal", "TERM", name)
        stopped = running.result()
    assert stopped.returncode == 143, stopped.stderr
    assert "--resume" in stopped.stderr.splitlines()[-1]
    assert journal.is_file()
    for file in output.glob("*.json"):
        assert isinstance(json.loads(file.read_text("utf-8")), list)
    stranger_runs(phantoms, output, "--resume")
    assert contents(output) == contents(answered)


def test_what_is_written_belongs_to_the_stranger(answered):
    assert {path.stat().st_uid for path in answered.rglob("*")} == {12345}


def test_codabench_zip_of_the_answers_has_its_files_at_the_root(answered, phantoms, local_python, tmp_path, repository):
    file = tmp_path / "predictions.zip"
    check = [local_python, "-m", "evaluate", "check", "--data-root", phantoms, "--predictions", answered, "--zip", file]
    subprocess.run(check, cwd=repository, check=True)
    with zipfile.ZipFile(file) as packed:
        assert set(packed.namelist()) == set(contents(answered))


def test_grand_challenge_s_model_mount_replaces_the_weights(stranger_runs, phantoms, output, tmp_path, repository):
    """That platform unpacks a model tarball at /opt/ml/model."""
    model = tmp_path / "model"
    shutil.copytree(repository / "weights", model)
    facts = json.loads((model / "weights.json").read_text())
    facts["tasks"]["FUGC"]["trained_on"] = "the mounted model"
    (model / "weights.json").write_text(json.dumps(facts))
    mount = f"--volume {model}:/opt/ml/model:ro --env FMC_UIA_WEIGHTS=/opt/ml/model"
    assert "the mounted model" in stranger_runs(phantoms, output, "--list-tasks", options=mount).stdout
    stranger_runs(phantoms, output, "--tasks", "FUGC", options=mount)
    assert json.loads((output / "regression_predictions.json").read_text())


def test_an_ensemble_answers_as_a_local_run(stranger_runs, local_python, phantoms, output, tmp_path, repository):
    model, here = tmp_path / "model", tmp_path / "here"
    export_tiny_ensemble(model)
    mount = f"--volume {model}:/opt/ml/model:ro --env FMC_UIA_WEIGHTS=/opt/ml/model"
    assert "2 networks" in stranger_runs(phantoms, output, options=mount).stderr
    subprocess.run([local_python, "inference.py", "--input", phantoms, "--output", here, "--weights", model,
                    "--log-level", "WARNING"], cwd=repository, check=True)  # fmt: skip
    assert contents(output) == contents(here)


@pytest.mark.parametrize("spoilt", ["encoder.onnx", "weights.json"])
def test_bad_weights_end_with_2_and_one_sentence(stranger_runs, phantoms, output, tmp_path, repository, spoilt):
    model = tmp_path / "model"
    shutil.copytree(repository / "weights", model)
    (model / spoilt).write_text("version https://git-lfs.github.com/spec/v1\n")
    run = stranger_runs(phantoms, output, "--weights", "/model", options=f"--volume {model}:/model:ro", check=False)
    assert run.returncode == 2
    assert spoilt in run.stderr.splitlines()[-1]
    assert contents(output) == {}


def test_input_without_manifests_ends_with_2_and_names_the_folder(stranger_runs, tmp_path, output):
    empty = tmp_path / "empty"
    empty.mkdir()
    run = stranger_runs(empty, output, check=False)
    assert run.returncode == 2
    assert "csv_files" in run.stderr.splitlines()[-1]


def test_output_that_cannot_be_written_does_not_end_with_0(stranger_runs, phantoms, output):
    output.chmod(0o755)
    run = stranger_runs(phantoms, output, "--tasks", "FUGC", check=False)
    assert run.returncode in (1, 2)
    assert "Permission" in run.stderr.splitlines()[-1]
