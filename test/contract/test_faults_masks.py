"""Several masks of one image and task, and parts whose masks are links or whose disk is full when they are merged."""

import errno
import os
from dataclasses import replace

import pytest
from contract.faults import answers, contents

from challenge.errors import UserError
from challenge.host.disk import DiskFullError
from challenge.predictions import MaskFile
from model.frozen.options import Options
from model.frozen.router import Router
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission

MASK = "Segmentation/good 0.png"


def two_masks(data):
    """Add rows of one image and task with several masks, and three rows with one mask."""
    lung = [(f"../images/good {number}.png", "lung", "segmentation", "2") for number in (0, 1)]
    data.add(
        (*lung[0], "../Segmentation/second.png"),
        (*lung[1], "../Segmentation/third.png"),
        (*lung[1], "../Segmentation/fourth.png"),
        (*lung[1], "../Segmentation/./fourth.png"),
        ("../images/good 0.png", "cervix_multi", "segmentation", "3", "../shared.png"),
        ("../images/good 1.png", "cervix_multi", "segmentation", "3", "../shared.png"),
        ("../images/good 0.png", "thyroid_nodule", "segmentation", "2", "../shared.png"),
    )


def test_two_masks_of_one_image_and_task_are_both_written(data, call, untouched, monkeypatch):
    asked = []
    run = Router.with_maps
    watched = lambda self, images, tasks: (asked.extend(tasks), run(self, images, tasks))[1]  # noqa: E731
    monkeypatch.setattr(Router, "with_maps", watched)
    two_masks(data)
    ended = call(data.root)
    assert (ended.code, ended.report["rows"], ended.report["duplicates"]) == (0, 10, 1)
    first, third = ended.answers[(MASK,)], ended.answers[("Segmentation/third.png",)]
    assert ended.answers[("Segmentation/second.png",)] == first == untouched[(MASK,)]
    assert ended.answers[("Segmentation/fourth.png",)] == third != first
    assert [task for tasks in asked for task in tasks].count("lung") == 2  # once per image
    assert list(ended.fallbacks) == ["odd.csv, line 6", "odd.csv, line 7"]


def stops_after(batches):
    left = iter(range(batches))
    return lambda: next(left, None) is None


def test_two_masks_in_parts_and_resumed(data, call, tiny_weights, tmp_path):
    two_masks(data)
    whole, rows = call(data.root).answers, []
    for part in range(2):
        options = Options(tiny_weights, 1, device="cpu", num_parts=2, part_id=part)
        report = RunReport()
        run_submission(data.root, tmp_path / f"p{part}", options, report, stops_after(0))
        assert report.status == "stopped"
        report = RunReport()
        run_submission(data.root, tmp_path / f"p{part}", replace(options, resume=True), report)
        assert report.status == "complete"
        assert report.resumed == len(report.fallbacks) == 1  # each part has one of the two rows that lose their mask
        rows.append(report.rows)
    report = RunReport()
    merge([tmp_path / "p1", tmp_path / "p0"], tmp_path / "merged", report)
    assert sum(rows) == report.rows == report.answered == 10
    assert len(report.fallbacks) == 2
    assert answers(tmp_path / "merged") == whole


@pytest.fixture
def parts(data, tiny_weights, tmp_path):
    data.add(("../images/good 1.png", "lung", "segmentation", "2", "../Segmentation/deep/1.png"))
    folders = [tmp_path / "p0", tmp_path / "p1"]
    for number, folder in enumerate(folders):
        options = Options(tiny_weights, 1, device="cpu", num_parts=2, part_id=number)
        run_submission(data.root, folder, options, RunReport())
    return folders


def masks_of(folder):
    return sorted((folder / "Segmentation").rglob("*.png"))


def test_parts_whose_masks_are_links(data, call, parts, tmp_path):
    whole = call(data.root).answers
    (tmp_path / "store").mkdir()
    for number, mask in enumerate(path for part in parts for path in masks_of(part)):
        os.rename(mask, tmp_path / "store" / str(number))
        mask.symlink_to(os.path.relpath(tmp_path / "store" / str(number), mask.parent))
    merge(parts, tmp_path / "deep" / "er" / "out", RunReport())
    assert answers(tmp_path / "deep" / "er" / "out") == whole
    assert not [path for path in (tmp_path / "deep").rglob("*") if path.is_symlink()]


def test_a_mask_link_to_nowhere_or_elsewhere_counts_as_altered(parts, tmp_path):
    mask = next(path for part in parts for path in masks_of(part))
    mask.rename(tmp_path / "kept")
    mask.symlink_to("nothing")
    with pytest.raises(UserError, match="is missing or altered"):
        merge(parts, tmp_path / "out", RunReport())
    (mask.parent / "nothing").write_bytes((tmp_path / "kept").read_bytes()[:-1])
    with pytest.raises(UserError, match="is missing or altered"):
        merge(parts, tmp_path / "out", RunReport())
    assert not (tmp_path / "out").exists()


def test_parts_whose_folders_are_links_to_the_output(data, call, parts, tmp_path):
    whole, output = call(data.root).answers, tmp_path / "merged"
    output.mkdir()
    for number, part in enumerate(parts):
        for mask in masks_of(part):
            target = output / mask.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            mask.rename(target)
        (part / "Segmentation").rename(tmp_path / f"empty {number}")
        (part / "Segmentation").symlink_to(output / "Segmentation")
    for _ in range(2):
        merge(parts, output, RunReport())
        assert answers(output) == whole


def test_a_mask_that_is_altered_while_it_is_copied(parts, tmp_path, monkeypatch):
    mask = next(path for part in parts for path in masks_of(part))
    mask.write_bytes(mask.read_bytes() + b"?")
    monkeypatch.setattr(MaskFile, "is_whole", lambda *_: True)
    monkeypatch.setattr(os, "link", full_link)
    with pytest.raises(UserError, match="was altered while it was copied"):
        merge(parts, tmp_path / "merged", RunReport())
    assert [name for name in contents(tmp_path / "merged") if name.endswith(".json")] == []


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("fails_at", [1, 3])
def test_a_full_disk_at_merge_leaves_no_partial_files(data, call, parts, tmp_path, monkeypatch, fails_at, link):
    whole, before = call(data.root).answers, [contents(part) for part in parts]
    calls = []

    def full(source, target):
        calls.append(target)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        if not link:
            patch.setattr(os, "link", full_link)
        with pytest.raises(DiskFullError, match=r"for the merged answers: about [\d,]+ bytes .* same command again$"):
            merge(parts, tmp_path / "merged", RunReport())
    assert contents(tmp_path / "merged") == {}
    assert [contents(part) for part in parts] == before
    merge(parts, tmp_path / "merged", RunReport())
    assert answers(tmp_path / "merged") == whole


def full_link(*_):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_data_folder_as_output_of_a_merge_is_refused(data, parts):
    before = contents(data.root)
    with pytest.raises(UserError, match="is a data folder"):
        merge(parts, data.root, RunReport())
    assert contents(data.root) == before
