"""Comparisons drawn: difference maps within one lineage, profiles by relative depth, scores by rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import altair as alt
import numpy as np

from reportgen.compare.numbers import Floats, depths, profile, sized
from reportgen.figures import captions, theme
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.curves import Curve, Panel, curves
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.head_maps import HeadMap, maps, shared_bar
from reportgen.figures.heatmap import heatmap
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_POINTS = 65  # of a rank curve: enough for its shape, also where there are 5,120 heads


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
    for tail in (" score", " attention"):
        if len(labels) > 1 and all(label.endswith(tail) for label in labels):
            labels = [label.removesuffix(tail) for label in labels]
    return labels


def _values(result: SuiteResult, key: str) -> list[Floats]:
    """[layer head] of every run; sizes where the score can be negative."""
    signed = key in _list(result, "signed")
    return [sized(result.arrays[f"{key}/{i}"].values, signed) for i in range(len(_list(result, "names")))]  # type: ignore[arg-type]


def _colours(view: View) -> tuple[str, ...]:
    return theme.CATEGORY_COLOURS[view.style.palette]


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
    sizes = "Sizes are drawn where a score can be negative." if signed else ""
    return captions.notes(f"What differs: {'; '.join(differ)}." if differ else "", sizes, *more)


def _differ(result: SuiteResult, name: str) -> list[str]:
    """What differs in the suite of `name`; comparisons of older versions keep one list for all."""
    of = result.facts.get("banner_of")
    suite = name.split("/")[0]
    differ = of.get(suite, ()) if isinstance(of, dict) else _list(result, "banner")
    return [str(line) for line in differ]


def _lineage(result: SuiteResult) -> str:
    return str(result.facts.get("lineage") or "")


def _depth(result: SuiteResult, view: View, name: str, keys: Sequence[str]) -> Figure:
    runs, colours = [str(n) for n in _list(result, "names")], _colours(view)
    panels, rows = [], []
    for key, label in zip(keys, _labels(result, keys), strict=True):
        lines = []
        for i, (run, values) in enumerate(zip(runs, _values(result, key), strict=True)):
            found, deep = profile(values), depths(len(values))
            kept = np.isfinite(found[:, 0])
            lines.append(
                Curve(
                    run, tuple(deep[kept].tolist()), tuple(found[kept, 0].tolist()), colours[i], i % 2 == 1,
                    tuple((float(low), float(high)) for low, high in found[kept, 1:]),
                )
            )  # fmt: skip
            rows += [(key, run, *_numbers(layer, deep, found)) for layer in range(len(values))]
        panels.append(Panel(label, "", tuple(lines)))
    columns = (
        Column("score"), Column("run"), Column("layer"), Column("relative depth"), Column("mean", digits=4),
        Column("lower quartile", digits=4), Column("upper quartile", digits=4),
    )  # fmt: skip
    title = f"{_title(result, name)} by relative depth"
    return Figure(
        id=f"compared-{_id(name)}-depth",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"{title}: mean over the heads of each layer, bands from the lower to the upper quartile. Depth 0 is the "
            "first layer, 1 the last.",
            _words(result, name),
            captions.synthetic(view),
        ),
        alt=f"Curves of {_title(result, name)} against relative depth, one line per run.",
        chart=_curves(panels, "Relative depth", view),
        data=Table(f"compared/{name}/depth", title, columns, tuple(rows)),
        notes=_notes(result, name, keys),
    )


def _numbers(layer: int, deep: Floats, found: Floats) -> tuple[Cell, ...]:
    return (layer, float(deep[layer]), *(float(v) if np.isfinite(v) else None for v in found[layer]))


def _curves(panels: Sequence[Panel], across: str, view: View) -> alt.LayerChart:
    return curves(panels, across, "Score", view.style, ticks=SHARES, synthetic=view.synthetic)


def _rank(result: SuiteResult, view: View, name: str, keys: Sequence[str]) -> Figure:
    runs, colours = [str(n) for n in _list(result, "names")], _colours(view)
    panels: list[Panel] = []
    rows: list[tuple[Cell, ...]] = []
    for key, label in zip(keys, _labels(result, keys), strict=True):
        lines = []
        for i, (run, values) in enumerate(zip(runs, _values(result, key), strict=True)):
            x, y = ranked(values)
            lines.append(Curve(run, tuple(x.tolist()), tuple(y.tolist()), colours[i], i % 2 == 1))
            rows += [(key, run, float(a), float(b)) for a, b in zip(x, y, strict=True)]
        panels.append(Panel(label, "", tuple(lines)))
    columns = (Column("score"), Column("run"), Column("relative rank"), Column("value", digits=4))
    title = f"{_title(result, name)} by rank"
    return Figure(
        id=f"compared-{_id(name)}-rank",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"{title}: heads of each run from the highest (0) to the lowest (1). A curve that stays high has many "
            "heads of the kind, one that drops at once has few.",
            _words(result, name),
            captions.synthetic(view),
        ),
        alt=f"Curves of sorted {_title(result, name)} against relative rank, one line per run.",
        chart=_curves(panels, "Relative rank of the head", view),
        data=Table(f"compared/{name}/rank", title, columns, tuple(rows)),
        notes=_notes(result, name, keys),
    )


def ranked(values: Floats) -> tuple[Floats, Floats]:
    """(relative rank, value) from the highest head to the lowest, at most 65 points of them."""
    known = np.sort(values[np.isfinite(values)])[::-1]
    at = np.unique(np.round(np.linspace(0, max(0, len(known) - 1), min(len(known), MOST_POINTS))).astype(int))
    return at / max(1, len(known) - 1), known[at]


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
        chart: Any = heatmap(scores[0], view, (), title)
        clipped = 0
    else:
        panels = [HeadMap(label, "", s) for label, s in zip(labels, scores, strict=True)]
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
        notes=_notes(result, name, (), f"{clipped} cells lie beyond the colour bar." if clipped else ""),
    )


def _beyond(scores: Sequence[HeadScores]) -> str:
    """How many intervals leave zero out, of how many; none where the runs have no intervals."""
    low = [s.low for s in scores if s.low is not None]
    high = [s.high for s in scores if s.high is not None]
    if not low:
        return "The runs have no intervals for these scores, so neither have the differences."
    total = sum(int(np.isfinite(grid).sum()) for grid in low)
    away = sum(int(((a > 0) | (b < 0)).sum()) for a, b in zip(low, high, strict=True))
    expected = round(0.05 * total)
    return (
        f"{away} of {total} intervals leave out 0 (95 %, runs taken as independent; about {expected} or fewer would if "
        "nothing differed)."
    )


def _id(name: str) -> str:
    return name.replace("/", "-")


def _title(result: SuiteResult, name: str) -> str:
    """`relations/score` as words: the measure's own title where the comparison keeps it."""
    titles = result.facts.get("titles")
    if isinstance(titles, dict) and name in titles:
        return str(titles[name])
    suite, _, measure = name.partition("/")
    return f"{suite.capitalize()}{f' {measure}' if measure else ''}".replace("_", " ")
