"""axe-core finds nothing serious or critical, in both themes, with everything unfolded and a passport open."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.browser.test_page import Visitor, visit

__all__ = ["visit"]  # the fixture

pytestmark = pytest.mark.browser

WHOLE = ".plate, .table { content-visibility: visible !important }"  # axe skips what was not painted


@pytest.mark.parametrize(
    ("scheme", "width", "fragment"), [("light", 1280, ""), ("dark", 1280, "#L1H2"), ("light", 390, "#L1H2")]
)
def test_no_serious_finding(visit: Visitor, scheme: str, width: int, fragment: str) -> None:
    page = visit(fragment, color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True).page
    page.add_style_tag(content=WHOLE)
    page.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [
        f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not grave, "\n".join(grave)


def test_it_would_find_something(chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content(
        '<html lang="en"><title>t</title><main><h1>t</h1><p style="color:#eee">pale</p><button></button></main>'
    )
    found = {v["id"] for v in Axe().run(page).response["violations"]}
    page.close()
    assert {"color-contrast", "button-name"} <= found
