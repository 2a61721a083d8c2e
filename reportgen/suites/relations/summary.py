"""What the report says about the relations in words and tables: facts, tables, head sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from scipy.stats import spearmanr

from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, Table, head_name
from reportgen.suites.relations.categories import control_counts
from reportgen.suites.relations.data import Kept
from reportgen.suites.relations.null import MEASURES
from reportgen.suites.relations.passes import Inputs, Pass
from reportgen.suites.relations.results import Grid, RelationResult, reaches, score_hits
from reportgen.suites.relations.suite import RelationsSettings

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
    results: Sequence[RelationResult], raw: Pass, inputs: Inputs, settings: RelationsSettings, seed: int, *, twins: bool
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
        "best": {measure: None if best is None else asdict(best) for measure, best in r.best.items()},
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
        "head: at face value, Wilson's 95 % interval. Held-out head: chosen on half of the pairs, scored on the other. "
        "Copier: the identity in place of a head. Twin: the model at random initialisation. Random OV: singular values "
        "kept, directions drawn. Folded: the score with the norms' scales applied."
    )
    rows = tuple(_relation_row(r, settings, d_vocab) for r in results)
    return Table("relations", "Relations", columns, rows, caption)


def _relation_row(r: RelationResult, settings: RelationsSettings, d_vocab: int) -> tuple[Cell, ...]:
    tau = settings.tau
    score, held = r.scores["score"], r.best["score"]
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


def coverage_table(lists: Sequence[Kept], min_pairs: int) -> Table:
    """Which pair lists this model's tokenizer keeps."""
    names = ("relation", "category", "listed", "kept", "sources", "targets", "scored", "provenance")
    rows = tuple(
        (
            k.relation.title, k.relation.category, len(k.relation.pairs), len(k.pairs), len(set(k.sources)),
            len(set(k.targets)), len(k.pairs) >= min_pairs, k.relation.provenance,
        )
        for k in lists
    )  # fmt: skip
    caption = (
        f"A pair is kept when both words are one token each; a relation is scored with at least {min_pairs} pairs."
    )
    return Table("coverage", "Pair lists", tuple(Column(name) for name in names), rows, caption)


def _at(scores: HeadScores | None, head: Head | None, grid: str = "values") -> float | None:
    values = getattr(scores, grid) if scores is not None and head is not None else None
    return None if values is None or not np.isfinite(values[head]) else float(values[head])


def _highest(scores: HeadScores) -> float | None:
    ranking = scores.ranking()
    return _at(scores, ranking[0]) if ranking else None
