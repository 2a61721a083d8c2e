"""Repeats stand where they should, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import NotApplicable
from reportgen.suites.attention.scoring.patterns import plain_words, repeated, usable_lags
from tests.tiny import WORDS, tiny_folder


@given(st.integers(4, 8), st.integers(3, 6), st.booleans(), st.integers(0, 50))
def test_only_the_block_repeats(first: int, gap: int, bos: bool, seed: int) -> None:
    lags = (first, first + gap)
    made = repeated(range(100, 160), lags, 7, 0 if bos else None, np.random.default_rng(seed))
    assert made.ids.shape == (6, 1 + 2 * lags[1])  # 7 rounded down to the same number for each lag
    assert np.bincount(made.which).tolist() == [3, 3]
    for row, index in zip(made.ids, made.which, strict=True):
        lag = lags[index]
        assert (row[-lag:] == row[-2 * lag : -lag]).all()
        assert len(set(row.tolist())) == len(row) - lag  # nothing else stands twice
        assert (row[0] == 0) == bos
    assert made.queries == first


def test_queries_lie_in_the_second_copy_for_every_lag() -> None:
    made = repeated(range(100), (5, 9), 4, None, np.random.default_rng(0))
    length = made.ids.shape[1]
    for row, index in zip(made.ids, made.which, strict=True):
        for query in range(length - made.queries, length):
            assert row[query] == row[query - made.lags[index]]
            assert query - made.lags[-1] >= 1  # no cell in the BOS column


def test_sequences_share_no_pool_of_words() -> None:
    def draws(words: int) -> list[set[int]]:
        made = repeated(range(words), (4, 9), 8, None, np.random.default_rng(0))
        return [set(row.tolist()) for row in made.ids]

    assert sum(map(len, draws(8 * 19))) == len(set().union(*draws(8 * 19)))  # words of its own for every sequence
    assert len(set().union(*draws(60))) > 50  # too few for that: every sequence draws from all of them


def test_plain_words_are_tokens_at_a_word_start(tmp_path: Path) -> None:
    from reportgen.models.load import load

    model = load(tiny_folder("gpt2", tmp_path), device="cpu")
    found = plain_words(model.tokens, model.tokens.size, 10_000, np.random.default_rng(0))
    wanted = {word for word in WORDS if len(word) >= 3 and word.isalpha()}
    assert sorted(model.tokens.decode([i]) for i in found) == sorted(f" {word}" for word in wanted)
    assert len(plain_words(model.tokens, model.tokens.size, 5, np.random.default_rng(0))) == 5


def test_lags_that_do_not_fit_are_left_out() -> None:
    assert usable_lags((28, 13, 17), 40) == (13, 17)
    with pytest.raises(NotApplicable, match="context of 30 tokens"):
        usable_lags((13, 17), 30)


def test_too_few_words() -> None:
    with pytest.raises(NotApplicable, match="10 plain words, 19 are needed"):
        repeated(range(10), (4, 9), 8, None, np.random.default_rng(0))
