"""Static against dynamic relation scores: what the weights say of a head, and what it writes when prompts are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
import numpy.typing as npt

from reportgen.figures import captions
from reportgen.figures.data import round6
from reportgen.figures.figure import Figure, View
from reportgen.figures.scatter import Cloud, scatter
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table, head_name
from reportgen.suites.relations.categories import part, span, title_of

_MOST = 12  # panels
_KINDS = (("dynamic", "w/o context"), ("dynamic_context", "w/ context"))
Numbers = tuple[float | None, ...]  # r, low, high, rho, low, high


def dynamic_figure(result: SuiteResult, view: View) -> Figure | None:
    """A panel per relation that was scored in prompts, the strongest where they are many; None without any."""
    stems = [s for s in result.tasks("score") if all(result.get(kind, s) is not None for kind, _ in _KINDS)]
    if not stems:
        return None
    shown = _strongest(result, stems)
    numbers = {stem: _numbers(result, stem) for stem in stems}
    name = captions.model_name(view)
    title = f"{name}: static against dynamic relation scores"
    return Figure(
        id="relations-dynamic",
        suite=result.suite,
        title=title,
        caption=_caption(result, view, stems, shown, numbers),
        alt=f"Scatter plots of static against dynamic scores of the heads of {name}, one per relation.",
        chart=scatter(
            [_cloud(result, stem, numbers[stem]) for stem in shown], view.style, ("static score", "dynamic score"),
            ("without context", "with context"), synthetic=view.synthetic or view.model.synthetic,
        ),
        data=_table(result, stems, title),
        notes=_notes(result, stems, shown, numbers),
    )  # fmt: skip


def _strongest(result: SuiteResult, stems: Sequence[str]) -> list[str]:
    """The relations with the highest static score of any head, in the order scored."""
    order = sorted(stems, key=lambda stem: -_highest(result[f"score/{stem}"]))
    return [stem for stem in stems if stem in order[:_MOST]]


def _highest(scores: HeadScores) -> float:
    finite = scores.values[np.isfinite(scores.values)]
    return float(finite.max()) if finite.size else 0.0


def _cloud(result: SuiteResult, stem: str, numbers: Sequence[Numbers]) -> Cloud:
    static, *ys = (_flat(result[f"{kind}/{stem}"]) for kind in ("score", *(kind for kind, _ in _KINDS)))
    return Cloud(title_of(result, stem), static, ys, [_words(found) for found in numbers])


def _flat(scores: HeadScores) -> npt.NDArray[np.float64]:
    return scores.values.ravel().astype(np.float64)


def _numbers(result: SuiteResult, stem: str) -> list[Numbers]:
    """Correlations without and with context, from the table of the run; None where it has none."""
    table = next((t for t in result.tables if t.key == "dynamic_correlation"), None)
    if table is None:
        return [(None,) * 6] * 2
    names = [column.name for column in table.columns]
    row = next((row for row in table.rows if row[names.index("Relation")] == title_of(result, stem)), None)
    found = []
    for _, words in _KINDS:
        cells: list[Cell] = []
        for name in (f"Correlation {words}", f"Rank correlation {words}"):
            at = names.index(name) if name in names else len(names)
            cells += (row or ())[at : at + 3]
        found.append(tuple(c if isinstance(c, float) else None for c in [*cells, *[None] * 6][:6]))
    return found


def _words(numbers: Numbers) -> str:
    """`r .83 [.71, .90]  ρ .61 [.50, .70]`."""
    r, low, high, rho, rho_low, rho_high = (_short(x) for x in numbers)
    return f"r {r} [{low}, {high}]  ρ {rho} [{rho_low}, {rho_high}]" if numbers[0] is not None else "r not computed"


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{abs(value):.2f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def _table(result: SuiteResult, stems: Sequence[str], title: str) -> Table:
    """One row per relation and head."""
    columns = (Column("relation"), Column("head"), *(Column(name, digits=4) for name in ("static", *dict(_KINDS))))
    rows: list[tuple[Cell, ...]] = []
    for stem in stems:
        grids = [result[f"{kind}/{stem}"].values for kind in ("score", *(kind for kind, _ in _KINDS))]
        for layer, head in np.ndindex(grids[0].shape):
            values = (float(grid[layer, head]) for grid in grids)
            rows.append((stem, head_name(layer, head), *(round6(v) if np.isfinite(v) else None for v in values)))
    return Table("relations-dynamic", title, columns, tuple(rows))


def _caption(
    result: SuiteResult, view: View, stems: Sequence[str], shown: Sequence[str], numbers: Mapping[str, list[Numbers]]
) -> str:
    some = f"{len(shown)} of " if len(shown) < len(stems) else ""
    r = [_median_r(numbers, i) for i in range(2)]
    return captions.join(
        f"Static against dynamic relation scores of n = {_heads(result, stems)} heads of {captions.grid_words(view)} "
        f"on {some}{captions.plural(len(stems), 'relation')}.",
        f"Without context (circles) median r is {r[0]}, with (crosses) {r[1]}; r's 95 % interval is above 0 on "
        f"{_above(numbers, 0)} and {_above(numbers, 1)} of all {len(stems)}."
        if all(r)
        else "Circles: without context; crosses: with context.",
        captions.synthetic(view),
    )


def _median_r(numbers: Mapping[str, list[Numbers]], kind: int) -> str:
    known = [r for found in numbers.values() if (r := found[kind][0]) is not None]
    return captions.number(median(known)) if known else ""


def _above(numbers: Mapping[str, list[Numbers]], kind: int) -> int:
    """On how many relations the interval of r is above zero."""
    return sum(1 for found in numbers.values() if (low := found[kind][1]) is not None and low > 0)


def _notes(
    result: SuiteResult, stems: Sequence[str], shown: Sequence[str], numbers: Mapping[str, list[Numbers]]
) -> tuple[str, ...]:
    templates = part(result.facts, "dynamic").get("templates")
    over = (
        f", averaged over {captions.plural(len(templates), 'template')}" if isinstance(templates, list | tuple) else ""
    )
    n = [result[f"score/{stem}"].n for stem in stems]
    chosen = (
        f"Shown: the {len(shown)} of {len(stems)} relations on which a head has the highest static scores; the table "
        "of correlations has all."
    )
    return captions.notes(
        f"Across: the static score, read from the weights (n = {span(n)} pairs).",
        f"Up: the share of pairs whose target the head writes among its top k when a prompt with the source is "
        f"read{over}.",
        "Circles: without context (the last position attends to the source alone); crosses: with context, as run.",
        f"r and ρ: Pearson's and Spearman's correlation over n = {_heads(result, stems)} heads, with 95 % bootstrap "
        "intervals over heads (key-value groups drawn whole).",
        *(_medians(numbers, i) for i in range(2)),
        "Heads at one point are drawn once, larger where they are more.",
        "Dashed: both scores equal.",
        "Axes differ between panels.",
        chosen if len(shown) < len(stems) else "",
    )


def _heads(result: SuiteResult, stems: Sequence[str]) -> str:
    """How many heads have a static score: `48`, or `46 to 48`."""
    counts = [int(np.isfinite(result[f"score/{stem}"].values).sum()) for stem in stems]
    return span(counts)


def _medians(numbers: Mapping[str, list[Numbers]], kind: int) -> str:
    """Median correlations over all relations, and on how many the interval of r is above zero."""
    rs = [found[kind][0] for found in numbers.values()]
    rhos = [found[kind][3] for found in numbers.values()]
    known, ranks = [r for r in rs if r is not None], [r for r in rhos if r is not None]
    if not known or not ranks:
        return ""
    words = ("Without", "With")[kind]
    return (
        f"{words} context: median r {captions.number(median(known))}, ρ {captions.number(median(ranks))}; "
        f"r's interval is above 0 on {_above(numbers, kind)} of {captions.plural(len(known), 'relation')}."
    )
