"""Replication: effects on prompts in other words, what becomes of a head that fails, overlaps of tasks' circuits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reportgen.figures.figure import View
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.report.verdicts import is_claim
from reportgen.scores import Head, HeadSet, SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.circuits.drawing.figures import figures
from reportgen.suites.circuits.facts import TaskFacts
from reportgen.suites.circuits.scoring import replication
from reportgen.suites.circuits.scoring.circuit import Effects
from reportgen.suites.circuits.scoring.effects import total_effects
from reportgen.suites.circuits.scoring.replication import (
    BOTH,
    FAMILY_RUNG,
    HERE,
    LEGEND,
    NEITHER,
    THERE,
    UNSETTLED,
    Families,
    combinations,
    overlaps,
    reuse,
)
from reportgen.suites.circuits.scoring.score import score
from reportgen.suites.circuits.scoring.task_runs import TaskOutcome, start
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import ioi

SETTINGS = Settings(
    tasks=("ioi",), prompts=48, flips=300, resamples=100, patch_prompts=24, edge_prompts=4, curve_prompts=4,
    through_movers=("q",), through_those=("kv",), denoising=False, rephrased=48, random_sets=3, bands=0, backups=False,
    added=1, twins=0, text=False,
)  # fmt: skip
CONTEXT = Context(seed=0, threads=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return load("mini", device="cpu")


@pytest.fixture(scope="module")
def result(model: Model) -> SuiteResult:
    return score(model, SETTINGS, CONTEXT)


def effects(of: dict[Head, tuple[float, float]]) -> Effects:
    """Two layers of two heads: head -> effect and p; no effect elsewhere, NaN where the effect is."""
    value, p = np.zeros((2, 2)), np.ones((2, 2))
    for head, (size, chance) in of.items():
        value[head], p[head] = size, chance
    low, high = value - 0.03, value + 0.03
    return Effects(value, low, high, value, low, high, p, np.ones((2, 2)), np.stack([value, value]))


def found() -> Families:
    own = effects({(0, 0): (0.3, 0.01), (0, 1): (0.2, 0.01), (1, 0): (-0.1, 0.01), (1, 1): (0.01, 0.01)})
    other = effects({(0, 0): (0.1, 0.02), (0, 1): (-0.2, 0.02), (1, 0): (-0.04, 0.2), (1, 1): (0.05, 0.01)})
    return Families(own, other, ((0, 0), (0, 1), (1, 0), (1, 1)), 48)


def test_an_effect_is_in_both_families_with_its_size_its_p_and_its_sign() -> None:
    where = [found().where(head, Settings()) for head in found().tried]
    assert where == [BOTH, HERE, HERE, THERE]  # the same sign; the other sign; not beyond the null; none of its own
    nothing = replace(found(), other=effects({}))
    assert nothing.where((1, 1), Settings()) == NEITHER


def test_too_few_other_prompts_do_not_make_it_an_effect_of_one_family() -> None:
    other = effects({(0, 1): (0.05, 0.6), (1, 0): (-0.05, 0.6)})
    wide = replace(other, low=other.value - 0.5, high=other.value + 0.5)
    assert [replace(found(), other=wide).where(head, Settings()) for head in ((0, 1), (1, 0))] == [UNSETTLED] * 2
    assert [replace(found(), other=other).where(head, Settings()) for head in ((0, 1), (1, 0))] == [HERE] * 2
    one_sided = replace(
        other, low=other.value - 0.5, high=other.value + 0.01
    )  # only the side towards the own effect counts
    assert [replace(found(), other=one_sided).where(head, Settings()) for head in ((0, 1), (1, 0))] == [HERE, UNSETTLED]


def test_a_set_with_a_head_of_one_family_is_no_claim(model: Model) -> None:
    runs = start(model, ioi.build(model.tokens, 48, 0), SETTINGS, CONTEXT)
    passed = {"causal effect": "passed", "replicated (templates)": "passed"}
    heads_of = {"good": ((0, 0),), "bad": ((0, 0), (0, 1)), "untried": ((5, 0),), "nobody": ()}
    sets = [
        HeadSet(f"circuits/ioi/{name}", name, heads, "l", "s", "r", evidence=passed if heads else {})
        for name, heads in heads_of.items()
    ]
    out = TaskOutcome(head_sets=list(sets), one_family=((0, 1), (1, 0)))
    replication.rungs(out, runs, found())
    after = {s.key.rsplit("/", 1)[-1]: s for s in out.head_sets}
    rungs = [after[name].evidence.get(FAMILY_RUNG) for name in heads_of]
    assert rungs == ["passed", "failed", "not run", None]
    assert [is_claim(s) for s in sets] == [True, True, True, False]
    assert [is_claim(after[name]) for name in heads_of] == [True, False, True, False]
    assert after["one_family"].heads == ((0, 1), (1, 0))
    assert not is_claim(after["one_family"])
    without = TaskOutcome(head_sets=list(sets))
    replication.rungs(without, runs, None)
    assert without.head_sets == sets


def test_a_reused_head_of_one_family_is_no_claim() -> None:
    def outcome(only: tuple[Head, ...] | None) -> TaskOutcome:
        return TaskOutcome(TaskFacts(title="x"), stages={"direct": ((0, 0), (0, 1))}, one_family=only)

    def rung(*only: tuple[Head, ...] | None) -> str:
        (found,) = reuse({f"t{i}": outcome(each) for i, each in enumerate(only)}, (2, 2)).head_sets
        return found.evidence[FAMILY_RUNG]

    assert [rung((), ()), rung((), ((0, 1),)), rung((), None), rung((), ((1, 1),))] == [
        "passed", "failed", "not run", "passed"
    ]  # fmt: skip


def test_the_other_family_is_measured_on_the_rephrased_prompts(model: Model, result: SuiteResult) -> None:
    table = next(t for t in result.tables if t.key == "circuits/ioi/families")
    facts = result.facts["tasks"]["ioi"]  # type: ignore[index]
    other = start(model, ioi.build(model.tokens, 48, 0, rephrased=True), SETTINGS, CONTEXT)
    of = other.sample(SETTINGS.patch_prompts)
    raw = total_effects(other.batches(of), np.ones((6, 8), bool), denoising=False).noising.mean(0) / of.gap.mean()
    own = result["total/ioi"].values
    for row in table.rows:
        layer, head = (int(number) for number in str(row[0])[1:].split("H"))
        assert row[2] == pytest.approx(float(own[layer, head]), rel=1e-4, abs=1e-6)
        assert row[6] == pytest.approx(float(raw[layer, head]), rel=1e-3, abs=1e-5)
    members = {head for stage in facts["members"].values() for head in stage}
    named = {str(row[0]) for row in table.rows}
    assert members <= named
    assert {str(row[0]) for row in table.rows if row[1]} == members
    largest = np.argsort(-np.abs(own).ravel())[: replication.TOP]
    assert {f"L{i // 8}H{i % 8}" for i in largest} <= named
    assert facts["families"]["tried"] == len(table.rows)
    assert list(facts["families"]["one_only"]) == sorted(str(row[0]) for row in table.rows if row[-1] == HERE)


def test_the_table_and_the_figure_show_both(model: Model, result: SuiteResult) -> None:
    table = next(t for t in result.tables if t.key == "circuits/ioi/heads")
    names = [column.name for column in table.columns]
    at = {name: names.index(name) for name in ("direct logit attribution", "of it on the answer", "of it on the foil")}
    for row in table.rows:
        dla, answer, foil = (row[i] for i in at.values())
        assert dla == pytest.approx(answer - foil, abs=1e-5)  # type: ignore[operator]
        assert isinstance(row[names.index("total effect, in other words")], float)
    figure = next(f for f in figures(result, View(model.record, overlays=result.head_sets)) if f.id.endswith("-total"))
    facts = result.facts["tasks"]["ioi"]["families"]  # type: ignore[index]
    notes = " ".join(figure.notes)
    assert f"{len(facts['both'])} of the {facts['tried']} heads tried" in notes
    assert (f"On these templates only, so no claim is made: {next(iter(facts['one_only']), '')}" in notes) == bool(
        facts["one_only"]
    )
    keys = [s.key for s in figure.head_sets]
    assert ("circuits/ioi/one_family" in keys) == bool(facts["one_only"])


SHAPE = (2, 4)


def outcome(title: str, *stages: tuple[Head, ...], effects: list[list[float]] | None = None) -> TaskOutcome:
    out = TaskOutcome(TaskFacts(title=title), stages=dict(zip(("direct", "through_movers"), stages, strict=False)))
    if effects is not None:
        out.effects["direct"] = out.effects["total"] = np.array(effects)
    return out


A = outcome("A", ((0, 0), (1, 1)), ((0, 2),), effects=[[3, 0, 1, 0], [0, 2, 0, 0]])
B = outcome("B", ((0, 0), (1, 1)), effects=[[6, 0, 2, 0], [0, 4, 0, 0]])
C = outcome("C", ((1, 1), (1, 2)), effects=[[0, 1, 0, 5], [0, 7, 6, 0]])


def test_a_circuit_is_the_heads_of_all_its_stages() -> None:
    (pair,) = overlaps({"a": A, "b": B}, SHAPE)
    assert (pair.both, pair.either, pair.smaller) == (2, 3, 2)
    assert pair.expected == pytest.approx(2 * 1 / 4 + 1 * 1 / 4)
    assert pair.spearman_direct == pytest.approx(1.0)
    assert pair.p == pair.p_holm


def test_heads_are_grouped_by_the_tasks_they_serve() -> None:
    assert combinations({"a": A, "b": B, "c": C}) == {
        ("a", "b", "c"): ((1, 1),), ("a", "b"): ((0, 0),), ("a",): ((0, 2),), ("c",): ((1, 2),),
    }  # fmt: skip


def test_the_reused_set_is_in_two_circuits_at_least() -> None:
    found = reuse({"a": A, "b": B, "c": C, "failed": TaskOutcome()}, SHAPE)
    (reused,) = found.head_sets
    assert reused.heads == ((0, 0), (1, 1))
    assert reused.weights == {"L0H0": pytest.approx(2 / 3), "L1H1": 1.0}
    assert reused.legend == LEGEND == "'Circuits Components Reused' classifications"
    assert reused.source == "computed: circuits of A, B, C on this model"
    assert [table.key for table in found.tables] == ["circuits/reuse/pairs", "circuits/reuse/groups"]
    assert found.reuse is not None
    assert found.reuse.sizes == {"a": 3, "b": 2, "c": 2}


def test_one_circuit_is_compared_with_nothing() -> None:
    found = reuse({"a": A, "failed": TaskOutcome()}, SHAPE)
    assert found.reuse is None
    assert found.not_computed[0].why == "1 of 2 tasks have a circuit, two are needed"
