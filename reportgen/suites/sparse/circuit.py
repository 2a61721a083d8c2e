"""The figure of a prompt's circuit: heads that carry one link in the dense model, and in the sparse one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from reportgen.figures import captions, patterns, theme
from reportgen.figures.figure import Figure, View
from reportgen.figures.patterns import Canvas, Link, Panel
from reportgen.scores import Cell, Column, SuiteResult, Table
from reportgen.suites.sparse import sentences
from reportgen.suites.sparse.sentences import COLUMN_ORDER

WIDTH = 640.0
GAP = 22.0  # points between the two blocks
_NAME = re.compile(r"L(\d+)H(\d+)")


def figure(result: SuiteResult, view: View) -> Figure | None:
    """Token row on top, dense heads to the left, sparse ones to the right; None without a drawn prompt."""
    facts, panels = result.facts.get("drawn"), result.arrays.get("panels")
    if not isinstance(facts, Mapping) or panels is None:
        return None
    found = _panels(facts, panels.values, panels.labels.get("panel", ()))
    name = captions.model_name(view)
    prompt = words_of(facts)
    return Figure(
        id="sparse-circuit",
        suite=result.suite,
        title=f"{name}: the circuit of one prompt, dense and sparse",
        caption=_caption(result, view, facts),
        alt=f"Attention panels of the heads that carry {prompt} to its answer, dense model left, sparse model right.",
        chart=_chart(result, view, facts, found),
        data=_table(facts, found),
        notes=_notes(result, facts),
    )


def words_of(facts: Mapping[str, Any]) -> str:
    """The prompt as text."""
    return "".join(str(token) for token in facts["tokens"])


def _panels(facts: Mapping[str, Any], values: np.ndarray[Any, Any], names: Sequence[str]) -> dict[str, list[Panel]]:
    """Column -> its drawn panels, titled L11-H7, with their shares."""
    found: dict[str, list[Panel]] = {"dense": [], "sparse": []}
    for pattern, name in zip(values, names, strict=True):
        column, head = name.split(" ")
        share = facts["columns"][column]["shares"][len(found[column])]
        found[column].append(Panel(_NAME.sub(r"L\1-H\2", head), f"{100 * share:.0f} %", pattern.astype(np.float32)))
    return found


def _chart(
    result: SuiteResult, view: View, facts: Mapping[str, Any], found: Mapping[str, Sequence[Panel]]
) -> alt.LayerChart:
    style = view.style
    size, palette = 0.92 * style.font_size, style.palette
    canvas, link = Canvas(WIDTH), Link(facts["key"], facts["query"])
    sparse = facts["columns"]["sparse"]
    guess = (sparse["guess"], f"predicted, p = {sparse['p_answer']:.2f}" if sparse["solved"] else "predicted (wrong)")
    y = 2.3 * size
    places = patterns.token_row(canvas, facts["tokens"], link, size, palette, y, guess)
    y = canvas.height + 1.1 * size
    if facts.get("feature_groups"):
        strip = patterns.feature_strip(canvas, places, facts["feature_groups"], view.model.n_layers, y, size)
        y = strip + 1.1 * size
    bottom = _blocks(canvas, facts, found, link, y, size, palette, str(result.facts.get("sparse_model", "")), view)
    end = patterns.weight_key(canvas, 0, bottom + 0.2 * size, 0.95 * size)
    canvas.text(end + 2 * size, bottom + 0.72 * size, "keys run right, queries down", 0.84 * size)
    y = bottom + 2.6 * size
    for line in _claims(facts, link, found):
        canvas.text(0, y, line, 0.95 * size)
        y += 1.35 * size
    chart = canvas.chart(f"{captions.model_name(view)}: the circuit of one prompt, dense and sparse")
    chart.config = alt.Config.from_dict(theme.config(style))
    if captions.synthetic(view):
        chart.title = f"SYNTHETIC {chart.title}"
    return chart


def _blocks(
    canvas: Canvas, facts: Mapping[str, Any], found: Mapping[str, Sequence[Panel]], link: Link, y: float, size: float,
    palette: str, sparse_name: str, view: View,
) -> float:  # fmt: skip
    """Both blocks of panels with their headings; the wider one has more heads. Returns the y below them."""
    many, few = len(found["dense"]), max(1, len(found["sparse"]))
    share = min(0.8, max(0.35, many / (many + few)))
    left = share * (WIDTH - GAP)
    bottoms = []
    for column, x, width, name in (
        ("dense", 0.0, left, captions.model_name(view)),
        ("sparse", left + GAP, WIDTH - GAP - left, sparse_name),
    ):
        heads = facts["columns"][column]["h80"]
        canvas.text(x, y, name, 1.1 * size, weight="bold")
        canvas.text(x, y + 1.35 * size, f"{column}: {captions.plural(heads, 'head')} with 80 % of the link", size)
        end = patterns.block(canvas, found[column], x, y + 2.6 * size, width, link, size, palette)
        if heads > len(found[column]):
            canvas.text(x, end, f"and {heads - len(found[column])} more", size)
            end += 1.5 * size
        if not heads:
            canvas.text(x, y + 3.2 * size, "no head: the link has no positive attribution", size)
        bottoms.append(end)
    canvas.line([(left + GAP / 2, y - 0.4 * size), (left + GAP / 2, max(bottoms))], "#b5b5b5", 0.8)
    return max(bottoms)


def _claims(facts: Mapping[str, Any], link: Link, found: Mapping[str, Sequence[Panel]]) -> list[str]:
    """The lines under the panels: what they all do, checked on the patterns drawn."""
    drawn = [panel for panels in found.values() for panel in panels]
    mapping = [panel for panel in drawn if panel.pattern[link.query, link.key] > 0]
    alone = [p for p in found["sparse"] if int((p.pattern[link.query] > 0).sum()) == 1 and p in mapping]
    every = "All heads" if len(mapping) == len(drawn) else f"{len(mapping)} of {len(drawn)} heads"
    lines = [f"{every} map key pos {link.key} (red) to query pos {link.query} (blue)."]
    if found["sparse"]:
        lines.append(
            f"Sparse: {len(alone)} of {captions.plural(len(found['sparse']), 'head')} shown "
            f"{'reads' if len(alone) == 1 else 'read'} nothing else at query pos {link.query}."
        )
    dense, sparse = (facts["columns"][name]["h80"] for name in ("dense", "sparse"))
    lines.append(f"80 % of the edge attribution of this link: {dense} dense, {captions.plural(sparse, 'sparse head')}.")
    return lines


def _caption(result: SuiteResult, view: View, facts: Mapping[str, Any]) -> str:
    columns = facts["columns"]
    name = next((key for key in sentences.NAMES if key in columns["dense"]), "n90")  # not causal, but always there
    edges = [f"{column} {sentences.count(columns[column][name])}" for column in ("dense", "sparse")]
    wrong = _wrong(facts)
    return captions.join(
        f"One prompt's circuit in {captions.grid_words(view)} and in its sparse partner "
        f"{result.facts.get('sparse_model', '')}: the fewest heads with 80 % of the link from "
        f"position {facts['key']} ({facts['tokens'][facts['key']].strip()}) to {facts['query']}.",
        f"{name}: {', '.join(edges)}.",
        sentences.fewer(result.facts, name),
        f"NOT SOLVED by {wrong}." if wrong else "",
        captions.synthetic(view),
    )


def _notes(result: SuiteResult, facts: Mapping[str, Any]) -> tuple[str, ...]:
    link = f"key position {facts['key']} ({facts['tokens'][facts['key']].strip()}) to query position {facts['query']}"
    return captions.notes(
        f"The prompt: {words_of(facts)}.",
        f"Panels: attention pattern (queries down, keys right) of the fewest heads that hold 80 % of the positive edge "
        f"attribution P · dm/dP of the link from {link}, m = logit({facts['answer'].strip()}) − "
        f"{_against(facts)}; per cent: the head's share.",
        "The attribution is first-order, not a causal effect.",
        _compared(facts),
        "Comparing circuits on a prompt that a model does not solve says little." if _wrong(facts) else "",
        sentences.counts(result.facts, "edges_90"),
        sentences.edges(result.facts),
        sentences.gate(result.facts),
    )


def _against(facts: Mapping[str, Any]) -> str:
    return f"logit({facts['foil'].strip()})" if facts["foil"] else "the mean logit"


def _compared(facts: Mapping[str, Any]) -> str:
    """Every count of the drawn prompt, model by model."""
    names = [name for name in COLUMN_ORDER if name in facts["columns"]]
    columns = [facts["columns"][name] for name in names]
    causal = {key: words for key, words in sentences.NAMES.items() if key in columns[0]}
    pairs = f"{facts['causal_pairs']:,} pairs at T = {len(facts['tokens'])}"
    rows = [
        *((words, [sentences.count(c[key]) for c in columns]) for key, words in causal.items()),
        ("H80", [sentences.count(c["h80"]) for c in columns]),
        ("N90", [sentences.count(c["n90"]) for c in columns]),
        (f"non-zero edges ({pairs})", [sentences.count(c["nonzero"]) for c in columns]),
        ("m", [captions.number(c["m"]) for c in columns]),
        ("p(answer)", [f"{c['p_answer']:.2f}" for c in columns]),
    ]
    said = ", ".join(f"{words} {' / '.join(cells)}" for words, cells in rows)
    kl = captions.number(facts["kl_nats"])
    return f"{' / '.join(names).capitalize()}: {said}; KL between dense and sparse {kl} nats."


def _wrong(facts: Mapping[str, Any]) -> str:
    """The models that fail the prompt."""
    return " and ".join(c for c in COLUMN_ORDER if not facts["columns"].get(c, {"solved": True})["solved"])


def _table(facts: Mapping[str, Any], found: Mapping[str, Sequence[Panel]]) -> Table:
    """One row per non-zero cell of the panels drawn."""
    columns = ("model", "head", "share", "query", "key", "query_token", "key_token", "weight")
    rows: list[tuple[Cell, ...]] = []
    for column, panels in found.items():
        shares = facts["columns"][column]["shares"]
        for panel, share in zip(panels, shares, strict=False):
            for query, key in np.argwhere(panel.pattern > 0).tolist():
                words = (str(facts["tokens"][query]), str(facts["tokens"][key]))
                weight = float(panel.pattern[query, key])
                rows.append((column, panel.title, float(share), query, key, *words, weight))
    return Table("sparse/circuit", "Attention of the heads drawn", tuple(Column(c) for c in columns), tuple(rows))
