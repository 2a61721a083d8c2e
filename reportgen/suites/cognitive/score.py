"""Heads for cognitive functions: a probe on head outputs, its importance, permuted labels, and an ablation.

`facts` of the result (label = a function as the data names it, slug = its task name):
    data           {set, why, rows, chains, counts {label: {split: n}}, stray {label: n}, test_questions_in_train,
                   texts_with_two_labels, labels_that_look_alike, mean_step, answer_words, answer_shapes, too_long,
                   without_answer, unparsable, tried, prompt_why}
    functions      {slug: label}, in the order of the figures
    preset, unconfirmed, context, answers, tokens, k, site, hook, prompt, chat_template, standardise, layer_mean, rule,
    ablation_how
    tokens_averaged {label: mean number of answer tokens};  whole_answers: rows whose policy found no token of its own
    generated      {right: share, n} where answers are generated, else None
    probe          {proj, hidden, steps, batch, learning_rate, optimiser, seeds, early_stopped, validation_loss_nats}
    accuracy       {value, sd, low, high, n, chance, selection, balanced, p, without_layer_mean} on the test rows
    baselines      {name: {words, accuracy, low, high, balanced}};  best_baseline: name
    margin         {value, low, high, p, above}: probe minus best baseline, paired by row, resampled by chain
    recall         {label: {value, low, high, n}}
    null           {permutations, seeds_each, seeds, steps, alpha, strata, line_own, line_total, accuracy, elbow}
                   or {why}
    elbow          {label: heads} by the published rule on |importance|;  elbow_own: the same on the own part
    elbow_noise    {mean, low, high, draws}: what the elbow keeps of pure noise
    significant    {label: heads beyond the line} (own part)
    agreement      {label: {spearman, jaccard}} between seeds;  top: K of the Jaccard index
    shares         {own, layer, bias}: parts of the sum of sizes;  norm_correlation: Spearman of |own| with output norm
    without_layer_mean  {spearman}: own part with and without the layer mean
    ablation       {how, scale, size, right_only, cached, sets {label: heads}, functions {label: FunctionEffect},
                   contrast, low, high, p, sizes, random_sets, curve_sets, layer_fallbacks, norm_fallbacks, draws,
                   neutral_loss_nats {intact, label}, other {how, contrast, low, high, p}}
    alone          {penalty, best {label: head}, beyond {label: heads with p <= alpha} or None}: each head alone
    features_bytes memory per example
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

from reportgen.runfolder import resume_key
from reportgen.scores import SuiteResult
from reportgen.suites import finite
from reportgen.suites.base import Context
from reportgen.suites.cognitive import ablation, alone, baselines, features
from reportgen.suites.cognitive.fit import Rows, fit
from reportgen.suites.cognitive.heads import elbow, ranking
from reportgen.suites.cognitive.prepare import Prepared, prepare
from reportgen.suites.cognitive.probe import make_features
from reportgen.suites.cognitive.recipe import Recipe
from reportgen.suites.cognitive.results import result
from reportgen.suites.cognitive.scored import Scored
from reportgen.suites.cognitive.suite import SUITE, Settings

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float64]
INACTIVE = 1e-6  # output norm relative to the median head's, below which a head is inactive
MOST_NEUTRAL = 40  # passages behind the neutral-text loss


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head.

    Raises NotApplicable where the data has no place in this model's vocabulary or context, and where what the model
    computes on it is not finite.
    """
    finite.require_logits(model)
    prepared = prepare(model, settings, settings.recipe(), context.seed, context.progress)
    recipe = prepared.recipe
    z = _features(model, prepared, settings, recipe, context)
    finite.require(model, "head outputs on these questions", z)
    rows = Rows.of(prepared.data)
    norms = output_norms(model, z[torch.from_numpy(rows.at["train"])])
    active = norms > INACTIVE * np.median(norms)
    read = features.residual(model, z) if settings.hook == "result" else z.to(model.device)
    found = fit(read, prepared.data, rows, settings, recipe, context.seed, context.progress)
    each = _alone(read, prepared, rows, active, settings, recipe, context)
    effects = _ablation(model, prepared, z, rows, found.by_seed, norms, active, settings, recipe, context)
    finite.require(model, "answers' log-probabilities", effects.intact)
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
    kept = features.recall(key, shape) if settings.cache else None
    if kept is not None:
        return kept
    z = features.head_outputs(model, prepared.encoded, settings.batch, context.progress)
    if settings.cache:
        features.remember(key, z)
    return z


def _bytes(z: Tensor) -> int:
    return z[0].numel() * z.element_size()


def output_norms(model: Model, z: Tensor) -> Floats:
    """Root mean square over rows of ||(z - mean z) W_O|| per head [layer head]; z [row layer head d_head]."""
    norms = []
    for layer in range(z.shape[1]):
        at = z[:, layer].to(model.device).float()
        out = torch.einsum("rhe,hed->rhd", at - at.mean(0), model.W_O(layer))
        norms.append(out.square().sum(-1).mean(0).sqrt())
    return np.asarray(torch.stack(norms).cpu().double().numpy())


def _alone(
    read: Tensor, prepared: Prepared, rows: Rows, active: npt.NDArray[np.bool_], settings: Settings, recipe: Recipe,
    context: Context,
) -> alone.Alone:  # fmt: skip
    """A classifier per head, whatever the preset on standardised features."""
    context.progress(0, 1, "heads alone")
    train = torch.from_numpy(rows.at["train"]).to(read.device)
    own = make_features(read, train, standardise=True, layer_mean=False).own.flatten(1, 2)
    return alone.measure(
        own, rows.labels, rows.at, rows.chains, baselines.strata(prepared.data.rows)[0], len(prepared.data.functions),
        settings.permutations if recipe.null else 0, active.reshape(-1), np.random.default_rng([context.seed, 11]),
    )  # fmt: skip


def _ablation(
    model: Model, prepared: Prepared, z: Tensor, rows: Rows, by_seed: dict[str, Floats], norms: Floats,
    active: npt.NDArray[np.bool_], settings: Settings, recipe: Recipe, context: Context,
) -> ablation.Effects:  # fmt: skip
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
