"""The bundled model: its IOI circuit is what IOI runs on, its figures say so. Properties, not places of heads."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from reportgen.figures import export
from reportgen.figures.figure import Figure, View
from reportgen.figures.theme import Style
from reportgen.models.load import load
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.circuits.drawing.figures import figures
from reportgen.suites.circuits.facts import CircuitFacts, Faithfulness, OwnCircuit, TaskFacts
from reportgen.suites.circuits.scoring.faithfulness import by_size, faithfulness, first, random_sets
from reportgen.suites.circuits.scoring.score import score
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import ioi
from reportgen.suites.facts import read
from tests.suites.circuits.test_quality import ablation_of

SETTINGS = Settings(
    tasks=("ioi", "capitals"), prompts=48, flips=300, resamples=100, patch_prompts=16, edge_prompts=4, curve_prompts=16,
    through_movers=("q",), through_those=("kv",), denoising=False, rephrased=0, random_sets=19, bands=0, backups=False,
    text_windows=8, text_tokens=32, text_verified=4, sampled=6,
)  # fmt: skip


def told(figure: Figure) -> str:
    """Everything said of a figure: caption and notes."""
    return " ".join((figure.caption, *figure.notes))


@pytest.fixture(scope="module")
def made() -> tuple[SuiteResult, View]:
    model = load("mini", device="cpu")
    result = score(model, SETTINGS, Context(seed=0, threads=1))
    return result, View(model.record, overlays=result.head_sets, results={"circuits": result})


@pytest.fixture(scope="module")
def drawn(made: tuple[SuiteResult, View]) -> dict[str, Figure]:
    return {figure.id: figure for figure in figures(*made)}


def facts_of(result: SuiteResult, task: str) -> TaskFacts:
    return read(result, CircuitFacts).task(task)


def own_of(facts: TaskFacts) -> tuple[Faithfulness, OwnCircuit]:
    curve = facts.faithfulness
    assert curve is not None
    assert curve.circuit is not None
    return curve, curve.circuit


def test_the_bundled_model_does_both_tasks(made: tuple[SuiteResult, View]) -> None:
    for task in SETTINGS.tasks:
        facts = facts_of(made[0], task)
        assert facts.done
        assert (facts.accuracy or 0) > 0.95
        assert facts.attribution is not None
        assert (facts.attribution.spearman or 0) > 0.5


def test_removing_the_ioi_circuit_destroys_ioi_and_random_sets_do_not(made: tuple[SuiteResult, View]) -> None:
    curve, own = own_of(facts_of(made[0], "ioi"))
    assert own.size < 16  # of 48 heads
    assert own.kept > 0.7
    assert own.removed < 0.3
    assert own.accuracy_removed < 0.8 < own.accuracy_kept
    assert own.random_removed is not None
    assert own.random_kept is not None
    assert own.random_removed.mean > 0.8
    assert own.random_kept.mean < 0.3
    assert own.p_kept == own.p_removed == pytest.approx(1 / 20)
    by_direct = dict(zip(curve.sizes, curve.removed_direct, strict=True))
    assert by_direct[8] < 0.4  # the first eight by direct effect


def test_removing_the_heads_of_largest_direct_effect_destroys_ioi_beyond_random_sets(
    made: tuple[SuiteResult, View],
) -> None:
    model, result = load("mini", device="cpu"), made[0]
    task = ioi.build(model.tokens, SETTINGS.prompts, seed=0)
    chosen = ablation_of(model, task, range(16))
    none, clean = chosen.m(np.ones((1, 6, 8), bool)), chosen.m(np.zeros((1, 6, 8), bool))
    order, norms, rng = by_size(result["direct/ioi"].values), chosen.norms(), np.random.default_rng(0)
    left = []
    for count in (3, 5, 8):  # a single mover is stood in for by another
        random = random_sets(order[:count], norms, 19, rng).sets
        f = faithfulness(chosen.m(np.concatenate([first(order, [count], (6, 8)), random])), clean.mean(), none.mean())
        assert f[0] < f[1:].min()  # p = 1/20
        left.append(f[0])
    assert max(left) < 0.3


def test_movers_attend_to_the_answer_and_s_inhibition_acts_on_them(made: tuple[SuiteResult, View]) -> None:
    sets = {s.key: s.heads for s in made[0].head_sets}
    assert sets["circuits/ioi/name_movers"]
    assert sets["circuits/ioi/through_movers"]
    top = min(layer for layer, _ in sets["circuits/ioi/through_movers"])
    assert top < max(layer for layer, _ in sets["circuits/ioi/name_movers"])
    assert sets["circuits/capitals/movers"]
    assert sets["circuits/reuse/reused"]


def test_every_result_is_drawn_and_exports(drawn: dict[str, Figure]) -> None:
    wanted = {f"circuits-{task}{kind}" for task in SETTINGS.tasks for kind in ("", "-graph", "-total")}
    wanted |= {"circuits-faithfulness", "circuits-reuse", "circuits-reuse-difference", "circuits-text_loss"}
    assert set(drawn) == wanted
    for figure in drawn.values():
        assert export.svg(figure, Style(width_in=3.25)).startswith("<svg")
        assert len(export.csv(figure).splitlines()) > 1
        assert figure.alt.endswith(".")
        assert not re.search(r"\bNone\b|\bnan\b", told(figure))
        assert len(figure.caption.split()) <= 60, figure.caption
        assert all(note.endswith(".") for note in figure.notes)


def test_captions_carry_the_numbers(made: tuple[SuiteResult, View], drawn: dict[str, Figure]) -> None:
    facts = facts_of(made[0], "ioi")
    curve, top = own_of(facts)[1], facts.top_head
    assert top is not None
    assert facts.attribution is not None
    assert f"{curve.kept:.3f} (IOI)" in drawn["circuits-faithfulness"].caption
    assert f"the circuit of {curve.size} heads keeps {curve.kept:.3f}" in told(drawn["circuits-faithfulness"])
    assert "against 19 random sets" in told(drawn["circuits-faithfulness"])
    assert f"head-level CPR {own_of(facts)[0].cpr:.2f}" in told(drawn["circuits-faithfulness"])
    assert "not the MIB benchmark's CPR and CMD" in told(drawn["circuits-faithfulness"])
    held_out = f"held out: {top.head} at {top.effect:.3f} [{top.low:.3f}, {top.high:.3f}]"
    assert all(held_out in drawn[name].caption for name in ("circuits-ioi", "circuits-ioi-graph"))
    assert f"Alone it keeps {curve.kept:.3f}" in drawn["circuits-ioi-graph"].caption
    rho = facts.attribution.spearman
    assert f"Spearman {rho:.2f}" in drawn["circuits-ioi-total"].caption
    (pair,) = made[0].facts["reuse"]["pairs"]  # type: ignore[index]
    assert f"{pair['both']} of the {pair['smaller']} heads" in drawn["circuits-reuse"].caption
    assert "held-out documents" in told(drawn["circuits-text_loss"])


def test_what_two_figures_say_alike_names_its_task(drawn: dict[str, Figure]) -> None:
    """The PDF prints it once, away from both."""
    notes = Counter(note for figure in drawn.values() for note in figure.notes)
    assert "The gap of IOI is" in " ".join(note for note, count in notes.items() if count == 2)
    assert not [note for note, count in notes.items() if count > 1 and note.startswith(("Left", "Right", "Highest"))]


def test_the_reused_heads_lie_on_the_difference_map_under_the_papers_legend(drawn: dict[str, Figure]) -> None:
    (reused,) = drawn["circuits-reuse-difference"].head_sets
    assert reused.key == "circuits/reuse/reused"
    text = str(export.spec(drawn["circuits-reuse-difference"]))
    assert "Reused Heads" in text
    assert "'Circuits Components Reused'" in text.replace("\\'", "'")


def test_edges_of_the_graph_are_the_measured_ones(made: tuple[SuiteResult, View], drawn: dict[str, Figure]) -> None:
    rows = drawn["circuits-ioi-graph"].data.rows
    direct = made[0]["direct/ioi"].values
    to_logits = [row for row in rows if row[2] == "logits"]
    assert len(to_logits) == len(next(s for s in made[0].head_sets if s.key == "circuits/ioi/direct").heads)
    name, _, _, _, effect = to_logits[0]
    layer, head = re.fullmatch(r"L(\d+)H(\d+)", str(name)).groups()  # type: ignore[union-attr]
    assert effect == pytest.approx(float(direct[int(layer), int(head)]))
    assert any(row[3] == "q" for row in rows)


def test_paired_panels_share_one_scale(drawn: dict[str, Figure]) -> None:
    panels = export.spec(drawn["circuits-ioi-total"])["hconcat"]
    cells = [layer for panel in panels for layer in panel["layer"] if layer["name"].startswith("cells")]
    domains = [layer["encoding"]["color"]["scale"]["domain"] for layer in cells]
    assert len(domains) == 2
    assert domains[0] == domains[1] == [-domains[0][1], domains[0][1]]


def test_natural_text_has_estimates_for_all_and_exact_values_for_some(made: tuple[SuiteResult, View]) -> None:
    result = made[0]
    assert np.isfinite(result["text_loss_attribution/natural_text"].values).all()
    assert 4 <= int(result["text_loss/natural_text"].exact.sum()) < 48
    assert np.isfinite(result["text_loss/natural_text"].values).all()
    assert result.facts["natural_text"]["loss_nats"] < 2.5  # type: ignore[index]
