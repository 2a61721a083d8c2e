"""Vega-Lite specifications as the page holds them: rows of score maps left out, what repeats said once.

The page fills the rows in from the scores it carries anyway, and hands out the whole specification as a file.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reportgen.figures.export import Spec
from reportgen.report.parts import Plate

_FIELDS = frozenset(("layer", "head", "name", "value", "low", "high", "n", "p", "line", "rank", "sets", "note"))
_NAME = re.compile(r"cells(_\d+)?")
SHARED_FROM = 60  # characters of JSON from which a part that repeats is said once
TOO_LARGE = 150_000  # characters of a figure's specification: such a one stays in its file


def block(plates: Sequence[Plate]) -> dict[str, object]:
    """What the page carries: `specifications` as base64 of zlib, which it unpacks when asked for, and what is in them.

    held  figures with a specification;  maps  those of them whose rows come from the scores
    """
    found = specifications(plates)
    packed = zlib.compress(json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(), 9)
    held = [plate.id for plate in plates if plate.id in found["figures"]]
    maps = [plate.id for plate in plates if plate.id in held and '"@rows"' in _json(_lean(plate.spec, plate.keys))]
    return {"held": held, "maps": maps, "packed": base64.b64encode(packed).decode()}


def specifications(plates: Sequence[Plate]) -> dict[str, Any]:
    """`parts` that several specifications share, and `figures` by id.

    A part is referred to as {"@": index}; the rows of a map are {"@rows": key, "fields": [...], "sets": {head: text}}.
    """
    lean = {plate.id: _lean(plate.spec, plate.keys) for plate in plates if plate.spec}
    kept = {name: spec for name, spec in lean.items() if len(_json(spec)) <= TOO_LARGE}
    pool = _Pool(kept.values())
    figures = {name: pool.refer(spec, top=True) for name, spec in kept.items()}
    return {"parts": pool.parts, "figures": figures}


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _lean(spec: Spec, keys: Sequence[str]) -> Spec:
    """`spec` with the rows of its cells replaced by what they are made from."""
    datasets = spec.get("datasets", {})
    names = [node["data"]["name"] for node in _nodes(spec) if _NAME.fullmatch(str(node.get("name", "")))]
    if not names or len(names) != len(keys):
        return spec
    short = {name: _rows(datasets.get(name), key) for name, key in zip(names, keys, strict=True)}
    return {**spec, "datasets": {name: short.get(name) or rows for name, rows in datasets.items()}}


def _nodes(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("data"), Mapping) and "name" in value["data"]:
            yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _rows(rows: object, key: str) -> dict[str, object] | None:
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return None
    fields = list(rows[0])
    if not {"layer", "head", "name", "value"} <= set(fields) <= _FIELDS:
        return None
    sets = {row["name"]: row["sets"] for row in rows if row.get("sets")}
    return {"@rows": key, "fields": fields, "sets": sets}


class _Pool:
    """The parts that stand in several places, each once, smaller parts before those that hold them."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.counts: dict[str, int] = {}
        for spec in specs:
            self._count(spec)
        self.parts: list[object] = []
        self.places: dict[str, int] = {}

    def _count(self, value: object) -> None:
        if not isinstance(value, dict | list):
            return
        text = _json(value)
        self.counts[text] = self.counts.get(text, 0) + 1
        if self.counts[text] == 1:  # its parts repeat with it
            for item in value.values() if isinstance(value, dict) else value:
                self._count(item)

    def refer(self, value: object, top: bool = False) -> object:
        """`value` with its shared parts replaced by references."""
        if not isinstance(value, dict | list):
            return value
        text = _json(value)
        shared = not top and len(text) >= SHARED_FROM and self.counts[text] > 1
        if shared and text in self.places:
            return {"@": self.places[text]}
        short: object = (
            {k: self.refer(v) for k, v in value.items()} if isinstance(value, dict) else [self.refer(v) for v in value]
        )
        if not shared:
            return short
        self.parts.append(short)
        self.places[text] = len(self.parts) - 1
        return {"@": self.places[text]}
