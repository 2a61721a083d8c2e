"""The page as a reader meets it: opened from disk, light and dark, on a phone, with scripts off, printed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pypdf
import pytest
from playwright.sync_api import Browser, Page

from tests.report import sample

pytestmark = pytest.mark.browser


@dataclass
class Visit:
    """A page opened from disk, with everything it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class Visitor:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.contexts: list[Any] = []

    def __call__(self, fragment: str = "", **options: Any) -> Visit:
        context = self.browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        self.contexts.append(context)
        visit = Visit(context.new_page())
        visit.page.on("console", lambda message: visit.said.append(message.text))
        visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
        visit.page.on("request", lambda request: visit.asked.append(request.url))
        visit.page.on("dialog", lambda dialog: visit.said.append(f"dialog {dialog.message}"))
        visit.page.goto(self.url + fragment)
        return visit


@pytest.fixture
def visit(chromium: Browser, report_folder: Path) -> Iterator[Visitor]:
    visitor = Visitor(chromium, (report_folder / "index.html").as_uri())
    yield visitor
    for context in visitor.contexts:
        context.close()


def colour(page: Page, selector: str, name: str) -> tuple[int, ...]:
    words = page.evaluate("([s, n]) => getComputedStyle(document.querySelector(s))[n]", [selector, name])
    return tuple(int(float(part)) for part in words.strip("rgba()").replace(",", " ").split()[:3])


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG contrast ratio of two sRGB colours."""

    def light(rgb: tuple[int, ...]) -> float:
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_it_opens_from_disk_silently_and_loads_nothing(visit: Visitor) -> None:
    seen = visit()
    seen.page.wait_for_load_state("networkidle")
    assert seen.said == []
    assert seen.asked == [visit.url]
    assert seen.page.locator("figure svg[role=img]").count() == 3


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1280, 1920])
def test_no_width_scrolls_the_page_sideways(visit: Visitor, width: int) -> None:
    page = visit(viewport={"width": width, "height": 844}).page
    for details in page.locator("details").all():
        details.evaluate("node => { node.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_contents_stand_beside_the_report_or_fold_into_it(visit: Visitor) -> None:
    wide, phone = visit().page, visit(viewport={"width": 390, "height": 844}).page
    assert wide.locator("nav.side").is_visible()
    assert not wide.locator("details.narrow").is_visible()
    assert not phone.locator("nav.side").is_visible()
    assert phone.locator("details.narrow").is_visible()
    wide.locator("nav.side a", has_text="Provenance").click()
    assert wide.evaluate("document.querySelector('#provenance').getBoundingClientRect().top") < 450


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_fragment_opens_where_it_says(chromium: Browser, report_folder: Path, scripts: bool, width: int) -> None:
    """Also below thirty figures that have no height of their own until they come near."""
    text = (report_folder / "index.html").read_text()
    plate = re.search(r'<div class="plate.*?</figure>', text, re.DOTALL)
    assert plate is not None
    many = report_folder / f"many-{scripts}-{width}.html"
    many.write_text(text.replace(plate[0], (re.sub(r' id="[^"]*"', "", plate[0]) + "</div>") * 30 + plate[0]))
    options: dict[str, Any] = {"java_script_enabled": scripts, "viewport": {"width": width, "height": 500}}
    options["reduced_motion"] = "no-preference"
    page = Visitor(chromium, many.as_uri())("#not-computed", **options).page
    seen = [0.0]
    while len(seen) < 40 and not (10 <= seen[-1] <= 20 and seen[-1] == seen[-4:][0]):
        page.wait_for_timeout(50)
        box = page.locator("#not-computed").bounding_box()
        assert box is not None
        seen.append(box["y"])
    page.context.close()
    assert 10 <= seen[-1] <= 20, seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read_figures_too(visit: Visitor, scheme: str) -> None:
    page = visit(color_scheme=scheme).page
    paper = colour(page, "body", "backgroundColor")
    assert (sum(paper) < 200) == (scheme == "dark")
    for selector in ("body", ".quiet", "a[download]", ".check b", ".kicker", ".cap", ".tiles .name"):
        assert contrast(colour(page, selector, "color"), paper) >= 4.5, selector
    assert contrast(colour(page, ".art svg text[fill=currentColor]", "fill"), paper) >= 4.5


def test_the_switch_changes_the_theme_and_remembers_it(visit: Visitor) -> None:
    page = visit(color_scheme="light").page
    light = colour(page, "body", "backgroundColor")
    page.locator("#theme").click()
    dark = colour(page, "body", "backgroundColor")
    assert sum(dark) < 200 < sum(light)
    page.reload()
    assert colour(page, "body", "backgroundColor") == dark


def test_without_scripts_it_is_whole_and_shows_no_dead_control(visit: Visitor) -> None:
    seen = visit(java_script_enabled=False)
    page = seen.page
    assert page.locator("figure svg[role=img]").count() == 3
    assert page.locator("button:visible, input:visible").count() == 0
    page.locator("summary", has_text="Figure 1 as a table").click()
    assert page.locator("#fig-alpha-capital table.matrix").is_visible()
    assert page.locator("h2", has_text="What was not computed").is_visible()


def test_on_paper_figures_and_tables_are_there_and_navigation_is_not(visit: Visitor) -> None:
    page = visit(color_scheme="dark").page
    printed = pypdf.PdfReader(io.BytesIO(page.pdf()))
    text = " ".join(" ".join(p.extract_text() for p in printed.pages).split())
    for words in ("Figure 1.", "Figure 3.", "Leading heads", "Glossary"):
        assert words in text
    page.emulate_media(media="print")
    assert not page.locator("nav.side").is_visible()
    assert not page.locator("#theme").is_visible()
    assert colour(page, "body", "backgroundColor") == (255, 255, 255)
    assert sum(colour(page, "body", "color")) < 200


def middle(page: Page, plate: str, layer: int, head: int) -> tuple[float, float]:
    """Where on the screen the middle of a head's cell is, the map brought into view."""
    cells = page.locator(f"{plate} [data-panels]").first
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    assert box is not None
    return (
        box["x"] + (layer + 0.5) * box["width"] / sample.LAYERS,
        box["y"] + (head + 0.5) * box["height"] / sample.HEADS,
    )


