"""How this suite's scores rank the heads that papers list for this model, and those that other suites found."""

from __future__ import annotations

from collections.abc import Sequence

from reportgen.figures import captions
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.markers import role
from reportgen.figures.points import ForestLine, forest
from reportgen.scores import Column, HeadScores, HeadSet, SuiteResult, Table, head_name
from reportgen.suites.ranked import Ranked, ranked
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.suite import SUITE

PAPERS = ("wu2024retrieval", "zhang2025qrhead", "feucht2025dualroute", "gema2024decore", "fu2024headkv")
ROLES = ("induction", "mover", "previous_token")  # of other suites' sets
MEASURES = ("copy", "copy_mass", "point", "write")
Line = tuple[HeadSet, HeadScores, Ranked]


def published_figure(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """None where neither a paper nor another suite lists heads of this model."""
    lines: list[Line] = []
    for one in _sets(view):
        for measure in MEASURES:
            scores = next((s for s in result.scores if s.measure == measure), None)
            found = ranked(scores, one) if scores is not None else None
            lines += [(one, scores, found)] if scores is not None and found is not None else []
    if not lines:
        return None
    best = max(lines, key=lambda line: abs(line[2].auroc - 0.5))
    name = captions.model_name(view)
    return Figure(
        id="retrieval-published",
        suite=SUITE.name,
        title=f"{name}: heads that others list, ranked by retrieval",
        caption=captions.join(
            f"Heads of {captions.grid_words(view)} that papers or other suites of this run list, ranked by "
            f"this suite's scores: {len({one.key for one, *_ in lines})} sets.",
            f"Farthest from chance: {words.lower(best[1].label)}, {best[0].label}, AUROC "
            f"{captions.number(best[2].auroc)}.",
            captions.synthetic(view),
        ),
        alt="Sets of heads against scores: share among the highest heads, and area under the ROC curve.",
        chart=later(forest, [_line(*one) for one in lines], view.style, "Share among the highest",
                    synthetic=bool(captions.synthetic(view))),
        data=_data(lines),
        head_sets=tuple({one.key: one for one, *_ in lines}.values()),
        notes=captions.notes(
            "Share: heads of the set among as many highest heads, with Wilson's 95 % interval.",
            "AUROC: the share of (listed, other) pairs in which the listed head is higher; grey: 95 % of sets with as "
            "many heads of each layer; p: two-sided against such sets, not corrected for the number of lines.",
            words.text(told),
        ),
    )  # fmt: skip


def _sets(view: View) -> list[HeadSet]:
    """Published lists of these papers, then the first set of each role of other suites."""
    found = [s for s in view.sets("published/", "optional/") if s.source in PAPERS and s.heads]
    others = [s for s in view.overlays if s.kind == "computed" and s.heads and not s.key.startswith("retrieval/")]
    first = (next((s for s in others if role(s) == name), None) for name in ROLES)
    return found + [s for s in first if s is not None]


def _line(one: HeadSet, scores: HeadScores, of: Ranked) -> ForestLine:
    group = f"{one.label} ({of.listed})"
    label = scores.label.partition(" (")[0]
    return ForestLine(
        group, label, of.hits / of.listed, of.low, of.high, of.auroc, *of.null, f"{of.p:.2g}", one.verified
    )


def _data(lines: Sequence[Line]) -> Table:
    columns = (Column("set"), Column("score"), Column("listed"), Column("heads"), Column("hits"), Column("AUROC"),
               Column("chance from"), Column("chance to"), Column("p", digits=4), Column("ranks"))  # fmt: skip
    rows = tuple(
        (one.key, scores.key, of.listed, of.total, of.hits, of.auroc, *of.null, of.p,
         " ".join(f"{head_name(*head)}:{rank:g}" for head, rank in of.ranks.items()))
        for one, scores, of in lines
    )  # fmt: skip
    return Table("retrieval/published", "Heads that others list, ranked by retrieval", columns, rows, folded=True)
