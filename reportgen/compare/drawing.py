"""Comparisons drawn: difference maps within one lineage, profiles by relative depth, scores by rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats
from reportgen.compare.numbers import depths, profile, sized
from reportgen.figures import captions, theme
from reportgen.figures.chart_data import table
from reportgen.figures.curves import Curve, CurvePanel, curves
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later
from reportgen.figures.head_maps import HeadMap, maps, shared_bar
from reportgen.figures.heatmap import heatmap
from reportgen.scores import Cell, Column, HeadScores, HeadSet, SuiteResult, Table, head_name

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_POINTS = 3_000  # of a rank curve that are drawn; where there are more heads, all of its ENDS and some between
ENDS = 100


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Per group of scores: the differences where heads may be subtracted, profiles by depth, curves by rank."""
    for name, keys in groups(result).items():
        yield from _differences(result, view, name, keys)
        yield from (partial(make, result, view, name, keys) for make in (_depth, _rank))


def groups(result: SuiteResult) -> dict[str, list[str]]:
    """The scores of one figure: a measure's tasks, or a suite's measures where each has one task and all one range.

    Panels share their axes, so scores without bounds get a figure each.
    """
    keys = [str(key) for key in _list(result, "keys")]
    kinds = [key.rsplit("/", 1)[0] for key in keys]
    ranges = result.facts.get("ranges")
    found: dict[str, list[str]] = {}
    for key, kind in zip(keys, kinds, strict=True):
        bounds = ranges.get(key) if isinstance(ranges, dict) else None
        alike = isinstance(bounds, list | tuple) and list(bounds) == [0.0, 1.0]
        found.setdefault(kind.split("/")[0] if alike and kinds.count(kind) == 1 else kind, []).append(key)
    return found


def _list(result: SuiteResult, name: str) -> list[Any]:
    found = result.facts.get(name)
    return list(found) if isinstance(found, list | tuple) else []


def _labels(result: SuiteResult, keys: Sequence[str]) -> list[str]:
    """Labels without what all of them end in."""
    known = result.facts.get("labels")
    labels = [str(known.get(key, key)) if isinstance(known, dict) else key for key in keys]
    if len(labels) > 1 and len({label.partition(": ")[2] for label in labels}) == 1:  # one measure on several tasks
        labels = [label.partition(": ")[0] for label in labels]
    for tail in (" score", " attention"):
        if len(labels) > 1 and all(label.endswith(tail) for label in labels):
            labels = [label.removesuffix(tail) for label in labels]
    return labels


def _values(result: SuiteResult, key: str) -> list[Floats]:
    """[layer head] of every run; sizes where the score can be negative."""
    signed = key in _list(result, "signed")
    return [sized(result.arrays[f"{key}/{i}"].values, signed) for i in range(len(_list(result, "names")))]  # type: ignore[arg-type]


def _words(result: SuiteResult, name: str) -> str:
    """What all captions say: the runs, and that something differs in the suite of `name` (suite/measure)."""
    names = [str(name) for name in _list(result, "described") or _list(result, "names")]
    differ = _differ(result, name)
    first = [line.split(":")[0].split(" (")[0] for line in differ[:2]]
    more = f", and {len(differ) - 2} more" if len(differ) > 2 else ""
    warning = f"DATA OR SETTINGS DIFFER: {'; '.join(first)}{more} (notes)." if differ else ""
    return captions.join(f"Runs: {', '.join(names)}.", warning)


def _notes(result: SuiteResult, name: str, keys: Sequence[str], *more: str) -> tuple[str, ...]:
    """What differs, that sizes are drawn, and `more`."""
    differ = _differ(result, name)
    signed = set(keys) & set(_list(result, "signed"))
    sizes = "The figure and its CSV hold absolute values." if signed else ""
    return captions.notes(f"What differs: {'; '.join(differ)}." if differ else "", sizes, *more)


def _differ(result: SuiteResult, name: str) -> list[str]:
    """What differs in the suite of `name`; comparisons of older versions keep one list for all."""
    of = result.facts.get("banner_of")
    suite = name.split("/")[0]
    differ = of.get(suite, ()) if isinstance(of, dict) else _list(result, "banner")
    return [str(line) for line in differ]


def _lineage(result: SuiteResult) -> str:
    return str(result.facts.get("lineage") or "")


@dataclass(frozen=True)
class RunLine:
    """One run's curve, what the figure's data hold of it, and how many points it would have if all were drawn.

    band  (low, high) at each point, or empty
    """

    x: Floats
    y: Floats
    rows: Sequence[tuple[Cell, ...]]
    band: tuple[tuple[float, float], ...] = ()
    points: int = 0


