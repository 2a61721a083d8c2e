"""The circuit of a model whose IOI heads are written by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen import score_files
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.circuits.facts import CircuitFacts
from reportgen.suites.circuits.scoring.score import score
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.suite import SUITE
from reportgen.suites.circuits.tasks import ioi
from reportgen.suites.facts import encoded, read
from tests.suites.circuits.planted import ioi_folder
from tests.tiny import tiny_folder

SETTINGS = Settings(
    tasks=("ioi",), prompts=64, flips=300, resamples=200, batch=16, patch_prompts=32, edge_prompts=16, curve_prompts=16,
    random_sets=19, bands=4, rephrased=0, text=False, denoising=False,
)  # fmt: skip
QUICKLY = dataclasses.replace(
    SETTINGS,
    prompts=32,
    flips=50,
    resamples=50,
    patch_prompts=16,
    edge_prompts=4,
    curve_prompts=8,
    random_sets=3,
    bands=2,
)
CONTEXT = Context(seed=0, threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(ioi_folder(tmp_path_factory.mktemp("ioi")), device="cpu")


@pytest.fixture(scope="module")
def result(model: Model) -> SuiteResult:
    return score(model, SETTINGS, CONTEXT)


def sets(result: SuiteResult) -> dict[str, tuple[tuple[int, int], ...]]:
    return {s.key.removeprefix("circuits/ioi/"): s.heads for s in result.head_sets}


def facts(result: SuiteResult) -> dict[str, object]:
    tasks = result.facts["tasks"]
    assert isinstance(tasks, dict)
    found = tasks["ioi"]
    assert isinstance(found, dict)
    return found


def test_planted_roles_are_found_and_no_others(result: SuiteResult) -> None:
    assert sets(result) == {
        "direct": ((2, 0), (2, 1)),
        "name_movers": ((2, 0),),
        "negative_movers": ((2, 1),),
        "subject_suppressors": (),
        "backups": ((3, 0),),
        "taking_over": (),  # nobody takes over without attending to the name and writing it
        "through_movers": ((1, 0),),  # it tells the movers' queries who the subject is
        "s_inhibition_heads": ((1, 0),),
        "through_those": (),  # without L0H0 it still sees the subject twice among three names
    }


def test_effects_are_those_planted(result: SuiteResult) -> None:
    direct = result["direct/ioi"]
    # the mover writes 4 and the negative mover -1.6 of what the answer gets: 2.4 in all, up to the norms
    assert direct.values[2, :2].tolist() == pytest.approx([4 / 2.4, -1.6 / 2.4], abs=0.01)
    assert abs(np.delete(direct.values.ravel(), [8, 9])).max() < 0.01
    assert facts(result)["sum_direct"] == pytest.approx(1.0, abs=0.01)
    gap = facts(result)["gap"]
    assert isinstance(gap, float)
    np.testing.assert_allclose(result["direct_raw/ioi"].values, direct.values * gap, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result["dla/ioi"].values, direct.values, atol=0.01)  # no MLP after the movers
    assert direct.p is not None
    assert direct.p[2, :2].max() < 0.05
    assert direct.p[0].tolist() == [1.0] * 4


def test_intervals_are_ratios_of_means_over_templates(result: SuiteResult) -> None:
    each = result.arrays["ioi/direct"].values
    gap = result.arrays["ioi/m_clean"].values - result.arrays["ioi/m_corrupted"].values
    np.testing.assert_allclose(result["direct/ioi"].values, each.mean(0) / gap.mean(), rtol=1e-4, atol=1e-6)
    direct = result["direct/ioi"]
    assert direct.low is not None
    assert direct.high is not None
    assert (direct.low <= direct.values + 1e-6).all()
    assert (direct.values <= direct.high + 1e-6).all()


def test_knocking_the_mover_out_brings_the_backup(result: SuiteResult) -> None:
    table = next(t for t in result.tables if t.key == "circuits/ioi/backups")
    names = [column.name for column in table.columns]
    (row,) = table.rows
    assert row[0] == "L3H0"
    assert row[names.index("direct effect before")] == pytest.approx(0.0, abs=0.01)
    assert row[names.index("gain")] == pytest.approx(4 / 2.4, abs=0.05)
    knocked = facts(result)["knock_out"]
    assert isinstance(knocked, dict)
    assert knocked["heads"] == ["L2H0"]
    assert knocked["m_after"] == pytest.approx(2.4, abs=0.1)  # the backup makes up for it
    again = result.arrays["ioi/direct_knocked_out"].values
    assert abs(again[:, 2, 0]).max() < 1e-5  # an ablated head is the same on both prompts


def test_a_few_heads_by_gradient_give_the_same_circuit_and_backups(model: Model) -> None:
    """Where a few heads are measured again, the sets are those of all heads; p is paid for the others."""
    settings = dataclasses.replace(QUICKLY, flips=300, rephrased=32)
    every, few = (score(model, dataclasses.replace(settings, direct_again=most), CONTEXT) for most in (0, 4))
    assert sets(few) == sets(every)
    assert sets(few)["backups"] == ((3, 0),)
    told = [read(result, CircuitFacts).tasks["ioi"] for result in (every, few)]
    knocked, again = ([of.knock_out for of in told], [of.rephrased for of in told])
    assert [of and of.tried for of in knocked] == [16, 4]
    assert again[0] is not None
    assert again[1] is not None
    assert again[0].tried == 16
    assert 4 <= (again[1].tried or 0) <= 6  # and the circuit's two
    assert again[1].again == again[0].again == ["L2H0", "L2H1"]
    assert again[1].new == again[0].new == []
    values = few.arrays["ioi/direct_knocked_out"].values
    known = np.isfinite(values[0])
    np.testing.assert_allclose(values[:, known], every.arrays["ioi/direct_knocked_out"].values[:, known], atol=1e-5)
    rules = [next(s.rule for s in result.head_sets if s.key == "circuits/ioi/backups") for result in (every, few)]
    assert ["16/4" in rule for rule in rules] == [False, True]


def test_a_random_twin_does_not_do_the_task_and_its_heads_do_nothing(result: SuiteResult) -> None:
    twin = facts(result)["twin"]
    assert isinstance(twin, dict)
    assert twin["count"] == 1
    assert twin["accuracy"] < 0.8
    assert twin["does_it"] is False
    assert 0 < twin["largest"] < 0.3


def test_names_rest_on_the_rungs_they_passed(result: SuiteResult) -> None:
    evidence = {s.key.removeprefix("circuits/ioi/"): s.evidence for s in result.head_sets}
    for name in ("name_movers", "backups"):
        assert evidence[name]["static score"] == evidence[name]["dynamic score"] == "passed"
    assert evidence["s_inhibition_heads"]["dynamic score"] == "passed"
    assert evidence["direct"]["static score"] == evidence["direct"]["dynamic score"] == "not run"
    rule = next(s.rule for s in result.head_sets if s.key == "circuits/ioi/name_movers")
    assert "mean attention from END to IO >= 0.2 and above that to any other role" in rule
    assert "the answer stands among the 5 largest logits of the OV row" in rule


def test_the_table_shows_attention_and_copying(result: SuiteResult) -> None:
    table = next(t for t in result.tables if t.key == "circuits/ioi/heads")
    names = [column.name for column in table.columns]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in table.rows}
    assert list(rows) == ["L2H0", "L2H1"]
    assert rows["L2H0"]["role"] == "name mover"
    assert rows["L2H0"]["attention END to IO"] == pytest.approx(1.0, abs=0.01)
    columns = ("OV writes the answer", "OV suppresses it")
    assert tuple(rows["L2H0"][name] for name in columns) == (1.0, 0.0)
    assert tuple(rows["L2H1"][name] for name in columns) == (0.0, 1.0)
    assert rows["L2H1"]["both template halves"] is True
    assert "Called name mover: |direct effect| >= 2% of the clean-corrupted gap" in table.caption


def test_exact_effects_decide_where_attribution_is_blind(result: SuiteResult) -> None:
    """The movers' softmax is saturated: one gradient calls L0H0 the strongest head, and patching it changes nothing."""
    assert result["attribution/ioi"].values[0, 0] > 1.0
    assert abs(result["total/ioi"].values[0, 0]) < 0.01
    assert result["total/ioi"].values[2, 1] == pytest.approx(-1.6 / 2.4, abs=0.01)
    attribution = facts(result)["attribution"]
    assert isinstance(attribution, dict)
    assert (attribution["n_exact"], attribution["over"]) == (16, "all heads")


