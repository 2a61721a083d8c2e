"""The README's picture is the tutorial's, which a test draws again."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_its_picture_is_the_tutorials() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((docs/[\w./-]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert shown == ["docs/figures/relations-name_copying.svg"]
    assert shown[0].removeprefix("docs/") in (ROOT / "docs" / "tutorial.md").read_text("utf-8")
