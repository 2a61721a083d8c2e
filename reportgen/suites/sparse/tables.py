"""Tables, arrays and facts of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from reportgen.scores import Cell, Column, NamedArray, Table
from reportgen.suites.sparse.compare import COUNTS, PER_PROMPT, Comparison, Mean
from reportgen.suites.sparse.drawn import Drawn
from reportgen.suites.sparse.edges import ENOUGH, LINK_SHARE
from reportgen.suites.sparse.losses import Losses
from reportgen.suites.sparse.partner import Partner
from reportgen.suites.sparse.prompts import Group, Task, start
from reportgen.suites.sparse.record import Record
from reportgen.suites.sparse.suite import Settings

Means = Mapping[str, Mapping[str, Mean]]
LINES = ("step", "loss_hard_nats", "loss_sampled_nats", "edges_percent", "edges_per_token", "weight")  # fmt: skip
TITLES = {
    "m": "logit(answer) − logit(foil)",
    "p_answer": "p(answer)",
    "solved": "share solved (answer is the first guess)",
    "h80": "H80: heads with 80 % of the link's edge attribution",
    "n90": "N90: edges with 90 % of all edge attribution",
    "nonzero": "non-zero edges",
    "edges_90": "edges_90: kept edges with 90 % of the gap, others resampled from other text (causal)",
    "edges_90_twin": "edges_90, others resampled from the corrupted twin (causal)",
    "edges_90_zeroed": "edges_90, others zeroed (causal)",
    "heads_90": "heads_90: kept heads with 90 % of the gap, others corrupted (causal)",
}
_CAUSAL_NAMES = ("edges_90", "edges_90_twin", "edges_90_zeroed", "heads_90")


def tables(
    comparison: Comparison, means: Means, ratios: Means, lost: Losses, one: Drawn, found: Partner
) -> tuple[Table, ...]:
    """Counts over prompts, the drawn prompt, losses (with text)."""
    made = [_counts(comparison, means, ratios), _drawn(comparison.columns, one)]
    if "loss_nats" in lost.facts:
        made.append(_losses(lost, found))
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
        "is not positive or a share that is not reached. N90 and non-zero edges are nearly forced by the gates; the "
        "causal counts are not.",
    )


def _drawn(columns: Sequence[str], one: Drawn) -> Table:
    facts = one.facts["columns"]
    assert isinstance(facts, Mapping)
    rows: list[tuple[Cell, ...]] = []
    for name in ("m", "p_answer", *COUNTS):
        if any(name in facts[column] for column in columns):
            cells = [_cell(facts[column].get(name), name) for column in columns]
            rows.append((TITLES[name], *cells))
    words = "".join(str(token) for token in one.facts["tokens"]) if isinstance(one.facts["tokens"], list) else ""
    return Table(
        key="sparse/drawn",
        title="The drawn prompt",
        columns=(Column("count"), *(Column(name) for name in columns)),
        rows=tuple(rows),
        caption=f"{words} → {one.facts['answer']}; link from position {one.facts['key']} to {one.facts['query']}.",
    )


def _cell(value: object, name: str) -> Cell:
    if value is None:
        return "not reached" if name in _CAUSAL_NAMES else None
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _losses(lost: Losses, found: Partner) -> Table:
    nats, percent, tokens = (lost.facts[name] for name in ("loss_nats", "edges_percent", "edges_per_token"))
    assert isinstance(nats, Mapping)
    assert isinstance(percent, Mapping)
    assert isinstance(tokens, Mapping)
    words = {
        "dense": "dense",
        "thresholded": f"dense, pattern cut at {lost.facts['threshold']:.4g}, no training",
        "sparse": "sparse, hard gates",
        "sparse_sampled": "sparse, sampled gates",
        "gates_off": "sparse weights with all gates open (another model)",
    }
    rows: list[tuple[Cell, ...]] = [
        (text, float(nats[name]), percent.get(name), tokens.get(name)) for name, text in words.items() if name in nats
    ]
    record = found.record
    caption = ""
    if record is not None:
        caption = (
            f"When the sparse model was made: dense {record.dense_nats:.4f}, sparse {record.sparse_hard_nats:.4f} nats "
            f"on sequences of {record.length} tokens"
        )
        if record.finetuned_nats is not None:
            caption += f"; the dense model trained on for the same {record.steps:,} steps: {record.finetuned_nats:.4f}"
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


def arrays(comparison: Comparison, groups: Sequence[Group], one: Drawn, found: Partner) -> dict[str, NamedArray]:
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


def facts(
    comparison: Comparison, means: Means, ratios: Means, lost: Losses, one: Drawn, found: Partner, task: Task,
    groups: Sequence[Group], settings: Settings,
) -> dict[str, object]:  # fmt: skip
    """See score.py."""
    tokens = found.model.tokens
    return {
        "sparse_model": found.model.record.id,
        "gate": found.gate.as_config(),
        "start": "".join(tokens.text(i) for i in start(tokens)),
        **lost.facts,
        "prompts": {
            "task": task.title,
            "n": int(comparison.values.shape[-1]),
            "templates": [group.template for group in groups],
            "lengths": [int(group.ids.shape[1]) for group in groups],
            "links": [list(link) for link in comparison.links],
            "kl_nats": float(comparison.kl.mean()),
            "same_guess": float(comparison.same.mean()),
        },
        "counts": {column: {name: mean.as_dict() for name, mean in found_.items()} for column, found_ in means.items()},
        "ratios": {
            column: {name: mean.as_dict() for name, mean in found_.items()} for column, found_ in ratios.items()
        },
        "enough": ENOUGH,
        "link_share": LINK_SHARE,
        "draws": settings.draws,
        "resamples": settings.resamples,
        "interval": "95 %: Student's quantile for the number of templates times the spread of a bootstrap, templates "
        "first, then prompts within them",
        "drawn": one.facts,
        "made": _made(found),
    }


def _made(found: Partner) -> dict[str, object] | None:
    record = found.record
    if record is None:
        return None
    names = ("text", "steps", "length", "elapsed_s", "dense_nats", "sparse_hard_nats", "finetuned_nats", "limit_nats",
             "constraint_met", "edges_percent", "training_tokens", "log_dense_nats", "sequences",
             "excess_nats")  # fmt: skip
    further = None if record.further is None else msgspec.structs.asdict(record.further)
    return {name: getattr(record, name) for name in names} | {
        "seed": record.settings.get("seed"),
        "sampling": record.sampling,
        "further": further,
    }
