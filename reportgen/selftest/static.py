"""Checks of the scores computed from weights: relations planted in memory with exact shares, and identities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from reportgen.scores import SuiteResult
from reportgen.selftest.planted import PlainWeights, random_weights
from reportgen.selftest.record import Found, at_most, exactly
from reportgen.suites import ov
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.suite import RelationsSettings

Pairs = Sequence[tuple[int, int]]
MEASURES = ("score", "suppression", "strict", "adjusted")
DRAWS = 60
HITS, PAIRS = 37, 60
VOCAB = 128


class Static:
    """Scores pair lists with the suite `relations`; `folder` takes the lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lists = 0

    def score(self, weights: PlainWeights, pairs: Pairs, k: int, draws: int = 0) -> SuiteResult:
        """All measures of these token pairs; the relation is called `plan`."""
        self._lists += 1
        folder = self.folder / f"pairs-{self._lists}"
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text(json.dumps([[f"w{s}", f"w{t}"] for s, t in pairs]))
        settings = RelationsSettings(
            relations_dir=str(folder), k=k, permutations=draws, chunk=64, tile_mib=1, matched=0, twins=0,
            dynamic=False, multi_token=False, ablation=False, salient_tokens=0,
        )  # fmt: skip
        return score(weights, settings, Context(seed=0, threads=1))

    def all_scores(self, weights: PlainWeights, pairs: Pairs, k: int = 20) -> npt.NDArray[np.float32]:
        """[measure layer head]."""
        result = self.score(weights, pairs, k)
        return np.stack([result[f"{measure}/plan"].values for measure in MEASURES])


def planted() -> tuple[PlainWeights, list[tuple[int, int]]]:
    """Two layers of two heads and sixty pairs. L1H0 writes the target of 37 sources and nothing for others, L1H1 its
    negative; L0H1 copies; L0H0 is noise."""
    draw = torch.Generator().manual_seed(0)
    eye = torch.eye(VOCAB)
    pairs = [(i, PAIRS + i) for i in range(PAIRS)]
    head = torch.zeros(VOCAB, VOCAB)
    for s, t in pairs[:HITS]:
        head[s, t] = 1.0
    maps = torch.stack([0.1 * torch.randn(VOCAB, VOCAB, generator=draw), eye, head, -head]).view(2, 2, VOCAB, VOCAB)
    W_V = eye.expand(2, 2, VOCAB, VOCAB).contiguous()
    return PlainWeights(E=eye, V=W_V, O=maps, U=eye.contiguous(), mlp=eye), pairs


def _hits(result: SuiteResult, measure: str, layer: int, head: int) -> str:
    scores = result[f"{measure}/plan"]
    return f"{float(scores.values[layer, head]) * scores.n:g} of {scores.n}"


def planted_relation(static: Static) -> Found:
    """A head that writes the target of 37 of 60 sources."""
    weights, pairs = planted()
    return exactly(f"{HITS} of {PAIRS}", _hits(static.score(weights, pairs, 1), "score", 1, 0))


def planted_suppression(static: Static) -> Found:
    """A head that lowers the target of 37 of 60 sources."""
    weights, pairs = planted()
    return exactly(f"{HITS} of {PAIRS}", _hits(static.score(weights, pairs, 1), "suppression", 1, 1))


def planted_p(static: Static) -> Found:
    """Adjusted p of the planted head, the copier and the noise: the least there is for one, none for the others."""
    weights, pairs = planted()
    p = static.score(weights, pairs, 1, DRAWS)["score/plan"].p
    assert p is not None
    least = [bool(np.isclose(p[lh], 1 / (DRAWS + 1))) for lh in ((1, 0), (0, 1), (0, 0))]
    return exactly(f"1/{DRAWS + 1}, no, no", ", ".join(f"1/{DRAWS + 1}" if one else "no" for one in least))


def permuted_targets(static: Static) -> Found:
    """The same head with the targets permuted over the sources: the score vanishes."""
    weights, pairs = planted()
    moved = [(s, pairs[(i + 1) % PAIRS][1]) for i, (s, _) in enumerate(pairs)]
    scores = static.score(weights, moved, 1, DRAWS)["score/plan"]
    assert scores.p is not None
    return exactly(
        f"0 of {PAIRS}; 0 heads at p <= 0.05",
        f"{float(scores.values[1, 0]) * PAIRS:g} of {PAIRS}; {int((scores.p <= 0.05).sum())} heads at p <= 0.05",
    )


def copier(static: Static) -> Found:
    """A head that copies, on a relation whose words look alike: first on every pair, and adjusted to nothing."""
    draw = torch.Generator().manual_seed(0)
    half = torch.linalg.qr(torch.randn(64, 64, generator=draw)).Q
    E = torch.cat([half, 0.9 * half])  # [128 64], token i + 64 looks like token i
    eye = torch.eye(64).expand(1, 1, 64, 64).contiguous()
    weights = PlainWeights(E=E, V=eye, O=eye.clone(), U=E.T.contiguous(), mlp=E)
    result = static.score(weights, [(i, i + 64) for i in range(40)], 2)
    return exactly(
        "score 40 of 40, strict 40 of 40, adjusted 0 of 40",
        ", ".join(f"{measure} {_hits(result, measure, 0, 0)}" for measure in ("score", "strict", "adjusted")),
    )


