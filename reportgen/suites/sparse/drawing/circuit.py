"""The figure of a prompt's circuit: heads that carry one link in the dense model, and in the sparse one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import msgspec
import numpy as np

from reportgen.figures import captions, patterns, theme
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.patterns import Canvas, PatternLink, PatternPanel
from reportgen.scores import Cell, Column, SuiteResult, Table
from reportgen.suites.sparse.drawing import caption_text
from reportgen.suites.sparse.drawing.caption_text import COLUMN_ORDER
from reportgen.suites.sparse.facts import DrawnPrompt, PromptColumn, SparseFacts

WIDTH = 640.0
GAP = 22.0  # points between the two blocks
_NAME = re.compile(r"L(\d+)H(\d+)")


def figure(result: SuiteResult, view: View, whole: SparseFacts) -> Figure | None:
    """Token row on top, dense heads to the left, sparse ones to the right; None without a drawn prompt."""
    facts, panels = whole.drawn, result.arrays.get("panels")
    if facts is None or panels is None:
        return None
    found = _panels(facts, panels.values, panels.labels.get("panel", ()))
    name = captions.model_name(view)
    return Figure(
        id="sparse-circuit",
        suite=result.suite,
        title=f"{name}: the circuit of one prompt, dense and sparse",
        caption=_caption(whole, view, facts),
        alt=f"Attention panels of the heads that carry {facts.words} to its answer, dense model left, sparse model "
        "right.",
        chart=later(_chart, whole.sparse_model, view, facts, found),
        data=_table(facts, found),
        notes=_notes(whole, facts),
    )


def _panels(facts: DrawnPrompt, values: np.ndarray[Any, Any], names: Sequence[str]) -> dict[str, list[PatternPanel]]:
    """Column -> its drawn panels, titled L11-H7, with their shares."""
    found: dict[str, list[PatternPanel]] = {"dense": [], "sparse": []}
    for pattern, name in zip(values, names, strict=True):
        column, head = name.split(" ")
        share = facts.columns[column].shares[len(found[column])]
        found[column].append(
            PatternPanel(_NAME.sub(r"L\1-H\2", head), f"{100 * share:.0f} %", pattern.astype(np.float32))
        )
    return found


def _chart(
    sparse_name: str, view: View, facts: DrawnPrompt, found: Mapping[str, Sequence[PatternPanel]]
) -> alt.LayerChart:
    style = view.style
    size, palette = 0.92 * style.font_size, style.palette
    canvas, link = Canvas(WIDTH), PatternLink(facts.key, facts.query)
    sparse = facts.columns["sparse"]
    guess = (sparse.guess, f"predicted, p = {sparse.p_answer:.2f}" if sparse.solved else "predicted (wrong)")
    y = 2.3 * size
    places = patterns.token_row(canvas, facts.tokens, link, size, palette, y, guess)
    y = canvas.height + 1.1 * size
    if facts.feature_groups:
        groups = [msgspec.structs.asdict(group) for group in facts.feature_groups]
        strip = patterns.feature_strip(canvas, places, groups, view.model.n_layers, y, size)
        y = strip + 1.1 * size
    bottom = _blocks(canvas, facts, found, link, y, size, palette, sparse_name, view)
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
    canvas: Canvas,
    facts: DrawnPrompt,
    found: Mapping[str, Sequence[PatternPanel]],
    link: PatternLink,
    y: float,
    size: float,
    palette: str,
    sparse_name: str,
    view: View,
) -> float:
    """Both blocks of panels with their headings; the wider one has more heads. Returns the y below them."""
    many, few = len(found["dense"]), max(1, len(found["sparse"]))
    share = min(0.8, max(0.35, many / (many + few)))
    left = share * (WIDTH - GAP)
    bottoms = []
    for column, x, width, name in (
        ("dense", 0.0, left, captions.model_name(view)),
        ("sparse", left + GAP, WIDTH - GAP - left, sparse_name),
    ):
        heads = facts.columns[column].h80
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


def _claims(facts: DrawnPrompt, link: PatternLink, found: Mapping[str, Sequence[PatternPanel]]) -> list[str]:
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
    dense, sparse = (facts.columns[name].h80 for name in ("dense", "sparse"))
    lines.append(f"80 % of the edge attribution of this link: {dense} dense, {captions.plural(sparse, 'sparse head')}.")
    return lines


def _caption(whole: SparseFacts, view: View, facts: DrawnPrompt) -> str:
    dense, sparse = facts.columns["dense"], facts.columns["sparse"]
    name = next((key for key in caption_text.NAMES if dense.has(key)), "n90")  # not causal, but always there
    wrong = _wrong(facts)
    return captions.join(
        f"One prompt's circuit in {captions.grid_words(view)} and in its sparse partner {whole.sparse_model}: the "
        f"fewest heads with 80 % of the link from position {facts.key} ({facts.tokens[facts.key].strip()}) to "
        f"{facts.query}.",
        f"{name}: dense {_count(dense, name)}, sparse {_count(sparse, name)}.",
        caption_text.fewer(whole, name),
        f"NOT SOLVED by {wrong}." if wrong else "",
        captions.synthetic(view),
    )


def _count(column: PromptColumn, name: str) -> str:
    return caption_text.count(getattr(column, name))


def _notes(whole: SparseFacts, facts: DrawnPrompt) -> tuple[str, ...]:
    link = f"key position {facts.key} ({facts.tokens[facts.key].strip()}) to query position {facts.query}"
    against = f"logit({facts.foil.strip()})" if facts.foil else "the mean logit"
    return captions.notes(
        f"The prompt: {facts.words}.",
        f"Panels: attention pattern (queries down, keys right) of the fewest heads that hold 80 % of the positive edge "
        f"attribution P · dm/dP of the link from {link}, m = logit({facts.answer.strip()}) − {against}; per cent: the "
        "head's share.",
        "The attribution is first-order, not a causal effect.",
        _compared(facts),
        "Comparing circuits on a prompt that a model does not solve says little." if _wrong(facts) else "",
        caption_text.counts(whole, "edges_90"),
        caption_text.edges(whole),
        caption_text.gate(whole),
    )


def _compared(facts: DrawnPrompt) -> str:
    """Every count of the drawn prompt, model by model."""
    names = [name for name in COLUMN_ORDER if name in facts.columns]
    columns = [facts.columns[name] for name in names]
    causal = {key: words for key, words in caption_text.NAMES.items() if columns[0].has(key)}
    pairs = f"{facts.causal_pairs:,} pairs at T = {len(facts.tokens)}"
    counted = {**causal, "h80": "H80", "n90": "N90", "nonzero": f"non-zero edges ({pairs})"}
    rows = [
        *((words, [_count(c, key) for c in columns]) for key, words in counted.items()),
        ("m", [captions.number(c.m) for c in columns]),
        ("p(answer)", [f"{c.p_answer:.2f}" for c in columns]),
    ]
    said = ", ".join(f"{words} {' / '.join(cells)}" for words, cells in rows)
    kl = captions.number(facts.kl_nats)
    return f"{' / '.join(names).capitalize()}: {said}; KL between dense and sparse {kl} nats."


def _wrong(facts: DrawnPrompt) -> str:
    """The models that fail the prompt."""
    return " and ".join(c for c in COLUMN_ORDER if c in facts.columns and not facts.columns[c].solved)


def _table(facts: DrawnPrompt, found: Mapping[str, Sequence[PatternPanel]]) -> Table:
    """One row per non-zero cell of the panels drawn."""
    columns = ("model", "head", "share", "query", "key", "query_token", "key_token", "weight")
    rows: list[tuple[Cell, ...]] = []
    for column, panels in found.items():
        shares = facts.columns[column].shares
        for panel, share in zip(panels, shares, strict=False):
            for query, key in np.argwhere(panel.pattern > 0).tolist():
                words = (facts.tokens[query], facts.tokens[key])
                weight = float(panel.pattern[query, key])
                rows.append((column, panel.title, float(share), query, key, *words, weight))
    return Table("sparse/circuit", "Attention of the heads drawn", tuple(Column(c) for c in columns), tuple(rows))
