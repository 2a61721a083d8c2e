"""What a suite is. A suite's folder holds all that is special about it:

suite.py     one `Suite`: name, settings, measures, where its halves live; imports neither torch nor altair
score.py     torch:  score(model, settings, context) -> SuiteResult
figures.py   altair: figures(result, view) -> list[Figure]

A user's suite is one file: `score` is a function in it, and the rest has defaults (samples.py, maps.py).
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reportgen.errors import SettingsError, nearest
from reportgen.manifest import ModelRecord
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites import samples
from reportgen.suites.cost import Phase, Speeds, seconds
from reportgen.suites.settings import read

if TYPE_CHECKING:
    from reportgen.figures.figure import Figure, View
    from reportgen.models.tokens import Tokens


_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,60}")
HOW = "docs/suites.md begins with a suite of twenty lines."  # what a mistake in a user's suite is answered with
_LENT = ("settings", "context")  # what a score function may ask for beside the model


@dataclass(frozen=True)
class Measure:
    """One kind of number, as the glossary prints it.

    formula  plain text that a reader could compute from, e.g. "share of pairs (s, t) with rank of t in row s <= k"
    meaning  one sentence: what a high value says, and what it does not
    range    smallest and largest possible value; an infinity where there is no bound
    null     how p or the line is made, in words; "none: ..." and why where there is none
    from_weights  computed in float32 from the weights alone, whatever the model runs in
    """

    name: str
    title: str
    formula: str
    meaning: str
    unit: str = ""
    source: str = ""  # citation key (published.toml) and section; "ours" where the project added it
    range: tuple[float, float] = (-math.inf, math.inf)
    null: str = ""
    from_weights: bool = False


@dataclass(frozen=True)
class Planted:
    """What a score must be for one head of the model with planted heads (docs/suites.md says what each of them does).

    score      "measure/task"
    head       "L1H0"
    low, high  the value must lie between them
    """

    score: str
    head: str
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Check:
    """What `reportgen suite check` needs to know of a suite; the defaults do for most.

    settings  used in the check, over those of the preset `quick`: small numbers, what fits a context of 64 tokens
    batch     the setting that says how many prompts a forward pass takes; the check changes it
    planted   what the suite must find on the model with planted heads
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    batch: str = "batch"
    planted: tuple[Planted, ...] = ()


@dataclass(frozen=True)
class Context:
    """What the runner lends to a suite while it scores.

    head_sets   every finished suite's sets, by suite name
    results     every finished suite's result: read scores from it, never import another suite
    progress    progress(done, total, words): called now and then; also where Ctrl-C is noticed
    offline     another model that the suite loads must be on this machine
    """

    seed: int
    threads: int
    head_sets: Mapping[str, tuple[HeadSet, ...]] = field(default_factory=dict)
    results: Mapping[str, SuiteResult] = field(default_factory=dict)
    progress: Callable[[int, int, str], None] = lambda done, total, words: None
    offline: bool = False


@dataclass(frozen=True)
class NoSettings:
    """Settings of a suite that has none."""


