"""What the model answers, by depth and length; and the best head's table of questions against facts."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.aliases import Floats
from reportgen.figures import captions, theme
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.patterns import Canvas
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, SuiteResult, Table, parse_head
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import GridRow, RetrievalFacts
from reportgen.suites.retrieval.suite import SUITE

WIDTH = 480.0
SHADES = ("#fbfbfd", "#d9e3ef", "#a9c4de", "#6f9fca", "#3f78b0", "#1f5590")  # shares from 0 to 1
_DARK = 4  # first shade on which words are white


def recall_figure(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """Depth x length: the first thing on the page."""
    rows = told.grid
    if not rows:
        return None
    name, recall = captions.model_name(view), told.recall
    span = f" [{captions.number(recall.low)}, {captions.number(recall.high)}]" if recall.low == recall.low else ""
    return Figure(
        id="retrieval-recall",
        suite=SUITE.name,
        title=f"{name}: facts found again, by depth and length",
        caption=captions.join(
            f"Questions that {captions.grid_words(view)} answers right, by depth of the fact and length.",
            f"{recall.right} of {captions.plural(recall.asked, 'question')} at the length that heads are scored at"
            f"{span}.",
            words.elsewhere(told),
            "Heads are not called retrieval heads: the model answers too few." if _fails(told) else "",
            captions.synthetic(view),
        ),
        alt=f"Grid of the share of right answers of {name} by depth and length.",
        chart=later(_grid, rows, view.style),
        data=_data(rows),
        notes=captions.notes(
            "Right: every token of the answer is the largest logit, as greedy decoding would have it. In each cell: "
            "the share, and right of asked.",
            words.by_kind(told),
            f"Mean log p of an answer: {captions.number(recall.logp)} nats; mean p without its fact: "
            f"{captions.number(recall.guess)}.",
            words.text(told),
            words.balance(told),
            f"{captions.plural(told.guessed, 'question')} left out of scores: answered without the fact."
            if told.guessed else "",
            f"{captions.plural(len(told.dropped), 'fact')} not found token by token." if told.dropped else "",
        ),
    )  # fmt: skip


def _fails(told: RetrievalFacts) -> bool:
    return told.recall.right < told.least_recall * told.recall.asked


def shade(share: float) -> tuple[str, str]:
    """Fill and ink of a share from 0 to 1; cells are light in either theme, so ink is not the page's own."""
    at = min(len(SHADES) - 1, max(0, int(share * len(SHADES))))
    return SHADES[at], "#ffffff" if at >= _DARK else theme.PAPER_INK


def _total(style: Style) -> float:
    return WIDTH if style.width_in is None else max(300.0, style.width_in * POINTS_PER_INCH - 4)


def _grid(rows: Sequence[GridRow], style: Style) -> alt.LayerChart:
    total, size = _total(style), style.font_size
    canvas = Canvas(total)
    left = 6.2 * size
    wide, high = (total - left) / len(rows[0].right), 3.4 * size
    y = 1.6 * size
    canvas.text(left, 0.6 * size, "Depth of the fact: from the beginning (left) to the end (right)", 0.9 * size)
    for row in rows:
        canvas.text(left - 0.6 * size, y + 0.36 * high, f"{row.tokens:,}", size, "right")
        canvas.text(left - 0.6 * size, y + 0.70 * high, "tokens", 0.82 * size, "right")
        for i, (right, asked) in enumerate(zip(row.right, row.asked, strict=True)):
            x = left + i * wide
            fill, ink = shade(right / asked) if asked else ("#ffffff", theme.INK)
            canvas.rect(x, y, wide, high, fill, "#ffffff", 1.0)
            if asked:
                canvas.text(x + wide / 2, y + 0.36 * high, f"{right / asked:.2f}", size, "center", ink)
                canvas.text(x + wide / 2, y + 0.70 * high, f"{right}/{asked}", 0.78 * size, "center", ink)
        y += high
    return _themed(canvas, style)


