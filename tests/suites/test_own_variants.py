"""Scores computed in other ways from stored runs: what each suite varies, and that nothing changed gives the score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportgen import suites
from reportgen.nulls import null_line
from reportgen.runfolder import Run
from reportgen.scores import SuiteResult
from reportgen.suites.retrieval.tables import sums
from reportgen.suites.text.variants import _halves, _mean
from reportgen.suites.variants import Variant
from reportgen.suites.weights.variants import _shares

RUNS = {path.name: Run.open(path) for path in (Path(__file__).parents[2] / "site" / "runs").iterdir() if path.is_dir()}
MINI, SMOL = RUNS["mini"], RUNS["smollm2-135m-instruct"]


def ways(run: Run, suite: str, changed: SuiteResult | None = None) -> list[Variant]:
    """What a suite computes in other ways from a stored run, or from a changed result of it."""
    made = suites.find(suite).load_variants()
    return list(made(changed or run.result(suite), run.manifest.suites[suite].settings))


def of(found: list[Variant], score: str, setting: str) -> dict[str, Variant]:
    return {one.value: one for one in found if (one.score, one.setting) == (score, setting)}


@pytest.mark.parametrize("run", [MINI, SMOL], ids=["mini", "smollm2"])
def test_own_importance_is_varied_by_start_layer_mean_and_probe(run: Run) -> None:
    result, found = run.result("cognitive"), ways(run, "cognitive")
    scores = result["importance_own/retrieval"]
    starts = of(found, scores.key, "one start of the probe")
    each = result.arrays["by_seed"]
    values = each.values[:, each.labels["function"].index("retrieval")]
    assert len(starts) == len(values) == 5
    np.testing.assert_allclose(values.mean(0), scores.values, atol=1e-6)
    assert scores.line is not None
    want = values[2] * np.sign(scores.values) >= scores.line
    np.testing.assert_array_equal(starts["start 3"].above == 1, want)
    (alone,) = of(found, scores.key, "a probe of each head alone").values()
    np.testing.assert_array_equal(alone.above == 1, np.asarray(result["alone/retrieval"].p) <= 0.05)
    (mean,) = of(found, scores.key, "importance with the layer mean").values()
    total = result["importance/retrieval"]
    assert mean.above.sum() == (np.abs(total.values) > total.line).sum()


def test_successors_are_varied_by_class_and_by_what_competes() -> None:
    result, found = MINI.result("weights"), ways(MINI, "weights")
    scores, shares = result["successor/classes"], _shares(result)
    np.testing.assert_allclose(np.mean(list(shares.values()), axis=0), scores.values, atol=1e-6)
    left_out = of(found, scores.key, "class of words left out")
    assert set(left_out) == {name.replace("_", " ") for name in shares}
    rest = np.mean([share for name, share in shares.items() if name != "days"], axis=0)
    np.testing.assert_array_equal(left_out["days"].above == 1, rest >= 0.4)
    (strict,) = of(found, scores.key, "highest of all tokens, not of the class").values()
    assert strict.above.sum() == (result["successor_strict/classes"].values >= 0.4).sum()


def test_suppression_is_varied_by_k_and_half_of_the_words() -> None:
    result = MINI.result("weights")
    easier = {**MINI.manifest.suites["weights"].settings, "suppressor_threshold": 0.05}
    found = list(suites.find("weights").load_variants()(result, easier))
    scores = result["suppression/words"]
    by_k = of(found, scores.key, "k")
    assert set(by_k) == {"1", "2", "5", "25", "50"}
    assert by_k["1"].above.sum() <= by_k["50"].above.sum()
    assert by_k["50"].above.sum() > 0
    ranks = [result.arrays[f"ranks/{part}"].values for part in ("ov", "qk")]
    share = np.minimum(*((part[1::2] <= 20).mean(0) for part in ranks))
    half = of(found, scores.key, "half of the words")["half 2"]
    np.testing.assert_array_equal(half.above == 1, share >= 0.05)


def test_text_is_varied_by_halves_that_share_no_document() -> None:
    result, found = MINI.result("text"), ways(MINI, "text")
    documents = result.arrays["document"].values
    first, second = _halves(documents)
    assert not set(documents[first]) & set(documents[second])
    assert (first ^ second).all()
    assert [half.sum() for half in _halves(np.zeros(5, int))] == [3, 2]
    assert _halves(np.zeros(1, int)) == []
    scores = result["induction/text"]
    each = result.arrays["per_window"]
    rows = each.values[each.labels["measure"].index("induction")].astype(float)
    line = null_line(scores)
    assert line is not None
    half = of(found, scores.key, "half of the windows")["half 1"]
    np.testing.assert_array_equal(half.above == 1, _mean(rows[first]) > line)
    assert not any(one.score.startswith("attention/previous") for one in found)  # it has no null on text


@pytest.mark.parametrize("measure", ["copy", "copy_mass", "point", "write"])
def test_retrieval_is_varied_by_the_document_left_out(measure: str) -> None:
    result, found = SMOL.result("retrieval"), ways(SMOL, "retrieval")
    scores = result[f"{measure}/needles"]
    stored = [result.arrays[name].values for name in ("tables", "kept", "right")]
    names = result.arrays["tables"].labels["measure"]
    parts = [
        sums(*each, measure)
        for each in zip(stored[0][names.index(measure)], stored[1] == 1, stored[2], strict=True)
    ]  # fmt: skip
    top, below = (np.stack(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(top.sum(0) / below.sum(0), scores.values, atol=1e-5)
    left_out = of(found, scores.key, "document left out")
    assert len(left_out) == len(top)
    rest = top[1:].sum(0) / below[1:].sum(0)
    np.testing.assert_array_equal(left_out["document 1"].above == 1, rest >= scores.threshold)


def test_copiers_are_varied_by_half_of_the_examples() -> None:
    result, found = SMOL.result("retrieval"), ways(SMOL, "retrieval")
    each = result.arrays["copies/token"].values
    scores = result["token/random_tokens"]
    np.testing.assert_allclose(each.mean(0), scores.values, atol=1e-5)
    halves = of(found, scores.key, "half of the examples")
    first = np.arange(len(each)) // 2 % 2 == 0
    np.testing.assert_array_equal(halves["half 1"].above == 1, each[first].mean(0) >= scores.threshold)


def test_effects_in_context_are_varied_by_the_task_left_out() -> None:
    result, found = SMOL.result("icl"), ways(SMOL, "icl")
    members = {h for s in result.head_sets if s.key.endswith("function_vector_heads") for h in s.heads}
    left_out = of(found, "icl/aie/all_tasks", "task left out")
    assert set(left_out) == {
        "Antonym", "Past tense", "Comparative", "Superclass", "Singular to plural", "Capitalise", "First of three",
    }  # fmt: skip
    for one in left_out.values():
        assert np.isfinite(one.above).sum() == result.facts["exact"]
        held = {(int(a), int(b)) for a, b in np.argwhere(one.above == 1)}
        assert len(held & members) > len(members) / 2
    one_task = replace(result.arrays["prompt_task"], values=np.zeros(56, np.int32))
    assert ways(SMOL, "icl", replace(result, arrays={**result.arrays, "prompt_task": one_task})) == []


@pytest.mark.parametrize("suite", ["cognitive", "weights", "text", "retrieval", "icl"])
def test_a_result_without_evidence_has_no_other_way(suite: str) -> None:
    run = SMOL if suite in ("retrieval", "icl") else MINI
    bare = replace(run.result(suite), arrays={}, facts={})
    for one in ways(run, suite, bare):
        assert one.setting in (
            "importance with the layer mean", "a probe of each head alone", "highest of all tokens, not of the class",
        )  # fmt: skip
