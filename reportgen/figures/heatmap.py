"""The layer x head map of one score per head, alone or two side by side.

Layers run along x and heads along y with head 0 on top, as in Elhelo and Geva, arXiv 2412.11965. Cells stand on linear
scales, so that markers, legends and cells share one coordinate system; ticks are whole numbers and the last is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.errors import DataError, SettingsError
from reportgen.figures import legend, overlays, theme
from reportgen.figures.chart_data import chart_layer, check_style, round6, rows
from reportgen.figures.figure import MapPlace, View, noted, notes_of
from reportgen.figures.geometry import Bar, MapGrid, Wanted, bar_of, fit, room, under
from reportgen.figures.legend import above_line
from reportgen.figures.markers import styled
from reportgen.figures.theme import Style
from reportgen.scores import BoolGrid, Head, HeadScores, HeadSet, head_name, parse_head

ChartT = TypeVar("ChartT", alt.LayerChart, alt.HConcatChart, alt.VConcatChart, alt.HConcatChart | alt.VConcatChart)
WATERMARK = "SYNTHETIC"


def heatmap(
    scores: HeadScores,
    view: View | None = None,
    overlays: Sequence[HeadSet] = (),
    title: str = "",
    *,
    significant: bool = False,
    hatch: Hatch | None = None,
    style: Style | None = None,
) -> alt.LayerChart:
    """The map of `scores` [layer head] with `overlays` marked on it, themed and ready to show or export.

    significant  also mark the heads that beat the null (adjusted p <= 0.05, or above the family-wise line)
    hatch        heads whose value is to be read with care, which the legend says
    style        defaults to the view's
    """
    style = check_style(style or (view.style if view else Style()))
    panel = MapPanel(scores, styled(overlays), title, significant, hatch)
    grids = fit([panel.wanted()], style).grids
    legends, refused = _legends([panel], grids, style)
    chart = themed(_drawn(panel, grids[0], legends[0], style, synthetic=_synthetic(view)), style)
    return _noted(chart, [panel], grids, refused)


def pair(
    left: tuple[HeadScores, Sequence[HeadSet], str],
    right: tuple[HeadScores, Sequence[HeadSet], str],
    view: View | None = None,
    *,
    style: Style | None = None,
) -> alt.HConcatChart | alt.VConcatChart:
    """Two maps, each (scores, overlays, title) with its own colour bar and legend, and one marker per class in both.

    Side by side; below each other at the width of a column that leaves two of them no room.
    """
    style = check_style(style or (view.style if view else Style()))
    looks = {s.key: s for s in styled([*left[1], *right[1]])}
    panels = [MapPanel(s, tuple(looks[one.key] for one in sets), title) for s, sets, title in (left, right)]
    place = fit([panel.wanted() for panel in panels], style)
    legends, refused = _legends(panels, place.grids, style)
    charts = [
        _drawn(panel, grid, legend_, style, synthetic=_synthetic(view))
        for panel, grid, legend_ in zip(panels, place.grids, legends, strict=True)
    ]
    chart = alt.VConcatChart(vconcat=charts) if place.stacked else alt.HConcatChart(hconcat=charts)
    chart.resolve = alt.Resolve(scale=alt.ScaleResolveMap(color="independent", x="independent", y="independent"))
    return _noted(themed(chart, style), panels, place.grids, refused)


@dataclass(frozen=True, eq=False)
class Hatch:
    """Heads [layer head] whose cells are hatched where they have a value, and what that says."""

    heads: BoolGrid
    words: str


@dataclass(frozen=True)
class MapPanel:
    """One map to be drawn; `sets` have their markers."""

    scores: HeadScores
    sets: Sequence[HeadSet]
    title: str
    significant: bool = False
    hatch: Hatch | None = None

    @property
    def hatched(self) -> list[Head]:
        """The hatched heads."""
        if self.hatch is None:
            return []
        return [
            (layer, head) for layer, head in np.argwhere(self.hatch.heads & np.isfinite(self.scores.values)).tolist()
        ]

    def wanted(self) -> Wanted:
        return Wanted(_shape(self.scores), bar_of(self.scores), theme.clean(self.scores.label))


def _synthetic(view: View | None) -> bool:
    return bool(view and (view.synthetic or view.model.synthetic))


def _legends(
    panels: Sequence[MapPanel], grids: Sequence[MapGrid], style: Style
) -> tuple[list[list[legend.Placed]], str]:
    """The legends of every panel, and why they are not inside where that was asked for: in all panels or in none."""
    drawn = [overlays.place(panel.sets, grid) for panel, grid in zip(panels, grids, strict=True)]
    found = [
        legend.groups(of, panel.scores, panel.hatch.words if panel.hatch and panel.hatched else "")
        for of, panel in zip(drawn, panels, strict=True)
    ]
    refused = ""
    if style.legend == "inside":
        boxed = [
            legend.boxed(entries, of, panel.scores, grid)
            for entries, of, panel, grid in zip(found, drawn, panels, grids, strict=True)
        ]
        refused = next((placed for placed in boxed if isinstance(placed, str)), "")
        if not refused:
            return [placed for placed in boxed if not isinstance(placed, str)], ""
    bars = [bar_of(panel.scores) for panel in panels]
    return [legend.below(entries, grid, bar) for entries, grid, bar in zip(found, grids, bars, strict=True)], refused


def _noted(chart: ChartT, panels: Sequence[MapPanel], grids: Sequence[MapGrid], refused: str) -> ChartT:
    """`chart` with its panels, and the reason why its legend is not inside."""
    drawn = [(panel, grid) for panel, grid in zip(panels, grids, strict=True) if np.isfinite(panel.scores.values).any()]
    places = [MapPlace(panel.scores.key, (0.0, 0.0), (grid.cell_w, grid.cell_h)) for panel, grid in drawn]
    return noted(chart, places, legend_refused=refused)


def legend_refused(chart: Any) -> str:
    """Why the legend of a chart stands outside although it was to be inside; empty where it was not refused."""
    return str(notes_of(chart).get("legend_refused", ""))


def array_heatmap(
    values: npt.ArrayLike,
    overlays: Mapping[str, Sequence[str | tuple[int, int]]] | Sequence[HeadSet] = (),
    *,
    label: str = "Score",
    title: str = "",
    range: tuple[float, float] | None = None,  # noqa: A002 - HeadScores' word
    style: Style | None = None,
) -> alt.LayerChart:
    """The map of any [layer head] array, for notebooks; NaN is drawn as not computed.

    overlays  {"Name movers": ["L9H6", (9, 9)]} or head sets
    range     smallest and largest possible value; by default 0 (or the symmetric negative) to the data's own reach
    """
    grid = np.asarray(values, dtype=np.float32)
    if grid.ndim != 2 or 0 in grid.shape:
        raise DataError(f"array of shape {grid.shape}: expected one value per [layer head].")
    low = -math.inf if np.nanmin(grid, initial=0.0) < 0 else 0.0
    scores = HeadScores(
        "user/score/array", label, grid, n=0, no_null="a plain array", range=range or (low, math.inf),
        reasons={"*": "NaN in the array"},
    )  # fmt: skip
    chart = heatmap(scores, overlays=named_sets(overlays, grid.shape), title=title, style=style)
    if refused := legend_refused(chart):
        raise SettingsError(f"legend='inside': {refused}.", "Leave it outside.")
    return chart


def _drawn(
    panel: MapPanel, grid: MapGrid, legends: Sequence[legend.Placed], style: Style, *, synthetic: bool
) -> alt.LayerChart:
    """One map without theme; bottom to top: cells, missing cells, corners of exact ones, hatches, markers, colour
    bar's label, legends, watermark."""
    scores, bar, axes = panel.scores, bar_of(panel.scores), _axes(grid)
    charts = _cells(scores, panel.sets, grid, bar, axes, style)
    if scores.estimated is not None:
        charts.append(_exact(scores, grid, axes))
    if panel.hatched:
        values = [{"layer": layer, "head": head} for layer, head in panel.hatched]
        charts += legend.hatch(values, grid.cell_w, grid.cell_h, axes, "hatched")
    if panel.significant:
        charts.append(_significance(scores, grid, axes))
    charts += overlays.layers(overlays.place(panel.sets, grid), grid, axes)
    charts += [_headroom(grid, axes), *legend.bar_words(grid, bar, axes)]
    charts += legend.layers(legends, grid, axes)
    if synthetic:
        charts.append(_watermark(grid, axes))
    layered = alt.LayerChart(layer=charts, width=round(grid.width, 2), height=round(grid.height, 2))
    if panel.title:
        of = room(grid, bar)
        beside = of.left if style.width_in is None else min(of.left, of.right - 0.5 * style.font_size)  # clear of edges
        across = max(grid.width + 2 * beside, 9 * style.font_size)
        lines = _lines(theme.wrap(theme.clean(panel.title), 1.08 * style.font_size, across))
        layered.title = alt.TitleParams(lines, frame="group")
    return layered


