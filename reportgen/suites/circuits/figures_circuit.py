"""A task's circuit drawn as a graph, and how much of the task it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportgen.figures import captions
from reportgen.figures.circuit_graph import circuit_graph, largest
from reportgen.figures.circuit_layout import Link, Node
from reportgen.figures.curves import BLUE, GREY, RED, Curve, Panel, curves
from reportgen.figures.figure import Figure, View
from reportgen.scores import Cell, Column, SuiteResult, Table, parse_head
from reportgen.suites.circuits.facts import number, numbers, part, short, strings, task_facts
from reportgen.suites.circuits.sentences import HELD_OUT, held_out

MOST = 14  # heads drawn, those with a direct effect first, largest first
_SPREAD = ("low", "mean", "high")
_STAGES = ("direct", "through_movers", "through_those")


def graph(result: SuiteResult, view: View, task: str) -> Figure | None:
    """The circuit by layer; None where there are no heads to draw."""
    facts = task_facts(result, task)
    members = part(facts, "members")
    effects = result[f"direct/{task}"].values
    stage_of = {head: stage for stage in reversed(_STAGES) for head in strings(members, stage)}
    if not stage_of:
        return None
    movers = {h for s in view.overlays if s.key.startswith(f"circuits/{task}/") and _is_mover(s.key) for h in s.heads}
    links = _links(facts, effects, strings(members, "direct"))
    strength = {
        head: max((abs(e.effect) for e in links if e.sender == parse_head(head)), default=0.0) for head in stage_of
    }
    drawn = sorted(stage_of, key=lambda head: (-strength[head], parse_head(head)))[:MOST]
    words, name = short(result, task), captions.model_name(view)
    groups = {"direct": "direct effect", "through_movers": f"acts through {_receivers(facts)}",
              "through_those": "acts through those"}  # fmt: skip
    nodes = [
        Node(parse_head(h), facts.get("mover", "mover") if parse_head(h) in movers else groups[stage_of[h]],
             captions.number(float(effects[parse_head(h)])) if h in strings(members, "direct") else "")
        for h in drawn
    ]  # fmt: skip
    order = {facts.get("mover", "mover"): 0, **{words_: i + 1 for i, words_ in enumerate(groups.values())}}
    nodes.sort(key=lambda node: (order[node.group], node.head))
    title = f"{name}: the circuit of {words}"
    return Figure(
        id=f"circuits-{task}-graph",
        suite=result.suite,
        title=title,
        caption=_caption(facts, view, len(drawn), len(stage_of)),
        alt=f"The heads of the circuit of {words} in {name} by layer, with edges to the logits and between heads.",
        chart=circuit_graph(nodes, _drawn(links, facts), view.style, synthetic=view.synthetic or view.model.synthetic),
        data=_edge_table(task, title, links, stage_of),
        notes=_notes(facts, links, len(drawn), len(stage_of)),
    )


def _is_mover(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in ("name_movers", "movers")


def _receivers(facts: Mapping[str, Any]) -> str:
    return (
        f"the {facts.get('mover', 'mover')}s" if "direct" not in str(facts.get("receivers_are", "")) else "those heads"
    )


def _links(facts: Mapping[str, Any], effects: Any, direct: list[str]) -> list[Link]:
    links = [Link(parse_head(head), None, float(effects[parse_head(head)])) for head in direct]
    for stage in _STAGES[1:]:
        found = part(facts, stage).get("edges")
        for sender, receiver, kind, effect in found if isinstance(found, list | tuple) else ():
            links.append(Link(parse_head(str(sender)), parse_head(str(receiver)), float(effect), str(kind)))
    return links


def _drawn(links: list[Link], facts: Mapping[str, Any]) -> list[Link]:
    """Edges to the logits, and those between heads that reach the rule's share of the gap."""
    least = number(facts, "effect_share") or 0.0
    return [link for link in links if link.receiver is None or abs(link.effect) >= least]


def _caption(facts: Mapping[str, Any], view: View, drawn: int, total: int) -> str:
    share, alpha = number(facts, "effect_share"), number(facts, "alpha")
    least = "" if share is None else f" with |effect| ≥ {captions.percent(share)}, p ≤ {alpha:g}"
    some = captions.plural(drawn, "head") if drawn == total else f"{drawn} of {total} heads"
    own = part(part(facts, "faithfulness"), "circuit")
    kept, removed = number(own, "kept"), number(own, "removed")
    return captions.join(
        f"Circuit of {facts.get('title', '')} in {captions.grid_words(view)}: {some}{least} (n = {facts.get('n')}).",
        ""
        if kept is None or removed is None
        else f"Alone it keeps {captions.number(kept)} of the metric; without it, {captions.number(removed)}.",
        held_out(facts),
        captions.synthetic(view),
    )


