"""Controls keep what they claim to keep, and change the rest."""

from __future__ import annotations

import torch

from reportgen.suites.relations.controls import Folded, Matched, singular_values, twin_of
from tests.suites.relations.plain import random_weights


def products(W_V: torch.Tensor, W_O: torch.Tensor) -> torch.Tensor:
    return W_V.repeat_interleave(len(W_O) // len(W_V), dim=0) @ W_O  # [head d_model d_model]


def test_matched_maps_keep_the_singular_values_and_nothing_else() -> None:
    w = random_weights(0, heads=4, kv=2)
    own = products(w.V[1], w.O[1])
    drawn = products(*Matched(w, seed=3).maps(1))
    torch.testing.assert_close(
        torch.linalg.svdvals(drawn)[:, :4], torch.linalg.svdvals(own)[:, :4], rtol=1e-4, atol=1e-4
    )
    overlap = (drawn * own).sum((1, 2)) / own.norm(dim=(1, 2)) / drawn.norm(dim=(1, 2))
    assert overlap.abs().max() < 0.5


def test_matched_maps_follow_their_seed_and_layer() -> None:
    w = random_weights(0)
    first = Matched(w, seed=3)
    torch.testing.assert_close(first.maps(0), Matched(w, seed=3).maps(0), rtol=0, atol=0)
    assert not torch.allclose(first.maps(0)[1], first.maps(1)[1])
    assert not torch.allclose(first.maps(0)[1], Matched(w, seed=4).maps(0)[1])


def test_singular_values_are_those_of_the_product() -> None:
    w = random_weights(1, heads=4, kv=2)
    expected = torch.linalg.svdvals(products(w.V[0], w.O[0]).double())[:, :4].float()
    torch.testing.assert_close(singular_values(w.V[0], w.O[0]), expected, rtol=1e-5, atol=1e-5)


def test_folding_is_what_the_scaled_vectors_give() -> None:
    w = random_weights(2)
    assert not Folded(w).changes
    w.ln1, w.final, w.post = torch.rand(2, 16) + 0.5, torch.rand(16) + 0.5, torch.rand(2, 16) + 0.5
    assert Folded(w).changes
    x = torch.randn(5, 16)
    W_V, W_O = Folded(w).maps(1)
    by_hand = ((x * w.ln1[1]) @ w.V[1] @ w.O[1]) * w.post[1] * w.final
    torch.testing.assert_close(x @ W_V @ W_O, by_hand, rtol=1e-4, atol=1e-4)


def test_weights_without_a_model_have_no_twin() -> None:
    assert twin_of(random_weights(0)) is None
