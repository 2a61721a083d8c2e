"""Sentences of the sparse suite's captions, each from the result's facts; empty where there is nothing to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportgen.figures import captions

Facts = Mapping[str, Any]
COLUMN_ORDER = ("dense", "thresholded", "sparse")
OURS = "Our own implementation of the idea of Draye et al., arXiv 2512.05865."
NAMES = {
    "edges_90": "edges_90 (others resampled from other text)",
    "edges_90_twin": "edges_90 (others from the corrupted twin)",
    "edges_90_zeroed": "edges_90 (others zeroed)",
    "heads_90": "heads_90",
}


def gate(facts: Facts) -> str:
    """The gate's rule and bias, and the slack."""
    found = facts.get("gate")
    if not isinstance(found, Mapping):
        return ""
    return (
        f"Gate: an edge is open where {found['rule']}, bias {found['bias']:g}, rows not renormalised; "
        f"slack {found['slack_nats']:g} nats. {OURS}"
    )


def edges(facts: Facts) -> str:
    """Share of open edges with the length it holds for, and the losses."""
    text, percent, tokens = facts.get("text"), facts.get("edges_percent"), facts.get("edges_per_token")
    if not (isinstance(text, Mapping) and isinstance(percent, Mapping) and isinstance(tokens, Mapping)):
        return ""
    words = (
        f"On {text['sequences']} sequences of T = {text['length']} tokens ({text['name']}): "
        f"{percent['sparse']:.2f} % of the causal pairs, {tokens['sparse']:.1f} edges per token over all heads"
    )
    if "thresholded" in percent:
        words += f" (thresholded dense {percent['thresholded']:.1f} %, {tokens['thresholded']:.0f})"
    dead = facts.get("dead_heads")
    return f"{words}; {captions.plural(dead, 'head')} below 0.01." if isinstance(dead, int) else f"{words}."


def losses(facts: Facts) -> str:
    """Losses of dense, sparse and controls on the text."""
    nats = facts.get("loss_nats")
    if not isinstance(nats, Mapping):
        return ""
    return (
        f"Loss on held-out text: dense {nats['dense']:.4f}, sparse {nats['sparse']:.4f} nats{_excess(facts)}; "
        f"its gates sampled {nats['sparse_sampled']:.4f}, all open {nats['gates_off']:.4f}."
    )


def at_once(facts: Facts) -> str:
    """The sparse model's edges and loss beside the dense loss, on all sequences, for a caption."""
    nats, percent, text = facts.get("loss_nats"), facts.get("edges_percent"), facts.get("text")
    if not (isinstance(nats, Mapping) and isinstance(percent, Mapping) and isinstance(text, Mapping)):
        return ""
    return (
        f"On all {text['sequences']}: sparse {nats['sparse']:.4f} nats at {percent['sparse']:.2f} % of the edges, "
        f"dense {nats['dense']:.4f}."
    )


def _excess(facts: Facts) -> str:
    """How far the loss is above the dense one, and whether that is within the slack as far as these sequences say."""
    found, gate, text = facts.get("excess_nats"), facts.get("gate"), facts.get("text")
    if not (isinstance(found, list) and isinstance(gate, Mapping) and isinstance(text, Mapping)):
        return ""
    slack, (mean, low, high) = float(gate["slack_nats"]), found
    told = "within" if high <= slack else "above" if low > slack else "too few sequences to tell from"
    return f", {mean:+.4f} [{low:.4f}, {high:.4f}] over n = {text['sequences']}, {told} the slack of {slack:g}"


def agreement(facts: Facts) -> str:
    """How far the sparse model is the dense one."""
    found = facts.get("agreement")
    if not isinstance(found, Mapping):
        return ""
    kl, top = found["kl_nats"], found["top1"]
    return (
        f"Agreement with the dense model on text: KL {captions.number(kl['mean'])} nats a token "
        f"[{captions.number(kl['low'])}, {captions.number(kl['high'])}], same first guess "
        f"{captions.percent(top['mean'])} [{captions.percent(top['low'])}, {captions.percent(top['high'])}]."
    )


def count(value: object) -> str:
    """A count as captions print it."""
    return "not reached" if value is None else f"{value:,}"


def _with_interval(mean: Mapping[str, Any]) -> str:
    """The mean of one prompt alone has no interval."""
    words = f"{mean['mean']:.1f}"
    return words if mean["low"] is None else f"{words} [{mean['low']:.1f}, {mean['high']:.1f}]"


def _prompts(facts: Facts) -> str:
    """`42 prompts in 7 templates`, with whose intervals."""
    found = facts["prompts"]
    return f"mean of {found['n']} prompts in {len(found['templates'])} templates [95 % over templates]"


def _one(column: str, mean: Mapping[str, Any] | None) -> str:
    """One column's mean count."""
    if mean is None or mean["mean"] is None:
        return f"{column} not reached"
    some = f" ({mean['missing']} of {mean['n'] + mean['missing']} not reached)" if mean["missing"] else ""
    return f"{column} {_with_interval(mean)}{some}"


def dense_and_sparse(facts: Facts, name: str) -> str:
    """One causal count of the two models, for a caption."""
    table = facts.get("counts")
    if not isinstance(table, Mapping):
        return ""
    parts = [_one(column, table[column].get(name)) for column in ("dense", "sparse") if column in table]
    return f"{name}: {', '.join(parts)}."


def fewer(facts: Facts, name: str) -> str:
    """How many times the sparse model's count goes into the dense one's, over all prompts."""
    ratios = facts.get("ratios")
    found = ratios.get("dense", {}).get(name) if isinstance(ratios, Mapping) else None
    if found is None or found["mean"] is None:
        return ""
    return f"Dense / sparse over n = {found['n']} prompts: {_with_interval(found)}."


def counts(facts: Facts, name: str) -> str:
    """One causal count over all prompts, column by column, with the ratios to the sparse model."""
    table, ratios = facts.get("counts"), facts.get("ratios")
    if not isinstance(table, Mapping) or not isinstance(ratios, Mapping):
        return ""
    parts = [_one(column, table[column].get(name)) for column in COLUMN_ORDER if column in table]
    over = [
        f"{column} / sparse {_with_interval(found[name])}"
        for column, found in sorted(ratios.items())
        if found.get(name, {}).get("mean") is not None
    ]
    return f"{NAMES.get(name, name)}, {_prompts(facts)}: {'; '.join([*parts, *over])}."
