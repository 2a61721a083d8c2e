from __future__ import annotations

import pytest

from reportgen.errors import SettingsError
from reportgen.figures import export
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, Style
from reportgen.figures.heatmap import heatmap
from reportgen.figures.widths import COLUMNS, LEAST_PT, inches, legible, smallest_text
from tests.figures import samples


@pytest.mark.parametrize(
    ("text", "want"),
    [("3.25in", 3.25), ("3.25", 3.25), ("8.255cm", 3.25), ("82.55 mm", 3.25), ("72.27pt", 1.0), ("icml", 3.25)],
)
def test_widths_in_words(text: str, want: float) -> None:
    assert inches(text) == pytest.approx(want)


@pytest.mark.parametrize("text", ["wide", "-3in", "0.2in", "400in", "3.25 feet", "nan"])
def test_other_words_are_refused_with_the_columns_there_are(text: str) -> None:
    with pytest.raises(SettingsError, match="icml-wide"):
        inches(text)


def test_no_width_is_none() -> None:
    assert inches("") is None


def figure(style: Style) -> Figure:
    scores = samples.scores(12, 12)
    return samples.figure(heatmap(scores, style=style), table([(scores, [])]), id="a-map")


def test_the_smallest_text_is_measured_as_printed() -> None:
    plain = export.svg(figure(Style()), Style())
    assert smallest_text(plain) == pytest.approx(8.8)
    style = Style(width_in=3.25, font_size=8)
    assert smallest_text(export.svg(figure(style), style)) == pytest.approx(7.04, abs=0.3)
    assert smallest_text('<svg viewBox="0 0 10 10"></svg>') == float("inf")


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_every_column_has_text_of_six_points_or_more(column: str) -> None:
    made, style = legible(figure, Style(width_in=COLUMNS[column], font_size=5))
    assert smallest_text(export.svg(made, style)) >= LEAST_PT - 0.01
    assert style.width_in == COLUMNS[column]


def test_text_that_is_large_enough_stays() -> None:
    asked = Style(width_in=3.25, font_size=9)
    assert legible(figure, asked)[1] == asked


def test_a_figure_that_cannot_hold_its_text_is_refused() -> None:
    def stubborn(style: Style) -> Figure:
        return figure(Style(font_size=4))  # drawn for the screen, then made smaller

    with pytest.raises(SettingsError, match="below 6 pt"):
        legible(stubborn, Style(width_in=1.0, font_size=4))
