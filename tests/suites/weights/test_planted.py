"""Planted heads and their decoys: every score finds what was written, exactly, in three families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load, stream
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.facts import read
from reportgen.suites.weights.facts import WeightsFacts
from reportgen.suites.weights.scoring.score import score
from reportgen.suites.weights.suite import SUITE
from tests.suites.weights import planted

GIVEN = {"k": 1, "words": 60, "keys": 0, "rotations": 60, "permutations": 199, "twins": 0}
FAMILIES = tuple(planted.FIELDS)


@pytest.fixture(scope="module", params=FAMILIES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, SuiteResult]:
    torch.set_num_threads(1)
    folder = planted.write(request.param, tmp_path_factory.mktemp("planted") / request.param)
    model = load(folder, device="cpu")
    return request.param, folder, score(model, SUITE.make_settings("quick", GIVEN), Context(seed=0, threads=1))


def test_copier_and_its_negative(made: tuple[str, Path, SuiteResult]) -> None:
    _, _, result = made
    for name in ("copying/vocabulary", "copying_mlp/vocabulary"):
        values, p = result[name].values, result[name].p
        assert values[1, 1] == pytest.approx(1, abs=1e-4)
        assert values[1, 0] == pytest.approx(-1, abs=1e-4)
        assert abs(values[1, 2]) < 0.3 > abs(values[1, 3])  # which step on
        assert p is not None
        assert p[1, 1] == p[1, 0] == pytest.approx(1 / 61)


def test_suppression_is_the_share_of_words_written(made: tuple[str, Path, SuiteResult]) -> None:
    _, _, result = made
    n = result["suppression/words"].n
    share = planted.SHOWN / n
    assert n == len([word for word in planted.WORDS if len(word) > 2])
    ordered = len([*planted.NUMBERS, *planted.DAYS]) / n  # which L1H2 and L1H3 look for, and do not lower
    for half, own in (("suppression", 0.0), ("suppression_ov", 0.0), ("suppression_qk", ordered)):
        values = result[f"{half}/words"].values
        assert values[1, 0] == pytest.approx(share, abs=1e-6), half
        assert values[1, 1] == 0
        for decoy in ((1, 2), (1, 3)):  # LayerNorm's mean makes ties, of which rounding may take one
            assert values[decoy] == pytest.approx(own, abs=1.1 / n), half
    p = result["suppression/words"].p
    assert p is not None
    assert p[1, 0] == pytest.approx(1 / 200)
    assert any(s.key == "weights/suppression/copy_suppressors" and s.heads == ((1, 0),) for s in result.head_sets)


def test_successors_are_counted_class_by_class(made: tuple[str, Path, SuiteResult]) -> None:
    _, _, result = made
    forward, backward = result["successor/classes"].values, result["predecessor/classes"].values
    days = len(planted.DAYS)
    assert forward[1, 2] == pytest.approx((1 + (days - planted.LATE) / days) / 2)
    assert backward[1, 3] == pytest.approx(1)
    assert forward[1, 3] == backward[1, 2] == 0
    assert result["repeat/classes"].values[1, 1] > 0.5
    assert set(result.facts["classes"]) == {"number_words", "days"}  # type: ignore[call-overload]
    p = result["successor/classes"].p
    assert p is not None
    assert p[1, 2] <= 0.05 < p[1, 3]


def test_strict_successors_stand_out_among_all_tokens(made: tuple[str, Path, SuiteResult]) -> None:
    _, _, result = made
    within, strict = result["successor/classes"], result["successor_strict/classes"]
    assert strict.values[1, 2] >= within.values[1, 2]  # where it wins its class it is among the k highest
    assert strict.values[1, 3] < 0.5  # the predecessor's
    assert strict.n == within.n
    assert strict.p is not None
    assert strict.p[1, 2] <= 0.05


def test_identity(made: tuple[str, Path, SuiteResult]) -> None:
    family, _, result = made
    values, p = result["identity/residual"].values, result["identity/residual"].p
    kept = planted.D_HEAD * (1 - 1 / planted.D) if family != "llama" else planted.D_HEAD  # LayerNorm takes the mean off
    assert values[2, 0] == pytest.approx((kept / planted.D) ** 0.5, rel=0.01)
    assert values[2, 1] == pytest.approx(0, abs=0.01)
    assert p is not None
    assert p[2, 0] < 1e-6 < p[2, 1]


def test_composition_pair(made: tuple[str, Path, SuiteResult]) -> None:
    family, _, result = made
    excess = result.arrays["composition/k/excess"].values.astype(float)  # [writer reader]
    z = result.arrays["composition/k/z"].values.astype(float)
    want = planted.D / planted.SHOWN - 1
    for writer in (4, 5):
        for reader in (10, 11):
            assert excess[writer, reader] == pytest.approx(want, rel=0.02 if family == "llama" else 0.1)
        for decoy in (8, 9):
            assert excess[writer, decoy] == pytest.approx(-1, abs=0.1)
    ordered = np.argsort(np.where(np.isfinite(z), -z, np.inf), axis=None)[:4]
    assert {tuple(int(i) for i in np.unravel_index(at, z.shape)) for at in ordered} >= {(4, 10), (5, 11)}
    overlap = result.arrays["composition/k/overlap"].values.astype(float)
    assert overlap[4, 10] > 0.7
    facts = read(result, WeightsFacts).composition["k"]
    assert facts.pairs == 4 * 4 * 3 - 4 * 8 * 1  # layer 0 writes nothing
    assert facts.beyond >= 4


def test_layer_0_is_inactive_and_says_so(made: tuple[str, Path, SuiteResult]) -> None:
    _, _, result = made
    facts = read(result, WeightsFacts)
    assert facts.inactive == [f"L0H{h}" for h in range(4)]
    scores = result["copying/vocabulary"]
    assert np.isnan(scores.values[0]).all()
    assert "inactive" in scores.reason(0, 0)


def test_streamed_weights_give_the_same(made: tuple[str, Path, SuiteResult]) -> None:
    _, folder, result = made
    other = score(stream(folder, device="cpu"), SUITE.make_settings("quick", GIVEN), Context(seed=0, threads=1))
    assert [s.key for s in other.scores] == [s.key for s in result.scores]
    for one, two in zip(result.scores, other.scores, strict=True):
        np.testing.assert_allclose(one.values, two.values, atol=1e-5)


def test_heads_that_read_the_same_directions(made: tuple[str, Path, SuiteResult]) -> None:
    """Overlap of value subspaces: shared dimensions over those of the smaller one; 1 for a copy, and for a part."""
    family, folder, result = made
    ids, per = planted.ids(folder), 2 if family == "llama" else 1
    at, decoy = list(ids.values()), set(planted.unread(ids))
    nothing: set[int] = set()
    shown, ordered = set(at[: planted.SHOWN]), set(at[: len([*planted.NUMBERS, *planted.DAYS])])
    first = set(range(planted.D_HEAD))
    reads = [*[nothing] * 4, shown, shown, ordered, ordered, first, first, decoy, decoy][::per]  # by head
    found = result.arrays["overlap/values"].values.astype(float)
    want = np.array([[len(a & b) / max(1, min(len(a), len(b))) for b in reads] for a in reads])
    empty = np.array([not a for a in reads])
    none = np.eye(len(reads), dtype=np.bool_) | empty | empty[:, None]  # layer 0 reads nothing
    np.testing.assert_array_equal(np.isnan(found), none)
    # LayerNorm takes the mean off, which turns a subspace a little unless the other is contained in it
    np.testing.assert_allclose(found[~none], want[~none], atol=2e-3 if family == "llama" else 0.2)
    same = ~none & (want == 1)
    np.testing.assert_allclose(found[same], 1, atol=1e-3)
    assert (found[~none & ~same] < 0.9).all()
    assert same.any()
    assert (~none & ~same).any()
    facts = read(result, WeightsFacts).values
    assert facts.pairs == int((~none).sum()) // 2
    assert sum(one.overlap > 0.999 for one in facts.top) == int(same.sum()) // 2