def _notes(facts: Mapping[str, Any], links: list[Link], drawn: int, total: int) -> tuple[str, ...]:
    title = str(facts.get("title", ""))
    share, alpha = number(facts, "effect_share"), number(facts, "alpha")
    least = "" if share is None else f" with |effect| ≥ {captions.percent(share)} of the gap and p ≤ {alpha:g}"
    between = [link for link in links if link.receiver is not None]
    letters = sorted({letter for link in between for letter in link.letter})
    named = {"q": "queries", "k": "keys", "v": "values"}
    ends = ", ".join(f"{letter} {named[letter]}" for letter in letters if letter in named)
    return captions.notes(
        f"A circuit is drawn by layer: heads{least}.",
        "" if drawn == total else f"The {drawn} of {total} heads with the strongest edges are drawn.",
        f"Edges to the logits are direct effects (path patching, n = {facts.get('n')} prompts); the number in a box is "
        "its direct effect as a share of the clean-corrupted gap.",
        HELD_OUT if held_out(facts) else "",
        f"Edges between heads are effects of one head through one input of another ({ends}), patched in two runs; "
        f"those below {captions.percent(share or 0)} of the gap are left out."
        if between
        else "",
        f"{title}: the widest edge stands for {captions.number(largest(links))} of the gap." if links else "",
        _dropped(facts),
        *_lacks(facts, title),
    )


def _ablated(facts: Mapping[str, Any]) -> str:
    return str(facts.get("ablated", "mean-ablated"))


def _dropped(facts: Mapping[str, Any]) -> str:
    own = part(part(facts, "faithfulness"), "circuit")
    kept, removed = number(own, "kept"), number(own, "removed")
    if kept is None or removed is None:
        return ""
    return (
        f"With all other heads {_ablated(facts)} {captions.number(kept)} of the task's metric is left; with these "
        f"ablated, {captions.number(removed)}."
    )


def _lacks(facts: Mapping[str, Any], title: str) -> tuple[str, ...]:
    """What a circuit that keeps too little lacks, and what it keeps with that added."""
    added = part(part(facts, "faithfulness"), "added")
    ways = [way for way in added.get("ways", ()) if isinstance(way, Mapping)]
    if not added:
        return ()
    words = (
        f"Where a circuit does not keep {added.get('enough', 0.9):g} or more: patching sees only what differs between "
        "the two prompts, ablation takes away what both share, too."
    )
    tried = []
    for way in (way for way in ways if strings(way, "heads")):
        before, *_, after = (captions.number(f) for f in numbers(way, "kept"))
        named = ", ".join(strings(way, "heads"))
        tried.append(f"with {named}, chosen on {way.get('chosen_on')}, it keeps {after} on the others, not {before}")
    more = f"Heads added to the circuit of {title} one by one: {'; '.join(tried)}."
    return words, more if tried else f"No head added to the circuit of {title} mends that."


def _edge_table(task: str, title: str, links: list[Link], stage_of: Mapping[str, str]) -> Table:
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


def faithfulness(result: SuiteResult, view: View) -> Figure | None:
    """A panel per task: what is left with the first k heads kept, and with them removed; random sets beside."""
    found = {task: part(task_facts(result, task), "faithfulness") for task in result.tasks("direct")}
    known = {task: facts for task, facts in found.items() if facts}
    if not known:
        return None
    panels = [_panel(str(task_facts(result, task).get("title", task)), facts) for task, facts in known.items()]
    name = captions.model_name(view)
    title = f"{name}: faithfulness against circuit size"
    chart = curves(panels, "Heads", "Faithfulness", view.style, top=_top(known),
                   synthetic=view.synthetic or view.model.synthetic)  # fmt: skip
    return Figure(
        id="circuits-faithfulness",
        suite=result.suite,
        title=title,
        caption=_faithful_caption(result, view, known),
        alt=f"Curves of faithfulness against the number of heads kept or removed in {name}, one panel per task.",
        chart=chart,
        data=_curve_table(title, known),
        notes=_faithful_notes(result, known),
    )


def _top(known: Mapping[str, Mapping[str, Any]]) -> float:
    """The end of y: 1.2, or more where a curve goes higher."""
    highest = max(max(numbers(f, name), default=1.0) for f in known.values() for name in ("kept", "removed"))
    return 1.2 if highest <= 1.2 else 0.2 * (int(highest / 0.2) + 1)


def _panel(title: str, facts: Mapping[str, Any]) -> Panel:
    sizes, bands, own = numbers(facts, "sizes"), part(facts, "bands"), part(facts, "circuit")
    lines = []
    for name, words, nothing in (("kept", "random sets kept", 0.0), ("removed", "random sets removed", 1.0)):
        points = _random(bands, own, name)
        if points:
            x, low, mean, high = zip((0.0, nothing, nothing, nothing), *points, strict=True)  # the empty set
            lines.append(Curve(words, x, mean, GREY, name == "removed", tuple(zip(low, high, strict=True))))
    lines += [
        Curve("first k heads kept", sizes, numbers(facts, "kept"), BLUE),
        Curve("first k removed", sizes, numbers(facts, "removed"), RED),
        Curve("first k by direct effect removed", sizes, numbers(facts, "removed_direct"), RED, dashed=True),
    ]
    cpr = number(facts, "cpr")
    dots = []
    for name in ("kept", "removed"):
        value, size = number(own, name), number(own, "size")
        if value is not None and size is not None:
            dots.append((size, value, ""))
    return Panel(title, "" if cpr is None else f"CPR {cpr:.2f}", tuple(lines), tuple(dots), ((1.0, "whole model"),))