def _headroom(grid: MapGrid, axes: dict[str, Any]) -> alt.Chart:
    """An unseen line above the plot that reaches higher than any number beside it: titles stand at one height."""
    up = round6(grid.y_at(-0.7 * grid.font_size))
    ends = {**axes, "x2": alt.X2("layer_end:Q")}
    row = {"layer": -0.5, "layer_end": grid.layers - 0.5, "head": up}
    return chart_layer("headroom", [row], {"type": "rule", "strokeWidth": 0, "opacity": 0}, ends)


def _lines(lines: tuple[str, ...]) -> str | list[str]:
    return lines[0] if len(lines) == 1 else list(lines)


def themed(chart: ChartT, style: Style) -> ChartT:
    """`chart` with the house configuration at its top."""
    copy = chart.copy(deep=False)
    copy.config = alt.Config(**theme.config(style))
    return copy


def _shape(scores: HeadScores) -> tuple[int, int]:
    layers, heads = scores.values.shape
    return layers, heads


def _axes(grid: MapGrid) -> dict[str, Any]:
    """The x and y of every layer of a map: the same scales and axes, so that Vega-Lite merges them into one."""
    return {
        "x": alt.X("layer:Q", title="Layer", scale=alt.Scale(domain=[-0.5, grid.layers - 0.5], nice=False, zero=False),
                   axis=alt.Axis(values=grid.layer_ticks(), format="d", title="Layer")),
        "y": alt.Y("head:Q", title="Head", scale=alt.Scale(domain=[grid.heads - 0.5, -0.5], nice=False, zero=False),
                   axis=alt.Axis(values=grid.head_ticks(), format="d", title="Head")),
    }  # fmt: skip


