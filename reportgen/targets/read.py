"""Target files (targets/*.toml): one published result each, with its source, settings and claims."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from reportgen.errors import DataError, SettingsError, nearest
from reportgen.files import MOST_TOML, convert, parse_toml, read_text
from reportgen.published import Listed, Paper, load_catalogue, plain_id
from reportgen.scores import Head, parse_head

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that the source reports.

    kind      list: heads that stand out in a score; scores: numbers head by head; number: one number
    score     key of the score, or a beginning of one that names it alone
    side      list: listed heads are "high", "low" or large in "size"
    entry     list: beginning of the class in published.toml that holds the heads, of `paper` (empty: the target's)
    heads     list: the heads themselves, where no entry has them
    values    scores: head name -> published number
    value     number: the published number; `low` and `high` its interval, if it has one
    at        number: a head's name, or "best": the head highest on one half of the examples, on the other half; where
              the score has no halves the highest head at face value
    table, row, column  number: a cell of a stored table, in place of a score; it has no interval
    tolerance number and scores: |difference| that counts as the same beside the interval, in the score's unit
    not_comparable  why our number is not the source's, where that is known beforehand
    """

    what: str
    kind: Literal["list", "scores", "number"]
    score: str = ""
    side: Literal["high", "low", "size"] = "high"
    entry: str = ""
    paper: str = ""
    heads: tuple[str, ...] = ()
    values: dict[str, float] = {}
    value: float | None = None
    low: float | None = None
    high: float | None = None
    at: str = "best"
    table: str = ""
    row: str = ""
    column: str = ""
    tolerance: float = 0.0
    where: str = ""
    source: str = ""
    verified: bool = True
    not_comparable: str = ""

    @property
    def suite(self) -> str:
        """The suite whose run holds it; empty where no suite does."""
        return (self.score or self.table).split("/")[0]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published result.

    models        hub ids, the first is scored where none is named; or names of bundled models
    content_hash  of the only weights that count, for a model without a hub id
    suites        suites to run
    settings      of the source, by suite: a run with others is not comparable
    only          settings that leave out what the claims do not need, where the suites are run for them
    preset        for all other settings
    paper, source where the numbers come from: a paper's key in published.toml, or words
    """

    key: str
    title: str
    models: tuple[str, ...]
    suites: tuple[str, ...]
    claim: tuple[Claim, ...]
    paper: str = ""
    source: str = ""
    preset: Literal["quick", "full"] = "full"
    settings: dict[str, dict[str, object]] = {}
    only: dict[str, dict[str, object]] = {}
    content_hash: str = ""
    notes: str = ""

    @property
    def cited(self) -> Paper | None:
        return load_catalogue().papers.get(self.paper)


def names() -> list[str]:
    """Keys of the targets that come with reportgen, in order."""
    return sorted(item.name.removesuffix(".toml") for item in _folder() if item.name.endswith(".toml"))


def load(name: str) -> Target:
    """A target by its key, or from a TOML file of one's own. SettingsError for an unknown key, DataError for a file."""
    if name.endswith(".toml"):
        path = Path(name)
        return parse(read_text(path, "Give a target file.", most=MOST_TOML), path.name, path.stem)
    if name not in names():
        raise SettingsError(f"There is no target {name!r}.", nearest(name, names()))
    item = next(item for item in _folder() if item.name == f"{name}.toml")
    return parse(item.read_text("utf-8"), item.name, name)


def _folder() -> list[Path]:
    return [Path(str(item)) for item in files("reportgen.targets").iterdir()]


def parse(text: str, origin: str, key: str) -> Target:
    """The target of a TOML file; DataError names the file, the claim and what is expected."""
    target = convert({"key": key, **parse_toml(text, origin)}, Target, origin)
    if target.paper and target.cited is None:
        raise DataError(
            f"{origin}: paper {target.paper!r} is not in published.toml.", "Give `source` in words instead."
        )
    if not (target.paper or target.source) or not target.models or not target.claim:
        raise DataError(f"{origin}: models, a [[claim]], and paper or source are needed.")
    for i, claim in enumerate(target.claim):
        _check(target, claim, f"{origin}, claim {i + 1} ({claim.what[:40]})")
    return target


def _check(target: Target, claim: Claim, where: str) -> None:
    if claim.not_comparable:
        return
    if bool(claim.score) == bool(claim.table):
        raise DataError(f"{where}: give a score or a table.")
    if claim.suite not in target.suites:
        raise DataError(f"{where}: suite {claim.suite!r} is not among the target's suites.")
    needed = {"list": claim.heads or claim.entry, "scores": claim.values, "number": claim.value is not None}
    if not needed[claim.kind]:
        raise DataError(f"{where}: a claim of the kind {claim.kind!r} needs {_NEEDS[claim.kind]}.")
    if claim.table and claim.kind != "number":
        raise DataError(f"{where}: only a number stands in a table.")
    for name in (*claim.heads, *claim.values, *(() if claim.at == "best" or claim.table else (claim.at,))):
        try:
            parse_head(name)
        except ValueError as error:
            raise DataError(f"{where}: {error}.") from error


_NEEDS = {"list": "heads, or an entry of published.toml", "scores": "values", "number": "a value"}


def entries(target: Target, claim: Claim, model: str) -> list[Listed]:
    """The entries of published.toml that hold a list's heads for one model; empty where it has none."""
    paper = claim.paper or target.paper
    return [
        entry
        for entry in load_catalogue().entries
        if entry.paper == paper and entry.applies_to(model) and entry.name.startswith(claim.entry) and entry.heads
    ]


def listed(target: Target, claim: Claim, model: str) -> tuple[Head, ...]:
    """The heads of a list, of published.toml for this model or the claim's own."""
    found = [parse_head(name) for name in claim.heads]
    if claim.entry:
        found += [head for entry in entries(target, claim, model) for head in entry.heads]
    return tuple(dict.fromkeys(found))


def chosen(target: Target, model: str) -> str:
    """The target's model that `model` is, by hub id; empty if it is none of them."""
    return next((name for name in target.models if plain_id(name) == plain_id(model)), "")


def described(values: Sequence[str], most: int = 4) -> str:
    """`L9H9 L10H0 L9H6`, the first few."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return " ".join(values[:most]) + more
