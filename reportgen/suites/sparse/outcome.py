"""What came of a post-training: losses and edges of the saved model, read back from the disk, and its controls."""

from __future__ import annotations

import dataclasses

import torch

from reportgen.models.model import Model
from reportgen.suites import prose
from reportgen.suites.sparse import measure, texts
from reportgen.suites.sparse.gates import Gate, every_edge
from reportgen.suites.sparse.measure import Cut, OnText
from reportgen.suites.sparse.record import Further, Record
from reportgen.suites.sparse.texts import Ids, Text
from reportgen.suites.sparse.training import Progress

PASSAGES = 64  # windows of the shipped passages at most


def record_of(
    dense: Model, sparse: Model, gate: Gate, text: Text, settings: dict[str, bool | int | float | str], seed: int,
    progress: Progress,
) -> Record:  # fmt: skip
    """The record but for what the training itself knows (steps, seconds, log)."""
    ids = text.reporting
    whole, hard, excess = _both(dense, sparse, gate, ids, seed)
    limit = whole.loss_nats + gate.slack_nats
    return Record(
        schema=1,
        dense_id=dense.record.id,
        dense_hash=dense.record.content_hash,
        text=text.name,
        text_sha256=text.sha256,
        training_tokens=text.training_tokens,
        settings=settings,
        steps=0,
        chosen={},
        length=ids.shape[1],
        elapsed_s=0.0,
        threads=torch.get_num_threads(),
        device=str(dense.device),
        dense_nats=whole.loss_nats,
        sparse_hard_nats=hard.loss_nats,
        sparse_sampled_nats=measure.on_text(sparse, measure.sampled(gate, seed, dense.device), ids).loss_nats,
        gates_off_nats=measure.on_text(sparse, every_edge, ids).loss_nats,
        limit_nats=limit,
        constraint_met=hard.loss_nats <= limit,
        edges_percent=hard.edges_percent,
        edges_per_token=hard.edges_per_token,
        finetuned_nats=None,
        cuts=[dataclasses.asdict(cut) for cut in _cuts(dense, text, progress)],
        log_dense_nats=0.0,
        log=[],
        sequences=len(ids),
        excess_nats=excess,
        sampling=dict(text.sampling),
        further=_passages(dense, sparse, gate, ids.shape[1], seed),
    )


def _both(dense: Model, sparse: Model, gate: Gate, ids: Ids, seed: int) -> tuple[OnText, OnText, list[float]]:
    whole, hard = measure.on_text(dense, every_edge, ids), measure.on_text(sparse, gate, ids)
    return whole, hard, list(measure.excess(hard, whole, seed))


def _cuts(dense: Model, text: Text, progress: Progress) -> tuple[Cut, ...]:
    return measure.threshold_curve(dense, text.reporting[: text.on_curve], progress)


def _passages(dense: Model, sparse: Model, gate: Gate, length: int, seed: int) -> Further | None:
    """The shipped passages, text that had no part in any of it; None where the vocabulary cannot read them."""
    if texts.is_mini(dense.tokens):
        return None  # its windows are the corpus that it was trained on
    found = prose.windows(dense.tokens, "", PASSAGES, length, seed, dense.record.n_ctx)
    if isinstance(found, str):
        return None
    whole, hard, excess = _both(dense, sparse, gate, found.ids, seed)
    return Further(
        text=found.source,
        sequences=len(found.ids),
        length=found.ids.shape[1],
        dense_nats=whole.loss_nats,
        sparse_hard_nats=hard.loss_nats,
        excess_nats=excess,
        edges_percent=hard.edges_percent,
        edges_per_token=hard.edges_per_token,
    )
