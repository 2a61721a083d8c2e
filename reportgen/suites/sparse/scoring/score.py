"""The circuit of a prompt in a dense model and in its sparse partner.

Facts: sparse/facts.py.
`arrays`:
    values [column metric prompt], template [prompt]; curves [column prompt size] share of the gap with that many edges
    panels [panel query key] patterns of the drawn heads
    training [line field], thresholds [cut field]
    edges/dense, edges/sparse [sequence layer head] edges per token
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reportgen.errors import NotApplicable
from reportgen.models.selfcheck import require_finite_logits
from reportgen.scores import Cell, Column, NamedArray, NotComputed, SuiteResult, Table
from reportgen.suites.base import Context
from reportgen.suites.facts import encoded
from reportgen.suites.settings import switched_off
from reportgen.suites.sparse.facts import GateFacts, Made, MeanFacts, PromptFacts, Record, SparseFacts
from reportgen.suites.sparse.scoring import checkpoint, compare, prompts
from reportgen.suites.sparse.scoring.checkpoint import Partner
from reportgen.suites.sparse.scoring.compare import COUNTS, PER_PROMPT, Comparison, ExamplePrompt, Mean, Scope
from reportgen.suites.sparse.scoring.edges import ENOUGH, LINK_SHARE, ModelColumn
from reportgen.suites.sparse.scoring.gates import every_edge
from reportgen.suites.sparse.scoring.losses import TextLosses, losses
from reportgen.suites.sparse.scoring.prompts import PromptGroup, start
from reportgen.suites.sparse.suite import BUNDLED, PairTask, Settings, read_task

if TYPE_CHECKING:
    from reportgen.models.model import Model


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Compare. Raises NotApplicable where there is no sparse partner, with the next thing to type, and where logits are
    not finite."""
    if not model.can_edit_pattern:
        raise NotApplicable(
            f"Attention edges can't be gated in {model.record.family} models: their scores are hidden.",
            "Name the other suites: --suite NAME.",
        )
    require_finite_logits(model)
    found = checkpoint.find_partner(model, settings, offline=context.offline)
    require_finite_logits(found.model)
    task = read_task(Path(settings.prompts) if settings.prompts else BUNDLED)
    groups = prompts.groups(model.tokens, task, settings.per_template, context.seed)
    chosen = compare.choose_prompt(model.tokens, settings, task, groups)
    compare.check_prompt(settings, chosen, model)
    sample = checkpoint.draw_sample(model, settings, groups[0].ids)
    lost = losses(model, found, sample, settings, context)
    columns = [ModelColumn("dense", model, every_edge)]
    if lost.rule is not None:
        columns.append(ModelColumn("thresholded", model, lost.rule))
    columns.append(ModelColumn("sparse", found.model, found.gate))
    scope = Scope(settings.draws if sample.is_text else 0, settings.zeroed, context.seed, settings.exact_heads)
    text = sample.ids if sample.is_text else None
    comparison = compare.compare(columns, groups, text, scope, context.progress)
    one = compare.measure_prompt(columns, chosen, text, scope, settings)
    rng = np.random.default_rng([context.seed, 82])
    means, ratios = compare.summary(comparison, settings.resamples, rng)
    return SuiteResult(
        suite="sparse",
        scores=lost.scores,
        tables=all_tables(comparison, means, ratios, lost, one, found),
        arrays={**lost.arrays, **all_arrays(comparison, groups, one, found)},
        facts=encoded(all_facts(comparison, means, ratios, lost, one, found, task, groups, settings)),
        notes=_notes(found, settings.exact_heads),
        not_computed=_missing(settings, sample, found),
    )


def _notes(found: checkpoint.Partner, exact_heads: int) -> tuple[str, ...]:
    notes = [
        "The sparse circuit explains the sparse model; KL and equal top predictions say how close that is to dense.",
        "Edge attribution is a gradient times an edge, not a causal effect; the counts called causal use patching.",
    ]
    heads = found.model.record.n_layers * found.model.record.n_heads
    if heads > exact_heads:
        notes.append(
            f"heads_90 ranks the {heads:,} heads by first-order effect and tries counts a tenth apart: one run "
            f"per head is made only up to {exact_heads:,} heads (sparse.exact_heads)."
        )
    if found.record is None:
        notes.append(f"{found.model.record.id} has no sparsify.json: how it was made is not known.")
    return tuple(notes)


