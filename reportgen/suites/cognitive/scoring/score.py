"""Heads for cognitive functions: a probe on head outputs, its importance, permuted labels, and an ablation.

Facts: cognitive/facts.py.
`arrays`: importance_own, importance [example layer head] of the selection rows; by_seed [seed function layer head];
    null_own [permutation function] largest |own|; layer_totals [function layer]; confusion [function predicted];
    right [seed test_example]; output_norm [layer head]; alone [test_example layer head function] log-probability of
    the heads' own classifiers; ablation/* (as in ablation.Effects)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.models.selfcheck import require_finite, require_finite_logits
from reportgen.runfolder import resume_key
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.cognitive.scoring import ablation, null, per_head_probe, prompts
from reportgen.suites.cognitive.scoring.dataset import Prepared, prepare
from reportgen.suites.cognitive.scoring.fit import LabelledRows, fit
from reportgen.suites.cognitive.scoring.null import elbow, ranking
from reportgen.suites.cognitive.scoring.probe import make_features
from reportgen.suites.cognitive.scoring.results import result
from reportgen.suites.cognitive.scoring.tables import Scored
from reportgen.suites.cognitive.suite import SUITE, Recipe, Settings
from reportgen.suites.ov import output_norms

if TYPE_CHECKING:
    from reportgen.models.model import Model

INACTIVE = 1e-6  # output norm relative to the median head's, below which a head is inactive
MOST_NEUTRAL = 40  # passages behind the neutral-text loss


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head.

    Raises NotApplicable where the data has no place in this model's vocabulary or context, and where what the model
    computes on it is not finite.
    """
    require_finite_logits(model)
    prepared = prepare(model, settings, settings.recipe(), context.seed, context.progress)
    recipe = prepared.recipe
    z = _features(model, prepared, settings, recipe, context)
    require_finite(model, "head outputs on these questions", z)
    rows = LabelledRows.of(prepared.data)
    norms = output_norms(model, z[torch.from_numpy(rows.at["train"])])
    active = norms > INACTIVE * np.median(norms)
    read = prompts.residual(model, z) if settings.hook == "result" else z.to(model.device)
    found = fit(read, prepared.data, rows, settings, recipe, context.seed, context.progress)
    each = _alone(read, prepared, rows, active, settings, recipe, context)
    effects = _ablation(model, prepared, z, rows, found.by_seed, norms, active, settings, recipe, context)
    require_finite(model, "answers' log-probabilities", effects.intact)
    return result(
        Scored(prepared, rows, found, each, effects, norms, active, settings, recipe, context.seed, _bytes(z)),
        (model.record.n_layers, model.record.n_heads),
    )


def _features(model: Model, prepared: Prepared, settings: Settings, recipe: Recipe, context: Context) -> Tensor:
    """Head outputs [example layer head d_head], from the cache where the same were made before."""
    r = model.record
    shape = (len(prepared.encoded), r.n_layers, r.n_heads, r.d_head)
    reads = [[e.ids, e.sites] for e in prepared.encoded]
    key = resume_key(made="head outputs", version=SUITE.version, model=r.content_hash, dtype=r.dtype, reads=reads)
    kept = prompts.recall(key, shape) if settings.cache else None
    if kept is not None:
        return kept
    z = prompts.head_outputs(model, prepared.encoded, settings.batch, context.progress)
    if settings.cache:
        prompts.remember(key, z)
    return z


def _bytes(z: Tensor) -> int:
    return z[0].numel() * z.element_size()


def _alone(
    read: Tensor,
    prepared: Prepared,
    rows: LabelledRows,
    active: npt.NDArray[np.bool_],
    settings: Settings,
    recipe: Recipe,
    context: Context,
) -> per_head_probe.Alone:
    """A classifier per head, whatever the preset on standardised features."""
    context.progress(0, 1, "heads alone")
    train = torch.from_numpy(rows.at["train"]).to(read.device)
    own = make_features(read, train, standardise=True, layer_mean=False).own.flatten(1, 2)
    return per_head_probe.measure(
        own, rows.labels, rows.at, rows.chains, null.strata_of(prepared.data.rows)[0], len(prepared.data.functions),
        settings.permutations if recipe.null else 0, active.reshape(-1), np.random.default_rng([context.seed, 11]),
    )  # fmt: skip


def _ablation(
    model: Model, prepared: Prepared, z: Tensor, rows: LabelledRows, by_seed: dict[str, Floats], norms: Floats,
    active: npt.NDArray[np.bool_], settings: Settings, recipe: Recipe, context: Context,
) -> ablation.AblationEffects:  # fmt: skip
    """The causal check on the test rows, with heads ranked on the selection rows."""
    published = by_seed["total"].mean(0)  # [function head]
    by = published if recipe.rule == "elbow" else by_seed["own"].mean(0)
    by = np.where(active.reshape(-1), by, np.nan)
    plan = ablation.Plan(
        ranked=[ranking(values) for values in by],
        elbows=[elbow(values) for values in np.where(active.reshape(-1), published, np.nan)],
        rule=recipe.rule,
        how=recipe.ablation,
        scale=recipe.scale,
        size=settings.heads_removed,
        random_sets=settings.random_sets,
        curve_sets=settings.curve_sets,
    )
    test = rows.at["test"]
    passages = dict.fromkeys(prepared.data.rows[i].question for i in test)
    start = "Text: " if recipe.prompt == "plain" else ""  # as the prompt shows them
    texts = [model.tokens.prompt_ids(start + text)[: model.record.n_ctx] for text in passages if text][:MOST_NEUTRAL]
    tick: Callable[[int, int, str], None] = context.progress
    return ablation.effects(
        model, [prepared.gold[i] for i in test], rows.labels[test], [rows.chains[i] for i in test],
        [ids for ids in texts if len(ids) > 1], z[torch.from_numpy(rows.at["train"])], norms, active, plan,
        np.random.default_rng([context.seed, 8]), settings.batch, tick,
    )  # fmt: skip
