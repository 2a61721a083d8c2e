"""One relation's numbers: head scores with intervals and adjusted p-values, controls, and the best head held out."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from reportgen.scores import (
    EVERY_HEAD,
    Cell,
    Column,
    Head,
    HeadScores,
    HeadSet,
    HeldOut,
    NamedArray,
    NotComputed,
    SuiteResult,
    Table,
    head_name,
)
from reportgen.stats import (
    benjamini_hochberg,
    clustered_wilson,
    halves,
    permutation_p,
    reaches,
    step_down_max_t,
    wilson,
)
from reportgen.suites.pairs import KeptPairs
from reportgen.suites.relations.categories import control_counts
from reportgen.suites.relations.scoring.static import MAX_CELLS, MEASURES, Inputs, Permutations, RankPass, RelationHits
from reportgen.suites.relations.suite import RelationsSettings
from reportgen.suites.relations.suite import controls as controls_of

# The results of one experiment of the suite; score.py joins the pieces into one SuiteResult.


@dataclass(frozen=True, eq=False)
class Pieces:
    """Part of a SuiteResult; the fields are those of SuiteResult."""

    scores: tuple[HeadScores, ...] = ()
    tables: tuple[Table, ...] = ()
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    not_computed: tuple[NotComputed, ...] = ()

    def onto(self, result: SuiteResult) -> SuiteResult:
        """`result` with these pieces added. Raises ValueError where an array or a fact would be overwritten."""
        doubles = (result.arrays.keys() & self.arrays.keys()) | (result.facts.keys() & self.facts.keys())
        if doubles:
            raise ValueError(f"suite {result.suite}: given twice: {sorted(doubles)}")
        return dataclasses.replace(
            result,
            scores=result.scores + self.scores,
            tables=result.tables + self.tables,
            arrays={**result.arrays, **self.arrays},
            facts={**result.facts, **self.facts},
            notes=result.notes + self.notes,
            not_computed=result.not_computed + self.not_computed,
        )


Grid = npt.NDArray[np.float64]  # [layer head]
Shares = Mapping[str, tuple[Grid, int]]  # measure -> hits per head, NaN where not computed, and pairs

LABELS = {
    "score": "{} score",
    "suppression": "(Suppression) {} score",
    "strict": "{} score, strict",
    "adjusted": "{} score, copier-adjusted",
    "folded": "{} score, norms folded",
}


@dataclass(frozen=True, eq=False)
class RelationResult:
    """Everything about one relation that the tables, facts and figures are made from.

    scores    measure -> HeadScores, in the order of LABELS
    bh        measure -> heads that pass Benjamini-Hochberg, None where the permutations cannot resolve it
    copiers   input ("embedding", "first_mlp") -> measure -> the ideal copier's share, None where no pair counts
    controls  "twin" and "matched" -> shares of every measure, one per draw
    """

    kept: KeptPairs
    k: int
    raw: RelationHits
    scores: Mapping[str, HeadScores]
    bh: Mapping[str, int | None]
    copiers: Mapping[str, Mapping[str, float | None]]
    controls: Mapping[str, Sequence[Shares]]

    @property
    def stem(self) -> str:
        return self.kept.relation.stem


def shares(done: RankPass, copier: RankPass, ks: Mapping[str, int]) -> dict[str, Shares]:
    """Stem -> shares of a whole pass, for controls, of which nothing else is kept."""
    out: dict[str, Shares] = {}
    for stem, k in ks.items():
        hits = done.relation(stem, k, copied_pairs(copier, stem, k))
        out[stem] = {measure: hits.share(measure) for measure in MEASURES}
    return out


def copied_pairs(copier: RankPass, stem: str, k: int) -> npt.NDArray[np.bool_]:
    """[pair] the pairs that the ideal copier hits without the source's column."""
    return copier.relation(stem, k).hits["adjusted"][:, 0, 0]


def score_hits(scores: HeadScores) -> Grid:
    """Hits per head, whole numbers recovered from shares of n; NaN where not computed."""
    return np.asarray(np.rint(scores.values.astype(np.float64) * scores.n), dtype=np.float64)