def _missing(settings: Settings, sample: checkpoint.TextSample, found: checkpoint.Partner) -> tuple[NotComputed, ...]:
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


Means = Mapping[str, Mapping[str, Mean]]
LINES = ("step", "loss_hard_nats", "loss_sampled_nats", "edges_percent", "edges_per_token", "weight")  # fmt: skip
TITLES = {
    "m": "logit(answer) − logit(foil)",
    "p_answer": "p(answer)",
    "solved": "share solved (answer is the top prediction)",
    "h80": "H80: heads with 80 % of the link's edge attribution",
    "n90": "N90: edges with 90 % of all edge attribution",
    "nonzero": "non-zero edges",
    "edges_90": "edges_90: kept edges with 90 % of the gap, others resampled from other text (causal)",
    "edges_90_twin": "edges_90, others resampled from the corrupted twin (causal)",
    "edges_90_zeroed": "edges_90, others zeroed (causal)",
    "heads_90": "heads_90: kept heads with 90 % of the gap, others corrupted (causal)",
}
_CAUSAL_NAMES = ("edges_90", "edges_90_twin", "edges_90_zeroed", "heads_90")


def all_tables(
    comparison: Comparison, means: Means, ratios: Means, lost: TextLosses, one: ExamplePrompt, found: Partner
) -> tuple[Table, ...]:
    """Counts over prompts, the drawn prompt, losses (with text)."""
    made = [_counts(comparison, means, ratios), _drawn(comparison.columns, one)]
    if lost.facts.loss_nats is not None:
        made.append(_losses(lost.facts, lost.facts.loss_nats, found))
    return tuple(made)


def _words(mean: Mean, digits: int = 2) -> str:
    """`3.25 [2.90, 3.61]`, with how many prompts have no value."""
    if mean.n == 0:
        return "not reached" if mean.missing else "none"
    text = f"{mean.mean:.{digits}f}"
    if not np.isnan(mean.low):  # one prompt alone has no interval
        text += f" [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"
    return f"{text}, {mean.missing} without" if mean.missing else text


def _counts(comparison: Comparison, means: Means, ratios: Means) -> Table:
    others = comparison.columns[:-1]
    rows: list[tuple[Cell, ...]] = []
    for metric in PER_PROMPT:
        if all(means[column][metric].n == 0 for column in comparison.columns) and metric not in _CAUSAL_NAMES:
            continue
        if all(np.isnan(comparison.of(column, metric)).all() for column in comparison.columns):
            continue
        cells = [_words(means[column][metric]) for column in comparison.columns]
        shares = [_words(ratios[column][metric], 1) if metric in COUNTS else "" for column in others]
        rows.append((TITLES[metric], *cells, *shares))
    prompts = comparison.values.shape[-1]
    return Table(
        key="sparse/counts",
        title=f"Heads and edges over {prompts} prompts",
        columns=(
            Column("count"),
            *(Column(name) for name in comparison.columns),
            *(Column(f"{name} / sparse") for name in others),
        ),
        rows=tuple(rows),
        caption="Means with 95 % intervals over templates (Student's, from a bootstrap of templates, then prompts). "
        "Ratios are of means over prompts that both models solve. 'Without' counts prompts without a value: a gap that "
        "is not positive or a share that is not reached. N90 and non-zero edges largely follow from the gates; the "
        "causal counts are not.",
    )


def _drawn(columns: Sequence[str], one: ExamplePrompt) -> Table:
    facts = one.facts
    names = [n for n in ("m", "p_answer", *COUNTS) if any(facts.columns[column].has(n) for column in columns)]
    rows: list[tuple[Cell, ...]] = [
        (TITLES[name], *(_cell(getattr(facts.columns[column], name), name) for column in columns)) for name in names
    ]
    return Table(
        key="sparse/drawn",
        title="The drawn prompt",
        columns=(Column("count"), *(Column(name) for name in columns)),
        rows=tuple(rows),
        caption=f"{facts.words} → {facts.answer}; link from position {facts.key} to {facts.query}.",
    )


