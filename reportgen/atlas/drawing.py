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
    Column("set"), Column("heads"), Column("setting"), Column("held"), Column("of"), Column("others_held"),
    Column("others_of"),
)  # fmt: skip


def robustness_figure(run: Run, found: Sequence[Finding], style: Style | None = None) -> Figure:
    """How the findings of one run hold: judged sets first, the first MOST_ROWS of them drawn, all in the data."""
    order = sorted(found, key=lambda one: not one.judged)
    drawn = order[:MOST_ROWS]
    model, synthetic = clean(run.model.described), run.manifest.synthetic or run.model.synthetic
    settings = list(dict.fromkeys(name for one in drawn for name in one.settings))
    every = [one.counts() for one in drawn]
    held, asked, others, of = (sum(count[i] for count in every) for i in range(4))
    return Figure(
        id=f"robustness-{run.model.slug}",
        suite="",
        title=f"{model}: in how many ways its findings hold",
        caption=join(
            f"{plural(len(drawn), 'set')} of heads of {model} under other settings ({', '.join(settings)}).",
            f"Above the line: {held} of n = {asked} pairs of head and setting; all other heads, {others} of {of}.",
            f"{len(order) - len(drawn)} more sets are in the table." if len(order) > len(drawn) else "",
            "SYNTHETIC: untrained weights or made-up numbers." if synthetic else "",
        ),
        notes=notes(
            "A mark is the share of a set's heads, times the ways of one setting, that are above the line.",
            "The grey stroke is the same share of the model's other heads: what chance and neighbouring heads give.",
            "The ways are all that the stored runs hold, not a sample, so the shares have no interval.",
        ),
        alt="Share of heads and settings above the line, a row per set of heads.",
        chart=later(holds, [_line(one) for one in drawn], style or Style(), synthetic=synthetic),
        data=Table("robustness", "In how many ways it holds", _COLUMNS, tuple(r for one in order for r in _table(one))),
    )


def _line(one: Finding) -> HoldLine:
    held, asked, others, of = one.counts()
    shares = {name: one.counts(name)[0] / one.counts(name)[1] for name in one.settings}
    return HoldLine(clean(one.legend), clean(one.label), shares, others / of if of else 0.0, f"{held} of {asked}")


def _table(one: Finding) -> list[tuple[str | int, ...]]:
    rows = ((name, *one.counts(name)) for name in one.settings)
    return [(clean(one.label), " ".join(one.heads), *row) for row in rows]


def write_figure(figure: Figure, out: Path) -> list[Path]:
    """Write the figure as SVG and PDF into the folder `out`."""
    drawn = export.svg(figure)
    files = {"svg": drawn.encode(), "pdf": export.pdf(drawn, figure.title, figure.alt, export.stamp(figure))}
    for ending, content in files.items():
        write_atomic(out / f"{figure.id}.{ending}", content)
    return [out / f"{figure.id}.{ending}" for ending in files]
