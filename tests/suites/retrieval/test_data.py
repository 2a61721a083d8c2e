"""The text that ships: the script makes these bytes, needles and haystack share no word, and the plan is balanced."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.suites.retrieval import layout, make_data
from reportgen.suites.retrieval.layout import M, Value

VALUES = [Value(text, i, 2 + (i % 10 > 5) + (i % 10 > 8)) for i, text in enumerate(make_data.VALUES)]


@pytest.mark.parametrize(
    ("what", "path"), [("haystack", layout.HAYSTACK), ("needles", layout.NEEDLES), ("check", layout.CHECKED)]
)
def test_the_script_makes_the_files_that_ship(what: str, path: object) -> None:
    written = io.StringIO()
    with redirect_stdout(written):
        make_data.main(what)
    assert path.read_text("utf-8") == written.getvalue()  # type: ignore[attr-defined]
    assert ('"licence": "CC0-1.0"' in written.getvalue()) == (what != "check")


def test_the_haystack_is_as_described() -> None:
    subjects, fillers, *_ = layout.shipped()
    frames = [frame for own, *_ in make_data.SUBJECTS.values() for frame in own]
    assert len(subjects) == 12
    assert len(set(frames)) == 60
    for sentences in subjects.values():
        assert len(set(sentences)) == len(sentences) == 240
    for text in (*(s for own in subjects.values() for s in own), *fillers):
        assert re.fullmatch(r"[A-Z][a-z', ]+\.", text), text  # one sentence, no name, no number


def test_needles_and_haystack_share_no_word() -> None:
    subjects, fillers, attributes, things, values = layout.shipped()
    hay = set[str]().union(*(make_data.words(s) for own in (*subjects.values(), fillers) for s in own))
    each = [*attributes, *attributes.values(), *things, *values]
    assert (len(attributes), len(set(things)), len(set(values))) == (16, 48, 60)
    assert len({make_data.words(one).pop() for one in things}) == 48
    assert not hay & set[str]().union(*map(make_data.words, each))
    named = set[str]().union(*map(make_data.words, each[:-60]))
    assert not named & set[str]().union(*map(make_data.words, values))
    assert len({value.split()[0] for value in values}) == 60


def test_over_all_turns_every_depth_has_every_class_equally_often() -> None:
    found = layout.imbalance(layout.plan(48, VALUES, np.random.default_rng(0)))
    assert found == {"attribute": 0, "thing": 0, "length": 0, "kind": 0}
    few = layout.imbalance(layout.plan(6, VALUES, np.random.default_rng(0)))
    assert few["attribute"] < 1
    assert few["kind"] <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_a_document_repeats_nothing_and_halves_share_no_thing(documents: int, seed: int) -> None:
    plans = layout.plan(documents, VALUES, np.random.default_rng(seed))
    for facts in plans:
        for name in ("attribute", "thing", "value"):
            assert len({getattr(fact, name) for fact in facts}) == M
        assert [f.kind for f in facts].count("literal") == M // 2
        assert sorted(f.value.length for f in facts) == layout.pattern(VALUES)
    even, odd = ({f.thing for facts in plans[i::2] for f in facts} for i in (0, 1))
    assert not even & odd


def test_the_lengths_of_values_keep_their_proportion() -> None:
    assert layout.pattern([Value("a", 0, 2)] * 45 + [Value("b", 1, 3)] * 15) == [2] * 6 + [3] * 2
    assert len(layout.pattern([Value("a", 0, n) for n in (2, 3, 3, 4, 4)])) == M


def test_values_that_a_tokenizer_cannot_use_are_left_out() -> None:
    ids = {"a": [1, 2], "b": [1, 3], "c": [4], "d": [5, 0], "e": [6, 7, 8, 9], "f": [2, 2, 2, 2, 2], "g": None}
    assert [v.text for v in layout.usable(list(ids), ids.__getitem__, 0)] == ["a", "e"]
