"""One relation's numbers: head scores with intervals and adjusted p-values, controls, and the best head held out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reportgen.scores import EVERY_HEAD, HeadScores, head_name
from reportgen.stats import benjamini_hochberg, clustered_wilson, halves, permutation_p, step_down_max_t, wilson
from reportgen.suites.relations.data import Kept
from reportgen.suites.relations.null import MAX_CELLS, MEASURES, Permutations
from reportgen.suites.relations.passes import Pass, RelationHits
from reportgen.suites.relations.suite import RelationsSettings

Grid = npt.NDArray[np.float64]  # [layer head]
Shares = Mapping[str, tuple[Grid, int]]  # measure -> hits per head, NaN where not computed, and pairs

LABELS = {
    "score": "{} score",
    "suppression": "(Suppression) {} score",
    "strict": "{} score, strict",
    "adjusted": "{} score, copier-adjusted",
    "folded": "{} score, norms folded",
}


@dataclass(frozen=True)
class Held:
    """The head that is best on one half of the pairs, estimated on the other: its share `value` of `n` pairs there."""

    head: str
    value: float
    low: float
    high: float
    n: int
    n_targets: int
    chosen_n: int


@dataclass(frozen=True, eq=False)
class RelationResult:
    """Everything about one relation that the tables, facts and figures are made from.

    scores    measure -> HeadScores, in the order of LABELS
    bh        measure -> heads that pass Benjamini-Hochberg, None where the permutations cannot resolve it
    copiers   input ("embedding", "first_mlp") -> measure -> the ideal copier's share, None where no pair counts
    controls  "twin" and "matched" -> shares of every measure, one per draw
    """

    kept: Kept
    k: int
    raw: RelationHits
    scores: Mapping[str, HeadScores]
    bh: Mapping[str, int | None]
    best: Mapping[str, Held | None]
    copiers: Mapping[str, Mapping[str, float | None]]
    controls: Mapping[str, Sequence[Shares]]

    @property
    def stem(self) -> str:
        return self.kept.relation.stem


def shares(done: Pass, copier: Pass, ks: Mapping[str, int]) -> dict[str, Shares]:
    """Stem -> shares of a whole pass, for controls, of which nothing else is kept."""
    out: dict[str, Shares] = {}
    for stem, k in ks.items():
        hits = done.relation(stem, k, copied_pairs(copier, stem, k))
        out[stem] = {measure: hits.share(measure) for measure in MEASURES}
    return out


def copied_pairs(copier: Pass, stem: str, k: int) -> npt.NDArray[np.bool_]:
    """[pair] the pairs that the ideal copier hits without the source's column."""
    return copier.relation(stem, k).hits["adjusted"][:, 0, 0]


def reaches(hits: Grid, n: int, tau: float) -> npt.NDArray[np.bool_]:
    """hits / n >= tau in whole numbers (6 of 40 is exactly 0.15, a float32 mean is not). NaN does not."""
    limit = Fraction(str(tau))
    return np.asarray(hits * limit.denominator >= n * limit.numerator)


def score_hits(scores: HeadScores) -> Grid:
    """Hits per head, whole numbers recovered from shares of n; NaN where not computed."""
    return np.asarray(np.rint(scores.values.astype(np.float64) * scores.n), dtype=np.float64)


def relation_result(
    kept: Kept,
    k: int,
    settings: RelationsSettings,
    raw: Pass,
    folded: Pass | None,
    copiers: Mapping[str, Pass],
    controls: Mapping[str, Sequence[Mapping[str, Shares]]],
    nulls: Mapping[str, Permutations],
    seed: int,
) -> RelationResult:
    """Put one relation's numbers together."""
    stem = kept.relation.stem
    copied = copied_pairs(copiers["embedding"], stem, k)
    hits = raw.relation(stem, k, copied)
    null = nulls.get(stem)
    scores, bh = {}, {}
    for measure in MEASURES:
        draws = None if null is None else null.shares(measure)
        scores[measure], bh[measure] = _head_scores(kept, measure, hits, draws, settings)
    if folded is not None:
        scores["folded"] = _folded_scores(kept, folded.relation(stem, k))
    rng = np.random.default_rng([seed, zlib.crc32(stem.encode()), 1])
    return RelationResult(
        kept=kept,
        k=k,
        raw=hits,
        scores=scores,
        bh=bh,
        best={m: held_out(hits, m, kept.targets, rng) for m in ("score", "suppression", "adjusted")},
        copiers={
            name: _copier_shares(done.relation(stem, k, None if name == "embedding" else copied), name)
            for name, done in copiers.items()
        },
        controls={name: [draw[stem] for draw in draws] for name, draws in controls.items()},
    )


