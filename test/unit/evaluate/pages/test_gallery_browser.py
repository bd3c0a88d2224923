"""The gallery in a real browser: filter, search, sort, hide the overlay, walk by keyboard, on screens of any width."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.evaluate.pages.conftest import contrasts, widths

from challenge.class_names import ClassNames
from evaluate.pages.gallery import write_gallery
from evaluate.scores.result import summarise
from evaluate.scores.scoring import measure

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def address(data: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The gallery of the spoilt submission, with truth."""
    scores = summarise(measure(data, spoilt, 1), "", "", draws=2)
    names = ClassNames({"breast_2cls": ("benign", "a long name of a class that has to be broken into lines")})
    return write_gallery(data, spoilt, tmp_path_factory.mktemp("page"), 4, scores=scores, names=names).as_uri()


@pytest.fixture
def page(open_page: Callable[[str], Any], address: str) -> Any:
    """The page at a width and colour scheme."""
    return open_page(address)


def test_one_task_is_shown_if_it_is_chosen(page: Any) -> None:
    page.locator("#task").select_option("FUGC")
    assert page.locator("article:visible h3").all_inner_texts() == ["FUGC"]
    assert page.locator("section:visible").count() == 1
    assert page.locator("#count").inner_text() == "4 of 24 pictures"
    page.locator("#task").select_option("")
    assert page.locator("figure:visible").count() == 24
    assert page.locator("#count").inner_text() == ""


def test_names_are_searched_for_every_word(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("CASE (3")
    found = page.locator("figure:visible").evaluate_all("all => all.map(figure => figure.dataset.name)")
    assert found == ["case (3).png"] * 6
    page.keyboard.type(" nothing")
    assert page.locator("figure:visible").count() == 0
    assert page.locator("#count").inner_text() == "0 of 24 pictures"


def test_the_worst_stand_first_if_asked_for(page: Any) -> None:
    goods = "all => all.map(figure => Number(figure.dataset.good))"
    cards = page.locator("[data-task=cardiac_multi] figure")
    before = cards.evaluate_all(goods)
    page.locator("#order").select_option("worst")
    assert cards.evaluate_all(goods) == sorted(before)
    page.locator("#order").select_option("")
    assert cards.evaluate_all(goods) == before


def test_the_overlay_is_hidden_and_shown_again(page: Any) -> None:
    picture = page.locator("[data-task=carotid_artery] figure img").first
    drawn, plain = picture.get_attribute("src"), picture.locator("..").get_attribute("data-plain")
    toggle = page.locator(".tools [data-do=toggle]")
    toggle.click()
    assert picture.get_attribute("src") == plain != drawn
    assert toggle.get_attribute("aria-pressed") == "true"
    toggle.click()
    assert picture.get_attribute("src") == drawn


def test_the_keyboard_walks_over_the_visible_pictures_alone(page: Any) -> None:
    page.locator("#task").select_option("breast_2cls")
    first, last = page.locator("figure:visible button").first, page.locator("figure:visible button").last
    first.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.locator("p").inner_text() == first.get_attribute("data-caption")
    assert viewer.locator(".bars li").count() == 2
    page.keyboard.press("ArrowLeft")
    assert viewer.locator("p").inner_text() == last.get_attribute("data-caption")
    assert viewer.locator(".bars").count() == 1
    page.keyboard.press("Escape")
    assert not viewer.is_visible()


def test_nothing_sticks_out_sideways_and_no_caption_is_cut(page: Any) -> None:
    taken, there = widths(page)
    assert taken <= there
    cut = "all => all.filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent)"
    assert page.locator("figcaption, figcaption *:not(i), .head *, .bars .name").evaluate_all(cut) == []


def test_bars_and_captions_have_contrast(page: Any) -> None:
    bars = [*contrasts(page, ".bars .name", "article"), *contrasts(page, ".bars i", "article")]
    assert len(bars) == 2 * 4 * (2 + 3)
    assert min([*bars, *contrasts(page, "figcaption, figcaption b, .note, .score", "article")]) >= 4.5
