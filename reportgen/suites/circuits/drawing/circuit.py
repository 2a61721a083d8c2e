"""A task's circuit drawn as a graph, and how much of the task it keeps; sentences that its figures have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportgen.figures import captions
from reportgen.figures.circuit_graph import CircuitEdge, Node, circuit_graph, largest
from reportgen.figures.curves import BLUE, GREY, RED, Curve, CurvePanel, curves
from reportgen.figures.figure import Figure, View, later
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table, parse_head
from reportgen.suites.circuits.facts import Bands, CircuitFacts, Faithfulness, OwnCircuit, StageFacts, TaskFacts

_SHORT = {"ioi": "IOI"}


def short(facts: TaskFacts, task: str) -> str:
    """The task's name inside a sentence."""
    return _SHORT.get(task, facts.title[:1].lower() + facts.title[1:])


HELD_OUT = "Held out: the head of the largest |effect| on half of the templates, measured on the other half alone."


def held_out(facts: TaskFacts) -> str:
    """The largest direct effect, chosen on one half of the templates and measured on the other; else empty."""
    top = facts.top_head
    if top is None or top.effect is None or top.low is None or top.high is None:
        return ""
    effect, low, high = (captions.number(value) for value in (top.effect, top.low, top.high))
    return f"Largest, held out: {top.head} at {effect} [{low}, {high}]."


def best_of(left: HeadScores, right: HeadScores, signed: bool = False) -> str:
    """The highest head of each of two panels; with `signed` also the lowest of the right one."""
    one, other = captions.best_head(left), captions.best_head(right, signed=signed)
    one, other = one.replace("Highest:", "Highest left:"), other.replace("Highest:", "Highest right:")
    if not (one.startswith("Highest") and other.startswith("Highest")):
        return captions.join(one, other)
    return f"{one[:-1]}; {other.removeprefix('Highest ')}"


MOST = 14  # heads drawn, those with a direct effect first, largest first
_STAGES = ("direct", "through_movers", "through_those")


def graph(result: SuiteResult, view: View, facts: TaskFacts, task: str) -> Figure | None:
    """The circuit by layer; None where there are no heads to draw."""
    members = facts.members or {}
    direct = members.get("direct", [])
    effects = result[f"direct/{task}"].values
    stage_of = {head: stage for stage in reversed(_STAGES) for head in members.get(stage, ())}
    if not stage_of:
        return None
    movers = {h for s in view.overlays if s.key.startswith(f"circuits/{task}/") and _is_mover(s.key) for h in s.heads}
    links = _links(facts, effects, direct)
    strength = {
        head: max((abs(e.effect) for e in links if e.sender == parse_head(head)), default=0.0) for head in stage_of
    }
    drawn = sorted(stage_of, key=lambda head: (-strength[head], parse_head(head)))[:MOST]
    words, name = short(facts, task), captions.model_name(view)
    groups = {"direct": "direct effect", "through_movers": f"acts through {_receivers(facts)}",
              "through_those": "acts through those"}  # fmt: skip
    nodes = [
        Node(parse_head(h), facts.mover if parse_head(h) in movers else groups[stage_of[h]],
             captions.number(float(effects[parse_head(h)])) if h in direct else "")
        for h in drawn
    ]  # fmt: skip
    order = {facts.mover: 0, **{words_: i + 1 for i, words_ in enumerate(groups.values())}}
    nodes.sort(key=lambda node: (order[node.group], node.head))
    title = f"{name}: the circuit of {words}"
    return Figure(
        id=f"circuits-{task}-graph",
        suite=result.suite,
        title=title,
        caption=_caption(facts, view, len(drawn), len(stage_of)),
        alt=f"The heads of the circuit of {words} in {name} by layer, with edges to the logits and between heads.",
        chart=later(
            circuit_graph, nodes, _drawn(links, facts), view.style, synthetic=view.synthetic or view.model.synthetic
        ),
        data=_edge_table(task, title, links, stage_of),
        notes=_notes(facts, links, len(drawn), len(stage_of)),
    )


