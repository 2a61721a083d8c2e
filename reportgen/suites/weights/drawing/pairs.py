"""Figures of pairs of heads: matrix, graph, sums per head, overlap of subspaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures import captions, theme
from reportgen.figures.chart_data import table
from reportgen.figures.circuit_graph import CircuitEdge, Node, circuit_graph
from reportgen.figures.curves import Axis, Curve, CurvePanel, even, line_chart, rounded
from reportgen.figures.figure import Figure, Maker, View, later, supplementary
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.figures.markers import role
from reportgen.scores import Column, Head, HeadSet, SuiteResult, Table, head_name, parse_head
from reportgen.suites.weights.drawing.matrix import MOST, PairMatrix, matrix
from reportgen.suites.weights.drawing.words import facts_of, formulas, shared
from reportgen.suites.weights.facts import Kind, Pair, WeightsFacts, group_name

KINDS = {"k": "keys", "q": "queries", "v": "values"}  # keys first: induction
FORMULA = "C² = ||W_in W_OV1||² / (||W_in||² ||W_OV1||²), W_in the reader's map through its {}; norms folded."
GRAPH = 24  # pairs of the graph
ROLES = ("previous_token", "duplicate_token", "induction", "inhibition", "mover", "negative", "backup")
BINS = 60


def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Keys, the graph, queries, values, sums, overlap."""
    facts = facts_of(result)
    there = [kind for kind in KINDS if facts.composition.get(kind, Kind()).pairs]
    yield from (partial(_matrix, result, view, kind) for kind in there[:1])
    if there:
        yield partial(_graph, result, view)
    yield from (supplementary(partial(_matrix, result, view, kind)) for kind in there[1:])
    if there:
        yield partial(_heads, result, view)
    yield supplementary(partial(_overlap, result, view))


def _grid(result: SuiteResult, kind: str, name: str) -> npt.NDArray[np.float64] | None:
    """[writer reader] of a stored run; None where it has none or another shape."""
    stored = result.arrays.get(f"composition/{kind}/{name}")
    if stored is None or stored.values.ndim != 2 or stored.values.shape[0] != stored.values.shape[1]:
        return None
    return stored.values.astype(np.float64)


@dataclass(frozen=True)
class Known:
    """A pair of heads that prompts named: previous-token head and induction head; `rank` among `pairs` of a kind.

    z_rank  by z;  raw_rank  as `rank`, with raw weights
    """

    writer: Head
    reader: Head
    rank: int
    pairs: int
    z_rank: int
    raw_rank: int | None


def induction_pairs(result: SuiteResult, view: View, kind: str = "k") -> list[Known]:
    """Every previous-token head before every induction head of the run's sets, by rank of z within the two layers."""
    within, z = _grid(result, kind, "within"), _grid(result, kind, "z")
    if within is None or z is None:
        return []
    by_role = {name: _heads_of(view, name) for name in ("previous_token", "induction")}
    raw = _grid(result, kind, "raw")
    n_heads, count = view.model.n_heads, int(np.isfinite(z).sum())
    found = []
    for writer in by_role["previous_token"]:
        for reader in by_role["induction"]:
            at = (writer[0] * n_heads + writer[1], reader[0] * n_heads + reader[1])
            if max(at) < len(z) and np.isfinite(z[at]) and np.isfinite(within[at]):
                ranks = [None if g is None else _place(g, at) for g in (within, z, raw)]
                found.append(Known(writer, reader, ranks[0] or 0, count, ranks[1] or 0, ranks[2]))
    return sorted(found, key=lambda one: one.rank)


def _place(grid: npt.NDArray[np.float64], at: tuple[int, int]) -> int:
    """Rank of a pair, 1 for the largest."""
    return 1 + int((np.nan_to_num(grid, nan=-np.inf) > grid[at]).sum())


def _heads_of(view: View, name: str) -> list[Head]:
    """Heads of a role, those found on this model by other suites, else published ones."""
    sets = [s for s in view.overlays if role(s) == name and not s.key.startswith("weights/")]
    own = [s for s in sets if s.kind == "computed"] or [s for s in sets if s.kind == "published"]
    return list(dict.fromkeys(head for s in own for head in s.heads))


