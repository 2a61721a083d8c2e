"""What captions say of the sparse model's loss."""

from __future__ import annotations

import msgspec
import pytest

from reportgen.suites.sparse.drawing import caption_text
from reportgen.suites.sparse.facts import GateFacts, SparseFacts


@pytest.mark.parametrize(
    ("excess", "words"),
    [
        ([0.007, 0.005, 0.009], "+0.0070 [0.0050, 0.0090] over n = 64, within the slack of 0.01"),
        ([0.007, 0.001, 0.013], "too few sequences to tell from the slack of 0.01"),
        ([0.03, 0.02, 0.04], "above the slack of 0.01"),
    ],
)
def test_the_excess_is_judged_by_its_interval(excess: list[float], words: str) -> None:
    nats = {"dense": 1.5, "sparse": 1.5 + excess[0], "sparse_sampled": 1.6, "gates_off": 2.0}
    facts = {"loss_nats": nats, "excess_nats": excess, "gate": {"slack_nats": 0.01}, "text": {"sequences": 64}}
    assert words in caption_text.losses(msgspec.convert(facts, SparseFacts))


def test_stored_results_without_an_interval_are_not_judged() -> None:
    nats = {"dense": 1.5, "sparse": 1.6, "sparse_sampled": 1.6, "gates_off": 2.0}
    facts = SparseFacts(loss_nats=nats, gate=GateFacts(slack_nats=0.01))
    assert "slack" not in caption_text.losses(facts)
