from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.theme import text_width
from reportgen.report.pdf import INSET_PT, LANDSCAPE_PT, PORTRAIT_PT, SIZES_PT, TableLayout, fit, longest

WORD = st.text("abcdefghij-", max_size=30)


def widths(layout: TableLayout) -> tuple[float, ...]:
    (part,) = layout.parts
    return part.widths


def test_a_small_table_keeps_its_natural_width() -> None:
    layout = fit(("Head", "Value"), [("L0H1", "0.123")], (False, True))
    assert (layout.size, layout.landscape) == (SIZES_PT[0], False)
    assert sum(widths(layout)) < 100


def test_sentences_share_what_numbers_leave() -> None:
    layout = fit(("What", "n"), [("a sentence " * 30, "1,000")], (False, True))
    assert not layout.landscape
    assert PORTRAIT_PT / 2 <= sum(widths(layout)) <= PORTRAIT_PT
    assert widths(layout)[1] >= text_width("1,000", layout.size)


def test_many_columns_get_smaller_text_then_the_long_side_then_parts() -> None:
    names = tuple(f"column{i}" for i in range(40))
    row = ("[0.123, 0.456]",) * 40
    assert fit(names[:9], [row[:9]], (True,) * 9).size < SIZES_PT[0]
    aside = fit(names[:11], [row[:11]], (True,) * 11)
    assert aside.landscape
    assert len(aside.parts) == 1
    cut = fit(names, [row], (True,) * 40)
    assert all(part.columns[0] == 0 for part in cut.parts)
    assert [i for part in cut.parts for i in part.columns[1:]] == list(range(1, 40))


@given(st.lists(st.tuples(WORD, WORD, WORD), max_size=5), st.lists(WORD, min_size=3, max_size=3), st.integers(1, 12))
def test_no_table_is_wider_than_its_page_and_no_head_than_its_column(
    rows: list[tuple[str, str, str]], heads: list[str], copies: int
) -> None:
    names = [head or "x" for head in heads] * copies
    layout = fit(names, [row * copies for row in rows], (False, True, False) * copies)
    for part in layout.parts:
        assert sum(part.widths) <= (LANDSCAPE_PT if layout.landscape else PORTRAIT_PT) + 0.1
        for i, width in zip(part.columns, part.widths, strict=True):
            assert longest(names[i], layout.size, bold=True) + INSET_PT <= width + 0.1
