"""Which heads' total effects are computed exactly, and how well attribution ranks them.

Up to `exact_heads` heads every one is exact. Above, attribution ranks; the circuit's heads and the top ones by
attribution, by direct effect and by attention to the answer are verified exactly, and a random sample of the others, on
which the rank correlation of estimate and exact value is taken. The others keep their estimate, which is marked as one
and has no interval and no p: whatever selects or names heads takes exact values alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from reportgen.scores import NotComputed
from reportgen.suites.circuits import tables
from reportgen.suites.circuits.attribution import attribution
from reportgen.suites.circuits.circuit import Effects
from reportgen.suites.circuits.runs import Outcome, PerPrompt, Runs, Sample
from reportgen.suites.circuits.totals import passes, total_effects

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
GOOD = 0.8  # rank correlation below which attribution is called poor


@dataclass(frozen=True, eq=False)
class Choice:
    """Heads [layer head] to compute exactly, and those of them that were drawn at random (all, where all are exact)."""

    exact: Bools
    random: Bools


def choose(
    shape: tuple[int, ...],
    rankings: Sequence[Floats],
    limit: int,
    verified: int,
    sampled: int,
    rng: np.random.Generator,
    always: Bools | None = None,
) -> Choice:
    """All heads of a model of at most `limit`; else the first `verified` of each ranking, `sampled` random ones, and
    those wanted `always`."""
    everyone = np.ones(shape, bool)
    if everyone.size <= limit:
        return Choice(everyone, everyone)
    exact, random = np.zeros(everyone.size, bool), np.zeros(everyone.size, bool)
    if always is not None:
        exact |= always.ravel()
    for ranking in rankings:
        exact[np.argsort(-np.abs(ranking).ravel(), kind="stable")[:verified]] = True
    random[rng.choice(everyone.size, size=min(sampled, everyone.size), replace=False)] = True
    return Choice((exact | random).reshape(shape), random.reshape(shape))


def rank_correlation(estimate: Floats, exact: Floats, over: Bools) -> float | None:
    """Spearman's rho over these heads; None where either does not vary."""
    a, b = estimate[over], exact[over]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)


def totals(out: Outcome, runs: Runs, rankings: Sequence[Floats], circuit: Bools) -> Effects:
    """Total effects and their estimates: scores, arrays, facts. Those of the `circuit` [layer head] are all exact.

    Returns the exact ones (noising), NaN for heads that were only estimated.
    """
    task, settings = runs.task, runs.settings
    of = runs.sample(settings.patch_prompts)
    prompts = runs.batches(of)
    estimate, steps = attribution(prompts), 1
    chosen = choose(
        runs.shape, [estimate.mean(0), *rankings], settings.exact_heads, settings.verified, settings.sampled, runs.rng,
        circuit,
    )  # fmt: skip
    found = total_effects(prompts, chosen.exact, denoising=settings.denoising, progress=runs.context.progress)
    exact = found.noising.mean(0)
    rho = one_step = rank_correlation(estimate.mean(0), exact, chosen.random)
    if rho is not None and rho < GOOD and settings.attribution_steps > 1:
        better = attribution(prompts, settings.attribution_steps)
        again = rank_correlation(better.mean(0), exact, chosen.random)
        if again is not None and again > rho:
            estimate, rho, steps = better, again, settings.attribution_steps
    out.facts["attribution"] = _facts(chosen, rho, steps, passes(chosen.exact, settings.denoising)) | {
        "spearman_one_step": one_step, "n": len(of.rows),
    }  # fmt: skip
    if rho is not None and rho < GOOD:
        out.notes.append(
            f"{task.title}: attribution ranks heads poorly here (Spearman {rho:.2f}); use the exact effects."
        )
    by_attribution = runs.summarise(estimate, of)
    exact_ones = _add(out, runs, of, "total", found.noising, by_attribution)
    _estimates(out, runs, of, estimate, by_attribution)
    if found.denoising is None:
        out.not_computed.append(NotComputed(f"denoising effects of {task.title}", "switched off (circuits.denoising)"))
        return exact_ones
    back = attribution(prompts, steps, denoising=True)
    out.facts["attribution_denoising"] = {
        "spearman": rank_correlation(back.mean(0), found.denoising.mean(0), chosen.random)
    }
    _add(out, runs, of, "total_denoising", found.denoising, runs.summarise(back, of))
    return exact_ones


def _facts(chosen: Choice, rho: float | None, steps: int, exact_passes: int) -> dict[str, object]:
    return {
        "spearman": rho,
        "over": "all heads" if chosen.random.all() else "a random sample of heads",
        "n_heads": int(chosen.random.sum()),
        "n_exact": int(chosen.exact.sum()),
        "steps": steps,
        "poor": rho is not None and rho < GOOD,
        "exact_passes": exact_passes,
    }


def _estimates(out: Outcome, runs: Runs, of: Sample, each: PerPrompt, effects: Effects) -> None:
    """Attribution as a measure of its own, for all heads."""
    why = "an estimate of the total effect, which has one"
    out.scores += tables.head_scores(runs.task, "attribution", effects, len(of.rows), no_null=why)
    out.effects["attribution"] = effects.value
    out.arrays[f"{runs.task.name}/attribution"] = runs.evidence(each, of)


def _add(out: Outcome, runs: Runs, of: Sample, measure: str, each: PerPrompt, estimate: Effects) -> Effects:
    """Exact effects [prompt layer head], NaN where they were not computed, with the estimates of those heads."""
    effects = runs.summarise(each, of)
    out.scores += tables.head_scores(runs.task, measure, effects, len(of.rows), estimate=estimate)
    out.effects[measure] = effects.value
    out.arrays[f"{runs.task.name}/{measure}"] = runs.evidence(each, of)
    return effects
