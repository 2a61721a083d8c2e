"""All checks of one suite, in order, a line each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from reportgen.errors import NotApplicable, one_line
from reportgen.manifest import SCHEMA_VERSION, Manifest, SuiteRecord
from reportgen.models.model import Model
from reportgen.runfolder import MANIFEST, Run, RunWriter
from reportgen.scores import BadScores, SuiteResult
from reportgen.suitecheck import repeats, result
from reportgen.suitecheck.repeats import TrialModels
from reportgen.suitecheck.result import FAIL, NOT_RUN, OK, CheckLine, judged
from reportgen.suites.base import Suite

RUNS = "give settings that let it run, Check(settings=...) or --set, or a suitable --model"
UNTOUCHED = "work on copies (tensor.clone()), and pass hooks to model.run, which removes them"


@dataclass(frozen=True)
class CheckedSuite:
    """What is checked: the suite, how `suites.find` finds it again, and settings over its own for the check."""

    suite: Suite
    name: str
    settings: Mapping[str, object]

    @property
    def given(self) -> dict[str, object]:
        return {**self.suite.check.settings, **self.settings}


def run_checks(asked: CheckedSuite, model: str = "") -> Iterator[CheckLine]:
    """Every check of a suite, on `model` or on small random ones, which stand in a temporary folder meanwhile.

    Raises SettingsError where a setting of the check does not exist, ModelError where the model can't be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="reportgen-suite-check-") as folder:
        bench = TrialModels(Path(folder), model)
        yield from scoring(asked, bench)
        path = bench.folder / "run"
        if (path / MANIFEST).is_file():
            yield repeats.elsewhere(path, asked.suite.name, asked.name, bench.name, asked.given)
            yield from result.drawn_figures(path, asked.name)


def scoring(asked: CheckedSuite, bench: TrialModels) -> Iterator[CheckLine]:
    """The checks that need no other process; what was found is left in the bench's folder as a run."""
    suite = asked.suite
    yield result.declared(suite)
    model = bench.first
    first = repeats.run_trial(suite, model, asked.given)
    yield from _scored(asked, model, first)
    if bench.second is not None:
        yield from _scored(asked, bench.second, repeats.run_trial(suite, bench.second, asked.given))
    yield judged("untouched", [f"changed: {words}" for words in first.changed], UNTOUCHED,
                 "weights, logits, settings and torch's switches are as before")  # fmt: skip
    found = first.result
    if found is None or not found.scores:
        yield CheckLine("others", NOT_RUN, "seed, batches, planted and figures need scores")
        return
    if first.changed:
        yield CheckLine("others", NOT_RUN, "seed, batches, planted and figures need an unmodified model")
        return
    stored = _stored(asked, model, found, bench.folder / "run")
    yield stored
    if stored.status == FAIL:
        return
    yield repeats.same_seed(suite, model, asked.given, found)
    yield repeats.batches(suite, model, asked.given, first)
    if suite.static:
        yield repeats.streamed(suite, bench.streamed, asked.given, found)
    yield repeats.planted(suite, bench.planted, asked.given)


def _scored(asked: CheckedSuite, model: Model, trial: repeats.Trial) -> Iterator[CheckLine]:
    """`scores`, then what the scores look like."""
    found, record = trial.found, model.record
    if isinstance(found, SuiteResult) and not found.scores:
        why = "; ".join(f"{n.what}: {n.why}" for n in found.not_computed[:1])
        yield CheckLine("scores", FAIL, f"none on {record.id}{f' ({why})' if why else ''}", RUNS)
    elif isinstance(found, SuiteResult):
        yield CheckLine("scores", OK, f"{len(found.scores)} on {record.id}, {record.family}")
        yield from result.looked_at(asked.suite, found, record)
    elif isinstance(found, NotApplicable):
        yield CheckLine("scores", FAIL, f"refused on {record.id}: {one_line(str(found))}", RUNS)
    elif isinstance(found, BadScores):
        yield from result.broken(found.rule, repeats.place(found, asked.suite.file), record)
    else:
        yield CheckLine("scores", FAIL, f"on {record.id}: {repeats.place(found, asked.suite.file)}", "fix that line")


def _stored(asked: CheckedSuite, model: Model, found: SuiteResult, path: Path) -> CheckLine:
    """The result kept in a run folder and read again."""
    try:
        with RunWriter(path, _manifest(model)) as writer:
            settings: dict[str, Any] = msgspec.to_builtins(asked.suite.make_settings("quick", asked.given))
            writer.store(asked.suite.name, found, SuiteRecord("done", asked.suite.version, settings, {}))
        same = len(Run.open(path).result(asked.suite.name).scores) == len(found.scores)
    except (NotImplementedError, TypeError, ValueError) as error:
        return CheckLine(
            "stored", FAIL, one_line(str(error)), "use plain numbers, strings and lists in facts, tables and settings"
        )
    return judged("stored", [] if same else ["scores are lost"], "", "the run folder returns what was stored")


def _manifest(model: Model) -> Manifest:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(
        schema_version=SCHEMA_VERSION, model=model.record, device=str(model.device), device_name="", threads=1,
        seed=repeats.SEED, preset="quick", created=now, updated=now, argv=[], versions={}, synthetic=True,
    )  # fmt: skip
