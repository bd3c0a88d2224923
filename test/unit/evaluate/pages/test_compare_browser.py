"""The comparison in a real browser: sort a table, walk over the changed rows by keyboard, on screens of any width."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.evaluate.pages.conftest import contrasts, widths

from evaluate.pages.compare_page import to_html
from evaluate.scores.compare import compare_results
from evaluate.scores.metric_table import Column
from evaluate.scores.result import summarise, write_result
from evaluate.scores.scoring import measure

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def address(data: Path, exact: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The comparison of the exact and the spoilt submission."""
    folder = tmp_path_factory.mktemp("comparison")
    files = folder / "exact.json", folder / "spoilt.json"
    for file, predictions in zip(files, (exact, spoilt), strict=True):
        write_result(file, summarise(measure(data, predictions, 1), str(data), str(predictions), draws=200))
    names = ["the exact answers", "spoilt_answers_with_a_long_name"]
    html = to_html(compare_results(files, Column.STRICT, draws=200, names=names))
    (folder / "index.html").write_text(html, encoding="utf-8")
    return (folder / "index.html").as_uri()


@pytest.fixture
def page(open_page: Callable[[str], Any], address: str) -> Any:
    """The page at a width and colour scheme."""
    return open_page(address)


def test_nothing_sticks_out_sideways_and_differences_have_contrast(page: Any) -> None:
    taken, there = widths(page)
    assert taken <= there
    captions = page.locator(".pair p, .pair figcaption, .pair figcaption *:not(i)")
    cut = "all => all.filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent)"
    assert captions.evaluate_all(cut) == []
    coloured = contrasts(page, "td.worse, td.better", "td")
    assert coloured
    assert min([*coloured, *contrasts(page, ".pair .bars .name, .pair .bars i", "article")]) >= 4.5


def test_text_of_charts_is_not_smaller_than_nine_pixels(page: Any) -> None:
    heights = page.locator(".forest svg text").evaluate_all(
        "all => all.map(text => parseFloat(getComputedStyle(text).fontSize) * text.getCTM().a)"
    )
    assert heights
    assert min(heights) >= 9


def test_a_table_is_sorted_and_pairs_are_walked_over_by_keyboard(page: Any) -> None:
    table = page.locator("#segmentation table")
    table.locator("thead th").nth(4).locator("button").press("Enter")
    differences = table.locator("tbody td:nth-child(5)").evaluate_all("all => all.map(cell => +cell.dataset.sort)")
    assert differences == sorted(differences, reverse=True)
    pair = page.locator(".pair").first.locator("button")
    pair.first.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.locator("p").inner_text().startswith("the exact answers, ")
    page.keyboard.press("ArrowRight")
    assert viewer.locator("p").inner_text().startswith("spoilt_answers_with_a_long_name, ")
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