def _is_mover(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in ("name_movers", "movers")


def _receivers(facts: TaskFacts) -> str:
    return "those heads" if "direct" in (facts.receivers_are or "") else f"the {facts.mover}s"


def _links(facts: TaskFacts, effects: Any, direct: list[str]) -> list[CircuitEdge]:
    links = [CircuitEdge(parse_head(head), None, float(effects[parse_head(head)])) for head in direct]
    for stage in (facts.through_movers or StageFacts(), facts.through_those or StageFacts()):
        links += [
            CircuitEdge(parse_head(sender), parse_head(to), effect, kind) for sender, to, kind, effect in stage.edges
        ]
    return links


def _drawn(links: list[CircuitEdge], facts: TaskFacts) -> list[CircuitEdge]:
    """Edges to the logits, and those between heads that reach the rule's share of the gap."""
    least = facts.effect_share or 0.0
    return [link for link in links if link.receiver is None or abs(link.effect) >= least]


def _caption(facts: TaskFacts, view: View, drawn: int, total: int) -> str:
    share, (kept, removed) = facts.effect_share, _kept(facts)
    least = "" if share is None else f" with |effect| ≥ {captions.percent(share)}, p ≤ {facts.alpha:g}"
    some = captions.plural(drawn, "head") if drawn == total else f"{drawn} of {total} heads"
    return captions.join(
        f"Circuit of {facts.title} in {captions.grid_words(view)}: {some}{least} (n = {facts.n}).",
        ""
        if kept is None or removed is None
        else f"Alone it keeps {captions.number(kept)} of the metric; without it, {captions.number(removed)} remains.",
        held_out(facts),
        captions.synthetic(view),
    )


def _notes(facts: TaskFacts, links: list[CircuitEdge], drawn: int, total: int) -> tuple[str, ...]:
    share = facts.effect_share
    least = "" if share is None else f" with |effect| ≥ {captions.percent(share)} of the gap and p ≤ {facts.alpha:g}"
    between = [link for link in links if link.receiver is not None]
    letters = sorted({letter for link in between for letter in link.letter})
    named = {"q": "queries", "k": "keys", "v": "values"}
    ends = ", ".join(f"{letter} {named[letter]}" for letter in letters if letter in named)
    return captions.notes(
        f"The circuit's heads{least}, by layer.",
        "" if drawn == total else f"The {drawn} of {total} heads with the strongest edges are drawn.",
        f"Edges to the logits are direct effects (path patching, n = {facts.n} prompts); the number in a box is "
        "its direct effect as a share of the clean-corrupted gap.",
        HELD_OUT if held_out(facts) else "",
        f"Edges between heads are effects of one head through one input of another ({ends}), patched in two runs; "
        f"those below {captions.percent(share or 0)} of the gap are omitted."
        if between
        else "",
        f"{facts.title}: the widest edge stands for {captions.number(largest(links))} of the gap." if links else "",
        _dropped(facts),
        *_lacks(facts),
    )


def _kept(facts: TaskFacts) -> tuple[float | None, float | None]:
    """f of the circuit found, and of its complement."""
    own = facts.faithfulness and facts.faithfulness.circuit
    return (own.kept, own.removed) if own else (None, None)


def _ablated(facts: TaskFacts) -> str:
    return facts.ablated or "mean-ablated"


def _dropped(facts: TaskFacts) -> str:
    kept, removed = _kept(facts)
    if kept is None or removed is None:
        return ""
    return (
        f"With all other heads {_ablated(facts)} {captions.number(kept)} of the task's metric is left; with these "
        f"ablated, {captions.number(removed)}."
    )


def _lacks(facts: TaskFacts) -> tuple[str, ...]:
    """What a circuit that keeps too little lacks, and what it keeps with that added."""
    added = facts.faithfulness and facts.faithfulness.added
    if not added:
        return ()
    words = (
        f"Where a circuit does not keep {added.enough:g} or more: patching sees only what differs between "
        "the two prompts, ablation takes away what both share, too."
    )
    tried = []
    for way in (way for way in added.ways if way.heads):
        before, *_, after = (captions.number(f) for f in way.kept)
        named = ", ".join(way.heads)
        tried.append(f"with {named}, chosen on {way.chosen_on}, it keeps {after} on the others, not {before}")
    more = f"Heads added to the circuit of {facts.title} one by one: {'; '.join(tried)}."
    return words, more if tried else f"No head added to the circuit of {facts.title} mends that."


def _edge_table(task: str, title: str, links: list[CircuitEdge], stage_of: Mapping[str, str]) -> Table:
    from reportgen.scores import head_name

    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            head_name(*link.sender), stage_of.get(head_name(*link.sender), ""),
            "logits" if link.receiver is None else head_name(*link.receiver), link.letter, link.effect,
        )
        for link in links
    )  # fmt: skip
    columns = (
        Column("from"),
        Column("stage"),
        Column("to"),
        Column("through"),
        Column("effect", "share of the gap", 4),
    )
    return Table(f"circuits/{task}/edges", title, columns, rows)