def test_a_cell_under_the_pointer_is_named_and_a_click_opens_its_head(visit: Visitor) -> None:
    seen = visit()
    page = seen.page
    x, y = middle(page, "#fig-alpha-ioi", 2, 1)
    page.mouse.move(x, y)
    said = page.locator(".tip").inner_text().splitlines()
    assert said[:2] == ["L2H1 −0.999 [−1.099, −0.899]", "Effect on IOI"]
    assert said[2] == "rank 1 of 12, n = 50, family-wise line 0.900"
    page.mouse.click(x, y)
    assert page.locator("#head h2").inner_text() == "L2H1"
    effect = page.locator("#head tr", has_text="Effect on IOI")
    assert effect.locator("td.n").all_inner_texts() == ["−0.999 [−1.099, −0.899]", "–", "1"]
    assert effect.locator("svg circle.dot").count() == 1
    page.keyboard.press("Escape")
    assert not page.locator("#head").is_visible()
    assert seen.said == []


def test_arrow_keys_walk_the_map_and_enter_opens_a_head(visit: Visitor) -> None:
    page = visit().page
    art = page.locator("#fig-alpha-capital .art")
    art.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        art.press(key)
    assert page.locator("#head h2").inner_text() == "L1H1"


def test_the_passport_says_labels_evidence_texts_tokens_and_scores(visit: Visitor) -> None:
    seen = visit("#L1H2")
    panel = seen.page.locator("#head")
    row = panel.locator(".ladder tbody tr").first
    assert row.locator("td").evaluate_all("cells => cells.map(c => c.className)") == [
        "not-run", "not-run", "whole", "not-run", "passed"
    ]  # fmt: skip
    assert row.locator(".sign").all_inner_texts() == ["\u2013", "\u2013", "(\u2713)", "\u2013", "\u2713"]
    assert "causal effect: passed (the set as a whole)" in (row.locator("td").nth(2).get_attribute("title") or "")
    sharp, flat = panel.locator(".texts li").all()
    assert sharp.locator("mark").count() == 1
    assert sharp.locator("mark").get_attribute("title") == "weight 0.80"
    assert len(sharp.locator(".here").inner_text()) == 41  # a very long token is cut
    assert flat.locator("mark").count() == 0
    assert "nothing but the first position" in flat.inner_text()
    assert panel.locator("h3").all_inner_texts() == ["Labels and their evidence", "In text", "Salient tokens", "Scores"]
    assert panel.locator("svg.dots").count() >= 3
    assert "No leading label" in panel.inner_text()
    assert seen.said == []


