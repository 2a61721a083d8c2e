"""docs/runfolder.md against the types that read a run folder, and against a stored run."""

from __future__ import annotations

import csv
import json
from typing import Any

import msgspec
import pytest
from safetensors import safe_open

from reportgen import manifest, score_files
from reportgen.report import draw
from reportgen.report.render import COLUMNS
from reportgen.sweep import stored
from tests.docs.reading import DOCS, ROOT, tables

PAGE = DOCS / "runfolder.md"
TABLES = tables(PAGE)
RUN = ROOT / "site" / "runs" / "mini"
MANIFEST: dict[str, Any] = json.loads((RUN / "run.json").read_text("utf-8"))
SUITES = [name for name, record in MANIFEST["suites"].items() if record["status"] == "done"]
TYPES = {
    "run.json": manifest.Manifest,
    "model": manifest.ModelRecord,
    "self_check": manifest.SelfCheck,
    "self_test": manifest.SelfTest,
    "suites": manifest.SuiteRecord,
    "scores/SUITE.json": score_files._Stored,
    "scores": score_files._Score,
    "head_sets": score_files.SetRecord,
    "tables": score_files.TableRecord,
    "drawn/SUITE.json": draw.DrawnRecord,
    "measures": draw.MeasureRecord,
    "figures": draw.FigureRecord,
    "sweep.json": stored.SweepRecord,
    "members": stored.MemberRecord,
}


@pytest.mark.parametrize("heading", TYPES)
def test_every_field_is_documented_and_no_other(heading: str) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(TYPES[heading])}
    extra = {"tables": {"name", "unit", "digits"}, "scores/SUITE.json": {"dims", "labels"}}
    assert TABLES[heading] - extra.get(heading, set()) == names


def test_fields_within_cells_are_those_of_the_types() -> None:
    text = PAGE.read_text("utf-8")
    for struct, names in ((score_files._Column, ("name", "unit", "digits")), (score_files._Array, ("dims", "labels"))):
        assert {field.name for field in msgspec.structs.fields(struct)} == set(names)
        assert all(f"`{name}`" in text for name in names)


def test_a_stored_run_has_these_fields() -> None:
    """A run of an older version may lack new fields, never have others."""
    assert set(MANIFEST) <= TABLES["run.json"]
    assert set(MANIFEST["model"]) <= TABLES["model"]
    assert set(MANIFEST["model"]["self_check"]) <= TABLES["self_check"]
    for record in MANIFEST["suites"].values():
        assert set(record) <= TABLES["suites"]
    for name in SUITES:
        meaning = json.loads((RUN / "scores" / f"{name}.json").read_text("utf-8"))
        assert set(meaning) <= TABLES["scores/SUITE.json"]
        for part in ("scores", "head_sets", "tables"):
            for item in meaning[part]:
                assert set(item) <= TABLES[part]


@pytest.mark.parametrize("name", SUITES)
def test_tensors_are_named_as_documented(name: str) -> None:
    meaning = json.loads((RUN / "scores" / f"{name}.json").read_text("utf-8"))
    parts = {form.split("/", 2)[2] for form in TABLES["scores/SUITE.safetensors"] if form.startswith("scores/")}
    assert parts == {"values", "low", "high", "p", "p_each", "estimated", "controls/<name>"}
    with safe_open(RUN / "scores" / f"{name}.safetensors", "np") as file:
        keys = set(file.keys())
    named = [
        {**score, "parts": parts | {f"controls/{c['name']}" for c in score["controls"]}} for score in meaning["scores"]
    ]
    expected = {f"scores/{score['key']}/{part}" for score in named for part in score["parts"]}
    assert keys - expected == {f"arrays/{array}" for array in meaning["arrays"]}
    assert {f"scores/{score['key']}/values" for score in meaning["scores"]} <= keys


def test_columns_of_the_csv() -> None:
    text = " ".join(PAGE.read_text("utf-8").replace(",\nlow", ",low").split())
    assert next(csv.reader([text.split("`scores.csv` (`")[1].split("`")[0]])) == list(COLUMNS)


def test_the_resume_key_is_made_of_what_the_page_names() -> None:
    import inspect

    from reportgen import runner

    source = inspect.getsource(runner.SuiteJob.key).split("resume_key(")[1]
    said = PAGE.read_text("utf-8").split("### The resume key")[1].split("Device, threads")[0]
    for part in ("suite", "version", "model", "weights", "dtype", "seed", "settings", "data"):
        assert f"{part}=" in source
        assert f"`{part}`" in said
    assert source.count("=") == 8
