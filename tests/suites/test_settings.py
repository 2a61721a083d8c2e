"""The one rule for settings, over every setting of every suite: what none and 0 mean, and what can be neither."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from reportgen import runner, suites
from reportgen.config import Options
from reportgen.errors import SettingsError
from reportgen.report.build import build
from reportgen.runfolder import Run
from reportgen.suites.base import Suite
from reportgen.suites.settings import help_of, is_off, zero_words

Field = dataclasses.Field[Any]
EVERY = [(suite, f) for suite in (*suites.BUILT_IN, *suites.STORED) for f in dataclasses.fields(suite.settings)]
LISTS = [(suite, f) for suite, f in EVERY if isinstance(f.default, tuple)]
COUNTS = [(suite, f) for suite, f in EVERY if isinstance(f.default, int) and not isinstance(f.default, bool)]


def _ids(some: list[tuple[Suite, Field]]) -> list[str]:
    return [f"{suite.name}.{f.name}" for suite, f in some]


@pytest.mark.parametrize(("suite", "f"), COUNTS, ids=_ids(COUNTS))
def test_zero_of_a_count_is_off_or_has_a_meaning_or_is_refused_with_what_it_takes(suite: Suite, f: Field) -> None:
    kinds = {"off", "zero", "least"} & set(f.metadata)
    assert len(kinds) == 1, f"{f.name} says {kinds or 'nothing'} of 0"
    for zero in ("0", 0, "none", "off"):
        if "least" in f.metadata:
            with pytest.raises(SettingsError, match=f"{f.name} is 0, must be at least.*: {f.metadata['needs']}"):
                suite.make_settings("quick", {f.name: zero})
        else:
            made = suite.make_settings("quick", {f.name: zero})
            assert getattr(made, f.name) == 0
            assert is_off(f, 0) == ("off" in f.metadata)
            assert "0: " in help_of(f)
            assert zero_words(f, 0) == ("off" if "off" in f.metadata else f.metadata["zero"])
            assert zero_words(f, 3) == ""
    with pytest.raises(SettingsError, match=f.name):
        suite.make_settings("quick", {f.name: "-1"})


@pytest.mark.parametrize(("suite", "f"), LISTS, ids=_ids(LISTS))
def test_none_of_a_list_is_no_item_or_is_refused_with_what_it_takes(suite: Suite, f: Field) -> None:
    for none in ("none", "", [], ["none"], "None"):
        if "needs" in f.metadata:
            with pytest.raises(SettingsError, match=f"{f.name} can't be none: "):
                suite.make_settings("quick", {f.name: none})
        else:
            assert getattr(suite.make_settings("quick", {f.name: none}), f.name) == ()


def test_none_stands_alone_in_a_list() -> None:
    with pytest.raises(SettingsError, match="tasks"):
        suites.find("circuits").make_settings("quick", {"tasks": "ioi,none"})


def test_a_run_without_anything_to_measure_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"tasks is none and text is off.*--tasks"):
        suites.find("circuits").make_settings("quick", {"tasks": "none", "text": "off"})


SMALL: dict[str, dict[str, object]] = {
    "attention": {"sequences": 8, "resamples": 50},
    "circuits": {"tasks": "ioi", "prompts": 40, "patch_prompts": 12, "min_pairs": 20, "resamples": 50, "flips": 99},
    "relations": {"relations": "word_to_antonym"},
    "cognitive": {"resamples": 50, "seeds": 1, "most_steps": 5, "cache": False},
}
KEPT_ON: dict[str, tuple[str, ...]] = {"circuits": ("tasks",), "relations": ("dynamic", "templates", "ablation")}


@pytest.mark.parametrize("name", SMALL)  # the one switch of `sparse`, zeroed, has a test beside it
def test_what_is_switched_off_is_left_out_and_named_with_its_setting(name: str, tmp_path: Path) -> None:
    suite = suites.find(name)
    switches = [f for f in dataclasses.fields(suite.settings) if "off" in f.metadata]
    switches = [f for f in switches if f.name not in KEPT_ON.get(name, ())]
    given = SMALL[name] | {f.name: "none" for f in switches}
    options = Options(suites=(name,), settings={name: given}, out=str(tmp_path), selftest=False, threads=1)
    run = runner.run(options)
    assert run.manifest.suites[name].status == "done", run.manifest.suites[name].error
    reasons = [missing.why for missing in run.result(name).not_computed]
    for f in switches:
        assert f"switched off ({name}.{f.name})" in reasons
    section = next(s for s in build(run).sections if s.name == name)
    assert not section.undrawn
    assert len(section.not_computed) == len(reasons)


def test_circuits_without_tasks_read_text_alone(tmp_path: Path) -> None:
    given = {"tasks": "none", "text_windows": 8, "text_tokens": 16, "flips": 99, "resamples": 50}
    run = runner.run(Options(suites=("circuits",), settings={"circuits": given}, out=str(tmp_path), selftest=False))
    result = run.result("circuits")
    assert {score.task for score in result.scores} == {"natural_text"}
    assert "switched off (circuits.tasks)" in [missing.why for missing in result.not_computed]
    assert [plate.id for plate in build(Run.open(run.path)).plates]


SHARES = [(suite, f) for suite, f in EVERY if "share" in f.metadata]
WORDS = [(suite, f) for suite, f in EVERY if "one_of" in f.metadata]


@pytest.mark.parametrize(("suite", "f"), SHARES, ids=_ids(SHARES))
@pytest.mark.parametrize("wrong", ["0", "1", "-0.5"])
def test_a_share_lies_between_0_and_1(suite: Suite, f: Field, wrong: str) -> None:
    with pytest.raises(SettingsError, match=rf"{suite.name}: {f.name} is {float(wrong)}, must lie between 0 and 1"):
        suite.make_settings("quick", {f.name: wrong})


@pytest.mark.parametrize(("suite", "f"), WORDS, ids=_ids(WORDS))
def test_a_word_that_is_not_known_is_refused_with_those_that_are(suite: Suite, f: Field) -> None:
    assert set(f.default if isinstance(f.default, tuple) else (f.default,)) <= set(f.metadata["one_of"])
    with pytest.raises(SettingsError, match=f"{f.name} is 'chess', must be one of {', '.join(f.metadata['one_of'])}"):
        suite.make_settings("quick", {f.name: "chess"})
