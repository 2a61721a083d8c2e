"""The site's files: gallery, a report per run, permalinks, sitemap and the page for missing addresses.

Everything is rendered from stored runs; the folder is made beside its place and put there whole. The same runs give the
same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from reportgen import __version__
from reportgen.errors import SettingsError
from reportgen.figures.figure import Style
from reportgen.files import unwritable, write_atomic
from reportgen.manifest import Manifest
from reportgen.report.build import build
from reportgen.report.html import Around, environment, inline, policy, scripts, template
from reportgen.report.parts import Report
from reportgen.report.render import ENDINGS, Tell, write
from reportgen.report.scene import AS_STORED, Marks
from reportgen.runfolder import Run
from reportgen.site.cards import cards
from reportgen.site.links import Link, links
from reportgen.site.settings import Site

MARK = ".reportgen-site"  # a folder with this file was made here and may be replaced
Progress = Callable[[int, int, str], None]
Entry = tuple[Manifest, Report, tuple[Link, ...]]


def build_site(
    runs: Sequence[Run],
    out: Path,
    site: Site,
    progress: Progress | None = None,
    tell: Tell | None = None,
    marks: Marks = AS_STORED,
) -> Path:
    """Write the site of `runs` to the folder `out`, replacing an earlier one; returns the gallery's path.

    progress  progress(done, total, words) after every run
    tell      is told of each figure that could not be drawn
    marks     the head sets drawn, where they are not those of each run's own report
    Raises UserError: a damaged run, `out` is no earlier site and not empty, or it can't be written.
    """
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise SettingsError(f"{out} is not an earlier site and not empty.", "Choose another folder: --out public")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        _write(runs, part, site, progress or _silent, tell, marks)
        part.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out / "index.html"


def _write(runs: Sequence[Run], folder: Path, site: Site, progress: Progress, tell: Tell | None, marks: Marks) -> None:
    entries: list[Entry] = []
    for done, run in enumerate(runs):
        report = build(run, marks=marks)
        entry = (run.manifest, report, links(report))
        entry = _one_run(run, entry, folder / report.slug, site, tell)
        entries.append(entry)
        progress(done + 1, len(runs), report.slug)
    made = cards([(manifest, report) for manifest, report, _ in entries])
    files = {
        "index.html": _page("site.html.jinja", site, cards=made),
        "404.html": _page("missing.html.jinja", site, cards=made, places=_places(entries)),
        ".nojekyll": "",  # or GitHub Pages would drop names that begin with an underscore
        MARK: f"Made by reportgen {__version__}; 'reportgen site' may replace this folder.\n",
    }
    if site.url:
        files["sitemap.xml"] = sitemap(site, entries)
        files["robots.txt"] = f"Sitemap: {site.url}sitemap.xml\n"
    for name, text in files.items():
        write_atomic(folder / name, text.encode())


def _one_run(run: Run, entry: Entry, folder: Path, site: Site, tell: Tell | None) -> Entry:
    """A run's report as `reportgen render` writes it, and its figures' permanent copies; the entry with those there."""
    manifest, report, found = entry
    around = Around("../", site.title, {link.plate.id: link.page for link in found})
    write(report, run, folder, Style(), tuple(ENDINGS), _silent, around, tell)
    found = tuple(link for link in found if (folder / f"figures/{link.plate.id}.svg").is_file())
    for link in found:
        for name, original in link.copies().items():
            write_atomic(folder / name, (folder / original).read_bytes())
        art = inline(link.plate, report.frames[link.plate.id])
        text = _page("figure.html.jinja", site, r=report, link=link, art=art)
        write_atomic(folder / link.page, text.encode())
    return manifest, report, found


def _page(name: str, site: Site, **values: object) -> str:
    style = template("style.css") + template("site.css")
    script = scripts("base.js", "site.js")
    return (
        environment()
        .get_template(name)
        .render(site=site, version=__version__, style=style, script=script, policy=policy(style, script), **values)
    )


def _places(entries: Sequence[Entry]) -> dict[str, str]:
    """Where every figure stands now: `<slug>/<id>` -> its permalink below the site's root."""
    return {f"{r.slug}/{link.plate.id}": f"{r.slug}/{link.page}" for _, r, found in entries for link in found}


def sitemap(site: Site, entries: Sequence[Entry]) -> str:
    """Every page with the day its run was last scored."""
    rows = [(site.url, max(m.updated[:10] for m, _, _ in entries))]
    for manifest, report, found in entries:
        day = manifest.updated[:10]
        rows.append((f"{site.url}{report.slug}/", day))
        rows += [(f"{site.url}{report.slug}/{link.page}", day) for link in found]
    body = "".join(f"<url><loc>{escape(at)}</loc><lastmod>{escape(day)}</lastmod></url>\n" for at, day in rows)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{body}</urlset>\n"


def _silent(done: int, total: int, words: str) -> None:
    """Tells nobody."""
