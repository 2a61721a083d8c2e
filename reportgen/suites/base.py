"""The definition of a suite. Everything specific to a suite is in its folder:

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
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reportgen.aliases import Bools
from reportgen.errors import SettingsError, nearest
from reportgen.manifest import ModelRecord
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites import samples
from reportgen.suites.cost import Phase, Speeds, seconds
from reportgen.suites.settings import read
from reportgen.suites.variants import Variant

if TYPE_CHECKING:
    from reportgen.figures.figure import Figure, View
    from reportgen.models.tokens import Tokens


_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,60}")
HOW = "docs/suites.md begins with a suite of twenty lines."  # hint for errors in a user's suite
_LENT = ("settings", "context")  # arguments of a score function besides the model


@dataclass(frozen=True)
class Measure:
    """One kind of score, as printed in the glossary.

    formula  plain text, precise enough to recompute, e.g. "share of pairs (s, t) with rank of t in row s <= k"
    meaning  one sentence: what a high value says, and what it does not
    range    smallest and largest possible value; infinity = no bound
    null     how p or the line is made; "none: ..." with the reason if there is none
    from_weights  computed in float32 from the weights alone, whatever dtype the model runs in
    """

    name: str
    title: str
    formula: str
    meaning: str
    unit: str = ""
    source: str = ""  # citation key (published.toml) and section; "ours" if this project added it
    range: tuple[float, float] = (-math.inf, math.inf)
    null: str = ""
    from_weights: bool = False


@dataclass(frozen=True)
class Planted:
    """The required score of one head of the model with planted heads (docs/suites.md describes them).

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
    """Options for `reportgen suite check`; the defaults suit most suites.

    settings  used in the check, over those of the preset `quick`: small numbers, what fits a context of 64 tokens
    batch     the setting that says how many prompts a forward pass takes; the check changes it
    planted   what the suite must find on the model with planted heads
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    batch: str = "batch"
    planted: tuple[Planted, ...] = ()


@dataclass(frozen=True, eq=False)
class Classes:
    """Which heads are in which class, by a score.

    names   the classes, as a table prints them
    member  [class layer head] the head is in it
    unsure  [class layer head] another sample of examples could decide otherwise
    """

    names: tuple[str, ...]
    member: Bools
    unsure: Bools


@dataclass(frozen=True)
class Context:
    """What the runner provides to a suite while it scores.

    head_sets   every finished suite's sets, by suite name
    results     every finished suite's result: read scores from it, never import another suite
    progress    progress(done, total, words): call regularly; Ctrl-C is also noticed there
    offline     any other model that the suite loads must be on this machine
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
    version    raise it when scores change, so that stored ones are recomputed. 0: rescore whenever the file changes
    quick      settings of the preset `quick`: valid statistics with fewer resamples, without the slow experiments
    full       settings of the preset `full`, if they differ from the defaults
    left_out   what `quick` leaves out, in words, for the report
    needs      suites whose results this one can use; the runner only orders by it
    reads_sets its result depends on the head sets of the suites before it: it is scored again where they change
    threshold  the setting that says how large a score with a null must be, too, to count along a training run
    together   beginnings of two keys, of its own scores or of those of suites it needs: a sweep follows the heads that
               end highest by the one or the other, by both scores
    featured   beginnings of measure/task: the scores that a gallery shows first
    classes    "module:function": classes(result) -> Classes or None, the classes that a comparison watches heads change
    norm       the array [layer head], or the measure, that holds the norm of every head's output
    licence    of the data that comes with the suite, in words: whose it is, on what terms
    variants   "module:function": variants(result) -> Variants (variants.py): scores computed in other ways from what
               the run stores, which say in how many of them a set of heads holds; variants(result, settings) gets the
               suite's settings as stored, too
    older      "module:function": older(result) -> SuiteResult, reads what reportgen 0.1 stored in facts alone
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
    reads_sets: bool = False
    data: Callable[[Any], tuple[Path, ...]] = lambda settings: ()  # files whose bytes enter the resume key
    says: Callable[[Any, int], tuple[str, ...]] = lambda settings, seed: ()  # printed before the model is loaded
    cost: Callable[[ModelRecord, Any], tuple[Phase, ...]] | None = None  # for estimates of time; None: not estimated
    reach: Callable[[ModelRecord, Any, Tokens, int], tuple[str, ...]] = lambda *_: ()  # for --dry-run: smallest p, n
    drops: Callable[[Any, Tokens, int], tuple[str, ...]] = (
        lambda *_: ()
    )  # data that this tokenizer leaves out, in words
    check: Check = field(default_factory=Check)  # for `reportgen suite check`
    threshold: str = ""
    together: tuple[str, str] | tuple[()] = ()
    featured: tuple[str, ...] = ()
    classes: str = ""
    older: str = ""
    norm: str = ""
    licence: str = ""
    variants: str | Callable[..., tuple[Variant, ...]] = ""
    static: bool = False  # can score weights that are streamed from disk, without a forward pass

    def __post_init__(self) -> None:
        """Refuse a suite that would fail later: its name is used in file names, its settings come from strings."""
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
        """Estimated scoring time in seconds; None if the suite declares no cost."""
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

    def load_classes(self) -> Callable[[SuiteResult], Classes | None]:
        """What says which heads are in which class, imported now."""
        return _resolve(self.classes)

    def load_variants(self) -> Callable[[SuiteResult, Mapping[str, object]], tuple[Variant, ...]]:
        """What computes stored scores in other ways from a result and the settings stored with it, imported now."""
        found = _resolve(self.variants)
        if len(inspect.signature(found).parameters) > 1:
            return found
        return lambda result, settings: cast("tuple[Variant, ...]", found(result))

    def load_older(self) -> Callable[[SuiteResult], SuiteResult]:
        """What reads a result of reportgen 0.1, imported now."""
        return _resolve(self.older)

    def with_threshold(self, result: SuiteResult, settings: Mapping[str, object]) -> SuiteResult:
        """`result` whose scores with a null have the suite's threshold, where they have none of their own."""
        limit = settings.get(self.threshold)
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            return result
        scores = (
            s if s.threshold is not None or (s.p is None and s.line is None) else replace(s, threshold=float(limit))
            for s in result.scores
        )
        return replace(result, scores=tuple(scores))

    @property
    def file(self) -> str:
        """The Python file of its score function; "" if not imported yet."""
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
    """Call the score function with those of settings and context that it names."""
    names = _arguments(suite.name, function)
    given = (model, settings, context) if names is None else (model,)
    lent = {} if names is None else {name: {"settings": settings, "context": context}[name] for name in names}
    found = function(*given, **lent)
    if not isinstance(found, SuiteResult):
        shape = (model.record.n_layers, model.record.n_heads)
        found = samples.result(suite.name, suite.measures, found, shape, context.seed)
    return suite.with_threshold(found, dataclasses.asdict(settings))


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