def _themed(canvas: Canvas, style: Style) -> alt.LayerChart:
    chart = canvas.chart()
    chart.config = alt.Config.from_dict(theme.config(style))
    return chart


def _data(rows: Sequence[GridRow]) -> Table:
    found: list[tuple[Cell, ...]] = [
        (row.tokens, (2 * i + 1) / (2 * len(row.right)), right, asked, right / asked if asked else None)
        for row in rows for i, (right, asked) in enumerate(zip(row.right, row.asked, strict=True))
    ]  # fmt: skip
    columns = (Column("tokens"), Column("depth", digits=4), Column("right"), Column("asked"), Column("share"))
    return Table("retrieval/grid", "Answers by depth and length", columns, tuple(found))


def table_figure(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """Attention of one head to the answer tokens: the fact that is asked for, by row, against every fact, by column."""
    stored = result.arrays.get("tables")
    found = _mean_table(result, told) if stored is not None and told.best else None
    if found is None:
        return None
    name = captions.model_name(view)
    own, other = float(np.diag(found).mean()), float(found[~np.eye(len(found), dtype=bool)].mean())
    return Figure(
        id="retrieval-table",
        suite=SUITE.name,
        title=f"{name}: what {told.best} looks at, by the fact that is asked for",
        caption=captions.join(
            f"Attention of {told.best} of {captions.grid_words(view)} to the answer tokens of each fact (columns), by "
            "the fact that is asked for (rows).",
            f"The head was picked on one half; n = {captions.plural(told.best_n, 'document')} of the other.",
            f"Mean {captions.number(own)} on the diagonal, {captions.number(other)} beside it.",
            captions.synthetic(view),
        ),
        alt=f"Square of attention masses of {told.best}, questions against facts.",
        chart=later(_square, found, view.style),
        data=_square_data(found),
        notes=captions.notes(
            "Facts in the order in which they stand in the document. In each cell: mean attention to the token of the "
            "value that stands where the answer token stands.",
            "Null: rows assigned to columns at random within each document.",
            words.text(told),
        ),
    )  # fmt: skip


def _mean_table(result: SuiteResult, told: RetrievalFacts) -> Floats | None:
    """[question needle] of the best head, mean over the other half of the documents."""
    tables, group = result.arrays["tables"], result.arrays.get("group")
    names = tables.labels.get("measure", ())
    if "copy_mass" not in names or group is None or len(group.values) != tables.values.shape[1]:
        return None
    values = tables.values[names.index("copy_mass")][np.asarray(group.values) != 0]  # [document question needle ...]
    found = np.asarray(values[(..., *parse_head(told.best))].astype(float))
    return found.mean(0) if len(found) and np.isfinite(found).all() else None


def _square(values: Floats, style: Style) -> alt.LayerChart:
    total, size = min(_total(style), 360.0), style.font_size
    canvas, left = Canvas(total), 4.4 * size
    side = (total - left) / len(values)
    canvas.text(left, 0.6 * size, "Fact that is looked at", 0.9 * size)
    top = 2.8 * size
    for i, row in enumerate(values):
        canvas.text(left + (i + 0.5) * side, top - 0.8 * size, str(i + 1), 0.88 * size, "center")
        canvas.text(left - 0.6 * size, top + (i + 0.5) * side, f"asked {i + 1}", 0.88 * size, "right")
        for j, value in enumerate(row.tolist()):
            fill, ink = shade(value)
            canvas.rect(left + j * side, top + i * side, side, side, fill, "#ffffff", 1.0)
            canvas.text(left + (j + 0.5) * side, top + (i + 0.5) * side, f"{value:.2f}", 0.82 * size, "center", ink)
    return _themed(canvas, style)


def _square_data(values: Floats) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (i + 1, j + 1, float(values[i, j])) for i in range(len(values)) for j in range(len(values))
    ]
    columns = (Column("asked"), Column("fact"), Column("attention", "attention mass", 4))
    return Table("retrieval/table", "Questions against facts", columns, tuple(rows), folded=True)