def _cells(
    scores: HeadScores, sets: Sequence[HeadSet], grid: MapGrid, bar: Bar, axes: dict[str, Any], style: Style
) -> list[alt.Chart]:
    data = rows(scores, sets)
    known = [row for row in data if row["value"] is not None]
    charts = []
    if known:
        charts.append(_known(known, grid, bar, axes, style))
    if len(known) < len(data):
        absent = [
            {k: row[k] for k in ("layer", "head", "name", "sets", "note")} for row in data if row["value"] is None
        ]
        grey, stroke = legend.missing(absent, grid.cell_w, grid.cell_h, axes, "missing")
        tips = [alt.Tooltip("name:N", title="head"), alt.Tooltip("note:N", title="not computed"), *_set_tip(absent)]
        charts += [grey.encode(tooltip=tips), stroke]
    return charts


def _known(data: list[dict[str, Any]], grid: MapGrid, bar: Bar, axes: dict[str, Any], style: Style) -> alt.Chart:
    kept = _used(data)
    scale = alt.Scale(**_scheme(bar, style), domain=[bar.low, bar.high], clamp=True)
    over = under(grid.cell)
    mark = {
        "type": "rect", "width": round6(grid.cell_w + over), "height": round6(grid.cell_h + over), "opacity": 1,
        "xOffset": over / 2, "yOffset": over / 2, "clip": True,
    }  # fmt: skip
    colour = alt.Color("value:Q", scale=scale, legend=legend.bar_gradient(grid))
    values = [{k: row[k] for k in kept} for row in data]
    return chart_layer("cells", values, mark, {**axes, "color": colour, "tooltip": _tips(kept, data)})


def _used(data: list[dict[str, Any]]) -> list[str]:
    """The fields that say something in any row: empty columns would only make the file larger."""
    names = [name for name in data[0] if any(row[name] not in (None, "") for row in data)]
    return [name for name in names if not (name == "n" and all(row["n"] == 0 for row in data))]


