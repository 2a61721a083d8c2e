"""The README's pictures are what the tool draws now."""

from __future__ import annotations

import re
from pathlib import Path

from reportgen.cli import app
from tests.docs.test_tutorial import DRAWN

ROOT = Path(__file__).parents[2]
TUTORIALS = "docs/figures/relations-name_copying.svg"  # compared there


def test_its_pictures_are_drawn_from_the_published_run(tmp_path: Path) -> None:
    """Colours and words in order; where they stand may differ by a version of the renderer."""
    shown = re.findall(r"!\[[^\]]+\]\((docs/[\w./-]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert shown == [TUTORIALS, "docs/figures/sparse-circuit.svg"]
    assert TUTORIALS.removeprefix("docs/") in (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    new = tmp_path / "new.svg"
    run = ROOT / "site" / "runs" / "mini"
    assert app(["figure", str(run), Path(shown[1]).stem, "--out", str(new)], standalone_mode=False) in (0, None)
    drawn = DRAWN.findall((ROOT / shown[1]).read_text("utf-8"))
    assert drawn == DRAWN.findall(new.read_text("utf-8"))
    assert len(drawn) > 48
