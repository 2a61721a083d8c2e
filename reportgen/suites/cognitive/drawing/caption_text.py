"""Sentences of captions and notes, with numbers computed from the result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reportgen.figures import captions
from reportgen.figures.head_maps import shared_bar
from reportgen.scores import HeadScores, head_name
from reportgen.suites.cognitive.facts import (
    AblationFacts,
    AccuracyFacts,
    BaselineFacts,
    CognitiveFacts,
    FunctionEffect,
    NullFacts,
)

ALPHA = 0.05
ON_TOP = "Layer 0 is on top."
_NAMES = {"importance_own": "own importance", "importance": "importance as published", "signed": "signed importance"}


def beyond(scores: HeadScores) -> npt.NDArray[np.bool_] | None:
    return None if scores.p is None else np.nan_to_num(scores.p, nan=1.0) <= ALPHA


def subtitle(facts: CognitiveFacts, label: str) -> str:
    """`recall .93 [.70, .99], n = 15`."""
    recall = facts.recall.get(label)
    if recall is None or recall.value is None or recall.low is None or recall.high is None:
        return ""
    return f"recall {recall.value:.2f} [{recall.low:.2f}, {recall.high:.2f}], n = {recall.n}"


def n(scores: Sequence[HeadScores]) -> str:
    low, high = min(s.n for s in scores), max(s.n for s in scores)
    return str(low) if low == high else f"{low} to {high}"


def count(scores: Sequence[HeadScores]) -> str:
    return captions.plural(len(scores), "function")


def meaning(measure: str) -> str:
    own = "Colour of own importance: the absolute value of the head's own part of importance, |I_own|."
    return own if measure == "importance_own" else "Colour of importance as published: its absolute value, |I|."


def published_note(measure: str) -> str:
    if measure == "importance_own":
        return "Own importance excludes what the probe reads from the layer's mean."
    return (
        "Importance as published includes what the probe reads from the layer's mean, shared by all heads of a layer, "
        "and the bias: bands along a layer are not findings about its heads."
    )


def probe(facts: CognitiveFacts) -> str:
    """What was trained on what."""
    made, data = facts.probe, facts.data
    if made is None or data is None:
        return ""
    answers = "given" if facts.answers == "given" else "generated"
    return (
        f"Probe: {made.proj} projections shared by all heads, {made.hidden} hidden units, {made.steps} steps, "
        f"on the head outputs that predict the {answers} answers of {data.rows} sub-questions ({data.set})."
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


def line(facts: CognitiveFacts, scores: Sequence[HeadScores]) -> str:
    """What the family-wise line is."""
    null = facts.null or NullFacts()
    if scores[0].p is None or scores[0].line is None:
        return ""
    return (
        f"The family-wise line is the largest size over all heads and functions under {null.permutations} "
        f"permutations of the labels within {null.strata}, probes trained for the same number of steps{null.starts}."
    )


def alone_dots(scores: Sequence[HeadScores]) -> str:
    if any(s.p is None for s in scores):
        return f"No family-wise test: {scores[0].no_null}."
    return f"Dots: {_beyond(scores)} beat permuted labels (family-wise p \u2264 {ALPHA})."


def alone_null(facts: CognitiveFacts, scores: Sequence[HeadScores]) -> str:
    null = facts.null or NullFacts()
    if any(s.p is None for s in scores):
        return ""
    return (
        f"Dots of heads alone: beyond {null.permutations} permutations of the test rows' labels within "
        f"{null.strata} (family-wise p \u2264 {ALPHA} over all heads and functions, values standardised by "
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


def largest(facts: CognitiveFacts, scores: Sequence[HeadScores], *, signed: bool = False) -> str:
    """The one head that is largest of all functions' maps, for which function; with `signed` with its sign."""
    found = [(float(np.nanmax(np.abs(s.values))), s) for s in scores if np.isfinite(s.values).any()]
    if not found:
        return ""
    size, of = max(found, key=lambda pair: pair[0])
    head = divmod(int(np.nanargmax(np.abs(of.values))), of.values.shape[1])
    at = captions.number(float(of.values[head]) if signed else size)
    return f"Largest: {head_name(*head)} for {facts.label(of.task)}, {at}."


