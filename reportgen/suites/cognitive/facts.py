"""What the cognitive suite says of a result beside scores: `SuiteResult.facts`. Neither torch nor altair.

A label is a function as the data names it; a slug is its task name. None: there is no such number.
"""

from __future__ import annotations

from dataclasses import replace
from math import nan
from typing import ClassVar

from reportgen.scores import SuiteResult
from reportgen.suites.facts import FactRecord, Number


class _Record(FactRecord):
    keeps_none: ClassVar[bool] = True


class DataFacts(_Record):
    """The rows, and what is odd about them; the last six count rows of the prompts."""

    set: str = ""
    why: str = ""
    rows: int = 0
    chains: int = 0
    counts: dict[str, dict[str, int]] = {}  # label -> split -> rows
    stray: dict[str, int] = {}
    test_questions_in_train: int = 0
    texts_with_two_labels: int = 0
    labels_that_look_alike: list[list[str]] = []
    mean_step: dict[str, float | None] = {}
    answer_words: dict[str, float | None] = {}
    answer_shapes: dict[str, dict[str, int]] = {}
    too_long: int = 0
    without_answer: int = 0
    unparsable: int = 0
    tried: int = 0
    prompt_why: str = ""


class GeneratedFacts(_Record):
    """Share of answers that the model generated rightly."""

    right: float
    n: int


class ProbeFacts(_Record):
    """The probe and its training."""

    proj: int
    hidden: int
    steps: int
    batch: int | None = None
    learning_rate: float | None = None
    optimiser: str = ""
    seeds: int | None = None
    early_stopped: bool = False
    validation_loss_nats: list[float | None] = []


class AccuracyFacts(_Record):
    """The probe's accuracy on the test rows, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    chance: float
    sd: float | None = None
    selection: float | None = None
    balanced: float | None = None
    p: float | None = None
    without_layer_mean: float | None = None


class BaselineFacts(_Record):
    """A surface baseline on the same rows."""

    words: str
    accuracy: float
    low: float | None = None
    high: float | None = None
    balanced: float | None = None


class MarginFacts(_Record):
    """Probe minus best baseline, paired by row, resampled by chain."""

    above: bool = False
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


class RecallFacts(_Record):
    """Recall of one function."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class NullFacts(FactRecord):
    """Permuted labels, or `why` there are none. seeds_each: starts per permutation, seeds: those of the importance."""

    why: str | None = None
    permutations: int | None = None
    seeds_each: int | None = None
    seeds: int | None = None
    steps: int | None = None
    alpha: float | None = None
    strata: str | None = None
    line_own: float | None = None
    line_total: float | None = None
    accuracy: float | None = None
    elbow: float | None = None

    @property
    def starts(self) -> str:
        """Whether a permutation was averaged over as many starts as the real importance."""
        each, real = self.seeds_each, self.seeds
        if each is None or real is None:
            return ""
        if each < real:
            return f", {each} start{'s' if each > 1 else ''} each against {real} in the map: conservative"
        return f", {each} starts each as in the map"


class NoiseFacts(_Record):
    """Heads that the elbow keeps of pure noise: mean and 5 to 95 % range over draws."""

    mean: float
    low: float
    high: float
    draws: float = 0.0


class AgreementFacts(_Record):
    """Between starts: Spearman of |own|, Jaccard of the first `top` heads."""

    spearman: float | None = None
    jaccard: float | None = None


class BareFacts(_Record):
    """Spearman of the own part with and without the layer mean, per function."""

    spearman: list[float | None] = []


class FunctionEffect(_Record):
    """One function's heads and questions. Changes are log-probability of the right answer, nats, against intact."""

    n: int = 0  # questions asked
    n_right: int = 0  # that the intact model answers rightly
    used: int = 0  # behind the changes
    own: Number = nan  # mean change under its own heads,
    others: Number = nan  # the mean over other functions' heads,
    random: Number = nan  # random sets
    contrast: Number = nan  # own minus others, with its 95 % interval over chains
    low: Number = nan
    high: Number = nan
    p: Number = nan  # sign flips over chains, two-sided
    p_holm: Number = nan
    p_random: Number = nan  # share of random sets that hurt as much or more; NaN with fewer than 399 sets
    p_random_holm: Number = nan
    kept_own: Number = nan  # share of rightly answered questions still answered rightly
    kept_others: Number = nan
    kept_random: Number = nan
    lost: int = 0  # questions that turn wrong under its own heads,
    gained: int = 0  # and right
    p_mcnemar: Number = nan  # exact
    p_mcnemar_holm: Number = nan
    elbow: Number = nan  # change under the elbow's heads
    unchanged: Number = nan  # answers that stay what they were, right or wrong