_TIPS = (
    ("name", "head", ""), ("value", "value", ".4~g"), ("low", "95 % from", ".4~g"), ("high", "95 % to", ".4~g"),
    ("n", "n", ""), ("p", "p (adjusted)", ".3~g"), ("line", "family-wise line", ".3~g"), ("rank", "rank", ""),
    ("note", "note", ""),
)  # fmt: skip


def _tips(kept: Sequence[str], data: list[dict[str, Any]]) -> list[alt.Tooltip]:
    tips = [_tip(name, title, form) for name, title, form in _TIPS if name in kept]
    return tips + _set_tip(data)


def _tip(name: str, title: str, form: str = "") -> alt.Tooltip:
    if form:
        return alt.Tooltip(name, type="quantitative", title=title, format=form)
    return alt.Tooltip(name, type="nominal", title=title)


def _set_tip(data: list[dict[str, Any]]) -> list[alt.Tooltip]:
    return [_tip("sets", "marked as")] if any(row["sets"] for row in data) else []


def _scheme(bar: Bar, style: Style) -> dict[str, Any]:
    if bar.signed:
        return {"scheme": theme.SCHEMES_SIGNED.get(style.palette, "redblue"), "reverse": True}
    return {"scheme": style.cmap}


def _exact(scores: HeadScores, grid: MapGrid, axes: dict[str, Any]) -> alt.Chart:
    """A filled corner on each cell whose value is exact, on a map where others are estimates."""
    values = [{"layer": int(lay) - 0.5, "head": int(h) - 0.5} for lay, h in np.argwhere(scores.exact)]
    return legend.corners(values, min(max(1.8, 0.4 * grid.cell), 6.0), axes, "exact")


def _significance(scores: HeadScores, grid: MapGrid, axes: dict[str, Any]) -> alt.Chart:
    """A short bar in the lower right of each cell that beats the null."""
    beats = above_line(scores)
    values = [{"layer": int(lay), "head": int(h)} for lay, h in np.argwhere(beats)]
    mark = {
        "type": "point", "shape": "M0.5,0.8H1.6", "stroke": "#ffffff", "strokeWidth": round6(max(0.6, grid.cell / 16)),
        "filled": False, "size": round6((0.5 * grid.cell) ** 2), "opacity": 1,
    }  # fmt: skip
    return chart_layer("significant", values, mark, axes)


def _watermark(grid: MapGrid, axes: dict[str, Any]) -> alt.Chart:
    at = {"layer": (grid.layers - 1) / 2, "head": (grid.heads - 1) / 2, "text": WATERMARK}
    mark = {
        "type": "text", "angle": round(360 - 45 * min(1.0, grid.height / grid.width), 1), "fontWeight": "bold",
        "fontSize": round(min(grid.width, grid.height) / 6.2, 1), "color": "#ffffff", "fillOpacity": 0.38,
        "stroke": "#000000", "strokeWidth": 0.5, "strokeOpacity": 0.38,
    }  # fmt: skip
    return chart_layer("watermark", [at], mark, {**axes, "text": alt.Text("text:N")})


def named_sets(
    given: Mapping[str, Sequence[str | tuple[int, int]]] | Sequence[HeadSet], shape: tuple[int, ...]
) -> list[HeadSet]:
    """Head sets of a caller's own: legend entry -> heads. DataError for what is no head or outside the grid."""
    if not isinstance(given, Mapping):
        return list(given)
    sets = []
    for label, heads in given.items():
        try:
            parsed = tuple(
                parse_head(head) if isinstance(head, str) else (int(head[0]), int(head[1])) for head in heads
            )
        except (ValueError, TypeError, IndexError) as error:
            raise DataError(f"overlay {label!r}: {error}", "Give heads as 'L9H6' or (9, 6).") from error
        outside = [head_name(*head) for head in parsed if not (0 <= head[0] < shape[0] and 0 <= head[1] < shape[1])]
        if outside:
            grid = f"{shape[0]} layers x {shape[1]} heads"
            raise DataError(f"overlay {label!r}: {outside[0]} is outside the {grid}.", "Heads count from 0.")
        sets.append(HeadSet(f"user/{label}", label, parsed, "Marked heads", "this call", "given by hand", "user"))
    return sets
