"""Score against k, from the stored ranks: how much a head's score owes to the k that was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reportgen.figures import captions
from reportgen.figures.curves import BLUE, GREY, Curve, Panel, curves
from reportgen.figures.data import round6
from reportgen.figures.figure import Figure, View
from reportgen.scores import Cell, Column, Head, SuiteResult, Table, head_name
from reportgen.suites.relations.categories import Floats, relation_facts, span, threshold, title_of
from reportgen.suites.relations.enrichment import wilson

_MOST = 12  # panels
_BEYOND = 2.5  # times the largest k: how far curves go
_LINE = "τ"


@dataclass(frozen=True, eq=False)
class Course:
    """One relation's scores at k = 1, 2, ...: of the head that is highest at `used`, and the median over heads, [k]."""

    head: Head
    used: int
    n: int
    best: Floats
    median: Floats


def k_figure(result: SuiteResult, view: View) -> Figure | None:
    """A panel per relation, the strongest where they are many; None for a run without ranks or without k."""
    ks = {stem: relation_facts(result, stem).get("k") for stem in result.tasks("score")}
    used = {s: k for s, k in ks.items() if isinstance(k, int) and k > 0 and f"ranks/{s}" in result.arrays}
    if not used:
        return None
    right = round(_BEYOND * max(used.values()))
    found = {stem: course for stem, k in used.items() if (course := _course(result, stem, k, right)) is not None}
    if not found:
        return None
    order = sorted(found, key=lambda stem: -found[stem].best[found[stem].used - 1])
    shown = [stem for stem in found if stem in order[:_MOST]]
    name, tau = captions.model_name(view), threshold(result)
    title = f"{name}: relation scores against k"
    return Figure(
        id="relations-k",
        suite=result.suite,
        title=title,
        caption=_caption(found, shown, view, tau),
        alt=f"Score of the highest head of {name} against k, {len(shown)} relations.",
        chart=curves(
            [_panel(result, stem, found[stem], tau) for stem in shown], "k", "relation score", view.style, top=1.0,
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=_table(found, title),
        notes=_notes(found, shown),
    )  # fmt: skip


def _course(result: SuiteResult, stem: str, used: int, right: int) -> Course | None:
    order = result[f"score/{stem}"].ranking()
    if not order:
        return None
    twice = np.asarray(result.arrays[f"ranks/{stem}"].values, dtype=np.int64)  # [pair layer head], doubled ranks
    pairs, _, heads = twice.shape
    # A mid-rank r counts from k = ceil(r) on; 0 is no rank.
    first = np.clip((twice + 1) // 2, 1, right + 1).reshape(pairs, -1)
    known = (twice > 0).all(axis=0).ravel()
    hits = np.stack([np.bincount(column, minlength=right + 2)[1 : right + 1] for column in first.T]).cumsum(axis=1)
    shares = hits / pairs  # [layer*head k]
    at = order[0][0] * heads + order[0][1]
    return Course(order[0], used, pairs, shares[at], np.median(shares[known], axis=0))


def _panel(result: SuiteResult, stem: str, course: Course, tau: float | None) -> Panel:
    x = tuple(float(k) for k in range(1, len(course.best) + 1))
    band = tuple(wilson(round(share * course.n), course.n) for share in course.best)
    at = float(course.best[course.used - 1])
    return Panel(
        title=title_of(result, stem),
        subtitle=f"{head_name(*course.head)}, k = {course.used}: {at:.2f}, n = {course.n}",
        curves=(
            Curve("head that is highest at the k used", x, tuple(course.best.tolist()), BLUE, band=band),
            Curve("median head", x, tuple(course.median.tolist()), GREY, dashed=True),
        ),
        dots=((float(course.used), at, ""),),
        levels=((tau, _LINE),) if tau is not None else (),
    )


def _caption(found: Mapping[str, Course], shown: Sequence[str], view: View, tau: float | None) -> str:
    """How far the curves say that the choice of k matters."""
    steep = [course for course in found.values() if tau is not None and course.best[course.used - 1] >= tau]
    half = sum(1 for c in steep if c.best[max(0, c.used // 2 - 1)] >= (tau or 0))
    return captions.join(
        f"Relation scores of heads of {captions.grid_words(view)} against k (n = "
        f"{span([found[stem].n for stem in shown])} pairs).",
        "Blue: the highest head at the k used (red dot); grey: the median.",
        f"At half of k it still reaches τ = {tau:g} on {half} of {captions.plural(len(steep), 'relation')}."
        if steep
        else "",
        captions.synthetic(view),
    )


def _notes(found: Mapping[str, Course], shown: Sequence[str]) -> tuple[str, ...]:
    return captions.notes(
        "Score at k, from the stored ranks: the share of a relation's n pairs whose target has rank ≤ k.",
        "Blue band: Wilson's 95 % interval of the head that is highest at the k used, not corrected for picking it.",
        "Grey: the median over heads.",
        f"Shown: the {len(shown)} of {len(found)} relations with the highest scores."
        if len(shown) < len(found)
        else "",
    )


def _table(found: Mapping[str, Course], title: str) -> Table:
    """One row per relation and k."""
    columns = (
        Column("relation"), Column("head"), Column("k used"), Column("n"), Column("k"), Column("score", digits=4),
        Column("median head", digits=4),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (stem, head_name(*c.head), c.used, c.n, k + 1, round6(float(best)), round6(float(median)))
        for stem, c in found.items()
        for k, (best, median) in enumerate(zip(c.best, c.median, strict=True))
    ]
    return Table("relations-k", title, columns, tuple(rows))
