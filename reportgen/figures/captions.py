"""Sentences of captions, each computed from the data it describes; empty if it does not apply."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from reportgen.figures.figure import View
from reportgen.figures.markers import role, styled, words_of
from reportgen.figures.overlays import UNCONFIRMED
from reportgen.published import short_citation
from reportgen.scores import HeadScores, HeadSet, head_name
from reportgen.stats import reaches

SIGNIFICANT = 0.05
_PRINTED = {  # how papers print these models' names
    "gpt2": "GPT-2", "gpt2-medium": "GPT-2 medium", "gpt2-large": "GPT-2 large", "gpt2-xl": "GPT-2 xl",
    "microsoft/phi-2": "Phi-2", "eleutherai/pythia-6.9b": "Pythia 6.9B", "eleutherai/pythia-12b": "Pythia 12B",
    "meta-llama/llama-3.1-8b": "Llama-3.1 8B", "meta-llama/llama-3.1-70b": "Llama-3.1 70B",
}  # fmt: skip


def model_name(view: View) -> str:
    """The model's printed name: its title, else the papers' name of its hub id, else its id."""
    plain = view.model.hub_id.lower().removeprefix("openai-community/")
    return view.model.title or _PRINTED.get(plain, view.model.id)


def grid_words(view: View) -> str:
    """`GPT-2 (12 layers × 12 heads)`."""
    model = view.model
    grouped = "" if model.n_kv_heads == model.n_heads else f", {model.n_kv_heads} key-value heads per layer"
    weights = f"; weights {model.dequantised}" if model.quantisation else ""
    return f"{model_name(view)} ({model.n_layers} layers × {model.n_heads} heads{grouped}{weights})"


def join(*sentences: str) -> str:
    """The non-empty sentences as one paragraph."""
    return " ".join(sentence for sentence in sentences if sentence)


def notes(*sentences: str) -> tuple[str, ...]:
    """The sentences that say something, each once, for a figure's notes."""
    return tuple(dict.fromkeys(sentence for sentence in sentences if sentence))


def number(value: float) -> str:
    """Three decimals, or three significant digits below half a thousandth and from a million; a true minus sign."""
    text = f"{value + 0.0:.3f}" if value == 0 or 5e-4 <= abs(value) < 1e6 else f"{value:.2e}"
    return text.replace("-", "\u2212")