class OtherWay(_Record):
    """The same with heads removed the other way."""

    how: str
    contrast: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


class AblationFacts(_Record):
    """Every function's heads removed; contrast: own minus other functions' heads, nats, over all functions."""

    how: str = "mean"
    scale: float | None = None
    size: int | None = None  # heads per function; None: each function's elbow
    right_only: bool = False
    cached: bool = False
    sets: dict[str, list[str]] = {}  # label -> heads
    functions: dict[str, FunctionEffect] = {}
    contrast: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    sizes: list[float] = []  # heads removed in the curves
    random_sets: int | None = None
    curve_sets: int | None = None
    layer_fallbacks: int | None = None
    norm_fallbacks: int | None = None
    draws: int | None = None
    neutral_loss_nats: dict[str, float | None] = {}  # "intact", and by label
    other: OtherWay | None = None

    @property
    def way(self) -> str:
        """What is done to a removed head's output."""
        return "replaced by its mean" if self.how == "mean" else f"scaled by {self.scale}"


class AloneFacts(_Record):
    """Each head alone: the best per label, and how many heads have p <= alpha."""

    penalty: float | None = None
    best: dict[str, str] = {}
    beyond: dict[str, int] | None = None


class CognitiveFacts(_Record):
    """The whole suite's."""

    functions: dict[str, str] = {}  # slug -> label, in the order of the figures
    data: DataFacts | None = None
    preset: str = ""
    unconfirmed: str = ""
    context: str = ""
    answers: str = ""
    tokens: str = ""
    k: int | None = None
    site: str = ""
    hook: str = ""
    prompt: str = ""
    chat_template: bool = False
    standardise: bool = False
    layer_mean: bool = False
    rule: str = ""
    ablation_how: str = ""
    tokens_averaged: dict[str, float | None] = {}  # mean number of answer tokens
    whole_answers: int = 0  # rows whose policy found no token of its own
    generated: GeneratedFacts | None = None
    probe: ProbeFacts | None = None
    accuracy: AccuracyFacts | None = None
    baselines: dict[str, BaselineFacts] = {}
    best_baseline: str = ""
    margin: MarginFacts | None = None
    recall: dict[str, RecallFacts] = {}
    null: NullFacts | None = None
    elbow: dict[str, int] = {}  # heads by the published rule on |importance|
    elbow_own: dict[str, int] = {}  # the same on the own part
    elbow_noise: NoiseFacts | None = None
    significant: dict[str, int] | None = None  # heads beyond the line (own part)
    agreement: dict[str, AgreementFacts] = {}
    top: int | None = None
    shares: dict[str, float] = {}  # own, layer, bias: parts of the sum of sizes
    norm_correlation: float | None = None  # Spearman of |own| with output norm
    without_layer_mean: BareFacts | None = None
    ablation: AblationFacts | None = None
    alone: AloneFacts | None = None
    features_bytes: int | None = None  # memory per example

    def label(self, task: str) -> str:
        """The function's name in the data."""
        return self.functions.get(task, task)


# Which score the sets of a function were picked by: reportgen 0.1 did not store it.


def older(result: SuiteResult) -> SuiteResult:
    """`result` with the own importance of its function as the score of every set."""
    return replace(result, head_sets=tuple(replace(s, score=score_of(s.key)) for s in result.head_sets))


def score_of(key: str) -> str:
    """`cognitive/retrieval/line` -> `cognitive/importance_own/retrieval`."""
    suite, _, rest = key.partition("/")
    return f"{suite}/importance_own/{rest.rpartition('/')[0]}"
