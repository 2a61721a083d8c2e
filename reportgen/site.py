"""A static site of many runs: a gallery of cards, a report per run, permalinks, sitemap, a page for missing addresses.

A card per run, with the same small maps in the same order if runs have them.
"""

from __future__ import annotations

import base64
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import msgspec
import numpy as np
import numpy.typing as npt

from reportgen import __version__, suites
from reportgen.aliases import Progress
from reportgen.atlas.classes import classes
from reportgen.atlas.pages import HEADS_PAGE, alike_data, catalogue_page, class_page, heads_page
from reportgen.atlas.pairs import Atlas, make_atlas
from reportgen.atlas.records import data_files
from reportgen.atlas.robustness import findings
from reportgen.errors import DataError, RunError, SettingsError
from reportgen.figures.export import stamp
from reportgen.figures.geometry import bar_of
from reportgen.figures.theme import Style, clean
from reportgen.files import is_file, is_folder, read_toml, unwritable, write_atomic
from reportgen.manifest import Manifest
from reportgen.report.about import by_suite
from reportgen.report.build import AS_STORED, Marks, build
from reportgen.report.document import Pairs, Plate, Report
from reportgen.report.html import Around, environment, inline, policy, scripts, template
from reportgen.report.labels import beyond, order
from reportgen.report.render import ENDINGS, Tell, write
from reportgen.report.text import NOT_COMPUTED, number, parameters, plural
from reportgen.report.tiles import GREY, ColourScale, Thumbnail, Wall, wall
from reportgen.runfolder import MANIFEST, Run
from reportgen.scores import HeadScores
from reportgen.suites import COMPARED_NAME as COMPARED
from reportgen.suites.base import Suite

