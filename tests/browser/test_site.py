"""The gallery as a reader meets it: searched and sorted without a network, light, dark, on a phone, scripts off."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from reportgen.imported.store import TableSource, import_table
from reportgen.runfolder import Run
from reportgen.site import Site, build_site
from tests.atlas import made_up

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    runs = []
    for name, layers in (("Beta", 2), ("alpha", 4), ("Gamma", 3)):
        table = folder / f"{name}.csv"
        column = "induction" if name == "alpha" else "copying"
        table.write_text(f"{column}\n" + "".join(f"{i / (2 * layers)}\n" for i in range(2 * layers)))
        runs.append(import_table(table, TableSource(name, layers, 2), folder / "runs"))
    build_site(runs, folder / "public", Site(url="https://me.example/heads/"))
    return folder / "public"


def kinds_of_pages(site: Path) -> list[Path]:
    """A page of each kind but reports."""
    one = next(page for page in sorted((site / "classes").glob("*.html")) if "induction" in page.name)
    return [
        site / "index.html",
        site / "heads.html",
        one,
        site / "404.html",
        next((site / "alpha" / "at").glob("*.html")),
    ]


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


def test_one_run_is_counted_in_the_singular(chromium: Browser, site: Path, tmp_path: Path) -> None:
    gallery = build_site([Run.open(site.parent / "runs" / "alpha")], tmp_path / "public", Site())
    page = chromium.new_page()
    page.goto(gallery.as_uri())
    assert page.inner_text("#count") == "1 run"
    page.fill("#search", "nothing like it")
    assert page.inner_text("#count") == "0 of 1 run"
    page.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_is_wider_than_the_screen(chromium: Browser, site: Path, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800})
    for file in kinds_of_pages(site):
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
    for file in kinds_of_pages(site):
        page.goto(file.as_uri())
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
        assert not grave, (file.name, grave)
    context.close()


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two made-up models, the second with half of the heads of the first."""
    folder = tmp_path_factory.mktemp("atlas")
    rng = np.random.default_rng(0)
    old = made_up.values(rng, 4, 6)
    runs = [made_up.stored(folder, "old", old), made_up.stored(folder, "new", made_up.half_copied(old, rng))]
    build_site(runs, folder / "public", Site())
    return folder / "public"


def left(page) -> list[str]:  # type: ignore[no-untyped-def]
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#all p a')].filter(a => a.offsetParent).map(a => a.hash)"
    )
    return found


def test_heads_are_searched_filtered_and_shown_on_the_maps(chromium: Browser, atlas: Path) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((atlas / "heads.html").as_uri())
    assert page.inner_text("#head-count") == "48 heads"
    assert page.locator(".head-map").count() == 6
    page.fill("#head-search", "new L2H3")
    assert left(page) == ["#L2H3"]
    assert page.inner_text("#head-count") == "1 of 48 heads"
    assert page.locator(".head-map").first.locator(".kept").get_attribute("d").count("z") == 1  # type: ignore[union-attr]
    page.fill("#head-search", "l1")
    assert len(left(page)) == 12
    page.fill("#head-search", "")
    page.select_option("#head-class", label="Mover Heads (2)")
    assert left(page) == ["#L1H2", "#L1H2"]
    page.select_option("#head-map", index=2)
    assert page.locator(".head-map:visible").count() == 1
    page.fill("#head-search", "nothing like it")
    assert page.is_visible("#no-head")
    assert asked == [(atlas / "heads.html").as_uri()]
    page.close()


def test_a_dot_of_the_map_is_its_head(chromium: Browser, atlas: Path) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto((atlas / "heads.html").as_uri())
    art = page.locator(".head-map svg").first
    d = str(art.locator(".dots").last.get_attribute("d"))
    place = art.locator(".dots").last.get_attribute("data-run")
    dx, dy = (int(part) for part in re.findall(r"-?\d+", d)[:2])  # the first move: L0H0
    box = art.bounding_box()
    assert box is not None
    scale = box["width"] / 326
    at = {"x": (dx + 22) * scale, "y": (dy + 4) * scale}
    art.hover(position=at)  # type: ignore[arg-type]
    name = ("old", "new")[int(str(place))]
    assert page.locator(".head-map .note").first.inner_text() == f"{name} L0H0. Click: its passport."
    art.click(position=at)  # type: ignore[arg-type]
    page.wait_for_selector("#head-name")
    assert page.url == f"{(atlas / name / 'index.html').as_uri()}#L0H0"
    page.close()


def test_passports_name_the_heads_elsewhere_or_none(chromium: Browser, atlas: Path) -> None:
    page = chromium.new_page()
    data = json.loads(page_data(atlas / "old" / "index.html"))["alike"]
    with_one = next(iter(data["heads"]))
    without = next(f"L{i}H{j}" for i in range(4) for j in range(6) if f"L{i}H{j}" not in data["heads"])
    page.goto(f"{(atlas / 'old' / 'index.html').as_uri()}#{with_one}")
    line = (
        page.locator("#head h3", has_text="Most like it elsewhere").locator("xpath=following-sibling::ul[1]/li").first
    )
    assert "null searches" in line.inner_text()
    page.goto(f"{(atlas / 'old' / 'index.html').as_uri()}#{without}")
    assert "None: no head of 1 other run of this site is nearer than its null." in page.inner_text("#head")
    page.goto(f"{(atlas / 'old' / 'index.html').as_uri()}#{with_one}")
    line.locator("a").click()
    page.wait_for_selector("#head-name")
    assert page.url.startswith((atlas / "new" / "index.html").as_uri() + "#L")
    page.close()


def page_data(file: Path) -> str:
    block = re.search(r'id="passport-data">(.*?)</script>', file.read_text("utf-8"), re.DOTALL)
    assert block is not None
    return block[1]


def test_every_head_is_there_without_scripts_and_in_print(chromium: Browser, atlas: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((atlas / "heads.html").as_uri())
    assert page.locator("#all p a:visible").count() == 48
    assert page.locator(".head-map:visible").count() == 6
    assert not page.is_visible("#head-tools")
    assert b"%PDF" in page.pdf()[:8]
    context.close()