Known = Mapping[str, tuple[TaskFacts, Faithfulness]]  # tasks with a curve


def faithfulness(result: SuiteResult, view: View, facts: CircuitFacts) -> Figure | None:
    """A panel per task: what is left with the first k heads kept, and with them removed; random sets beside."""
    found = [(task, facts.task(task)) for task in result.tasks("direct")]
    known = {task: (of, of.faithfulness) for task, of in found if of.faithfulness is not None}
    if not known:
        return None
    panels = [_panel(of.title, curve) for of, curve in known.values()]
    name = captions.model_name(view)
    title = f"{name}: faithfulness against circuit size"
    return Figure(
        id="circuits-faithfulness",
        suite=result.suite,
        title=title,
        caption=_faithful_caption(view, known),
        alt=f"Curves of faithfulness against the number of heads kept or removed in {name}, one panel per task.",
        chart=later(
            curves,
            panels,
            "Heads",
            "Faithfulness",
            view.style,
            top=_top(known),
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=_curve_table(title, known),
        notes=_faithful_notes(known),
    )


def _top(known: Known) -> float:
    """The end of y: 1.2, or more where a curve goes higher."""
    highest = max(max(line, default=1.0) for _, curve in known.values() for line in (curve.kept, curve.removed))
    return 1.2 if highest <= 1.2 else 0.2 * (int(highest / 0.2) + 1)


def _panel(title: str, facts: Faithfulness) -> CurvePanel:
    sizes, own = tuple(facts.sizes), facts.circuit or OwnCircuit()
    lines = []
    for name, words, nothing in (("kept", "random sets kept", 0.0), ("removed", "random sets removed", 1.0)):
        points = _random(facts.bands, own, name)
        if points:
            x, low, mean, high = zip((0.0, nothing, nothing, nothing), *points, strict=True)  # the empty set
            lines.append(Curve(words, x, mean, GREY, name == "removed", tuple(zip(low, high, strict=True))))
    lines += [
        Curve("first k heads kept", sizes, tuple(facts.kept), BLUE),
        Curve("first k removed", sizes, tuple(facts.removed), RED),
        Curve("first k by direct effect removed", sizes, tuple(facts.removed_direct), RED, dashed=True),
    ]
    dots = [
        (float(own.size), value, "") for value in (own.kept, own.removed) if value is not None and own.size is not None
    ]
    cpr = "" if facts.cpr is None else f"head-level CPR {facts.cpr:.2f}"
    return CurvePanel(title, cpr, tuple(lines), tuple(dots), ((1.0, "whole model"),))


def _random(bands: Bands, own: OwnCircuit, name: str) -> list[tuple[float, ...]]:
    """(size, lowest, mean, highest f) of random sets: at the circuit's size, and at those of the bands."""
    band, spread = getattr(bands, name), getattr(own, f"random_{name}")
    found = {row[0]: row for row in zip(bands.sizes, band.low, band.mean, band.high, strict=True)}
    if own.size is not None and spread is not None:
        found[own.size] = (float(own.size), spread.low, spread.mean, spread.high)
    return [found[size] for size in sorted(found)]


def _faithful_caption(view: View, known: Known) -> str:
    counts = sorted({curve.n for _, curve in known.values() if curve.n is not None})
    each = " prompts" if len(known) == 1 else " a task"
    n = f" (n = {' to '.join(str(c) for c in (counts[0], counts[-1])[: len(counts)])}{each})" if counts else ""
    first = next(iter(known.values()))[1].circuit
    random = ", random sets grey" if first and first.random_sets else ""
    return captions.join(
        f"Faithfulness f with the first k heads of {captions.grid_words(view)} kept (blue) or removed (red)"
        f"{random}{n}.",
        _extremes({of.title: curve.circuit or OwnCircuit() for of, curve in known.values()}),
        captions.synthetic(view),
    )


def _extremes(circuits: Mapping[str, OwnCircuit]) -> str:
    """What the circuit found keeps, and what is left without it: one task's, or the extremes of several."""
    kept = sorted((own.kept, title) for title, own in circuits.items() if own.kept is not None)
    removed = sorted((own.removed, title) for title, own in circuits.items() if own.removed is not None)
    if not kept or not removed:
        return ""
    words = []
    for values in (kept, removed):
        (low, least), (high, most) = values[0], values[-1]
        several = f"{captions.number(low)} ({least}) to {captions.number(high)} ({most})"
        words.append(several if len(values) > 1 else captions.number(low))
    return f"The circuit found (dots) keeps {words[0]}; without it, {words[1]} is left."


def _faithful_notes(known: Known) -> tuple[str, ...]:
    of, curve = next(iter(known.values()))
    draws = curve.circuit and curve.circuit.random_sets
    more = f", {curve.bands.sets} at other sizes" if curve.bands.sizes else ""
    over = "" if _ablated(of).startswith("zero") else " over corrupted prompts of the same template"
    sets = (
        f"Grey: random sets matched in heads per layer and output norm, mean and range ({draws} like the "
        f"circuit{more})."
        if draws
        else ""
    )
    return captions.notes(
        f"Faithfulness f = (m − m_none) / (m_clean − m_none); m_none: every head {_ablated(of)}{over}; MLPs are kept.",
        "Solid blue: only the first k heads by |total effect| are kept; solid red: they are removed and all others "
        "kept; dashed red: the first k by |direct effect| are removed.",
        "Values below 0 are drawn at 0.",
        *((_HEAD_LEVEL, _NOT_MIB) if any(curve.cpr is not None for _, curve in known.values()) else ()),
        sets,
        "Dots: the circuit found.",
        *(_one(of.title, curve) for of, curve in known.values()),
        *dict.fromkeys(words for of, _ in known.values() for words in _lacks(of)),
    )


_HEAD_LEVEL = (
    "Head-level CPR: the area under f over the share of heads kept, from none to all, heads in order of |total "
    "effect|; head-level CMD: the area of |1 − f|."
)
_NOT_MIB = (
    "They are not the MIB benchmark's CPR and CMD (arXiv 2504.13151): those replace what is left out by its value on "
    "the corrupted prompt, not by a mean, count edges, or nodes with MLPs and the embedding, where MLPs are always "
    "kept here, and take the area over ten shares from .001 to 1."
)


def _one(title: str, facts: Faithfulness) -> str:
    own = facts.circuit or OwnCircuit()
    area = f"head-level CPR {facts.cpr or 0:.2f}, CMD {facts.cmd or 0:.2f}"
    if own.kept is None or own.removed is None:
        return f"{title}: {area}."
    chance = "" if own.p_kept is None or own.p_removed is None else (
        f" (p = {own.p_kept:.3g} and {own.p_removed:.3g} against {own.random_sets} random sets)")  # fmt: skip
    return (
        f"{title} (n = {facts.n}): the circuit of {own.size} heads keeps {captions.number(own.kept)}, without it "
        f"{captions.number(own.removed)} is left{chance}; {area}."
    )


def _curve_table(title: str, known: Known) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for task, (_, curve) in known.items():
        lines = zip(curve.sizes, curve.kept, curve.removed, curve.removed_direct, strict=True)
        rows += [(task, int(size), *values) for size, *values in lines]
    columns = (Column("task"), Column("k", "heads"), Column("kept", "f", 4), Column("removed", "f", 4),
               Column("removed, by direct effect", "f", 4))  # fmt: skip
    return Table("circuits/faithfulness", title, columns, tuple(rows))