def _known_words(found: Sequence[Known]) -> str:
    """The best-ranked pair that prompts named."""
    if not found:
        return ""
    one = found[0]
    return (
        f"Previous-token to induction head: {head_name(*one.writer)} to {head_name(*one.reader)} ranks "
        f"{one.rank:,} of {one.pairs:,}."
    )


def _all_known(found: Sequence[Known]) -> str:
    if not found:
        return "The run has no previous-token and induction heads in this order of layers, so no pair to look for."
    middle = float(np.median([one.rank / one.pairs for one in found]))
    words = [
        f"{head_name(*one.writer)} to {head_name(*one.reader)} {one.rank:,} (by z {one.z_rank:,}"
        + (")" if one.raw_rank is None else f", raw weights {one.raw_rank:,})") for one in found[:8]
    ]  # fmt: skip
    return (
        f"Ranks of the {captions.plural(len(found), 'pair')} of previous-token and induction heads that prompts found, "
        f"among {found[0].pairs:,}: {', '.join(words)}; median share above: {captions.percent(middle)}."
    )


def _lines(of: Kind) -> str:
    """Counts beyond the lines."""
    both = f"{of.beyond_both:,} also within their layers"
    return f"{of.beyond:,} of {of.pairs:,} pairs are beyond the family-wise line, {both}."


_NULL = (
    "Null: a uniform rotation of the residual stream between the two heads, both spectra kept: mean 1/d and variance "
    "exact, tail of a gamma distribution, Bonferroni over"
)
_SECOND = (
    "Nearly every trained pair rejects that null, by the mean and the large dimensions that all heads share. So a pair "
    "must also stand out of its two layers: (C² − median) / (1.4826 MAD)"
)


def _null(facts: WeightsFacts, of: Kind, kind: str) -> list[str]:
    twin = "" if of.twin is None else (
        f"Random twin: median excess {captions.number(of.twin)}, {captions.plural(of.twin_beyond or 0, 'pair')} beyond "
        "the line."
    )  # fmt: skip
    middle = "" if of.median is None else f"Median excess C² d − 1: {captions.number(of.median)}."
    phases = "Rotary positions: averaged over the phases of their planes." if facts.phased and kind != "v" else ""
    return [
        FORMULA.format(KINDS[kind]),
        f"{_NULL} {of.pairs:,} pairs.",
        f"{_SECOND} ≥ {of.within:.2f}.",
        middle, twin, _raw(of), phases, shared(facts, values=kind == "v", keys=kind == "k"),
    ]  # fmt: skip


def _raw(of: Kind) -> str:
    """How far raw weights give the same order of pairs."""
    if of.raw is None:
        return ""
    within = "" if of.raw_within is None else f"; within two layers {captions.number(of.raw_within)} (median)"
    ranks = [f"{p.writer} to {p.reader} {p.raw_rank:,}" for p in of.top[:4] if p.raw_rank is not None]
    named = f" Ranks with raw weights of the strongest: {', '.join(ranks)}." if ranks else ""
    return (
        f"Rank correlation over pairs of C² with raw and with folded weights: {captions.number(of.raw)}{within}.{named}"
    )


def _both(result: SuiteResult, kind: str, of: Kind) -> npt.NDArray[np.bool_]:
    """Pairs beyond both lines, from the stored z within layers and the facts' pairs of largest rank."""
    within = _grid(result, kind, "within")
    assert within is not None
    named = {(pair.writer, pair.reader) for pair in of.top}
    out = np.zeros(within.shape, np.bool_)
    layers = result.scores[0].values.shape
    for writer, reader in named:
        a, b = (h[0] * layers[1] + h[1] for h in (parse_head(writer), parse_head(reader)))
        if max(a, b) < len(out):
            out[a, b] = True
    return out


