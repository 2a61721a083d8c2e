"""Relations: the pair lists, where they come from, and which pairs a tokenizer keeps.

- A pair list is a JSON list of [source, target], words without a leading space, in NAME.json or NAME/NAME.json, or
  {"title": ..., "pairs": that list}; or one file holds several as an object, {name: pair list}.
- `relations.toml` beside the lists is optional: title (without any: file name and first pair), category, k, copying,
  prompt, multi_token, provenance per stem, and templates; a folder that names no templates gets the bundled ones.
- A pair is kept when ' source' and ' target' are one known token each; duplicates are kept, as in the paper.

Everything here is untrusted input: what is malformed is refused with the file and the entry named. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from reportgen.errors import DataError, SettingsError, nearest
from reportgen.files import is_file, is_folder, parse_json, read_text, read_toml

BUNDLED = Path(__file__).parent / "pair_lists"
TABLE = "relations.toml"
SHAPE = '{"name": [["subject", "object"], ...]}'
TITLED = '{"title": "...", "pairs": [["subject", "object"], ...]}'
MOST_K = 1_000_000
_STEM = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_FIELDS: dict[str, type] = {
    "title": str,
    "category": str,
    "k": int,
    "copying": bool,
    "prompt": str,
    "multi_token": bool,
    "provenance": str,
    "class": str,
    "extractive": bool,
}


Listed = tuple[str, tuple[tuple[str, str], ...]]  # a relation's title, or "", and its pairs


class WordTokens(Protocol):
    """The part of a tokenizer that the filter needs."""

    def word_id(self, word: str) -> int | None: ...


@dataclass(frozen=True)
class Relation:
    """One pair list and what is known of it.

    stem      file name without .json: the task's name in every key
    category  "Algorithmic", "Knowledge", "Linguistic", "Translation", or "Other" where nothing says
    copying   chooses the smaller k;  k  instead of the rule's, 0 = by the rule
    prompt    causal-ablation prompt with <X> for the source, or empty
    class_    the group of tasks it belongs to in prompts, or empty;  extractive: the target is a word of the source
    """

    stem: str
    title: str
    category: str
    copying: bool
    pairs: tuple[tuple[str, str], ...]
    prompt: str = ""
    multi_token: bool = False
    provenance: str = ""
    k: int = 0
    class_: str = ""
    extractive: bool = False


@dataclass(frozen=True)
class KeptPairs:
    """A relation on one tokenizer: the pairs whose words are one token each, and their ids, aligned."""

    relation: Relation
    pairs: tuple[tuple[str, str], ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """One "source -> target" per kept pair."""
        return tuple(f"{s} -> {t}" for s, t in self.pairs)


def data_files(folder: str = "") -> tuple[Path, ...]:
    """Every pair list of the folder (empty: the bundled one) and its relations.toml, sorted; DataError without any.

    A file in the folder's place is taken as it is.
    """
    root = Path(folder) if folder else BUNDLED
    if is_file(root):
        return (root,)
    if not is_folder(root):
        raise DataError(
            f"relations_dir: {str(root)!r} is no folder and no file.", f"Give a JSON file, {SHAPE}, or a folder."
        )
    lists = [*root.glob("*.json"), *(p for p in root.glob("*/*.json") if p.stem == p.parent.name)]
    if not lists:
        raise DataError(f"{root}: no pair list.", "Expected NAME.json or NAME/NAME.json, a list of [source, target].")
    table = root / TABLE
    return (*sorted(lists), *([table] if is_file(table) else []))


def unread(folder: str) -> list[str]:
    """Files of a user's folder, and of the folders in it, that are no pair list by name; hidden ones left out."""
    root = Path(folder)
    if not folder or is_file(root):
        return []
    used = set(data_files(folder))
    found = {p for pattern in ("*", "*/*") for p in root.glob(pattern) if p not in used and is_file(p)}
    names = (p.relative_to(root) for p in found)
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def load_relations(folder: str = "", only: Sequence[str] = ()) -> list[Relation]:
    """The relations of a folder, in the order of relations.toml, then by name; or of one file, in its order.

    `only` keeps some, by stem.

    Raises DataError for a malformed file (file, entry, what is expected), SettingsError for an unknown name in `only`.
    """
    files = data_files(folder)
    if folder and files == (Path(folder),):
        found = read_object(files[0])
        _known(only, found)
        return [_relation(stem, listed, {}) for stem, listed in found.items() if not only or stem in only]
    lists: dict[str, Path] = {}
    for path in files:
        if path.suffix != ".json":
            continue
        if not _STEM.fullmatch(path.stem):
            raise DataError(f"{path}: a relation's file name has letters, digits, '_', '-' and '.' only.")
        if path.stem in lists:
            raise DataError(f"{path}: relation {path.stem!r} is there twice (also {lists[path.stem]}).")
        lists[path.stem] = path
    table = _read_table(files[-1]) if files[-1].name == TABLE else {}
    for stem in table:
        if stem not in lists:
            raise DataError(f"{files[-1]}: [{stem}] has no pair list {stem}.json.", nearest(stem, lists))
    _known(only, lists)
    order = [*table] + [stem for stem in lists if stem not in table]
    wanted = [stem for stem in order if not only or stem in only]
    return [_relation(stem, read_pairs(lists[stem]), table.get(stem, {})) for stem in wanted]