def _random(bands: Mapping[str, Any], own: Mapping[str, Any], name: str) -> list[tuple[float, ...]]:
    """(size, lowest, mean, highest f) of random sets: at the circuit's size, and at those of the bands."""
    band = part(bands, name)
    found = {row[0]: row for row in zip(numbers(bands, "sizes"), *(numbers(band, end) for end in _SPREAD), strict=True)}
    size, spread = number(own, "size"), part(own, f"random_{name}")
    if size is not None and spread:
        found[size] = (size, *(float(spread[end]) for end in _SPREAD))
    return [found[size] for size in sorted(found)]


def _faithful_caption(result: SuiteResult, view: View, known: Mapping[str, Mapping[str, Any]]) -> str:
    counts = sorted({int(facts["n"]) for facts in known.values() if isinstance(facts.get("n"), int)})
    each = " prompts" if len(known) == 1 else " a task"
    n = f" (n = {' to '.join(str(c) for c in (counts[0], counts[-1])[: len(counts)])}{each})" if counts else ""
    random = ", random sets grey" if part(next(iter(known.values())), "circuit").get("random_sets") else ""
    return captions.join(
        f"Faithfulness f with the first k heads of {captions.grid_words(view)} kept (blue) or removed (red)"
        f"{random}{n}.",
        _extremes({str(task_facts(result, task).get("title", task)): part(f, "circuit") for task, f in known.items()}),
        captions.synthetic(view),
    )


def _extremes(circuits: Mapping[str, Mapping[str, Any]]) -> str:
    """What the circuit found keeps, and what is left without it: one task's, or the extremes of several."""
    found = {
        name: sorted((value, title) for title, own in circuits.items() if (value := number(own, name)) is not None)
        for name in ("kept", "removed")
    }
    if not all(found.values()):
        return ""
    words = []
    for values in found.values():
        (low, least), (high, most) = values[0], values[-1]
        several = f"{captions.number(low)} ({least}) to {captions.number(high)} ({most})"
        words.append(several if len(values) > 1 else captions.number(low))
    return f"The circuit found (dots) keeps {words[0]}; without it, {words[1]} is left."


def _faithful_notes(result: SuiteResult, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    first = next(iter(known.values()))
    draws, others = part(first, "circuit").get("random_sets"), part(first, "bands")
    more = f", {others.get('sets')} at other sizes" if numbers(others, "sizes") else ""
    over = "" if _ablated(task_facts(result, next(iter(known)))).startswith("zero") else (
        " over corrupted prompts of the same template")  # fmt: skip
    sets = (
        f"Grey: random sets of as many heads per layer and of like output norm, mean and range ({draws} like the "
        f"circuit{more})."
        if draws
        else ""
    )
    lacking = [
        words
        for task, facts in known.items()
        for words in _lacks({"faithfulness": facts}, str(task_facts(result, task).get("title", task)))
    ]
    return captions.notes(
        f"Faithfulness f = (m − m_none) / (m_clean − m_none); m_none: every head "
        f"{_ablated(task_facts(result, next(iter(known))))}{over}; MLPs are kept.",
        "Solid blue: only the first k heads by |total effect| are kept; solid red: they are removed and all others "
        "kept; dashed red: the first k by |direct effect| are removed.",
        "Values below 0 are drawn at 0.",
        sets,
        "Dots: the circuit found.",
        *(_one(str(task_facts(result, task).get("title", task)), facts) for task, facts in known.items()),
        *dict.fromkeys(lacking),
    )


def _one(title: str, facts: Mapping[str, Any]) -> str:
    own = part(facts, "circuit")
    kept, removed, size = number(own, "kept"), number(own, "removed"), own.get("size")
    area = f"CPR {number(facts, 'cpr') or 0:.2f}, CMD {number(facts, 'cmd') or 0:.2f}"
    if kept is None or removed is None:
        return f"{title}: {area}."
    p_kept, p_removed = number(own, "p_kept"), number(own, "p_removed")
    chance = "" if p_kept is None or p_removed is None else (
        f" (p = {p_kept:.3g} and {p_removed:.3g} against {own.get('random_sets')} random sets)")  # fmt: skip
    return (
        f"{title} (n = {facts.get('n')}): the circuit of {size} heads keeps {captions.number(kept)}, without it "
        f"{captions.number(removed)} is left{chance}; {area}."
    )


def _curve_table(title: str, known: Mapping[str, Mapping[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for task, facts in known.items():
        lines = zip(*(numbers(facts, name) for name in ("sizes", "kept", "removed", "removed_direct")), strict=True)
        rows += [(task, int(size), *values) for size, *values in lines]
    columns = (Column("task"), Column("k", "heads"), Column("kept", "f", 4), Column("removed", "f", 4),
               Column("removed, by direct effect", "f", 4))  # fmt: skip
    return Table("circuits/faithfulness", title, columns, tuple(rows))
