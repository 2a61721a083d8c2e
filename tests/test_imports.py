"""What each entry point imports: help neither torch nor altair, rendering never torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "transformer_lens", "altair", "scipy", "pandas")


def imported(code: str, *names: str) -> set[str]:
    """Which of `names` a fresh process has imported after running `code`."""
    tail = f"\nimport sys\nprint('MODULES', *[m for m in {names!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES"))
    return set(line.split()[1:])


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["render", "--help"], ["--version"], ["suites"]])
def test_help_is_light(words: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["reportgen", *{words!r}]
from reportgen.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    tables = () if words == ["suites"] else ("rich",)
    assert imported(code, *HEAVY, *tables) == set()


def test_the_package_is_light() -> None:
    assert imported("import reportgen", *HEAVY, "numpy") == set()


def test_looking_up_suites_is_light() -> None:
    assert imported("from reportgen import suites\nsuites.choose(())", *HEAVY) == set()


def test_nothing_from_figures_on_names_torch() -> None:
    """Static: no module of figures, report, published or a suite's figures imports torch or the model room."""
    root = Path(__file__).parent.parent / "reportgen"
    files = [*root.glob("figures/*.py"), *root.glob("report/*.py"), *root.glob("atlas/*.py"), root / "published.py"]
    drawing = [*root.glob("suites/*/drawing/*.py"), *root.glob("suites/*/drawing.py"), *root.glob("suites/*/facts.py")]
    assert len(drawing) > 10
    files += drawing
    assert len(files) > 30
    for file in files:
        text = file.read_text("utf-8")
        assert "import torch" not in text, file
        assert "reportgen.models" not in text, file