MOST_MAPS = 8
# Viridis and ColorBrewer's RdBu reversed, as Vega has them.
SHARES = ColourScale(((0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21908d"), (0.75, "#5dc963"), (1.0, "#fde725")))
SIGNED = ColourScale(((0.0, "#134b85"), (0.25, "#8ac0db"), (0.5, "#f2efee"), (0.75, "#f4ae8c"), (1.0, "#8d1228")))
_STATUS = ("done", "skipped", "failed")
KINDS = {"import": "imported", "comparison": "comparison", "fixture": "made up"}


@dataclass(frozen=True)
class CardMap:
    """One thumbnail: a PNG of one pixel a head, as a data address. `note` says how many heads beat the null."""

    key: str
    label: str
    anchor: str
    png: str
    note: str


@dataclass(frozen=True)
class Card:
    """One run in the gallery. `sort` holds what cards are ordered by."""

    slug: str
    name: str
    kind: str
    synthetic: bool
    facts: Pairs
    suites: tuple[str, ...]
    skipped: tuple[str, ...]  # suites that do not apply to this model: not failures
    failed: tuple[str, ...]
    maps: tuple[CardMap, ...]
    sort: Mapping[str, str | float]
    words: str


def cards(found: Sequence[tuple[Manifest, Report]]) -> tuple[Card, ...]:
    """A card per run, in the order given: that of site.toml or of the command line."""
    walls = [wall(report) for _, report in found]
    counts = Counter(tile.key for w in walls for tile in w.tiles)
    pairs = enumerate(zip(found, walls, strict=True))
    return tuple(_card(manifest, report, w, counts, i) for i, ((manifest, report), w) in pairs)


def under_maps(shown: Sequence[Card]) -> str:
    """Explanation of the notes under the gallery's maps; empty if there are none."""
    differences = [m.key.startswith(f"{COMPARED}/") for card in shown for m in card.maps if m.note]
    words = ["heads beyond the map's family-wise null"] if False in differences else []
    words += ["the size at which the colours of a difference saturate"] if True in differences else []
    return f"Under a map: {', or '.join(words)}." if words else ""


def _card(manifest: Manifest, report: Report, drawn: Wall, counts: Mapping[str, int], place: int) -> Card:
    model = manifest.model
    scores = {s.key: s for s in report.scores}
    maps = [_map(tile, scores[tile.key], _scale(drawn, scores[tile.key])) for tile in chosen(drawn.tiles, counts)]
    by_status = {status: tuple(s.title for s in report.sections if s.status == status) for status in _STATUS}
    suites, skipped, failed = (by_status[status] for status in _STATUS)
    labels = " ".join(tile.label for tile in drawn.tiles)
    return Card(
        slug=report.slug,
        name=report.name,
        kind=KINDS.get(model.source, ""),
        synthetic=report.synthetic,
        facts=_facts(manifest, report),
        suites=suites,
        skipped=skipped,
        failed=failed,
        maps=tuple(maps),
        sort={
            "place": place,
            "name": report.name.lower(),
            "layers": model.n_layers,
            "heads": model.n_layers * model.n_heads,
            "parameters": model.n_params,
            "date": manifest.created,
        },
        words=clean(" ".join((report.name, report.slug, model.family, *suites, labels))).lower(),
    )


def _facts(manifest: Manifest, report: Report) -> Pairs:
    model = manifest.model
    if model.source == "comparison":
        return (("Date", report.date),)
    grid = f"{model.n_layers} × {plural(model.n_heads, 'head')}"
    rows = (
        ("Grid", grid),
        ("Parameters", parameters(model.n_params) if model.n_params else ""),
        ("Family", clean(model.family)),
        ("Weights", clean(model.dequantised)),
        ("Preset", clean(by_suite(manifest, lambda record: record.preset))),
        ("Date", report.date),
    )
    return tuple((name, value) for name, value in rows if value)


def chosen(tiles: Sequence[Thumbnail], counts: Mapping[str, int]) -> list[Thumbnail]:
    """At most eight maps, the suites in turn; within a suite first what most runs have, then what it features."""
    known = suites.drawable(tile.suite for tile in tiles)
    tiles_of: dict[str, list[Thumbnail]] = {}
    for tile in tiles:
        tiles_of.setdefault(tile.suite, []).append(tile)
    queues = [
        sorted(found, key=lambda t: (-counts[t.key], _wanted(t.key, known.get(t.suite)))) for found in tiles_of.values()
    ]
    turns = [queue[i] for i in range(MOST_MAPS) for queue in queues if i < len(queue)][:MOST_MAPS]
    place = {tile.key: i for i, tile in enumerate(tiles)}
    return sorted(turns, key=lambda t: place[t.key])


def _wanted(key: str, suite: Suite | None) -> int:
    """The place among what its suite features; others follow in the report's order."""
    starts = [f"{suite.name}/{start}" for start in suite.featured] if suite else []
    return next((i for i, start in enumerate(starts) if key.startswith(start)), len(starts))


def _scale(drawn: Wall, scores: HeadScores) -> ColourScale:
    """The colours that the run's own figures have; the usual ones where no figure of one map shows them."""
    if bar_of(scores).signed:
        return drawn.signed or SIGNED
    return drawn.shares or SHARES


def _map(tile: Thumbnail, scores: HeadScores, scale: ColourScale) -> CardMap:
    past, heads = beyond(scores), len(order(scores))
    note = "" if past == NOT_COMPUTED else f"{past} of {heads}"
    if scores.suite == COMPARED:  # differences are small beside what is possible: each map to its own size
        scores = replace(scores, range=(-math.inf, math.inf))
        note = f"± {number(bar_of(scores).high)}" if np.nan_to_num(scores.values).any() else "no difference"
    return CardMap(
        key=scores.key,
        label=tile.label,
        anchor=tile.anchor,
        png="data:image/png;base64," + base64.b64encode(pixels(scores, scale, tile.panel.down)).decode(),
        note=note,
    )


def pixels(scores: HeadScores, scale: ColourScale, down: bool) -> bytes:
    """A PNG of one pixel a head: layers across and heads down as in the figures, or layers down."""
    bar = bar_of(scores)
    share = (scores.values.astype(np.float64) - bar.low) / (bar.high - bar.low)  # [layer head]
    ramp = np.array([_rgb(scale.colour(i / 255)) for i in range(256)], dtype=np.uint8)  # [step rgb]
    step = np.clip(np.nan_to_num(np.round(share * 255)), 0, 255).astype(np.intp)
    image = ramp[step]
    image[np.isnan(share)] = _rgb(GREY)
    return _png(image if down else image.transpose(1, 0, 2))


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """An 8-bit RGB PNG of [row column rgb]."""
    high, wide, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    sums = ((kind, data, zlib.crc32(kind + data)) for kind, data in parts)
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", total) for kind, data, total in sums)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# Permalinks: a page per figure whose address contains the hash of its numbers and caption.
#
# A link in a paper leads to exactly that figure or nowhere: if a rescored run changes the figure, its address changes
# too, and the page for missing addresses says so.

FOLDER = "at"
COPIES = ("svg", "pdf", "csv")


@dataclass(frozen=True)
class Permalink:
    """A figure's permanent place below its run's folder: `at/<id>-<hash>.html`, and copies of its files beside it."""

    plate: Plate
    hash: str

    @property
    def stem(self) -> str:
        return f"{FOLDER}/{self.plate.id}-{self.hash}"

    @property
    def page(self) -> str:
        return f"{self.stem}.html"

    def copies(self) -> dict[str, str]:
        """Name of a copy -> the original file in the report."""
        return {f"{self.stem}.{ending}": f"figures/{self.plate.id}.{ending}" for ending in COPIES}


def links(report: Report) -> tuple[Permalink, ...]:
    """The permalinks of a report's figures, in order."""
    return tuple(Permalink(plate, stamp(plate.figure).rsplit(":", 1)[1]) for plate in report.plates)


# A site's title, address and runs: site.toml and the command line.
#
# title = "Attention heads of small models" description = "One report per model." url = "https://me.github.io/heads/"
# runs = ["runs/*"]

MOST_RUNS = 2000


@dataclass(frozen=True)
class Site:
    """A site's texts. `url` is absolute and ends in '/', or empty if unknown."""

    title: str = "Attention heads"
    description: str = "Scores of every attention head, one report per model."
    url: str = ""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError as error:  # http://[
            raise SettingsError(f"url {self.url!r} is not an http address ({error}).") from error
        if self.url and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
            raise SettingsError(f"url {self.url!r} is not an http address.", "For example https://me.github.io/heads/")
        if self.url and not self.url.endswith("/"):
            object.__setattr__(self, "url", f"{self.url}/")

    @property
    def root(self) -> str:
        """The path of the site's root, for pages that are served from anywhere in it."""
        return urlsplit(self.url).path or "/"


class _SiteFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    title: str = Site.title
    description: str = Site.description
    url: str = ""
    runs: list[str] = []


def read_site(path: Path) -> tuple[Site, list[Path]]:
    """The site and the run folders that a site.toml names (patterns are relative to it). DataError names the place."""
    said = read_toml(path, _SiteFile, "It can set title, description, url and runs.")
    folders: list[Path] = []
    for pattern in said.runs:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise DataError(f"{path}: runs {pattern!r} points outside its folder.", "Give paths below site.toml.")
        try:
            found = sorted(p for p in path.parent.glob(pattern) if is_file(p / MANIFEST))
        except (ValueError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{path}: runs {pattern!r} is not a pattern ({why}).", "For example runs/*") from error
        if not found:
            raise DataError(f"{path}: no run folder matches {pattern!r}.", "Store one there: reportgen run --out ...")
        folders += found
    return Site(said.title, said.description, said.url), folders


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs in these folders; a folder of runs means all of them. RunError: none, or two with the same name."""
    runs: dict[str, Run] = {}
    for path in dict.fromkeys(Path(os.path.realpath(found)) for given in paths for found in _expanded(given)):
        run = Run.open(path)
        slug = run.manifest.model.slug
        if slug.lower() in RESERVED:
            raise RunError(
                f"{path} is called {slug!r}, which is a folder of the site itself.", "Give it another --name."
            )
        if slug in runs:
            raise RunError(f"{path} and {runs[slug].path} are both called {slug!r}.", "Give one another --name.")
        runs[slug] = run
    if not runs:
        raise RunError("No runs for the site.", "Name run folders, or a site.toml: reportgen site --config site.toml")
    if len(runs) > MOST_RUNS:
        raise RunError(f"{len(runs)} runs; a site can have at most {MOST_RUNS}.")
    return list(runs.values())


def _expanded(path: Path) -> Sequence[Path]:
    if is_file(path / MANIFEST) or not is_folder(path):
        return [path]
    return sorted(p.parent for p in path.glob(f"*/{MANIFEST}")) or [path]


PUBLISHED = "published.html"  # heads that papers name, by model and by class
RESERVED = ("at", "classes", "published", "runs")  # folders of the site's own
MARK = ".reportgen-site"  # a folder with this file was made here and may be replaced
Entry = tuple[Manifest, Report, tuple[Permalink, ...]]


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
    tell      called for each figure that could not be drawn
    marks     the head sets drawn, if different from those of each run's report
    Raises UserError: a damaged run, `out` is not empty and not an earlier site, or it can't be written.
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
    atlas = make_atlas(runs, progress=progress)
    for done, run in enumerate(runs):
        report = build(run, marks=marks, beside=runs)
        entry = (run.manifest, report, links(report))
        entry = _one_run(run, entry, folder / report.slug, site, tell, atlas)
        entries.append(entry)
        progress(done + 1, len(runs), report.slug)
    pairs = [(manifest, report) for manifest, report, _ in entries]
    made = cards(pairs)
    files = {
        "index.html": _page("site.html.jinja", site, cards=made, under=under_maps(made)),
        PUBLISHED: _page("published.html.jinja", site, **catalogue_page([manifest for manifest, _, _ in entries])),
        "404.html": _page("missing.html.jinja", site, cards=made, places=_places(entries)),
        ".nojekyll": "",  # or GitHub Pages would drop names that begin with an underscore
        MARK: f"Made by reportgen {__version__}; 'reportgen site' may replace this folder.\n",
    }
    files |= heads_files(pairs, site, atlas, runs)
    if site.url:
        files["sitemap.xml"] = sitemap(
            site, entries, [name for name in files if name.startswith(("classes/", HEADS_PAGE))]
        )
        files["robots.txt"] = f"Sitemap: {site.url}sitemap.xml\n"
    for name, text in files.items():
        write_atomic(folder / name, text.encode())
    for name, content in data_files(pairs).items():
        write_atomic(folder / name, content)


def heads_files(
    found: Sequence[tuple[Manifest, Report]], site: Site, atlas: Atlas | None = None, runs: Sequence[Run] = ()
) -> dict[str, str]:
    """The pages about heads of all runs, by their names: heads.html, and one for every class of heads."""
    every = classes(found, {(one.run, one.key): one for run in runs for one in findings(run, runs)})
    files = {HEADS_PAGE: _page("heads.html.jinja", site, **heads_page([r for _, r in found], every, atlas))}
    return files | {one.page: _page("head_class.html.jinja", site, **class_page(one)) for one in every}


def _one_run(run: Run, entry: Entry, folder: Path, site: Site, tell: Tell | None, atlas: Atlas) -> Entry:
    """A run's report as `reportgen render` writes it, and its figures' permanent copies; the entry with those there."""
    manifest, report, found = entry
    around = Around("../", site.title, {link.plate.id: link.page for link in found}, alike_data(atlas, report.slug))
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
    script = scripts("base.js", "heads.js" if "maps" in values else "site.js")
    return (
        environment()
        .get_template(name)
        .render(site=site, version=__version__, style=style, script=script, policy=policy(style, script), **values)
    )


def _places(entries: Sequence[Entry]) -> dict[str, str]:
    """Current address of every figure: `<slug>/<id>` -> its permalink below the site's root."""
    return {f"{r.slug}/{link.plate.id}": f"{r.slug}/{link.page}" for _, r, found in entries for link in found}


def sitemap(site: Site, entries: Sequence[Entry], pages: Sequence[str] = ()) -> str:
    """Every page with the day its run was last scored."""
    last = max(m.updated[:10] for m, _, _ in entries)
    rows = [(site.url, last), *((f"{site.url}{name}", last) for name in (PUBLISHED, *pages))]
    for manifest, report, found in entries:
        day = manifest.updated[:10]
        rows.append((f"{site.url}{report.slug}/", day))
        rows += [(f"{site.url}{report.slug}/{link.page}", day) for link in found]
    body = "".join(f"<url><loc>{escape(at)}</loc><lastmod>{escape(day)}</lastmod></url>\n" for at, day in rows)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{body}</urlset>\n"


def _silent(done: int, total: int, words: str) -> None:
    """Ignores all progress."""
