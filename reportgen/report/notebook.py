"""A run as a notebook shows it: what it found, the highest heads, and where its page is. No figure is drawn."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup, escape

from reportgen.figures.captions import model_name
from reportgen.report.names import score_names
from reportgen.report.scene import Marks, RunLike, scene
from reportgen.report.text import clean, interval, number
from reportgen.report.verdicts import FIRST, ranked, verdicts
from reportgen.scores import head_name

MOST_ROWS = 8


def first_screen(run: RunLike) -> str:
    """HTML of a few lines; every word from the run is escaped. Raises UserError for a damaged run."""
    seen = scene(run, None, None, Marks(overlays=False))
    done = [name for name in seen.names if name in seen.results]
    lines = ranked([v for name in done for v in verdicts(seen.suites.get(name), seen.results[name], "")])
    findings = Markup("").join(Markup("<li>{}</li>").format(clean(v.text)) for v in lines[:FIRST])
    names = score_names(seen.results.values())
    rows = []
    for scores in (s for name in done for s in seen.results[name].scores):
        order = scores.ranking()
        if order:
            best = order[0]
            low, high = (None if grid is None else float(grid[best]) for grid in (scores.low, scores.high))
            cells = (names[scores.key], head_name(*best), number(float(scores.values[best])), interval(low, high))
            rows.append(Markup("").join(Markup("<td>{}</td>").format(clean(cell)) for cell in cells))
    table = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows[:MOST_ROWS])
    more = Markup("<p>and {} more scores</p>").format(len(rows) - MOST_ROWS) if len(rows) > MOST_ROWS else ""
    name = model_name(seen.view(done[0])) if done else clean(run.manifest.model.name)
    head = Markup("<tr><th>Score</th><th>Highest head</th><th>Value</th><th>95 %</th></tr>")
    top = Markup("<h3>Attention heads of {}</h3><ul>{}</ul>").format(clean(name), findings)
    return str(top + Markup("<table>{}{}</table>").format(head, table) + escape(more) + _link(run.path))


def _link(folder: Path) -> Markup:
    page = folder / "report" / "index.html"
    if page.is_file():
        return Markup('<p><a href="{}">The whole report</a></p>').format(page.as_posix())
    return Markup("<p>No report yet: <code>reportgen.render(run)</code></p>")
