from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from reportgen.report.build import build
from reportgen.report.parts import Report
from reportgen.report.passport import pack, passport, unpack
from tests import fixtures
from tests.figures import samples
from tests.report import sample


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run")), suites=sample.SUITES)


@pytest.mark.parametrize(("scale", "exact", "kind"), [(1.0, True, "f"), (1.0, False, "e"), (1e6, False, "f")])
def test_grids_are_exact_or_keep_three_digits(scale: float, exact: bool, kind: str) -> None:
    grid = sample.grid(0, -1.0) * np.float32(scale)
    grid[1, 2] = np.nan
    packed = pack(grid, exact)
    assert packed[0] == kind
    np.testing.assert_allclose(unpack(packed), grid.ravel(), rtol=1e-9 if exact or kind == "f" else 1e-3)


def test_few_different_values_take_a_byte_each() -> None:
    grid = np.random.default_rng(0).integers(0, 41, (30, 40)).astype(np.float32) / 40
    grid[3, 3] = np.nan
    packed = pack(grid)
    assert packed[0] == "d"
    assert sum(map(len, packed)) < 2000
    np.testing.assert_array_equal(unpack(packed), grid.ravel())


def test_what_a_score_lacks_is_left_out(report: Report) -> None:
    known = passport(report)
    json.dumps(known)
    capital, names, effect = known["scores"][:3]  # type: ignore[index]
    assert {"value", "low", "high", "p", "why"} <= set(capital)
    assert capital["why"] == {"L0H1": "inactive head"}
    assert not {"low", "high", "p", "line"} & set(names)
    assert names["no_null"] == "no permutations of Mary"
    assert "p" not in effect
    assert effect["line"] == 0.9
    assert known["measures"]["alpha/score"] == "Relation score"  # type: ignore[index]


def test_sets_say_source_rule_and_evidence(report: Report) -> None:
    (movers,) = passport(report)["sets"]  # type: ignore[misc]
    assert movers["heads"] == ["L1H2", "L2H3"]
    assert movers["rule"] == "effect above .5"
    assert movers["evidence"]["causal effect"] == "passed"


def test_no_scores_no_panel(report: Report) -> None:
    assert passport(dataclasses.replace(report, scores=())) == {}


def test_scores_of_another_grid_stay_out(report: Report) -> None:
    scores = (fixtures.head_scores(), fixtures.head_scores("a/b/c", layers=2))
    names = {score.key: score.label for score in scores}
    known = passport(dataclasses.replace(report, scores=scores, names=names))
    assert len(known["scores"]) == 1  # type: ignore[arg-type]


def test_estimates_are_told_apart(report: Report) -> None:
    some = samples.estimated()
    found = passport(dataclasses.replace(report, sections=(), scores=(some,), names={some.key: "Total effect"}))
    (entry,) = found["scores"]  # type: ignore[misc]
    assert entry["how"] == some.how_estimated
    np.testing.assert_array_equal(unpack(entry["estimated"]) == 1, some.estimated.ravel())  # type: ignore[union-attr]
    plain = samples.signed()
    (entry,) = passport(dataclasses.replace(report, sections=(), scores=(plain,), names={plain.key: "x"}))["scores"]  # type: ignore[misc]
    assert not {"how", "estimated"} & set(entry)
