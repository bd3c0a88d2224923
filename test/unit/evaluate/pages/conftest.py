"""A real browser for the pages, wide and narrow, light and dark."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
"""Widths in pixels, with a colour scheme."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium: install Debian's chromium, or set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=VIEWS, ids=str)
def open_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Open an address at a width and colour scheme. Fails on console messages, errors and requests to elsewhere."""
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: said.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)

    def opened(address: str) -> Any:
        page.goto(address)
        return page

    yield opened
    page.close()
    assert said == []


def widths(page: Any) -> tuple[int, int]:
    """Return the width that the page takes and the width that there is, in pixels."""
    taken, there = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    return taken, there


def contrasts(page: Any, selector: str, ground: str) -> list[float]:
    """Return the contrast (WCAG 2.2) of the text of each match with the colour of its ancestor `ground`."""
    found: list[float] = page.locator(selector).evaluate_all(
        """(elements, ground) => {
          const light = text => {
            const whole = text.startsWith("color(") ? 1 : 255;  // a mixed colour is in 0..1
            const parts = text.match(/[0-9.]+/g).slice(0, 3).map(part => part / whole);
            const [r, g, b] = parts.map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b;
          };
          return elements.map(element => {
            const style = getComputedStyle(element);
            const fill = style.backgroundImage.match(/rgb\\([^)]*\\)/);
            const ink = light(fill ? fill[0] : style.color);
            const paper = light(getComputedStyle(element.closest(ground)).backgroundColor);
            return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
          });
        }""",
        ground,
    )
    return found