@dataclass(frozen=True)
class CurveKind:
    """What the runs' scores are drawn against. `line`: values [layer head] -> the curve."""

    name: str
    by: str  # of the title
    across: str
    words: str  # of the caption
    alt: str  # {} stands for what is drawn
    columns: tuple[Column, ...]
    line: Callable[[Floats], RunLine]


def _by_depth(values: Floats) -> RunLine:
    found, deep = profile(values), depths(len(values))
    kept = np.isfinite(found[:, 0])
    band = tuple((float(low), float(high)) for low, high in found[kept, 1:])
    rows = [
        (layer, float(deep[layer]), *(float(v) if np.isfinite(v) else None for v in found[layer]))
        for layer in range(len(values))
    ]
    return RunLine(deep[kept], found[kept, 0], rows, band)


def _by_rank(values: Floats) -> RunLine:
    heads, x, y = ranked(values)
    kept = drawn(len(heads))
    rows: list[tuple[Cell, ...]] = [(head, float(a), float(b)) for head, a, b in zip(heads, x, y, strict=True)]
    return RunLine(x[kept], y[kept], rows, points=len(heads))


DEPTH = CurveKind(
    "depth",
    "relative depth",
    "Relative depth",
    "mean over the heads of each layer, bands from the lower to the upper quartile. Depth 0 is the first layer, 1 the "
    "last.",
    "Curves of {} against relative depth, one line per run.",
    (
        Column("layer"), Column("relative depth"), Column("mean", digits=4), Column("lower quartile", digits=4),
        Column("upper quartile", digits=4),
    ),
    _by_depth,
)  # fmt: skip
RANK = CurveKind(
    "rank",
    "rank",
    "Relative rank",
    "heads of each run from the highest (0) to the lowest (1). A curve that stays high has many such heads, one that "
    "drops at once has few.",
    "Curves of sorted {} against relative rank, one line per run.",
    (Column("head"), Column("relative rank", digits=4), Column("value", digits=4)),
    _by_rank,
)


def _depth(result: SuiteResult, view: View, name: str, keys: Sequence[str]) -> Figure:
    return _run_curves(result, view, name, keys, DEPTH)


def _rank(result: SuiteResult, view: View, name: str, keys: Sequence[str]) -> Figure:
    return _run_curves(result, view, name, keys, RANK)


def _run_curves(result: SuiteResult, view: View, name: str, keys: Sequence[str], kind: CurveKind) -> Figure:
    """A panel per score, with a curve per run."""
    runs, colours = [str(n) for n in _list(result, "names")], theme.CATEGORY_COLOURS[view.style.palette]
    panels: list[CurvePanel] = []
    rows: list[tuple[Cell, ...]] = []
    most = 0
    for key, label in zip(keys, _labels(result, keys), strict=True):
        lines = []
        for i, (run, values) in enumerate(zip(runs, _values(result, key), strict=True)):
            line = kind.line(values)
            most = max(most, line.points)
            x, y = tuple(line.x.tolist()), tuple(line.y.tolist())
            lines.append(Curve(run, x, y, colours[i], i % 2 == 1, line.band))
            rows += [(key, run, *row) for row in line.rows]
        panels.append(CurvePanel(label, "", tuple(lines)))
    title = f"{_title(result, name)} by {kind.by}"
    down, sizes = _sized(result, keys)
    columns = (Column("score"), Column("run"), *kind.columns)
    return Figure(
        id=f"compared-{_id(name)}-{kind.name}",
        suite=result.suite,
        title=title,
        caption=captions.join(f"{title}: {kind.words}", sizes, _words(result, name), captions.synthetic(view)),
        alt=kind.alt.format(_title(result, name)),
        chart=later(_curves, panels, kind.across, down, view),
        data=Table(f"compared/{name}/{kind.name}", title, columns, tuple(rows)),
        notes=_notes(result, name, keys, _thinned(most)),
    )


def _curves(panels: Sequence[CurvePanel], across: str, down: str, view: View) -> alt.LayerChart:
    return curves(panels, across, down, view.style, ticks=SHARES, synthetic=view.synthetic)


def _sized(result: SuiteResult, keys: Sequence[str]) -> tuple[str, str]:
    """The name of the axis, and what the caption says where absolute values are drawn."""
    if set(keys) & set(_list(result, "signed")):
        return "|Score|", "Absolute values: a head that lowers the metric counts as one that raises it."
    return "Score", ""


def ranked(values: Floats) -> tuple[list[str], Floats, Floats]:
    """(head, relative rank, value) of every head with a value, from the highest to the lowest."""
    order = [divmod(int(i), values.shape[1]) for i in np.argsort(-values, axis=None, kind="stable")]
    known = [at for at in order if np.isfinite(values[at])]
    return (
        [head_name(*at) for at in known],
        np.arange(len(known)) / max(1, len(known) - 1),
        np.array([values[at] for at in known]),
    )


