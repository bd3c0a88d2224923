"""Killed, stopped, out of disk, split in parts: the answers are those of one undisturbed run, byte for byte."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from challenge.errors import UserError
from challenge.host.disk import DiskFullError
from challenge.manifest import read_manifest
from challenge.profile import FMC_UIA
from challenge.writers import write_mask
from model.frozen.options import Options
from model.frozen.run.journal import read_journal
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission

BATCH = 4

# inference.py in a process that gets a signal just before the n-th time that it does one of EVENTS to a file below OUT
# (extending, which is known by its descriptor, is any file's). Audit events see what the program does without changing
# it. They come from several threads, hence the counter that hands out every number once; and the thread that sends a
# signal waits until it was handled, so that nothing runs ahead.
DRIVER = """
import itertools, os, signal, sys, time
root, out, events, number, sent, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, root)
from inference import run
numbers = itertools.count(1)
def hook(event, arguments):
    if event in events.split() and (event == "os.truncate" or str(arguments[0]).startswith(out)):
        if next(numbers) == int(number):
            before = signal.getsignal(int(sent))
            os.kill(os.getpid(), int(sent))
            while signal.getsignal(int(sent)) is before:
                time.sleep(0.001)
sys.addaudithook(hook)
code = run()
print(next(numbers) - 1)
raise SystemExit(code)
"""
EVENTS = "os.truncate open os.rename os.remove"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answer(data, output, weights, stop=lambda: False, **options):
    report = RunReport()
    run_submission(data, output, Options(weights, BATCH, **options), report, stop)
    return report


@pytest.fixture(scope="module")
def undisturbed(phantom_folder, tiny_weights, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    report = answer(phantom_folder, output, tiny_weights)
    # Runs that lose the same rows are alike, too.
    masks = sum(path.is_file() for path in output.glob("Segmentation/**/*"))
    entries = sum(len(json.loads(path.read_text("utf-8"))) for path in output.glob("*.json"))
    assert masks + entries == report.answered == report.rows > 80
    assert not report.fallbacks
    return contents(output)


@pytest.fixture
def disturbed(repository, phantom_folder, tiny_weights, tmp_path):
    def run(signal, number, *options, events=EVENTS):
        command = [sys.executable, "-c", DRIVER, repository, tmp_path / "out", events, number, signal,
                   "--input", phantom_folder, "--output", tmp_path / "out", "--weights", tiny_weights,
                   "--batch-size", BATCH, *options]  # fmt: skip
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    return run


def events(disturbed, output):
    """How many file events an undisturbed run has."""
    count = int(disturbed(9, 0).stdout.split()[-1])
    shutil.rmtree(output)
    return count


def test_kill_9_at_any_moment_then_resume(undisturbed, disturbed, phantom_folder, tiny_weights, tmp_path):
    count = events(disturbed, tmp_path / "out")
    # The first and the last event, and two in between.
    for number in (1, *random.Random(0).sample(range(2, count), 2), count):
        assert disturbed(9, number).returncode == -9
        answer(phantom_folder, tmp_path / "out", tiny_weights, resume=True)
        assert contents(tmp_path / "out") == undisturbed
        shutil.rmtree(tmp_path / "out")


@pytest.mark.slow
def test_kill_9_at_20_moments_and_again_while_resuming(undisturbed, disturbed, tmp_path):
    count = events(disturbed, tmp_path / "out")
    chance = random.Random(1)
    for number in chance.sample(range(1, count + 1), 20):
        assert disturbed(9, number).returncode == -9
        disturbed(9, chance.randrange(1, count), "--resume")
        result = disturbed(9, 0, "--resume")
        assert result.returncode == 0, result.stderr
        assert contents(tmp_path / "out") == undisturbed
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize(("signal", "code"), [(15, 143), (2, 130)])
def test_a_stopped_run_leaves_valid_answers_and_resumes(undisturbed, disturbed, signal, code, tmp_path):
    output, report = tmp_path / "out", tmp_path / "report.json"
    result = disturbed(signal, 3, "--report", report, events="os.rename")  # when the third mask takes its name
    assert result.returncode == code, result.stderr
    told = json.loads(report.read_text())
    assert (told["status"], told["exit_code"]) == ("stopped", code)
    assert 0 < told["answered"] < told["rows"]
    assert result.stderr.splitlines()[-1] == (
        f"stopped by a signal after {told['answered']} of {told['rows']} rows; run the same command with --resume"
    )
    entries = [item for kind in ("classification", "detection", "regression")
               for item in json.loads((output / f"{kind}_predictions.json").read_text("utf-8"))]  # fmt: skip
    assert len(entries) + sum(path.is_file() for path in output.glob("Segmentation/**/*")) == told["answered"]
    assert {path.name for path in output.iterdir() if path.name.startswith(".")} == {".journal"}
    again = disturbed(9, 0, "--resume", "--report", report)
    assert again.returncode == 0, again.stderr
    assert json.loads(report.read_text())["resumed"] == told["answered"]
    assert contents(output) == undisturbed


def test_resume_answers_again_what_is_missing_or_altered(undisturbed, phantom_folder, tiny_weights, tmp_path):
    answer(phantom_folder, tmp_path, tiny_weights, stop=after(12))
    masks = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path)
    masks[0].unlink()
    masks[1].write_bytes(masks[1].read_bytes()[:-1] + b"?")
    report = answer(phantom_folder, tmp_path, tiny_weights, resume=True)
    assert 0 < report.resumed < report.answered == report.rows
    assert contents(tmp_path) == undisturbed


def test_resume_of_another_run_is_refused(phantom_folder, tiny_weights, tmp_path):
    answer(phantom_folder, tmp_path, tiny_weights, stop=after(10))
    with pytest.raises(UserError, match="tasks is all there and lung here"):
        answer(phantom_folder, tmp_path, tiny_weights, resume=True, tasks=("lung",))


@pytest.mark.parametrize("change", ["content", "time", "removed"])
def test_resume_after_images_were_replaced_is_refused(undisturbed, phantom_folder, tiny_weights, tmp_path, change):
    data, output = shutil.copytree(phantom_folder, tmp_path / "data"), tmp_path / "out"
    answer(data, output, tiny_weights, stop=after(10))
    (first, *_), last = answered(output), unanswered(data, output)
    image = data / "csv_files" / first
    whole, status = image.read_bytes(), image.stat()
    if change == "removed":
        image.unlink()
    else:
        image.write_bytes(whole + b"\0" * (change == "content"))
    os.utime(data / "csv_files" / last)  # not read yet, so it may change
    before = contents(output)
    with pytest.raises(UserError, match=r"--resume: 1 images were replaced since they were answered, the first '\.\./"):
        answer(data, output, tiny_weights, resume=True)
    assert contents(output) == before
    image.write_bytes(whole)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    answer(data, output, tiny_weights, resume=True)
    assert contents(output) == undisturbed


def answered(output):
    with open_read(output) as journal:
        return [record.image_path for record in journal.records()]


def unanswered(data, output):
    done = set(answered(output))
    return next(sample.image_path for sample in read_manifest(data).samples if sample.image_path not in done)


def open_read(output):
    return read_journal(output)[1]


def test_parts_with_images_of_other_times_are_one_run(undisturbed, phantom_folder, tiny_weights, tmp_path):
    """Copies on several machines have the same content, not the same times."""
    folders = [tmp_path / f"part-{number}" for number in range(2)]
    for number, folder in enumerate(folders):
        data = shutil.copytree(phantom_folder, tmp_path / f"data-{number}", copy_function=shutil.copyfile)
        answer(data, folder, tiny_weights, num_parts=2, part_id=number)
    merge(folders, tmp_path / "out", RunReport())
    assert contents(tmp_path / "out") == undisturbed


def test_without_resume_the_run_starts_again(undisturbed, phantom_folder, tiny_weights, tmp_path):
    answer(phantom_folder, tmp_path, tiny_weights, stop=after(10))
    assert answer(phantom_folder, tmp_path, tiny_weights).resumed == 0
    assert contents(tmp_path) == undisturbed


def test_full_disk_keeps_valid_answers_and_says_what_is_needed(undisturbed, phantom_folder, tiny_weights, tmp_path):
    written, lock = [], threading.Lock()  # masks are written by several threads

    def failing(*arguments):
        with lock:
            if len(written) == 9:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(write_mask(*arguments))
            return written[-1]

    with pytest.raises(DiskFullError, match=r"no room is left .* rows: .* about [\d,]+ bytes, .* --resume"):
        answer(phantom_folder, tmp_path, tiny_weights, profile=replace(FMC_UIA, write_mask=failing))
    for kind in ("classification", "detection", "regression"):
        json.loads((tmp_path / f"{kind}_predictions.json").read_text("utf-8"))
    assert len(written) == 9
    assert all(mask.is_whole(tmp_path) for mask in written)
    assert not [name for name in contents(tmp_path) if name.endswith((".partial", ".reserve"))]
    answer(phantom_folder, tmp_path, tiny_weights, resume=True)
    assert contents(tmp_path) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_tmpfs(undisturbed, small_disk, repository, phantom_folder, tiny_weights):
    command = [sys.executable, repository / "inference.py", "--input", phantom_folder, "--output", small_disk,
               "--weights", tiny_weights, "--batch-size", BATCH]  # fmt: skip
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"no room is left in {small_disk} after ")
    for kind in ("classification", "detection", "regression"):
        json.loads((small_disk / f"{kind}_predictions.json").read_text("utf-8"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    answer(phantom_folder, small_disk, tiny_weights, resume=True)
    assert contents(small_disk) == undisturbed


@pytest.fixture
def parts(phantom_folder, tiny_weights, tmp_path):
    folders = [tmp_path / f"part-{number}" for number in range(3)]
    for number, folder in enumerate(folders):
        answer(phantom_folder, folder, tiny_weights, num_parts=3, part_id=number)
    return folders


def test_merged_parts_are_one_run(undisturbed, parts, tmp_path):
    report = RunReport()
    merge(parts[::-1], tmp_path / "out", report)
    assert contents(tmp_path / "out") == undisturbed
    assert report.status == "complete"
    assert report.answered == report.rows > 0


def test_more_parts_than_batches(undisturbed, phantom_folder, tiny_weights, tmp_path):
    folders = [tmp_path / f"part-{number}" for number in range(30)]
    for number, folder in enumerate(folders):
        answer(phantom_folder, folder, tiny_weights, num_parts=30, part_id=number)
    merge(folders, tmp_path / "out", RunReport())
    assert contents(tmp_path / "out") == undisturbed


def test_a_stopped_part_is_refused_until_it_is_resumed(undisturbed, parts, phantom_folder, tiny_weights, tmp_path):
    part = {"num_parts": 3, "part_id": 1}
    answer(phantom_folder, parts[1], tiny_weights, stop=after(2), **part)
    with pytest.raises(UserError, match=r"part-1 has answered \d+ of its \d+ rows"):
        merge(parts, tmp_path / "out", RunReport())
    answer(phantom_folder, parts[1], tiny_weights, resume=True, **part)
    merge(parts, tmp_path / "out", RunReport())
    assert contents(tmp_path / "out") == undisturbed


def test_gaps_overlaps_and_foreign_parts_are_refused_before_anything_is_written(
    parts, phantom_folder, tiny_weights, tmp_path
):
    output = parts[0].parent / "out"
    with pytest.raises(UserError, match="of 3 parts these are missing: 1"):
        merge([parts[0], parts[2]], output, RunReport())
    with pytest.raises(UserError, match="both part 0"):
        merge([*parts, parts[0]], output, RunReport())
    with pytest.raises(UserError, match="is one of the parts"):
        merge(parts, parts[0], RunReport())
    mask = next(path for path in parts[2].rglob("*") if path.is_file() and path.parent != parts[2])
    kept = mask.read_bytes()
    mask.write_bytes(kept[:-1])
    with pytest.raises(UserError, match="missing or altered"):
        merge(parts, output, RunReport())
    mask.write_bytes(kept)
    other_weights = shutil.copytree(tiny_weights, tmp_path / "weights")
    text = (other_weights / "weights.json").read_text()
    (other_weights / "weights.json").write_text(text.replace('"tiny"', '"other"'))
    answer(phantom_folder, parts[1], other_weights, num_parts=3, part_id=1)
    with pytest.raises(UserError, match=r"belongs to another run than .* \(weights is"):
        merge(parts, output, RunReport())
    with pytest.raises(UserError, match=r"holds no \.journal"):
        merge([phantom_folder], output, RunReport())
    assert not output.exists()


def test_merge_and_parts_on_the_command_line(undisturbed, parts, repository, tmp_path):
    def call(*arguments):
        command = [sys.executable, repository / "inference.py", *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    result = call("--merge", *parts, "--output", tmp_path / "out", "--report", tmp_path / "report.json", "--strict")
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "out") == undisturbed
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "complete"
    for wrong in (("--merge",), (parts[0],), ("--num-parts", 2, "--part-id", 2)):
        assert call(*wrong, "--output", tmp_path / "two").returncode == 2


def after(calls):
    """A stop request that becomes true after a number of batches."""
    left = iter(range(calls))
    return lambda: next(left, None) is None
