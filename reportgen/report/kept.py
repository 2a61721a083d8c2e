"""What was drawn of a suite that other machines lack, kept in the run: drawn/SUITE.json.

A suite of one's own draws by its Python file. Where that is not at hand its figures, their words and numbers, and what
the suite says of its measures are shown as they were drawn. Nothing is pickled or run; the file is read as one that
anybody may have written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from reportgen import codec
from reportgen.errors import RunError
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.checked import from_outside
from reportgen.figures.figure import Figure, Kept, View
from reportgen.files import write_atomic
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.reading import there
from reportgen.report.text import cleaned
from reportgen.runfolder import read_versioned
from reportgen.scores import SuiteResult, head_name
from reportgen.suites.base import Measure, Suite

SCHEMA_VERSION = 1
FOLDER = "drawn"
NOTE = (
    "These figures are shown as they were drawn where the suite's file was at hand; colours, width and head sets are "
    "of then. With --suite FILE.py they are drawn anew."
)
_AGAIN = "Delete the file, or draw the run anew with the suite's own: --suite FILE.py."


class MeasureRecord(msgspec.Struct, frozen=True):
    """A `Measure`; a bound that is null is none."""

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
    """A figure as drawn: its words, its SVG, its numbers and the head sets it marks."""

    id: str
    title: str
    caption: str
    alt: str
    svg: str
    data: codec.TableRecord
    head_sets: list[codec.SetRecord]
    notes: list[str] = []


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


def keep(run: Path, manifest: Manifest, suite: Suite, drawn: Sequence[tuple[Figure, str]]) -> None:
    """Write what was drawn of `suite`, each figure with its SVG, into the run folder."""
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
                codec.table_record(f.data),
                [codec.set_record(s) for s in f.head_sets],
                list(f.notes),
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


def _file(run: Path, suite: str) -> Path:
    return run / FOLDER / f"{suite}.json"


def _suite(run: Path, name: str, scored: SuiteRecord, shape: tuple[int, int]) -> Suite | None:
    """A stand-in whose figures are the kept ones; None where none were kept, or of other scores than there are now."""
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
    sets = tuple(codec.head_set(s) for s in record.head_sets)
    outside = [head_name(*h) for s in sets for h in s.heads if not (0 <= h[0] < shape[0] and 0 <= h[1] < shape[1])]
    if outside:
        raise ValueError(f"{record.id} as kept in the run marks {outside[0]}, which the model has not")
    try:
        kept = Kept(from_outside(record.svg, record.id))
    except ValueError as error:
        raise ValueError(f"{record.id} as kept in the run: {error}") from error
    data = codec.table(record.data)
    return Figure(record.id, suite, record.title, record.caption, record.alt, kept, data, sets, tuple(record.notes))


def _measure_record(m: Measure) -> MeasureRecord:
    low, high = (bound if math.isfinite(bound) else None for bound in m.range)
    return MeasureRecord(m.name, m.title, m.formula, m.meaning, m.unit, m.source, (low, high), m.null, m.from_weights)


def _measure(m: MeasureRecord) -> Measure:
    low, high = m.range
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return Measure(m.name, m.title, m.formula, m.meaning, m.unit, m.source, bounds, m.null, m.from_weights)