def _matrix(result: SuiteResult, view: View, kind: str) -> Figure | None:
    facts, values = facts_of(result), _grid(result, kind, "within")
    of = facts.composition[kind]
    if values is None or not np.isfinite(values).any():
        return None
    known = induction_pairs(result, view) if kind == "k" else []
    top = of.top[0] if of.top else None
    given = PairMatrix(values, _both(result, kind, of), view.model.n_heads, "z within the two layers")
    _, left = given.drawn()
    synthetic = view.synthetic or view.model.synthetic
    return Figure(
        id=f"weights-composition-{kind}",
        suite=result.suite,
        title=f"{captions.model_name(view)}: composition through {KINDS[kind]}",
        caption=captions.join(
            f"How far {KINDS[kind]} of a later head read what an earlier head writes, in {captions.grid_words(view)}.",
            _lines(of),
            f"Strongest: {top.writer} to {top.reader} (z {top.within:.1f})." if top else "",
            _known_words(known), captions.synthetic(view),
        ),
        alt=f"Matrix of writing heads against reading heads, composition through {KINDS[kind]}.",
        chart=later(matrix, given, view.style, synthetic=synthetic),
        data=_pair_table(result, view, kind, given),
        notes=captions.notes(
            *_null(facts, of, kind),
            f"Framed: the {len(of.top)} pairs with the largest z within their layers that are beyond both lines."
            if of.top else "No pair is beyond both lines.",
            f"The {MOST:,} pairs with the largest |z| are drawn; the others are below {left:.2f}." if left else "",
            _all_known(known) if kind == "k" else "",
        ),
    )  # fmt: skip


def _pair_table(result: SuiteResult, view: View, kind: str, given: PairMatrix) -> Table:
    """The pairs drawn, with every number of them."""
    grids = {name: _grid(result, kind, name) for name in ("excess", "z", "within", "overlap", "raw")}
    pairs, _ = given.drawn()
    n = view.model.n_heads
    names = [head_name(*divmod(i, n)) for i in range(len(given.values))]
    known = {name: grid for name, grid in grids.items() if grid is not None}
    rows = tuple(
        (names[a], names[b], *(_cell(grid[a, b]) for grid in known.values()), bool(given.marked[a, b]))
        for a, b in pairs.tolist()
    )
    columns = (
        Column("writer"),
        Column("reader"),
        *(Column(name, digits=4) for name in known),
        Column("beyond both lines"),
    )
    return Table(f"weights/composition/{kind}", f"Pairs of heads through {KINDS[kind]}", columns, rows)


