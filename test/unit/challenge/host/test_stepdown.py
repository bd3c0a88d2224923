"""Which user the image's process becomes, decided by what the kernel lets that user do."""

import os
import shutil
import stat
import subprocess

import pytest
from rights import STRANGER, as_root, run_script

from challenge.errors import UserError
from challenge.host.places import Places
from challenge.host.privileges import Account
from challenge.host.stepdown import step_down, tried

STEP_DOWN = """
try:
    told = step_down(Places.of(sys.argv[1:]))
    output = Path(os.path.realpath(sys.argv[sys.argv.index("--output") + 1]))
    output.mkdir(exist_ok=True)
    (output / "new").touch()
    owner = (output / "new").stat().st_uid
    (output / "new").unlink()
    tell(told=told, owner=owner, **status())
except UserError as error:
    tell(refused=str(error), **status())
"""


@pytest.fixture
def folder(open_folder):
    return open_folder


@pytest.fixture
def data(folder):
    root = folder / "data"
    (root / "csv_files").mkdir(parents=True)
    (root / "images").mkdir()
    (root / "csv_files" / "a.csv").write_text("image_path,task_id,task_name\n../images/0.png,t,\n../images/1.png,t,\n")
    for number in range(2):
        (root / "images" / f"{number}.png").write_bytes(b"pixels")
    weights = folder / "weights"
    weights.mkdir()
    (weights / "weights.json").write_text("{}")
    (folder / "list.json").write_text('[{"img_path_relative": "images/0.png"}]')
    return root


@pytest.fixture
def output(folder):
    path = folder / "out"
    path.mkdir()
    return path


@pytest.fixture
def stepped(repository, folder, data):
    """Step down for a run into a folder; return what the process may then do."""

    def run(output, *options, before="", prefix=()):
        places = ["--input", data, "--weights", folder / "weights", "--input-json", folder / "list.json"]
        return run_script(repository, before + STEP_DOWN, *places, "--output", output, *options, prefix=prefix)

    return run


def give(path, uid=STRANGER, mode=0o755):
    os.chown(path, uid, uid)
    path.chmod(mode)


def became(found, uid):
    return found["Uid"] == [uid] * 4 and found["owner"] == uid and found["NoNewPrivs"] == [1]


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777])
def test_the_owner_of_the_output_folder_runs(stepped, output, mode):
    give(output, mode=mode)
    found = stepped(output)
    assert became(found, STRANGER)
    assert found["Gid"] == [STRANGER] * 4
    assert found["CapEff"] == found["CapPrm"] == found["CapBnd"] == 0
    assert found["told"] == f"runs as uid {STRANGER} and gid {STRANGER}, the owner of {output}"


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_root_s_folder_leaves_root_with_one_capability(stepped, output, mode):
    give(output, uid=0, mode=mode)
    found = stepped(output)
    assert became(found, 0)
    assert found["CapEff"] == found["CapPrm"] == found["CapBnd"] == 1 << 1
    assert "belongs to root" in found["told"]


@as_root
def test_links_are_followed_and_a_missing_folder_counts_as_its_parent(stepped, folder, output):
    give(output)
    (folder / "link").symlink_to(output)
    (folder / "dangling").symlink_to(output / "later")
    for place in ("link", "out/new folder", "dangling"):
        assert became(stepped(folder / place), STRANGER)
    assert stat.S_ISDIR((output / "later").stat().st_mode)


@as_root
def test_the_caller_s_group_is_the_folder_s_and_root_s_groups_are_gone(stepped, output):
    os.chown(output, STRANGER, 23456)
    found = stepped(output, before="os.setgroups([0, 5, 6])\n")
    assert (found["Gid"], found["Groups"]) == ([23456] * 4, [])


