"""The image started without `--user`, as the organisers do: its user, its rights, and the owner of the answers."""

import json
import os
import shutil

import pytest

from challenge.manifest import read_manifest
from challenge.paths import find_image
from evaluate.uusic_folder import write_uusic_folder

TASKS = ("--tasks", "thyroid_nodule,thyroid_nodule_det,organ_cls")
DAC_OVERRIDE = 1 << 1

# The image's own start, with what every thread may do whenever it opens an image.
WATCHED = """
import json, os, sys
sys.path.insert(0, "/opt/app")
import entrypoint

FIELDS = ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
seen, threads = set(), set()

def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith("/input/") and not str(arguments[0]).endswith(".csv"):
        for task in os.listdir("/proc/self/task"):
            lines = open(f"/proc/self/task/{task}/status").read().splitlines()
            found = dict(line.split(":", 1) for line in lines)
            threads.add(task)
            seen.add(tuple(found[name].strip() for name in FIELDS))

sys.addaudithook(watch)
sys.argv = ["entrypoint.py", *sys.argv[1:]]
code = entrypoint.start()
json.dump({"code": code, "threads": len(threads), "seen": [dict(zip(FIELDS, one)) for one in seen]}, sys.stdout)
"""


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def owners(folder):
    return {(path.stat().st_uid, path.stat().st_gid) for path in folder.rglob("*")}


def give(folder, uid, mode):
    os.chown(folder, uid, uid)
    folder.chmod(mode)


@pytest.fixture(autouse=True)
def needs_root():
    if os.geteuid() != 0:
        pytest.skip("only root can make folders that belong to others")


@pytest.fixture
def watched(runs_as_organisers, phantoms):
    """Run the image into a folder; return its log, and what each of its threads could do, which must be one thing."""

    def run(output, options="", data=phantoms, **how):
        done = runs_as_organisers(data, output, "-c", WATCHED, *TASKS,
                                  options=f"--entrypoint python3 {options}", **how)  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])  # progress stands above it
        assert found["code"] == 0, done.stderr
        assert found["threads"] > 1
        assert len(found["seen"]) == 1
        return done.stderr, found["seen"][0]

    return run


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o755), (0, 0o1777), (1000, 0o755), (1000, 0o700)])
def test_the_output_folder_s_owner_can_write_and_do_nothing_else(watched, output, owner, mode):
    give(output, owner, mode)
    log, held = watched(output)
    assert (held["Uid"].split(), held["Gid"].split()) == ([str(owner)] * 4, [str(owner)] * 4)
    left = 0 if owner else DAC_OVERRIDE
    assert [int(held[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] == [left] * 3 + [0]
    assert held["NoNewPrivs"] == "1"
    assert owners(output) == {(owner, owner)}
    assert ("runs as uid 1000" if owner else "stays root") in log


def no_temporary_folder(engine):
    """A read-only root and nothing to write to but the mounts; podman would mount some."""
    return "--read-only --read-only-tmpfs=false" if engine.command == "podman" else "--read-only"


@pytest.mark.parametrize("owner", [0, 1000])
@pytest.mark.parametrize("tmpfs", [True, False])
def test_a_read_only_root_changes_nothing(watched, engine, output, owner, tmpfs):
    give(output, owner, 0o755)
    _, held = watched(output, "--read-only --tmpfs /tmp:rw,size=64m" if tmpfs else no_temporary_folder(engine))
    assert held["Uid"].split()[1] == str(owner)
    assert owners(output) == {(owner, owner)}


def test_the_organisers_command_on_root_s_folder_gives_a_stranger_s_answers(
    runs_as_organisers, answered, phantoms, output
):
    give(output, 0, 0o755)
    runs_as_organisers(phantoms, output)
    assert contents(output) == contents(answered)
    assert owners(output) == {(0, 0)}


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o755), (1000, 0o777)])
def test_without_any_capability_root_stays_where_it_can_write(watched, output, owner, mode):
    give(output, owner, mode)
    log, held = watched(output, "--cap-drop ALL")
    assert (held["Uid"].split()[1], int(held["CapEff"], 16), held["NoNewPrivs"]) == ("0", 0, "1")
    assert owners(output) == {(0, 0)}
    assert len([line for line in log.splitlines() if "stays root" in line]) == 1


def test_without_capabilities_and_write_access_there_is_one_sentence(runs_as_organisers, phantoms, output):
    give(output, 1000, 0o755)
    run = runs_as_organisers(phantoms, output, options="--cap-drop ALL", check=False)
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "--user 1000:1000" in run.stderr
    assert contents(output) == {}


