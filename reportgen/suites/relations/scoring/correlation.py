"""Static against dynamic relation scores, as rows of the paper's table (Elhelo and Geva, arXiv 2412.11965)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

from reportgen.aliases import Floats
from reportgen.scores import Cell, Column, HeadScores, Table
from reportgen.suites.pairs import Relation

# How alike two scores are over heads: Pearson and Spearman, with intervals by a bootstrap over heads.
#
# Heads that share a value matrix (one key-value group) are drawn together.

MIN_HEADS = 5  # a correlation over fewer says nothing


@dataclass(frozen=True)
class ScoreAgreement:
    """Correlations with 95 % percentile intervals over `n` heads; NaN where a score does not vary."""

    pearson: float
    pearson_low: float
    pearson_high: float
    spearman: float
    spearman_low: float
    spearman_high: float
    n: int


def head_weights(n_layers: int, n_heads: int, n_kv: int, draws: int, rng: np.random.Generator) -> Floats:
    """How often each head is drawn [draw layer*head]; key-value groups are drawn whole."""
    groups = n_layers * n_kv
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)  # [draw group]
    return np.repeat(counts, n_heads // n_kv, axis=1).astype(np.float64)


def agreement(a: npt.ArrayLike, b: npt.ArrayLike, weights: Floats) -> ScoreAgreement:
    """Of two scores over all heads, flat [layer*head]; heads that are NaN in either are left out."""
    x, y = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (a, b))
    use = np.isfinite(x) & np.isfinite(y)
    x, y, drawn = x[use], y[use], weights[:, use]
    if len(x) < MIN_HEADS:
        return ScoreAgreement(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, len(x))
    once = np.ones((1, len(x)))
    pearson = _pearson(x[None], y[None], once)[0]
    spearman = _pearson(_ranks(x, once), _ranks(y, once), once)[0]
    low, high = _interval(_pearson(x[None], y[None], drawn))
    rank_low, rank_high = _interval(_pearson(_ranks(x, drawn), _ranks(y, drawn), drawn))
    return ScoreAgreement(float(pearson), low, high, float(spearman), rank_low, rank_high, len(x))


def paper_correlation(static: npt.ArrayLike, dynamic: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(r, p) over all heads and templates at once, the static score repeated: dynamic [template layer head].

    As Elhelo and Geva (2025) print it. The p-value takes the templates as independent heads, which they are not.
    """
    y = dynamic.reshape(len(dynamic), -1)
    x = np.tile(np.asarray(static, dtype=np.float64).reshape(-1), (len(dynamic), 1))
    use = np.isfinite(x) & np.isfinite(y)
    if use.sum() < MIN_HEADS or np.ptp(x[use]) == 0 or np.ptp(y[use]) == 0:
        return math.nan, math.nan
    result = scipy_stats.pearsonr(x[use], y[use])
    return float(result.statistic), float(result.pvalue)


def _ranks(x: Floats, weights: Floats) -> Floats:
    """Mid-ranks [draw head] of x [head] in the sample that holds head i weights[draw, i] times."""
    levels, at = np.unique(x, return_inverse=True)
    mass = weights @ (at[:, None] == np.arange(len(levels))).astype(np.float64)  # [draw level]
    return np.asarray((np.cumsum(mass, axis=1) - mass / 2 + 0.5)[:, at])


def _pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted correlation per draw [draw]; NaN where one side does not vary."""
    total = weights.sum(1, keepdims=True)
    x = x - (weights * x).sum(1, keepdims=True) / total
    y = y - (weights * y).sum(1, keepdims=True) / total
    xx, yy, xy = ((weights * part).sum(1) for part in (x * x, y * y, x * y))
    flat = (xx <= 1e-12 * weights.sum(1)) | (yy <= 1e-12 * weights.sum(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flat, np.nan, np.clip(xy / np.sqrt(xx * yy), -1, 1))


def _interval(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval; NaN when more than one draw in twenty has no value."""
    known = draws[np.isfinite(draws)]
    if not len(known) or len(known) < 0.95 * len(draws):
        return math.nan, math.nan
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class CorrelationRow:
    """One line: a relation or its suppression; (r, p) pairs as the paper takes them, or None."""

    category: str
    title: str
    without: ScoreAgreement
    within: ScoreAgreement
    largest: float  # largest static score over heads
    paper: tuple[tuple[float, float], tuple[float, float]] | None = None


