"""A figure and what it is drawn from. No torch, no disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reportgen.figures.markers import styled
from reportgen.manifest import ModelRecord
from reportgen.scores import HeadSet, SuiteResult, Table

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart | alt.ConcatChart


@dataclass(frozen=True)
class Kept:
    """A drawing that a run folder keeps, in a chart's place: checked SVG. It can be neither restyled nor resized."""

    svg: str

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg


@dataclass(frozen=True)
class Style:
    """How figures look; every field is a choice of the user.

    cmap       Vega colour scheme of sequential score maps
    palette    "published" (the paper's hues) or "safe" (colour-blind safe); letters stand beside the hue in both
    font_size  points, at the printed width
    width_in   printed width in inches; None = the figure's own
    legend     of score maps: "outside", below the map, or "inside", a half-transparent box in the quiet corner as
               published; it stays outside where it would cover a marked cell or one above the line
    """

    cmap: str = "viridis"
    palette: str = "published"
    font_size: float = 10.0
    width_in: float | None = None
    legend: str = "outside"


@dataclass(frozen=True)
class View:
    """What a suite's figures may look at beside its own result.

    settings   this suite's settings as stored in run.json
    overlays   every head set that may be drawn: published for this model, the user's, computed by any suite of the run
    results    results of all suites of the run, by name
    """

    model: ModelRecord
    settings: Mapping[str, Any] = field(default_factory=dict)
    overlays: Sequence[HeadSet] = ()
    results: Mapping[str, SuiteResult] = field(default_factory=dict)
    style: Style = field(default_factory=Style)
    synthetic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "overlays", styled(self.overlays))  # one marker per class in all figures of the run

    def sets(self, *prefixes: str) -> list[HeadSet]:
        """Overlay sets whose key starts with one of the prefixes, in order, e.g. sets("circuits/ioi/")."""
        return [s for s in self.overlays if s.key.startswith(prefixes)]


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure, its words and its numbers.

    id       file name, e.g. "relations-name_copying"
    caption  at most 60 words of plain text: what is drawn, of which model, n, the best head with its interval, the line
    notes    how it was made, a sentence each: formula, null, controls, markers and who says so
    alt      one short sentence for who cannot see it
    data     the tidy numbers behind it, one row per mark; goes into the CSV
    """

    id: str
    suite: str
    title: str
    caption: str
    alt: str
    chart: Chart | Kept
    data: Table
    head_sets: tuple[HeadSet, ...] = ()
    notes: tuple[str, ...] = ()