def test_paths_end_in_the_movers_queries(result: SuiteResult) -> None:
    through = result["through_movers_q/ioi"]
    assert through.values[1, 0] > 0.3
    assert np.nanmax(np.abs(np.delete(through.values[:2].ravel(), 4))) < 0.01
    assert np.isnan(through.values[2:]).all()
    assert through.reason(3, 0) == "no receiver stands above it"
    for kind in ("k", "v"):
        assert np.nanmax(np.abs(result[f"through_movers_{kind}/ioi"].values)) < 0.01
    stage = facts(result)["through_movers"]
    assert isinstance(stage, dict)
    assert stage["heads"] == {"L1H0": "S-inhibition head"}
    ((sender, receiver, kind, effect),) = stage["edges"]
    assert (sender, receiver, kind) == ("L1H0", "L2H0", "q")
    assert effect > 0.3


def test_the_circuit_is_all_there_is(result: SuiteResult) -> None:
    curve = facts(result)["faithfulness"]
    assert isinstance(curve, dict)
    assert (curve["kept"][0], curve["removed"][0]) == (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0, abs=1e-6))
    assert (curve["kept"][-1], curve["removed"][-1]) == (pytest.approx(1.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))
    own = curve["circuit"]
    assert own["size"] == 3
    assert own["kept"] > 0.9
    assert own["random_kept"]["mean"] < 0.2
    assert own["random_sets"] == 19
    assert own["p_kept"] == pytest.approx(1 / 20)


