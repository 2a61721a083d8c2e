"""What suites declare of their scores, and so the glossary, against a stored run of the bundled model."""

from __future__ import annotations

import math

import pytest

from reportgen import suites
from reportgen.runfolder import Run
from tests.docs.reading import ROOT

RUN = Run.open(ROOT / "site" / "runs" / "mini")


@pytest.mark.parametrize("suite", suites.BUILT_IN, ids=[suite.name for suite in suites.BUILT_IN])
def test_every_measure_says_its_null(suite: suites.Suite) -> None:
    for measure in suite.measures:
        assert measure.null, measure.name
        assert measure.null.removeprefix("none: ") != "", measure.name


@pytest.mark.parametrize("name", RUN.done())
def test_ranges_and_nulls_are_those_of_the_scores(name: str) -> None:
    suite = suites.find(name)
    for score in RUN.result(name).scores:
        measure = suite.measure(score.measure)
        if math.isinf(measure.range[1]) and math.isfinite(measure.range[0]):  # the end depends on settings
            assert score.range[0] == measure.range[0], score.key
        else:
            assert score.range == measure.range, score.key
        tested = score.p is not None or score.line is not None
        assert tested or score.no_null, score.key
        if score.n:  # else no pair was left to score
            assert tested == (not measure.null.startswith("none: ")), score.key
