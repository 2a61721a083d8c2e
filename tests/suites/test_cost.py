"""Estimates of time: every built-in suite gives one, and they are within a factor of two of what was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from reportgen import runner, suites
from reportgen.config import Options
from reportgen.manifest import ModelRecord
from reportgen.models import load
from reportgen.models.memory import measure, pick_device
from reportgen.runfolder import Run
from reportgen.stats import sign_flip_null, step_down_max_t
from reportgen.suites.cost import Phase, Speeds, family, seconds, smallest_effect

QUIET = Speeds(products=70e9, elements=2.5e9, call=2e-5)  # of two cores of an EPYC server with nothing else to do
# Seconds that the preset quick took there; of SmolLM2 all but attention's are half the CPU seconds of one thread.
MEASURED = {
    "mini": {
        "attention": 1.0, "circuits": 16.0, "relations": 5.4, "weights": 1.8, "cognitive": 9.7, "sparse": 22.0,
        "text": 2.0,
    },
    "smollm2-135m": {
        "attention": 7.0, "circuits": 375.0, "relations": 157.0, "weights": 100.0, "cognitive": 139.0, "text": 31.0,
        "icl": 46.0,
        "retrieval": 62.0,  # 44 forward passes of 16 x 64 tokens, at 1.40 s
    },
}  # fmt: skip


def record(name: str) -> ModelRecord:
    mini = load.inspect("mini", device="cpu")[0]
    if name == "mini":
        return mini
    return msgspec.structs.replace(
        mini, id=name, source="folder", n_layers=30, n_heads=9, n_kv_heads=3, d_model=576, d_head=64, d_vocab=49_152,
        n_ctx=8_192, n_params=134_515_008,
    )  # fmt: skip


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, of in MEASURED.items() for name in of])
def test_estimates_are_within_a_factor_of_two_of_what_was_measured(model: str, name: str) -> None:
    suite = suites.find(name)
    found = suite.estimate(record(model), suite.make_settings("quick"), QUIET)
    assert found is not None
    assert 0.5 < found / MEASURED[model][name] < 2


@pytest.mark.parametrize("suite", suites.BUILT_IN, ids=[suite.name for suite in suites.BUILT_IN])
def test_more_work_is_estimated_longer(suite: suites.Suite) -> None:
    mini, quick = record("mini"), suite.make_settings("quick")
    usual = suite.estimate(mini, quick, QUIET)
    full = suite.estimate(mini, suite.make_settings("full"), QUIET)
    slow = suite.estimate(mini, quick, Speeds(QUIET.products / 2, QUIET.elements / 2, QUIET.call * 2))
    assert usual is not None
    assert full is not None
    assert full > usual
    assert slow == pytest.approx(2 * usual)


def test_a_suite_without_a_partner_costs_nothing_and_one_without_a_cost_is_not_estimated() -> None:
    sparse = suites.find("sparse")
    assert sparse.estimate(record("smollm2-135m"), sparse.make_settings("quick"), QUIET) == 0
    own = suites.find(str(Path(__file__).parents[1] / "data" / "toy_suite.py"))
    assert own.estimate(record("mini"), own.make_settings("quick"), QUIET) is None


def test_a_phase_is_its_counts_over_the_speeds() -> None:
    mini = record("mini")
    body = mini.n_params - mini.d_vocab * mini.d_model
    phase = Phase("x", tokens=10, logits=2, products=5, elements=6, calls=7)
    work = 10 * body + 2 * mini.d_vocab * mini.d_model + 5
    assert seconds(phase, mini, Speeds(100.0, 3.0, 0.5)) == pytest.approx(work / 100 + 2 + 3.5)


def test_the_speeds_of_this_machine_are_speeds() -> None:
    found = measure(pick_device("cpu"))
    assert 1e7 < found.products < 1e15
    assert 1e6 < found.elements < 1e13
    assert 1e-8 < found.call < 0.1


def test_estimate_and_phases_are_kept_with_the_suite(tmp_path: Path) -> None:
    given = {"attention": {"sequences": 8, "resamples": 50, "permutations": 99}}
    run = runner.run(Options(suites=("attention",), settings=given, out=str(tmp_path), selftest=False, threads=1))
    kept = Run.open(run.path).manifest.suites["attention"]
    assert kept.estimate_s is not None
    assert set(kept.phases) == {phase.name for phase in suites.find("attention").cost(  # type: ignore[misc]
        run.manifest.model, suites.find("attention").make_settings("quick"))}  # fmt: skip
    assert sum(kept.phases.values()) == pytest.approx(kept.elapsed_s, abs=0.05)


def test_the_smallest_effect_is_about_where_half_of_the_heads_pass() -> None:
    """48 heads, 40 examples, sign flips with max-T: one head has the effect that --dry-run calls the smallest."""
    heads, n = 48, 40
    least = smallest_effect(heads, n)

    def passing(effect: float) -> float:
        passed = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            each = rng.standard_normal((n, heads))
            each[:, 0] += effect
            p = step_down_max_t(each.mean(0), sign_flip_null(each, 299, rng))
            passed += bool(p[0] <= 0.05)
        return passed / 40

    assert passing(0.5 * least) < 0.25
    assert 0.25 < passing(least) < 0.75
    assert passing(1.6 * least) > 0.85


def test_a_plan_says_the_smallest_p_and_effect_or_that_nothing_can_pass() -> None:
    said = family(record("mini"), 2000, 32, "sequences")
    assert said[1:] == (
        "smallest p: 0.0005 (2,000 draws, 32 sequences)",
        f"smallest effect that passes: about {smallest_effect(48, 32):.2g} sd of one of 32 sequences",
    )
    assert family(record("mini"), 9, 32, "sequences")[2].startswith("no head can pass: p can't reach 0.05")
    assert family(record("mini"), 2000, 5, "windows")[2].startswith("no head can pass")
    assert len(family(record("mini"), 0, 32, "sequences")) == 1
