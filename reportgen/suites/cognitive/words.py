"""Sentences of the captions, with numbers computed from the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.figures import captions
from reportgen.figures.head_maps import shared_bar
from reportgen.scores import HeadScores, SuiteResult, head_name
from reportgen.suites.cognitive.heads import starts_words

Facts = Mapping[str, Any]
ALPHA = 0.05


def label(result: SuiteResult, task: str) -> str:
    return str(part(result.facts, "functions").get(task, task))


def beyond(scores: HeadScores) -> npt.NDArray[np.bool_] | None:
    return None if scores.p is None else np.nan_to_num(scores.p, nan=1.0) <= ALPHA


def subtitle(facts: Facts, label: str) -> str:
    """`recall .93 [.70, .99], n = 15`."""
    recall = part(part(facts, "recall"), label)
    if "value" not in recall:
        return ""
    value, low, high = (f"{float(recall[key]):.2f}" for key in ("value", "low", "high"))
    return f"recall {value} [{low}, {high}], n = {recall['n']}"


def part(facts: Facts, name: str) -> Facts:
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def n(scores: Sequence[HeadScores]) -> str:
    low, high = min(s.n for s in scores), max(s.n for s in scores)
    return str(low) if low == high else f"{low} to {high}"


def published_note(measure: str) -> str:
    if measure == "importance_own":
        return "What the probe reads from the layer's mean is not in it."
    return (
        "It holds what the probe reads from the layer's mean, which all heads of a layer share, and the bias: bands "
        "along a layer are no finding about its heads."
    )


def probe(facts: Facts) -> str:
    """What was trained on what."""
    made, data = part(facts, "probe"), part(facts, "data")
    if not {"proj", "hidden", "steps"} <= set(made) or "rows" not in data:
        return ""
    answers = "given" if facts.get("answers") == "given" else "generated"
    return (
        f"Probe: {made['proj']} projections shared by all heads, {made['hidden']} hidden units, {made['steps']} steps, "
        f"on the head outputs that predict the {answers} answers of {data['rows']} sub-questions ({data['set']})."
    )


def clipped(scores: Sequence[HeadScores], *, signed: bool) -> str:
    bar, beyond = shared_bar(scores, signed=signed)
    cells = sum(int(np.isfinite(s.values).sum()) for s in scores)
    end = bar.labels()[-1]
    return (
        f"{captions.plural(beyond, 'cell')} of {cells:,} beyond the bar's end at {end} take its colour."
        if beyond
        else ""
    )


def dots(facts: Facts, scores: Sequence[HeadScores]) -> str:
    null = part(facts, "null")
    if scores[0].p is None or scores[0].line is None:
        return f"No family-wise line: {scores[0].no_null}."
    count = sum(int((np.nan_to_num(s.p, nan=1.0) <= ALPHA).sum()) for s in scores if s.p is not None)
    cells = sum(int(np.isfinite(s.values).sum()) for s in scores)
    return (
        f"Dots: {count:,} of {cells:,} cells beyond the family-wise line {captions.number(scores[0].line)} (the "
        f"largest size over all heads and functions under {null.get('permutations')} permutations of the labels within "
        f"{null.get('strata')}, probes trained for the same number of steps{starts_words(null)})."
    )


def alone_dots(facts: Facts, scores: Sequence[HeadScores]) -> str:
    null = part(facts, "null")
    if any(s.p is None for s in scores):
        return f"No family-wise test: {scores[0].no_null}."
    count = sum(int(marks.sum()) for s in scores if (marks := beyond(s)) is not None)
    cells = sum(int(np.isfinite(s.values).sum()) for s in scores)
    return (
        f"Dots: {count:,} of {cells:,} cells beyond {null.get('permutations')} permutations of the test rows' labels "
        f"within {null.get('strata')} (family-wise p \u2264 {ALPHA} over all heads and functions, values standardised "
        "by their own null)."
    )


def highest(scores: HeadScores) -> str:
    """`largest L2H7 .98`."""
    if not np.isfinite(scores.values).any():
        return ""
    at = divmod(int(np.nanargmax(scores.values)), scores.values.shape[1])
    return f"largest {head_name(*at)} {float(scores.values[at]):.2f}"


def leading(sizes: Sequence[npt.NDArray[np.float32]]) -> str:
    """The head that is largest for most functions, and how many heads lead anywhere."""
    leaders = [divmod(int(np.nanargmax(grid)), grid.shape[1]) for grid in sizes]
    names = dict.fromkeys(head_name(*head) for head in leaders)
    return f"Largest, function by function: {', '.join(head_name(*head) for head in leaders)}." if names else ""


def accuracy(facts: Facts) -> str:
    found, margin = part(facts, "accuracy"), part(facts, "margin")
    best = part(part(facts, "baselines"), str(facts.get("best_baseline")))
    if "value" not in found or "accuracy" not in best:
        return ""
    verdict = "above" if margin.get("above") else "NOT above"
    return (
        f"Held-out accuracy {float(found['value']):.2f} [{float(found['low']):.2f}, {float(found['high']):.2f}] (n = "
        f"{found['n']}, chance {float(found['chance']):.3f}), {verdict} the best surface baseline "
        f"({best['words']}, {float(best['accuracy']):.2f})."
    )


def causal(facts: Facts) -> str:
    """Whether removing a function's heads hurts its own questions more, in one sentence."""
    said = part(facts, "ablation")
    if not isinstance(said.get("p"), float) or not isinstance(said.get("contrast"), float):
        return ""
    hurts = said["p"] <= ALPHA and said["contrast"] < 0
    verb = "hurts its own questions more" if hurts else "does NOT hurt its own questions more"
    return (
        f"Removing a function's leading heads {verb} than removing other functions' heads "
        f"({signed_number(said['contrast'])} nats of the answer's log-probability, p = {p(said['p'])})."
    )


def noise(facts: Facts) -> str:
    noise, null = part(facts, "elbow_noise"), part(facts, "null")
    if "mean" not in noise:
        return ""
    drawn = f"; of permuted labels {float(null['elbow']):.1f}" if "elbow" in null else ""
    return (
        f"Of pure noise the elbow keeps {float(noise['mean']):.1f} heads on average (5 to 95 %: "
        f"{float(noise['low']):.0f} to {float(noise['high']):.0f}){drawn}: it is no evidence of sparsity."
    )


def how(said: Facts) -> str:
    return "replaced by its mean" if said.get("how") == "mean" else f"scaled by {said.get('scale')}"


def sets_words(said: Facts) -> str:
    sets, size = part(said, "sets"), said.get("size")
    if isinstance(size, int):
        return f"{captions.plural(size, 'head')} per function, the largest in own importance on the selection split."
    counts = [len(heads) for heads in sets.values()]
    return f"Heads before the elbow of |I| ({min(counts)} to {max(counts)} per function)." if counts else ""


def specific(functions: Facts) -> str:
    """How many functions lose more from their own heads than from others', after Holm."""
    found = [f for f in functions.values() if isinstance(f, Mapping) and isinstance(f.get("p_holm"), float)]
    hurt = [f for f in found if f["p_holm"] <= ALPHA and f["contrast"] < 0]
    return f"{len(hurt)} of {len(found)} functions lose more from their own heads (p ≤ {ALPHA}, Holm)." if found else ""


def signed_number(value: object) -> str:
    return (
        f"{round(float(value), 3) + 0.0:+.3f}".replace("-", "\u2212")
        if isinstance(value, int | float)
        else "not computed"
    )


def p(value: object) -> str:
    return f"{float(value):.2g}" if isinstance(value, int | float) else "not computed"
