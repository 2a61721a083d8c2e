"""What the page's head panel knows: every score of every head, once per page, packed small."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reportgen.published import catalogue
from reportgen.report.labels import is_signed
from reportgen.report.parts import Report
from reportgen.report.text import clean
from reportgen.scores import FloatGrid, HeadScores, HeadSet, head_name

HALF_MAX = 60_000.0  # beyond this float16 would overflow
EXACT_UP_TO = 100_000  # cells of all scores together; larger runs keep intervals and p in half precision
_COMPUTED = re.compile(r"computed: (.+) on this model")
REASONS = 40  # heads whose reason for having no value is carried one by one


def passport(report: Report) -> dict[str, object]:
    """JSON for the page: grid size, suites, scores with their grids, head sets, salient tokens. Empty without scores.

    Values are exact. Intervals and p keep three significant digits on large models, which is what the panel shows;
    scores.csv has the rest.
    """
    if not report.scores:
        return {}
    layers, heads = report.scores[0].values.shape
    kept = [s for s in report.scores if s.values.shape == (layers, heads)]
    exact = len(kept) * layers * heads <= EXACT_UP_TO
    return {
        "model": report.model,
        "slug": report.slug,
        "layers": layers,
        "heads": heads,
        "exact": exact,
        "suites": [[s.name, s.title] for s in report.sections],
        "measures": {f"{m.suite}/{m.name}": m.title for s in report.sections for m in s.measures},
        "scores": [_entry(s, report.names[s.key], exact) for s in kept],
        "leads": _leads(report, [s.key for s in kept]),
        "sets": [_set(s) for s in report.overlays],
        "salient": report.salient.data() if report.salient else None,
        "snippets": report.snippets,
    }


def _leads(report: Report, keys: Sequence[str]) -> dict[str, list[float | int]]:
    """Head name -> the margin of its leading label, then the places in `scores` of that label and of its ties."""
    place = {key: i for i, key in enumerate(keys)}
    return {
        head_name(*head): [round(label.margin, 3), *(place[key] for key in (label.key, *label.ties) if key in place)]
        for head, label in report.labels.items()
    }


def _set(heads: HeadSet) -> dict[str, object]:
    words = {
        "label": heads.label,
        "legend": heads.legend,
        "rule": heads.rule,
        "source": catalogue.short_citation(heads.source),
    }
    evidence = {clean(rung): clean(outcome) for rung, outcome in heads.evidence.items()}
    found = _COMPUTED.fullmatch(heads.source)
    return {
        **{k: clean(v) for k, v in words.items()},
        "of": clean(found[1]) if found else "",
        "kind": heads.kind,
        "verified": heads.verified,
        "evidence": evidence,
        "by_head": {
            clean(rung): {head: clean(outcome) for head, outcome in own.items()} for rung, own in heads.by_head.items()
        },
        "heads": [head_name(*h) for h in heads.heads],
    }


def _entry(scores: HeadScores, name: str, exact: bool) -> dict[str, object]:
    told = None if scores.estimated is None else scores.estimated.astype(np.float32)
    grids = {"value": scores.values, "low": scores.low, "high": scores.high, "p": scores.p, "estimated": told}
    packed = {name: pack(grid, exact or name == "value") for name, grid in grids.items() if grid is not None}
    low, high = (bound if math.isfinite(bound) else None for bound in scores.range)
    words = {"line": scores.line, "no_null": clean(scores.no_null), "why": _reasons(scores.reasons),
             "how": clean(scores.how_estimated)}  # fmt: skip
    return {
        "key": scores.key,
        "label": name,
        "short": name.removesuffix(f": {clean(scores.label)}"),
        "n": scores.n,
        "signed": is_signed(scores),
        "range": [low, high],
        **{name: value for name, value in words.items() if value},
        **packed,
    }


def _reasons(reasons: Mapping[str, str]) -> dict[str, str]:
    kept = list(reasons.items())[:REASONS]
    return {clean(head): clean(why) for head, why in kept}


def pack(grid: FloatGrid, exact: bool = True) -> list[str]:
    """[kind, base64, ...] of a grid, row by layer, little-endian, NaN = not computed.

    "f" float32, "e" float16, "d" for at most 256 different values: the values as float32, then an index per cell.
    """
    flat = grid.astype("<f4").ravel()
    table, index = np.unique(flat, return_inverse=True)
    if len(table) <= 256 and 4 * len(table) + flat.size < (4 if exact else 2) * flat.size:
        return ["d", _base64(table), _base64(index.astype(np.uint8))]
    biggest = float(np.nanmax(np.abs(flat))) if np.isfinite(flat).any() else 0.0
    kind = "f" if exact or biggest > HALF_MAX else "e"
    return [kind, _base64(flat.astype("<f4" if kind == "f" else "<f2"))]


def _base64(values: npt.NDArray[np.generic]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def unpack(packed: Sequence[str]) -> npt.NDArray[np.float32]:
    """The grid's values [layer*head] again."""
    if packed[0] == "d":
        table = np.frombuffer(base64.b64decode(packed[1]), "<f4")
        return table[np.frombuffer(base64.b64decode(packed[2]), np.uint8)].astype(np.float32)
    return np.frombuffer(base64.b64decode(packed[1]), dtype=f"<{packed[0]}").astype(np.float32)
