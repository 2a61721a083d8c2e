"""`reportgen compare RUN RUN --fail-over X`: whether any head's score moved by more than X; nothing is drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reportgen.compare.moved import Moved, SuiteApart, apart
from reportgen.compare.numbers import differences, lineage, of_suite
from reportgen.compare.store import MOST_RUNS, names_of
from reportgen.errors import RunError, SettingsError, nearest
from reportgen.report.text import plural
from reportgen.runfolder import Run
from reportgen.suites import known


@dataclass(frozen=True)
class Gate:
    """What is let through: `fail_over` is a share of a score's largest absolute value in the first run.

    measures  suite/measure; none = every score of the first run
    declared  the runs share a lineage, as the user says
    """

    fail_over: float
    measures: tuple[str, ...] = ()
    declared: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.fail_over < math.inf:
            raise SettingsError(f"--fail-over {self.fail_over:g}: expected 0 or more.", "For example --fail-over 0.02")


@dataclass(frozen=True)
class Against:
    """One run against the first: what moved beyond the limit, and what else a reader needs to judge it.

    over      key of a score -> its heads that moved too far, furthest first
    gone      scores that the first run has and this one has not: they fail the gate
    added     scores that only this run has: they pass
    labels    heads that changed sets; they pass, as they follow from scores
    settings  differing data and settings, in words
    largest   the largest share of all values compared, and the score's key
    """

    name: str
    scores: int
    over: Mapping[str, tuple[Moved, ...]]
    gone: tuple[str, ...]
    added: tuple[str, ...]
    labels: tuple[Moved, ...]
    settings: tuple[str, ...]
    largest: tuple[float, str]

    @property
    def failed(self) -> bool:
        return bool(self.over or self.gone)


def gate(runs: Sequence[Run], asked: Gate) -> list[Against]:
    """Every later run against the first one.

    Raises UserError: fewer than two runs, one run twice, another grid, runs that share no lineage (their heads do not
    correspond), an unknown measure, no score in common.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise RunError(f"{len(runs)} runs to compare: expected 2 to {MOST_RUNS}.", "Type: reportgen compare RUN RUN")
    if len({os.path.realpath(run.path) for run in runs}) < len(runs):
        raise RunError("A run can't be compared with itself.", "Name different run folders.")
    names = names_of(runs)
    _check_lineage(names, runs, asked.declared)
    return [_against(names[0], name, runs[0], run, asked) for name, run in zip(names[1:], runs[1:], strict=True)]


def _check_lineage(names: Sequence[str], runs: Sequence[Run], declared: bool) -> None:
    if lineage(runs, declared):
        return
    grids = [f"{run.model.n_layers} x {run.model.n_heads}" for run in runs]
    if len(set(grids)) > 1:
        said = ", ".join(f"{name} has {grid} heads" for name, grid in zip(names, grids, strict=True))
        raise SettingsError(f"--fail-over compares the same heads, and the grids differ: {said}.", "Leave it out.")
    raise SettingsError(
        "--fail-over compares the same heads, and these are different models.",
        "For checkpoints of one training run add --lineage.",
    )


def _against(first: str, name: str, one: Run, other: Run, asked: Gate) -> Against:
    wanted = _measures([one, other], asked.measures)
    suites = [suite for suite in one.done() if any(m.split("/")[0] == suite for m in wanted)]
    both = [suite for suite in suites if suite in other.done()]
    found = [_kept(apart(one.result(s), other.result(s)), wanted) for s in both]
    lost = [s.key for suite in suites if suite not in both for s in one.result(suite).scores]
    gone = [key for key in lost if _measure(key) in wanted] + [key for f in found for key in f.gone]
    compared = [score for f in found for score in f.scores]
    if not compared:
        raise RunError("The runs have no score in common.", "Score both with the same suite.")
    ranked = sorted(compared, key=lambda s: -s.values)
    over = {s.key: tuple(m for m in s.moved if m.share > asked.fail_over) for s in ranked if s.values > asked.fail_over}
    installed = known()
    rows = [*differences([one, other], both), *(r for s in both for r in of_suite([one, other], s, installed.get(s)))]
    return Against(
        name, len(compared), over, tuple(gone), tuple(key for f in found for key in f.added),
        tuple(moved for f in found for moved in f.labels), tuple(row.words([first, name]) for row in rows),
        (ranked[0].values, ranked[0].key),
    )  # fmt: skip


