"""The circuit of a prompt in a dense model and in its sparse partner.

`facts` of the result (None in place of a number that does not exist):
    sparse_model, gate {rule, bias, slack_nats}, start (token before every prompt)
    text {name, sequences, length, is_text}
    loss_nats {dense, sparse, sparse_sampled, gates_off, thresholded}, limit_nats,
    excess_nats [mean, low, high]    (with text)
    edges_percent, edges_per_token {dense, thresholded, sparse}; dead_heads (below 0.01 edges per token in the sparse)
    on_curve      {dense, sparse} each {loss_nats, edges_percent} on the `curve_sequences` of the threshold curve
    threshold     of the pattern, of the column `thresholded`
    agreement     {kl_nats, top1} each {mean, low, high} on text, per sequence
    prompts       {n, templates, links, on_prompts {kl_nats, same_guess}}
    counts        column -> metric -> {mean, low, high, n, missing};  ratios  column -> count -> the same, over sparse's
    draws, resamples, interval
    drawn         see drawn.py;  made  how the sparse model was made, from its sparsify.json
`arrays`:
    values [column metric prompt], template [prompt]; curves [column prompt size] share of the gap with that many edges
    panels [panel query key] patterns of the drawn heads
    training [line field], thresholds [cut field]
    edges/dense, edges/sparse [sequence layer head] edges per token
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reportgen.errors import NotApplicable
from reportgen.scores import NotComputed, SuiteResult
from reportgen.suites import finite
from reportgen.suites.base import Context
from reportgen.suites.settings import switched_off
from reportgen.suites.sparse import compare, drawn, partner, prompts, tables
from reportgen.suites.sparse.compare import Scope
from reportgen.suites.sparse.edges import Column
from reportgen.suites.sparse.gates import every_edge
from reportgen.suites.sparse.losses import losses
from reportgen.suites.sparse.suite import Settings

if TYPE_CHECKING:
    from reportgen.models.model import Model

LEAST_CONTEXTS = 4


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Compare. Raises NotApplicable where there is no sparse partner, with the next thing to type, and where logits are
    not finite."""
    if not model.can_edit_pattern:
        raise NotApplicable(
            f"Attention edges can't be gated in {model.record.family} models: their scores are hidden.",
            "Name the other suites: --suite NAME.",
        )
    finite.require_logits(model)
    found = partner.find(model, settings, offline=context.offline)
    finite.require_logits(found.model)
    task = prompts.read_task(Path(settings.prompts) if settings.prompts else prompts.BUNDLED)
    groups = prompts.groups(model.tokens, task, settings.per_template, context.seed)
    chosen = drawn.choose(model.tokens, settings, task, groups)
    drawn.check(settings, chosen, model)
    sample = partner.sample(model, settings, groups[0].ids)
    lost = losses(model, found, sample, settings, context)
    columns = [Column("dense", model, every_edge)]
    if lost.rule is not None:
        columns.append(Column("thresholded", model, lost.rule))
    columns.append(Column("sparse", found.model, found.gate))
    scope = Scope(settings.draws if sample.is_text else 0, settings.zeroed, context.seed, settings.exact_heads)
    text = sample.ids if sample.is_text else None
    comparison = compare.compare(columns, groups, text, scope, context.progress)
    one = drawn.measure(columns, chosen, text, scope, settings)
    rng = np.random.default_rng([context.seed, 82])
    means, ratios = compare.summary(comparison, settings.resamples, rng)
    return SuiteResult(
        suite="sparse",
        scores=lost.scores,
        tables=tables.tables(comparison, means, ratios, lost, one, found),
        arrays={**lost.arrays, **tables.arrays(comparison, groups, one, found)},
        facts=tables.facts(comparison, means, ratios, lost, one, found, task, groups, settings),
        notes=_notes(found, settings.exact_heads),
        not_computed=_missing(settings, sample, found),
    )


def _notes(found: partner.Partner, exact_heads: int) -> tuple[str, ...]:
    notes = [
        "The sparse circuit explains the sparse model; how far that is the dense one, KL and equal first guesses say.",
        "Edge attribution is a gradient times an edge, not a causal effect; the counts named causal are patched.",
    ]
    heads = found.model.record.n_layers * found.model.record.n_heads
    if heads > exact_heads:
        notes.append(
            f"heads_90 ranks the {heads:,} heads by their first-order effect and tries numbers a tenth apart: one run "
            f"for each head is made up to {exact_heads:,} heads (sparse.exact_heads)."
        )
    if found.record is None:
        notes.append(f"{found.model.record.id} has no sparsify.json: how it was made is not known.")
    return tuple(notes)


def _missing(settings: Settings, sample: partner.Sample, found: partner.Partner) -> tuple[NotComputed, ...]:
    gone = []
    if not sample.is_text:
        why = "no text that the model reads: give --set sparse.text=FILE"
        gone += [NotComputed(what, why) for what in ("losses", "the thresholded dense model", "edges_90")]
    if found.record is None:
        gone.append(NotComputed("edges over training, dense model trained on", "the sparse model has no sparsify.json"))
    elif found.record.finetuned_nats is None:
        gone.append(NotComputed("dense model trained on for as many steps", "the sparse model was made without it"))
    if not settings.zeroed:
        gone.append(NotComputed("edges_90_zeroed", switched_off("sparse", "zeroed")))
    return tuple(gone)
