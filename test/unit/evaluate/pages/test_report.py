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
from unit.evaluate.folders import read_csv, write_csv

from challenge.errors import UserError
from evaluate.pages.case_text import goodness
from evaluate.pages.charts import cumulative, roc, roc_curve, shares, success
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
        if metric.baseline is not None:
            assert f"baseline <b>{metric.text(metric.baseline)}</b>" in page.text


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
