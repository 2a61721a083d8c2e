"""Heads on natural text: direct and total change of the loss, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reportgen.figures import captions
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import pair
from reportgen.scores import SuiteResult
from reportgen.suites.circuits import figures_reuse
from reportgen.suites.circuits.facts import number, part
from reportgen.suites.circuits.sentences import best_of

TASK = "natural_text"


def figure(result: SuiteResult, view: View) -> Figure | None:
    """Direct beside total, estimates marked as such; None where either was not measured."""
    facts = part(result.facts, TASK)
    total, direct = result.get("text_loss", TASK), result.get("text_loss_direct", TASK)
    if total is None or direct is None:
        return None
    reach = figures_reuse.reach(direct, total)
    direct = replace(direct, label="Loss, direct (nats per token)", range=reach)
    total = replace(total, label="Loss, total (nats per token)", range=reach)
    ablated = str(facts.get("ablated", "mean-ablated"))
    sets = captions.choose(view, "induction", tasks=("attention/",), papers=())
    name = captions.model_name(view)
    return Figure(
        id="circuits-text_loss",
        suite=result.suite,
        title=f"{name}: loss on natural text when a head is {ablated}",
        caption=captions.join(
            f"Change of loss (nats/token) with one head of {captions.grid_words(view)} {ablated}: direct left, "
            f"total right (n = {total.n} windows).",
            captions.beats_null(total) if total.p is not None else "",
            best_of(direct, total),
            captions.synthetic(view),
        ),
        alt=f"Two layer by head maps of {name}: direct and total change of the loss on text.",
        chart=pair((direct, sets, f"{name}: direct"), (total, sets, f"{name}: total"), view),
        data=table([(direct, sets), (total, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            f"Change of the next-token loss on natural text when one head is {ablated}; above zero the head helps.",
            "Left: every other head keeps its output (direct).",
            "Right: everything downstream recomputes (total); where that is less, other heads make up for it.",
            _text(facts),
            captions.estimates(total),
            _check(facts),
            captions.best_head(total, signed=True).replace("Highest:", "On the right, highest:"),
            captions.caveat([direct, total]),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
            *captions.rules(sets),
        ),
    )


def _text(facts: Mapping[str, Any]) -> str:
    loss = number(facts, "loss_nats")
    words = "" if loss is None else f"; loss of the whole model {captions.number(loss)} nats"
    return (
        f"Text: {facts.get('source', 'unknown')}, {facts.get('windows')} windows, {facts.get('tokens')} tokens{words}."
    )


def _check(facts: Mapping[str, Any]) -> str:
    rho, direct = number(facts, "spearman"), number(facts, "spearman_direct")
    if rho is None or direct is None:
        return ""
    where = f"{facts.get('over')} ({facts.get('n_random')} heads)"
    some = facts.get("over") != "all heads"
    poor = " Below 0.8: the order of estimates is not to be read." if some and min(rho, direct) < 0.8 else ""
    return f"Estimate against exact values over {where}: Spearman {rho:.2f} total, {direct:.2f} direct.{poor}"
