"""Named sets of heads, with the rule by which a head got in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadScores, HeadSet, head_name
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.scoring import papers
from reportgen.suites.retrieval.scoring.measures import Ratio
from reportgen.suites.retrieval.suite import TASK, Settings

LEGEND = "Computed on this model (retrieval)"
SOURCE = "computed: facts in documents on this model"
SHORT = "computed: short sequences on this model"
# set -> (measure, legend entry, setting of the threshold, what is thresholded)
SETS = {
    "retrieval_heads": ("copy", "Retrieval Heads", "threshold", "share of right answer tokens copied from the fact"),
    "concept_copiers": (
        "concept",
        "Concept Copiers",
        "copier_threshold",
        "attention to the end of an entity beyond random tokens",
    ),
    "token_copiers": (
        "token",
        "Token Copiers",
        "copier_threshold",
        "attention to the token that followed the same tokens before",
    ),
    "pointing_heads": ("point", "Pointing Heads", "point_threshold", "attention from question to fact beyond others"),
}


def head_sets(
    scores: Sequence[HeadScores], ratios: Mapping[str, Ratio], halves: Mapping[str, npt.NDArray[np.bool_]],
    settings: Settings, told: RetrievalFacts,
) -> tuple[HeadSet, ...]:  # fmt: skip
    """Retrieval and pointing heads, copiers of concepts and tokens; a set may be empty.

    ratios  of measures;  halves  measure -> [document or example] of which half it is
    told    holds what the removal of the highest heads did
    """
    by_name = {s.measure: s for s in scores}
    sets = []
    for name, (measure, label, limit, what) in SETS.items():
        found = by_name.get(measure)
        of_paper = measure in papers.measures(settings.preset)
        if found is None or (found.p is None and not of_paper) or not np.isfinite(found.values).any():
            continue
        least = float(getattr(settings, limit))
        rule = f"{what} >= {least:g}, family-wise adjusted p <= {settings.alpha:g}"
        if found.p is not None:
            member = np.nan_to_num(found.values, nan=-np.inf) >= least
            member &= np.nan_to_num(found.p, nan=1.0) <= settings.alpha
        elif settings.preset == "feucht":
            continue  # the paper has no rule
        else:
            member, rule = papers.member(settings.preset, found.values)
            least = min((float(x) for x in found.values[member]), default=least)
        heads: tuple[Head, ...] = tuple((layer, head) for layer, head in np.argwhere(member).tolist())
        weights = _stability(ratios[measure], halves[measure], heads, least)
        evidence = {
            "static score": "not run", "dynamic score": "passed" if heads else "failed", "natural text": "not run",
        }  # fmt: skip
        own = {rung: {head_name(*head): outcome for head in heads} for rung, outcome in evidence.items()}
        key = f"retrieval/{found.task}/{name}"
        source = SOURCE if found.task == TASK else SHORT
        made = HeadSet(
            key, label, heads, LEGEND, source, rule, weights=weights, evidence=evidence, by_head=own, score=found.key
        )
        again = {head: "passed" if weights[head_name(*head)] == 1 else "failed" for head in heads}
        made = made.judged(f"replicated (other {'facts' if found.task == TASK else 'examples'})", again)
        moved = by_name.get(f"{measure}_effect")
        if moved is not None and moved.p is not None:
            sets.append(made.judged("causal effect", {head: patched(moved, head, settings.alpha) for head in heads}))
            continue
        outcome = causal(told, len(heads)) if measure == "copy" and heads else "not run"
        sets.append(replace(made, evidence={**made.evidence, "causal effect": outcome}))
    return tuple(sets)


def causal(told: RetrievalFacts, count: int) -> str:
    """Whether the removal of the highest heads, as many as are nearest to the set's size, lowers log p of the answers
    beyond random sets (interval above 0, and no random set as low) while the same facts said again are still found:
    recall there falls by less than half as much."""
    compared = [one for one in told.ablated if one.by == "copy" and one.random]
    if not compared:
        return "not run"
    one = min(compared, key=lambda each: abs(each.heads - count))
    lowest = one.p <= 1 / (len(one.random) + 1) + 1e-9
    fell, near = told.whole_recall - one.recall, told.whole_near - one.near
    return "passed" if one.low > 0 and lowest and fell > 0 and near < fell / 2 else "failed"


def patched(scores: HeadScores, head: Head, alpha: float) -> str:
    """Whether the head alone, patched, copies: beyond the null, and beyond every head drawn at random."""
    value, band = float(scores.values[head]), max((c.value for c in scores.controls), default=-np.inf)
    if scores.p is None or not np.isfinite(value):
        return "not run"
    return "passed" if scores.p[head] <= alpha and value > band else "failed"


def _stability(
    of: Ratio, halves: npt.NDArray[np.bool_], heads: Sequence[Head], least: float
) -> dict[str, float]:  # fmt: skip
    """Head name -> share of the two halves of the documents, which share no thing, in which it keeps the threshold."""
    values = np.stack([of.of(some).value for some in (halves, ~halves)])  # [half layer head]
    return {head_name(*h): float((np.nan_to_num(values[:, h[0], h[1]], nan=-1.0) >= least).mean()) for h in heads}
