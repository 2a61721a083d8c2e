"""What share of all that a head writes on text is the role it was named for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.patterns import Canvas
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, SuiteResult, Table, parse_head
from reportgen.suites.text.drawing import caption_text as words
from reportgen.suites.text.facts import TextFacts, Wide
from reportgen.suites.text.suite import SUITE

WIDTH = 620.0
MOST = 40  # rows drawn
_BAR = {"published": "#1f77b4", "safe": "#0072b2"}
_PALE = "#dcdcdc"


def narrow_wide(result: SuiteResult, view: View, told: TextFacts) -> Figure | None:
    """None where no suite of the run names a head whose role text can tell."""
    rows = [row for row in told.wide if math.isfinite(row.share)]
    if not rows:
        return None
    labelled = {s.key for s in view.overlays if s.evidence}  # sets with a ladder first
    order = sorted(range(len(rows)), key=lambda i: (rows[i].set not in labelled, i))
    rows = [rows[i] for i in order]
    drawn = _shown(rows)
    name = captions.model_name(view)
    beyond = sum(row.low > row.chance for row in rows)
    most = max(rows, key=lambda row: row.share)
    return Figure(
        id="text-roles",
        suite=SUITE.name,
        title=f"{name}: roles found on tasks, and what share of a head's writing on text they are",
        caption=captions.join(
            f"Share of the squared output norm on text that is the role for which a head of {name} is named.",
            words.material(told),
            f"{beyond} of {captions.plural(len(rows), 'role')} lie beyond chance.",
            f"Largest: {most.head} ({most.label}) at {_number(most)}.",
            captions.synthetic(view),
        ),
        alt=f"Bars of the share of each named head's writing on text that is its role, in {name}.",
        chart=later(_chart, drawn, view.style),
        data=table(result, rows, told),
        notes=captions.notes(
            "Share: sum over queries of ||z W_O||^2 where the event is of the role, over the sum of all queries.",
            "Tick: chance. Of induction and duplicate token, the kind of a key at the same distance in another query; "
            "of the previous token, a key drawn from the row; of the others, the same test on keys 3 and 4 tokens from "
            "the strongest.",
            *(f"{label}: {role}." for label, role in dict.fromkeys((r.label, r.role) for r in rows)),
            f"No test on tokens tells: {', '.join(told.untested[:12])}." if told.untested else "",
            *(
                f"Over {a.heads} heads, {a.label} and the share of writing of the kind {a.kind}: Spearman "
                f"{captions.number(a.spearman)} [{captions.number(a.low)}, {captions.number(a.high)}], heads resampled."
                for a in told.agreements
            ),
            f"{len(drawn)} of {len(rows)} rows drawn; the table has all." if len(drawn) < len(rows) else "",
            words.interval(told),
            words.source(told),
        ),
    )


def _number(row: Wide) -> str:
    text = captions.percent(row.share)
    if math.isfinite(row.low):
        text += f" [{captions.percent(row.low)}, {captions.percent(row.high)}]"
    return text


def _shown(rows: Sequence[Wide]) -> list[Wide]:
    """All rows, or of each set its first ones as far as there is room."""
    if len(rows) <= MOST:
        return list(rows)
    seen: dict[str, int] = {}
    ranks = []
    for i, row in enumerate(rows):
        ranks.append((seen.get(row.set, 0), i))
        seen[row.set] = seen.get(row.set, 0) + 1
    kept = {i for _, i in sorted(ranks)[:MOST]}
    return [row for i, row in enumerate(rows) if i in kept]


def _chart(rows: Sequence[Wide], style: Style) -> alt.LayerChart:
    total = WIDTH if style.width_in is None else max(360.0, style.width_in * POINTS_PER_INCH)
    size = 0.9 * style.font_size
    canvas = Canvas(total)
    left = min(0.42 * total, max(theme.text_width(f"{r.head} {r.label}", size) for r in rows) + 1.5 * size)
    right = theme.text_width("100 % [100 %, 100 %]", size) + size
    width = total - left - right
    reach = max([0.05, *(r.high if math.isfinite(r.high) else r.share for r in rows)])
    end = min(1.0, theme.exact(math.ceil(reach / 0.05) * 0.05))
    y, step = 0.4 * size, 1.45 * size
    for i, row in enumerate(rows):
        if i == 0 or row.set != rows[i - 1].set:
            y += 0.35 * step
            label = theme.wrap(row.label, size, left - 5.2 * size, most=1)[0]
            canvas.text(0, y + 0.5 * step, label, size, weight="bold")
        canvas.text(left - 0.5 * size, y + 0.5 * step, row.head, size, "right")
        canvas.rect(left, y + 0.18 * step, width, 0.64 * step, "#f4f4f4")
        canvas.rect(left, y + 0.18 * step, width * min(1.0, row.share / end), 0.64 * step, _BAR[style.palette])
        if math.isfinite(row.low):
            ends = [left + width * min(1.0, v / end) for v in (row.low, row.high)]
            canvas.line([(ends[0], y + 0.5 * step), (ends[1], y + 0.5 * step)], theme.INK, 1.2)
        if math.isfinite(row.chance):
            at = left + width * min(1.0, row.chance / end)
            canvas.line([(at, y + 0.08 * step), (at, y + 0.92 * step)], "#d62728", 1.2)
        canvas.text(left + width + 0.6 * size, y + 0.5 * step, _number(row), size)
        y += step
    for share in (0.0, end / 2, end):
        canvas.text(left + width * share / end, y + 0.6 * step, captions.percent(share), 0.88 * size, "center")
    canvas.text(left + width / 2, y + 1.5 * step, "share of squared output norm on text (red: chance)", size, "center")
    chart = canvas.chart()
    chart.config = alt.Config.from_dict(theme.config(style))
    return chart


def table(result: SuiteResult, rows: Sequence[Wide], told: TextFacts) -> Table:
    """A row per head and role, with what else the head writes at."""
    kinds = result.arrays.get("kinds")
    made: list[tuple[Cell, ...]] = []
    for row in rows:
        own = None if kinds is None else kinds.values[0][parse_head(row.head)].astype(float)
        made.append((
            row.head, row.label, row.share, _known(row.low), _known(row.high), _known(row.chance),
            row.events or None, _known(row.narrow), row.narrow_rank or None, *_others(own, told),
        ))  # fmt: skip
    return Table(
        key="text/roles",
        title="Narrow roles, wide shares",
        columns=(
            Column("head"), Column("named"), Column("share of writing"), Column("low"), Column("high"),
            Column("by chance"), Column("events"), Column("narrow score"), Column("narrow rank"),
            Column("writes most at"), Column("share there"), Column("kinds", "effective number", 2),
        ),
        rows=tuple(made),
        caption="Share: of the squared output norm on text, events of the role. Writes most at: the kind of strongest "
        "key with the largest share. Effective number of kinds: exp of the entropy of their shares.",
        folded=True,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _others(shares: np.ndarray | None, told: TextFacts) -> tuple[Cell, Cell, Cell]:
    if shares is None or not np.isfinite(shares).all():
        return (None, None, None)
    at = int(shares.argmax())
    known = shares[shares > 0]
    return told.kinds[at], float(shares[at]), float(np.exp(-(known * np.log(known)).sum()))
