"""What the task circuits say of a result beside scores: `SuiteResult.facts`. Neither torch nor altair.

Fields after `done` are there only where the model does the task. Shares are of the clean-corrupted gap. `older` brings
results of reportgen 0.1, which stored the held-out head in a task's facts alone, to today's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import field

from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.facts import FactRecord, part, with_estimate

Estimate = tuple[float | None, float | None, float | None]  # value, low, high; None: not known


class TopHead(FactRecord):
    """The head with the largest |effect| on one half of the templates, estimated on the other."""

    head: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    chosen_on: str = ""
    measured_on: str = ""


class Attribution(FactRecord):
    """Estimates of the total effect against exact values of it."""

    spearman: float | None = None
    spearman_one_step: float | None = None
    over: str = "all heads"  # which heads both are compared on
    n_heads: int | None = None
    n_exact: int | None = None
    steps: int = 1
    poor: bool = False
    exact_passes: int | None = None
    n: int | None = None  # prompts


class AttributionBack(FactRecord):
    """The same of total effects by denoising."""

    spearman: float | None = None


class Rephrased(FactRecord):
    """The task in other words: which of the circuit's heads are selected again, and which are new."""

    n: int | None = None
    templates: list[str] = []
    accuracy: float | None = None
    tried: int | None = None  # heads whose direct effects were measured
    again: list[str] | None = None
    new: list[str] | None = None


class Families(FactRecord):
    """Total effects on the rephrased prompts."""

    n: int | None = None
    templates: int | None = None
    tried: int | None = None
    both: list[str] = []
    unsettled: list[str] = []
    one_only: dict[str, list[Estimate]] = {}  # head -> here and in other words


class StageFacts(FactRecord):
    """A later stage of the circuit; edges are (sender, receiver, kind, effect)."""

    receivers: list[str] = []
    kinds: list[str] = []
    heads: dict[str, str] = {}  # name -> role
    edges: list[tuple[str, str, str, float]] = []


class Spread(FactRecord):
    """f of random sets."""

    low: float
    mean: float
    high: float


class Spreads(FactRecord):
    """f of random sets, at every size."""

    low: list[float] = []
    mean: list[float] = []
    high: list[float] = []


class Bands(FactRecord):
    """Random sets like the first k heads; other_layer, shared: see faithfulness.DrawnSets."""

    sizes: list[float] = []
    sets: int = 0
    kept: Spreads = field(default_factory=Spreads)
    removed: Spreads = field(default_factory=Spreads)
    other_layer: float = 0.0
    shared: float = 0.0


class OwnCircuit(FactRecord):
    """f of the circuit found and of its complement; random sets and p only where those were drawn."""

    size: int | None = None
    kept: float | None = None
    removed: float | None = None
    kept_interval: list[float] = []
    removed_interval: list[float] = []
    accuracy_kept: float | None = None
    accuracy_removed: float | None = None
    accuracy_clean: float | None = None
    random_sets: int | None = None
    random_kept: Spread | None = None
    random_removed: Spread | None = None
    p_kept: float | None = None
    p_removed: float | None = None
    other_layer: float | None = None
    shared: float | None = None


class AddedWay(FactRecord):
    """Heads added in order, by half of the templates; kept[i] is f on the others with the first i of them."""

    chosen_on: str
    n: int
    heads: list[str]
    kept: list[float]


class Added(FactRecord):
    """Heads added to a circuit that keeps too little, both ways round."""

    ways: list[AddedWay] = []
    both: list[str] = []
    enough: float = 0.9


class Faithfulness(FactRecord):
    """f against size, with the first k heads kept, or removed; cpr, cmd: areas over the share of heads."""

    n: int | None = None
    m_clean: float | None = None
    m_none: float | None = None
    sizes: list[float] = []
    kept: list[float] = []
    removed: list[float] = []
    removed_direct: list[float] = []
    cpr: float | None = None
    cmd: float | None = None
    area_removed: float | None = None
    bands: Bands = field(default_factory=Bands)
    circuit: OwnCircuit | None = None
    added: Added | None = None


class Twin(FactRecord):
    """The same prompts on randomly initialised twins; `largest`: |direct effect| of any of their heads."""

    accuracy: float
    largest: float
    does_it: bool = False
    count: int | None = None


class KnockedOut(FactRecord):
    """The movers ablated."""

    heads: list[str]
    accuracy_before: float
    accuracy_after: float
    m_before: float | None = None
    m_after: float | None = None
    tried: int | None = None  # heads whose direct effects were measured
    n_backups: int | None = None
    n_taking_over: int | None = None


