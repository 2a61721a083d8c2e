"""A suite's figures, drawn one by one: anything that one raises becomes a reason in its place on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
from altair.utils.schemapi import debug_mode

from reportgen import score_files
from reportgen.errors import FigureError, RunError
from reportgen.figures import export
from reportgen.figures.export import Spec
from reportgen.figures.figure import Figure, KeptDrawing, Maker, MapPlace, OneByOne, View, attempt, made
from reportgen.figures.svg import checked, from_outside, size
from reportgen.figures.theme import Style, clean
from reportgen.files import there, write_atomic
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.report.text import cleaned
from reportgen.runfolder import read_versioned
from reportgen.scores import SuiteResult, head_name
from reportgen.suites.base import Measure, Suite

# Drawings of a user's suite, stored in the run for machines without the suite: drawn/SUITE.json.
#
# A user's suite draws with its Python file. If that is not given, its figures, their texts and numbers, and
# its measures are shown as they were drawn. Nothing is pickled or executed; the file is read as
# untrusted input.

SCHEMA_VERSION = 1
FOLDER = "drawn"
KEPT_NOTE = (
    "These figures are shown as they were drawn when the suite's file was available, with the colours, width and head "
    "sets of that time. --suite FILE.py redraws them."
)
_AGAIN = "Delete the file, or redraw the run with the suite's file: --suite FILE.py."


class MeasureRecord(msgspec.Struct, frozen=True):
    """A `Measure`; null = no bound."""

    name: str
    title: str
    formula: str
    meaning: str
    unit: str
    source: str
    range: tuple[float | None, float | None]
    null: str
    from_weights: bool


class FigureRecord(msgspec.Struct, frozen=True):
    """A figure as drawn: its words, its SVG, its numbers, the head sets it marks and where its score maps stand."""

    id: str
    title: str
    caption: str
    alt: str
    svg: str
    data: score_files.TableRecord
    head_sets: list[score_files.SetRecord]
    notes: list[str] = []
    panels: tuple[MapPlace, ...] = ()
    supplementary: bool = False


class DrawnRecord(msgspec.Struct, frozen=True):
    """drawn/SUITE.json. `scores`: the digests of the files in scores/ that were drawn."""

    schema_version: int
    suite: str
    title: str
    summary: str
    version: int
    scores: dict[str, str]
    measures: list[MeasureRecord]
    citations: list[str]
    figures: list[FigureRecord]


def keep_drawings(run: Path, manifest: Manifest, suite: Suite, drawn: Sequence[tuple[Figure, str]]) -> None:
    """Store the figures of `suite`, each with its SVG, in the run folder."""
    record = DrawnRecord(
        schema_version=SCHEMA_VERSION,
        suite=suite.name,
        title=suite.title,
        summary=suite.summary,
        version=suite.version,
        scores=manifest.suites[suite.name].sha256,
        measures=[_measure_record(measure) for measure in suite.measures],
        citations=list(suite.citations),
        figures=[
            FigureRecord(
                f.id,
                f.title,
                f.caption,
                f.alt,
                svg,
                score_files.table_record(f.data),
                [score_files.set_record(s) for s in f.head_sets],
                list(f.notes),
                f.panels,
                f.supplementary,
            )
            for f, svg in drawn
        ],
    )
    write_atomic(_file(run, suite.name), msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def stand_ins(run: Path, manifest: Manifest, known: Mapping[str, Suite]) -> dict[str, Suite]:
    """The run's suites that are not `known` here and were kept as drawn. RunError for a damaged file."""
    missing = {name: record for name, record in manifest.suites.items() if name not in known}
    found = {name: _suite(run, name, record, (manifest.model.n_layers, manifest.model.n_heads))
             for name, record in missing.items() if record.status == "done"}  # fmt: skip
    return {name: suite for name, suite in found.items() if suite is not None}


