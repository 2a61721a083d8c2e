"""In how many ways a finding holds: the share of other settings under which its heads stay above the line.

Settings come from two places: what a suite computes anew from stored evidence (`Suite.variants`: another k, a template
left out), and other runs of the same model, where a head is above the line if it is beyond that run's null and reaches
its threshold. Beside the finding's heads stand all other heads of the model under the same settings: by chance.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reportgen import suites
from reportgen.manifest import SuiteRecord
from reportgen.report.labels import beyond_null, is_signed
from reportgen.runfolder import Run
from reportgen.scores import FloatGrid, HeadScores, HeadSet, head_name
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

    @property
    def settings(self) -> tuple[str, ...]:
        """What was varied, in the order of the ways."""
        return tuple(dict.fromkeys(way.setting for way in self.ways))

    def words(self) -> str:
        """`k: 14 of 15; template left out: 9 of 9; other heads: 12 of 700`."""
        parts = [f"{setting}: {self.counts(setting)[0]} of {self.counts(setting)[1]}" for setting in self.settings]
        _, _, held, asked = self.counts()
        return "; ".join([*parts, f"other heads: {held} of {asked}"])


def findings(run: Run, others: Iterable[Run] = ()) -> list[Finding]:
    """The sets of a run that were picked by a score, with every way that the run and `others` hold.

    others  runs; those of another model are passed over
    """
    known = suites.drawable(run.manifest.suites)
    same = [o for o in others if o.path != run.path and o.model.content_hash == run.model.content_hash]
    found = []
    for name, result in run.results.items():
        suite = known.get(name)
        inside = suite.load_variants()(result) if suite is not None and suite.variants else ()
        for heads in result.head_sets:
            if not heads.score or not heads.heads:
                continue
            ways = [_way(one, heads) for one in (*inside, *_elsewhere(run, same, heads)) if one.score == heads.score]
            if kept := tuple(way for way in ways if way.heads):
                names = tuple(head_name(*head) for head in heads.heads)
                found.append(
                    Finding(
                        run.model.slug, heads.key, heads.label, heads.legend, names, bool(heads.evidence), kept
                    )
                )  # fmt: skip
    return found


def _way(one: Variant, heads: HeadSet) -> Way:
    member = np.zeros(one.above.shape, bool)
    member[tuple(np.array(heads.heads).T)] = True
    known = np.isfinite(one.above)
    held = known & (np.nan_to_num(one.above) > 0)
    counts = (held & member, known & member, held & ~member, known & ~member)
    return Way(one.setting, one.value, *(int(each.sum()) for each in counts))


def _elsewhere(run: Run, same: Sequence[Run], heads: HeadSet) -> list[Variant]:
    """The set's score in other runs of the model; a run that lacks it, or has no null for it, says nothing."""
    name = heads.score.split("/")[0]
    found = []
    for other in same:
        result = other.results.get(name)
        scores = next((s for s in result.scores if s.key == heads.score), None) if result else None
        above = above_line(scores) if scores is not None else None
        if above is not None:
            setting, value = _difference(run.manifest.scored()[name], other.manifest.scored()[name])
            found.append(Variant(heads.score, setting, f"{value} ({other.model.slug})", above))
    return found


def above_line(scores: HeadScores) -> FloatGrid | None:
    """[layer head] 1 beyond the null and, where the score has a threshold, as large as it; None without a null."""
    beyond = beyond_null(scores)
    if beyond is None:
        return None
    values = scores.exact_values
    size = np.abs(values) if is_signed(scores) else values
    reached = beyond if scores.threshold is None else beyond & (np.nan_to_num(size) >= scores.threshold)
    return np.where(np.isfinite(values), reached, np.nan).astype(np.float32)


def _difference(mine: SuiteRecord, other: SuiteRecord) -> tuple[str, str]:
    """What was different in another run's suite: one setting and its value there, or several."""
    plain = ("seed", "dtype", "device", "threads", "preset", "version")
    found = {name: getattr(other, name) for name in plain if getattr(mine, name) != getattr(other, name)}
    found |= {name: value for name, value in other.settings.items() if mine.settings.get(name) != value}
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
