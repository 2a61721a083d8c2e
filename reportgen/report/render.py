"""Writes the report of a run: index.html, report.pdf, a zip of everything, and every figure in every format.

Each file is written atomically. The page is written last, when everything it links to exists.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path

from reportgen import suites
from reportgen.aliases import Progress
from reportgen.errors import SettingsError, nearest
from reportgen.figures import export
from reportgen.figures.figure import Figure, attempt
from reportgen.figures.heatmap import legend_refused
from reportgen.figures.theme import Style, clean
from reportgen.files import write_atomic
from reportgen.manifest import ModelRecord
from reportgen.report import about, draw
from reportgen.report.build import RunLike, build, without
from reportgen.report.document import Plate, Report
from reportgen.report.draw import Drawing, threads
from reportgen.report.html import Around, page
from reportgen.report.paper import numbers_tex
from reportgen.report.pdf import document
from reportgen.rows import ROW_COLUMNS, note_of
from reportgen.runfolder import owned
from reportgen.scores import FloatGrid, HeadScores, SuiteResult, head_name

# scores.csv: every head score of a run, one row per head. Byte-identical for the same run.

COLUMNS = (*ROW_COLUMNS, "model")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def scores_csv(results: Mapping[str, SuiteResult], model: ModelRecord) -> str:
    """All scores, sorted by suite, measure, task, layer, head; `head` is `L4H5`, `layer` and `head_index` count from 0.

    `p` is adjusted over all heads, `p_each` is of the head alone, `fdr` the false-discovery rate made from that; runs
    that do not hold them have both empty. NaN is an empty cell with its reason in `note`, which also says where a value
    is an estimate, and why a score has no null. Numbers are the shortest decimals that read back as the same float32.
    `model` says where weights were dequantised.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    name = escape(model.described)
    scores = [s for result in results.values() for s in result.scores]
    for score in sorted(scores, key=lambda s: (s.suite, s.measure, s.task)):
        writer.writerows((*row, name) for row in _rows(score))
    return out.getvalue()


def _rows(scores: HeadScores) -> Iterator[tuple[str, ...]]:
    names = (scores.suite, scores.measure, scores.task)
    line = _number(scores.line)
    layers, heads = scores.values.shape
    for layer in range(layers):
        for head in range(heads):
            note = note_of(scores, (layer, head))
            cells = (_cell(grid, layer, head) for grid in (scores.values, scores.low, scores.high))
            tested = (_cell(grid, layer, head) for grid in (scores.p, scores.p_each, scores.fdr))
            place = (head_name(layer, head), str(layer), str(head))
            yield (*names, *place, *cells, str(scores.n), *tested, line, escape(note))


def _cell(grid: FloatGrid | None, layer: int, head: int) -> str:
    return "" if grid is None else _number(grid[layer, head])


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else str(value)


def escape(text: str) -> str:
    """`text` on one line and safe to open in a spreadsheet: what would be read as a formula gets a leading quote."""
    flat = " ".join(clean(text).split())
    return f"'{flat}" if flat.startswith(_FORMULA) else flat


# The whole report as one zip: the same bytes for the same files.

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say
_STORED = (".png", ".pdf")  # compressed already


