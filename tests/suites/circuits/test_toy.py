"""A circuit planted in an attention-only model is found whole, and its decoys are not named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reportgen.scores import head_name
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring.score import measure_task
from reportgen.suites.circuits.scoring.task_runs import TaskOutcome
from reportgen.suites.circuits.settings import Settings
from tests.suites.circuits.toy import Toy, induction_task, toy

SETTINGS = Settings(
    flips=300, resamples=100, patch_prompts=32, edge_prompts=16, curve_prompts=32, random_sets=19, bands=0, rephrased=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Toy:
    return toy()


@pytest.fixture(scope="module")
def found(model: Toy) -> TaskOutcome:
    return measure_task(model, induction_task(model.tokens), SETTINGS, Context(seed=0, threads=1))


def sets(found: TaskOutcome) -> dict[str, list[str]]:
    return {s.key.split("/")[-1]: [head_name(*h) for h in s.heads] for s in found.head_sets if s.heads}


def test_the_toy_does_its_task(found: TaskOutcome) -> None:
    assert found.facts.done is True
    assert found.facts.accuracy == 1.0
    assert found.facts.gap == pytest.approx(4.0, abs=0.3)


def test_the_circuit_is_the_planted_one_and_decoys_have_no_name(found: TaskOutcome) -> None:
    assert sets(found) == {
        "direct": ["L2H0"],
        "movers": ["L2H0"],
        "through_movers": ["L1H0"],
        "induction_heads": ["L1H0"],
        "through_those": ["L0H0"],
        "previous_token_heads": ["L0H0"],
    }


def test_edges_end_in_the_inputs_that_were_wired(found: TaskOutcome) -> None:
    for stage, edge in (("through_movers", ["L1H0", "L2H0", "q"]), ("through_those", ["L0H0", "L1H0", "k"])):
        (one,) = getattr(found.facts, stage).edges
        assert one[:3] == tuple(edge)
        assert 0.8 < one[3] < 1.05  # without a match L1H0 attends evenly, which is not nothing


def test_the_three_heads_are_all_it_takes(found: TaskOutcome) -> None:
    assert found.facts.faithfulness is not None
    own = found.facts.faithfulness.circuit
    assert own is not None
    assert own.random_kept is not None
    assert (own.size, own.accuracy_kept) == (3, 1.0)
    assert own.kept == pytest.approx(1.0, abs=0.05)
    assert own.removed == pytest.approx(0.0, abs=0.05)
    assert own.other_layer == 0.0  # one decoy per layer stands in for each head
    assert own.random_kept.high == pytest.approx(0.0, abs=0.05)


def test_total_effects_follow_the_chain(found: TaskOutcome) -> None:
    total = found.effects["total"]
    assert total[1:, 0] == pytest.approx([1.0, 1.0], abs=0.05)
    assert 0.8 < total[0, 0] < 1.05
    assert np.abs(total[:, 1]).max() < 0.02


def test_a_copier_that_is_no_induction_head_is_prefix_matching_only(model: Toy) -> None:
    """Without OV copying, the same attention does not make an induction head."""
    bridge = model.bridge
    weight = dict(bridge.named_parameters())["layers.1._original_component.attn._original_component.o"
                                             "._original_component.weight"]  # fmt: skip
    kept = weight.clone()
    try:
        weight[64:80, :16] = 0.0  # L1H0 no longer writes what it reads
        task = induction_task(model.tokens, 32)
        again = measure_task(model, task, replace(SETTINGS, backups=False), Context(seed=0, threads=1))
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert "induction_heads" not in sets(again)
    assert sets(again)["through_movers"] == ["L1H0"]
