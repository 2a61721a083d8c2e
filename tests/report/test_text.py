from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.theme import clean
from reportgen.report.text import anchor, cleaned, interval, number, p_value, parameters, value_words
from reportgen.scores import Column, Table


@pytest.mark.parametrize(
    ("text", "want"),
    [("plain", "plain"),
     ("a\u202eb", r"a\u{202e}b"), ("a\x07", r"a\u{7}"), ("中文 é", "中文 é"), ("\ud800", r"\u{d800}")],
)  # fmt: skip
def test_clean_writes_out_what_cannot_be_seen(text: str, want: str) -> None:
    assert clean(text) == want


@given(st.text())
def test_cleaned_text_is_encodable_and_stays_clean(text: str) -> None:
    once = clean(text)
    once.encode()
    assert clean(once) == once


def test_cleaned_reaches_every_string_inside() -> None:
    table = Table("key\x01", "title", (Column("a\x02"),), (("b\x03",), (None,)))
    made = cleaned({"x\x04": (table, 3)})
    assert made == {r"x\u{4}": (Table(r"key\u{1}", "title", (Column(r"a\u{2}"),), ((r"b\u{3}",), (None,))), 3)}


@pytest.mark.parametrize(
    ("value", "want"),
    [(0.5, "0.500"), (-0.25, "−0.250"), (0.0, "0.000"), (0.00012, "1.2e−4"), (math.nan, "–"), (None, "–"),
     (-math.inf, "−∞"), (12345678.0, "1.2e7")],
)  # fmt: skip
def test_number(value: float | None, want: str) -> None:
    assert number(value) == want


def test_interval_and_p() -> None:
    assert interval(0.1, 0.25) == "[0.100, 0.250]"
    assert interval(0.1, None) == interval(math.nan, 0.2) == "–"
    assert [p_value(p) for p in (0.0004, 0.0126, 1.0, None)] == ["<0.001", "0.013", "1.000", "–"]


def test_words() -> None:
    assert [parameters(n) for n in (124_439_808, 1_557_611_200, 999, 3_412)] == ["124 M", "1.56 B", "999", "3.41 k"]
    assert value_words(["a", True, 0.5, None]) == "a, on, 0.5, –"
    assert anchor("a b/c") == "a-b-c"
