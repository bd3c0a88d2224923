"""UUSIC 2025's scores: hand-made masks, scipy and scikit-learn as oracles, incomplete folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt
from sklearn.metrics import roc_auc_score

from challenge.errors import UserError
from challenge.readers import SubmissionError
from challenge.tasks import TaskKind
from evaluate.__main__ import main
from evaluate.metrics.foreground import foreground_dice, inner_boundary, surface_dice
from evaluate.scores.metric_table import Column
from evaluate.scores.result import Result, read_result, summarise, write_result
from evaluate.scores.run_report import Resources, read_resources
from evaluate.scores.uusic import measure_list

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def square(top: int, left: int, size: int, shape: tuple[int, int] = (20, 20)) -> Mask:
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def oracle_nsd(prediction: Mask, truth: Mask) -> float:
    """The organisers' formula by scipy's erosion (a cross, the outside counted as inside) and distance transform."""
    ours, theirs = (mask & ~binary_erosion(mask, border_value=1) for mask in (prediction, truth))
    to_ours, to_theirs = (distance_transform_edt(~edge) for edge in (ours, theirs))
    near = (ours & (to_theirs <= 1)).sum() + (theirs & (to_ours <= 1)).sum()
    return near / (ours.sum() + theirs.sum() + 1e-6)


def test_dice_by_hand() -> None:
    assert foreground_dice(square(2, 2, 4), square(2, 4, 4)) == pytest.approx(2 * 8 / (32 + 1e-6), abs=1e-12)
    assert foreground_dice(square(2, 2, 4), square(2, 2, 4)) < 1
    assert foreground_dice(square(0, 0, 0), square(0, 0, 0)) == 0  # both empty
    assert foreground_dice(square(0, 0, 0), square(2, 2, 4)) == 0


def test_surface_dice_by_hand() -> None:
    five = square(5, 5, 5)
    assert surface_dice(five, five) == pytest.approx(32 / (32 + 1e-6), abs=1e-12)  # 16 boundary pixels on each side
    assert surface_dice(square(5, 6, 5), five) == pytest.approx(32 / (32 + 1e-6), abs=1e-12)  # one pixel off is near
    # Two pixels off: 4 pixels of the upper and of the lower row are near, and the 2 that touch the other's rows.
    assert surface_dice(square(5, 7, 5), five) == pytest.approx(20 / (32 + 1e-6), abs=1e-12)
    assert surface_dice(square(5, 15, 5), five) == 0
    assert surface_dice(square(0, 0, 0), square(0, 0, 0)) == 0
    assert surface_dice(square(0, 0, 0), five) == 0


def test_the_image_s_edge_is_not_a_boundary() -> None:
    assert inner_boundary(square(0, 0, 4, (4, 4))).sum() == 0
    assert surface_dice(square(0, 0, 4, (4, 4)), square(0, 0, 4, (4, 4))) == 0
    assert inner_boundary(square(0, 0, 3, (6, 6))).sum() == 5


def test_surface_dice_equals_the_organisers_formula_on_random_masks() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        shape = tuple(rng.integers(4, 25, 2))
        ours, theirs = (rng.random(shape) < rng.uniform(0.3, 0.7) for _ in range(2))
        if inner_boundary(ours).any() and inner_boundary(theirs).any():  # scipy's distance to nothing is undefined
            assert surface_dice(ours, theirs) == pytest.approx(oracle_nsd(ours, theirs), abs=1e-12)


TRUE = [0, 1, 0, 1, 1, 0]
PROBABILITY = [0.2, 0.7, 0.6, 0.4, 0.9, 0.1]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`list.json`, `data` with true masks, `answers`: two masks of one set, six classes of another."""
    rows: list[dict[str, Any]] = []
    for number, (ours, theirs) in enumerate([(square(5, 5, 5), square(5, 5, 5)), (square(5, 5, 5), square(5, 9, 5))]):
        for folder, mask in (("answers", ours), ("data", theirs)):
            path = tmp_path / folder / f"seg/masks/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
        rows.append(row(f"seg/imgs/{number}.png", "segmentation", mask_path_relative=f"seg/masks/{number}.png"))
    answers = {}
    for number, (true, probability) in enumerate(zip(TRUE, PROBABILITY, strict=True)):
        rows.append(row(f"cls/{number}.png", "classification", label=true))
        answers[f"cls/{number}.png"] = {
            "probability": [1 - probability, probability], "prediction": int(probability > 0.5),
        }  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "answers" / "classification.json").write_text(json.dumps(answers))
    return tmp_path


