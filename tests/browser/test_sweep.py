"""The page of a sweep in a browser: nothing fails or is refused by its own policy; the slider moves all filmstrips."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from reportgen.sweep.render import render
from tests.sweep.made_up import made_up

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, list[str]]]:
    index = render(made_up(tmp_path_factory.mktemp("live") / "made-up"))
    said: list[str] = []
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(index.as_uri())
    yield page, said
    page.close()


def test_the_slider_moves_every_filmstrip(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    sliders = page.locator(".slide input")
    assert sliders.count() == 2
    sliders.nth(0).focus()
    assert (
        "Step 64: best head L1H2 at 0.900; 1 of 12 heads above the line" in page.locator(".now").nth(0).text_content()
    )
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    for i in range(2):
        assert page.locator(".now").nth(i).text_content().startswith("Step 0: ")
        assert sliders.nth(i).input_value() == "0"
    assert page.locator(".slide").nth(0).locator("circle").count() == 0
    assert sliders.nth(0).get_attribute("aria-valuetext").startswith("step 0, best head")
    assert said == []


def test_the_page_fits_a_phone_and_has_two_themes(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.locator("#theme").click()
    assert page.evaluate(paper) != before
    assert said == []
