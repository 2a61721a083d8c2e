"""Sentences of the sparse suite's captions, each from the result's facts; empty where there is nothing to say."""

from __future__ import annotations

from reportgen.figures import captions
from reportgen.suites.sparse.facts import MeanFacts, SparseFacts

COLUMN_ORDER = ("dense", "thresholded", "sparse")
OURS = "Own implementation, after Draye et al., arXiv 2512.05865."
NAMES = {
    "edges_90": "edges_90 (others resampled from other text)",
    "edges_90_twin": "edges_90 (others from the corrupted twin)",
    "edges_90_zeroed": "edges_90 (others zeroed)",
    "heads_90": "heads_90",
}


def gate(facts: SparseFacts) -> str:
    """The gate's rule and bias, and the slack."""
    found = facts.gate
    if found is None:
        return ""
    return (
        f"Gate: an edge is open where {found.rule}, bias {found.bias:g}, rows not renormalised; "
        f"slack {found.slack_nats:g} nats. {OURS}"
    )


def edges(facts: SparseFacts) -> str:
    """Share of open edges with the length it holds for, and the losses."""
    text, percent, tokens = facts.text, facts.edges_percent, facts.edges_per_token
    if text is None or percent is None or tokens is None:
        return ""
    words = (
        f"On {text.sequences} sequences of T = {text.length} tokens ({text.name}): "
        f"{percent['sparse']:.2f} % of the causal pairs, {tokens['sparse']:.1f} edges per token over all heads"
    )
    if "thresholded" in percent:
        words += f" (thresholded dense {percent['thresholded']:.1f} %, {tokens['thresholded']:.0f})"
    dead = facts.dead_heads
    return f"{words}." if dead is None else f"{words}; {captions.plural(dead, 'head')} below 0.01."


def losses(facts: SparseFacts) -> str:
    """Losses of dense, sparse and controls on the text."""
    nats = facts.loss_nats
    if nats is None:
        return ""
    return (
        f"Loss on held-out text: dense {nats['dense']:.4f}, sparse {nats['sparse']:.4f} nats{_excess(facts)}; "
        f"its gates sampled {nats['sparse_sampled']:.4f}, all open {nats['gates_off']:.4f}."
    )


def at_once(facts: SparseFacts) -> str:
    """The sparse model's edges and loss beside the dense loss, on all sequences, for a caption."""
    nats, percent, text = facts.loss_nats, facts.edges_percent, facts.text
    if nats is None or percent is None or text is None:
        return ""
    return (
        f"On all {text.sequences}: sparse {nats['sparse']:.4f} nats at {percent['sparse']:.2f} % of the edges, "
        f"dense {nats['dense']:.4f}."
    )


def _excess(facts: SparseFacts) -> str:
    """How far the loss is above the dense one, and whether that is within the slack as far as these sequences say."""
    if facts.excess_nats is None or facts.gate is None or facts.text is None:
        return ""
    slack, (mean, low, high) = facts.gate.slack_nats, facts.excess_nats
    told = "within" if high <= slack else "above" if low > slack else "too few sequences to tell from"
    return f", {mean:+.4f} [{low:.4f}, {high:.4f}] over n = {facts.text.sequences}, {told} the slack of {slack:g}"


def agreement(facts: SparseFacts) -> str:
    """How far the sparse model is the dense one."""
    if facts.agreement is None:
        return ""
    kl, top = facts.agreement.kl_nats, facts.agreement.top1
    return (
        f"Agreement with the dense model on text: KL {captions.number(kl.mean)} nats a token "
        f"[{captions.number(kl.low)}, {captions.number(kl.high)}], same first guess "
        f"{captions.percent(top.mean)} [{captions.percent(top.low)}, {captions.percent(top.high)}]."
    )


def count(value: int | None) -> str:
    """A count as captions print it."""
    return "not reached" if value is None else f"{value:,}"


def _with_interval(mean: MeanFacts) -> str:
    """The mean of one prompt alone has no interval."""
    words = f"{mean.mean:.1f}"
    return words if mean.low is None else f"{words} [{mean.low:.1f}, {mean.high:.1f}]"


def _one(column: str, mean: MeanFacts | None) -> str:
    """One column's mean count."""
    if mean is None or mean.mean is None:
        return f"{column} not reached"
    some = f" ({mean.missing} of {mean.n + mean.missing} not reached)" if mean.missing else ""
    return f"{column} {_with_interval(mean)}{some}"


def dense_and_sparse(facts: SparseFacts, name: str) -> str:
    """One causal count of the two models, for a caption."""
    if facts.counts is None:
        return ""
    parts = [_one(column, facts.counts[column].get(name)) for column in ("dense", "sparse") if column in facts.counts]
    return f"{name}: {', '.join(parts)}."


def fewer(facts: SparseFacts, name: str) -> str:
    """How many times the sparse model's count goes into the dense one's, over all prompts."""
    found = (facts.ratios or {}).get("dense", {}).get(name)
    if found is None or found.mean is None:
        return ""
    return f"Dense / sparse over n = {found.n} prompts: {_with_interval(found)}."


def counts(facts: SparseFacts, name: str) -> str:
    """One causal count over all prompts, column by column, with the ratios to the sparse model."""
    table, ratios, prompts = facts.counts, facts.ratios, facts.prompts
    if table is None or ratios is None or prompts is None:
        return ""
    parts = [_one(column, table[column].get(name)) for column in COLUMN_ORDER if column in table]
    over = [
        f"{column} / sparse {_with_interval(found[name])}"
        for column, found in sorted(ratios.items())
        if name in found and found[name].mean is not None
    ]
    of = f"mean of {prompts.n} prompts in {len(prompts.templates)} templates [95 % over templates]"
    return f"{NAMES.get(name, name)}, {of}: {'; '.join([*parts, *over])}."