def row(path: str, task: str, **truth: object) -> dict[str, Any]:
    return {"img_path_relative": path, "task": task, "dataset_name": "Breast", "organ": "Breast", **truth}


def change(path: Path, edit: Any) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def score(folders: Path) -> Result:
    measured = measure_list(folders / "list.json", folders / "data", folders / "answers")
    return summarise(measured, "data", "answers", draws=20, profile="uusic")


def value(result: Result, kind: TaskKind, name: str, column: Column = Column.OFFICIAL) -> float:
    found = result.kinds[kind].metrics[name][column].value
    assert found is not None
    return found


def test_scores_of_a_small_folder(folders: Path) -> None:
    result = score(folders)
    assert set(result.tasks) == {"Breast/segmentation", "Breast/classification"}
    dice, near = 50 / (50 + 1e-6), 32 / (32 + 1e-6)
    shifted = oracle_nsd(square(5, 5, 5), square(5, 9, 5))
    assert value(result, TaskKind.SEGMENTATION, "DSC") == pytest.approx((dice + 10 / (50 + 1e-6)) / 2, abs=1e-12)
    assert value(result, TaskKind.SEGMENTATION, "NSD") == pytest.approx((near + shifted) / 2, abs=1e-12)
    assert value(result, TaskKind.CLASSIFICATION, "Accuracy") == pytest.approx(4 / 6)
    assert value(result, TaskKind.CLASSIFICATION, "AUC") == pytest.approx(roc_auc_score(TRUE, PROBABILITY))
    assert not result.notes


def test_missing_answers_are_left_out_officially_and_worst_strictly(folders: Path) -> None:
    (folders / "answers" / "seg/masks/1.png").unlink()
    change(folders / "answers" / "classification.json", lambda answers: answers.pop("cls/0.png"))
    result = score(folders)
    dice = 50 / (50 + 1e-6)
    assert value(result, TaskKind.SEGMENTATION, "DSC") == pytest.approx(dice)
    assert value(result, TaskKind.SEGMENTATION, "DSC", Column.STRICT) == pytest.approx(dice / 2)
    assert value(result, TaskKind.CLASSIFICATION, "Accuracy") == pytest.approx(3 / 5)
    assert value(result, TaskKind.CLASSIFICATION, "Accuracy", Column.STRICT) == pytest.approx(3 / 6)
    (folders / "answers" / "classification.json").unlink()
    assert score(folders).tasks["Breast/classification"].counts.missing == 6


def test_four_classes_of_the_luminal_set(folders: Path) -> None:
    rng = np.random.default_rng(1)
    table = rng.dirichlet(np.ones(4), 12)
    rows = [row(f"{n}.png", "classification", label=n % 4) | {"dataset_name": "Breast_luminal"} for n in range(12)]
    answers = {f"{n}.png": {"probability": list(table[n]), "prediction": int(table[n].argmax())} for n in range(12)}
    (folders / "list.json").write_text(json.dumps(rows))
    (folders / "answers" / "classification.json").write_text(json.dumps(answers))
    expected = roc_auc_score([n % 4 for n in range(12)], table, multi_class="ovr")
    assert value(score(folders), TaskKind.CLASSIFICATION, "AUC") == pytest.approx(expected)
    change(folders / "answers" / "classification.json", lambda found: found["3.png"]["probability"].pop())
    with pytest.raises(SubmissionError, match=r"'3.png': 'probability' must hold 4 numbers, .*\(list.json, entry 4\)"):
        score(folders)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0.5, 0.5], "not an object"),
        ({"probability": [0.5, 0.5]}, "'prediction' is None"),
        ({"probability": [0.5, None], "prediction": 1}, "finite numbers only"),
        ({"prediction": 1}, "'probability' is missing"),
    ],
)
def test_malformed_answers_name_the_image(folders: Path, answer: object, said: str) -> None:
    change(folders / "answers" / "classification.json", lambda found: found.update({"cls/2.png": answer}))
    with pytest.raises(SubmissionError, match=rf"classification.json, 'cls/2.png': .*{said}"):
        score(folders)