def _measures(runs: Sequence[Run], asked: Sequence[str]) -> list[str]:
    """The measures compared: those of the first run, or the ones asked for."""
    kinds = list(dict.fromkeys(_measure(s.key) for result in runs[0].results.values() for s in result.scores))
    for measure in asked:
        if measure not in kinds:
            raise SettingsError(f"--measure {measure!r}: not in the first run.", nearest(measure, kinds or ["none"]))
    return list(asked) or kinds


def _measure(key: str) -> str:
    return "/".join(key.split("/")[:2])


def _kept(found: SuiteApart, wanted: Sequence[str]) -> SuiteApart:
    """Without the measures that were not asked for."""
    return SuiteApart(
        found.suite,
        tuple(s for s in found.scores if _measure(s.key) in wanted),
        tuple(key for key in found.gone if _measure(key) in wanted),
        tuple(key for key in found.added if _measure(key) in wanted),
        found.labels,
    )


# What the verb prints.

MOST_HEADS = 5  # of a score
MOST_LINES = 20  # of scores, of heads that changed sets


def lines(found: Against, first: str, limit: float) -> Iterator[str]:
    """What moved, one line a score; then what explains it."""
    verdict = "moved" if found.failed else "agrees"
    counted = f"{plural(found.scores, 'score')} compared, {len(found.over)} beyond {limit:g} of the largest"
    furthest = f"; furthest {found.largest[0]:.2g} ({found.largest[1]})" if found.largest[0] > 0 else ""
    yield f"{found.name} against {first}: {verdict}; {counted}{furthest}"
    for key, heads in list(found.over.items())[:MOST_LINES]:
        named = ", ".join(f"{m.head} {_number(m.before)} to {_number(m.after)}" for m in heads[:MOST_HEADS])
        more = f" and {len(heads) - MOST_HEADS} more" if len(heads) > MOST_HEADS else ""
        yield f"  {key}: {plural(len(heads), 'head')}: {named}{more}"
    yield from _more(len(found.over), "scores")
    if found.gone:
        yield f"  gone: {_some(found.gone)}"
    if found.added:
        yield f"  new: {_some(found.added)}"
    for moved in found.labels[:MOST_LINES]:
        yield f"  {moved.head}, {moved.place}: {moved.before} before, {moved.after} now"
    yield from _more(len(found.labels), "heads that changed sets")
    for words in found.settings if found.failed else ():
        yield f"  differs: {words}"


def _more(count: int, what: str) -> Iterator[str]:
    if count > MOST_LINES:
        yield f"  and {count - MOST_LINES} more {what}: add --json"


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - MOST_HEADS} more" if len(keys) > MOST_HEADS else ""
    return ", ".join(keys[:MOST_HEADS]) + more


def _number(value: object) -> str:
    return "not computed" if value is None else f"{value:.4g}"


def as_json(found: Sequence[Against], first: str, limit: float) -> dict[str, object]:
    """The same as JSON values; every head that moved is listed. `share` is null where a head has no number in one."""
    return {
        "first": first,
        "fail_over": limit,
        "failed": any(one.failed for one in found),
        "runs": [
            {
                "run": one.name, "failed": one.failed, "scores": one.scores,
                "largest": {"share": _finite(one.largest[0]), "score": one.largest[1]},
                "over": {key: [record(moved) for moved in heads] for key, heads in one.over.items()},
                "gone": list(one.gone), "added": list(one.added),
                "labels": [record(moved) for moved in one.labels], "differ": list(one.settings),
            }
            for one in found
        ],
    }  # fmt: skip


def record(moved: Moved) -> dict[str, object]:
    """One number that moved as JSON values."""
    return {
        "place": moved.place, "what": moved.what, "head": moved.head, "before": moved.before, "after": moved.after,
        "share": _finite(moved.share),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