def _head_scores(
    kept: Kept, measure: str, hits: RelationHits, draws: npt.NDArray[np.float32] | None, settings: RelationsSettings
) -> tuple[HeadScores, int | None]:
    """Shares with Wilson's interval and step-down p, and how many heads pass Benjamini-Hochberg."""
    counts, n = hits.share(measure)
    if n == 0:
        return _share(kept, measure, counts, 0, "every pair copies its source", _all(hits)), None
    if draws is None:
        why = "no permutations were asked for" if not settings.permutations else f"more than {MAX_CELLS:,} cells"
        return _share(kept, measure, counts, n, why, hits.reasons), None
    observed = (counts / n).ravel()
    p = step_down_max_t(observed, draws, floor=1 / n).reshape(counts.shape)
    passed = benjamini_hochberg(permutation_p(observed.astype(np.float32), draws), len(draws), settings.alpha)
    return _share(kept, measure, counts, n, "", hits.reasons, p), passed


def _folded_scores(kept: Kept, hits: RelationHits) -> HeadScores:
    counts, n = hits.share("score")
    return _share(kept, "folded", counts, n, "the null is drawn for the raw weights only", hits.reasons)


def _all(hits: RelationHits) -> dict[str, str]:
    return {EVERY_HEAD: "no pair has a target other than its source", **hits.reasons}


def _share(
    kept: Kept,
    measure: str,
    counts: Grid,
    n: int,
    no_null: str,
    reasons: Mapping[str, str],
    p: Grid | None = None,
) -> HeadScores:
    low, high = wilson(counts, n)
    return HeadScores(
        key=f"relations/{measure}/{kept.relation.stem}",
        label=LABELS[measure].format(kept.relation.title),
        values=(counts / max(n, 1)).astype(np.float32),
        n=n,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        p=None if p is None else p.astype(np.float32),
        no_null=no_null,
        range=(0.0, 1.0),
        reasons=reasons,
    )


def _copier_shares(hits: RelationHits, name: str) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for measure in MEASURES:
        counts, n = hits.share(measure)
        share = float(counts[0, 0]) / n if n else float("nan")
        out[measure] = share if np.isfinite(share) else None
    if name == "embedding" and out["adjusted"] is not None:
        out["adjusted"] = 0.0  # it is the copier that `adjusted` takes off
    return out


def held_out(hits: RelationHits, measure: str, targets: Sequence[int], rng: np.random.Generator) -> Held | None:
    """The best head of one half of the pairs, scored on the other half; None where either half is empty."""
    counted = hits.counted[measure]
    grid = hits.hits[measure][counted]  # [pair layer head]
    clusters = np.asarray(targets)[counted]
    if not len(clusters):
        return None
    first = halves(clusters.tolist(), rng)
    alive = (hits.twice > 0).all(axis=0)
    if not alive.any() or first.all() or not first.any():
        return None
    chosen = np.where(alive, grid[first].sum(axis=0), -1)
    place = chosen.size - 1 - int(np.argmax(chosen.ravel()[::-1]))  # equal: the larger layer, then head
    layer, head = divmod(place, chosen.shape[1])
    rest = grid[~first, layer, head]
    low, high = clustered_wilson(rest, clusters[~first].tolist())
    return Held(
        head=head_name(layer, head),
        value=float(rest.mean()),
        low=low,
        high=high,
        n=len(rest),
        n_targets=len(np.unique(clusters[~first])),
        chosen_n=int(first.sum()),
    )