def percent(share: float) -> str:
    """`93 %`, one decimal below ten per cent where it says more."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text if share < 0.1 else f'{100 * share:.0f}'} %"


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def at_least(scores: HeadScores, tau: float) -> int:
    """Heads with a score of `tau` or more, counted in whole hits where the score is a share of n: 6 of 40 is 0.15."""
    values = scores.values[scores.exact].astype(float)
    hits = np.rint(values * scores.n)
    if scores.n > 0 and np.allclose(hits / scores.n, values, atol=1e-5):
        return int(reaches(hits, scores.n, tau).sum())
    return int((values >= tau).sum())


def beats_null(scores: HeadScores) -> str:
    """How many heads are beyond the null, by the adjusted p or the line; why there is none where there is none."""
    total = int(scores.exact.sum())
    if scores.p is not None:
        count = int((np.nan_to_num(scores.p, nan=1.0) <= SIGNIFICANT).sum())
        verb = "beats" if count == 1 else "beat"
        return f"{count} of {plural(total, 'head')} {verb} the null (family-wise p ≤ {SIGNIFICANT})."
    if scores.line is not None:
        count = int((np.nan_to_num(scores.exact_values, nan=-math.inf) > scores.line).sum())
        return f"{count} of {plural(total, 'head')} are above the family-wise line {number(scores.line)}."
    return f"No null line: {scores.no_null}."


def best_head(scores: HeadScores, signed: bool = False) -> str:
    """The highest head with its interval; with `signed` also the lowest, where it is below zero."""
    order = scores.ranking()
    if not order:
        return ""
    if scores.values[order[0]] == scores.values[order[-1]]:
        return f"Every head scores {number(float(scores.values[order[0]]))}."
    words = _one(scores, order[0])
    if signed and float(scores.values[order[-1]]) < 0:
        words += f"; lowest: {_one(scores, order[-1])}"
    return f"Highest: {words}."


def caveat(scores: Sequence[HeadScores]) -> str:
    """That intervals of selected heads are too narrow: at face value the best of many is biased upwards."""
    if not any(s.low is not None for s in scores):
        return ""
    heads = max(int(s.exact.sum()) for s in scores)
    return f"Brackets: 95 % intervals, not corrected for selecting the extreme of {plural(heads, 'head')}."


def _one(scores: HeadScores, head: tuple[int, int]) -> str:
    words = f"{head_name(*head)} at {number(float(scores.values[head]))}"
    if scores.low is not None and scores.high is not None and np.isfinite(scores.low[head]):
        words += f" [{number(float(scores.low[head]))}, {number(float(scores.high[head]))}]"
    return words


def missing(scores: HeadScores) -> str:
    """How many heads have no value, and why, by reason."""
    reasons: dict[str, int] = {}
    for layer, head in np.argwhere(np.isnan(scores.values)):
        reason = re.sub(r"\s+", " ", scores.reason(int(layer), int(head))).rstrip(".")
        reasons[reason] = reasons.get(reason, 0) + 1
    if not reasons:
        return ""
    count = sum(reasons.values())
    words = "; ".join(f"{why} ({n})" if len(reasons) > 1 else why for why, n in reasons.items())
    return f"Grey, struck through: {plural(count, 'head')} not computed ({words})."


def estimates(scores: HeadScores) -> str:
    """How many values are exact and how many estimates, and how the map tells them apart."""
    if scores.estimated is None:
        return ""
    return (
        f"Filled corner: exact ({plural(int(scores.exact.sum()), 'head')}). The other {int(scores.estimated.sum())} "
        f"are estimated by {scores.estimator}, have neither interval nor p, and are not counted or named here."
    )


def markers(sets: Sequence[HeadSet], shape: tuple[int, int]) -> str:
    """The meaning and source of each marker; heads outside the grid are named."""
    shown = [s for s in styled(sets) if any(layer < shape[0] and head < shape[1] for layer, head in s.heads)]
    words = [f"{words_of(s)}, {_who(s)}" for s in shown]
    outside = sorted({head_name(*h) for s in sets for h in s.heads if h[0] >= shape[0] or h[1] >= shape[1]})
    sentence = f"Marked: {'; '.join(words)}." if words else ""
    return join(sentence, f"Outside this grid, not drawn: {', '.join(outside)}." if outside else "")


def rules(sets: Sequence[HeadSet]) -> tuple[str, ...]:
    """How a head gets into each computed set that is marked, a sentence each."""
    return tuple(f"{s.label}: {s.rule.rstrip('.')}." for s in sets if s.kind == "computed" and s.heads and s.rule)


def _who(head_set: HeadSet) -> str:
    doubt = "" if head_set.verified else f", {UNCONFIRMED}"
    source = short_citation(head_set.source) if head_set.kind == "published" else head_set.source
    return f"{head_set.label} ({source}{doubt})"


def agreement(sets: Sequence[HeadSet]) -> str:
    """For each role that has a published and a computed set: how many of the published heads were found here too."""
    words = []
    for published in (s for s in sets if s.kind == "published"):
        for computed in (s for s in sets if s.kind == "computed" and role(s) and role(s) == role(published)):
            both, all_ = len(set(published.heads) & set(computed.heads)), len(published.heads)
            words.append(f"{published.label}: {both} of {all_} agree with the {len(computed.heads)} computed here")
    return f"{'; '.join(words)}." if words else ""


def choose(view: View, *roles: str, tasks: Sequence[str] = (), papers: Sequence[str] | None = None) -> list[HeadSet]:
    """The sets that a map of these roles draws: published, then computed, by role; then the user's, which go on all.

    tasks   computed sets whose key starts with one of these, e.g. "my_suite/words/"
    papers  citation keys whose published sets may be drawn; None = any
    """
    chosen = [s for s in view.sets("published/") if role(s) in roles and (papers is None or s.source in papers)]
    chosen += [s for s in view.sets("optional/") if role(s) in roles and role(s) == "backup_negative"]
    chosen += [s for s in view.overlays if s.kind == "computed" and role(s) in roles and s.key.startswith(tuple(tasks))]
    chosen.sort(key=lambda s: (s.kind == "computed", roles.index(role(s))))
    return [s for s in chosen if s.heads] + [s for s in view.overlays if s.kind == "user"]


def synthetic(view: View) -> str:
    """The sentence that marks made-up numbers."""
    if not (view.synthetic or view.model.synthetic):
        return ""
    return "SYNTHETIC: made-up numbers or untrained weights."
