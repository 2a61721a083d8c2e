"""Checks of a suite's returned results and of the figures drawn from them. Imports no torch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reportgen.manifest import ModelRecord
from reportgen.scores import HeadScores, SuiteResult, head_name
from reportgen.suites.base import Measure, Suite

# What one check says: a line.

OK, FAIL, NOT_RUN = "ok", "FAIL", "--"


@dataclass(frozen=True)
class CheckLine:
    """One check's outcome: `words` say what was seen, or the place that fails; `hint` what to change."""

    check: str
    status: str
    words: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.status:<4} {self.check:<10} {self.words}{f'  -> {self.hint}' if self.hint else ''}"


def judged(check: str, problems: Sequence[str], hint: str, fine: str) -> CheckLine:
    """Failed with the first problem and how many more there are, or fine."""
    if not problems:
        return CheckLine(check, OK, fine)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckLine(check, FAIL, problems[0] + more, hint)


HINTS = {
    "shape": "return float32 values[layer, head], query heads even if keys and values are grouped",
    "range": "set HeadScores(range=...) to the smallest and largest possible value, or fix the formula",
    "null": "give n, an interval and p or line; if there is none, say why in no_null",
    "NaN": "give HeadScores(reasons={'L0H1': why}), or {'*': why} for all heads",
    "measures": "declare a Measure for every score, and list those without a score in SuiteResult.not_computed",
}


def declared(suite: Suite) -> CheckLine:
    """The suite's own words: formula and meaning of every measure, help of every setting."""
    problems = [
        f"measure {m.name} has no {word}"
        for m in suite.measures
        for word in ("title", "formula", "meaning")
        if not getattr(m, word).strip()
    ]
    problems += [f"the suite has no {word}" for word in ("title", "summary") if not getattr(suite, word).strip()]
    if not suite.measures:
        problems.append("the suite declares no measure")
    if not suite.settings.__dataclass_params__.frozen:
        problems.append(f"{suite.settings.__name__} can be changed: write @dataclass(frozen=True)")
    fields = suite.settings.__dataclass_fields__.values()
    problems += [f"setting {f.name} has no metadata help" for f in fields if not f.metadata.get("help")]
    names = ", ".join(m.name for m in suite.measures)
    return judged("declared", problems, "add it to the suite's declaration", f"formula and meaning of {names}")


def looked_at(suite: Suite, result: SuiteResult, record: ModelRecord) -> Iterator[CheckLine]:
    """Shape, range, n with interval and null, NaN, and a measure for every score."""
    count, where = len(result.scores), f"on {record.id}"
    yield judged("shape", list(_shapes(result, record)), HINTS["shape"],
                 f"{count} scores of [{record.n_layers} {record.n_heads}] {where}")  # fmt: skip
    yield judged("range", list(_ranges(suite, result)), HINTS["range"], f"values within the declared ranges {where}")
    yield judged("null", list(_uncertainty(result)), HINTS["null"], f"n, interval and null, or why not {where}")
    missing = sum(int(np.isnan(s.values).sum()) for s in result.scores)
    words = f"{missing} values, each with a reason" if missing else "none"
    yield judged("NaN", list(_nans(result)), HINTS["NaN"], f"{words} {where}")
    yield judged("measures", list(_measures(suite, result)), HINTS["measures"], f"every score has a measure {where}")


def broken(rule: str, problem: str, record: ModelRecord) -> Iterator[CheckLine]:
    """The same lines where the scores could not even be made, for the reason that `rule` names."""
    for name in ("shape", "range", "null", "NaN", "measures"):
        if name == rule:
            yield judged(name, [f"{problem} (on {record.id})"], HINTS[name], "")
        else:
            yield CheckLine(name, NOT_RUN, f"not checked on {record.id}: there are no scores")


def _shapes(result: SuiteResult, record: ModelRecord) -> Iterator[str]:
    want = (record.n_layers, record.n_heads)
    for score in result.scores:
        if score.values.shape != want:
            yield f"{score.key} is {list(score.values.shape)}, not [layer head] = {list(want)}"
    for heads in result.head_sets:
        for layer, head in heads.heads:
            if not (0 <= layer < want[0] and 0 <= head < want[1]):
                yield f"head set {heads.key} has {head_name(layer, head)}, which the model does not have"


def _declared(suite: Suite, score: HeadScores) -> Measure | None:
    return next((m for m in suite.measures if m.name == score.measure), None)