def _known(only: Sequence[str], there: Iterable[str]) -> None:
    names = set(there)
    for name in only:
        if name not in names:
            raise SettingsError(f"relations: no relation {name!r}.", nearest(name, names))


def load_templates(folder: str = "") -> tuple[str, ...]:
    """The `templates` of relations.toml (each has <X> for the source); the bundled ones where it names none."""
    path = (Path(folder) if folder and not is_file(Path(folder)) else BUNDLED) / TABLE
    tables = _parse_toml(path) if is_file(path) else {}
    if "templates" not in tables:
        path = BUNDLED / TABLE
        tables = _parse_toml(path)
    templates = tables["templates"]
    right = isinstance(templates, list) and all(isinstance(t, str) and "<X>" in t for t in templates)
    if not templates or not right:
        raise DataError(f"{path}: templates: expected a list of sentences with <X> for the source.")
    return tuple(templates)


def read_pairs(path: Path) -> Listed:
    """Title and pairs of one file; DataError names the file, the entry (from 1) and what is expected."""
    form = f"Expected a list of [source, target], or {TITLED}."
    return _listed(str(path), parse_json(read_text(path, form), str(path), form), form)


def read_object(path: Path) -> dict[str, Listed]:
    """The relations of one file of several, {name: pair list}; a single pair list is one of the file's name.

    DataError names the file, the relation, the entry (from 1) and what is expected.
    """
    value = parse_json(read_text(path, f"Expected {SHAPE}."), str(path), f"Expected {SHAPE}.")
    several = value if isinstance(value, dict) and not isinstance(value.get("title"), str) else None
    named = {path.stem: value} if several is None else several
    if not named:
        raise DataError(f"{path}: no relation.", f"Expected {SHAPE}.")
    found = {}
    for name, entries in named.items():
        place = str(path) if several is None else f"{path}, {_short(name)}"
        if not _STEM.fullmatch(name):
            raise DataError(f"{place}: a relation's name has letters, digits, '_', '-' and '.' only.")
        found[name] = _listed(place, entries, f"Expected {SHAPE}, or for one relation {TITLED}.")
    return found


def _listed(place: str, value: object, form: str) -> Listed:
    """One relation: a list of pairs, or that list with its title."""
    title, entries = "", value
    if isinstance(value, dict) and set(value) == {"title", "pairs"}:
        title, entries = value["title"], value["pairs"]
        _check_field(f"{place}, title: {_short(title)}", "title", title)
    if not isinstance(entries, list):
        raise DataError(f"{place}: {_short(entries)}.", form)
    return title, tuple(_pair(place, i, entry) for i, entry in enumerate(entries, start=1))


