"""The published IOI circuit of GPT-2 small (Wang et al. 2022), where GPT-2's weights are on this machine: opt-in.

Looked for in the folder that REPORTGEN_GPT2 names, else in the local hub cache; nothing is downloaded.
"""

from __future__ import annotations

import os

import pytest

from reportgen.errors import UserError
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.published import sets_for
from reportgen.scores import Head, SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring.score import score
from reportgen.suites.circuits.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Model:
    where = os.environ.get("REPORTGEN_GPT2", "gpt2")
    try:
        return load(where, device="auto", offline=True)
    except UserError as error:
        pytest.skip(f"GPT-2's weights are not here ({error.problem}); name their folder in REPORTGEN_GPT2")


@pytest.fixture(scope="module")
def result(model: Model) -> SuiteResult:
    settings = Settings(
        tasks=("ioi",), prompts=96, flips=1000, resamples=300, patch_prompts=32, edge_prompts=8, curve_prompts=16,
        through_movers=("q",), through_those=("kv",), denoising=False, rephrased=0, random_sets=19, bands=0, text=False,
    )  # fmt: skip
    return score(model, settings, Context(seed=0, threads=1))


def published() -> dict[str, set[Head]]:
    """The verified lists of the paper by the last part of their key."""
    sets = [s for s in sets_for("gpt2") if s.source == "wang2022ioi" and s.verified]
    return {s.key.rsplit("/", 1)[-1]: set(s.heads) for s in sets}


def found(result: SuiteResult, name: str) -> set[Head]:
    return set(next(s.heads for s in result.head_sets if s.key == f"circuits/ioi/{name}"))


def test_the_strongest_direct_effects_are_the_published_movers(result: SuiteResult) -> None:
    direct, lists = result["direct/ioi"], published()
    assert set(direct.ranking()[:3]) == lists["name_mover_heads"]
    assert set(direct.ranking()[-2:]) == lists["negative_name_mover_heads"]


def test_movers_are_named_by_attention_and_copying(result: SuiteResult) -> None:
    lists = published()
    assert lists["name_mover_heads"] <= found(result, "name_movers")
    assert lists["negative_name_mover_heads"] <= found(result, "negative_movers")


def test_heads_through_the_movers_queries_are_the_s_inhibition_heads(result: SuiteResult) -> None:
    assert len(published()["s_inhibition_heads"] & found(result, "through_movers")) >= 3


def test_backups_take_over(result: SuiteResult) -> None:
    assert len(published()["backup_name_mover_heads"] & found(result, "backups")) >= 2
