"""Made-up scores and sets in the shapes that figures meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reportgen.figures.figure import Figure, View
from reportgen.figures.theme import Style
from reportgen.scores import HeadScores, HeadSet, head_name
from tests.fixtures import model_record


def scores(
    layers: int = 3,
    heads: int = 4,
    dead: Sequence[tuple[int, int]] = (),
    hot: dict[tuple[int, int], float] | None = None,
    **changes: Any,
) -> HeadScores:
    """Shares of 40 pairs, deterministic, with intervals and p-values; `hot` sets cells, `dead` cells are NaN."""
    values = (np.arange(layers * heads).reshape(layers, heads) % 7 / 40).astype(np.float32)
    for at, value in (hot or {}).items():
        values[at] = value
    low, high = np.clip(values - 0.1, 0, 1), np.clip(values + 0.1, 0, 1)
    for at in dead:
        values[at] = low[at] = high[at] = np.nan
    fields: dict[str, Any] = {
        "key": "relations/score/name_copying", "label": "Name copying score", "values": values, "n": 40, "low": low,
        "high": high, "p": np.where(np.nan_to_num(values) > 0.12, 0.01, 1.0).astype(np.float32), "range": (0.0, 1.0),
        "reasons": {head_name(*at): "inactive head" for at in dead},
    }  # fmt: skip
    return HeadScores(**{**fields, **changes})


def signed(layers: int = 3, heads: int = 4) -> HeadScores:
    """Effects on both sides of zero, without a bound."""
    values = np.linspace(-0.27, 0.31, layers * heads).reshape(layers, heads).astype(np.float32)
    return HeadScores("circuits/direct/ioi", "Direct effect", values, 200, no_null="not drawn")


def estimated() -> HeadScores:
    """Signed effects of 3 x 4 heads: layer 0 exact with interval and p, the larger ones above estimated."""
    whole, told = signed(), np.zeros((3, 4), bool)
    told[1:] = True
    low, high, p = (np.where(told, np.nan, grid).astype(np.float32)
                    for grid in (whole.values - 0.1, whole.values + 0.1, np.full((3, 4), 0.01)))  # fmt: skip
    return HeadScores("circuits/total/ioi", "Total effect", whole.values, 200, low, high, p,
                      estimated=told, estimator="attribution")  # fmt: skip


def head_set(name: str = "name_movers", *heads: tuple[int, int], **changes: Any) -> HeadSet:
    """A published set, one head by default."""
    fields: dict[str, Any] = {
        "key": f"published/wang2022ioi/{name}", "label": "Name-Mover Heads", "heads": heads or ((2, 1),),
        "legend": "'Interp. in the Wild' classifications", "source": "wang2022ioi", "rule": "Fig. 2",
        "kind": "published",
    }  # fmt: skip
    return HeadSet(**{**fields, **changes})


def view(layers: int = 3, heads: int = 4, sets: Sequence[HeadSet] = (), synthetic: bool = False, **record: Any) -> View:
    """What a suite's figures see, of a model called GPT-2 unless said otherwise."""
    fields = {"id": "gpt2", "hub_id": "gpt2", "synthetic": synthetic, **record}
    return View(model_record(layers, heads, **fields), overlays=sets, style=Style())


def figure(chart: Any, data: Any, **changes: Any) -> Figure:
    """A figure around a chart."""
    fields: dict[str, Any] = {"id": "relations-name_copying", "suite": "relations", "title": "A title",
                              "caption": "A caption.", "alt": "A map.", "chart": chart, "data": data}  # fmt: skip
    return Figure(**{**fields, **changes})


def layers_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A specification's layers by name."""
    return {layer["name"]: layer for layer in spec["layer"]}


def rows_of(spec: dict[str, Any], layer: str) -> list[dict[str, Any]]:
    """The data rows of one layer."""
    return values_of(spec, layers_of(spec)[layer])


def values_of(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a layer, which Altair may have moved to the top of the specification."""
    data = layer["data"]
    return list(data["values"] if "values" in data else spec["datasets"][data["name"]])


def said(figure: Figure) -> str:
    """All that a figure says in words: its caption, of at most 60 words, and its notes."""
    assert len(figure.caption.split()) <= 60, figure.caption
    return " ".join((figure.caption, *figure.notes))
