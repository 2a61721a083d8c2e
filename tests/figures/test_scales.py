"""Any finite float32 scale draws, with true and different numbers on its bar."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import reportgen
from reportgen.figures import captions
from reportgen.figures.chart_data import round6
from reportgen.figures.curves import Curve, CurvePanel, curves
from reportgen.figures.geometry import Bar, bar_of
from reportgen.figures.head_maps import HeadMap, maps, shared_bar
from reportgen.figures.svg import render
from reportgen.figures.theme import Style
from reportgen.report.text import number
from reportgen.scores import HeadScores

Values = npt.NDArray[np.float32]
SCALES = st.floats(1e-38, 1e38).map(float)
KINDS = st.sampled_from(["spread", "constant", "one", "zero", "lone"])


def grid(scale: float, kind: str, sign: float = 1.0) -> Values:
    """[layer head] of about `scale`: spread, all alike, one away from 0, all 0, or all NaN but one."""
    unit = {
        "spread": np.linspace(0.1, 1, 6), "constant": np.ones(6), "one": np.eye(6)[2], "zero": np.zeros(6),
        "lone": np.where(np.arange(6) == 3, 1.0, np.nan),
    }[kind]  # fmt: skip
    return (sign * scale * unit).reshape(2, 3).astype(np.float32)


def scores(values: Values) -> HeadScores:
    low = -math.inf if np.nanmin(values) < 0 else 0.0
    return HeadScores("a/b/c", "Score", values, 0, no_null="none", range=(low, math.inf), reasons={"*": "none"})


def numbers(labels: list[str]) -> list[float]:
    return [float(label.replace("\u2212", "-").rstrip("+")) for label in labels]


def check(bar: Bar, values: Values) -> None:
    labels, reach = bar.labels(), float(np.nanmax(np.abs(values)))
    assert len(set(labels)) == len(labels) >= 3
    assert not re.search(r"\u22120(\.0*)?$", " ".join(labels))
    assert numbers(labels) == pytest.approx(bar.ticks, rel=1e-9, abs=0)
    assert all(len(label) <= 10 for label in labels)
    assert len({label.partition("e")[2] for label in labels if float(numbers([label])[0])}) == 1  # one unit per bar
    assert reach * (1 - 1e-6) <= bar.high <= 2.6 * (reach or 1.0)


@given(SCALES, KINDS, st.sampled_from([1.0, -1.0]))
@example(1e-13, "spread", 1.0)
@example(1e-9, "spread", 1.0)
@example(float(np.finfo(np.float32).max) * 0.999, "spread", -1.0)
@example(float(np.float32(1e-45)), "one", 1.0)
def test_bars_have_true_different_numbers_at_every_scale(scale: float, kind: str, sign: float) -> None:
    values = grid(scale, kind, sign)
    check(bar_of(scores(values)), values)
    shared, beyond = shared_bar([scores(values), scores(values)], signed=sign < 0)
    assert beyond == 0
    check(shared, values)


@pytest.mark.parametrize("kind", ["spread", "constant", "one", "zero", "lone"])
@pytest.mark.parametrize("scale", [1e-38, 1e-13, 1e-9, 1e-3, 1.0, 1e7, 1e38])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_maps_are_drawn_at_every_scale(scale: float, kind: str, sign: float) -> None:
    values = grid(scale, kind, sign)
    chart = reportgen.heatmap(values)
    svg = render(chart.to_dict())
    for label in bar_of(scores(values)).labels():
        assert f">{label}<" in svg
    fills = set(re.findall(r'fill="(rgb[^"]+|#[0-9a-f]+)"', svg))
    assert len(fills) >= (6 if kind == "spread" else 1)
    two = maps([HeadMap("x", "", scores(values)), HeadMap("y", "", scores(values))], "Score", Style(), signed=sign < 0)
    assert "NaN" not in render(two.to_dict())


@pytest.mark.parametrize("scale", [1e-38, 1e-13, 1e-9, 1.0, 1e38])
def test_curves_are_drawn_at_every_scale(scale: float) -> None:
    panel = CurvePanel("p", "", (Curve("a", (0.0, 1.0), (0.0, scale), "#000000", False),))
    svg = render(curves([panel], "x", "y", Style()).to_dict())
    texts = [float(t) for t in re.findall(r">(\d[\d.]*(?:e[+-]?\d+)?)<", svg.replace("\u2212", "-"))]
    assert any(text == pytest.approx(scale, rel=0.3, abs=0) for text in texts)
    assert "NaN" not in svg


def test_minus_zero_is_zero() -> None:
    assert captions.number(-0.0) == "0.000"
    assert number(-0.0) == "0.000"
    assert math.copysign(1, round6(-0.0)) == 1
    assert captions.number(3e38) == "3.00e+38"
    zeros = scores(np.array([[-0.0, -1e-20], [0.5, 0.2]], np.float32))
    assert "\u22120.0" not in render(reportgen.heatmap(zeros.values).to_dict()).replace("\u22120.1", "")
