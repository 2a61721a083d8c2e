"""Targets: what comes with reportgen is sound, and a run is held against it as the rules say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from reportgen import suites
from reportgen.cli import app
from reportgen.errors import DataError, SettingsError
from reportgen.manifest import SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import HeadScores, SuiteResult
from reportgen.targets import read
from reportgen.targets.replicate import missing_suites, model_of, replicate
from tests.fixtures import manifest, model_record

SITE = Path(__file__).parents[2] / "site" / "runs"
OWN = {"mini": "mini", "smollm2": "smollm2-135m-instruct"}  # targets made of this project's stored runs
LATER = {"icl", "retrieval"}  # suites that a version may lack


@pytest.mark.parametrize("name", read.names())
def test_a_shipped_target_is_sound(name: str) -> None:
    target = read.load(name)
    assert target.title
    assert target.cited or target.source
    assert set(missing_suites(target)) <= LATER
    for suite, given in (*target.settings.items(), *target.only.items()):
        suites.find(suite).make_settings(target.preset, given)  # raises for a setting that there is not
    for claim in target.claim:
        if claim.kind == "list" and claim.entry:
            assert any(read.listed(target, claim, model) for model in target.models), claim.what
        if claim.score and claim.suite not in LATER:
            measure = claim.score.split("/")[1]
            assert suites.find(claim.suite).measure(measure), claim.what
        if claim.kind == "number" and not claim.not_comparable:
            assert claim.source or claim.where or name in OWN, claim.what


@pytest.mark.parametrize(("name", "folder"), OWN.items())
def test_own_targets_have_the_stored_run_s_numbers(name: str, folder: str) -> None:
    run, target = Run.open(SITE / folder), read.load(name)
    assert target.content_hash == run.model.content_hash
    checked = 0
    for claim in target.claim:
        score = run[claim.score]
        if claim.kind == "number":
            held = score.held_out
            assert held is not None
            assert (claim.value, claim.low, claim.high) == tuple(round(x, 4) for x in (held.value, held.low, held.high))
        elif claim.kind == "scores":
            assert claim.values == {row["head"]: round(row["value"], 4) for row in score.top(len(claim.values))}
        else:
            sets = {s.key: s for result in run.results.values() for s in result.head_sets}
            key = claim.where.removeprefix("the run's set ")
            assert claim.heads == tuple(f"L{layer}H{head}" for layer, head in sets[key].heads)
        checked += 1
    assert checked == len(target.claim) > 5


@pytest.mark.parametrize(("name", "folder"), OWN.items())
def test_real_runs_are_held_against_them(name: str, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are reproduced; lists of one or two heads can't pass the rule's p, and say so."""
    words = ["replicate", name, "--run", str(SITE / folder), "--json"]
    assert app(words, prog_name="reportgen", standalone_mode=False) == 1
    said = json.loads(capsys.readouterr().out)
    by_kind = {claim["what"]: claim for claim in said["claims"]}
    for claim in read.load(name).claim:
        found = by_kind[claim.what]
        if claim.kind == "list":
            assert found["auroc"] > 0.9
            assert found["verdict"] == ("reproduced" if found["p"] <= 0.01 else "partly")
            assert found["p"] <= 0.01 or "allow no p below" in found["why"]
        else:
            assert found["verdict"] == "reproduced"


def made_up(
    folder: Path,
    hub_id: str = "gpt2",
    settings: dict[str, object] | None = None,
    low: bool = False,
    synthetic: bool = False,
) -> Run:
    """A run of GPT-2's shape in which the published name movers copy names, or (low) nobody knows them.

    synthetic  whether it says that it is made up
    """
    values = np.random.default_rng(0).uniform(0, 0.3, (12, 12)).astype(np.float32)
    for layer, head in ((9, 9), (10, 0), (9, 6)):
        values[layer, head] = 0.05 if low else 0.9
    quiet = np.random.default_rng(1).uniform(0, 0.3, (12, 12)).astype(np.float32)
    made = [
        HeadScores(f"relations/{name}/name_copying", name, grid, 100, line=0.5, range=(0, 1))
        for name, grid in (("score", values), ("suppression", quiet))
    ]
    known = suites.find("relations").make_settings("full", {"k_copying": 1})
    kept = msgspec.to_builtins(known) | (settings or {})
    record = model_record(12, 12, hub_id=hub_id, synthetic=False)
    with RunWriter(folder, msgspec.structs.replace(manifest(record), synthetic=synthetic)) as writer:
        writer.store("relations", SuiteResult("relations", tuple(made)), SuiteRecord("done", 1, kept, {}))
        return writer.run


