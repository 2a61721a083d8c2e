"""The shipped weights have the circuits that the card claims, on held-out prompts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from reportgen.mini import evaluate, vocab
from reportgen.models import load
from reportgen.models.load import read_tokens
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.suite import RelationsSettings

FOLDER = Path(str(files("reportgen.mini"))) / "checkpoint"


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return evaluate.measure(FOLDER, prompts=50)


def test_tasks_on_held_out_prompts(measured: dict[str, Any]) -> None:
    assert measured["ioi_accuracy"] >= 0.95
    assert measured["ioi_two_pair_accuracy"] >= 0.95
    assert measured["ioi_unseen_names_accuracy"] >= 0.95
    assert measured["induction_accuracy"] >= 0.95
    assert measured["facts_accuracy"] >= 0.95
    assert measured["colored_objects_accuracy"] >= 0.9
    assert measured["greater_than_accuracy"] >= 0.95


def test_there_is_a_true_name_mover(measured: dict[str, Any]) -> None:
    assert measured["true_name_movers"]
    layer, head = measured["true_name_movers"][0]
    assert measured["heads"]["attention_io"][layer][head] > 0.6
    assert measured["heads"]["copying_top5"][layer][head] > 0.9


def test_two_relations_have_different_best_heads_by_adjusted_score() -> None:
    settings = RelationsSettings(permutations=0, folded=False, twins=0, matched=0, dynamic=False, multi_token=False,
                                 ablation=False, salient_tokens=0)  # fmt: skip
    result = score(load.load("mini", device="cpu"), settings, Context(seed=0, threads=1))
    best = {s.task: s.ranking()[0] for s in result.scores if s.measure == "adjusted" and s.values.max() >= 0.15}
    assert len(set(best.values())) >= 2, best


def test_the_shipped_tokenizer_is_the_one_the_code_builds() -> None:
    shipped, built = read_tokens(FOLDER, "mini"), vocab.build_tokenizer()
    text = "When Mary and John went to the store, John gave a drink to Mary."
    assert shipped.encode(text) == built.encode(text)
    assert shipped.size == len(built)


def test_it_fits_in_the_package() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10e6
