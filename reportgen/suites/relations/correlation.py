"""Static against dynamic relation scores, as rows of the paper's table (Elhelo and Geva, arXiv 2412.11965)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Cell, Column, HeadScores, Table
from reportgen.suites.relations.agreement import Agreement, agreement, paper_correlation
from reportgen.suites.relations.data import Relation

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CorrelationRow:
    """One line: a relation or its suppression; (r, p) pairs as the paper takes them, or None."""

    category: str
    title: str
    without: Agreement
    within: Agreement
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
        "(key-value groups drawn whole). Max relation score: the largest static score."
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
        f"As the paper prints it: n = heads x {n_templates} templates, the static score repeated. Templates of one "
        "head are no independent heads: the p-values are too small."
    )
    return Table(f"{key}_paper", "Static and dynamic relation scores, the paper's n", columns, tuple(lines), caption)


def _cell(value: Cell) -> Cell:
    return None if isinstance(value, float) and not np.isfinite(value) else value