def test_every_set_says_how_a_head_got_in(result: SuiteResult) -> None:
    for found in result.head_sets:
        assert found.kind == "computed"
        assert found.legend == "Computed on this model (IOI)"
        assert "2%" in found.rule
        assert "0.05" in found.rule
        assert set(found.weights) == {f"L{layer}H{head}" for layer, head in found.heads}
        if found.heads:
            assert found.evidence["causal effect"] == "passed"
            assert found.evidence["replicated (templates)"] == "passed"
            assert found.evidence["replicated (random twin)"] == "passed"


def test_the_best_head_is_estimated_on_the_other_half(result: SuiteResult) -> None:
    top = facts(result)["top_head"]
    assert isinstance(top, dict)
    templates = result.arrays["ioi/template"].values
    rows = templates % 2 == 1
    gap = (result.arrays["ioi/m_clean"].values - result.arrays["ioi/m_corrupted"].values)[rows]
    each = result.arrays["ioi/direct"].values[rows, 2, 0]
    assert top["head"] == "L2H0"
    assert top["n"] == int(rows.sum())
    assert top["effect"] == pytest.approx(float(each.mean() / gap.mean()))
    held = result["direct/ioi"].held_out
    assert held is not None
    numbers = (held.head, held.value, held.low, held.high, held.n)
    assert numbers == tuple(top[name] for name in ("head", "effect", "low", "high", "n"))
    assert (held.chosen, held.measured) == ("templates of even index", "templates of odd index")
    assert [s.key for s in result.scores if s.held_out] == ["circuits/direct/ioi"]
    followed = {s.key: s.score for s in result.head_sets if s.score}
    direct = [f"circuits/ioi/{name}" for name in ("direct", "name_movers", "negative_movers")]
    assert followed == dict.fromkeys(direct, "circuits/direct/ioi")