def relation_result(
    kept: KeptPairs,
    k: int,
    settings: RelationsSettings,
    raw: RankPass,
    folded: RankPass | None,
    copiers: Mapping[str, RankPass],
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
    made = RelationResult(
        kept=kept,
        k=k,
        raw=hits,
        scores=scores,
        bh=bh,
        copiers={
            name: _copier_shares(done.relation(stem, k, None if name == "embedding" else copied), name)
            for name, done in copiers.items()
        },
        controls={name: [draw[stem] for draw in draws] for name, draws in controls.items()},
    )
    rng = np.random.default_rng([seed, zlib.crc32(stem.encode()), 1])
    best = {m: held_out(hits, m, kept.targets, rng) for m in ("score", "suppression", "adjusted")}
    return dataclasses.replace(
        made, scores={m: _with_evidence(s, best.get(m), made, settings.tau) for m, s in scores.items()}
    )


def _with_evidence(scores: HeadScores, best: HeldOut | None, r: RelationResult, tau: float) -> HeadScores:
    """The score with its held-out head and, where its measure has them, with the ideal copier and the random twins."""
    draws = [draw[scores.measure] for draw in r.controls["twin"] if scores.measure in draw]
    found = controls_of(r.copiers["embedding"].get(scores.measure), highest_control(draws, tau)["max"])
    return dataclasses.replace(scores, held_out=best, controls=found)


def _head_scores(
    kept: KeptPairs,
    measure: str,
    hits: RelationHits,
    draws: npt.NDArray[np.float32] | None,
    settings: RelationsSettings,
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
    each = permutation_p(observed.astype(np.float32), draws)
    passed = benjamini_hochberg(each, len(draws), settings.alpha)
    shared = _share(kept, measure, counts, n, "", hits.reasons, p)
    return replace(shared, p_each=each.reshape(counts.shape).astype(np.float32)), passed


def _folded_scores(kept: KeptPairs, hits: RelationHits) -> HeadScores:
    counts, n = hits.share("score")
    return _share(kept, "folded", counts, n, "the null is drawn for the raw weights only", hits.reasons)


def _all(hits: RelationHits) -> dict[str, str]:
    return {EVERY_HEAD: "no pair has a target other than its source", **hits.reasons}


def _share(
    kept: KeptPairs,
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


def held_out(hits: RelationHits, measure: str, targets: Sequence[int], rng: np.random.Generator) -> HeldOut | None:
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
    return HeldOut(head_name(layer, head), float(rest.mean()), low, high, len(rest), "one half of the pairs")


# What the report says about the relations in words and tables: facts, tables, head sets.

TOP = 5  # heads per relation in the table


def twin_seeds(settings: RelationsSettings, seed: int) -> list[int]:
    """Seeds of the randomly initialised twins."""
    return [seed + 1 + i for i in range(settings.twins)]


def matched_seeds(settings: RelationsSettings, seed: int) -> list[int]:
    """Seeds of the random OV maps."""
    return [seed + 1 + i for i in range(settings.matched)]


def heads_at_tau(scores: HeadScores, tau: float) -> list[Head]:
    """Heads with at least tau, highest first."""
    at = reaches(score_hits(scores), scores.n, tau) if scores.n else np.zeros(scores.values.shape, dtype=bool)
    return [head for head in scores.ranking() if at[head]]


def n_significant(scores: HeadScores, alpha: float) -> int | None:
    """Heads with adjusted p <= alpha; None without a null."""
    return None if scores.p is None else int((scores.p <= np.float32(alpha)).sum())


def facts(
    results: Sequence[RelationResult],
    raw: RankPass,
    inputs: Inputs,
    settings: RelationsSettings,
    seed: int,
    *,
    twins: bool,
) -> dict[str, object]:
    """The keys that score.py lists."""
    correlations = [c for c in (spearman_folded(r) for r in results) if c is not None]
    dead = np.argwhere(~raw.active)
    return {
        "tau": settings.tau,
        "alpha": settings.alpha,
        "permutations": settings.permutations,
        "seed": seed,
        "d_vocab": raw.ranker.d_vocab,
        "n_heads": raw.active.size,
        "n_tested": int(raw.active.sum()),
        "inactive": [head_name(int(layer), int(head)) for layer, head in dead],
        "first_mlp": inputs.mlp,
        "twin_seeds": twin_seeds(settings, seed) if twins else [],
        "matched_seeds": matched_seeds(settings, seed),
        "spearman_folded": float(np.median(correlations)) if correlations else None,
        "control_categories": {c: _control_categories(c, results, settings.tau) for c in ("twin", "matched")},
        "relations": {r.stem: _relation_facts(r, settings, raw.ranker.d_vocab) for r in results},
    }


def _control_categories(control: str, results: Sequence[RelationResult], tau: float) -> dict[str, dict[str, float]]:
    """Heads per category that a control has by score and by adjusted score, mean over its draws; {} without draws."""
    of = {r.stem: r.kept.relation.category for r in results}
    draws = range(len(results[0].controls[control]))
    if not draws:
        return {}
    return {
        measure: control_counts([{r.stem: r.controls[control][i][measure] for r in results} for i in draws], of, tau)
        for measure in ("score", "adjusted")
    }


def _relation_facts(r: RelationResult, settings: RelationsSettings, d_vocab: int) -> dict[str, object]:
    relation, tau = r.kept.relation, settings.tau
    at = {measure: heads_at_tau(scores, tau) for measure, scores in r.scores.items()}
    return {
        "title": relation.title,
        "category": relation.category,
        "copying": relation.copying,
        "provenance": relation.provenance,
        "k": r.k,
        "k_over_vocab": r.k / d_vocab,
        "n_pairs": len(r.kept.pairs),
        "n_raw": len(relation.pairs),
        "n_sources": len(set(r.kept.sources)),
        "n_targets": len(set(r.kept.targets)),
        "n_apart": r.scores["strict"].n,
        "n_heads_at_tau": {measure: len(heads) for measure, heads in at.items()},
        "heads_at_tau": {measure: [head_name(*head) for head in heads] for measure, heads in at.items()},
        "n_significant": {m: n_significant(s, settings.alpha) for m, s in r.scores.items() if m != "folded"},
        "n_bh": dict(r.bh),
        "copier": {name: r.copiers.get(name) for name in ("embedding", "first_mlp")},
        "twin": _control(r, "twin", tau),
        "matched": _control(r, "matched", tau),
        "spearman_folded": spearman_folded(r),
    }


def _control(r: RelationResult, name: str, tau: float) -> dict[str, object] | None:
    draws = r.controls[name]
    alive = sum(int(np.isfinite(hits).sum()) for hits, _ in (draw["score"] for draw in draws))
    if not alive:
        return None
    measures = {m: highest_control([draw[m] for draw in draws], tau) for m in MEASURES}
    return {**measures["score"], "n_heads": alive, "draws": len(draws), "measures": measures}


def highest_control(draws: Sequence[tuple[Grid, int]], tau: float) -> dict[str, float | int | None]:
    """The highest share among a control's heads, and how many reach tau; None where no pair counts."""
    best = [float(np.nanmax(hits)) / n for hits, n in draws if n and np.isfinite(hits).any()]
    at_tau = sum(int(reaches(hits, n, tau).sum()) for hits, n in draws)
    return {"max": max(best, default=None), "n_at_tau": at_tau if best else None}


def spearman_folded(r: RelationResult) -> float | None:
    """Rank correlation of score and folded over heads; None where either does not vary."""
    if "folded" not in r.scores:
        return None
    x, y = r.scores["score"].values.ravel(), r.scores["folded"].values.ravel()
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return None
    return float(spearmanr(x[both], y[both]).statistic)


def head_sets(r: RelationResult, tau: float) -> list[HeadSet]:
    """The heads that reach tau by score, suppression and copier-adjusted score."""
    sets = []
    for measure, words in (("score", ""), ("suppression", ", suppression"), ("adjusted", ", copier-adjusted")):
        heads = heads_at_tau(r.scores[measure], tau)
        if heads:
            sets.append(
                HeadSet(
                    key=f"relations/{r.stem}/{measure}",
                    score=r.scores[measure].key,
                    label=f"{r.kept.relation.title} heads{words}",
                    heads=tuple(heads),
                    legend="Relation scores of this model",
                    source="computed: relation scores on this model",
                    rule=f"{measure} >= {tau:g} over {r.scores[measure].n} pairs, k = {r.k}",
                )
            )
    return sets


def relations_table(results: Sequence[RelationResult], settings: RelationsSettings, d_vocab: int) -> Table:
    """A row per relation."""
    columns = (
        Column("relation"), Column("category"), Column("k"), Column("k / V", digits=5), Column("pairs"),
        Column("targets"),
        Column("best head"), Column("score"), Column("low"), Column("high"),
        Column("suppression, best"), Column("strict, best"), Column("adjusted, best"),
        Column(f"heads >= {settings.tau:g}"), Column(f"adjusted >= {settings.tau:g}"), Column("significant"),
        Column("significant, BH"),
        Column("held-out head"), Column("held-out score"), Column("held-out low"), Column("held-out high"),
        Column("copier"), Column("twin, best"), Column("random OV, best"), Column("rank correlation with folded"),
    )  # fmt: skip
    caption = (
        f"k / V: the score by chance. Significant: heads with family-wise p <= {settings.alpha:g}; BH: by Benjamini "
        f"and Hochberg at the same level, empty where {settings.permutations:,} permutations can't resolve it. Best "
        "head: at face value, Wilson's 95 % interval. Held-out head: selected on one half, scored on the other. "
        "Copier: the identity in place of a head. Twin: the model at random initialisation. Random OV: singular values "
        "kept, directions drawn. Folded: the score with the norms' scales applied."
    )
    rows = tuple(_relation_row(r, settings, d_vocab) for r in results)
    return Table("relations", "Relations", columns, rows, caption)


def _relation_row(r: RelationResult, settings: RelationsSettings, d_vocab: int) -> tuple[Cell, ...]:
    tau = settings.tau
    score = r.scores["score"]
    held = score.held_out
    ranking = score.ranking()
    best = ranking[0] if ranking else None
    twin, matched = (highest_control([d["score"] for d in r.controls[c]], tau)["max"] for c in ("twin", "matched"))
    return (
        r.kept.relation.title, r.kept.relation.category, r.k, r.k / d_vocab, len(r.kept.pairs),
        len(set(r.kept.targets)),
        head_name(*best) if best else None, _at(score, best), _at(score, best, "low"), _at(score, best, "high"),
        *(_highest(r.scores[m]) for m in ("suppression", "strict", "adjusted")),
        *(len(heads_at_tau(r.scores[m], tau)) for m in ("score", "adjusted")), n_significant(score, settings.alpha),
        r.bh["score"],
        *((held.head, held.value, held.low, held.high) if held else (None,) * 4),
        r.copiers["embedding"]["score"], twin, matched, spearman_folded(r),
    )  # fmt: skip


def top_heads_table(results: Sequence[RelationResult]) -> Table:
    """The highest heads of every relation with all measures."""
    measures = ("strict", "adjusted", "suppression", "folded")
    names = ("relation", "head", "score", "low", "high", "p", *measures)
    rows = [
        (
            r.kept.relation.title,
            head_name(*head),
            *(_at(r.scores["score"], head, grid) for grid in ("values", "low", "high", "p")),
            *(_at(r.scores.get(measure), head) for measure in measures),
        )
        for r in results
        for head in r.scores["score"].ranking()[:TOP]
    ]
    caption = "p: step-down max-T over all heads, targets permuted over pairs. Equal scores: the later head first."
    return Table("top_heads", "Highest heads", tuple(Column(name) for name in names), tuple(rows), caption)


def coverage_table(lists: Sequence[KeptPairs], min_pairs: int) -> Table:
    """Which pair lists this model's tokenizer keeps."""
    names = ("relation", "category", "listed", "kept", "sources", "targets", "scored", "provenance")
    rows = tuple(
        (
            k.relation.title, k.relation.category, len(k.relation.pairs), len(k.pairs), len(set(k.sources)),
            len(set(k.targets)), len(k.pairs) >= min_pairs, k.relation.provenance,
        )
        for k in lists
    )  # fmt: skip
    caption = f"A pair is kept if both words are single tokens; a relation is scored with at least {min_pairs} pairs."
    return Table("coverage", "Pair lists", tuple(Column(name) for name in names), rows, caption)


def _at(scores: HeadScores | None, head: Head | None, grid: str = "values") -> float | None:
    values = getattr(scores, grid) if scores is not None and head is not None else None
    return None if values is None or not np.isfinite(values[head]) else float(values[head])


def _highest(scores: HeadScores) -> float | None:
    ranking = scores.ranking()
    return _at(scores, ranking[0]) if ranking else None
