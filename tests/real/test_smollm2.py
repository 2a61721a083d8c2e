"""SmolLM2-135M-Instruct: which heads are found. Values are of a full run, with room for another torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from reportgen.models.load import load
from reportgen.runfolder import Run
from reportgen.scores import Head, HeadScores, head_name

pytestmark = pytest.mark.real
FILE = Callable[[str], Path]


def scores(run: Run, suite: str, measure: str, task: str) -> HeadScores:
    return next(s for s in run.result(suite).scores if (s.measure, s.task) == (measure, task))


def best(found: HeadScores, count: int = 1) -> list[str]:
    return [head_name(*head) for head in found.ranking()[:count]]


def heads_of(run: Run, words: str) -> set[str]:
    (found,) = (s for s in run.result("circuits").head_sets if s.key.split("/")[-1] == words)
    return {head_name(*head) for head in found.heads}


def at(found: HeadScores, head: Head) -> float:
    return float(found.values[head])


def test_the_file_gives_transformers_own_model(file_of: FILE) -> None:
    """Another road to the same weights: transformers' loader of GGUF, which nothing here goes through."""
    path = file_of("smollm2")
    ours = load(path, device="cpu")
    ids = torch.tensor([ours.tokens.prompt_ids("When Mary and John went to the store, John gave a drink to")])
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ids), theirs(ids).logits, rtol=0, atol=1e-4)
    words = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert words("in 1732, Ma'am\n  x", add_special_tokens=False)["input_ids"] == ours.tokens.encode(
        "in 1732, Ma'am\n  x"
    )
    assert ours.tokens.text(int(ours.logits(ids)[0, -1].argmax())) == " Mary"


def test_what_the_run_says_of_its_weights(smollm2: Run) -> None:
    model = smollm2.manifest.model
    assert (model.n_layers, model.n_heads, model.n_kv_heads, model.quantisation) == (30, 9, 3, "Q4_1")
    assert model.self_check is not None
    assert model.self_check.passed
    assert {record.status for record in smollm2.manifest.suites.values()} == {"done"}


def test_heads_of_the_attention_suite(smollm2: Run) -> None:
    induction = next(s for s in smollm2.result("attention").scores if s.measure == "induction")
    previous = next(s for s in smollm2.result("attention").scores if s.measure == "previous_token")
    assert best(induction) == ["L18H6"]
    assert best(previous) == ["L11H1"]
    assert at(induction, (18, 6)) == pytest.approx(0.90, abs=0.03)
    assert at(previous, (11, 1)) == pytest.approx(0.91, abs=0.03)


def test_heads_that_the_weights_name(smollm2: Run) -> None:
    copying = scores(smollm2, "relations", "score", "name_copying")
    capital = scores(smollm2, "relations", "score", "country_to_capital")
    suppression = scores(smollm2, "relations", "suppression", "name_copying")
    assert (copying.n, capital.n) == (165, 43)
    assert best(copying, 2) == ["L23H2", "L23H0"]
    assert best(capital) == ["L23H4"]
    assert best(suppression) == ["L23H3"]
    assert at(copying, (23, 2)) == pytest.approx(0.80, abs=0.02)
    assert at(capital, (23, 4)) == pytest.approx(0.65, abs=0.03)


def test_heads_that_prompts_name(smollm2: Run) -> None:
    direct = scores(smollm2, "circuits", "direct", "ioi")
    assert best(direct) == ["L23H3"]
    assert at(direct, (23, 3)) == pytest.approx(0.64, abs=0.15)
    assert {"L23H0", "L23H2"} <= heads_of(smollm2, "name_movers")
    assert "L24H4" in heads_of(smollm2, "negative_movers")


def test_every_direct_effect_is_exact(smollm2: Run) -> None:
    direct = scores(smollm2, "circuits", "direct", "ioi")
    assert np.isfinite(direct.values).all()
    assert direct.low is not None
    assert np.isfinite(direct.low).all()
