"""The report of a stored sweep, written: index.html, report.pdf, scores.csv, every figure in every format. No torch."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from reportgen import __version__
from reportgen.figures import export
from reportgen.figures.export import legible
from reportgen.figures.figure import Figure, Maker, attempt
from reportgen.figures.figure import made as made_alone
from reportgen.figures.svg import size_of
from reportgen.figures.theme import Style, clean, printable
from reportgen.files import check_inside, write_atomic
from reportgen.report.build import missing_figure
from reportgen.report.document import Pairs, Plate, TextTable
from reportgen.report.html import SCALE, environment, page_values, scripts, template
from reportgen.report.html import rows as twin_of
from reportgen.report.pdf import compile_pdf, moment
from reportgen.report.render import ARCHIVE, COLUMNS, ENDINGS, Tell, archive, escape, figure_files, scores_csv
from reportgen.report.render import render as render_run
from reportgen.report.text import anchor, cleaned, plural
from reportgen.sweep.figures import figures
from reportgen.sweep.stored import Story, Sweep, Track, story

# A sweep's report as one self-contained HTML file and as one PDF, from the same plates. No torch.
#
# The page is complete with scripts off; with them, a slider moves through the steps of every filmstrip at once.

FILES = {"report.pdf": "PDF", "report.zip": "Everything, zip", "scores.csv": "All scores, CSV"}
MOST_VALUES = 400_000  # numbers that the slider carries; a longer sweep's slider gets every second step, or fewer
_MAX_ROWS = 60  # of a table on paper
_FILL = re.compile(r'fill="(#[0-9a-f]{6})"')


@dataclass(frozen=True)
class SweepSection:
    """One section: figures of one suite on one training run, or the families."""

    title: str
    anchor: str
    plates: tuple[Plate, ...]
    tables: tuple[TextTable, ...] = ()
    undrawn: tuple[str, ...] = ()  # figures that could not be drawn, and why


@dataclass(frozen=True)
class SweepReport:
    """Everything the page and the PDF say; all text clean."""

    title: str
    name: str
    created: str
    synthetic: bool
    facts: Pairs
    failed: tuple[tuple[str, str], ...]  # member, reason
    parts: tuple[SweepSection, ...]
    members: TextTable
    provenance: Pairs
    slides: Mapping[str, Mapping[str, Any]]  # figure id -> what its slider shows

    @property
    def plates(self) -> tuple[Plate, ...]:
        return tuple(plate for part in self.parts for plate in part.plates)


def page(report: SweepReport, formats: Sequence[str], tex: Mapping[str, str], present: Sequence[str]) -> str:
    """The page. `formats` of figures beside it; `tex` snippets by id; `present`: names of FILES beside it."""
    style, script = template("style.css") + template("sweep.css"), scripts("base.js", "sweep.js")
    return (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            page_values(style, script, formats, {name: FILES[name] for name in FILES if name in present}),
            r=report,
            tex=tex,
            art={plate.id: _inline(plate) for plate in report.plates},
        )
    )


def _inline(plate: Plate) -> Markup:
    """The plate's drawing as part of the page, named for screen readers; its root is rewritten."""
    inside = plate.svg[plate.svg.index(">") + 1 : plate.svg.rindex("</svg>")]
    size = (round(SCALE * plate.width), round(SCALE * plate.height))
    font = "Liberation Sans, Arial, Helvetica, sans-serif"
    head = Markup('<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" font-family="{}">')
    return head.format(plate.width, plate.height, *size, plate.alt, font) + Markup(inside) + Markup("</svg>")


