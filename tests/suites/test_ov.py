"""OV copying against a plain computation over the whole vocabulary; random heads of like norm."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites import ov
from reportgen.suites.ov import random_sets
from tests.tiny import tiny_folder


@pytest.fixture(scope="module", params=["gpt2", "qwen2", "mixtral"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tiny_folder(request.param, tmp_path_factory.mktemp(request.param))
    return load(folder, device="cpu")


def rows(model: Model, ids: list[int], layer: int, head: int) -> torch.Tensor:
    """Logits [token vocab] of a head's OV map, one head at a time."""
    tokens = torch.tensor(ids)
    x = model.embed(tokens)
    if layer > 0 and model.record.family != "mixtral":
        x = model.first_mlp(tokens)
    group = head // (model.record.n_heads // model.record.n_kv_heads)
    return x @ model.W_V(layer)[group] @ model.W_O(layer)[head] @ model.W_U()


def test_top_k_share_counts_the_whole_vocabulary(model: Model) -> None:
    ids = list(range(5, 45))
    names = ov.sources(model, ids)
    assert bool(names.note) == (model.record.family == "mixtral")
    heads = [(layer, head) for layer in range(model.record.n_layers) for head in range(model.record.n_heads)]
    for sign in (1, -1):
        shares = ov.copying_top_k(model, names, heads, k=10, sign=sign)
        for layer, head in heads:
            top = (sign * rows(model, ids, layer, head)).topk(10, dim=1).indices
            wanted = (top == torch.tensor(ids)[:, None]).any(1).float().mean()
            assert shares[layer, head] == pytest.approx(float(wanted))


def test_copying_among_words_is_rank_one_among_them(model: Model) -> None:
    ids = list(range(5, 30))
    shares = ov.copying_among(model, ov.sources(model, ids))
    assert shares.shape == (model.record.n_layers, model.record.n_heads)
    for layer, head in ((0, 1), (2, 3)):
        best = rows(model, ids, layer, head)[:, ids].argmax(1)
        assert shares[layer, head] == pytest.approx(float((best == torch.arange(25)).float().mean()))


def test_a_head_that_writes_nothing_does_not_copy(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    zero = torch.zeros_like(model.W_O(0))
    monkeypatch.setattr(model, "W_O", lambda layer: zero)
    names = ov.sources(model, [5, 6, 7])
    assert not ov.copying_among(model, names).any()
    assert ov.copying_top_k(model, names, [(1, 0)], k=5) == {(1, 0): 0.0}


def test_a_head_whose_logits_are_not_finite_has_no_share(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN stands above nothing and nothing above it: counted, it would be no copy here and a sure one there."""
    whole = model.W_O

    def broken(layer: int) -> torch.Tensor:
        W_O = whole(layer).clone()
        W_O[1] = torch.nan
        return W_O

    ids = list(range(5, 30))
    words = ov.sources(model, ids)
    before = ov.copying_among(model, words)
    monkeypatch.setattr(model, "W_O", broken)
    shares = ov.copying_among(model, words)
    assert np.isnan(shares[:, 1]).all()
    np.testing.assert_array_equal(np.delete(shares, 1, axis=1), np.delete(before, 1, axis=1))
    found = ov.copying_top_k(model, words, [(0, 0), (0, 1)], k=10)
    assert math.isnan(found[0, 1])
    assert not math.isnan(found[0, 0])


def test_random_sets_are_disjoint_and_matched() -> None:
    norms = np.array([[1.0, 1.1, 9.0, 1.2], [5.0, 5.5, 1.0, 6.0], [1.0, 1.0, 1.0, 1.0]])
    allowed = np.ones((3, 4), bool)
    allowed[1, 3] = False
    like = [(0, 0), (1, 0)]
    got = random_sets(like, allowed, norms, 200, np.random.default_rng(0))
    assert set(got.heads[:, 0]) == {1, 3}  # L0H1 and L0H3; L0H2's norm is nine times as large
    assert set(got.heads[:, 1]) == {5}  # L1H1; L1H3 may not be drawn, L1H2 is too small
    assert (got.layer_fallbacks, got.norm_fallbacks) == (0, 0)


def test_random_sets_fall_back_and_count_it() -> None:
    norms = np.array([[1.0, 9.0], [1.0, 1.0], [1.0, 1.0]])
    got = random_sets([(0, 0), (1, 0), (1, 1)], np.ones((3, 2), bool), norms, 10, np.random.default_rng(0))
    assert got.heads[:, 0].tolist() == [1] * 10  # the layer's only other head, nine times as large
    assert {frozenset(row) for row in got.heads[:, 1:].tolist()} == {frozenset((4, 5))}  # layer 1 is empty: layer 2
    assert (got.norm_fallbacks, got.layer_fallbacks) == (10, 20)
    short = random_sets([(0, 0), (0, 1)], np.eye(1, 3, 2, dtype=bool), np.ones((1, 3)), 2, np.random.default_rng(0))
    assert short.heads.tolist() == [[2], [2]]


def test_every_place_is_filled_from_its_own_layer() -> None:
    norms = np.tile([[1.0, 1.1, 1.2, 9.0, 9.5, 10.0]], (4, 1))
    like = [(0, 0), (0, 3), (1, 2), (3, 4)]
    made = random_sets(like, np.ones((4, 6), bool), norms, 50, np.random.default_rng(0)).heads
    flat = [layer * 6 + head for layer, head in like]
    assert made.shape == (50, 4)
    assert not set(made.ravel().tolist()) & set(flat)
    assert (made // 6 == [0, 0, 1, 3]).all()
    assert all(len(set(row)) == 4 for row in made.tolist())
    assert (norms.ravel()[made] < 5).tolist() == [[True, False, True, False]] * 50
