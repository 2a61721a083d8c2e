"""Two pictures of the page, compared by structure in blocks: layout and colours are held, letter shapes are not.

All text is set in the package's own typeface, so that the machine's fonts do not move lines.

    UPDATE_GOLDEN=1 pytest tests/browser/test_golden.py     writes them anew: look at what changed before committing
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from reportgen.figures.theme import Style
from reportgen.report.build import build
from reportgen.report.render import write
from tests import pixels
from tests.report import sample

pytestmark = pytest.mark.browser

FOLDER = Path(__file__).parents[1] / "report" / "golden"
ACROSS = 320  # pixels of a stored picture
ALIKE = 0.9  # small changes of type have 0.98 and more, a part left out at most 0.83
VIEWS = {
    "first-screen": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "passport-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
DIFFERENT = ("main { visibility: hidden }", ".wall { display: none }", "nav.side { display: none !important }")
FONT = resources("reportgen.templates").joinpath("fonts", "LiberationSans-Regular.ttf").read_bytes()
TYPEFACE = (
    f"@font-face {{ font-family: Held; src: url(data:font/ttf;base64,{base64.b64encode(FONT).decode()}) }} "
    "* { font-family: Held !important }"
)


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = sample.run(tmp_path_factory.mktemp("plain"))
    folder = run.path / "report"
    write(build(run, suites=sample.SUITES), run, folder, Style(), (), lambda done, total, words: None)
    return (folder / "index.html").as_uri()


class Camera:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def __call__(self, view: str, style: str = "") -> pixels.Picture:
        """The page of `view` as it stands, with more style rules."""
        context = self.browser.new_context(**VIEWS[view], reduced_motion="reduce", bypass_csp=True)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(self.url + ("#L1H2" if view.startswith("passport") else ""))
        page.add_style_tag(content=TYPEFACE)
        if style:
            page.add_style_tag(content=style)
        page.evaluate("document.fonts.ready")
        picture = pixels.decode(page.screenshot())
        context.close()
        return pixels.coarse(picture, ACROSS)


@pytest.fixture(scope="module")
def camera(chromium: Browser, page_url: str) -> Iterator[Camera]:
    return Camera(chromium, page_url)


def golden(view: str, seen: pixels.Picture) -> pixels.Picture:
    path = FOLDER / f"{view}.png"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pixels.encode(seen))
    assert path.is_file(), f"no golden {path.name}: make it with UPDATE_GOLDEN=1, look at it, commit it"
    return pixels.decode(path.read_bytes())


@pytest.mark.parametrize("view", list(VIEWS))
def test_the_page_looks_as_it_did(camera: Camera, view: str) -> None:
    seen = camera(view)
    likeness = pixels.similarity(golden(view, seen), seen)
    assert likeness >= ALIKE, f"{view}: similarity {likeness:.3f}"


def test_small_changes_of_type_pass_and_a_missing_part_does_not(camera: Camera) -> None:
    stored = golden("first-screen", camera("first-screen"))
    for rule in ("* { -webkit-text-stroke: 0.3px }", "p, td, h2 { letter-spacing: 0.004em }"):
        assert pixels.similarity(stored, camera("first-screen", rule)) >= ALIKE, rule
    for rule in DIFFERENT:
        assert pixels.similarity(stored, camera("first-screen", rule)) < ALIKE, rule