def test_input_that_only_root_can_read_is_read(watched, phantoms, output, tmp_path):
    """One image is closed to all but its owner."""
    data = shutil.copytree(phantoms, tmp_path / "data")
    closed = next(one for one in read_manifest(data).samples if one.task_id == "organ_cls").image_path
    find_image(data, closed).chmod(0o600)
    give(output, 1000, 0o755)
    log, held = watched(output, data=data)
    assert held["Uid"].split()[1] == "0"
    assert closed.removeprefix("..") in log
    assert "fallback for" not in log


def test_the_user_that_a_host_names_is_respected(watched, output):
    give(output, 0, 0o777)
    log, held = watched(output, "--user 12345")
    assert (held["Uid"].split()[1], int(held["CapEff"], 16)) == ("12345", 0)
    assert {uid for uid, _ in owners(output)} == {12345}
    assert "the container" not in log


def test_an_image_for_hosts_that_refuse_root(watched, engine, image_for_hosts_that_refuse_root, output):
    image = image_for_hosts_that_refuse_root
    assert engine.inspect(image)["Config"]["User"] == "10001:10001"
    output.chmod(0o777)
    log, held = watched(output, image=image)
    assert held["Uid"].split() == held["Gid"].split() == ["10001"] * 4
    assert owners(output) == {(10001, 10001)}
    assert "the container" not in log


@pytest.mark.parametrize(("mode", "owner"), [(0o644, 1000), (0o600, 0)])
def test_uusic_s_mounts(runs_as_organisers, phantoms, output, tmp_path, mode, owner):
    """A list that only root can read leaves the process root."""
    write_uusic_folder(phantoms, tmp_path / "uusic", "test")
    listed = tmp_path / "uusic" / "list.json"
    listed.chmod(mode)
    give(output, 1000, 0o755)
    run = runs_as_organisers(tmp_path / "uusic", output, options=f"--volume {listed}:/input_json:ro")
    assert owners(output) == {(owner, owner)}
    assert (output / "classification.json").is_file()
    assert ("/input_json" in run.stderr) == (owner == 0)


PART = ("--num-parts", "2", "--part-id", "0")


@pytest.fixture
def earlier(runs_as_organisers, phantoms, output):
    """What a run of root's leaves in a folder that is another's: files, folders and a journal."""
    runs_as_organisers(phantoms, output, *TASKS, *PART, options="--user 0")
    assert (output / ".journal").is_file()
    written = contents(output)
    give(output, 1000, 0o755)
    return written


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_root_s_earlier_files_are_replaced(runs_as_organisers, phantoms, output, earlier, resume):
    run = runs_as_organisers(phantoms, output, *TASKS, *PART, *resume)
    assert "stays root" in run.stderr
    assert contents(output).keys() == earlier.keys()
    assert {name for name, data in contents(output).items() if data != earlier[name]} <= {".journal"}


@pytest.mark.parametrize("resume", [(), ("--resume",)])
@pytest.mark.parametrize("kept", [[".journal"], ["Segmentation"], ["Segmentation", ".journal"]], ids=" ".join)
def test_root_s_earlier_files_are_named_to_a_user_who_cannot_replace_them(
    runs_as_organisers, phantoms, output, earlier, resume, kept
):
    for path in output.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(output)
    run = runs_as_organisers(phantoms, output, *TASKS, *PART, *resume, options="--user 1000:1000", check=False)
    assert run.returncode == 2
    assert f"/output/{kept[0]}" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert contents(output) == before


@pytest.mark.parametrize(("argument", "code"), [("--bogus", 2), ("--help", 0), ("--list-tasks", 0), ("--merge", 2)])
def test_odd_command_lines_end_as_usual(runs_as_organisers, phantoms, output, argument, code):
    """Even where the output folder cannot be written."""
    give(output, 1000, 0o755)
    run = runs_as_organisers(phantoms, output, argument, options="--cap-drop ALL", check=False)
    assert run.returncode == code
    assert "Traceback" not in run.stderr


def test_the_script_runs_as_the_organisers_and_then_strictly(engine, image, phantoms, output):
    give(output, 0, 0o755)
    engine.run("docker/do_test_run.sh", phantoms, output, *TASKS, IMAGE=image)
    strict = output.with_name("output-strict")
    assert contents(output) == contents(strict)
    assert contents(output)


def test_the_script_names_unknown_arguments(engine, phantoms, output):
    run = engine.run("docker/do_test_run.sh", phantoms, output, check=False, RUNS="twice")
    assert run.returncode == 2
    assert "twice" in run.stderr