def test_a_model_that_does_not_do_the_task_gets_no_circuit(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    W_O = model.source.tensors["transformer.h.2.attn.c_proj.weight"]  # type: ignore[attr-defined]
    kept = W_O.clone()
    try:
        W_O.zero_()
        model.source.tensors["transformer.h.3.attn.c_proj.weight"][:16] *= -1  # type: ignore[attr-defined]
        without = score(model, SETTINGS, CONTEXT)
    finally:
        W_O.copy_(kept)
        model.source.tensors["transformer.h.3.attn.c_proj.weight"][:16] *= -1  # type: ignore[attr-defined]
    assert without.scores == ()
    assert without.head_sets == ()
    assert facts(without)["done"] is False
    assert "does not do the task: the answer stands above its foil on" in without.not_computed[0].why
    assert "reuse" not in without.facts
    assert [t.key for t in without.tables] == ["circuits/ioi/performance"]


def test_too_few_pairs_are_counted(tmp_path: object) -> None:
    model = load(tiny_folder("gpt2", f"{tmp_path}", words=["tide", "moon"]), device="cpu")
    result = score(model, SETTINGS, CONTEXT)
    missing = result.not_computed[0]
    assert missing.what == "circuit of IOI"
    assert missing.why == "0 usable prompt pairs, at least 30 are needed"
    assert result.scores == ()


def test_without_backups_says_so(model: Model) -> None:
    result = score(model, dataclasses.replace(QUICKLY, backups=False, twins=0), CONTEXT)
    assert "twin" not in facts(result)
    assert ("IOI on a random twin", "switched off (circuits.twins)") in [(n.what, n.why) for n in result.not_computed]
    assert "backups" not in sets(result)
    assert ("backups of IOI", "switched off (circuits.backups)") in [(n.what, n.why) for n in result.not_computed]


def test_same_seed_same_bytes_and_clean_hooks(model: Model) -> None:
    ids = torch.tensor([[2, 3, 4]])
    before = model.logits(ids)
    once, again = (score_files.encode(score(model, QUICKLY, CONTEXT)) for _ in range(2))
    assert once == again
    assert torch.equal(model.logits(ids), before)


def test_the_facts_are_stored_and_read_back(result: SuiteResult) -> None:
    stored = score_files.decode(*score_files.encode(result), "test")
    found = read(stored, CircuitFacts)
    assert encoded(found) == stored.facts  # so that every stored key is a field
    assert found == read(result, CircuitFacts)


def test_a_task_of_the_users_own_finds_the_same_circuit(model: Model, tmp_path: Path) -> None:
    lines = []
    for pair in ioi.build(model.tokens, 40, seed=0).pairs:
        answer, foil = (model.tokens.text(ids[0]) for ids in (pair.answer_ids, pair.foil_ids))
        corrupted, roles = (
            model.tokens.decode(list(pair.corrupted)),
            {k: v for k, v in pair.roles.items() if k != "END"},
        )
        lines.append({"task": "mine", "clean": pair.text, "corrupted": corrupted, "answer": answer, "foil": foil,
                      "roles": roles, "template": str(pair.template)})  # fmt: skip
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    settings = dataclasses.replace(QUICKLY, tasks=(), tasks_file=str(path), prompts=40)
    found = score(model, settings, CONTEXT)
    sets = {s.key: s.heads for s in found.head_sets}
    assert sets["circuits/mine/direct"] == ((2, 0), (2, 1))
    assert sets["circuits/mine/movers"] == ((2, 0),)  # the first role is the token that the answer is read from
    assert sets["circuits/mine/negative_movers"] == ((2, 1),)
    assert sets["circuits/mine/through_movers"] == ((1, 0),)
    assert found.tasks("direct") == ["mine"]
    assert SUITE.data(settings) == (path,)