def ties(static: Static) -> Found:
    """Ten tokens share the highest logit, the target among them: its mid-rank is 1 + 9 / 2."""
    weights, pairs = planted()
    for s, t in pairs:
        weights.O[1, 0, s] = 0.0
        weights.O[1, 0, s, [t, *(u for u in range(PAIRS, PAIRS + 10) if u != t)][:10]] = 1.0
    ranks = static.score(weights, pairs, 8).arrays["ranks/plan"].values[:, 1, 0].astype(np.float64) / 2
    return exactly("5.5", ", ".join(f"{rank:g}" for rank in np.unique(ranks)))


def third(static: Static) -> Found:
    """A target with two tokens above it is a hit at k = 3 and not at k = 2."""
    weights, pairs = planted()
    for s, t in pairs:
        weights.O[1, 0, s, [t, s, 127]] = torch.tensor([1.0, 2.0, 3.0])
    found = (_hits(static.score(weights, pairs, k), "score", 1, 0) for k in (2, 3))
    return exactly(f"0 of {PAIRS}, {PAIRS} of {PAIRS}", ", ".join(found))


def dead_head(static: Static) -> Found:
    """A head whose W_O is zero has no score, with a reason."""
    weights, pairs = planted()
    weights.O[0, 0] = 0.0
    scores = static.score(weights, pairs, 1)["score/plan"]
    expected = "nan (inactive: ||W_V W_O|| is below 1e-6 of the median head's)"
    return exactly(expected, f"{float(scores.values[0, 0]):g} ({scores.reason(0, 0)})")


def first_layer(static: Static) -> Found:
    """Layer 0 reads embeddings, later layers the first MLP's output, here of the token before."""
    weights, pairs = planted()
    weights.mlp = torch.eye(VOCAB).roll(1, dims=0)
    weights.O[0, 1] = weights.O[1, 0]
    shifted = [(s + 1, t) for s, t in pairs]
    early, late = _hits(static.score(weights, pairs, 1), "score", 0, 1), static.score(weights, shifted, 1)
    return exactly(f"{HITS} of {PAIRS}, {HITS} of {PAIRS}", f"{early}, {_hits(late, 'score', 1, 0)}")


def permuted_heads(static: Static) -> Found:
    """Heads in another order have their scores in that order."""
    weights, order = random_weights(1), [2, 0, 1]
    moved = replace(weights, V=weights.V[:, order], O=weights.O[:, order])
    one, other = static.all_scores(weights, _pairs()), static.all_scores(moved, _pairs())
    return at_most(0.0, float(np.abs(one[:, :, order] - other).max()))


def permuted_vocabulary(static: Static) -> Found:
    """Tokens in another order change no score."""
    weights = random_weights(2)
    assert weights.mlp is not None
    old = torch.randperm(len(weights.E), generator=torch.Generator().manual_seed(0))  # [new id] its old id
    new = torch.argsort(old).tolist()
    moved = replace(weights, E=weights.E[old], U=weights.U[:, old].contiguous(), mlp=weights.mlp[old])
    one = static.all_scores(weights, _pairs())
    other = static.all_scores(moved, [(new[s], new[t]) for s, t in _pairs()])
    return at_most(0.0, float(np.abs(one - other).max()))


def rotated_values(static: Static) -> Found:
    """W_V R with R^-1 W_O is the same map: no score changes."""
    weights = random_weights(3)
    R = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 3 * torch.eye(4)
    moved = replace(weights, V=weights.V @ R, O=torch.linalg.inv(R) @ weights.O)
    one, other = static.all_scores(weights, _pairs()), static.all_scores(moved, _pairs())
    return at_most(0.0, float(np.abs(one - other).max()))


def grouped_relations(static: Static) -> Found:
    """Two key-value heads for six query heads score as if each query head had its own."""
    grouped = random_weights(4, heads=6, kv=2)
    full = replace(grouped, V=grouped.V.repeat_interleave(3, dim=1))
    one, other = static.all_scores(grouped, _pairs()), static.all_scores(full, _pairs())
    return at_most(0.0, float(np.abs(one - other).max()))


def grouped_copying(static: Static) -> Found:
    """The same for what OV circuits write: the map of each query head against its product in float64."""
    del static
    grouped = random_weights(5, heads=6, kv=2)
    own = grouped.V[1].repeat_interleave(3, dim=0).double() @ grouped.O[1].double()  # [head d_model d_model]
    found = ov.head_outputs(grouped, 1, grouped.E)
    return at_most(1e-4, float((found.double() - grouped.E.double() @ own).abs().max()))


def _pairs() -> list[tuple[int, int]]:
    return [(i % 50, (7 * i + 1) % 90) for i in range(80)]