def archive(folder: str, files: Mapping[str, bytes]) -> bytes:
    """`files` by name, under `folder/`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
            zipped.writestr(entry, content)
    return out.getvalue()


ENDINGS = {"svg": "svg", "pdf": "pdf", "png": "png", "csv": "csv", "tex": "tex", "json": "vl.json"}
ARCHIVE = "report.zip"
Tell = Callable[[str], object]
Made = tuple[dict[str, bytes] | None, str]  # a figure's files by name; or why there are none


def render(
    run: RunLike,
    style: Style | None = None,
    *,
    formats: Sequence[str] = tuple(ENDINGS),
    progress: Progress | None = None,
    tell: Tell | None = None,
    warn: Tell | None = None,
) -> Path:
    """Write `<run>/report/` and return the path of its index.html. What is drawn of a user's suite is kept in the run.

    formats   of figures; without "pdf" report.pdf is left out too
    progress  progress(done, total, words) after every figure
    tell      is told of each figure that could not be drawn; a note stands in its place on the page
    warn      is told of each figure whose legend can't stand inside as `style` asks, and of changed suites' files

    The head sets drawn are those that the run says: `reportgen.runfolder.keep_marks` changes them.

    Raises UserError: an unknown format, a damaged run, a folder that can't be written.
    """
    unknown = [name for name in formats if name not in ENDINGS]
    if unknown:
        raise SettingsError(f"No format {unknown[0]!r}.", nearest(unknown[0], ENDINGS))
    style = style or Style()
    # Owned: a run that began meanwhile would take this one's temporary files for a crash's.
    with owned(run.path), threads(2) as pool:  # Typst draws PDF and PNG beside Python and the renderer
        figures = FigureFiles(pool, style, formats)
        report = build(run, style, ready=figures.add)
        for plate in report.plates:
            if warn is not None and (why := legend_refused(plate.figure.chart)):
                warn(f"{plate.id}: legend outside, because inside {why}.")
        for words in about.other_files(suites.drawable(run.manifest.suites), run.manifest):
            (warn or _nobody)(words)
        folder = run.path / "report"
        page = write(report, run, folder, style, formats, progress or _silent, tell=tell, figures=figures)
        _keep(report, run)
        return page


def _keep(report: Report, run: RunLike) -> None:
    """Keep in the run what was drawn of suites that another machine may lack."""
    known = suites.drawable(run.manifest.suites)
    for section in report.sections:
        suite, as_drawn = known.get(section.name), any(not plate.spec for plate in section.plates)
        if suite is not None and not suites.shipped(suite) and section.status == "done" and not as_drawn:
            draw.keep_drawings(run.path, run.manifest, suite, [(plate.figure, plate.svg) for plate in section.plates])


def write(
    report: Report,
    run: RunLike,
    folder: Path,
    style: Style,
    formats: Sequence[str],
    progress: Progress,
    around: Around | None = None,
    tell: Tell | None = None,
    figures: FigureFiles | None = None,
) -> Path:
    """Write a built report into `folder`; returns the page's path.

    around   the site it is part of
    figures  made of its drawings while it was built; None = they are made now
    """
    total = len(report.plates) + 1
    with threads(2) as pool:
        made = figures or FigureFiles(pool, style, formats)
        report, files = _written(report, folder, made, lambda done, name: progress(done, total, name))
    for why in report.undrawn:
        (tell or _nobody)(why)
    with threads(1) as pool:  # Typst sets the report beside Python
        pdf = pool.submit(document, report) if "pdf" in formats else None
        names = ["report.pdf"] if pdf else []
        files["scores.csv"] = scores_csv(run.results, run.manifest.model).encode()
        files["numbers.tex"] = numbers_tex(run, [p.figure for p in report.plates]).encode()
        files["references.bib"] = report.bibtex.encode()
        tex = {p.id: files[f"figures/{p.id}.tex"].decode() for p in report.plates} if "tex" in formats else {}
        index = page(report, formats, tex, [*files, *names, ARCHIVE], around).encode()
        if pdf:
            files["report.pdf"] = pdf.result()
    whole = archive(run.manifest.model.slug, {**files, "index.html": index})
    for name, content in (*((n, c) for n, c in files.items() if "/" not in n), (ARCHIVE, whole), ("index.html", index)):
        write_atomic(folder / name, content, synced=False)
    _remove_stale(folder, files)
    progress(total, total, "index.html")
    return folder / "index.html"


class FigureFiles:
    """The files of figures by their names in the report's folder, each begun as soon as its figure is drawn."""

    def __init__(self, pool: Executor, style: Style, formats: Sequence[str]) -> None:
        self._pool, self._style, self._formats = pool, style, formats
        self._pending: dict[int, tuple[Figure, Future[Made]]] = {}  # by the figure's identity

    def add(self, drawn: Drawing | Plate) -> None:
        """Begin with the files of a figure, unless that was done."""
        if id(drawn.figure) not in self._pending:
            task = partial(figure_files, drawn, self._style, self._formats)
            self._pending[id(drawn.figure)] = drawn.figure, self._pool.submit(attempt, task)

    def of(self, plate: Plate) -> Made:
        """The files of a figure, when they are made; None and why not, where that failed."""
        return self._pending[id(plate.figure)][1].result()


def _written(
    report: Report, folder: Path, made: FigureFiles, progress: Callable[[int, str], None]
) -> tuple[Report, dict[str, bytes]]:
    """Write every figure in every format. Returns the files, and the report without the figures that have none."""
    files: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    for plate in report.plates:
        made.add(plate)
    for done, plate in enumerate(report.plates, start=1):
        found, problem = made.of(plate)
        if found is None:
            failed[plate.id] = f"Figure {plate.id} could not be drawn: {problem}"
        for file, content in (found or {}).items():
            write_atomic(folder / file, content, synced=False)
        files |= found or {}
        progress(done, plate.id)
    return (without(report, failed) if failed else report), files


def figure_files(drawn: Drawing | Plate, style: Style, formats: Sequence[str]) -> dict[str, bytes]:
    """The files of one figure by their names in the report folder."""
    return {
        f"figures/{drawn.figure.id}.{ENDINGS[name]}": figure_file(drawn.figure, name, style, drawn.svg, drawn.spec)
        for name in formats
        if drawn.spec or name != "json"
    }


def figure_file(
    figure: Figure, name: str, style: Style, svg: str | None = None, spec: export.Spec | None = None
) -> bytes:
    """One figure in one of the formats `ENDINGS`; `svg` and `spec` where there are any already."""
    if name == "csv":
        return export.csv(figure).encode()
    if name == "tex":
        return export.tex(figure).encode()
    if name == "json":
        return export.vega_lite(figure, style, spec).encode()
    drawn = export.svg(figure, style, spec) if svg is None else svg
    if name == "pdf":
        return export.pdf(drawn, figure.title, figure.alt, export.stamp(figure))
    return export.png(drawn, mark=export.stamp(figure)) if name == "png" else drawn.encode()


def _remove_stale(folder: Path, written: Mapping[str, bytes]) -> None:
    """Files of an earlier rendering that this one did not write; other files are left alone."""
    ours = tuple(f".{ending}" for ending in ENDINGS.values())
    old = [path for path in (folder / "figures").glob("*") if path.name.endswith(ours)]
    for path in (*old, folder / "report.pdf"):
        name = path.relative_to(folder).as_posix()
        if name not in written and (path.is_file() or path.is_symlink()):
            path.unlink()


def _nobody(words: str) -> None:
    """Ignores warnings."""


def _silent(done: int, total: int, words: str) -> None:
    """Ignores all progress."""
