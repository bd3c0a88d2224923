"""The report page: one file, nothing fetched from elsewhere, everything a reader looks for in it."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from unit.evaluate.folders import read_csv, write_csv

from challenge.class_names import ClassNames
from challenge.errors import UserError
from evaluate.pages import charts
from evaluate.pages.case_text import goodness
from evaluate.pages.charts import cumulative, differences, roc, roc_curve, shares, success
from evaluate.pages.pictures import Encoding, selected
from evaluate.pages.report import write_report
from evaluate.scores.metric_table import METRICS, Column
from evaluate.scores.result import Result, summarise
from evaluate.scores.scoring import measure

RUN = {
    "schema": 1,
    "status": "complete",
    "exit_code": 0,
    "rows": 72,
    "answered": 72,
    "counts": {"segmentation": 24},
    "fallbacks": [
        {
            "row": "FUGC.csv, line 3",
            "image_path": "../images/FUGC/case (1).png",
            "task_id": "FUGC",
            "reason": "damaged image <OSError>",
        }
    ],
    "notes": [{"row": "FUGC.csv, line 4", "image_path": "../a.png", "task_id": "FUGC", "note": "truncated file"}],
    "prior_tasks": ["breast_3cls"],
    "duplicates": 0,
    "device": {"requested": "auto", "used": "cpu", "providers": []},
    "precision": "float32",
    "weights": {"name": "lite2", "sha256": "0123456789abcdef"},
    "versions": {"python": "3.11"},
    "timings": {"start_up_s": 1.0, "first_prediction_s": 1.5, "total_s": 200.0, "rows_per_s": 7.0},
    "peak_memory_mib": 812.4,
}

OFFICIAL = {
    "FUGC": ["FUGC"],
    "thyroid_nodule_det": ["spinal_cord_injury_loc", "thyroid_nodule_det", "uterine_fibroid_det"],
}
TINY = (Encoding(64, 40, 48, 40),)


class Page(HTMLParser):
    """Collects tags with their attributes, and ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def result(data: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return summarise(measure(data, spoilt, 1), "the data", "the predictions", draws=100)


@pytest.fixture(scope="module")
def page(result: Result, data: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    (folder / "run.json").write_text(json.dumps(RUN))
    return Page(write_report(result, data, spoilt, folder / "page", "A <title>", folder / "run.json", TINY))


def test_page_is_self_contained(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert "link" not in names
    assert all("src" not in attributes for tag, attributes in page.tags if tag == "script")
    for source in (*page.values("src"), *page.values("data-plain")):
        assert source.startswith("data:image/webp;base64,")
    assert all(link.startswith("#") for link in page.values("href"))
    assert not re.findall(r"url\((?!#)", page.text)
    assert "default-src 'none'" in page.text


def test_links_have_targets_and_ids_are_unique(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.values("href")} <= set(ids)


def test_page_shows_each_score_with_its_interval_in_both_columns(page: Page, result: Result) -> None:
    for metric in METRICS:
        for task in result.tasks_of(metric.kind):
            for column in Column:
                estimate = task.metrics[metric.name][column]
                interval = metric.range_text(estimate.low, estimate.high)
                assert f">{metric.text(estimate.value)}<small>{interval}</small></td>" in page.text


def test_published_figures_stand_beside_means_over_the_same_tasks_alone(page: Page, data: Path, tmp_path: Path) -> None:
    assert "baseline <b>" not in page.text
    assert "They are left out here, because the tasks here are others." in page.text
    for path in (data / "csv_files").iterdir():
        rows = [row for row in read_csv(path) if row["task_id"] in ("FUGC", "thyroid_nodule_det")]
        for task_id in OFFICIAL.get(rows[0]["task_id"], ()) if rows else ():
            write_csv(tmp_path / "data/csv_files" / f"{task_id}.csv", [row | {"task_id": task_id} for row in rows])
    shutil.copytree(data / "images", tmp_path / "data/images")
    (tmp_path / "empty").mkdir()
    found = summarise(measure(tmp_path / "data", tmp_path / "empty", 1), "", "", draws=2)
    whole = Page(write_report(found, tmp_path / "data", tmp_path / "empty", tmp_path / "page", "Whole"))
    iou = next(metric for metric in METRICS if metric.name == "IoU")
    assert f"baseline <b>{iou.text(iou.baseline)}</b>" in whole.text
    assert whole.text.count("baseline <b>") == 1
    assert "They are left out for regression" in whole.text


def test_every_row_is_listed_for_the_table_and_the_csv(page: Page, result: Result) -> None:
    text = page.text[page.text.index('id="cases">') + len('id="cases">') :]
    rows = json.loads(text[: text.index("</script>")])
    assert [row["row"] for row in rows] == [case.row for case in result.cases]
    boxes = {row["row"]: row for row in rows if row["kind"] == "detection"}
    for case in result.cases:
        if case.row in boxes:
            assert boxes[case.row]["value"] == boxes[case.row]["good"] == case.iou
    points = [row for row in rows if row["kind"] == "regression"]
    assert all(row["good"] == -row["value"] < 0 for row in points)


def test_classes_have_names_in_tables_charts_and_captions(
    result: Result, data: Path, spoilt: Path, tmp_path: Path
) -> None:
    names = ClassNames({"breast_2cls": ("benign", "malignant"), "cardiac_multi": ("outside", "LV", "wall", "LA")})
    page = Page(write_report(result, data, spoilt, tmp_path, "Names", encodings=TINY, names=names))
    confusion = page.text[page.text.index('id="task-breast_2cls"') :]
    assert re.search(r'class="confusion">\s*<thead>.*<span>benign</span>.*<span>malignant</span>', confusion)
    assert any("said benign, is malignant" in caption for caption in page.values("data-caption"))
    heart = page.text[page.text.index('id="task-cardiac_multi"') :]
    for name in ("LV", "wall", "LA"):
        assert f"</i>{name}</li>" in heart
        assert f'<th scope="row">{name}</th>' in heart
        assert f"{name}, median" in heart
    assert "class 0" in page.text  # breast_3cls has no names


def test_page_shows_charts_confusion_and_pictures_of_every_task(page: Page, result: Result) -> None:
    labels = [attributes.get("aria-label") or "" for tag, attributes in page.tags if tag == "svg"]
    for task_id in result.tasks:
        assert any(label.startswith(f"{task_id}:") for label in labels)
        assert sum(f"{task_id}, " in caption for caption in page.values("data-caption")) == 9
    assert page.text.count('class="confusion"') == 2
    assert "worst" in page.text
    assert "median" in page.text
    assert "best" in page.text


def test_page_shows_the_run_its_fallbacks_and_prior_tasks(page: Page) -> None:
    for text in (
        "damaged image &lt;OSError&gt;",
        "FUGC.csv, line 3",
        "truncated file",
        "812 MiB",
        "3.3 min",
        "lite2",
        "answered by the prior",
        "A &lt;title&gt;",
    ):
        assert text in page.text


def test_missing_rows_are_listed_and_marked(data: Path, submission: Path, tmp_path: Path) -> None:
    (submission / "masks/carotid_artery/case (0).png").unlink()
    (submission / "detection_predictions.json").unlink()
    found = summarise(measure(data, submission, 1), "", "", draws=50)
    page = Page(write_report(found, data, submission, tmp_path, "Gaps", encodings=TINY))
    assert page.text.count('<span class="badge bad">missing</span>') == 13
    assert "carotid_artery.csv, line 2" in page.text
    assert "12 missing" in page.text
    assert 'class="warn"' in page.text
    assert "n/a" in page.text


def test_page_of_an_empty_submission_can_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = summarise(measure(data, tmp_path / "empty", 1), "", "", draws=50)
    page = Page(write_report(found, data, tmp_path / "empty", tmp_path / "page", "Nothing"))
    assert page.text.count('<span class="badge bad">missing</span>') == 72
    assert not page.values("data-caption")


def test_few_rows_are_all_shown(own_data: Path, exact: Path, tmp_path: Path) -> None:
    for path in (own_data / "csv_files").iterdir():
        write_csv(path, read_csv(path)[:2])
    found = summarise(measure(own_data, exact, 1), "", "", draws=50)
    page = Page(write_report(found, own_data, exact, tmp_path, "Few", encodings=TINY))
    assert len(page.values("data-caption")) == 12


@pytest.mark.parametrize(("allowed", "width"), [(10**8, "96"), (1, "48")])
def test_pictures_shrink_until_the_page_is_small_enough(
    result: Result, data: Path, spoilt: Path, tmp_path: Path, allowed: int, width: str
) -> None:
    encodings = Encoding(96, 60, 64, 60), Encoding(48, 40, 32, 40)
    written = write_report(result, data, spoilt, tmp_path, "Size", encodings=encodings, picture_bytes=allowed)
    pictures = [attributes for tag, attributes in Page(written).tags if tag == "img" and "width" in attributes]
    assert {attributes["width"] for attributes in pictures} == {width}


def test_selected_cases_are_the_worst_the_median_and_the_best(result: Result) -> None:
    cases = [case for case in result.cases if case.task_id == "cardiac_multi"]
    ordered = sorted(cases, key=goodness)
    found = selected(cases)
    assert [case for _, case in found] == [*ordered[:3], *ordered[4:7], *ordered[-3:]]
    assert [rank for rank, _ in found] == ["worst"] * 3 + ["median"] * 3 + ["best"] * 3


@pytest.mark.parametrize("content", ["", "[1]", '{"schema": 9}'])
def test_a_file_that_is_not_a_run_report_is_refused_by_name(
    result: Result, data: Path, spoilt: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        write_report(result, data, spoilt, tmp_path, "Broken", tmp_path / "run.json")


def test_images_that_are_gone_have_no_picture(result: Result, own_data: Path, spoilt: Path, tmp_path: Path) -> None:
    shutil.rmtree(own_data / "images" / "FUGC")
    page = Page(write_report(result, own_data, spoilt, tmp_path, "Gone", encodings=TINY))
    assert len(page.values("data-caption")) == 5 * 9


def some_charts() -> dict[str, str]:
    rng = np.random.default_rng(0)
    values, distances = rng.uniform(0, 1, 30), rng.uniform(0, 90, 30)
    positive = values + rng.normal(0, 0.3, 30) > 0.5
    return {
        "shares": shares([values, values**2], ["class 1", "class 2"], "Some <shares> & more", "Dice"),
        "differences": differences(
            ["mean", "a task with a name that is far too long"],
            {"run <b>": [(0.1, 0.05, 0.2, True), None], "other": [(-0.1, None, None, False), (0.0, -0.1, 0.1, False)]},
            "differences",
            "difference",
        ),
        "one value": shares([np.array([0.5])], [""], "one value", "Dice"),
        "cumulative": cumulative([distances], [""], "cumulative", "px"),
        "zero": cumulative([np.zeros(4)], [""], "zero", "px"),
        "success": success(values, "success"),
        "roc": roc([(*roc_curve(values, positive), "class 1")], "roc"),
        "no roc": roc([], "no roc"),
    }


@pytest.mark.parametrize(("name", "svg"), some_charts().items())
def test_charts_are_well_formed_and_take_the_pages_colours(name: str, svg: str) -> None:
    root: Any = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"]
    assert "width" not in root.attrib
    assert "var(--line)" in svg
    assert "<style" not in svg
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#ffffff"}


def test_roc_curve_ends_at_the_corners_and_passes_ties_at_once() -> None:
    false, true = roc_curve(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    assert false.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert true.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_curves_run_to_the_end_of_the_axis_and_are_not_under_the_legend() -> None:
    """The short series ends at 10 of 100 px; its curve goes on to where the other one ends."""
    svg = cumulative([np.full(20, 10.0), np.linspace(0, 100, 20)], ["near", "far"], "t", "px")
    root: Any = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    paths = [path.attrib for path in root.iter(f"{space}path") if "series" in path.attrib.get("style", "")]
    curves = [re.findall(r"(-?[0-9.]+) (-?[0-9.]+)", path["d"]) for path in paths]
    curves = [[(float(x), float(y)) for x, y in curve] for curve in curves]
    near, far, *keys = curves
    assert max(x for x, _ in near) >= max(x for x, _ in far) - 10
    assert all(y > max(y for _, y in (*near, *far)) for key in keys for _, y in key)


@pytest.mark.parametrize("name", ["near", "left ventricle", "a class with a name that is far too long"])
def test_a_legend_is_as_narrow_as_its_chart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    monkeypatch.setattr(charts, "_inlined", lambda svg, title: svg)
    cumulative([np.arange(20.0)] * 3, [name] * 3, "t", "px")
    [figure] = drawn
    figure.draw_without_rendering()
    [legend] = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 < figure.axes[0].get_window_extent().y0