def keep(relation: Relation, tokens: WordTokens) -> KeptPairs:
    """The pairs of which both words are exactly one known token at a word's start."""
    pairs, sources, targets = [], [], []
    for source, target in relation.pairs:
        s, t = tokens.word_id(source), tokens.word_id(target)
        if s is not None and t is not None:
            pairs.append((source, target))
            sources.append(s)
            targets.append(t)
    return KeptPairs(relation, tuple(pairs), tuple(sources), tuple(targets))


def _pair(place: str, number: int, entry: object) -> tuple[str, str]:
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(word, str) for word in entry):
        raise DataError(f"{place}, entry {number}: {_short(entry)}, expected [source, target], two strings.")
    source, target = (cast("str", word) for word in entry)
    for word in (source, target):
        if not word or word != word.strip() or not word.isprintable():
            raise DataError(f"{place}, entry {number}: {_short(entry)}, expected words without space around them.")
    return source, target


def _relation(stem: str, listed: Listed, about: dict[str, Any]) -> Relation:
    title, pairs = listed
    return Relation(
        stem=stem,
        title=about.get("title") or title or _untitled(stem, pairs),
        category=about.get("category", "Other"),
        copying=about.get("copying", "copying" in stem),
        pairs=pairs,
        prompt=about.get("prompt", ""),
        multi_token=about.get("multi_token", False),
        provenance=about.get("provenance", ""),
        k=about.get("k", 0),
        class_=about.get("class", ""),
        extractive=about.get("extractive", False),
    )


def _untitled(stem: str, pairs: Sequence[tuple[str, str]]) -> str:
    """`Sg to pl (cat → cats)`: a file's name is no title, a pair of it says what it is about."""
    name = stem.replace("_", " ").strip() or stem
    return name[:1].upper() + name[1:] + (f" ({pairs[0][0]} → {pairs[0][1]})" if pairs else "")


def _read_table(path: Path) -> dict[str, dict[str, Any]]:
    tables = {stem: about for stem, about in _parse_toml(path).items() if stem != "templates"}
    for stem, about in tables.items():
        if not isinstance(about, dict):
            raise DataError(f"{path}, {stem}: expected a table [{stem}].")
        for name, value in about.items():
            if name not in _FIELDS:
                raise DataError(f"{path}, [{stem}]: no field {name!r}.", nearest(name, _FIELDS))
            _check_field(f"{path}, [{stem}], {name}: {_short(value)}", name, value)
    return tables


def _check_field(place: str, name: str, value: object) -> None:
    """DataError where a field of relations.toml has another type, or a value that means nothing."""
    kind = _FIELDS[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{place}, expected {kind.__name__}.")
    if name == "k" and not 1 <= cast("int", value) <= MOST_K:
        raise DataError(f"{place}, expected 1 to {MOST_K:,}.")
    if name == "prompt" and value and cast("str", value).count("<X>") != 1:
        raise DataError(f"{place}, expected a prompt with one <X> for the source.")
    if name in ("title", "category") and not cast("str", value).strip():
        raise DataError(f"{place}, expected a name.")


def _parse_toml(path: Path) -> dict[str, Any]:
    return read_toml(path, dict[str, Any])


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def sample(kept: KeptPairs, at_most: int, rng: np.random.Generator) -> KeptPairs:
    """A relation with at most this many of its pairs (0: all), drawn without replacement, order kept."""
    if not 0 < at_most < len(kept.pairs):
        return kept
    return pick(kept, np.sort(rng.choice(len(kept.pairs), at_most, replace=False)).tolist())


def pick(kept: KeptPairs, places: Sequence[int]) -> KeptPairs:
    """A relation with some of its pairs."""
    return KeptPairs(
        kept.relation,
        tuple(kept.pairs[i] for i in places),
        tuple(kept.sources[i] for i in places),
        tuple(kept.targets[i] for i in places),
    )