def probe_accuracy(facts: CognitiveFacts) -> str:
    """Held-out accuracy beside the best baseline, in few words."""
    said = _beside_the_best(facts)
    if said is None:
        return ""
    found, verdict, best = said
    return f"Probe accuracy {_share(found)}, {verdict} the best baseline's {best.accuracy:.2f}."


def _beside_the_best(facts: CognitiveFacts) -> tuple[AccuracyFacts, str, BaselineFacts] | None:
    """(held-out accuracy, above or NOT above, the best baseline); None where the run does not say them."""
    best = facts.baselines.get(facts.best_baseline)
    if facts.accuracy is None or best is None:
        return None
    return facts.accuracy, "above" if facts.margin is not None and facts.margin.above else "NOT above", best


def _share(found: AccuracyFacts) -> str:
    """`0.83 [0.76, 0.89]`."""
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def accuracy(facts: CognitiveFacts) -> str:
    said = _beside_the_best(facts)
    if said is None:
        return ""
    found, verdict, best = said
    return (
        f"Held-out accuracy {_share(found)} (n = "
        f"{found.n}, chance {found.chance:.3f}), {verdict} the best surface baseline "
        f"({best.words}, {best.accuracy:.2f})."
    )


def causal(facts: CognitiveFacts) -> str:
    """Whether removing a function's heads hurts its own questions more, in one sentence."""
    said = facts.ablation
    if said is None or said.p is None or said.contrast is None:
        return ""
    hurts = said.p <= ALPHA and said.contrast < 0
    verb = "hurts its own questions more" if hurts else "does NOT hurt its own questions more"
    return (
        f"Removing a function's leading heads {verb} than removing other functions' heads "
        f"({signed_number(said.contrast)} nats of the answer's log-probability, p = {p(said.p)})."
    )


def noise(facts: CognitiveFacts) -> str:
    noise, null = facts.elbow_noise, facts.null
    if noise is None:
        return ""
    drawn = "" if null is None or null.elbow is None else f"; of permuted labels {null.elbow:.1f}"
    return (
        f"Of pure noise the elbow keeps {noise.mean:.1f} heads on average (5 to 95 %: "
        f"{noise.low:.0f} to {noise.high:.0f}){drawn}: it is no evidence of sparsity."
    )


def noise_short(facts: CognitiveFacts) -> str:
    return "" if facts.elbow_noise is None else f" (of pure noise {facts.elbow_noise.mean:.1f})"


def removed(said: AblationFacts) -> str:
    return f"A removed head's output is {said.way} at the positions that predict the answer."


def sets_words(said: AblationFacts) -> str:
    if said.size is not None:
        return (
            f"{captions.plural(said.size, 'head')} per function, the largest in own importance on the selection split."
        )
    counts = [len(heads) for heads in said.sets.values()]
    return f"Heads before the elbow of |I| ({min(counts)} to {max(counts)} per function)." if counts else ""


def specific(functions: Mapping[str, FunctionEffect]) -> str:
    """How many functions lose more from their own heads than from others', after Holm."""
    found = [f for f in functions.values() if not math.isnan(f.p_holm)]
    hurt = [f for f in found if f.p_holm <= ALPHA and f.contrast < 0]
    return f"{len(hurt)} of {len(found)} functions lose more from their own heads (p ≤ {ALPHA}, Holm)." if found else ""


def signed_number(value: float | None) -> str:
    return "not computed" if value is None else f"{round(value, 3) + 0.0:+.3f}".replace("-", "\u2212")


def p(value: float | None) -> str:
    return "not computed" if value is None else f"{value:.2g}"
