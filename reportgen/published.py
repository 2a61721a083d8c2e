"""Published head lists, and users' lists in the same format, as `HeadSet`s that figures can mark.

- A list is matched to a model by hub id, or if the user says so; never by shape or folder name.
- A malformed entry is refused with the file, the entry and what was expected.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from reportgen.errors import DataError, SettingsError, nearest
from reportgen.figures.markers import check_look
from reportgen.files import MOST_TOML, convert, parse_toml, read_text
from reportgen.scores import Head, HeadSet, head_name, parse_head

# How a paper is cited: one printed line, a short form for captions, BibTeX.


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source. `nickname` is the title of its legends in figures."""

    key: str
    authors: str  # separated by commas; "et al." stands for the rest
    year: int
    title: str
    venue: str
    arxiv: str = ""
    url: str = ""
    nickname: str = ""

    @property
    def address(self) -> str:
        return self.url or (f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else "")


def people(paper: Paper) -> list[str]:
    """The authors one by one; what stands in brackets is left out, and "et al." becomes "others"."""
    names = re.sub(r"\s*\([^)]*\)", "", paper.authors).replace(" et al.", ", others").split(",")
    return [name.strip() for name in names if name.strip()]


def short(paper: Paper) -> str:
    """`Wang et al. 2022`, `Elhelo and Geva 2024`, `Nanda 2023`."""
    last = [name.split()[-1] for name in people(paper)]
    if len(last) == 1:
        who = last[0]
    elif len(last) == 2 and last[1] != "others":
        who = f"{last[0]} and {last[1]}"
    else:
        who = f"{last[0]} et al."
    return f"{who} {paper.year}"


def text_of(paper: Paper) -> str:
    """Authors (year). Title. Venue. arXiv number or address."""
    where = f"arXiv:{paper.arxiv}" if paper.arxiv else paper.url
    stop = "" if paper.title.endswith(("?", "!")) else "."
    parts = [f"{paper.authors} ({paper.year})."]
    parts += [f"{paper.title}{stop}", f"{paper.venue}."]
    return " ".join([*parts, f"{where}."] if where else parts)


def bibtex_of(paper: Paper) -> str:
    """A BibTeX entry: @misc with eprint or url, the venue in `note`, so that no field is guessed."""
    fields = {
        "author": " and ".join(_latex(name) for name in people(paper)),
        "title": "{" + _latex(paper.title) + "}",
        "year": str(paper.year),
        "note": _latex(paper.venue),
    }
    if paper.arxiv:
        fields |= {"eprint": paper.arxiv, "archivePrefix": "arXiv"}
    if paper.address:
        fields["url"] = paper.address
    body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{paper.key},\n{body}}}\n"


def _latex(text: str) -> str:
    """Escape the few characters that BibTeX would misread; accented letters stay UTF-8."""
    return re.sub(r"([&%$#_])", r"\\\1", text)


T = TypeVar("T", bound=msgspec.Struct)
S = TypeVar("S", str, Head)
Index = Annotated[int, msgspec.Meta(ge=0, le=9999)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10000)]
_ALIASES = ("openai-community/",)  # the hub's later home of ids that papers and tools write without it


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """One class of heads of one model. Only `class` and `heads` are needed in a user's own file."""

    class_: str
    heads: list[tuple[Index, Index] | str]  # [layer, head] or "L9H6"
    model: str = ""
    tl_official_name: str = ""
    n_layers: Count | None = None
    n_heads: Count | None = None
    paper: str = ""
    task: str = ""
    scores: list[float] = []
    weights: dict[str, float] = {}
    where: str = ""
    verified: bool = True
    source: str = ""
    overlay: Literal["default", "optional", "off"] = "default"
    notes: str = ""
    label: str = ""
    legend: str = ""
    marker: str = ""
    color: str = ""


class Listed(msgspec.Struct, frozen=True):
    """An entry of the bundled catalogue, checked: every head is on the grid."""

    model: str
    tl_official_name: str
    n_layers: int
    n_heads: int
    paper: str
    name: str  # the class, in the paper's words
    label: str  # the legend's words
    task: str
    heads: tuple[Head, ...]
    scores: tuple[float, ...]
    where: str
    verified: bool
    source: str
    overlay: str
    notes: str

    def applies_to(self, name: str) -> bool:
        """True when `name` (a hub id or a catalogue key) is this entry's model."""
        return bool(name) and plain_id(name) in (plain_id(self.model), plain_id(self.tl_official_name))


class Catalogue(msgspec.Struct, frozen=True):
    """Papers by citation key, and their entries in the file's order."""

    papers: dict[str, Paper]
    entries: tuple[Listed, ...]


def plain_id(name: str) -> str:
    """A hub id in normalised form: lower case, without GPT-2's later prefix."""
    lower = name.strip().lower()
    return next((lower.removeprefix(p) for p in _ALIASES if lower.startswith(p)), lower)


@cache
def load_catalogue() -> Catalogue:
    """The catalogue bundled with the package. DataError names a malformed entry."""
    source = files("reportgen") / "published.toml"
    return read_catalogue(source.read_text(encoding="utf-8"), "published.toml")