def test_unexpected_answers_and_rows_without_truth_are_noted(folders: Path) -> None:
    change(folders / "answers" / "classification.json", lambda found: found.update({"x.png": found["cls/0.png"]}))
    change(folders / "list.json", lambda rows: (rows[0].pop("mask_path_relative"), rows[3].pop("label")))
    result = score(folders)
    assert "1 answers to images that the list does not classify" in result.notes[0]
    assert result.counts.no_truth == 2


def test_result_files_come_back_with_their_resources(folders: Path, tmp_path: Path) -> None:
    used = Resources(12.5, 8, 900.0, "cpu")
    measured = measure_list(folders / "list.json", folders / "data", folders / "answers")
    write_result(tmp_path / "r.json", summarise(measured, "data", "answers", 20, profile="uusic", resources=used))
    result = read_result(tmp_path / "r.json")
    assert (result.profile, result.resources) == ("uusic", used)
    assert value(result, TaskKind.SEGMENTATION, "NSD") == value(score(folders), TaskKind.SEGMENTATION, "NSD")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_prints_scores_time_and_memory(folders: Path, tmp_path: Path) -> None:
    report = {"schema": 1, "timings": {"total_s": 2.0}, "answered": 8, "peak_memory_mib": 512.0,
              "device": {"used": "cpu"}}  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(report))
    common = ("score", "--profile", "uusic", "--data-root", folders / "data", "--predictions", folders / "answers")
    done = run(*common, "--input-json", folders / "list.json", "--run-report", tmp_path / "run.json", "--draws", 20)
    assert done.exit_code == 0, done.output
    assert "inference of 8 rows: 2.0 s in all on cpu, 512 MiB peak memory" in done.output
    assert "baseline" not in done.output
    for text in ("Surface Dice at 1 px", "Breast/segmentation", "Breast/classification", "Accuracy"):
        assert text in done.output
    refused = run(*common)
    assert refused.exit_code == 2
    assert "--input-json" in refused.output.splitlines()[-1]


def test_a_report_without_times_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "timings": {"total_s": None}}))
    with pytest.raises(UserError, match="times or memory are missing"):
        read_resources(tmp_path / "run.json")


def test_pages_and_comparisons_refuse_the_other_challenge(folders: Path, data: Path, exact: Path) -> None:
    common = ("--predictions", folders / "answers", "--draws", 20)
    run("score", "--profile", "uusic", "--data-root", folders / "data", *common, "--input-json", folders / "list.json",
        "--json", folders / "uusic.json")  # fmt: skip
    run(
        "score", "--data-root", data, "--predictions", exact, "--draws", 20, "--json", folders / "fmc.json", "--jobs", 1
    )
    refused = run("compare", folders / "uusic.json", folders / "fmc.json")
    assert (refused.exit_code, "different challenges" in refused.output) == (2, True)
    same = run("compare", folders / "uusic.json", folders / "uusic.json", "--draws", 20)
    assert (same.exit_code, "NSD" in same.output) == (0, True)
    page = run("report", "--scores", folders / "uusic.json", "--data-root", folders / "data", *common,
               "--output", folders / "page")  # fmt: skip
    assert (page.exit_code, "no report page" in page.output) == (2, True)
