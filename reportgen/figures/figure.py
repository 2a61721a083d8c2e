"""A figure and its data, and figures made one by one. No torch, no disk access."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from reportgen.errors import one_line
from reportgen.figures.markers import styled
from reportgen.figures.theme import Style, clean
from reportgen.manifest import ModelRecord
from reportgen.scores import HeadScores, HeadSet, SuiteResult, Table

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart | alt.ConcatChart


P = ParamSpec("P")
T = TypeVar("T")


def later(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `make` returns, as a `Figure`'s chart: it is called when the chart is first looked at."""
    return cast("T", partial(make, *args, **kwargs))


@dataclass(frozen=True)
class MapPlace:
    """Where a chart draws the score map `key`: cell (layer, head) starts at `at + layer * step[0]` across and
    `at + head * step[1]` down, in points of its plot.

    down    layers run downwards and heads across instead; then `step` is (per head across, per layer down)
    shared  its colour bar is that of other maps too
    """

    key: str
    at: tuple[float, float]
    step: tuple[float, float]
    down: bool = False
    shared: bool = False


def noted(chart: T, panels: Sequence[MapPlace], **notes: object) -> T:
    """`chart` with its panels and other notes of how it was made, which no drawing shows."""
    chart.usermeta = {"panels": [asdict(panel) for panel in panels], "size": _size(chart), **notes}  # type: ignore[attr-defined]
    return chart


def _size(chart: object) -> list[float]:
    """Width and height of a chart's plot, where it has one."""
    sides = (getattr(chart, name, None) for name in ("width", "height"))
    return [side for side in sides if isinstance(side, int | float)]


def notes_of(chart: object) -> dict[str, Any]:
    """What `noted` left on a chart."""
    notes = getattr(chart, "usermeta", None)
    return notes if isinstance(notes, dict) else {}


@dataclass(frozen=True)
class KeptDrawing:
    """A drawing that a run folder keeps, in a chart's place: checked SVG. It can be neither restyled nor resized."""

    svg: str
    panels: tuple[MapPlace, ...] = ()

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg


@dataclass(frozen=True)
class View:
    """What a suite's figures can use besides its own result.

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
        """Overlay sets whose key starts with one of the prefixes, in order, e.g. sets("my_suite/words/")."""
        return [s for s in self.overlays if s.key.startswith(prefixes)]


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure, its words and its numbers.

    id       file name, e.g. "relations-name_copying"
    chart    the drawing, or `later(function, ...)`, which makes it when it is looked at: lists of figures never do
    caption  at most 60 words of plain text: what is drawn, of which model, n, the best head with its interval, the line
    notes    how it was made, a sentence each: formula, null, controls, markers and who says so
    alt      one short sentence as text alternative
    data     the tidy numbers behind it, one row per mark; goes into the CSV
    supplementary  drawn on the page and as files; the PDF only names it
    """

    id: str
    suite: str
    title: str
    caption: str
    alt: str
    chart: Chart | KeptDrawing
    data: Table
    head_sets: tuple[HeadSet, ...] = ()
    notes: tuple[str, ...] = ()
    supplementary: bool = False

    def __post_init__(self) -> None:
        chart: object = self.chart
        if isinstance(chart, partial):
            object.__setattr__(self, "_make", chart)
            object.__delattr__(self, "chart")

    @property
    def panels(self) -> tuple[MapPlace, ...]:
        """The score maps in the chart that have a value, in the order drawn; empty for other figures."""
        if isinstance(self.chart, KeptDrawing):
            return self.chart.panels
        notes = notes_of(self.chart)
        whole = notes.get("size") == _size(self.chart)  # nobody has resized it since
        return tuple(MapPlace(**panel) for panel in notes.get("panels", ()) if whole)

    def __getattr__(self, name: str) -> Any:
        """The chart made now, for an attribute that is not there is one left for later."""
        if name != "chart" or "_make" not in self.__dict__:
            raise AttributeError(name)
        object.__setattr__(self, "chart", self.__dict__["_make"]())
        return self.chart


# Figures made one by one, so that one failure does not affect the others. The boundary of drawing: never raises.

Maker = Callable[[], Figure | None]
Plan = Callable[[SuiteResult, View], Iterable[Maker]]


def supplementary(make: Maker) -> Maker:
    """The same figure, in the page and as files but not in the PDF."""

    def marked() -> Figure | None:
        figure = make()
        if figure is not None:
            object.__setattr__(figure, "supplementary", True)  # `replace` would draw the chart
        return figure

    return marked


class OneByOne:
    """A suite's figures as the makers that `plan` yields; called, it makes all of them, and anything raised is raised.

    The report calls each maker alone. A maker that gives None has no numbers to draw.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.__doc__, self.__module__ = plan, plan.__doc__, plan.__module__

    def __call__(self, result: SuiteResult, view: View) -> list[Figure]:
        return [figure for make in self.plan(result, view) if (figure := make()) is not None]


def attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    """What `make` gives, or None and in one line what it raised."""
    try:
        return make(), ""
    except Exception as error:  # noqa: BLE001  the boundary: one drawing's bug must not lose the others
        if sys.flags.dev_mode:  # python -X dev shows where it broke
            traceback.print_exc()
        return None, clean(one_line(f"{type(error).__name__}: {error}"))


def made(makers: Iterable[Maker]) -> Iterator[Figure | str]:
    """Each maker's figure, or the sentence that says why there is none, in order. Never raises."""
    steps = iter(makers)
    while True:
        make, problem = attempt(lambda: next(steps, None))
        if problem:
            yield f"The figures of this suite could not be drawn: {problem}"
        if make is None:
            return
        figure, problem = attempt(make)
        if problem:
            yield f"A figure could not be drawn ({_name(make)}): {problem}"
        elif figure is not None:
            yield figure


def _name(make: Maker) -> str:
    """What a maker draws: its function, and the score or task it was given."""
    if not isinstance(make, partial):
        return getattr(make, "__name__", "figure").strip("_")
    given = [
        arg.label if isinstance(arg, HeadScores) else arg for arg in make.args if isinstance(arg, HeadScores | str)
    ]
    return clean(", ".join([make.func.__name__.strip("_").replace("_", " "), *given]))