def as_drawn(run: Path, manifest: Manifest, known: Mapping[str, Suite]) -> str:
    """The suites whose figures are shown as they were drawn, in words; empty where there are none."""
    names = ", ".join(stand_ins(run, manifest, known))
    return f"{names}: kept as drawn, so head sets and colours are of then. Drawn anew with --suite FILE.py." * bool(
        names
    )


def _file(run: Path, suite: str) -> Path:
    return run / FOLDER / f"{suite}.json"


def _suite(run: Path, name: str, scored: SuiteRecord, shape: tuple[int, int]) -> Suite | None:
    """A stand-in suite with the stored figures; None if none were stored, or if the scores have changed since."""
    file = _file(run, name)
    if not there(file):
        return None
    record = cleaned(read_versioned(file, DrawnRecord, SCHEMA_VERSION, _AGAIN))
    if record.suite != name:
        raise RunError(f"{file} is damaged: it holds the suite {record.suite!r}.", _AGAIN)
    if record.scores != scored.sha256:
        return None
    try:
        return Suite(
            name,
            score=f"{__name__}:stand_ins",  # nothing is scored by a stand-in
            measures=tuple(_measure(measure) for measure in record.measures),
            title=record.title,
            summary=record.summary,
            version=record.version,
            figures=OneByOne(partial(_figures, record, shape)),
            citations=tuple(record.citations),
        )
    except (RunError, ValueError) as error:
        raise RunError(f"{file} is damaged: {error}.", _AGAIN) from error


def _figures(record: DrawnRecord, shape: tuple[int, int], result: SuiteResult, view: View) -> Iterator[Maker]:
    yield from (partial(_figure, figure, record.suite, shape) for figure in record.figures)


def _figure(record: FigureRecord, suite: str, shape: tuple[int, int]) -> Figure:
    """The figure, its drawing checked. Raises ValueError that names the figure."""
    sets = tuple(score_files.head_set(s) for s in record.head_sets)
    outside = [head_name(*h) for s in sets for h in s.heads if not (0 <= h[0] < shape[0] and 0 <= h[1] < shape[1])]
    if outside:
        raise ValueError(f"{record.id} as stored in the run marks {outside[0]}, which the model does not have")
    try:
        kept = KeptDrawing(from_outside(record.svg, record.id), record.panels)
    except ValueError as error:
        raise ValueError(f"{record.id} as stored in the run: {error}") from error
    if any(min(place.step) <= 0 for place in record.panels):
        raise ValueError(f"{record.id} as stored in the run has a map whose cells have no size")
    data = score_files.table(record.data)
    return Figure(
        record.id,
        suite,
        record.title,
        record.caption,
        record.alt,
        kept,
        data,
        sets,
        tuple(record.notes),
        record.supplementary,
    )


def _measure_record(m: Measure) -> MeasureRecord:
    low, high = (bound if math.isfinite(bound) else None for bound in m.range)
    return MeasureRecord(m.name, m.title, m.formula, m.meaning, m.unit, m.source, (low, high), m.null, m.from_weights)


def _measure(m: MeasureRecord) -> Measure:
    low, high = m.range
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return Measure(m.name, m.title, m.formula, m.meaning, m.unit, m.source, bounds, m.null, m.from_weights)


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")


@dataclass(frozen=True)
class Drawing:
    """A figure, its Vega-Lite specification (empty: kept as drawn) and its SVG, `width` x `height` px."""

    figure: Figure
    spec: Spec
    svg: str
    width: int
    height: int


Ready = Callable[[Drawing], object]
Started = Future[Drawing | str] | str  # a figure being drawn, or why it is not