def read_catalogue(text: str, origin: str) -> Catalogue:
    """The catalogue in the TOML `text`; `origin` is the name that messages use."""
    raw = _toml(text, origin, {"paper", "entry"})
    papers: dict[str, Paper] = {}
    for i, item in enumerate(raw.get("paper", [])):
        paper = _convert(item, Paper, f"{origin}, paper {i + 1}")
        if paper.key in papers:
            raise DataError(f"{origin}, paper {i + 1}: key {paper.key!r} is given twice.")
        papers[paper.key] = paper
    entries = tuple(_listed(item, papers, i, origin) for i, item in enumerate(raw.get("entry", [])))
    return Catalogue(papers, entries)


def sets_for(hub_id: str, key: str = "", shape: tuple[int, int] | None = None) -> list[HeadSet]:
    """Published sets of the model `hub_id`, or of the catalogue's model `key` where the user names one.

    Default lists have keys "published/<paper>/<class>". Optional ones have "optional/<paper>/<class>" and are drawn
    only by a figure that requests that key. Lists that are off, or empty, are left out.

    shape  (layers, heads) of the model; with it a list made for another grid is refused
    Raises SettingsError for a `key` that the catalogue does not have, DataError for a list of another grid.
    """
    catalogue = load_catalogue()
    name = key or hub_id
    found = [entry for entry in catalogue.entries if entry.applies_to(name)]
    if key and not found:
        known = {e.model for e in catalogue.entries} | {e.tl_official_name for e in catalogue.entries}
        raise SettingsError(f"--published {key!r}: no published heads for that model.", nearest(key, known))
    sets = [
        _published(entry, catalogue.papers[entry.paper]) for entry in found if entry.overlay != "off" and entry.heads
    ]
    for entry in found:
        if shape is not None and shape != (entry.n_layers, entry.n_heads):
            raise DataError(
                f"The published heads of {name} are for {entry.n_layers} x {entry.n_heads} heads, "
                f"this model has {shape[0]} x {shape[1]}.",
                "Leave out --published, or give the model they were found in.",
            )
    return sets


def empty_classes(path: Path) -> list[str]:
    """A line for each class without a head in a user's file that `load_user` reads: it marks nothing."""
    raw = _toml(read_text(path, "", most=MOST_TOML), path.name, {"paper", "entry"})
    entries = [_convert(item, Entry, path.name) for item in raw["entry"]]
    return [f"{path.name}: the class {e.class_!r} lists no heads and marks none." for e in entries if not e.heads]


def load_user(path: Path | str, shape: tuple[int, int] | None = None) -> list[HeadSet]:
    """The user's head sets in the TOML file `path`: [[entry]] tables as in the catalogue, `class` and `heads` needed.

    Heads are [layer, head] or "L9H6", 0-based. `shape` (layers, heads) refuses heads outside the model's grid; an
    entry's own n_layers and n_heads do the same. Raises DataError that names file, entry and what is expected.
    """
    path = Path(path)
    raw = _toml(read_text(path, "Give a list of head sets.", most=MOST_TOML), path.name, {"paper", "entry"})
    if not raw.get("entry"):
        raise DataError(f"{path.name}: no [[entry]] in it.", 'Write e.g. [[entry]] class = "Mine" heads = ["L9H6"].')
    papers = dict(load_catalogue().papers)
    for i, item in enumerate(raw.get("paper", [])):
        paper = _convert(item, Paper, f"{path.name}, paper {i + 1}")
        papers.setdefault(paper.key, paper)
    sets: list[HeadSet] = []
    for i, item in enumerate(raw["entry"]):
        entry = _convert(item, Entry, f"{path.name}, entry {i + 1}")
        where = f"{path.name}, entry {i + 1} ({entry.class_})"
        heads = _heads(entry, where, shape)
        if entry.overlay != "off" and heads:
            sets.append(_users(entry, heads, path, papers.get(entry.paper), where))
    looks = [(s.marker, s.color) for s in sets if s.marker]
    if alike := next((look for look in looks if looks.count(look) > 1), None):
        raise DataError(f"{path.name}: two classes have marker {alike[0]!r} in the same color.", "Change one of them.")
    keys = [s.key for s in sets]
    if twice := repeated(keys):
        raise DataError(f"{path.name}: the class {twice[0].split('/')[-1]!r} is given twice.", "Rename one of them.")
    return sets


def citation(key: str) -> str:
    """The printed form: authors (year), title, venue, arXiv number or address. KeyError for an unknown key."""
    return text_of(load_catalogue().papers[key])


def short_citation(key: str) -> str:
    """`Wang et al. 2022`; the key itself where the catalogue does not have it."""
    paper = load_catalogue().papers.get(key)
    return short(paper) if paper else key


def bibtex(key: str) -> str:
    """The BibTeX entry of a paper. KeyError for an unknown key."""
    return bibtex_of(load_catalogue().papers[key])


def repeated(found: Iterable[S]) -> list[S]:
    """What is in `found` more than once, sorted."""
    return sorted(item for item, count in Counter(found).items() if count > 1)


