"""Statistics that are reduced inside the forward pass equal those of a plain reference that keeps every pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reportgen.mini import bundled_folder
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.text import classes
from reportgen.suites.text.scoring import measures, stream
from reportgen.suites.text.scoring.statistics import by_distance, columns, tally, writers
from tests.suites.text import plain
from tests.tiny import WORDS, tiny_folder

FIRST = 4


def windows_of(model: Model, lengths: tuple[int, ...], seed: int = 0) -> tuple[stream.Window, ...]:
    """Windows of random words in which words come back; the last has no token after it."""
    rng = np.random.default_rng(seed)
    words = rng.permutation(np.arange(2, 2 + len(WORDS)))[:9]
    made = []
    for number, length in enumerate(lengths):
        ids = rng.choice(words, length)
        ids[0] = words[0] if model.tokens.bos_id is None else model.tokens.bos_id
        following = int(rng.choice(words)) if number < len(lengths) - 1 else -1
        made.append(stream.Window(ids, following, number, bytes([number]) * 16, 0))
    return tuple(made)


@pytest.fixture(scope="module", params=["mini", "gpt2", "qwen2", "gpt_neox"])  # grouped queries: qwen2
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "mini":
        return load(bundled_folder("mini"), device="cpu")
    folder = tiny_folder(request.param, tmp_path_factory.mktemp(request.param), bos=request.param == "qwen2")
    return load(folder, device="cpu")


def test_they_equal_those_of_a_reference_that_keeps_every_pattern(model: Model) -> None:
    windows = windows_of(model, (26, 26, 19))
    every = np.concatenate([np.append(w.ids, max(0, w.following)) for w in windows])
    table = classes.table(model.tokens, every, "")
    count = len(classes.names(""))
    found = tally(model, windows, writers(model), table, count, FIRST, 2)
    wanted = plain.statistics(model, windows, table, count, FIRST)
    ratios = measures.ratios(found)
    assert set(ratios) == set(wanted) - {"excess", "kinds", "distance", "mass"}
    for name, ratio in ratios.items():
        np.testing.assert_allclose(ratio.value, wanted[name], rtol=3e-4, atol=3e-5, err_msg=name)
    for index in range(count):
        got = measures.excess(found, index).value
        np.testing.assert_allclose(got, wanted["excess"][..., index], atol=2e-5, err_msg=classes.names("")[index])
    kinds = found.sum_of("kind").sum(0)
    np.testing.assert_allclose(kinds / kinds.sum(-1, keepdims=True), wanted["kinds"], atol=1e-4)


def test_the_batch_changes_nothing(model: Model) -> None:
    windows = windows_of(model, (20, 20, 20, 20, 14), seed=1)
    table = classes.table(model.tokens, np.concatenate([np.append(w.ids, max(0, w.following)) for w in windows]), "")
    of, count = writers(model), len(classes.names(""))
    one, three = (tally(model, windows, of, table, count, FIRST, batch) for batch in (1, 3))
    np.testing.assert_allclose(one.sums, three.sums, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.controls, three.controls, atol=1e-4)
    np.testing.assert_array_equal(one.controlled, three.controlled)


def test_mass_by_distance_is_the_sum_of_diagonals_without_key_0() -> None:
    torch.manual_seed(0)
    pattern = torch.rand(2, 3, 7, 7).tril()
    weights = (torch.rand(2, 2, 6) > 0.4).float()
    found = by_distance(pattern, weights)
    for distance in range(7):
        for which in range(2):
            wanted = sum(
                weights[:, which, q - 1, None] * pattern[:, :, q, q - distance]
                for q in range(1, 7)
                if q - distance >= 1
            )
            torch.testing.assert_close(found[:, :, which, distance], torch.zeros(2, 3) + wanted)


def test_columns_do_not_overlap() -> None:
    taken = [place for part in columns(4).values() for place in range(part.start, part.stop)]
    assert sorted(taken) == list(range(len(taken)))


def test_what_is_kept_does_not_grow_with_the_windows_length(model: Model) -> None:
    """A row of sums per window; patterns are let go layer by layer."""
    of, count = writers(model), len(classes.names(""))
    sizes = []
    for length in (16, 32):
        windows = windows_of(model, (length, length))
        table = classes.table(model.tokens, np.concatenate([w.ids for w in windows] + [np.array([40])]), "")
        sizes.append(tally(model, windows, of, np.maximum(table, 0), count, FIRST, 2).sums.nbytes)
    assert sizes[0] == sizes[1]
