"""Head sets: the heads beyond the family-wise line, and those that the ablation removed."""

from __future__ import annotations

import math

import numpy as np

from reportgen.scores import HeadSet, head_name
from reportgen.suites.cognitive.ablation_stats import Verdict
from reportgen.suites.cognitive.scored import Lines, Scored
from reportgen.suites.cognitive.suite import SUITE

AGAIN = "replicated (probe starts)"


def line_sets(found: Scored, names: tuple[str, ...], lines: Lines | None, shape: tuple[int, int]) -> list[HeadSet]:
    """Per function the heads whose own importance is beyond the line; weight: share of starts that agree."""
    if lines is None:
        return []
    own, sets = found.fit.by_seed["own"], []  # [seed function head]
    for c, (name, label) in enumerate(zip(names, found.functions, strict=True)):
        member = (lines.p["own"][c] <= found.settings.alpha).reshape(shape) & found.active
        members = tuple((int(a), int(b)) for a, b in np.argwhere(member))
        again = (np.abs(own[:, c]) > lines.own).mean(0).reshape(shape)
        made = HeadSet(
                key=f"{SUITE.name}/{name}/line", label=f"{label}: beyond the line", heads=members,
                legend="Heads for cognitive functions", source=f"computed: {label} on this model",
                rule=f"|own importance| on held-out rows with family-wise p <= {found.settings.alpha:g} over all heads "
                f"and functions ({found.settings.permutations} permutations of the labels)",
                weights={head_name(*h): float(again[h]) for h in members},
                evidence={"dynamic score": "failed", "causal effect": "not run", AGAIN: "not run"},
        )  # fmt: skip
        if members:
            made = made.judged("dynamic score", dict.fromkeys(members, "passed"))
            made = made.judged(AGAIN, {h: "passed" if again[h] == 1 else "failed" for h in members})
        sets.append(made)
    return sets


def leading_sets(
    found: Scored, names: tuple[str, ...], lines: Lines | None, judged: Verdict, shape: tuple[int, int]
) -> list[HeadSet]:
    """Per function the heads that the ablation removed, with what came of it."""
    alpha, sets = found.settings.alpha, []
    for c, (name, label) in enumerate(zip(names, found.functions, strict=True)):
        flat, effect = found.effects.sets[c], judged.functions[c]
        members = tuple((f // shape[1], f % shape[1]) for f in flat)
        every = [np.abs(found.fit.by_seed["own"][:, c, f]) > lines.own for f in flat] if lines else []
        is_causal = effect.own < 0 and effect.contrast < 0 and effect.p_holm <= alpha and effect.p_random_holm <= alpha
        causal = "not run" if math.isnan(effect.p_random_holm) else "passed" if is_causal else "failed"
        scored = {h: "passed" if v.mean() >= 0.5 else "failed" for h, v in zip(members, every, strict=False)}
        again = {h: "passed" if v.all() else "failed" for h, v in zip(members, every, strict=False)}
        rule = f"the {len(flat)} heads with the largest |own importance| on the selection rows"
        if found.recipe.rule == "elbow":
            rule = f"the {len(flat)} heads before the elbow of |importance| on the selection rows"
        made = HeadSet(
            key=f"{SUITE.name}/{name}/leading", label=f"{label}: leading heads", heads=members,
            legend="Heads for cognitive functions", source=f"computed: {label} on this model", rule=rule,
            evidence={"dynamic score": "not run", "causal effect": causal, AGAIN: "not run"},
        )  # fmt: skip
        sets.append(made.judged("dynamic score", scored).judged(AGAIN, again))
    return sets
