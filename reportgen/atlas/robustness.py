"""In how many ways a finding holds: the share of other settings under which its heads stay above the line.

Settings come from two places: what a suite computes anew from stored evidence (`Suite.variants`: another k, a template
left out), and other runs of the same model, where a head is above the line if it is beyond that run's null and reaches
its threshold. Beside the finding's heads stand all other heads of the model under the same settings: by chance.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from reportgen import suites
from reportgen.figures.figure import attempt
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.nulls import above_line
from reportgen.scores import HeadSet, SuiteResult, head_name
from reportgen.suites.base import Suite
from reportgen.suites.variants import Variant

SEVERAL = "several settings"


@dataclass(frozen=True)
class Way:
    """One other setting: `held` of `heads` of the finding are above the line, `others_held` of `others` elsewhere."""

    setting: str
    value: str
    held: int
    heads: int
    others_held: int
    others: int


@dataclass(frozen=True)
class Finding:
    """A set of heads, and every way in which its score was computed again."""

    run: str
    suite: str
    key: str
    label: str
    legend: str
    heads: tuple[str, ...]
    judged: bool  # it has an evidence ladder
    ways: tuple[Way, ...]

    def counts(self, setting: str = "") -> tuple[int, int, int, int]:
        """Held and asked, of its heads and of the others, over the ways of one setting, or of all."""
        some = [way for way in self.ways if setting in ("", way.setting)]
        return (
            sum(way.held for way in some), sum(way.heads for way in some),
            sum(way.others_held for way in some), sum(way.others for way in some),
        )  # fmt: skip

    def whole(self, setting: str = "") -> tuple[int, int]:
        """Ways under which every head of the set is above the line, of how many."""
        some = [way for way in self.ways if setting in ("", way.setting)]
        return sum(way.held == way.heads for way in some), len(some)

    @property
    def settings(self) -> tuple[str, ...]:
        """What was varied, in the order of the ways."""
        return tuple(dict.fromkeys(way.setting for way in self.ways))

    def words(self) -> str:
        """`k: 14 of 15; template left out: 9 of 9; other heads: 12 of 700`."""
        parts = [f"{setting}: {self.counts(setting)[0]} of {self.counts(setting)[1]}" for setting in self.settings]
        _, _, held, asked = self.counts()
        return "; ".join([*parts, f"other heads: {held} of {asked}"])


class Scored(Protocol):
    """What is asked of a run (runfolder.Run)."""

    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def results(self) -> Mapping[str, SuiteResult]: ...


Tell = Callable[[str, str], None]  # a suite, and why its scores could not be computed in other ways


def findings(
    run: Scored, others: Iterable[Scored] = (), known: Mapping[str, Suite] | None = None, tell: Tell | None = None
) -> list[Finding]:
    """The sets of a run that were picked by a score, with every way that the run and `others` hold.

    others  runs; those of another model are passed over
    known   suites by name; None = the built-in and installed ones
    tell    hears of suites whose own function fails; their sets then have the ways of other runs only
    """
    mine = run.manifest.model.content_hash
    same = [o for o in others if o.path != run.path and o.manifest.model.content_hash == mine]
    inside = _inside(run, suites.drawable(run.manifest.suites) if known is None else known, tell or _nobody)
    found = []
    for name, result in run.results.items():
        for heads in result.head_sets:
            if not heads.score or not heads.heads:
                continue
            ways = [_way(one, heads) for one in (*inside.get(heads.score, ()), *_elsewhere(run, same, heads))]
            if kept := tuple(way for way in ways if way.heads):
                names = tuple(head_name(*head) for head in heads.heads)
                found.append(
                    Finding(
                        run.manifest.model.slug, name, heads.key, heads.label, heads.legend, names,
                        bool(heads.evidence), kept,
                    )
                )  # fmt: skip
    return found


def _inside(run: Scored, known: Mapping[str, Suite], tell: Tell) -> dict[str, list[Variant]]:
    """Score key -> its other ways, as the run's suites compute them from what it stores, for any suite's."""
    shapes = {s.key: s.values.shape for result in run.results.values() for s in result.scores}
    found: dict[str, list[Variant]] = {}
    for name, result in run.results.items():
        suite = known.get(name)
        if suite is None or not suite.variants:
            continue
        made, problem = attempt(partial(_computed, suite, result, run.manifest.suites[name].settings))
        for one in made or ():
            if one.score in shapes and one.above.shape != shapes[one.score]:
                problem = f"{one.score}, {one.setting}: {list(one.above.shape)} is not {list(shapes[one.score])}"
            elif one.score in shapes:
                found.setdefault(one.score, []).append(one)
        if problem:
            tell(name, problem)
    return found


def _computed(suite: Suite, result: SuiteResult, settings: Mapping[str, object]) -> tuple[Variant, ...]:
    return suite.load_variants()(result, settings)


def _nobody(suite: str, why: str) -> None:
    """Ignores problems."""


def _way(one: Variant, heads: HeadSet) -> Way:
    member = np.zeros(one.above.shape, bool)
    member[tuple(np.array(heads.heads).T)] = True
    known = np.isfinite(one.above)
    held = known & (np.nan_to_num(one.above) > 0)
    counts = (held & member, known & member, held & ~member, known & ~member)
    return Way(one.setting, one.value, *(int(each.sum()) for each in counts))


def _elsewhere(run: Scored, same: Sequence[Scored], heads: HeadSet) -> list[Variant]:
    """The set's score in other runs of the model; a run that lacks it, or has no null for it, says nothing."""
    name = heads.score.split("/")[0]
    found = []
    for other in same:
        result = other.results.get(name)
        scores = next((s for s in result.scores if s.key == heads.score), None) if result else None
        above = above_line(scores) if scores is not None else None
        if above is not None:
            setting, value = _difference(run.manifest.scored()[name], other.manifest.scored()[name])
            found.append(Variant(heads.score, setting, f"{value} ({other.manifest.model.slug})", above))
    return found


def _difference(mine: SuiteRecord, other: SuiteRecord) -> tuple[str, str]:
    """What was different in another run's suite: one setting and its value there, or several."""
    plain = ("seed", "dtype", "device", "threads", "preset", "version")
    found = {name: getattr(other, name) for name in plain if getattr(mine, name) != getattr(other, name)}
    found |= {name: value for name, value in other.settings.items() if mine.settings.get(name) != value}
    if len(found) > 1:
        found.pop("threads", None)  # of the machine, and a way of its own only where nothing else differs
    if len(found) == 1:
        name, value = next(iter(found.items()))
        return str(name), str(value)
    words = ", ".join(f"{name} {value}" for name, value in found.items())
    return (SEVERAL, words) if found else ("scored again", "same settings")


COLUMNS = ("run", "set", "label", "heads", "setting", "value", "held", "of", "others_held", "others_of")


def robustness_csv(found: Sequence[Finding]) -> str:
    """A row per finding and way."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        for way in one.ways:
            names = (one.run, one.key, one.label, " ".join(one.heads), way.setting, way.value)
            writer.writerow((*names, way.held, way.heads, way.others_held, way.others))
    return out.getvalue()
