"""What the page's head panel knows: every score of every head, once per page, packed small."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from reportgen.published import catalogue
from reportgen.report.leading import is_signed
from reportgen.report.text import clean
from reportgen.scores import FloatGrid, HeadScores, HeadSet, head_name

HALF_MAX = 60_000.0  # beyond this float16 would overflow, and the grid is packed as float32


def passport(scores: Sequence[HeadScores], sets: Sequence[HeadSet]) -> dict[str, object]:
    """JSON for the page: grid size, scores with their grids, and the head sets. Empty without scores.

    Grids are base64 of little-endian float16 ("e") or float32 ("f"), row by layer, NaN = not computed. Half precision
    keeps three significant digits, which is what the panel shows; scores.csv has the rest.
    """
    if not scores:
        return {}
    layers, heads = scores[0].values.shape
    return {
        "layers": layers,
        "heads": heads,
        "scores": [_entry(s) for s in scores if s.values.shape == (layers, heads)],
        "sets": [_set(s) for s in sets],
    }


def _set(heads: HeadSet) -> dict[str, object]:
    words = {"label": heads.label, "legend": heads.legend, "source": catalogue.short_citation(heads.source)}
    return {**{k: clean(v) for k, v in words.items()}, "heads": [head_name(*h) for h in heads.heads]}


def _entry(scores: HeadScores) -> dict[str, object]:
    grids = {"value": scores.values, "low": scores.low, "high": scores.high, "p": scores.p}
    packed = {name: pack(grid) for name, grid in grids.items() if grid is not None}
    return {"key": scores.key, "label": clean(scores.label), "n": scores.n, "signed": is_signed(scores), **packed}


def pack(grid: FloatGrid) -> list[str]:
    """[kind, base64] of a grid."""
    biggest = float(np.nanmax(np.abs(grid))) if np.isfinite(grid).any() else 0.0
    kind = "f" if biggest > HALF_MAX else "e"
    return [kind, base64.b64encode(grid.astype(f"<{kind}").tobytes()).decode()]


def unpack(packed: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The grid's values [layer*head] again."""
    return np.frombuffer(base64.b64decode(packed[1]), dtype=f"<{packed[0]}").astype(np.float32)
