"""Sentences of captions and notes, with numbers computed from the result."""

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
ON_TOP = "Layer 0 is on top."
_NAMES = {"importance_own": "own importance", "importance": "importance as published", "signed": "signed importance"}


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


def count(scores: Sequence[HeadScores]) -> str:
    return captions.plural(len(scores), "function")


def meaning(measure: str) -> str:
    own = "Colour of own importance: the size of the head's own part of importance, |I_own|."
    return own if measure == "importance_own" else "Colour of importance as published: its size, |I|."


def published_note(measure: str) -> str:
    if measure == "importance_own":
        return "Own importance is without what the probe reads from the layer's mean."
    return (
        "Importance as published holds what the probe reads from the layer's mean, which all heads of a layer share, "
        "and the bias: bands along a layer are no finding about its heads."
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


def clipped(scores: Sequence[HeadScores], what: str, *, signed: bool) -> str:
    bar, beyond = shared_bar(scores, signed=signed)
    cells = sum(int(np.isfinite(s.values).sum()) for s in scores)
    end = bar.labels()[-1]
    return (
        f"On the map of {_NAMES[what]}, {captions.plural(beyond, 'cell')} of {cells:,} beyond the bar's end at {end} "
        "take its colour."
        if beyond
        else ""
    )


def dots(scores: Sequence[HeadScores]) -> str:
    """How many cells are beyond the family-wise line."""
    if scores[0].p is None or scores[0].line is None:
        return f"No family-wise line: {scores[0].no_null}."
    return f"Dots: {_beyond(scores)} beyond the family-wise line {captions.number(scores[0].line)}."


def line(facts: Facts, scores: Sequence[HeadScores]) -> str:
    """What the family-wise line is."""
    null = part(facts, "null")
    if scores[0].p is None or scores[0].line is None:
        return ""
    return (
        f"The family-wise line is the largest size over all heads and functions under {null.get('permutations')} "
        f"permutations of the labels within {null.get('strata')}, probes trained for the same number of "
        f"steps{starts_words(null)}."
    )


def alone_dots(scores: Sequence[HeadScores]) -> str:
    if any(s.p is None for s in scores):
        return f"No family-wise test: {scores[0].no_null}."
    return f"Dots: {_beyond(scores)} beat permuted labels (family-wise p \u2264 {ALPHA})."


def alone_null(facts: Facts, scores: Sequence[HeadScores]) -> str:
    null = part(facts, "null")
    if any(s.p is None for s in scores):
        return ""
    return (
        f"Dots of heads alone: beyond {null.get('permutations')} permutations of the test rows' labels within "
        f"{null.get('strata')} (family-wise p \u2264 {ALPHA} over all heads and functions, values standardised by "
        "their own null)."
    )


def _beyond(scores: Sequence[HeadScores]) -> str:
    """`501 of 2,160 cells`."""
    count = sum(int(marks.sum()) for s in scores if (marks := beyond(s)) is not None)
    cells = sum(int(np.isfinite(s.values).sum()) for s in scores)
    return f"{count:,} of {cells:,} cells"


def highest(scores: HeadScores) -> str:
    """`largest L2H7 .98`."""
    if not np.isfinite(scores.values).any():
        return ""
    at = divmod(int(np.nanargmax(scores.values)), scores.values.shape[1])
    return f"largest {head_name(*at)} {float(scores.values[at]):.2f}"


def leading(sizes: Sequence[npt.NDArray[np.float32]], what: str) -> str:
    """The head that is largest for each function."""
    leaders = [divmod(int(np.nanargmax(grid)), grid.shape[1]) for grid in sizes]
    names = ", ".join(head_name(*head) for head in leaders)
    return f"Largest {_NAMES[what]}, function by function: {names}." if names else ""


def largest(result: SuiteResult, scores: Sequence[HeadScores], *, signed: bool = False) -> str:
    """The one head that is largest of all functions' maps, for which function; with `signed` with its sign."""
    found = [(float(np.nanmax(np.abs(s.values))), s) for s in scores if np.isfinite(s.values).any()]
    if not found:
        return ""
    size, of = max(found, key=lambda pair: pair[0])
    head = divmod(int(np.nanargmax(np.abs(of.values))), of.values.shape[1])
    at = captions.number(float(of.values[head]) if signed else size)
    return f"Largest: {head_name(*head)} for {label(result, of.task)}, {at}."


def probe_accuracy(facts: Facts) -> str:
    """Held-out accuracy beside the best baseline, in few words."""
    said = _beside_the_best(facts)
    if said is None:
        return ""
    found, verdict, best = said
    return f"Probe accuracy {_share(found)}, {verdict} the best baseline's {float(best['accuracy']):.2f}."


def _beside_the_best(facts: Facts) -> tuple[Facts, str, Facts] | None:
    """(held-out accuracy, above or NOT above, the best baseline); None where the run does not say them."""
    found, margin = part(facts, "accuracy"), part(facts, "margin")
    best = part(part(facts, "baselines"), str(facts.get("best_baseline")))
    if "value" not in found or "accuracy" not in best:
        return None
    return found, "above" if margin.get("above") else "NOT above", best


def _share(found: Facts) -> str:
    """`0.83 [0.76, 0.89]`."""
    value, low, high = (float(found[name]) for name in ("value", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def accuracy(facts: Facts) -> str:
    said = _beside_the_best(facts)
    if said is None:
        return ""
    found, verdict, best = said
    return (
        f"Held-out accuracy {_share(found)} (n = "
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


def noise_short(facts: Facts) -> str:
    noise = part(facts, "elbow_noise")
    return f" (of pure noise {float(noise['mean']):.1f})" if "mean" in noise else ""


def removed(said: Facts) -> str:
    return f"A removed head's output is {how(said)} at the positions that predict the answer."


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
