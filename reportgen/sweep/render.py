"""The report of a stored sweep, written: index.html, report.pdf, scores.csv, every figure in every format. No torch."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from reportgen.figures import export
from reportgen.figures.alone import Maker, attempt
from reportgen.figures.alone import made as made_alone
from reportgen.figures.figure import Figure, Style
from reportgen.figures.svg import size_of
from reportgen.figures.widths import legible
from reportgen.files import check_inside, write_atomic
from reportgen.report.build import missing_figure
from reportgen.report.bundle import archive
from reportgen.report.csv import COLUMNS, escape, scores_csv
from reportgen.report.parts import Grid, Pairs, Plate
from reportgen.report.render import ARCHIVE, ENDINGS, Tell, plate_files
from reportgen.report.render import render as render_run
from reportgen.report.text import anchor, clean, cleaned, plural
from reportgen.report.twins import rows as twin_of
from reportgen.sweep.figures import figures
from reportgen.sweep.page import Part, SweepReport, document, page, slide
from reportgen.sweep.series import Story, Track, story
from reportgen.sweep.stored import Sweep


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
        files, problem = attempt(partial(plate_files, plate, style, tuple(ENDINGS)))
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
        raise missing_figure(sweep.path, figure_id, known, [why for why in found if isinstance(why, str)])
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
    parts: list[Part] = []
    slides: dict[str, dict[str, Any]] = {}
    for title, makers in figures(told, style):
        plates, undrawn = _plates(makers, numbers, style)
        parts.append(Part(clean(title), f"part-{anchor(title.lower())}", plates, undrawn=undrawn))
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


def _members(sweep: Sweep) -> Grid:
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
    columns = ("Member", "Training step", "How it ended", "Seconds", "Reason", "Run folder")
    return Grid("Members", columns, (False, True, False, True, False, False), tuple(rows), _ENDS)


_ENDS = (
    "Kept: finished by an earlier sweep. Seconds: what the suites took, loading included where it was in this process."
)


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
