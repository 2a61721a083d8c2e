"""Data of the page's head panel: every score of every head, once per page, its salient tokens, and where it attends in
natural text. Compactly encoded.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reportgen import published
from reportgen.figures.theme import clean
from reportgen.nulls import is_signed
from reportgen.report.document import Operation, Report, Salient
from reportgen.report.verdicts import RUNGS, outcome_of
from reportgen.scores import FloatGrid, HeadScores, HeadSet, NamedArray, SuiteResult, head_name

HALF_MAX = 60_000.0  # beyond this float16 would overflow
EXACT_UP_TO = 50_000  # cells of all scores together; larger runs keep intervals and p in half precision
_COMPUTED = re.compile(r"computed: (.+) on this model")
RUNG_WORDS = ("Static", "Dynamic", "Causal", "Text", "Repeated")  # of RUNGS, at the head of a column
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
        "rungs": RUNG_WORDS,
        "sets": [_set(s) for s in report.overlays],
        "salient": salient_data(report.salient) if report.salient else None,
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
        "source": published.short_citation(heads.source),
    }
    found = _COMPUTED.fullmatch(heads.source)
    return {
        **{k: clean(v) for k, v in words.items()},
        "of": clean(found[1]) if found else "",
        "kind": heads.kind,
        "verified": heads.verified,
        "judged": bool(heads.evidence),
        **_ladders(heads),
        "heads": [head_name(*h) for h in heads.heads],
    }


def _ladders(heads: HeadSet) -> dict[str, object]:
    """`ladders`, each once, with an outcome a rung; `ladder`, head name -> its place there. "" stands for every head
    that has none of its own."""
    own = {head for outcomes in heads.by_head.values() for head in outcomes}
    ladder = {head: tuple(_rung(heads, rung, head) for rung in RUNGS) for head in ("", *sorted(own))}
    places = {one: i for i, one in enumerate(dict.fromkeys(ladder.values()))}
    return {"ladders": list(places), "ladder": {head: places[one] for head, one in ladder.items()}}


def _rung(heads: HeadSet, rung: str, head: str) -> tuple[str, bool, str]:
    """The outcome, whether only the set as a whole was judged, and test by test what came out."""
    own = {test: heads.by_head.get(test, {}).get(head) for test in heads.evidence if test.startswith(rung)}
    outcomes = {test: found or heads.evidence[test] for test, found in own.items()}
    outcome = outcome_of(outcomes.values())
    whole = outcome != "not run" and all(own[test] is None for test, one in outcomes.items() if one == outcome)
    words = [f"{test}: {one}{'' if own[test] else ' (the set as a whole)'}" for test, one in outcomes.items()]
    return outcome, whole, clean("; ".join(words)) or f"{rung}: not run"


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


def operations(arrays: Mapping[str, NamedArray], layer: int, head: int, *, rare: bool = False) -> tuple[Operation, ...]:
    """A head's most salient tokens, largest first; empty for a head without entries or a run without the table.

    rare  the list that keeps special and rare tokens
    """
    if "salient_token" not in arrays:
        return ()
    at = (0 if rare else 1, layer, head)  # the first list has all tokens, the second leaves rare ones out
    words = arrays["salient_words"].labels["word"]
    sigma, tokens, raised, lowered = (
        arrays[f"salient_{x}"].values[at] for x in ("sigma", "token", "raised", "lowered")
    )
    return tuple(
        Operation(
            words[tokens[i]],
            float(sigma[i]),
            tuple(words[w] for w in raised[i] if w >= 0),
            tuple(words[w] for w in lowered[i] if w >= 0),
        )
        for i in np.flatnonzero(tokens >= 0)
    )


# Every head's most salient tokens, packed for the page: what a head passport says the head reads and writes.

MOST_CELLS = 200_000  # token indices on the page; large models get fewer tokens per head
PLACES, OUTPUTS = 10, 5


def salient(result: SuiteResult) -> Salient | None:
    """The salient tokens that a result stores, None where it stores none."""
    stored = result.arrays.get("salient_token")
    if stored is None:
        return None
    layers, heads = stored.values.shape[1:3]
    found = tuple(tuple(operations(result.arrays, lay, h) for h in range(heads)) for lay in range(layers))
    longest = max((len(ops) for row in found for ops in row), default=0)
    widest = max((len(o.raised) for row in found for ops in row for o in ops), default=0)
    if not longest:
        return None
    outputs = min(widest, OUTPUTS)
    fits = MOST_CELLS // (layers * heads * (1 + 2 * outputs))
    return Salient(found, max(1, min(longest, PLACES, fits)), outputs)


def salient_data(found: Salient) -> dict[str, object]:
    """JSON for the page: the words, and base64 of little-endian indices [layer head place 1+2*outputs] into them.

    Indices are uint16, uint32 where there are more words than that; the largest number stands for none.
    """
    index: dict[str, int] = {}
    listed = [one for layer in found.heads for head in layer for one in _full(head, found.places)]
    cells = [_row(operation, found.outputs, index) for operation in listed]
    bits = 16 if len(index) < 2**16 - 1 else 32
    packed = np.array([[2**bits - 1 if i is None else i for i in row] for row in cells], f"<u{bits // 8}")
    sigma = np.array([math.nan if o is None else o.sigma for o in listed], "<f2")
    return {
        "places": found.places,
        "outputs": found.outputs,
        "bits": bits,
        "words": list(index),
        "cells": base64.b64encode(packed.tobytes()).decode(),
        "sigma": base64.b64encode(sigma.tobytes()).decode(),
    }


def _full(operations: Sequence[Operation], places: int) -> list[Operation | None]:
    shown = list(operations[:places])
    return [*shown, *[None] * (places - len(shown))]


def _row(operation: Operation | None, outputs: int, index: dict[str, int]) -> list[int | None]:
    if operation is None:
        return [None] * (1 + 2 * outputs)
    words: list[str | None] = [operation.token]
    for side in (operation.raised, operation.lowered):
        words += [*side[:outputs], *[None] * (outputs - len(side))]
    return [None if word is None else index.setdefault(clean(word), len(index)) for word in words]


# Text snippets packed for the page: where each head attends in natural text, at fixed quantiles of its sharpness.

NAMES = ("text", "words", "query", "key", "weight", "sink")


def snippets(result: SuiteResult) -> Mapping[str, object] | None:
    """JSON for the page, None where the result stores no snippets or they do not agree with each other.

    words, text   tokens, and base64 of their indices [window pos], `length` to a window
    places        share of the head's queries whose attention is at most as sharp, per place
    query         [layer head place] window * length + query
    key, weight   [layer head place key] position of the keys, largest weight first, none = the largest number; weight
                  in 255ths.  sink [layer head place] weight on position 0 in 255ths

    Indices are little-endian with as many bits as `text_bits`, `query_bits` and `key_bits` say.
    """
    found = {name: result.arrays.get(f"snippet_{name}") for name in NAMES}
    if any(array is None for array in found.values()):
        return None
    text, words, query, key, weight, sink = (np.asarray(array.values) for array in found.values() if array)
    names = [clean(word) for word in result.arrays["snippet_words"].labels.get("word", ())]
    count, length = text.shape if text.ndim == 2 else (0, 0)
    shaped = query.ndim == 3 and sink.shape == query.shape and key.ndim == 4 and key.shape[:3] == query.shape
    inside = text.size and len(names) == len(words) and _in(text, len(names)) and _in(query, count * length)
    if not shaped or not inside or weight.shape != key.shape or int(key.max(initial=0)) >= length:
        return None
    text_bits, query_bits, key_bits = bits_for(len(names)), bits_for(count * length), bits_for(length + 1)
    return {
        "source": clean(str(result.facts.get("snippets", ""))),
        "words": names,
        "length": length,
        "places": list(result.arrays["snippet_query"].labels.get("place", ())) or [""] * query.shape[2],
        "keys": key.shape[3],
        "text_bits": text_bits,
        "query_bits": query_bits,
        "key_bits": key_bits,
        "text": packed(text, text_bits),
        "query": packed(query, query_bits),
        "key": packed(np.where(key < 0, 2**key_bits - 1, key), key_bits),
        "weight": packed(shares(weight), 8),
        "sink": packed(shares(sink), 8),
    }


def _in(indices: npt.NDArray[np.generic], size: int) -> bool:
    return int(indices.min()) >= 0 and int(indices.max()) < size


def bits_for(size: int) -> int:
    return next(bits for bits in (8, 16, 32) if size < 2**bits)


def shares(weights: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    return np.rint(255 * np.clip(np.nan_to_num(weights.astype(np.float64)), 0, 1))


def packed(values: npt.NDArray[np.generic], bits: int) -> str:
    return base64.b64encode(values.astype(f"<u{bits // 8}").tobytes()).decode()