def _ranges(suite: Suite, result: SuiteResult) -> Iterator[str]:
    for score in result.scores:
        measure = _declared(suite, score)
        low, high = score.range
        if measure and not (measure.range[0] <= low <= high <= measure.range[1]):
            yield f"{score.key} has the range {low:g}..{high:g}, its measure declares {_words(measure.range)}"
        for name, grid in (("low", score.low), ("high", score.high)):
            if grid is not None and (np.nanmin(grid, initial=low) < low or np.nanmax(grid, initial=high) > high):
                yield f"{score.key}: {name} leaves the range {low:g}..{high:g}"
        if score.p is not None and (np.nanmin(score.p, initial=0) < 0 or np.nanmax(score.p, initial=1) > 1):
            yield f"{score.key}: p outside 0..1"


def _words(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g}..{bounds[1]:g}"


def _uncertainty(result: SuiteResult) -> Iterator[str]:
    for score in result.scores:
        some = bool(np.isfinite(score.values).any())
        if some and score.n < 1:
            yield f"{score.key} has n = {score.n}"
        if (score.low is None) != (score.high is None):
            yield f"{score.key} has only one end of an interval"
        if some and score.low is None and not score.no_null:
            yield f"{score.key} has no interval and does not say why"
        if score.low is not None and score.high is not None:
            crossed = np.argwhere(score.low > score.high)
            if len(crossed):
                yield f"{score.key}: low is above high in {head_name(*map(int, crossed[0]))}"
        if score.line is not None and not math.isfinite(score.line):
            yield f"{score.key}: line is {score.line}"


def _nans(result: SuiteResult) -> Iterator[str]:
    """The scores themselves refuse a NaN without a reason; a reason must say something."""
    for score in result.scores:
        for layer, head in np.argwhere(np.isnan(score.values)).tolist():
            if len(score.reason(layer, head).split()) < 1:
                yield f"{score.key}: {head_name(layer, head)} is NaN without a reason"
        if score.values.size and np.isnan(score.values).all() and score.p is not None:
            yield f"{score.key} has p-values but no values"


def _measures(suite: Suite, result: SuiteResult) -> Iterator[str]:
    for score in result.scores:
        if _declared(suite, score) is None:
            yield f"{score.key} does not belong to a declared measure"
    there = {score.measure for score in result.scores}
    if not result.not_computed:
        yield from (f"measure {m.name} has no score" for m in suite.measures if m.name not in there)


# The figures of a stored run, drawn in a process that can't import torch.
#
# `python -m reportgen.suitecheck.result RUN SUITE` prints what it drew as one JSON object.

BARRED = ("torch", "transformers", "transformer_lens")
_LIMIT_S = 600


def drawn_figures(run: Path, suite: str) -> Iterator[CheckLine]:
    """Two lines: the figures are drawn without torch; each has a caption, words for who can't see it, and numbers."""
    command = [sys.executable, "-m", "reportgen.suitecheck.result", str(run), suite]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield CheckLine("figures", FAIL, last, "import torch only inside score, and altair only inside figures")
        yield CheckLine("captions", NOT_RUN, "nothing was drawn")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    drawn = found["figures"]
    if not drawn and not found["problems"]:
        yield CheckLine("figures", NOT_RUN, "the suite draws none", "figures(result, view) returns a list of Figure")
        yield CheckLine("captions", NOT_RUN, "the suite draws no figure")
        return
    yield judged("figures", found["problems"], "python -X dev -m reportgen render shows where it failed",
                 f"{len(drawn)} drawn from the stored run, without torch: {', '.join(f['id'] for f in drawn[:3])}"
                 + (" ..." if len(drawn) > 3 else ""))  # fmt: skip
    if not drawn:
        yield CheckLine("captions", NOT_RUN, "nothing was drawn")
        return
    problems = [words for figure in drawn for words in wordless(figure)]
    yield judged("captions", problems, "give every Figure a title, caption, alt and data",
                 "every figure has title, caption, alt and data")  # fmt: skip


def wordless(figure: dict[str, Any]) -> Iterator[str]:
    """What a figure should say and does not."""
    for word in ("title", "caption", "alt"):
        if not figure[word].strip():
            yield f"figure {figure['id']} has no {word}"
    if not figure["rows"]:
        yield f"figure {figure['id']} has no data"


def main(run: str, suite: str) -> None:
    """Draw the run with everything of BARRED made impossible to import, and print what there is."""
    for name in BARRED:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's way to refuse a name
    from reportgen import suites
    from reportgen.report.build import build
    from reportgen.runfolder import Run

    found = suites.find(suite)
    report = build(Run.open(run), suites={found.name: found})
    section = next(s for s in report.sections if s.name == found.name)
    drawn = [
        {"id": p.id, "title": p.title, "caption": p.caption, "alt": p.alt, "rows": len(p.figure.data.rows)}
        for p in section.plates
    ]
    print(json.dumps({"figures": drawn, "problems": list(section.undrawn)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