@contextmanager
def threads(count: int) -> Iterator[Executor]:
    """A pool whose waiting tasks are dropped where its block ends early: an error, or Ctrl-C."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def started(
    pool: Executor,
    suite: Suite,
    result: SuiteResult,
    view: View,
    style: Style,
    more: Iterable[Maker] = (),
    ready: Ready | None = None,
) -> list[Started]:
    """The suite's figures in order, being drawn in `pool`; in the place of each that can't be, why. Never raises.

    more   makes figures that follow the suite's own
    ready  gets each drawing in the thread that made it
    """
    drawn: list[Started] = []
    with debug_mode(False):  # without the checks against Vega-Lite's schema, which the tests make
        for figure in (*each(suite, result, view), *made(more)):
            if isinstance(figure, str):
                drawn.append(figure)
                continue
            spec, problem = attempt(partial(_spec, figure, style))
            if spec is None:
                drawn.append(_undrawn(figure, problem))
                continue
            drawn.append(pool.submit(_one, figure, style, spec, ready))
    return drawn


def settled(drawn: Iterable[Started]) -> list[Drawing | str]:
    """The drawings of `started`, when all are there."""
    return [drawing if isinstance(drawing, str) else drawing.result() for drawing in drawn]


def each(suite: Suite, result: SuiteResult, view: View) -> Iterator[Figure | str]:
    """The suite's figures as specifications, each alone; in the place of one that fails the reason. Never raises."""
    figures, problem = attempt(suite.load_figures)
    if figures is None:
        yield f"The figures of this suite could not be drawn: {problem}"
    elif isinstance(figures, OneByOne):
        yield from made(figures.plan(result, view))
    else:
        yield from made(_whole(figures, result, view))


def _whole(
    figures: Callable[[SuiteResult, View], Iterable[Figure]], result: SuiteResult, view: View
) -> Iterator[Maker]:
    """Figures that a suite makes in one go; a generator's before it fails are kept."""
    for figure in figures(result, view):
        yield partial(_same, figure)


def _same(figure: Figure) -> Figure:
    return figure


def figures_of(
    suite: Suite, result: SuiteResult, view: View, more: Iterable[Maker] = ()
) -> tuple[list[Figure], list[str]]:
    """The suite's figures as specifications and those of `more`, and a sentence for each that there is not. Never
    raises."""
    with debug_mode(False):
        found = [*each(suite, result, view), *made(more)]
    return [f for f in found if not isinstance(f, str)], [f for f in found if isinstance(f, str)]


def charted(figure: Figure) -> Figure:
    """The figure with its chart made. FigureError: that failed."""
    with debug_mode(False):
        _, problem = attempt(lambda: figure.chart)
    if problem:
        raise FigureError(f"Figure {clean(str(figure.id))} could not be drawn: {problem}")
    return figure


def _spec(figure: Figure, style: Style) -> Spec:
    if not _ID.fullmatch(figure.id):
        raise ValueError(f"figure id {figure.id!r} is not a plain file name")
    return {} if isinstance(figure.chart, KeptDrawing) else export.spec(figure, style)


def _one(figure: Figure, style: Style, spec: Spec, ready: Ready | None) -> Drawing | str:
    drawing, problem = attempt(lambda: _drawing(figure, style, spec))
    if drawing is not None and ready is not None:
        ready(drawing)
    return drawing or _undrawn(figure, problem)


def _drawing(figure: Figure, style: Style, spec: Spec) -> Drawing:
    svg = export.svg(figure, style, spec)
    width, height = size(checked(svg, figure.id))
    return Drawing(figure, spec, svg, round(width), round(height))


def _undrawn(figure: Figure, problem: str) -> str:
    return f"Figure {clean(str(figure.id))} could not be drawn: {problem}"


def unique(drawings: Sequence[Drawing | str], taken: set[str]) -> list[Drawing | str]:
    """A sentence in the place of every drawing whose id an earlier figure has (file names may ignore case)."""
    kept: list[Drawing | str] = []
    for drawing in drawings:
        if isinstance(drawing, str):
            kept.append(drawing)
            continue
        key = drawing.figure.id.lower()
        double = f"Figure {drawing.figure.id} is left out: another figure has this id."
        kept.append(double if key in taken else drawing)
        taken.add(key)
    return kept
