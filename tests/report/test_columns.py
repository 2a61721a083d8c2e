from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.theme import text_width
from reportgen.report.columns import LANDSCAPE_PT, PORTRAIT_PT, SIZES_PT, fit

WORD = st.text("abcdefghij-", max_size=30)


def test_a_small_table_keeps_its_natural_width() -> None:
    layout = fit(("Head", "Value"), [("L0H1", "0.123")], (False, True))
    assert (layout.size, layout.landscape) == (SIZES_PT[0], False)
    assert sum(layout.widths) < 100


def test_sentences_share_what_numbers_leave() -> None:
    layout = fit(("What", "n"), [("a sentence " * 30, "1,000")], (False, True))
    assert not layout.landscape
    assert PORTRAIT_PT / 2 <= sum(layout.widths) <= PORTRAIT_PT
    assert layout.widths[1] >= text_width("1,000", layout.size)


def test_many_columns_get_smaller_text_then_the_long_side() -> None:
    names = tuple(f"column{i}" for i in range(13))
    row = ("[0.123, 0.456]",) * 13
    assert fit(names[:9], [row[:9]], (True,) * 9).size < SIZES_PT[0]
    assert fit(names, [row], (True,) * 13).landscape


@given(st.lists(st.tuples(WORD, WORD, WORD), max_size=5))
def test_no_table_is_wider_than_its_page(rows: list[tuple[str, str, str]]) -> None:
    layout = fit(("a", "b", "c"), rows * 3, (False, True, False))
    assert sum(layout.widths) <= (LANDSCAPE_PT if layout.landscape else PORTRAIT_PT) + 0.1
