"""The bundled pair: mini-sparse is mini's partner, within the slack, and small."""

from __future__ import annotations

import pytest

from reportgen.models.load import load
from reportgen.suites.sparse.scoring import checkpoint, losses, score
from reportgen.suites.sparse.scoring.gates import every_edge
from reportgen.suites.sparse.suite import Settings
from reportgen.suites.sparse.training import texts


def test_mini_sparse_is_within_the_slack_with_few_edges() -> None:
    dense = load("mini", device="cpu")
    found = checkpoint.find_partner(dense, Settings())
    record = found.record
    assert record is not None
    assert record.dense_hash == dense.record.content_hash
    assert record.constraint_met
    assert record.sparse_hard_nats <= record.dense_nats + found.gate.slack_nats
    ids = texts.reporting(record.length, 64)
    sparse = losses.on_text(found.model, found.gate, ids)
    assert sparse.edges_percent == pytest.approx(record.edges_percent, rel=0.1)
    assert sparse.loss_nats <= losses.on_text(dense, every_edge, ids).loss_nats + 0.02  # 64 of the 512 windows


def test_a_control_that_was_not_run_is_said() -> None:
    dense = load("mini", device="cpu")
    found, sample = (
        checkpoint.find_partner(dense, Settings()),
        checkpoint.TextSample("text", texts.reporting(16, 8), True),
    )
    said = {gone.what for gone in score._missing(Settings(), sample, found)}
    assert found.record is not None
    assert ("dense model trained on for as many steps" in said) == (found.record.finetuned_nats is None)


def test_both_bundled_models_are_small() -> None:
    folders = [checkpoint.folder_of(name) for name in ("mini", "mini-sparse")]
    assert sum(path.stat().st_size for folder in folders if folder for path in folder.iterdir()) < 16_000_000
