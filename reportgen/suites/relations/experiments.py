"""What the relation suite adds to the static scores: prompts, ablations, salient tokens. Each part can be left out.

Static scores come first and every part reads them; a part adds pieces to the result and never changes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from reportgen.models.past import check_cache
from reportgen.scores import HeadScores, NotComputed, SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.relations.ablation import AblationOptions, ablation
from reportgen.suites.relations.data import Kept
from reportgen.suites.relations.dynamic import DynamicOptions, dynamic
from reportgen.suites.relations.multi_token import multi_token
from reportgen.suites.relations.salient import salient
from reportgen.suites.relations.suite import RelationsSettings

if TYPE_CHECKING:
    from reportgen.models.model import Model, Weights
    from reportgen.suites.relations.score import Job

STREAMED = "not computed: streamed weights have no forward pass"


def experiments(job: Job, lists: Sequence[Kept], result: SuiteResult, context: Context) -> SuiteResult:
    """`result` with the experiments that the settings ask for; without a forward pass, what it lacks and why."""
    s = job.settings
    result = _salient(job.weights, s, result, context) if s.salient_tokens else result
    wanted = {"dynamic scores": bool(s.sentences), "multi-token sources": s.multi_token, "ablation curves": s.ablation}
    if hasattr(job.weights, "run"):
        return _prompted(cast("Model", job.weights), job, lists, result, context)
    left_out = tuple(NotComputed(what, STREAMED) for what, on in wanted.items() if on)
    return replace(result, not_computed=result.not_computed + left_out)


def _by_stem(result: SuiteResult, measure: str) -> dict[str, HeadScores]:
    return {scores.task: scores for scores in result.scores if scores.measure == measure}


def _prompted(model: Model, job: Job, lists: Sequence[Kept], result: SuiteResult, context: Context) -> SuiteResult:
    """The parts that run prompts."""
    s, cached = job.settings, check_cache(model)
    static, suppression = _by_stem(result, "score"), _by_stem(result, "suppression")
    if s.sentences:
        options = DynamicOptions(
            s.sentences, s.min_pairs, s.dynamic_pairs, s.draws, s.as_printed, s.memory_mib, s.chunk
        )
        pieces = dynamic(
            model, job.kept, job.ks, static, suppression, options,
            cached=cached, seed=job.seed, progress=context.progress,
        )  # fmt: skip
        result = pieces.onto(result)
    if s.multi_token:
        pieces = multi_token(
            model, [k.relation for k in lists], job.ks, static, suppression,
            cached=cached, min_pairs=s.min_pairs, in_text=s.multi_token_in_text, draws=s.draws,
            paper=s.as_printed, memory_mib=s.memory_mib, chunk=s.chunk, seed=job.seed,
            progress=context.progress,
        )  # fmt: skip
        result = pieces.onto(result)
    if s.ablation:
        plan = AblationOptions(s.removal, s.ablation_random, s.ablation_p_sets, s.ablation_prompts)
        pieces = ablation(
            model, job.kept, static, plan, cached=cached, seed=job.seed, progress=context.progress
        )  # fmt: skip
        result = pieces.onto(result)
    return result


def _salient(weights: Weights, s: RelationsSettings, result: SuiteResult, context: Context) -> SuiteResult:
    """The most salient tokens of every active head; weights alone."""
    scored = next(iter(_by_stem(result, "score").values())).values  # [layer head], NaN where inactive
    pieces = salient(
        weights, n_tokens=s.salient_tokens, n_outputs=s.salient_outputs, rare=s.salient_rare, first_mlp=s.first_mlp,
        active=np.isfinite(scored), chunk=s.chunk, progress=context.progress,
    )  # fmt: skip
    return pieces.onto(result)