def drawn(count: int) -> npt.NDArray[np.int64]:
    """The places of a rank curve that are drawn: all, or of more than MOST_POINTS the ends whole and some between."""
    between = np.linspace(ENDS, count - 1 - ENDS, min(count, MOST_POINTS - 2 * ENDS))
    ends = [*range(ENDS), *range(count - ENDS, count)]
    whole = np.arange(count)
    return whole if count <= MOST_POINTS else np.unique([*ends, *np.round(between).astype(int)])


def _thinned(count: int) -> str:
    if count <= MOST_POINTS:
        return ""
    return (
        f"Of {count:,} heads {MOST_POINTS:,} are drawn: the {ENDS} highest, the {ENDS} lowest, and others evenly "
        "between; the figure's data hold all."
    )


def _differences(result: SuiteResult, view: View, name: str, keys: Sequence[str]) -> Iterator[Maker]:
    """One figure per later run: a map per score under one colour bar, or a single map."""
    runs = [str(n) for n in _list(result, "names")]
    for i in range(1, len(runs)):
        tail = "" if len(runs) == 2 else f".{i}"
        found = [result.get("difference", key.replace("/", ".") + tail) for key in keys]
        scores = [s for s in found if s is not None]
        if scores:
            pair = (runs[0], runs[i])
            yield partial(_maps, result, view, name, scores, _labels(result, keys), pair, tail)


def _maps(
    result: SuiteResult, view: View, name: str, scores: Sequence[HeadScores], labels: Sequence[str],
    pair: tuple[str, str], tail: str,
) -> Figure:  # fmt: skip
    title = f"{_title(result, name)}: {pair[1]} − {pair[0]}"
    if len(scores) == 1:
        chart: Any = heatmap(scores[0], view, _apart(scores[0]), title)
        clipped = 0
    else:
        panels = [HeadMap(label, "", s, away(s)) for label, s in zip(labels, scores, strict=True)]
        chart = maps(panels, "Difference", view.style, signed=True, synthetic=view.synthetic)
        clipped = shared_bar(list(scores), signed=True)[1]
    return Figure(
        id=f"compared-{_id(name)}-difference{tail.replace('.', '-')}",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"{title}, head by head. Red: higher in {pair[1]}. Same heads: {_lineage(result)}.",
            _beyond(scores),
            _words(result, name),
            captions.synthetic(view),
        ),
        alt=f"Layer by head maps of {_title(result, name)}, {pair[1]} minus {pair[0]}.",
        chart=chart,
        data=table([(s, ()) for s in scores], title),
        notes=_notes(result, name, (), _clipped(clipped)),
    )


def away(scores: HeadScores) -> Bools:
    """[layer head] the heads whose interval leaves out 0."""
    if scores.low is None or scores.high is None:
        return np.zeros(scores.values.shape, dtype=bool)
    return np.asarray((scores.low > 0) | (scores.high < 0), dtype=bool)


def _apart(scores: HeadScores) -> tuple[HeadSet, ...]:
    """The same heads as a set that a map marks."""
    heads = tuple((int(layer), int(head)) for layer, head in np.argwhere(away(scores)))
    rule = "95 % interval of the difference leaves out 0"
    return (HeadSet("compared/apart", "interval leaves out 0", heads, "", "computed here", rule, marker="dot"),)


def _clipped(count: int) -> str:
    if not count:
        return ""
    return f"{captions.plural(count, 'cell')} {'lies' if count == 1 else 'lie'} beyond the colour bar."


def _beyond(scores: Sequence[HeadScores]) -> str:
    """How many intervals leave zero out, of how many; none where the runs have no intervals."""
    low = [s.low for s in scores if s.low is not None]
    if not low:
        return "The runs have no intervals for these scores, so the differences have none either."
    total = sum(int(np.isfinite(grid).sum()) for grid in low)
    count = sum(int(away(s).sum()) for s in scores)
    expected = round(0.05 * total)
    dots = "; dots mark them" if count else ""
    return (
        f"{count} of {captions.plural(total, 'interval')} {'leaves' if count == 1 else 'leave'} out 0 (95 %, runs "
        f"taken as independent; about {expected} or fewer would if nothing differed{dots})."
    )


def _id(name: str) -> str:
    return name.replace("/", "-")


def _title(result: SuiteResult, name: str) -> str:
    """`my_suite/share` as words: the measure's own title where the comparison keeps it."""
    titles = result.facts.get("titles")
    if isinstance(titles, dict) and name in titles:
        return str(titles[name])
    suite, _, measure = name.partition("/")
    return f"{suite.capitalize()}{f' {measure}' if measure else ''}".replace("_", " ")
