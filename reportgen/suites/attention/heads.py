"""Named head sets from attention scores, with the rule by which a head got in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadScores, HeadSet, head_name
from reportgen.suites.attention.suite import TASK, Settings

Floats = npt.NDArray[np.float32]
LEGEND = "Computed on this model (repeated tokens)"

# set -> (measure, legend entry, where the mass lies)
_SETS = {
    "induction_heads": ("induction", "Induction Heads", "the token after the earlier copy"),
    "previous_token_heads": ("previous_token", "Previous-Token Heads", "the previous token"),
    "duplicate_token_heads": ("duplicate_token", "Duplicate-Token Heads", "the earlier copy of the token"),
}


def head_sets(
    scores: Sequence[HeadScores],
    per_sequence: Mapping[str, Floats],
    which: npt.NDArray[np.int64],
    copying: Floats,
    settings: Settings,
) -> tuple[HeadSet, ...]:
    """Induction, previous-token and duplicate-token heads; a set may be empty."""
    by_name = {s.measure: s for s in scores}
    sets = []
    for name, (measure, label, where) in _SETS.items():
        found = by_name[measure]
        assert found.p is not None
        member = (found.values >= settings.threshold) & (found.p <= settings.alpha)
        rule = (
            f"mean attention to {where} >= {settings.threshold:g} on repeated random tokens, family-wise adjusted "
            f"p <= {settings.alpha:g}"
        )
        if measure == "induction":
            member &= copying >= settings.copy_threshold
            rule += (
                f", and OV copying share >= {settings.copy_threshold:g} (share of sampled words whose own logit the "
                "head raises above that of every other sampled word)"
            )
        heads: tuple[Head, ...] = tuple((layer, head) for layer, head in np.argwhere(member).tolist())
        weights = _stability(per_sequence[measure], which, heads, settings.threshold)
        evidence = {
            "static score": "passed" if measure == "induction" and heads else "not run",
            "dynamic score": "passed" if heads else "failed",
            "causal effect": "not run",
            "natural text": "not run",
        }
        key = f"attention/{TASK}/{name}"
        source = "computed: repeated random tokens on this model"
        own = {rung: {head_name(*head): outcome for head in heads} for rung, outcome in evidence.items()}
        made = HeadSet(key, label, heads, LEGEND, source, rule, weights=weights, evidence=evidence, by_head=own)
        again = {head: "passed" if weights[head_name(*head)] == 1 else "failed" for head in heads}
        sets.append(made.judged("replicated (block lengths)", again))
    return tuple(sets)


def _stability(
    values: Floats, which: npt.NDArray[np.int64], heads: Sequence[Head], threshold: float
) -> dict[str, float]:
    """Head name -> share of block lengths on which the head alone keeps the threshold."""
    by_lag = np.stack([values[which == index].mean(0) for index in np.unique(which)])  # [lag layer head]
    return {head_name(*lh): float((by_lag[:, lh[0], lh[1]] >= threshold).mean()) for lh in heads}