def correlations(
    relation: Relation,
    static: HeadScores,
    suppression: HeadScores,
    shares: npt.NDArray[np.float64],
    weights: Floats,
    *,
    paper: bool = False,
) -> list[CorrelationRow]:
    """The relation's and its suppression's row. shares [kind template layer head] in the order of dynamic.KINDS."""
    rows = []
    for scores, first, words in ((static, 0, ""), (suppression, 2, "(suppression) ")):
        pair = shares[first : first + 2]  # [context template layer head]
        means = pair.mean(1)
        finite = scores.values[np.isfinite(scores.values)]
        rows.append(
            CorrelationRow(
                relation.category,
                words + relation.title,
                agreement(scores.values, means[0], weights),
                agreement(scores.values, means[1], weights),
                float(finite.max()) if finite.size else float("nan"),
                (paper_correlation(scores.values, pair[0]), paper_correlation(scores.values, pair[1]))
                if paper
                else None,
            )
        )
    return rows


def correlation_table(
    rows: Sequence[CorrelationRow], key: str, n_templates: int, *, paper: bool = False
) -> tuple[Table, ...]:
    """The table `key`, and `<key>_paper` with r and p over heads x templates when `paper`."""
    columns = [Column("Category"), Column("Relation")]
    for context in ("w/o context", "w/ context"):
        columns += [Column(f"Correlation {context}"), Column("low"), Column("high")]
        columns += [Column(f"Rank correlation {context}"), Column("low"), Column("high")]
    columns += [Column("Max relation score over heads"), Column("Heads")]
    caption = (
        f"Static against dynamic score over heads, the dynamic score averaged over {n_templates} "
        f"template{'s' if n_templates > 1 else ''}; Pearson and Spearman with 95 % bootstrap intervals over heads "
        "(key-value groups resampled together). Max relation score: the largest static score."
    )
    lines = tuple(_line(row) for row in rows)
    tables = [Table(key, "Static and dynamic relation scores", tuple(columns), lines, caption)]
    if paper:
        tables.append(_paper_table(rows, key, n_templates))
    return tuple(tables)


def _line(row: CorrelationRow) -> tuple[Cell, ...]:
    cells: list[Cell] = [row.category, row.title]
    for a in (row.without, row.within):
        cells += [a.pearson, a.pearson_low, a.pearson_high, a.spearman, a.spearman_low, a.spearman_high]
    return (*(_cell(c) for c in cells), _cell(row.largest), row.without.n)


def _paper_table(rows: Sequence[CorrelationRow], key: str, n_templates: int) -> Table:
    columns = (
        Column("Category"), Column("Relation"), Column("Correlation w/o context"), Column("p w/o context", digits=6),
        Column("Correlation w/ context"), Column("p w/ context", digits=6), Column("Max relation score over heads"),
    )  # fmt: skip
    lines = []
    for row in rows:
        without, within = row.paper or ((np.nan, np.nan), (np.nan, np.nan))
        numbers = (*without, *within, row.largest)
        lines.append((row.category, row.title, *(_cell(float(x)) for x in numbers)))
    caption = (
        f"As in the paper: n = heads x {n_templates} templates, the static score repeated. Templates of one "
        "head are not independent: the p-values are too small."
    )
    return Table(f"{key}_paper", "Static and dynamic relation scores, the paper's n", columns, tuple(lines), caption)


def _cell(value: Cell) -> Cell:
    return None if isinstance(value, float) and not np.isfinite(value) else value