def slide(track: Track, svg: str) -> dict[str, Any]:
    """One score at every step, as the slider shows it, in the colours of the drawn filmstrip."""
    every = max(1, -(-sum(p.scores.values.size for p in track.points) // MOST_VALUES))
    points = [p for i, p in enumerate(track.points) if i % every == 0 or i == len(track.points) - 1]
    shown = [p.scores.exact_values if track.signed else p.sizes for p in points]
    masks = [p.above() for p in points]
    low, high, colours = _bar(svg)
    return {
        "label": clean(track.label),
        "steps": [p.member.step for p in points],
        "shape": list(points[0].shape),
        "low": low,
        "high": high,
        "colours": colours,
        "values": [[_short(v) for v in grid.ravel().tolist()] for grid in shown],
        "above": [np.flatnonzero(mask).tolist() if mask is not None else [] for mask in masks],
    }


def _short(value: float) -> float | None:
    return None if not np.isfinite(value) else float(f"{value:.3g}")


def _bar(svg: str) -> tuple[float, float, list[str]]:
    """(lowest, highest, colours upwards) of the colour bar in a drawn filmstrip."""
    start = svg.index("bar_marks")
    colours = list(dict.fromkeys(_FILL.findall(svg[start : svg.index("</g>", start)])))
    numbers = svg[svg.index("bar_numbers_marks") :]
    texts = re.findall(r">([^<>]+)</text>", numbers[: numbers.index("</g>")])
    values = [float(text.rstrip("+").replace("\u2212", "-")) for text in texts]
    return min(values), max(values), colours


def document(report: SweepReport) -> bytes:
    """The report as PDF/UA-1. Raises PdfError when Typst fails or warns."""
    sources = {f"{plate.id}.svg": printable(plate.svg).encode() for plate in report.plates}
    sources["report.json"] = json.dumps(_data(report)).encode()
    with as_file(files("reportgen.templates")) as templates:
        sources["main.typ"] = (templates / "sweep.typ").read_bytes()
        return compile_pdf(sources, templates / "fonts", moment(report.created))


def _data(report: SweepReport) -> dict[str, Any]:
    value = {
        "title": report.title,
        "name": report.name,
        "date": report.created[:10],
        "version": __version__,
        "synthetic": report.synthetic,
        "facts": report.facts,
        "failed": report.failed,
        "parts": [
            {"title": p.title, "undrawn": p.undrawn, "plates": [_typst_plate(x) for x in p.plates]}
            for p in report.parts
        ],
        "members": {"columns": report.members.columns, "rows": report.members.rows[:_MAX_ROWS]},
        "hidden": max(0, len(report.members.rows) - _MAX_ROWS),
        "provenance": report.provenance,
    }
    made: dict[str, Any] = _printable(value)
    return made


def _typst_plate(plate: Plate) -> dict[str, Any]:
    return {
        "file": f"{plate.id}.svg", "title": plate.title, "caption": " ".join((plate.caption, *plate.notes)),
        "alt": plate.alt, "width": plate.width, "height": plate.height,
    }  # fmt: skip


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


def render(sweep: Sweep, style: Style | None = None, *, reports: bool = False, tell: Tell = lambda why: None) -> Path:
    """Write `<sweep>/report/` and return the path of its index.html; with `reports` every member's own report too.

    tell  is told of each figure that could not be drawn; a note stands in its section

    Raises UserError: a damaged run, a folder that can't be written.
    """
    style = style or Style()
    check_inside(sweep.path)
    report = build(sweep, style)
    made: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    for plate in report.plates:
        files, problem = attempt(partial(figure_files, plate, style, tuple(ENDINGS)))
        made |= files or {}
        if files is None:
            failed[plate.id] = f"Figure {plate.id} could not be drawn: {problem}"
    report = _without(report, failed) if failed else report
    for part in report.parts:
        for why in part.undrawn:
            tell(f"{part.title}: {why}")
    made["report.pdf"] = document(report)
    made["scores.csv"] = all_scores(sweep).encode()
    tex = {plate.id: made[f"figures/{plate.id}.tex"].decode() for plate in report.plates}
    index = page(report, tuple(ENDINGS), tex, [*made, ARCHIVE]).encode()
    made[ARCHIVE] = archive(sweep.record.name, {**made, "index.html": index})
    folder = sweep.path / "report"
    for name, content in (*made.items(), ("index.html", index)):
        write_atomic(folder / name, content)
    for old in (folder / "figures").glob("*"):
        if f"figures/{old.name}" not in made and old.name.startswith("sweep-"):
            old.unlink()
    if reports:
        for _, run in sweep.runs():
            render_run(run, style, tell=tell)
    return folder / "index.html"


def all_figures(sweep: Sweep) -> list[Figure]:
    """Every figure of a stored sweep that could be made, not drawn."""
    found = [figure for _, makers in figures(story(sweep), Style()) for figure in made_alone(makers)]
    return [figure for figure in found if not isinstance(figure, str)]


def find_figure(sweep: Sweep, figure_id: str, style: Style) -> Figure:
    """One figure of a stored sweep. SettingsError names those there are; FigureError: it could not be drawn."""
    found = [figure for _, makers in figures(story(sweep), style) for figure in made_alone(makers)]
    known = {figure.id: figure for figure in found if not isinstance(figure, str)}
    if figure_id not in known:
        titles = {figure.id: figure.title for figure in known.values()}
        raise missing_figure(sweep.path, figure_id, titles, [why for why in found if isinstance(why, str)])
    return known[figure_id]


def _without(report: SweepReport, failed: Mapping[str, str]) -> SweepReport:
    """The report without these plates (id -> why), the reasons in their sections."""
    parts = []
    for part in report.parts:
        why = tuple(failed[plate.id] for plate in part.plates if plate.id in failed)
        plates = tuple(plate for plate in part.plates if plate.id not in failed)
        parts.append(replace(part, plates=plates, undrawn=(*part.undrawn, *why)))
    return replace(report, parts=tuple(parts))


def printed_figure(sweep: Sweep, figure_id: str, style: Style) -> tuple[Figure, Style]:
    """One figure for print at `style.width_in`, text below 6 pt enlarged. Raises SettingsError."""
    return legible(lambda tried: find_figure(sweep, figure_id, tried), style)


def build(sweep: Sweep, style: Style) -> SweepReport:
    """The report of a stored sweep with every figure drawn once."""
    told = story(sweep)
    tracks = {track.key: track for t in told.trainings for found in t.tracks.values() for track in found}
    numbers = iter(range(1, 10_000))
    parts: list[SweepSection] = []
    slides: dict[str, dict[str, Any]] = {}
    for title, makers in figures(told, style):
        plates, undrawn = _plates(makers, numbers, style)
        parts.append(SweepSection(clean(title), f"part-{anchor(title.lower())}", plates, undrawn=undrawn))
        slides |= {p.id: slide(track, p.svg) for p in plates if (track := _filmed(p.figure, tracks)) is not None}
    record = sweep.record
    labels = list(dict.fromkeys(member.label for member in record.members))
    return SweepReport(
        title=clean(f"Attention heads of {labels[0]} over training" if len(labels) == 1 else f"Sweep {record.name}"),
        name=clean(record.name),
        created=record.created,
        synthetic=told.synthetic,
        facts=cleaned(_facts(sweep, told)),
        failed=cleaned(tuple((member.title, member.error) for member in sweep.failed())),
        parts=tuple(parts),
        members=cleaned(_members(sweep)),
        provenance=cleaned(_provenance(sweep)),
        slides=slides,
    )


def _filmed(figure: Figure, tracks: Mapping[str, Track]) -> Track | None:
    """The score that a filmstrip shows."""
    if not figure.title.endswith("step by step"):
        return None
    return tracks.get(str(figure.data.rows[0][1]))


def _plates(makers: Iterable[Maker], numbers: Iterator[int], style: Style) -> tuple[tuple[Plate, ...], tuple[str, ...]]:
    """The figures that could be drawn, each alone, and why the others could not."""
    plates, undrawn = [], []
    for figure in made_alone(makers):
        if isinstance(figure, str):
            undrawn.append(figure)
            continue
        plate, problem = attempt(partial(_plate, next(numbers), figure, style))
        if plate is None:
            undrawn.append(f"Figure {clean(figure.id)} could not be drawn: {problem}")
        else:
            plates.append(plate)
    return tuple(plates), tuple(undrawn)


def _plate(number: int, figure: Figure, style: Style) -> Plate:
    spec = export.spec(figure, style)
    svg = export.svg(figure, style, spec)
    width, height = (round(side) for side in size_of(svg))
    return Plate(
        number=number, id=figure.id, title=clean(figure.title), caption=clean(figure.caption),
        notes=cleaned(figure.notes), alt=clean(figure.alt), svg=svg, width=width, height=height,
        twins=(replace(cleaned(twin_of(figure.data)), caption=""),), figure=figure, spec=spec, is_map=False, keys=(),
    )  # fmt: skip


def _facts(sweep: Sweep, told: Story) -> Pairs:
    record = sweep.record
    done = sum(member.status == "done" for member in record.members)
    steps = [member.step for member in record.members if member.step is not None]
    rows = [
        ("Models", ", ".join(dict.fromkeys(member.label for member in record.members))),
        ("Checkpoints", f"{done} of {plural(len(record.members), 'member')} scored"),
        ("Training steps", f"{min(steps):,} to {max(steps):,}" if steps else ""),
        ("Suites", ", ".join(told.titles.values())),
        ("Scored", record.updated[:10]),
    ]
    return tuple((name, value) for name, value in rows if value)


def _members(sweep: Sweep) -> TextTable:
    rows = [
        (
            m.title,
            "" if m.step is None else f"{m.step:,}",
            "kept" if m.kept else m.status,
            f"{m.elapsed_s:.1f}" if m.elapsed_s else "–",
            m.error,
            m.slug,
        )
        for m in sweep.record.members
    ]
    columns = ("Member", "Training step", "Outcome", "Seconds", "Reason", "Run folder")
    return TextTable("Members", columns, (False, True, False, True, False, False), tuple(rows), _ENDS)


_ENDS = "Kept: finished by an earlier sweep. Seconds: scoring time, including loading if it was in this process."


def _provenance(sweep: Sweep) -> Pairs:
    record = sweep.record
    rows = [
        ("Command", shlex.join(record.argv)),
        ("Created", record.created),
        ("Updated", record.updated),
        ("Engine", record.engine),
        ("Wall time of the last sweep", f"{record.elapsed_s:.1f} s"),
        ("Version", f"reportgen {record.version}"),
    ]
    return tuple(rows)


def all_scores(sweep: Sweep) -> str:
    """Every member's scores.csv under each other, with the member, its model, revision and step before each row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("member", "model", "revision", "step", *COLUMNS[:-1]))  # the model stands before
    writer.writerows(_rows(sweep))
    return out.getvalue()


def _rows(sweep: Sweep) -> Iterator[Sequence[str]]:
    for member, run in sweep.runs():
        step = "" if member.step is None else str(member.step)
        model = run.manifest.model
        weights = f" ({model.dequantised})" if model.quantisation else ""
        lines = csv.reader(io.StringIO(scores_csv(run.results, model)))
        next(lines)
        for line in lines:
            yield (member.slug, escape(member.label + weights), escape(member.name), step, *line[:-1])
