"""reportgen: static reports and figures for the attention heads of language models.

    import reportgen
    run = reportgen.run("mini")                    # score every head, render the report
    run = reportgen.load_run("runs/mini")          # an earlier run, without torch
    reportgen.heatmap(array, overlays={"Name movers": ["L9H6", "L9H9"]})

Importing this package is cheap: torch and altair are imported when a function needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    import altair as alt
    import numpy as np

    from reportgen.figures.figure import KeptDrawing
    from reportgen.figures.theme import Style
    from reportgen.report.build import Marks
    from reportgen.runfolder import Run

    Overlays = Mapping[str, Sequence[str]] | Sequence[str | os.PathLike[str]] | str | os.PathLike[str] | bool | None

__version__ = "0.1.0"
__all__ = ["__version__", "figure", "heatmap", "load_run", "render", "run", "save_figure"]


def run(
    model: str = "mini",
    *,
    suites: Sequence[str] | str = (),
    report: bool = True,
    progress: bool | None = None,
    **options: Any,
) -> Run:
    """Score every head of `model`, store the run, render its report, and return the run.

    model    "mini", a hub id, a local Hugging Face folder or a GGUF file
    suites   names, or your own files; none = all
    report   False skips the report
    progress  show progress: a line in a notebook, bars on a terminal; None = only there
    options  the command line's: preset, set={"relations.tau": 0.2}, relations, tasks, text, device, threads, out, ...

    Warns (LeftOutWarning) of data that is not used, such as words that are no single token; `Run.left_out` lists it.
    Raises reportgen.errors.UserError for what the caller can mend.
    """
    import warnings

    from reportgen import runner
    from reportgen.config import options_of
    from reportgen.errors import LeftOutWarning
    from reportgen.notebook import listening

    asked = options_of(**({"model": model} | ({"suites": suites} if suites else {}) | options))
    with listening(progress) as listener:
        done = runner.run(asked, listener)
        if report:
            listener.stage("Rendering the report")
            render(done)
    dropped = [f"{name}: {words}" for name, record in done.manifest.suites.items() for words in record.dropped]
    if dropped:
        more = f" and {len(dropped) - 3} more, see .left_out()" if len(dropped) > 3 else ""
        warnings.warn(f"Left out: {'; '.join(dropped[:3])}{more}", LeftOutWarning, stacklevel=2)
    return done


def load_run(path: str) -> Run:
    """The run folder at `path`; never imports torch. Raises reportgen.errors.RunError."""
    from reportgen.runfolder import Run

    return Run.open(path)


def render(run: Run) -> str:
    """Write the report of a run (HTML, PDF, CSV, every figure) and return the page's path; never imports torch.

    Warns of each figure that could not be drawn; the others are written.
    """
    import warnings

    from reportgen.report.render import render as write

    return str(write(run, tell=lambda why: warnings.warn(why, stacklevel=4)))


def figure(
    run: Run,
    figure_id: str,
    *,
    width: str | float | None = None,
    cmap: str = "viridis",
    palette: str = "published",
    legend: str = "outside",
    overlays: Overlays = None,
) -> alt.TopLevelMixin | KeptDrawing:
    """One figure of the run as an Altair chart, e.g. figure(run, "relations-name_copying"); never imports torch.

    width     printed width: inches, "8.3cm", or a column such as "icml"; text is then 6 pt or more
    cmap      Vega colour scheme of score maps
    palette   "published", or "safe" for the colour-blind
    legend    of a score map: "outside", below it, or "inside", a half-transparent box in an empty corner
    overlays  head sets instead of those stored in the run: {"Mine": ["L4H5"]}, or paths of overlay files; False draws
              neither published nor user sets

    For a suite whose file is not given, it is the drawing stored in the run (attribute `svg`).

    Notebooks display it offline: as SVG or PNG, interactive if they can draw Vega-Lite themselves.

    Raises reportgen.errors.SettingsError that lists the figures, or names the marked head, or head above the line,
    that a legend inside would cover.
    """
    from reportgen.figures.export import shown
    from reportgen.figures.figure import KeptDrawing
    from reportgen.report.build import printed_figure

    found, style = printed_figure(run, figure_id, _style(width, cmap, palette, legend), _marks(run, overlays))
    if isinstance(found.chart, KeptDrawing):
        return found.chart
    chart: alt.TopLevelMixin = shown(found.chart, found.id, found.title, found.alt, style.width_in)
    return chart


def save_figure(
    run: Run,
    figure_id: str,
    path: str | os.PathLike[str],
    *,
    width: str | float | None = None,
    cmap: str = "viridis",
    palette: str = "published",
    legend: str = "outside",
    overlays: Overlays = None,
) -> None:
    """Write one figure as `reportgen figure RUN ID --out PATH` does: at its printed width, fonts embedded.

    path  its extension sets the format: svg, pdf, png, csv, tex or json; other arguments as in `figure`

    Raises reportgen.errors.SettingsError for another extension, and as `figure` does.
    """
    from pathlib import Path

    from reportgen.figures.export import FORMATS, format_of
    from reportgen.files import write_atomic
    from reportgen.report.build import printed_figure

    name = format_of(Path(path))
    style, marks = _style(width, cmap, palette, legend), _marks(run, overlays)
    write_atomic(Path(path), FORMATS[name](*printed_figure(run, figure_id, style, marks)))


def heatmap(
    values: np.ndarray[Any, Any] | Sequence[Sequence[float]],
    *,
    overlays: Mapping[str, Sequence[str]] | None = None,
    label: str = "Score",
    title: str = "",
    width: str | float | None = None,
    cmap: str = "viridis",
    legend: str = "outside",
) -> alt.LayerChart:
    """A layer x head heatmap of your own numbers, in the style of the report.

    values    [layer head]; NaN = not computed
    overlays  legend entry -> head names, e.g. {"Name movers": ["L9H6"]}
    label     label of the colour bar
    width     printed width: inches, "8.3cm", or a column such as "icml"
    cmap      Vega colour scheme
    legend    "outside", or "inside": SettingsError if it would cover a marked head
    """
    from reportgen.figures.export import shown
    from reportgen.figures.heatmap import array_heatmap

    style = _style(width, cmap, "published", legend)
    made = array_heatmap(values, overlays=overlays or {}, label=label, title=title, style=style)
    chart: alt.LayerChart = shown(made, "heatmap", title, width_in=style.width_in)
    return chart


def _style(width: str | float | None, cmap: str, palette: str, legend: str) -> Style:
    from reportgen.figures.chart_data import check_style
    from reportgen.figures.export import inches
    from reportgen.figures.theme import Style

    width_in = None if width is None else inches(str(width))
    return check_style(Style(cmap=cmap, palette=palette, legend=legend, width_in=width_in))


def _marks(run: Run, overlays: Overlays) -> Marks:
    from os import PathLike
    from pathlib import Path

    from reportgen.figures.heatmap import named_sets
    from reportgen.report.build import Marks

    if overlays is None or isinstance(overlays, bool):
        return Marks(overlays=overlays)
    if isinstance(overlays, Mapping):
        return Marks(sets=tuple(named_sets(overlays, (run.model.n_layers, run.model.n_heads))))
    paths = [overlays] if isinstance(overlays, str | PathLike) else list(overlays)
    return Marks(overlay_files=tuple(Path(path) for path in paths))