@dataclass(frozen=True)
class Suite:
    """A method that scores every head, and how its figures are drawn.

    score, figures  a function, or "package.module:function", imported on use. score gets the model (models.Weights with
               --stream) and those of `settings` and `context` that it names; it returns a SuiteResult, or what
               samples.py takes. Without `figures` every score is drawn as a layer x head map
    measures   one Measure or several
    title, summary  for the report; without: the name, and the score function's first line or the measure's meaning
    settings   a frozen dataclass type; every field has a default and metadata {"help": ...} (more: settings.py). One
               called `twins` counts the random twins loaded beside the model: where it is not 0, memory must do for one
    version    raised when the scores would change: stored ones are then computed again. 0: whenever the file changes
    quick      settings of the preset `quick`: valid statistics with fewer resamples, without the slow experiments
    full       settings of the preset `full`, where they differ from the defaults
    left_out   what `quick` leaves out, in words, for the report
    needs      suites whose results this one can use; the runner only orders by it
    """

    name: str
    score: str | Callable[..., Any]
    measures: tuple[Measure, ...]  # or a single one
    title: str = ""
    summary: str = ""
    version: int = 0
    settings: type[Any] = NoSettings
    figures: str | Callable[[SuiteResult, View], Iterable[Figure]] = ""
    citations: tuple[str, ...] = ()
    quick: Mapping[str, object] = field(default_factory=dict)
    full: Mapping[str, object] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    data: Callable[[Any], tuple[Path, ...]] = lambda settings: ()  # files whose bytes enter the resume key
    says: Callable[[Any, int], tuple[str, ...]] = lambda settings, seed: ()  # printed before the model is loaded
    cost: Callable[[ModelRecord, Any], tuple[Phase, ...]] | None = None  # for estimates of time; None: not estimated
    reach: Callable[[ModelRecord, Any, Tokens, int], tuple[str, ...]] = lambda *_: ()  # for --dry-run: smallest p, n
    drops: Callable[[Any, Tokens, int], tuple[str, ...]] = (
        lambda *_: ()
    )  # data that this tokenizer leaves out, in words
    check: Check = field(default_factory=Check)  # for `reportgen suite check`
    static: bool = False  # can score weights that are streamed from disk, without a forward pass

    def __post_init__(self) -> None:
        """Refuse a suite that would fail later: its name becomes file names, its settings are made from strings."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise SettingsError(f"Suite name {self.name!r}: expected lower-case letters, digits and '_'.", HOW)
        if not dataclasses.is_dataclass(self.settings) or not isinstance(self.settings, type):
            raise SettingsError(f"Suite {self.name}: settings is no dataclass type.", HOW)
        for half in (self.score, self.figures or "a:b"):
            if not callable(half) and (not isinstance(half, str) or half.count(":") != 1):
                raise SettingsError(f"Suite {self.name}: {half!r} is no function and not 'module:function'.", HOW)
        if callable(self.score):
            _arguments(self.name, self.score)
        measures = (self.measures,) if isinstance(self.measures, Measure) else self.measures
        if not isinstance(measures, tuple | list) or not all(isinstance(measure, Measure) for measure in measures):
            raise SettingsError(f"Suite {self.name}: measures are not all of the type Measure.", HOW)
        words = (inspect.getdoc(self.score) or "") if inspect.isfunction(self.score) else ""
        said = words.split("\n\n")[0].replace("\n", " ") or (measures[0].meaning if measures else "")
        object.__setattr__(self, "measures", tuple(measures))
        object.__setattr__(self, "title", self.title or self.name.replace("_", " ").capitalize())
        object.__setattr__(self, "summary", self.summary or said)

    def measure(self, name: str) -> Measure:
        """The measure of this name; KeyError when the suite has none."""
        return next(m for m in self.measures if m.name == name)

    def estimate(self, model: ModelRecord, settings: Any, speeds: Speeds) -> float | None:
        """Seconds that scoring will take; None where the suite does not say what it costs."""
        if self.cost is None:
            return None
        return sum(seconds(phase, model, speeds) for phase in self.cost(model, settings))

    def load_score(self) -> Callable[[Any, Any, Context], SuiteResult]:
        """The torch half, imported now."""
        return partial(_score, self, _resolve(self.score))

    def load_figures(self) -> Callable[[SuiteResult, View], Iterable[Figure]]:
        """The altair half, imported now."""
        if not self.figures:
            from reportgen.suites.maps import figures  # imports altair

            return figures(self)
        return _resolve(self.figures)

    @property
    def file(self) -> str:
        """The Python file that its score function stands in; "" where that was not imported yet."""
        module = self.score.partition(":")[0] if isinstance(self.score, str) else self.score.__module__
        return str(getattr(sys.modules.get(module), "__file__", None) or "")

    def make_settings(self, preset: str = "full", given: Mapping[str, object] | None = None) -> Any:
        """Settings from defaults, then the preset, then what the user gave (strings are read as the field's type)."""
        fields = {f.name: f for f in dataclasses.fields(self.settings)}
        values: dict[str, object] = dict(self.quick if preset == "quick" else self.full)
        for name, value in (given or {}).items():
            if name not in fields:
                raise SettingsError(f"suite {self.name} has no setting {name!r}.", nearest(name, fields))
            values[name] = read(self.name, name, value, getattr(self.settings(), name))
        try:
            return self.settings(**values)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"suite {self.name}: {error}", f"See 'reportgen suites {self.name}'.") from error


def _score(suite: Suite, function: Callable[..., Any], model: Any, settings: Any, context: Context) -> SuiteResult:
    """What the suite's function finds, given what it names of settings and context."""
    names = _arguments(suite.name, function)
    given = (model, settings, context) if names is None else (model,)
    lent = {} if names is None else {name: {"settings": settings, "context": context}[name] for name in names}
    found = function(*given, **lent)
    if isinstance(found, SuiteResult):
        return found
    shape = (model.record.n_layers, model.record.n_heads)
    return samples.result(suite.name, suite.measures, found, shape, context.seed)


def _arguments(suite: str, function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Which of settings and context a score function names; None for the three in order, whatever they are called."""
    try:
        names = tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    if len(names) == 3:
        return None
    if not names or not set(names[1:]) <= set(_LENT):
        said = f"({', '.join(names)})"
        raise SettingsError(f"Suite {suite}: score{said}: expected score(model), settings and context after it.", HOW)
    return names[1:]


def _resolve(spec: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(spec, str):
        return spec
    module, _, name = spec.partition(":")
    return cast("Callable[..., Any]", getattr(importlib.import_module(module), name))
