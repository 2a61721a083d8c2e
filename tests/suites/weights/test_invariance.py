"""What must not change a score: rotations inside heads, their order, a norm's scale multiplied in; what must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reportgen.scores import SuiteResult
from reportgen.selftest.planted import PlainWeights, random_weights, two_planes
from reportgen.suites.base import Context
from reportgen.suites.weights.scoring.score import score
from reportgen.suites.weights.suite import SUITE

GIVEN = {"words": 0, "rotations": 0, "permutations": 0, "twins": 0}
HEADS, KV, LAYERS = 6, 2, 3


def weights(seed: int = 0, *, turning: bool = True) -> PlainWeights:
    made = random_weights(seed, layers=LAYERS, heads=HEADS, kv=KV, d_model=24, queries=True)
    g = torch.Generator().manual_seed(seed + 1)
    made.ln1, made.final = 1 + torch.rand(LAYERS, 24, generator=g), 1 + torch.rand(24, generator=g)
    made.turn = two_planes() if turning else None
    return made


def scored(of: PlainWeights) -> SuiteResult:
    return score(of, SUITE.make_settings("quick", GIVEN), Context(seed=0, threads=1))


def same(one: SuiteResult, other: SuiteResult, order: list[int] | None = None, but: tuple[str, ...] = ()) -> None:
    """Every score and every pair; `order`: where heads of `other` stand in `one`."""
    assert [s.key for s in one.scores] == [s.key for s in other.scores]
    keep = list(range(HEADS)) if order is None else order
    for a, b in zip(one.scores, other.scores, strict=True):
        if a.measure not in but:
            np.testing.assert_allclose(a.values[:, keep], b.values, rtol=2e-4, atol=2e-4, err_msg=a.key)
    flat = [layer * HEADS + head for layer in range(LAYERS) for head in keep]
    for name, array in one.arrays.items():
        if name.startswith("composition") and name.rpartition("/")[2] not in but:
            there = other.arrays[name].values.astype(np.float32)
            np.testing.assert_allclose(
                array.values.astype(np.float32)[np.ix_(flat, flat)], there, rtol=5e-3, atol=5e-3, err_msg=name
            )


def commuting(turn: Tensor, g: torch.Generator) -> Tensor:
    """A rotation and stretch of each plane of `turn` [2 plane], which commutes with turning the planes."""
    out = torch.zeros(4, 4)
    for one, other in turn.T.tolist():
        angle, size = (float(torch.rand((), generator=g)) * 3 for _ in range(2))
        c, s = (1 + size) * np.cos(angle), (1 + size) * np.sin(angle)
        out[one, one], out[other, other], out[one, other], out[other, one] = c, c, s, -s
    return out


def test_a_change_of_basis_inside_heads() -> None:
    """W_V R with R^-1 W_O, and W_Q A with W_K A^-T, where A commutes with the rotary planes."""
    made, g = weights(), torch.Generator().manual_seed(5)
    assert made.Q is not None
    assert made.K is not None
    assert made.turn is not None
    R = torch.randn(LAYERS, KV, 4, 4, generator=g) + 3 * torch.eye(4)
    A = torch.stack([commuting(made.turn.pairs, g) for _ in range(LAYERS * KV)]).view(LAYERS, KV, 4, 4)
    wide = {name: x.repeat_interleave(HEADS // KV, 1) for name, x in (("R", R), ("A", A))}
    moved = replace(
        made, V=made.V @ R, O=torch.linalg.inv(wide["R"]) @ made.O,
        Q=made.Q @ wide["A"], K=made.K @ torch.linalg.inv(A).mT,
    )  # fmt: skip
    same(scored(made), scored(moved))


def test_a_rotation_that_does_not_commute_is_seen() -> None:
    """A turn of queries and keys across the planes changes what rotary positions leave, but nothing of the OV maps."""
    made, g = weights(), torch.Generator().manual_seed(5)
    assert made.Q is not None
    assert made.K is not None
    H = torch.linalg.qr(torch.randn(4, 4, generator=g)).Q
    one, other = scored(made), scored(replace(made, Q=made.Q @ H, K=made.K @ H))
    for name in ("copying/vocabulary", "matching/vocabulary", "identity/residual", "composition_in/v"):
        np.testing.assert_allclose(one[name].values, other[name].values, atol=2e-4)
    for name in ("qk_norm/map", "composition_in/q", "composition_in/k"):
        assert np.nanmax(np.abs(one[name].values - other[name].values)) > 0.01
    plain = [scored(replace(made, Q=Q, K=K, turn=None)) for Q, K in ((made.Q, made.K), (made.Q @ H, made.K @ H))]
    same(plain[0], plain[1])


def test_heads_in_another_order() -> None:
    made, order = weights(1), [4, 5, 3, 1, 2, 0]  # whole groups change places, and heads within them
    assert made.Q is not None
    assert made.K is not None
    moved = replace(made, V=made.V[:, [1, 0]], K=made.K[:, [1, 0]], O=made.O[:, order], Q=made.Q[:, order])
    same(scored(made), scored(moved), order)


def test_a_norms_scale_multiplied_in() -> None:
    """Folded scores stay; raw ones are those of the weights as they lie."""
    made = weights(2)
    assert made.Q is not None
    assert made.K is not None
    assert made.ln1 is not None
    assert made.final is not None
    scale = made.ln1[:, None, :, None]
    moved = replace(
        made, V=made.V * scale, Q=made.Q * scale, K=made.K * scale, U=made.U * made.final[:, None], ln1=None, final=None
    )
    one, other = scored(made), scored(moved)
    same(one, other, but=("copying_raw", "matching_raw", "raw"))
    assert np.abs(one["copying_raw/vocabulary"].values - other["copying_raw/vocabulary"].values).max() > 0.01


def test_grouped_heads_score_as_their_copies() -> None:
    made = weights(3)
    assert made.K is not None
    full = replace(made, V=made.V.repeat_interleave(3, 1), K=made.K.repeat_interleave(3, 1))
    one, other = scored(made), scored(full)
    same(one, other, but=("value_overlap",))  # a copy overlaps wholly with the other copies
    np.testing.assert_allclose(other["value_overlap/residual"].values, 1, atol=1e-5)
    assert one.facts["group"] == 3
    assert any("share W_K and W_V" in note for note in one.notes)
    assert not other.notes


@pytest.mark.parametrize("turning", [True, False])
def test_random_weights_compose_as_the_null_says(turning: bool) -> None:
    """Over the pairs of Gaussian weights: mean z near 0, sd near 1, no pair beyond the family-wise line."""
    result = scored(replace(weights(4, turning=turning), ln1=None, final=None))
    for kind in ("q", "k", "v"):
        z = result.arrays[f"composition/{kind}/z"].values.astype(float)
        z = z[np.isfinite(z)]
        assert len(z) == 3 * HEADS**2
        assert abs(z.mean()) < 0.5
        assert 0.6 < z.std() < 1.5
        facts = result.facts["composition"][kind]  # type: ignore[index]
        assert facts["beyond_both"] == 0
