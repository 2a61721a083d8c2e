"""The gallery as a reader meets it: searched and sorted without a network, light, dark, on a phone, scripts off."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from reportgen.imported.store import Source, import_table
from reportgen.site.build import build_site
from reportgen.site.settings import Site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    runs = []
    for name, layers in (("Beta", 2), ("alpha", 4), ("Gamma", 3)):
        table = folder / f"{name}.csv"
        column = "induction" if name == "alpha" else "copying"
        table.write_text(f"{column}\n" + "".join(f"{i / (2 * layers)}\n" for i in range(2 * layers)))
        runs.append(import_table(table, Source(name, layers, 2), folder / "runs"))
    build_site(runs, folder / "public", Site(url="https://me.example/heads/"))
    return folder / "public"


def names(page) -> list[str]:  # type: ignore[no-untyped-def]
    return page.locator(".card:visible h2 a").all_inner_texts()


def test_search_and_sort_without_a_request(chromium: Browser, site: Path) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto((site / "index.html").as_uri())
    assert page.input_value("#sort") == "place"
    assert names(page) == ["Beta", "alpha", "Gamma"]
    page.select_option("#sort", "name")
    assert names(page) == ["alpha", "Beta", "Gamma"]
    page.select_option("#sort", "place")
    assert names(page) == ["Beta", "alpha", "Gamma"]
    page.select_option("#sort", "layers")
    assert names(page) == ["alpha", "Gamma", "Beta"]
    page.fill("#search", "COPYING gam")
    assert names(page) == ["Gamma"]
    assert page.inner_text("#count") == "1 of 3 runs"
    page.fill("#search", "nothing like it")
    assert names(page) == []
    assert page.is_visible("#none")
    assert [url for url in asked if not url.startswith("data:")] == [(site / "index.html").as_uri()]
    assert said == []
    assert page.evaluate("document.querySelector('.maps img').naturalWidth") == 4
    page.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_is_wider_than_the_screen(chromium: Browser, site: Path, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800})
    for file in (site / "index.html", site / "404.html", next((site / "alpha" / "at").glob("*.html"))):
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file
    page.close()


def test_without_scripts_all_runs_are_there_and_no_dead_control(chromium: Browser, site: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    assert len(names(page)) == 3
    assert not page.is_visible("#tools")
    assert not page.is_visible("#theme")
    context.close()


def test_the_theme_is_remembered_from_the_gallery_to_a_report(chromium: Browser, site: Path) -> None:
    page = chromium.new_page(color_scheme="light")
    page.goto((site / "index.html").as_uri())
    page.click("#theme")
    page.click(".card h2 a")
    page.wait_for_selector("#theme")  # hidden until the page's script has run
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("header .kicker a")
    assert page.locator(".card").count() == 3
    page.close()


def test_a_changed_figure_is_pointed_to_from_its_old_address(chromium: Browser, site: Path) -> None:
    page = chromium.new_page()
    body = (site / "404.html").read_text("utf-8")
    page.route("https://me.example/**", lambda route: route.fulfill(status=404, content_type="text/html", body=body))
    page.goto("https://me.example/heads/alpha/at/imported-induction-0123456789abcdef.html")
    assert page.is_visible("#moved")
    now = str(page.get_attribute("#now", "href"))
    assert (site / now.removeprefix("/heads/")).is_file()
    page.goto("https://me.example/heads/alpha/at/imported-other-0123456789abcdef.html")
    assert not page.is_visible("#moved")
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious(chromium: Browser, site: Path, scheme: str, width: int) -> None:
    context = chromium.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 900},
        bypass_csp=True,
    )
    page = context.new_page()
    for file in (site / "index.html", site / "404.html", next((site / "alpha" / "at").glob("*.html"))):
        page.goto(file.as_uri())
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
        assert not grave, (file.name, grave)
    context.close()
