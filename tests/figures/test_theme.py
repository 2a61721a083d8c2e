from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest
import reportgen.templates
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures import theme
from reportgen.figures.theme import Style

FONTS = Path(str(reportgen.templates.__file__)).parent / "fonts"


def advances(font: bytes) -> list[int]:
    """Advance widths of ASCII 32..126 in thousandths, read from a TrueType file's cmap and hmtx tables."""

    def short(at: int) -> int:
        return int(struct.unpack(">H", font[at : at + 2])[0])

    tables = {}
    for i in range(short(4)):
        at = 12 + 16 * i
        tables[font[at : at + 4].decode()] = struct.unpack(">I", font[at + 8 : at + 12])[0]
    per_em, metrics = short(tables["head"] + 18), short(tables["hhea"] + 34)
    cmap = tables["cmap"]
    starts = [struct.unpack(">I", font[cmap + 8 + 8 * i : cmap + 12 + 8 * i])[0] for i in range(short(cmap + 2))]
    table = next(cmap + start for start in starts if short(cmap + start) == 4)
    segments = short(table + 6) // 2

    def glyph(code: int) -> int:
        for i in range(segments):
            end, start = short(table + 14 + 2 * i), short(table + 16 + 2 * segments + 2 * i)
            if start <= code <= end:
                delta = short(table + 16 + 4 * segments + 2 * i)
                at = table + 16 + 6 * segments + 2 * i
                offset = short(at)
                return (code + delta) & 0xFFFF if offset == 0 else short(at + offset + 2 * (code - start))
        return 0

    return [round(1000 * short(tables["hmtx"] + 4 * min(glyph(c), metrics - 1)) / per_em) for c in range(32, 127)]


def test_text_widths_are_those_of_the_shipped_font() -> None:
    font = (FONTS / "LiberationSans-Regular.ttf").read_bytes()
    assert [theme.text_width(chr(c), 1000) for c in range(32, 127)] == advances(font)


def test_the_fonts_ship_with_their_licence() -> None:
    assert "SIL Open Font License" in (FONTS / "OFL.txt").read_text("utf-8")
    assert sorted(p.name for p in FONTS.glob("*.ttf")) == [
        "LiberationSans-Bold.ttf", "LiberationSans-Italic.ttf", "LiberationSans-Regular.ttf",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "ticks"),
    [
        (12, list(range(12))),
        (24, [*range(0, 21, 2), 23]),
        (25, [0, 5, 10, 15, 20, 24]),
        (30, [0, 6, 12, 18, 24, 29]),
        (32, [0, 6, 12, 18, 24, 31]),
        (36, [0, 7, 14, 21, 28, 35]),
        (40, [0, 8, 16, 24, 32, 39]),
        (48, [0, 9, 18, 27, 36, 47]),
        (1, [0]),
    ],
)
def test_ticks_step_as_published_and_end_with_the_last(count: int, ticks: list[int]) -> None:
    assert theme.index_ticks(count, 20.0, 9.0, along_x=True) == ticks


@given(st.integers(1, 200), st.floats(0.5, 40), st.floats(4, 14), st.booleans())
def test_tick_labels_never_touch(count: int, cell: float, size: float, along_x: bool) -> None:
    ticks = theme.index_ticks(count, cell, size, along_x)
    extent = theme.text_width(str(count - 1), size) if along_x else size
    assert ticks[0] == 0
    assert all(tick < count for tick in ticks)
    assert all(cell * (b - a) >= extent for a, b in pairwise(ticks))


@given(st.text())
def test_clean_text_is_valid_xml_and_keeps_plain_words(text: str) -> None:
    cleaned = theme.clean(text)
    cleaned.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or c in "\u202e\ufffe\uffff" for c in cleaned)
    assert theme.clean("Name-Mover Heads (≥ 0.15)") == "Name-Mover Heads (≥ 0.15)"


def test_every_font_list_ends_in_sans_serif_and_text_takes_the_pages_colour() -> None:
    config = theme.config(Style(font_size=8))
    assert config["font"].split(", ")[0] == "Liberation Sans"
    assert config["font"].split(", ")[-1] == "sans-serif"
    assert {config["axis"]["labelColor"], config["title"]["color"], config["legend"]["labelColor"]} == {"currentColor"}
    assert config["axis"]["labelOverlap"] is False
    assert config["axis"]["titleFontSize"] == 8
