"""Letters that the shipped fonts lack: set by a font of the system, or written out; never a box, never nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from reportgen.errors import FontWarning
from reportgen.figures import export, theme
from reportgen.figures.figure import Figure
from reportgen.scores import Table

WORDS = ["\u4e2d\u6587\u6a21\u578b", "\u0639\u0631\u0628\u064a", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600"]


def drawn(label: str) -> bytes:
    """A PNG of that one label."""
    text = f'<text x="4" y="30" font-size="20">{label}</text>'
    family = "Liberation Sans, Arial, Helvetica, sans-serif"
    return export.png(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 40" font-family="{family}">{text}</svg>'
    )


@pytest.mark.parametrize("word", WORDS)
def test_letters_that_no_font_has_are_written_out_with_a_warning(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theme, "on_system", lambda char: False)
    with pytest.warns(FontWarning, match=theme.written(word[0]).replace("\\", r"\\").replace("{", r"\{")):
        text, system = theme.settable(f"a {word}")
    assert (text, system) == (f"a {theme.printable(word)}", False)
    with pytest.warns(FontWarning):
        assert drawn(word) == drawn(theme.printable(word))


@pytest.mark.parametrize("word", WORDS)
def test_letters_that_the_system_has_are_set_in_its_font(word: str) -> None:
    if not all(theme.on_system(char) for char in word):
        pytest.skip(f"no font with {word!r} on this machine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert theme.settable(word) == (word, True)
        seen = {drawn(char * 2) for char in dict.fromkeys(word) if char.isalpha()} | {drawn("")}
        letters = len({char for char in word if char.isalpha()})
    assert len(seen) == letters + 1  # boxes would be alike, and text that was dropped is like none


def test_plain_figures_ask_no_font_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theme, "on_system", lambda char: pytest.fail(f"{char!r} was looked for"))
    assert theme.settable("Layer \u2212 \u00e9 \u03b1")[1] is False
    assert export.png(export.svg(samples_figure()))


def samples_figure() -> Figure:
    import reportgen

    chart = reportgen.heatmap(np.eye(3), label="Score")
    return Figure("a", "b", "Title", "Caption.", "Alt.", chart, Table("a", "t", (), ()))