def _cell(value: object, name: str) -> Cell:
    if value is None or value is msgspec.UNSET:
        return "not reached" if name in _CAUSAL_NAMES else None
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _losses(facts: SparseFacts, nats: Mapping[str, float], found: Partner) -> Table:
    percent, tokens = facts.edges_percent or {}, facts.edges_per_token or {}
    words = {
        "dense": "dense",
        "thresholded": f"dense, pattern cut at {facts.threshold:.4g}, no training",
        "sparse": "sparse, hard gates",
        "sparse_sampled": "sparse, sampled gates",
        "gates_off": "sparse weights with all gates open (another model)",
    }
    rows: list[tuple[Cell, ...]] = [
        (text, nats[name], percent.get(name), tokens.get(name)) for name, text in words.items() if name in nats
    ]
    record = found.record
    caption = ""
    if record is not None:
        caption = (
            f"When the sparse model was made: dense {record.dense_nats:.4f}, sparse {record.sparse_hard_nats:.4f} nats "
            f"on sequences of {record.length} tokens"
        )
        if record.finetuned_nats is not None:
            caption += (
                f"; the dense model trained for the same {record.steps:,} further steps: {record.finetuned_nats:.4f}"
            )
        caption += f".{_further(record)}"
    columns = (
        Column("model"),
        Column("loss", "nats", 4),
        Column("edges", "% of causal pairs", 3),
        Column("edges per token", "", 2),
    )
    return Table("sparse/losses", "Loss and open edges on held-out text", columns, tuple(rows), caption)


def _further(record: Record) -> str:
    """What a second text said when the model was made."""
    found = record.further
    if found is None:
        return ""
    mean, low, high = found.excess_nats
    return (
        f" On {found.sequences} sequences of {found.text}: dense {found.dense_nats:.4f}, sparse "
        f"{found.sparse_hard_nats:.4f} nats ({mean:+.4f} [{low:.4f}, {high:.4f}]), {found.edges_percent:.2f} % of the "
        "edges."
    )


def all_arrays(
    comparison: Comparison, groups: Sequence[PromptGroup], one: ExamplePrompt, found: Partner
) -> dict[str, NamedArray]:
    """What rendering may need again: per-prompt values, curves, patterns, the training log."""
    columns, templates = comparison.columns, tuple(group.template for group in groups)
    made = {
        "values": NamedArray(("column", "metric", "prompt"), comparison.values.astype(np.float32),
                             {"column": columns, "metric": PER_PROMPT}),
        "curves": NamedArray(("column", "prompt", "size"), comparison.curves.astype(np.float32),
                             {"column": columns, "size": tuple(str(size) for size in comparison.sizes)}),
        "template": NamedArray(("prompt",), comparison.templates.astype(np.int32),
                               {"prompt": tuple(templates[i] for i in comparison.templates)}),
        "panels": NamedArray(("panel", "query", "key"), one.panels, {"panel": one.of}),
    }  # fmt: skip
    if found.record is not None and found.record.log:
        rows = [[float(getattr(line, name)) for name in LINES] for line in found.record.log]
        made["training"] = NamedArray(("line", "field"), np.array(rows), {"field": LINES})
    return made


def all_facts(
    comparison: Comparison,
    means: Means,
    ratios: Means,
    lost: TextLosses,
    one: ExamplePrompt,
    found: Partner,
    task: PairTask,
    groups: Sequence[PromptGroup],
    settings: Settings,
) -> SparseFacts:
    """What the text said, and everything else."""
    tokens, made = found.model.tokens, lost.facts
    made.sparse_model = found.model.record.id
    made.gate = GateFacts(rule=found.gate.rule, bias=found.gate.bias, slack_nats=found.gate.slack_nats)
    made.start = "".join(tokens.text(i) for i in start(tokens))
    made.prompts = PromptFacts(
        task=task.title,
        n=int(comparison.values.shape[-1]),
        templates=[group.template for group in groups],
        lengths=[int(group.ids.shape[1]) for group in groups],
        links=list(comparison.links),
        kl_nats=float(comparison.kl.mean()),
        same_guess=float(comparison.same.mean()),
    )
    made.counts, made.ratios = (
        {column: {name: MeanFacts(**vars(mean)) for name, mean in of.items()} for column, of in each.items()}
        for each in (means, ratios)
    )
    made.enough, made.link_share, made.draws, made.resamples = ENOUGH, LINK_SHARE, settings.draws, settings.resamples
    made.interval = (
        "95 %: Student's quantile for the number of templates times the spread of a bootstrap, templates first, then "
        "prompts within them"
    )
    made.drawn, made.made = one.facts, _made(found)
    return made


def _made(found: Partner) -> Made | None:
    record = found.record
    if record is None:
        return None
    return msgspec.convert({**msgspec.to_builtins(record), "seed": record.settings.get("seed")}, Made)