class TaskFacts(FactRecord):
    """One task."""

    title: str = ""
    metric: str = ""
    unit: str = "logits"
    n: int | None = None  # prompts
    templates: list[str] = []
    dropped: dict[str, int] = {}  # why -> count
    roles: list[str] = []
    mover: str = "mover"  # the task's word for one
    form: str = ""  # which of a task's forms this tokenizer took
    user: bool = False
    accuracy: float | None = None  # share of prompts with m > 0, Wilson interval
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    top: float | None = None  # share of prompts whose most likely next token is the answer
    p_answer: float | None = None
    m_clean: float | None = None
    m_corrupted: float | None = None
    gap: float | None = None  # m_clean - m_corrupted
    gap_low: float | None = None
    gap_high: float | None = None
    done_rule: str | None = None
    done: bool = False
    why: str = ""  # the model is taken not to do the task
    frozen_error: float | None = None  # largest |m - m_clean| with every head held at its clean output
    effect_share: float | None = None  # the rule's numbers, and what they are in words
    alpha: float | None = None
    flips: int | None = None
    resamples: int | None = None
    interval: str | None = None
    null: str | None = None
    rule: str | None = None
    rules: dict[str, str] | None = None
    n_large: int | None = None  # heads with |effect| >= share
    n_beyond: int | None = None  # with p <= alpha
    n_both: int | None = None
    n_first: int | None = None  # the first 2 % by size
    n_circuit: int | None = None  # that the rule asked for selects
    remark: str | None = None
    sum_direct: float | None = None
    top_head: TopHead | None = None  # absent with one template
    copy_k: int | None = None
    copy_threshold: float | None = None
    mover_attention: float | None = None
    copy_note: str | None = None
    attribution: Attribution | None = None
    attribution_denoising: AttributionBack | None = None
    rephrased: Rephrased | None = None
    families: Families | None = None
    receivers: list[str] | None = None  # heads that the later stages act through
    receivers_are: str | None = None
    through_movers: StageFacts | None = None
    through_those: StageFacts | None = None
    members: dict[str, list[str]] | None = None  # stage -> heads
    ablated: str | None = None  # "mean-ablated" or "zero-ablated": what removing a head means
    faithfulness: Faithfulness | None = None  # absent where heads carry none of the task
    twin: Twin | None = None
    knock_out: KnockedOut | None = None


class PairFacts(FactRecord):
    """Two circuits' overlap. p: one-sided, at least as many shared heads by chance; p_holm: corrected over pairs."""

    a: str
    b: str
    both: int
    either: int
    smaller: int
    expected: float
    p: float | None = None
    p_holm: float | None = None
    spearman_direct: float | None = None
    spearman_total: float | None = None


class GroupFacts(FactRecord):
    """Heads whose circuits are exactly those of these tasks."""

    tasks: list[str]
    heads: list[str]


class ReuseFacts(FactRecord):
    """Heads that several tasks' circuits share."""

    tasks: list[str] = []
    titles: dict[str, str] = {}
    sizes: dict[str, int] = {}
    pairs: list[PairFacts] = []
    groups: list[GroupFacts] = []
    reused: list[str] = []
    null: str = ""


class TextFacts(FactRecord):
    """Heads on natural text: estimates against exact values, and counts of heads."""

    source: str = "unknown"
    windows: int | None = None
    tokens: int | None = None
    loss_nats: float | None = None
    spearman: float | None = None
    spearman_direct: float | None = None
    over: str | None = None
    ablated: str = "mean-ablated"
    n_random: int | None = None
    n_exact: int | None = None
    n_helpful: int | None = None  # beyond the null
    n_repaired: int | None = None  # direct above total
    null: str = ""


class CircuitFacts(FactRecord):
    """The whole suite's; `reuse` where two tasks have a circuit, `natural_text` where it was measured."""

    tasks: dict[str, TaskFacts] = {}
    reuse: ReuseFacts | None = None
    natural_text: TextFacts | None = None

    def task(self, name: str) -> TaskFacts:
        """The facts of a task, with its name for a title where it has none."""
        found = self.tasks.get(name) or TaskFacts()
        found.title = found.title or name.replace("_", " ")
        return found


DIRECT = ("direct", "movers", "name_movers", "negative_movers")  # sets picked by the direct effect, by their keys' end


def older(result: SuiteResult) -> SuiteResult:
    """`result` with the largest direct effect, held out, in its score, and the score that each set was picked by."""
    scores = (with_top_head(s, part(result.facts, "tasks", s.task, "top_head")) for s in result.scores)
    sets = (replace(s, score=score_of(s.key)) for s in result.head_sets)
    return replace(result, scores=tuple(scores), head_sets=tuple(sets))


def with_top_head(scores: HeadScores, top: Mapping[str, Any]) -> HeadScores:
    """The direct effect with its largest head, held out; another measure as it is."""
    return with_estimate(scores, top, "prompts", "effect") if scores.measure == "direct" else scores


def score_of(key: str) -> str:
    """`circuits/ioi/movers` -> `circuits/direct/ioi`; empty for a set of heads that act through others."""
    suite, _, rest = key.partition("/")
    task, _, name = rest.rpartition("/")
    return f"{suite}/direct/{task}" if name in DIRECT else ""
