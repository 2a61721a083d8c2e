"""The report of a run, written: index.html, report.pdf, scores.csv and every figure in every format.

Each file appears whole or not at all. The page is written last, when everything it links to is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reportgen.errors import SettingsError, nearest
from reportgen.figures import export
from reportgen.figures.figure import Figure, Style
from reportgen.files import write_atomic
from reportgen.report.build import build
from reportgen.report.csv import scores_csv
from reportgen.report.html import page
from reportgen.report.parts import Report
from reportgen.report.pdf import document
from reportgen.report.scene import RunLike

ENDINGS = {"svg": "svg", "pdf": "pdf", "png": "png", "csv": "csv", "tex": "tex", "json": "vl.json"}
Progress = Callable[[int, int, str], None]


def render(
    run: RunLike,
    style: Style | None = None,
    *,
    overlays: bool = True,
    overlay_files: Sequence[Path] = (),
    published: str = "",
    formats: Sequence[str] = tuple(ENDINGS),
    progress: Progress | None = None,
) -> Path:
    """Write `<run>/report/` and return the path of its index.html.

    overlays       False draws no published and no user's head set
    overlay_files  more TOML files of head sets, beside those kept in the run
    published      key of a catalogue model whose published heads are drawn, over the run's own
    formats        of figures; without "pdf" report.pdf is left out too
    progress       progress(done, total, words) after every figure

    Raises UserError: an unknown format, a damaged run, a folder that can't be written.
    """
    unknown = [name for name in formats if name not in ENDINGS]
    if unknown:
        raise SettingsError(f"No format {unknown[0]!r}.", nearest(unknown[0], ENDINGS))
    style = style or Style()
    report = build(run, style, overlays=overlays, overlay_files=overlay_files, published=published)
    folder = run.path / "report"
    return write(report, run, folder, style, formats, progress or _silent)


def write(report: Report, run: RunLike, folder: Path, style: Style, formats: Sequence[str], progress: Progress) -> Path:
    """Write a built report into `folder`; returns the page's path."""
    total = len(report.plates) + 1
    written: set[str] = set()
    tex: dict[str, str] = {}
    for done, plate in enumerate(report.plates):
        for name in formats:
            content = figure_file(plate.figure, name, style, plate.svg, plate.spec)
            if name == "tex":
                tex[plate.id] = content.decode()
            file = f"{plate.id}.{ENDINGS[name]}"
            write_atomic(folder / "figures" / file, content)
            written.add(file)
        progress(done + 1, total, plate.id)
    write_atomic(folder / "scores.csv", scores_csv(run.results).encode())
    pdf = folder / "report.pdf"
    if "pdf" in formats:
        write_atomic(pdf, document(report))
    else:
        pdf.unlink(missing_ok=True)
    index = folder / "index.html"
    write_atomic(index, page(report, formats, tex).encode())
    _remove_stale(folder / "figures", written)
    progress(total, total, "index.html")
    return index


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
        return export.pdf(drawn, figure.title, figure.alt)
    return export.png(drawn) if name == "png" else drawn.encode()


def _remove_stale(folder: Path, written: set[str]) -> None:
    """Figure files of an earlier rendering that this one did not write; other files are left alone."""
    for path in folder.glob("*"):
        ours = path.name.endswith(tuple(f".{ending}" for ending in ENDINGS.values()))
        if ours and path.name not in written and (path.is_file() or path.is_symlink()):
            path.unlink()


def _silent(done: int, total: int, words: str) -> None:
    """Tells nobody."""
