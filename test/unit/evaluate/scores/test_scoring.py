"""Folders to scores: the official column against an independent re-computation, the strict one by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from unit.evaluate.answers import FILES, write_answers
from unit.evaluate.folders import HEIGHT, WIDTH, read_csv, write_csv, write_data
from unit.evaluate.official import official_scores

from challenge.errors import ManifestError
from challenge.readers import SubmissionError
from challenge.tasks import TaskKind
from evaluate.scores.metric_table import METRICS, Column
from evaluate.scores.result import Result, summarise
from evaluate.scores.scoring import measure
from model.frozen.run.report import RunReport
from model.frozen.run.submission import Options, run_submission

DIAGONAL = float(np.hypot(WIDTH, HEIGHT))


def result(data: Path, predictions: Path, jobs: int = 1) -> Result:
    return summarise(measure(data, predictions, jobs), "data", "predictions", draws=50)


def value(found: Result, task_id: str, metric: str, column: Column = Column.OFFICIAL) -> float | None:
    return found.tasks[task_id].metrics[metric][column].value


def assert_equals_official(found: Result, data: Path, predictions: Path) -> None:
    expected = official_scores(data, predictions)
    assert set(expected) == {task_id for task_id, task in found.tasks.items() if _has_official(task.metrics)}
    for task_id, scores in expected.items():
        for name, number in scores.items():
            assert value(found, task_id, name) == pytest.approx(number, abs=1e-6), (task_id, name)


def _has_official(metrics: object) -> bool:
    return any(Column.OFFICIAL in columns for columns in dict(metrics).values())  # type: ignore[call-overload]


def thinned(folder: Path, share: float, seed: int = 0) -> None:
    """Delete that share of the predictions."""
    rng = np.random.default_rng(seed)
    for path in sorted(folder.rglob("*.png")):
        if rng.random() < share:
            path.unlink()
    for name in FILES.values():
        entries = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps([entry for entry in entries if rng.random() >= share]))


def real_subset(root: Path, folder: Path, every: int) -> Path:
    """A data folder with every n-th row of each csv file, its images and masks being those of `root`."""
    for path in (root / "csv_files").iterdir():
        write_csv(folder / "csv_files" / path.name, read_csv(path)[::every])
    for path in root.iterdir():
        if path.name != "csv_files":
            (folder / path.name).symlink_to(path, target_is_directory=True)
    return folder


def test_official_column_equals_the_independent_computation(data: Path, spoilt: Path) -> None:
    assert_equals_official(result(data, spoilt), data, spoilt)


def test_official_column_equals_it_with_a_tenth_of_the_answers_missing(
    data: Path, spoilt: Path, tmp_path: Path
) -> None:
    shutil.copytree(spoilt, tmp_path / "thin")
    thinned(tmp_path / "thin", 0.1)
    assert_equals_official(result(data, tmp_path / "thin"), data, tmp_path / "thin")


def test_official_column_on_real_data(ultrasound_data: Path, tmp_path: Path) -> None:
    data = real_subset(ultrasound_data / "val", tmp_path / "data", every=9)
    write_answers(data, tmp_path / "answers", spoil=0.05)
    thinned(tmp_path / "answers", 0.1)
    assert_equals_official(result(data, tmp_path / "answers"), data, tmp_path / "answers")


@pytest.mark.slow
def test_official_column_on_all_real_data(ultrasound_data: Path, tmp_path: Path) -> None:
    write_answers(ultrasound_data / "val", tmp_path, spoil=0.05)
    assert_equals_official(result(ultrasound_data / "val", tmp_path, jobs=2), ultrasound_data / "val", tmp_path)


@pytest.mark.slow
def test_official_column_of_the_shipped_weights(ultrasound_data: Path, repository: Path, tmp_path: Path) -> None:
    run_submission(ultrasound_data / "val", tmp_path, Options(repository / "weights"), RunReport())
    assert_equals_official(result(ultrasound_data / "val", tmp_path, jobs=2), ultrasound_data / "val", tmp_path)


def test_truth_as_prediction_is_perfect(data: Path, exact: Path) -> None:
    found = result(data, exact)
    assert set(found.kinds) == set(TaskKind)
    for metric in METRICS:
        best = 1.0 if metric.higher_is_better else 0.0
        for column in Column:
            estimate = found.kinds[metric.kind].metrics[metric.name][column]
            assert estimate.value == pytest.approx(best)
            assert estimate.low is estimate.high is None  # no draw differs from another
    assert found.counts.missing == 0
    assert not found.notes
    assert not any(task.notes for task in found.tasks.values())


def test_empty_folder_is_na_officially_and_worst_strictly(data: Path, tmp_path: Path) -> None:
    found = result(data, tmp_path)
    assert found.counts.missing == found.counts.rows == 72
    worst = {
        "DSC": 0.0,
        "HD": DIAGONAL,
        "AUC": 0.0,
        "F1_macro": 0.0,
        "F1_weighted": 0.0,
        "Accuracy": 0.0,
        "IoU": 0.0,
        "MRE": DIAGONAL,
    }
    for kind in found.kinds.values():
        for name, columns in kind.metrics.items():
            assert Column.OFFICIAL not in columns
            if name in worst:
                assert columns[Column.STRICT].value == pytest.approx(worst[name])
    assert value(found, "breast_2cls", "MCC", Column.STRICT) == pytest.approx(-1.0)
    assert value(found, "breast_3cls", "MCC", Column.STRICT) < 0


def test_a_tenth_missing_leaves_official_almost_unchanged_and_drops_strict(
    tmp_path: Path,
) -> None:
    data, submission = write_data(tmp_path / "data", per_task=60), tmp_path / "submission"
    write_answers(data, submission, spoil=0.06)
    full = result(data, submission)
    thinned(submission, 0.1)
    thin = result(data, submission)
    assert 24 < thin.counts.missing < 48
    for metric in METRICS:
        before = full.kinds[metric.kind].metrics[metric.name]
        after = thin.kinds[metric.kind].metrics[metric.name]
        scale = DIAGONAL if metric.unit else 1.0
        official = abs(after[Column.OFFICIAL].value - before[Column.OFFICIAL].value) / scale
        loss = (before[Column.STRICT].value - after[Column.STRICT].value) / scale
        loss = loss if metric.higher_is_better else -loss
        assert official < 0.03, metric.name
        assert loss > max(0.02, official), metric.name


def test_order_of_rows_and_entries_changes_nothing(own_data: Path, spoilt: Path, tmp_path: Path) -> None:
    before = result(own_data, spoilt)
    for path in (own_data / "csv_files").iterdir():
        write_csv(path, read_csv(path)[::-1])
    shutil.copytree(spoilt, tmp_path / "reversed")
    for name in FILES.values():
        file = tmp_path / "reversed" / name
        file.write_text(json.dumps(json.loads(file.read_text())[::-1]))
    after = result(own_data, tmp_path / "reversed")
    for task_id, task in before.tasks.items():
        for name, columns in task.metrics.items():
            for column, estimate in columns.items():
                assert after.tasks[task_id].metrics[name][column].value == pytest.approx(estimate.value, abs=1e-12)


def test_several_processes_give_the_same_cases(data: Path, spoilt: Path) -> None:
    assert measure(data, spoilt, jobs=2).cases == measure(data, spoilt, jobs=1).cases


def test_mask_of_another_size_is_resized_and_noted(data: Path, submission: Path) -> None:
    path = submission / "masks/carotid_artery/case (0).png"
    with Image.open(path) as image:
        image.resize((WIDTH * 2, HEIGHT * 3), Image.Resampling.NEAREST).save(path)
    found = result(data, submission)
    assert value(found, "carotid_artery", "DSC") == pytest.approx(1.0)
    assert any("resized" in note for note in found.tasks["carotid_artery"].notes)


def test_palette_mask_is_read_by_its_grey_levels_like_the_official_script(data: Path, submission: Path) -> None:
    path = submission / "masks/carotid_artery/case (0).png"
    with Image.open(path) as image:
        palette = image.convert("P")
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.save(path)
    found = result(data, submission)
    assert value(found, "carotid_artery", "DSC") == pytest.approx(11 / 12)
    assert_equals_official(found, data, submission)


def test_unreadable_mask_counts_as_missing(data: Path, submission: Path) -> None:
    (submission / "masks/carotid_artery/case (0).png").write_bytes(b"<html>not found</html>")
    task = result(data, submission).tasks["carotid_artery"]
    assert task.counts.missing == 1
    assert task.metrics["DSC"][Column.STRICT].value == pytest.approx(11 / 12)
    assert "not readable" in task.notes[0]


def test_true_mask_that_does_not_load_counts_nowhere(own_data: Path, submission: Path) -> None:
    (own_data / "masks/carotid_artery/case (0).png").write_bytes(b"")
    (submission / "masks/carotid_artery/case (1).png").unlink()
    task = result(own_data, submission).tasks["carotid_artery"]
    assert (task.counts.no_truth, task.counts.missing) == (1, 1)
    assert task.metrics["DSC"][Column.OFFICIAL].value == 1.0
    assert task.metrics["DSC"][Column.STRICT].value == pytest.approx(10 / 11)


def test_rows_without_a_box_or_label_count_nowhere(own_data: Path, exact: Path) -> None:
    for name, column in (("thyroid_nodule_det", "x_max"), ("breast_2cls", "mask")):
        path = own_data / "csv_files" / f"{name}.csv"
        rows = read_csv(path)
        rows[0][column] = ""
        write_csv(path, rows)
    found = result(own_data, exact)
    for name in ("thyroid_nodule_det", "breast_2cls"):
        assert found.tasks[name].counts.no_truth == 1
    assert value(found, "thyroid_nodule_det", "IoU", Column.STRICT) == 1.0


def test_missing_true_point_is_the_origin_officially_and_left_out_strictly(own_data: Path, exact: Path) -> None:
    path = own_data / "csv_files" / "FUGC.csv"
    rows = read_csv(path)
    rows[0]["point_2_xy"] = ""
    write_csv(path, rows)
    found = result(own_data, exact)
    assert value(found, "FUGC", "MRE") == pytest.approx(np.hypot(40, 10) / 2 / 12)
    assert value(found, "FUGC", "MRE", Column.STRICT) == 0.0
    assert any("1 true points are missing" in note for note in found.tasks["FUGC"].notes)
    assert_equals_official(found, own_data, exact)


def test_absent_class_makes_official_auc_zero_with_a_note(own_data: Path, exact: Path) -> None:
    path = own_data / "csv_files" / "breast_3cls.csv"
    write_csv(path, [row for row in read_csv(path) if row["mask"] != "2"])
    found = result(own_data, exact)
    assert value(found, "breast_3cls", "AUC") == 0.0
    assert value(found, "breast_3cls", "AUC", Column.STRICT) == 1.0
    assert any("official AUC is 0" in note for note in found.tasks["breast_3cls"].notes)
    assert_equals_official(found, own_data, exact)


def test_repeated_csv_rows_are_each_counted_like_in_the_official_script(own_data: Path, spoilt: Path) -> None:
    for task_id in ("thyroid_nodule_det", "carotid_artery"):
        path = own_data / "csv_files" / f"{task_id}.csv"
        rows = read_csv(path)
        write_csv(path, [*rows, *rows[:3]])
    found = result(own_data, spoilt)
    assert found.tasks["thyroid_nodule_det"].counts.rows == 15
    assert "repeat" in found.notes[0]
    assert_equals_official(found, own_data, spoilt)


def test_num_classes_of_the_csv_outranks_the_catalogue(own_data: Path, exact: Path) -> None:
    path = own_data / "csv_files" / "carotid_artery.csv"
    rows = read_csv(path)
    for row in rows:
        row["num_classes"] = "3"
    write_csv(path, rows)
    found = result(own_data, exact)
    assert found.tasks["carotid_artery"].spec.num_classes == 3
    assert "num_classes" in found.notes[0]
    assert_equals_official(found, own_data, exact)


def test_last_of_duplicate_answers_counts_and_unknown_ones_are_noted(data: Path, submission: Path) -> None:
    file = submission / FILES[TaskKind.DETECTION]
    entries = json.loads(file.read_text())
    wrong = entries[0] | {"bbox_pixels": [0, 0, 1, 1]}
    file.write_text(json.dumps([wrong, *entries, entries[0] | {"image_path": "../elsewhere.png"}]))
    found = result(data, submission)
    assert value(found, "thyroid_nodule_det", "IoU") == 1.0
    assert "1 entries" in found.notes[0]
    file.write_text(json.dumps([*entries, wrong]))
    assert value(result(data, submission), "thyroid_nodule_det", "IoU") < 1.0


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        (TaskKind.CLASSIFICATION, {"predicted_probs": [0.5, 0.25, 0.25]}, "must hold 2 numbers"),
        (TaskKind.CLASSIFICATION, {"predicted_probs": [0.5, float("nan")]}, "finite"),
        (TaskKind.CLASSIFICATION, {"predicted_class": "1"}, "integer"),
        (TaskKind.DETECTION, {"bbox_pixels": [1, 2, 3]}, "four numbers"),
        (TaskKind.DETECTION, {"image_path": None}, "image_path"),
        (TaskKind.REGRESSION, {"predicted_points_pixels": [1.0, 2.0]}, "4 normalized"),
    ],
)
def test_malformed_entries_name_file_and_entry(
    data: Path, submission: Path, kind: TaskKind, change: dict[str, object], says: str
) -> None:
    file = submission / FILES[kind]
    entries = json.loads(file.read_text())
    file.write_text(json.dumps([entries[0] | change, *entries[1:]]))
    with pytest.raises(SubmissionError, match=says) as caught:
        result(data, submission)
    assert str(caught.value).startswith(f"{FILES[kind]}, entry 1")


def test_malformed_truth_names_file_and_line(own_data: Path, exact: Path) -> None:
    path = own_data / "csv_files" / "FUGC.csv"
    rows = read_csv(path)
    rows[2]["point_1_xy"] = "12, 13"
    write_csv(path, rows)
    with pytest.raises(ManifestError, match=r"FUGC\.csv, line 4"):
        result(own_data, exact)