@as_root
@pytest.mark.parametrize(("mode", "user", "groups"), [(0o660, STRANGER, [44]), (0o666, STRANGER, []), (0o600, 0, [])])
def test_the_gpu_stays_accessible(stepped, folder, output, mode, user, groups):
    """By its group if it has one; a device that only root can open leaves root."""
    give(output)
    try:
        os.mknod(folder / "nvidia0", stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no device can be made here")
    os.chown(folder / "nvidia0", 0, 44)
    (folder / "nvidia0").chmod(mode)
    every = f"find = needs.devices; needs.devices = lambda: find(Path({str(folder)!r}))\nos.setgroups([])\n"
    found = stepped(output, before=every)
    assert became(found, user)
    assert found["Groups"] == groups
    assert user or "nvidia0" in found["told"]


HIDDEN = ["data/csv_files/a.csv", "data/csv_files", "data/images", "data/images/1.png", "data", "list.json",
          "weights/weights.json", "out/.journal", "out/Segmentation/Two"]  # fmt: skip


@as_root
@pytest.mark.parametrize("hidden", HIDDEN)
def test_root_stays_if_the_owner_lacks_access_and_the_reason_is_named(stepped, folder, output, hidden):
    (output / "Segmentation" / "Two").mkdir(parents=True)
    (output / ".journal").touch()
    for path in (output, output / "Segmentation", output / "Segmentation" / "Two", output / ".journal"):
        give(path)
    give(folder / hidden, uid=0, mode=0o700 if (folder / hidden).is_dir() else 0o600)
    found = stepped(output)
    assert became(found, 0)
    assert found["CapEff"] == 1 << 1
    assert str(folder / hidden) in found["told"]
    assert "\n" not in found["told"]


@as_root
def test_the_folder_of_the_report_and_the_parts_of_a_merge_count_too(stepped, folder, output):
    give(output)
    (folder / "reports").mkdir()
    assert "reports" in stepped(output, "--report", folder / "reports" / "r.json")["told"]
    part = folder / "part"
    (part / "Segmentation").mkdir(parents=True)
    (part / ".journal").touch(0o600)
    assert ".journal" in stepped(output, "--merge", part)["told"]
    give(folder / "reports")
    give(part / ".journal")
    assert became(stepped(output, "--report", folder / "reports" / "r.json", "--merge", part), STRANGER)


@as_root
def test_things_that_root_cannot_use_either_are_ignored(stepped, folder, output):
    """The run reports it; the trial only compares."""
    give(output)
    (folder / "data" / "csv_files" / "gone.csv").symlink_to(folder / "nothing")
    (folder / "data" / "csv_files" / "b.csv").write_bytes(b"\xff\xfe not text")
    (output / "lost+found").mkdir(0o700)
    assert became(stepped(output, "--report", "/proc/nothing/r.json"), STRANGER)


# Without SETUID and SETGID; DAC_OVERRIDE as given.
def without_setuid(*kept):
    return f"confine({set(kept) or set()})\n"


@as_root
def test_a_process_that_cannot_change_user_stays_and_says_so(stepped, output):
    give(output)
    found = stepped(output, before=without_setuid(1))
    assert became(found, 0)
    assert "may not run" in found["told"]
    give(output, mode=0o777)
    assert stepped(output, before=without_setuid())["CapEff"] == 0


@as_root
def test_a_process_that_can_neither_change_user_nor_write_says_what_to_do(stepped, output):
    give(output)
    found = stepped(output, before=without_setuid())
    assert f"--user {STRANGER}:{STRANGER}" in found["refused"]
    assert "\n" not in found["refused"]
    assert list(output.iterdir()) == []


@as_root
@pytest.mark.parametrize(("mode", "key"), [(0o777, "told"), (0o755, "refused")])
def test_root_stays_if_the_owner_is_not_mapped(stepped, output, mode, key):
    """In a user namespace with only root, the owner appears as an unmapped number."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "--user", "--map-root-user", "true"]).returncode:
        pytest.skip("no user namespace can be made here")
    give(output, mode=mode)
    found = stepped(output, prefix=("unshare", "--user", "--map-root-user"))
    assert found[key]
    assert found["Uid"] == [0] * 4
    assert found["NoNewPrivs"] == [1]


@as_root
def test_a_start_as_another_user_changes_nothing(stepped, output):
    give(output, mode=0o777)
    found = stepped(output, before="os.setresuid(23456, 23456, 23456)\nbefore = status()\n")
    assert found["told"] is None
    assert found["owner"] == 23456
    assert found["NoNewPrivs"] == [0]


@as_root
def test_an_unknown_command_line_leaves_root_confined(repository):
    found = run_script(repository, "told = step_down(None); tell(told=told, **status())")
    assert (found["CapEff"], found["NoNewPrivs"]) == (1 << 1, [1])


def test_a_trial_reports_every_outcome():
    def crash():
        raise KeyError("what")

    assert tried(lambda: None) is None
    assert tried(lambda: "an obstacle") == "an obstacle"
    assert "code 3" in tried(lambda: os._exit(3))
    assert "code -9" in tried(lambda: os.kill(os.getpid(), 9))
    assert "code 1" in tried(crash)


def test_a_trial_without_a_process_is_an_obstacle(monkeypatch):
    def refuse():
        raise BlockingIOError(11, "no more")

    monkeypatch.setattr(os, "fork", refuse)
    assert "no more" in tried(lambda: None)


def test_capabilities_that_cannot_be_dropped_do_not_end_the_run(monkeypatch, output):
    def refuse(_):
        raise OSError(1, "not here")

    monkeypatch.setattr("challenge.host.stepdown.confine", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "not here" in step_down(None)


def test_a_folder_that_cannot_be_written_is_refused(monkeypatch, output):
    monkeypatch.setattr("challenge.host.stepdown.confine", lambda _: None)
    monkeypatch.setattr("challenge.host.stepdown.tried", lambda _: "it may not run")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("challenge.host.stepdown.owner_of", lambda _: Account(5, 6))

    def full_of_no(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("challenge.host.needs.create_in", full_of_no)
    with pytest.raises(UserError, match="belongs to uid 5.*--user 5:6"):
        step_down(Places.of(["--output", str(output)]))
