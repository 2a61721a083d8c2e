"""The figure of how findings hold, from stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportgen.atlas.robustness import Finding
from reportgen.figures import export
from reportgen.figures.captions import join, notes, plural
from reportgen.figures.figure import Figure, later
from reportgen.figures.robustness import MOST_ROWS, HoldLine, holds
from reportgen.figures.theme import Style, clean
from reportgen.files import write_atomic
from reportgen.runfolder import Run
from reportgen.scores import Column, Table

_COLUMNS = (
    Column("found by"), Column("set"), Column("heads"), Column("setting"), Column("settings"),
    Column("keep every head", "settings"), Column("held"), Column("of"), Column("others held"), Column("others of"),
)  # fmt: skip
TITLE = "in how many ways findings hold"


def robustness_figure(run: Run, found: Sequence[Finding], style: Style | None = None) -> Figure:
    """How the findings of one run hold: judged sets first, the first MOST_ROWS of them drawn, all in the data."""
    model, synthetic = clean(run.model.described), run.manifest.synthetic or run.model.synthetic
    order = sorted(found, key=lambda one: not one.judged)
    return holding(order, f"robustness-{run.model.slug}", "", model, style, synthetic=synthetic)


def holding(
    order: Sequence[Finding], id_: str, suite: str, model: str, style: Style | None = None, *, synthetic: bool = False
) -> Figure:
    """How findings hold, in this order. The figure of one suite's sets, or with suite "" of all of a run."""
    drawn = order[:MOST_ROWS]
    settings = list(dict.fromkeys(name for one in drawn for name in one.settings))
    held, asked, others, of = (sum(one.counts()[i] for one in drawn) for i in range(4))
    whole, ways = (sum(one.whole()[i] for one in drawn) for i in range(2))
    return Figure(
        id=id_,
        suite=suite,
        title=f"{model}: {TITLE}",
        caption=join(
            f"{plural(len(drawn), 'set')} of heads of {model} under {_times(drawn)} ({_kinds(settings)}).",
            f"Above the line: {held:,} of n = {asked:,} pairs of head and setting, all heads of a set in {whole:,} of "
            f"{ways:,} cases; all other heads, {others:,} of {of:,}.",
            f"{len(order) - len(drawn)} more sets are in the table." if len(order) > len(drawn) else "",
            "SYNTHETIC: untrained weights or made-up numbers." if synthetic else "",
        ),
        notes=notes(
            "A mark is the share of a set's heads, times the ways of one setting, that are above the line.",
            "The grey stroke is the same share of the model's other heads: what chance and neighbouring heads give.",
            "Settings are counted for each set, as they differ between sets.",
            "A way is made from what the run stores, with the line of the run's own rule and no new p; or read from "
            "another run of the same weights, where a head must be beyond that run's null.",
            "The ways are all that the stored runs hold, not a sample, so the shares have no interval.",
        ),
        alt="Share of heads and settings above the line, a row per set of heads.",
        chart=later(holds, [_line(one) for one in drawn], style or Style(), synthetic=synthetic),
        data=Table("robustness", "In how many ways it holds", _COLUMNS, tuple(r for one in order for r in _table(one))),
    )


def _times(drawn: Sequence[Finding]) -> str:
    """`8 to 16 other settings each`: how many the sets have."""
    counts = [len(one.ways) for one in drawn]
    words = plural(max(counts), "other setting")
    return f"{min(counts)} to {words} each" if min(counts) < max(counts) else words + " each" * (len(drawn) > 1)


def _kinds(settings: Sequence[str], most: int = 4) -> str:
    more = f" and {len(settings) - most} more kinds" if len(settings) > most + 1 else ""
    return ", ".join(settings[:most] if more else settings) + more


def _line(one: Finding) -> HoldLine:
    held, asked, others, of = one.counts()
    shares = {name: one.counts(name)[0] / one.counts(name)[1] for name in one.settings}
    counted = f"{held} of {asked} ({plural(len(one.ways), 'setting')})"
    return HoldLine(clean(one.legend), clean(one.label), shares, others / of if of else 0.0, counted)


def _table(one: Finding) -> list[tuple[str | int, ...]]:
    words = (clean(one.legend), clean(one.label), " ".join(one.heads))
    return [(*words, name, *reversed(one.whole(name)), *one.counts(name)) for name in one.settings]


def write_figure(figure: Figure, out: Path) -> list[Path]:
    """Write the figure as SVG and PDF into the folder `out`."""
    drawn = export.svg(figure)
    files = {"svg": drawn.encode(), "pdf": export.pdf(drawn, figure.title, figure.alt, export.stamp(figure))}
    for ending, content in files.items():
        write_atomic(out / f"{figure.id}.{ending}", content)
    return [out / f"{figure.id}.{ending}" for ending in files]