def _cell(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _graph(result: SuiteResult, view: View) -> Figure | None:
    """The pairs of all kinds with the largest z within their layers."""
    facts = facts_of(result)
    every = [(pair, kind) for kind, of in facts.composition.items() for pair in of.top]
    every.sort(key=lambda one: -one[0].within)
    links = _links(every[:GRAPH])
    if not links:
        return None
    heads = sorted({end for link in links for end in (link.sender, link.receiver) if end is not None})
    sets = [s for s in view.overlays if role(s) in ROLES and not s.key.startswith("weights/") and s.kind == "computed"]
    nodes = [Node(head, _group(head, sets), "") for head in heads]
    labelled = [head_name(*node.head) for node in nodes if node.group != NO_ROLE]
    known = induction_pairs(result, view)
    synthetic = view.synthetic or view.model.synthetic
    return Figure(
        id="weights-composition-graph",
        suite=result.suite,
        title=f"{captions.model_name(view)}: pairs of heads that compose",
        caption=captions.join(
            f"The {len(every[:GRAPH])} strongest compositions of two heads of {captions.grid_words(view)}, by z within "
            "their layers, through queries (Q), keys (K) or values (V).",
            f"{len(labelled)} of {len(nodes)} heads have a role found on prompts." if sets else "",
            _known_words(known), captions.synthetic(view),
        ),
        alt="Graph of heads by layer with edges from writers to readers.",
        chart=later(
            circuit_graph, nodes, links, view.style, synthetic=synthetic, key=("composition", ""), logits=False
        ),
        data=_graph_table(every[:GRAPH], sets),
        head_sets=tuple(s for s in sets if set(s.heads) & set(heads)),
        notes=captions.notes(
            "Edges are beyond the family-wise line of their kind and the line within their layers; width: z within the "
            "two layers.",
            f"Heads with a role: {', '.join(labelled)}." if labelled else "",
            _all_known(known),
            *captions.rules(sets),
        ),
    )  # fmt: skip


NO_ROLE = "no role found"


def _links(every: Sequence[tuple[Pair, str]]) -> list[CircuitEdge]:
    """An edge per pair of heads, with the letters of all its kinds and the size of the largest."""
    letters: dict[tuple[str, str], list[tuple[Pair, str]]] = {}
    for pair, kind in every:
        letters.setdefault((pair.writer, pair.reader), []).append((pair, kind))
    return [
        CircuitEdge(parse_head(a), parse_head(b), max(p.within for p, _ in own), "".join(k.upper() for _, k in own))
        for (a, b), own in letters.items()
    ]


def _group(head: Head, sets: Sequence[HeadSet]) -> str:
    """The first role of a head, in the order of ROLES."""
    for name in ROLES:
        for one in sets:
            if role(one) == name and head in one.heads:
                return one.label
    return NO_ROLE


def _graph_table(every: Sequence[tuple[Pair, str]], sets: Sequence[HeadSet]) -> Table:
    columns = (Column("through"), Column("writer"), Column("writer's role"), Column("reader"), Column("reader's role"),
               Column("excess"), Column("z"), Column("z within layers"), Column("rank"))  # fmt: skip
    rows = tuple(
        (kind, p.writer, _group(parse_head(p.writer), sets), p.reader, _group(parse_head(p.reader), sets),
         p.excess, p.z, p.within, p.rank)
        for p, kind in every
    )  # fmt: skip
    return Table("weights/graph", "Pairs of heads that compose", columns, rows)


def _heads(result: SuiteResult, view: View) -> Figure | None:
    """Mean excess of each head as a reader and as a writer."""
    found = [one for one in result.scores if one.measure in ("composition_in", "composition_out")]
    found = [one for one in found if np.isfinite(one.values).any()]
    if not found:
        return None
    ways = {"composition_in": "in", "composition_out": "out"}
    panels = [HeadMap(f"{KINDS[one.task].capitalize()}, {ways[one.measure]}", "", one) for one in found]
    best = "; ".join(
        f"{panel.title.lower()} {head_name(*one.ranking()[0])} {captions.number(float(one.values[one.ranking()[0]]))}"
        for panel, one in zip(panels, found, strict=True)
    )
    synthetic = view.synthetic or view.model.synthetic
    return Figure(
        id="weights-composition-heads",
        suite=result.suite,
        title=f"{captions.model_name(view)}: composition in and out of each head",
        caption=captions.join(
            f"Mean excess C² d − 1 of each head of {captions.grid_words(view)} over earlier (in) and later ones (out).",
            f"Highest: {best}.", captions.synthetic(view),
        ),
        alt="Small layer by head maps of mean composition with earlier and later heads.",
        chart=later(
            maps, panels, "Mean C² d − 1", view.style, signed=True, synthetic=synthetic, in_row=min(3, len(panels))
        ),
        data=table([(one, ()) for one in found], "Composition in and out of each head"),
        notes=captions.notes(
            *formulas(*{one.measure: one for one in found}.values()),
            "0: what a uniform rotation of the residual stream would give. The mean over pairs is not tested.",
            shared(facts_of(result), keys=True),
        ),
    )  # fmt: skip


def _overlap(result: SuiteResult, view: View) -> Figure | None:
    """How the overlap of subspaces is distributed over pairs, with its null's density."""
    facts = facts_of(result)
    grids = {KINDS[kind]: _grid(result, kind, "overlap") for kind in KINDS if facts.composition.get(kind, Kind()).pairs}
    values = {f"Through {name}": grid for name, grid in grids.items() if grid is not None}
    alike = value_overlap(result)
    if alike is not None:
        values["W_V with W_V"] = alike
    if not values or not facts.d_model:
        return None
    synthetic = view.synthetic or view.model.synthetic
    mean, sd = null_of(facts)
    rows, words = [], []
    for name, grid in values.items():
        at = np.unravel_index(int(np.argmax(np.where(np.isfinite(grid), grid, -np.inf))), grid.shape)
        own = view.model.n_kv_heads if grid is alike else view.model.n_heads
        a, b = (group_name(int(i), own, view.model.n_heads) for i in at)
        known, most = grid[np.isfinite(grid)], float(grid[at])
        middle = float(np.median(known))
        rows.append((name, known.size, middle, (middle - mean) / sd, a, b, most))
        words.append(f"{name.removeprefix('Through ')} {a}, {b} {captions.number(most)}")
    columns = (Column("subspaces"), Column("pairs"), Column("median overlap", digits=4), Column("median z"),
               Column("first"), Column("second"), Column("largest overlap", digits=4))  # fmt: skip
    return Figure(
        id="weights-overlap",
        suite=result.suite,
        title=f"{captions.model_name(view)}: overlap of what heads write and read",
        caption=captions.join(
            f"Overlap of what an earlier head writes with what a later one reads, and of two W_V, in "
            f"{captions.grid_words(view)}; expected {captions.number(mean)}.",
            f"Largest: {'; '.join(words)}.", captions.synthetic(view),
        ),
        alt="Histograms of the overlap of subspaces with the density under random rotations.",
        chart=later(_histograms, values, facts, view, synthetic=synthetic),
        data=Table("weights/overlap", "Overlap of subspaces", columns, tuple(rows)),
        notes=captions.notes(
            "Overlap: ||B_1' B_2||² / d_head with orthonormal bases: the mean squared cosine of the principal angles "
            "(projection kernel, Yamagiwa et al. 2026).",
            "Dashed: normal density with the exact mean a b / (d min(a, b)) and variance under a uniform rotation.",
            "The axis ends at the 99.9 % quantile of all pairs; the last bin holds the larger ones.",
            "All d_head directions count alike: a head that hardly uses some overlaps as much through them.",
            "d_head is more than half of d_model: the null is not normal." if 2 * facts.d_head > facts.d_model else "",
            shared(facts, keys=True),
        ),
    )  # fmt: skip


def value_overlap(result: SuiteResult) -> npt.NDArray[np.float64] | None:
    """[group other] of a stored run, each pair once; None where it has none."""
    stored = result.arrays.get("overlap/values")
    if stored is None or stored.values.ndim != 2 or stored.values.shape[0] != stored.values.shape[1]:
        return None
    upper = np.triu(np.ones(stored.values.shape, np.bool_), 1)
    once = np.where(upper, stored.values.astype(np.float64), np.nan)
    return once if np.isfinite(once).any() else None


def null_of(facts: WeightsFacts) -> tuple[float, float]:
    """Mean and sd of the overlap of two subspaces of d_head dimensions under a uniform rotation."""
    a, d = facts.d_head, facts.d_model
    return a / d, math.sqrt(2) * (d - a) / (d * math.sqrt((d - 1) * (d + 2)))


def _histograms(
    values: dict[str, npt.NDArray[np.float64]], facts: WeightsFacts, view: View, *, synthetic: bool
) -> alt.LayerChart:
    mean, sd = null_of(facts)
    every = np.concatenate([grid[np.isfinite(grid)] for grid in values.values()])
    low, high = min(float(every.min()), mean - 4 * sd), max(float(np.quantile(every, 0.999)), mean + 4 * sd)
    edges = np.linspace(low, high, BINS + 1)
    colours = theme.CATEGORY_COLOURS[view.style.palette]
    panels, tallest = [], 0.0
    fine = np.linspace(mean - 4 * sd, mean + 4 * sd, 81)
    bell = np.exp(-0.5 * ((fine - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    for i, (name, grid) in enumerate(values.items()):
        known = grid[np.isfinite(grid)]
        counts = np.histogram(np.clip(known, low, high), edges)[0] / (len(known) * (edges[1] - edges[0]))
        x, y = np.repeat(edges, 2)[1:-1], np.repeat(counts, 2)
        share = np.sqrt(y / bell.max())
        panels.append(CurvePanel(name, f"{len(known):,} pairs", [
            Curve("pairs", x.tolist(), share.tolist(), colours[i % len(colours)]),
            Curve("random rotation", fine.tolist(), np.sqrt(bell / bell.max()).tolist(), "#767676", dash=(3, 2)),
        ]))  # fmt: skip
        tallest = max(tallest, float(share.max()), 1.0)
    top, step = rounded(tallest)
    width = theme.nice_step(high - low, 4)
    x_axis = Axis("Overlap", low, high, even(low, high, width))
    y_axis = Axis("Root of density over the null's peak", 0.0, top, even(0.0, top, step))
    return line_chart(panels, [(x_axis, y_axis)], view.style, synthetic=synthetic, aspect=0.78)