def test_the_passport_names_the_one_leading_label_and_its_ties(visit: Visitor) -> None:
    label = visit("#L2H1").page.locator("#head .leader").inner_text()
    assert label.startswith("Leading label: Capital score, 0.")
    assert "; tied with Capital score (0." in label


def test_findings_lead_to_their_figures_and_fold_the_rest(visit: Visitor) -> None:
    page = visit().page
    assert page.locator(".verdicts .claims tbody tr").count() == 1
    page.locator(".verdicts .claims th a").click()
    assert page.url.endswith("#fig-alpha-capital")
    assert page.evaluate("document.querySelector('#fig-alpha-capital').getBoundingClientRect().top") < 100


def test_links_to_heads_open_the_panel_and_unknown_ones_do_nothing(visit: Visitor) -> None:
    page = visit("#L1H2").page
    assert page.locator("#head h2").inner_text() == "L1H2"
    assert "Movers" in page.locator("#head .ladder").inner_text()
    assert not visit("#L99H99").page.locator("#head").is_visible()
    page = visit().page
    link = page.locator("table.rows a").first
    name = link.text_content()
    link.click()
    assert page.locator("#head h2").inner_text() == name
    page.locator("#find-text").fill("l0h3")
    page.locator("#find-text").press("Enter")
    assert page.locator("#head h2").inner_text() == "L0H3"


def test_hostile_words_stay_words(visit: Visitor) -> None:
    seen = visit("#L1H2")
    assert seen.page.locator("img").count() == 0
    assert "<img src=x onerror=alert(1)>" in seen.page.locator("h1").inner_text()
    assert "<img src=x onerror=alert(1)>" in seen.page.locator("#head").inner_text()
    assert seen.said == []


def test_downloads_lie_where_the_page_says(visit: Visitor, report_folder: Path) -> None:
    page = visit().page
    links = {link.get_attribute("href") or "" for link in page.locator("a[download]").all()}
    assert len(links) == 3 * 6 + 5
    assert all((report_folder / link).stat().st_size for link in links)


def test_the_csv_that_the_page_makes_is_the_file(visit: Visitor, report_folder: Path) -> None:
    """Of a map from the scores that the page carries: ranks, sets and weights included."""
    page = visit().page
    for plate in page.locator(".plate").all():
        name = plate.get_attribute("data-figure")
        page.evaluate("() => { URL.createObjectURL = (blob) => { window.made = blob.text(); return '#'; }; }")
        plate.locator("[data-kind=csv]").evaluate("(link) => link.click()")
        wait = "async () => { while (!window.made) await new Promise((go) => setTimeout(go, 20)); return window.made; }"
        made = page.evaluate(wait)
        page.evaluate("() => { window.made = null; }")
        assert made == (report_folder / "figures" / f"{name}.csv").read_text("utf-8")
