"""The README's pictures are those of docs/smollm2.md, which a test draws again, and its first screen is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs import smollm2

ROOT = Path(__file__).parents[2]


def test_its_pictures_are_of_the_published_run_of_a_real_model() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((docs/[\w./-]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert shown == [
        *(f"docs/figures/{file}" for file in list(smollm2.FIGURES)[:2]),
        "docs/figures/smollm2-first-screen.png",
    ]
    assert (ROOT / shown[2]).read_bytes().startswith(b"\x89PNG")