def slug(text: str) -> str:
    """`Name Mover Heads` -> `name_mover_heads`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "heads"


def _listed(item: object, papers: dict[str, Paper], index: int, origin: str) -> Listed:
    entry = _convert(item, Entry, f"{origin}, entry {index + 1}")
    where = f"{origin}, entry {index + 1} ({entry.class_})"
    if not (entry.model and entry.tl_official_name and entry.where and entry.source):
        raise DataError(f"{where}: model, tl_official_name, where and source are required.")
    if entry.n_layers is None or entry.n_heads is None:
        raise DataError(f"{where}: n_layers and n_heads are required.")
    if entry.paper not in papers:
        raise DataError(f"{where}: paper {entry.paper!r} is not in the file.", nearest(entry.paper, papers))
    heads = _heads(entry, where, None)
    if entry.scores and len(entry.scores) != len(heads):
        raise DataError(f"{where}: {len(entry.scores)} scores for {len(heads)} heads.")
    return Listed(
        entry.model, entry.tl_official_name, entry.n_layers, entry.n_heads, entry.paper, entry.class_,
        entry.label or entry.class_, entry.task, heads, tuple(entry.scores), entry.where, entry.verified, entry.source,
        entry.overlay, entry.notes,
    )  # fmt: skip


def _published(entry: Listed, paper: Paper) -> HeadSet:
    room = "optional" if entry.overlay == "optional" else "published"
    return HeadSet(
        key=f"{room}/{entry.paper}/{slug(entry.name)}",
        label=entry.label,
        heads=entry.heads,
        legend=paper.nickname or short(paper),
        source=entry.paper,
        rule=f"{entry.name}, {entry.where}",
        kind="published",
        verified=entry.verified,
    )


def _users(entry: Entry, heads: tuple[Head, ...], path: Path, paper: Paper | None, where: str) -> HeadSet:
    names = {head_name(*head) for head in heads}
    for name, weight in entry.weights.items():
        if name not in names or not 0 <= weight <= 1:
            raise DataError(f"{where}: weight {name} = {weight:g}.", "Weights are 0..1, by the names of listed heads.")
    try:
        marker, colour = check_look(entry.marker, entry.color)
    except SettingsError as error:
        raise DataError(f"{where}: {error.problem}", error.hint) from error
    return HeadSet(
        key=f"user/{slug(path.stem)}/{slug(entry.class_)}",
        label=entry.label or entry.class_,
        heads=heads,
        legend=entry.legend or (paper.nickname if paper else "") or "Marked heads",
        source=entry.paper if paper else path.name,
        rule=entry.where or entry.source or f"listed in {path.name}",
        kind="user",
        verified=entry.verified,
        weights=dict(entry.weights),
        marker=marker,
        color=colour,
    )


def _heads(entry: Entry, where: str, shape: tuple[int, int] | None) -> tuple[Head, ...]:
    heads: list[Head] = []
    for item in entry.heads:
        try:
            heads.append(parse_head(item) if isinstance(item, str) else item)
        except ValueError as error:
            raise DataError(f"{where}: {error}.", 'Write heads as [layer, head] or "L9H6", 0-based.') from error
    if twice := repeated(heads):
        raise DataError(f"{where}: {head_name(*twice[0])} is listed twice.")
    layers, count = shape or (None, None)
    for layer, head in heads:
        for value, limit in ((layer, entry.n_layers), (layer, layers), (head, entry.n_heads), (head, count)):
            if limit is not None and value >= limit:
                grid = f"{entry.n_layers or layers} layers x {entry.n_heads or count} heads"
                raise DataError(f"{where}: {head_name(layer, head)} is outside the grid of {grid}, counted from 0.")
    return tuple(heads)


def _convert(item: object, kind: type[T], where: str) -> T:
    return convert(item, kind, where)


def _toml(text: str, origin: str, known: set[str]) -> dict[str, list[object]]:
    raw = parse_toml(text, origin)
    for name, value in raw.items():
        if name not in known:
            near = nearest(name, known) if "Did" in nearest(name, known) else ""
            raise DataError(f"{origin}: unknown table {name!r}.", f"{near} {_shape(name, value)}".strip())
        if not isinstance(value, list):
            raise DataError(f"{origin}: [{name}] should be [[{name}]].", _shape(name, value))
    return raw


def _shape(name: str, value: object) -> str:
    """The line to write in the place of a table that was guessed: with the class and heads that stand in it."""
    classes = value if isinstance(value, dict) else {name: value}
    lists = {
        str(k): v for k, v in classes.items() if isinstance(v, list) and v and all(isinstance(h, str | list) for h in v)
    }
    label, heads = next(iter(lists.items()), ("Mine", ["L9H6", "L9H9"]))
    label = "Mine" if label in ("heads", "head") else label
    listed = ", ".join(json.dumps(h)[:12] for h in heads[:3]) + (", ..." if len(heads) > 3 else "")
    more = ", { ... }" if len(lists) > 1 else ""
    return (
        f"Write entry = [{{ class = {json.dumps(label[:40])}, heads = [{listed}] }}{more}]: one entry for each class."
    )
