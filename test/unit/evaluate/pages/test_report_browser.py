"""The report in a real browser: sort a column, open a case, go on by keyboard; wide, narrow, light and dark."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.evaluate.pages.conftest import contrasts, widths

from evaluate.pages.pictures import Encoding
from evaluate.pages.report import write_report
from evaluate.scores.result import summarise
from evaluate.scores.scoring import measure

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SMALL = Encoding(160, 50, 120, 50)


@pytest.fixture(scope="module")
def address(data: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the spoilt submission, some answers of which are missing."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(spoilt, folder / "submission")
    (folder / "submission" / "masks/carotid_artery/case (0).png").unlink()
    result = summarise(measure(data, folder / "submission", 1), "data", "predictions", draws=50)
    return write_report(result, data, folder / "submission", folder / "page", "Browser", encodings=[SMALL]).as_uri()


@pytest.fixture
def page(open_page: Callable[[str], Any], address: str) -> Any:
    """The page at a width and colour scheme."""
    return open_page(address)


def first_column(table: Any) -> list[str]:
    return [str(text).strip() for text in table.locator("tbody th").all_inner_texts()]


def test_a_click_on_a_heading_sorts_and_a_second_click_reverses(page: Any) -> None:
    table = page.locator("#tasks table").first
    header = table.locator("thead th").nth(1)
    values = "cells => cells.map(cell => Number(cell.dataset.sort))"
    header.locator("button").click()
    down = table.locator("tbody td:nth-child(2)").evaluate_all(values)
    assert down == sorted(down, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    names = first_column(table)
    header.locator("button").press("Enter")
    assert table.locator("tbody td:nth-child(2)").evaluate_all(values) == sorted(down)
    assert header.get_attribute("aria-sort") == "ascending"
    assert first_column(table) == names[::-1]
    table.locator("thead th").first.locator("button").click()
    assert first_column(table) == sorted(names)
    assert header.get_attribute("aria-sort") is None


def test_a_case_opens_walks_on_and_closes_by_keyboard(page: Any) -> None:
    button = page.locator("#segmentation figure button").first
    button.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    drawn = viewer.locator("img").get_attribute("src")
    assert viewer.locator("p").inner_text() == button.get_attribute("data-caption")
    page.keyboard.press("o")
    assert viewer.locator("img").get_attribute("src") == button.get_attribute("data-plain") != drawn
    page.keyboard.press("ArrowRight")
    following = page.locator("#segmentation figure button").nth(1)
    assert viewer.locator("p").inner_text() == following.get_attribute("data-caption")
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    sync_api.expect(following).to_be_focused()


def test_a_link_leads_to_its_section(page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    for name in ("detection", "segmentation"):
        page.locator(f"nav a[href='#{name}']").click()
        page.wait_for_function(f"Math.abs(document.getElementById('{name}').getBoundingClientRect().top) < 100")
    page.locator("#tasks tbody a").nth(3).click()
    page.wait_for_function("Math.abs(document.querySelector(location.hash).getBoundingClientRect().top) < 100")


def test_pictures_are_decodable(page: Any) -> None:
    broken = "images => images.filter(image => image.src && !image.naturalWidth).length"
    page.wait_for_load_state("load")
    assert page.locator("figure img").evaluate_all(broken) == 0


def test_nothing_overflows_horizontally(page: Any) -> None:
    taken, there = widths(page)
    assert taken <= there


def test_text_has_enough_contrast(page: Any) -> None:
    """The ink of charts and text follows the colour scheme: light on dark or dark on light."""
    ink, ground = page.evaluate(
        """() => {
          const grey = text => text.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
          const card = document.querySelector("article.card");
          const label = card.querySelector("svg text");
          return [grey(getComputedStyle(label).fill), grey(getComputedStyle(card).backgroundColor)];
        }"""
    )
    assert abs(ink - ground) > 60


def test_screenshot_is_not_blank(page: Any, tmp_path: Path) -> None:
    from PIL import Image

    page.screenshot(path=str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as image:
        assert len(image.convert("L").getcolors() or []) > 20


def test_bars_and_their_names_have_contrast(page: Any) -> None:
    found = [*contrasts(page, ".bars .name", "article"), *contrasts(page, ".bars i", "article")]
    assert len(found) == 2 * 9 * (2 + 3)
    assert min(found) >= 4.5


def test_counts_in_a_confusion_matrix_have_contrast(page: Any) -> None:
    assert min(contrasts(page, ".confusion td", "td")) >= 4.5


def test_all_rows_are_listed_searched_and_saved(page: Any, tmp_path: Path) -> None:
    rows = page.locator("#all-rows tr")
    page.locator("#which").select_option("thyroid_nodule_det")
    assert rows.count() == 12
    scores = "rows => rows.map(row => Number(row.cells[1].firstChild.data.replace('IoU ', '')))"
    worst = rows.evaluate_all(scores)
    assert worst == sorted(worst)
    page.locator("#by").select_option("best")
    assert rows.evaluate_all(scores) == worst[::-1]
    page.locator("#find").fill("CASE (1")
    assert page.locator("#found").inner_text() == "3 of 3 rows"  # 1, 10, 11
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as stream:
        saved = list(csv.DictReader(stream))
    assert [f"IoU {float(row['value']):.3f}" for row in saved] == [
        f"IoU {value:.3f}" for value in rows.evaluate_all(scores)
    ]
    assert {row["task"] for row in saved} == {"thyroid_nodule_det"}
    page.locator("#find").fill("")
    page.locator("#by").select_option("worst")
    page.locator("#which").select_option("segmentation")
    assert page.locator("#found").inner_text() == "24 of 24 rows"
    assert rows.first.inner_text().split()[:2] == ["carotid_artery", "missing"]
