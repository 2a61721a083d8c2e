"""What a suite is. A suite's folder holds all that is special about it:

suite.py     one `Suite`: name, settings, measures, where its halves live; imports neither torch nor altair
score.py     torch:  score(model, settings, context) -> SuiteResult
figures.py   altair: figures(result, view) -> list[Figure]
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reportgen.errors import SettingsError, nearest
from reportgen.manifest import ModelRecord
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites.cost import Phase, Speeds, seconds
from reportgen.suites.settings import read

if TYPE_CHECKING:
    from reportgen.figures.figure import Figure, View
    from reportgen.models.tokens import Tokens


_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,60}")
_ONE_FILE = "README.md has a whole suite in one file."


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
class Suite:
    """A method that scores every head, and how its figures are drawn.

    settings   a frozen dataclass type; every field has a default and metadata {"help": ...} (more: settings.py). One
               called `twins` counts the random twins loaded beside the model: where it is not 0, memory must do for one
    quick      settings of the preset `quick`: valid statistics with fewer resamples, without the slow experiments
    full       settings of the preset `full`, where they differ from the defaults
    left_out   what `quick` leaves out, in words, for the report
    needs      suites whose results this one can use; the runner only orders by it
    score, figures  "package.module:function", resolved on use (score gets models.Weights with --stream, else a Model)
    """

    name: str
    title: str
    summary: str
    version: int
    settings: type[Any]
    score: str
    figures: str
    measures: tuple[Measure, ...]
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
            raise SettingsError(f"Suite name {self.name!r}: expected lower-case letters, digits and '_'.")
        if not dataclasses.is_dataclass(self.settings) or not isinstance(self.settings, type):
            raise SettingsError(f"Suite {self.name}: settings is no dataclass type.", _ONE_FILE)
        for half in (self.score, self.figures):
            if not isinstance(half, str) or half.count(":") != 1:
                raise SettingsError(f"Suite {self.name}: {half!r} is not 'module:function'.", _ONE_FILE)
        if not all(isinstance(measure, Measure) for measure in self.measures):
            raise SettingsError(f"Suite {self.name}: measures are not all of the type Measure.", _ONE_FILE)

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
        return cast("Callable[[Any, Any, Context], SuiteResult]", _resolve(self.score))

    def load_figures(self) -> Callable[[SuiteResult, View], list[Figure]]:
        """The altair half, imported now."""
        return cast("Callable[[SuiteResult, View], list[Figure]]", _resolve(self.figures))

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


def _resolve(spec: str) -> Callable[..., Any]:
    module, _, name = spec.partition(":")
    return cast("Callable[..., Any]", getattr(importlib.import_module(module), name))