def test_a_published_list_is_found_or_not(tmp_path: Path) -> None:
    target = read.load("maps-gpt2")
    found = replicate(target, made_up(tmp_path / "a"), "gpt2")
    movers = found.answers[0]
    assert (movers.verdict, movers.published, movers.ours) == (
        "reproduced", "3 heads: L9H9 L10H0 L9H6", "AUROC 1.000",
    )  # fmt: skip
    assert movers.numbers is not None
    assert movers.numbers["p"] == pytest.approx(1 / 792)  # C(12, 2) x 12 sets in the same layers
    assert {answer.verdict for answer in found.answers[1:3]} <= {"not", "partly"}
    assert found.answers[3].verdict == "not comparable"
    assert "--set relations.relations_dir" in found.answers[3].why
    assert found.code == 1
    lost = replicate(target, made_up(tmp_path / "b", low=True), "gpt2")
    assert lost.answers[0].verdict == "not"


def test_what_is_made_up_reproduces_nothing(tmp_path: Path) -> None:
    found = replicate(read.load("maps-gpt2"), made_up(tmp_path / "a", synthetic=True), "gpt2")
    movers = found.answers[0]
    assert (movers.verdict, movers.ours) == ("not comparable", "AUROC 1.000")
    assert movers.why.startswith("weights or numbers are made up, so that 'reproduced' by the rule is chance")
    assert {answer.verdict for answer in found.answers} <= {"not", "not comparable"}


def test_other_settings_than_the_source_s_are_not_compared(tmp_path: Path) -> None:
    run = made_up(tmp_path / "a", settings={"first_mlp": False})
    found = replicate(read.load("maps-gpt2"), run, "gpt2")
    assert found.code == 2
    assert found.answers[0].why == "relations.first_mlp is off in the run, on in the source"


def test_heads_of_another_model_are_not_matched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = read.load("maps-gpt2")
    run = made_up(tmp_path / "a", hub_id="")
    with pytest.raises(SettingsError, match=r"is about gpt2. If it is .* --published gpt2"):
        model_of(target, run)
    assert model_of(target, run, "openai-community/gpt2") == "gpt2"
    words = ["replicate", "maps-gpt2", "--run", str(run.path), "--published", "gpt2"]
    assert app(words, prog_name="reportgen", standalone_mode=False) == 1
    assert "Name movers copy names" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="of other weights than target mini"):
        model_of(read.load("mini"), run)
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("./somewhere", str(tmp_path / "gpt2"), "gpt2"):  # before anything is scored
        with pytest.raises(SettingsError, match=f"about gpt2, not {name}"):
            app(["replicate", "maps-gpt2", name], prog_name="reportgen", standalone_mode=False)
    with pytest.raises(SettingsError, match="--published 'gpt3'"):
        app(["replicate", "maps-gpt2", "x", "--published", "gpt3"], prog_name="reportgen", standalone_mode=False)


def test_what_is_not_at_hand_is_said_and_never_scored(capsys: pytest.CaptureFixture[str]) -> None:
    target = read.load("wu-retrieval")
    if missing_suites(target):
        assert app(["replicate", "wu-retrieval"], prog_name="reportgen", standalone_mode=False) == 2
        assert "no suite retrieval in this version" in capsys.readouterr().out
    assert app(["replicate", "--list", "--json"], prog_name="reportgen", standalone_mode=False) is None
    listed = {row["target"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(read.names())
    assert listed["mini"]["missing"] == ""
    with pytest.raises(SettingsError, match=r"no target 'wang_ioi'. Did you mean wang-ioi"):
        read.load("wang_ioi")


def test_weights_that_are_not_here_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match=r"hash b179c9523d0e\) are not on this machine.*smollm2 PATH"):
        app(["replicate", "smollm2"], prog_name="reportgen", standalone_mode=False)
    assert app(["replicate", "--list"], prog_name="reportgen", standalone_mode=False) is None
    assert "SmolLM2-135M-Instruct.Q4_1 is not on this machine: give its path" in capsys.readouterr().out


OWN_TARGET = """
title = "Mine"
source = "my notes"
models = ["mini"]
suites = ["attention"]
preset = "quick"
[[claim]]
what = "One head"
kind = "number"
value = 0.825
at = "L4H5"
score = "attention/induction"
[[claim]]
what = "Sequences"
kind = "number"
value = 1
table = "attention/sinks"
row = "nothing"
column = "none"
"""


def test_a_target_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN_TARGET)
    found = replicate(read.load(str(path)), Run.open(SITE / "mini"), "mini")
    assert [answer.verdict for answer in found.answers] == ["reproduced", "not comparable"]
    assert found.code == 0
    for wrong, why in (
        ('kind = "number"\nvalue = 0.825', 'kind = "nombre"'),
        ("value = 0.825\n", ""),
        ('at = "L4H5"', 'at = "head 5"'),
        ('suites = ["attention"]', 'suites = ["text"]'),
        ('source = "my notes"', 'paper = "nobody1999"'),
    ):
        path.write_text(OWN_TARGET.replace(wrong, why, 1))
        with pytest.raises(DataError, match=r"mine\.toml"):
            read.load(str(path))


def test_a_stored_run_needs_no_torch() -> None:
    code = f"""
import sys
sys.argv = ["reportgen", "replicate", "mini", "--run", {str(SITE / "mini")!r}]
from reportgen.cli import main
try:
    main()
except SystemExit as stop:
    print(stop.code, [name for name in ("torch", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 []"
