"""Room for the small answers, batches, and images that cannot be read."""

import json
import os
from dataclasses import fields, replace
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError
from challenge.host.disk import on_disk
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.manifest import Row, Sample
from challenge.paths import JSON_FILES
from challenge.predictions import BoxPrediction, ClassPrediction, PointsPrediction
from challenge.profile import FMC_UIA
from challenge.tasks import TaskKind
from challenge.writers import entry, write_json
from model.frozen.loading import Job, cut, load, plan, rows_of
from model.frozen.metadata import read_metadata
from model.frozen.run.journal import Identity, open_journal
from model.frozen.run.recorder import Recorder, json_bytes
from model.frozen.run.report import RunReport

LONG = 1 / 3 * 1e-300  # as many digits as a double has


def sample(kind, number, image=None, task_id="a_task", line=2):
    mask = PurePosixPath("m.png") if kind is TaskKind.SEGMENTATION else None
    return Sample(image or "../" + "ü" * 40 + ".png", task_id, kind, number, Row("a.csv", line), mask)


def test_blocks_are_whole():
    assert [on_disk(size) for size in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]


def test_the_reserved_space_is_enough_for_the_longest_answers(tmp_path):
    answers = [
        (sample(TaskKind.CLASSIFICATION, 256), ClassPrediction((-LONG,) * 256, 255)),
        (sample(TaskKind.DETECTION, 1), BoxPrediction((-LONG,) * 4, (-LONG,) * 4)),
        (sample(TaskKind.REGRESSION, 60), PointsPrediction((-LONG,) * 120, (-LONG,) * 120)),
    ]
    for rows in ([answers[0]], [answers[1]] * 100, [answers[2]] * 3, answers * 40):
        write_json(tmp_path, lambda kind, rows=rows: [entry(s, p) for s, p in rows if s.kind is kind])
        needed = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert needed <= json_bytes([row for row, _ in rows]) <= 3 * on_disk(needed)
    assert json_bytes([sample(TaskKind.SEGMENTATION, 2)] * 1000) == 0
    assert json.loads((tmp_path / "detection_predictions.json").read_text())[0]["bbox_pixels"] == [-LONG] * 4


def test_images_with_the_same_tasks_are_adjacent_and_every_row_is_in_one_batch():
    rows = [sample(TaskKind.CLASSIFICATION, 2, image, task, line) for line, (image, task) in enumerate(
        [("a", "x"), ("b", "y"), ("c", "x"), ("a", "y"), ("d", "y"), ("e", "x"), ("c", "y")], 2)]  # fmt: skip
    batches = plan(rows, 2)
    assert [[job.image_path for job in batch] for batch in batches] == [["e", "a"], ["c", "b"], ["d"]]
    assert sorted(row.row.line for row in rows_of(batches)) == [2, 3, 4, 5, 6, 7, 8]
    assert plan(rows[::2], 3) == plan(rows[::2], 3)
    assert cut([1, 2, 3, 4, 5], 2) == [(1, 2), (3, 4), (5,)]
    assert cut([], 2) == []


def test_the_journal_is_on_the_disk_before_the_files_that_are_made_from_it(tmp_path, monkeypatch):
    events, fsync, replace_ = [], os.fsync, os.replace

    def synced(descriptor):
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renamed(source, target, **more):
        events.append(PurePosixPath(target).name)
        replace_(source, target, **more)

    values = {field.name: 0 if field.type in (int, "int") else "same" for field in fields(Identity)}
    with open_journal(tmp_path, Identity(**values), resume=False) as journal:
        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", renamed)
        Recorder(tmp_path, tmp_path, FMC_UIA, journal, [], RunReport()).write_json()
        assert events[0] == (tmp_path / ".journal").stat().st_ino
    assert [event for event in events if isinstance(event, str)] == list(JSON_FILES.values())


@pytest.fixture
def metadata(tiny_weights):
    return read_metadata(tiny_weights)


def test_an_image_is_loaded_as_the_weights_record(metadata, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for fit, method in ((Fit.LETTERBOX, Resampling.OPENCV), (Fit.STRETCH, Resampling.ANTIALIASED)):
        own = replace(metadata, fit=fit, resampling=method, image_size=64)
        loaded = load(Job("../a.png", ()), tmp_path, own)
        assert (loaded.resize.width, loaded.resize.height, loaded.resize.size) == (70, 30, 64)
        assert (loaded.resize.inner_height < 64) is (fit is Fit.LETTERBOX)
        np.testing.assert_array_equal(loaded.pixels, loaded.resize.image(pixels, method))
        assert loaded.reason is None
        assert loaded.note is None


def test_an_image_that_is_cropped_says_so(metadata, tmp_path):
    for name, (width, height) in {"a.png": (70, 30), "b.png": (30, 30)}.items():
        Image.new("RGB", (width, height)).save(tmp_path / name)
    own = replace(metadata, fit=Fit.CROP)
    assert "only the centre 30x30 of the image's 70x30 pixels" in load(Job("../a.png", ()), tmp_path, own).note
    assert load(Job("../b.png", ()), tmp_path, own).note is None


@pytest.mark.parametrize(("width", "height", "told"), [(70, 30, (70, 30)), (60_000, 60_000, (256, 256))])
def test_an_unreadable_image_keeps_its_headers_size_up_to_a_limit(metadata, tmp_path, monkeypatch, width, height, told):
    def broken(_, **__):
        raise ImageError("broken")

    monkeypatch.setattr("model.frozen.loading.read_image", broken)
    Image.new("L", (70, 30)).save(tmp_path / "a.bmp")
    raw = bytearray((tmp_path / "a.bmp").read_bytes())
    raw[18:26] = np.array([width, height], "<i4").tobytes()
    (tmp_path / "a.bmp").write_bytes(raw)
    loaded = load(Job("../a.bmp", ()), tmp_path, metadata)
    assert (loaded.pixels, loaded.reason) == (None, "broken")
    assert (loaded.resize.width, loaded.resize.height) == told
    missing = load(Job("../none.png", ()), tmp_path, metadata)
    assert (missing.resize.width, missing.resize.height) == (256, 256)
    assert "no such file" in missing.reason
