"""Heads added to a circuit that keeps too little: chosen on one half of the templates, measured on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reportgen.suites.circuits.scoring.missed_heads import MissedHeadSearch, in_both

TEMPLATES = np.array([0, 1, 2, 3, 0, 1, 2, 3])


def search(
    worth: dict[tuple[int, int], tuple[float, float]], most: int = 4, verified: int = 12, misled: float = 0.0
) -> MissedHeadSearch:
    """m is the sum of what the heads kept are worth on prompts of even and of odd templates.

    Estimates are exact, but for L0H3's, which is too large by `misled`.
    """
    value = np.zeros((2, 3, 4))
    for head, both in worth.items():
        value[:, head[0], head[1]] = both

    def m(
        ablated: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.stack([(~ablated * value[template % 2]).sum((1, 2)) for template in TEMPLATES], 1)

    def restored(
        ablated: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        found = np.stack([ablated * value[template % 2] for template in TEMPLATES])
        found[:, 0, 3] += misled * ablated[0, 3]
        return found

    everything = np.zeros((1, 3, 4), bool)
    return MissedHeadSearch(m, restored, m(everything)[0], m(~everything)[0], TEMPLATES, most, 0.02, verified)


def own(*heads: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    grid = np.zeros((3, 4), bool)
    for head in heads:
        grid[head] = True
    return grid


def test_heads_that_both_halves_choose_are_named_and_f_is_of_the_other_half() -> None:
    worth = {(0, 0): (5.0, 4.0), (1, 1): (3.0, 4.0), (2, 2): (2.0, 0.0), (2, 3): (0.0, 2.0)}
    even, odd = search(worth).ways(own((0, 0)))
    assert even.heads == ((1, 1), (2, 2))
    assert even.kept == pytest.approx([0.4, 0.8, 0.8])  # on the odd templates L2H2 is worth nothing
    assert (even.chosen_on, even.n) == ("templates of even index", 4)
    assert odd.heads == ((1, 1), (2, 3))
    assert odd.kept == pytest.approx([0.5, 0.8, 0.8])
    assert in_both((even, odd)) == ((1, 1),)


def test_the_search_stops_where_nothing_helps_or_enough_were_added() -> None:
    worth = {(0, 0): (5.0, 5.0), **{(1, head): (1.0, 1.0) for head in range(4)}, (2, 0): (1.0, 1.0)}
    assert [len(way.heads) for way in search(worth, most=3).ways(own((0, 0)))] == [3, 3]
    assert [len(way.heads) for way in search({(0, 0): (5.0, 5.0)}).ways(own((0, 0)))] == [0, 0]
    too_much = {(0, 0): (5.0, 5.0), (1, 0): (9.0, 9.0), (1, 1): (-9.0, -9.0)}
    assert [way.heads for way in search(too_much).ways(own((0, 0)))] == [(), ()]


def test_only_the_likeliest_are_tried_and_exact_values_decide() -> None:
    worth = {(0, 0): (5.0, 5.0), (1, 1): (3.0, 3.0), (2, 2): (2.0, 2.0)}
    for verified, heads in ((12, ((1, 1), (2, 2))), (2, ((1, 1), (2, 2))), (1, ((1, 1), (2, 2)))):
        assert [way.heads for way in search(worth, verified=verified).ways(own((0, 0)))] == [heads, heads]
    tried = search(worth, verified=2, misled=4.9).ways(own((0, 0)))  # L0H3 seems best, and is worth nothing
    assert [way.heads for way in tried] == [((1, 1), (2, 2))] * 2
    assert [way.heads for way in search(worth, verified=1, misled=4.9).ways(own((0, 0)))] == [(), ()]


def test_one_template_cannot_be_halved() -> None:
    one = search({(0, 0): (1.0, 1.0)})
    assert replace(one, templates=np.zeros(8, np.int64)).ways(own((0, 0))) == ()
    assert in_both(()) == ()
