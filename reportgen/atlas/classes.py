"""Classes of heads over all runs of a site: sets that a run found with an evidence ladder, and lists of papers.

Sets of one name are one class whatever their spelling: "Name-Mover Heads" of a run and "Name Mover Heads" of a paper.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from reportgen.atlas.robustness import Finding
from reportgen.manifest import Manifest
from reportgen.published import Listed, load_catalogue, short_citation, slug
from reportgen.report.document import Report
from reportgen.report.verdicts import RUNGS, ladder
from reportgen.scores import HeadSet, head_name

MOST_HEADS = 40  # of one list on a page
_NOUNS = ("head", "heads")


def class_key(label: str) -> str:
    """`name-mover` for "Name-Mover Heads" and "Name Mover Heads (one task)": the class's file name."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\s*\([^)]*\)\s*$", "", label).lower())
    words = [word for word in words if word not in _NOUNS]
    if words and len(words[-1]) > 3 and words[-1].endswith("s") and not words[-1].endswith("ss"):
        words[-1] = words[-1][:-1]
    return "-".join(words)[:80] or f"class-{crc32(label.encode()):08x}"


@dataclass(frozen=True)
class Rung:
    """One rung of a ladder: "passed", "failed" or "not run"; `count` says of how many heads where they were judged."""

    name: str
    outcome: str
    count: str = ""

    @property
    def sign(self) -> str:
        return {"passed": "✓", "failed": "✕"}.get(self.outcome, "–")


@dataclass(frozen=True)
class Member:
    """A run's heads of a class: one set.  `place` is the run's place on the site."""

    run: str
    name: str
    place: int
    synthetic: bool
    label: str
    legend: str
    rule: str
    source: str
    kind: str
    verified: bool
    heads: tuple[str, ...]
    rungs: tuple[Rung, ...]
    holds: str = ""  # in how many other ways, "" where the run stores none
    why: str = ""  # by setting, beside the model's other heads


@dataclass(frozen=True)
class Paper:
    """A paper's list of a class."""

    model: str
    anchor: str
    label: str
    task: str
    heads: str
    paper: str
    where: str
    verified: bool


@dataclass
class HeadClass:
    """A class of heads: its file name, its name, the sets of runs and the lists of papers."""

    key: str
    label: str
    members: list[Member] = field(default_factory=list)
    papers: list[Paper] = field(default_factory=list)

    @property
    def page(self) -> str:
        return f"classes/{self.key}.html"

    @property
    def runs(self) -> int:
        return len({member.run for member in self.members})

    @property
    def heads(self) -> int:
        """Heads of runs in the class, each once."""
        return len({(member.run, head) for member in self.members for head in member.heads})


def classes(
    found: Sequence[tuple[Manifest, Report]], held: Mapping[tuple[str, str], Finding] | None = None
) -> list[HeadClass]:
    """Every class, those that most runs have first, then by name; `held` by run and set: in how many ways it holds."""
    made: dict[str, HeadClass] = {}
    names: dict[str, Counter[str]] = {}

    def of(label: str) -> HeadClass:
        key = class_key(label)
        names.setdefault(key, Counter())[re.sub(r"\s*\([^)]*\)\s*$", "", label)] += 1
        return made.setdefault(key, HeadClass(key, label))

    for place, (_, report) in enumerate(found):
        for heads in report.overlays:
            if heads.heads and (heads.evidence or heads.kind != "computed"):
                of(heads.label).members.append(
                    _member(report, place, heads, (held or {}).get((report.slug, heads.key)))
                )
    for entry in load_catalogue().entries:
        of(entry.name).papers.append(_paper(entry))
    for key, one in made.items():
        one.label = names[key].most_common(1)[0][0]
    return sorted(made.values(), key=lambda one: (-one.runs, one.label.lower()))


def _member(report: Report, place: int, heads: HeadSet, holds: Finding | None) -> Member:
    return Member(
        run=report.slug,
        name=report.name,
        place=place,
        synthetic=report.synthetic,
        label=heads.label,
        legend=heads.legend,
        rule=heads.rule,
        source=short_citation(heads.source),
        kind=heads.kind,
        verified=heads.verified,
        heads=tuple(head_name(*head) for head in heads.heads),
        rungs=rungs(heads) if heads.evidence else (),
        holds="{} of {}".format(*holds.counts()[:2]) if holds else "",
        why=holds.words() if holds else "",
    )


def rungs(heads: HeadSet) -> tuple[Rung, ...]:
    """The five rungs of a set; where its heads were judged one by one, how many passed."""
    return tuple(Rung(name, outcome, _count(heads, name)) for name, outcome in ladder(heads.evidence))


def _count(heads: HeadSet, rung: str) -> str:
    """`2 of 3`: heads that passed every test of a rung that judged them one by one; "" where none did."""
    tests = [own for test, own in heads.by_head.items() if test.startswith(rung)]
    judged = {head for own in tests for head, outcome in own.items() if outcome != "not run"}
    passed = sum(all(own.get(head, "passed") == "passed" for own in tests) for head in judged)
    return f"{passed} of {len(judged)}" if judged else ""


def _paper(entry: Listed) -> Paper:
    shown = ", ".join(head_name(*head) for head in entry.heads[:MOST_HEADS])
    left = len(entry.heads) - MOST_HEADS
    return Paper(
        model=entry.model,
        anchor=f"model-{slug(entry.model)}",
        label=entry.name,
        task=entry.task,
        heads=f"{shown} and {left} more" if left > 0 else shown,
        paper=short_citation(entry.paper),
        where=entry.where or entry.source,
        verified=entry.verified,
    )


def of_heads(every: Sequence[HeadClass], run: str) -> Mapping[str, list[int]]:
    """Head name -> places in `every` of the classes that hold it in this run."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(every):
        for head in dict.fromkeys(head for member in one.members if member.run == run for head in member.heads):
            found.setdefault(head, []).append(place)
    return found


RUNG_NAMES = RUNGS
