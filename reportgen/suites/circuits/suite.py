"""Which heads a task uses, and which of them several tasks share. Imports neither torch nor altair."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost, prose
from reportgen.suites.base import Measure, Suite
from reportgen.suites.circuits.settings import LEFT_OUT, QUICK, Settings, data_files
from reportgen.suites.cost import Phase

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


# Cost and smallest p of measuring circuits, reported before the model is loaded.
#
# The counts follow the code phase by phase, for tasks that the model solves; prompt length and number of sets are
# typical of the bundled tasks. To recalibrate, compare `phases` in a run's run.json with `phases()` here.

LENGTH = 16  # tokens of a prompt
LATER = 0.3  # share of the tasks that have a second stage, and of paths into single heads
RECEIVERS = 4  # heads that paths of single heads are measured into
EDGES = 8  # senders whose paths into single heads are measured
SEARCHED = 0.3  # share of the circuits that keep too little, for which heads are tried as additions
SHARED = 0.6  # of the layers of sets of heads: what they do not share with others
MLP = 0.75  # of a block: what runs where attention's output is given
PROBABILITIES = 0.25  # share of the tasks whose metric needs all logits
# Calls between the passes of a task (draws of nulls and intervals, random sets), and of natural text.
FIXED = {"direct": 30_000, "total": 10_000, "curve": 40_000, "text": 20_000}
HALF = 0.5  # of the layers: what a pass from the middle of the model runs


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """Phases of all tasks together, then natural text."""
    heads = record.n_layers * record.n_heads
    tasks = len(s.tasks) + bool(s.tasks_file)
    exact = heads if heads <= s.exact_heads else min(heads, 2 * s.verified + s.sampled)
    sample = min(s.patch_prompts, s.prompts, s.positions // LENGTH or s.patch_prompts)
    per_task = (
        _direct(record, s),
        _totals(record, s, exact, sample),
        _paths(record, s, sample),
        _curve(record, s),
    )
    return (*(_times(phase, tasks) for phase in per_task), *_text(record, s, heads))


def _times(phase: Phase, times: float) -> Phase:
    counts = {name: times * getattr(phase, name) for name in ("tokens", "logits", "products", "elements", "calls")}
    return Phase(phase.name, **counts)


def _direct(record: ModelRecord, s: Settings) -> Phase:
    """One position per prompt and head through the MLPs, again for ablated movers and other words; whole passes of the
    prompts for these and the twins, of which a few heads are tried."""
    heads = record.n_layers * record.n_heads
    again = min(heads, s.direct_again or heads)
    prompts = heads * s.prompts + again * (s.prompts * s.backups + s.rephrased) + s.verified * s.prompts * s.twins
    whole = 2 * (s.prompts * (1 + s.twins + HALF * s.backups) + s.rephrased) * LENGTH
    rounds = (1 + s.twins + s.backups + bool(s.rephrased)) * record.n_layers
    return Phase(
        "direct effects",
        tokens=HALF * MLP * prompts + whole,
        logits=PROBABILITIES * prompts,
        calls=cost.passes(record, HALF * rounds + 8 * rounds / record.n_layers) + FIXED["direct"],
    )


def _totals(record: ModelRecord, s: Settings, exact: int, sample: int) -> Phase:
    """A pass per head from its layer on, and attribution's forward and backward passes."""
    variants = exact * sample * (1 + s.denoising)
    whole = 6 * sample
    return Phase(
        "total effects",
        tokens=HALF * variants * LENGTH + whole * LENGTH,
        logits=variants + whole,
        calls=cost.passes(record, HALF * _passes(variants * LENGTH, exact) + 12) + FIXED["total"],
    )


def _paths(record: ModelRecord, s: Settings, sample: int) -> Phase:
    """Two passes per sender and kind of input, then the strongest senders into single heads."""
    senders = s.senders or record.n_layers * record.n_heads
    kinds = [len(some) for some in (s.through_movers, s.through_those) if some]
    variants = sum(senders * sample * (1 + n) * LATER**stage for stage, n in enumerate(kinds))
    single = 2 * LATER * len(kinds) * EDGES * RECEIVERS * min(s.edge_prompts, sample)
    tokens = HALF * (variants + single) * LENGTH
    count = _passes(tokens, sum(record.n_layers * (1 + n) for n in kinds) + 2 * len(kinds) * EDGES * RECEIVERS)
    return Phase(
        "paths between heads", tokens=tokens, logits=variants + single, calls=cost.passes(record, HALF * count)
    )


def _curve(record: ModelRecord, s: Settings) -> Phase:
    """Sets kept and removed at every size, random ones, and the likeliest additions to a circuit that keeps little."""
    if not s.curve_prompts:
        return Phase("faithfulness")
    heads = record.n_layers * record.n_heads
    sizes = log(heads, 1.62) + 2
    searched = SEARCHED * 2 * s.added * (min(s.verified, heads) + 3)  # both ways round; 3: a pass and its gradient
    sets = 3 * sizes + 2 * s.random_sets + 2 * s.bands * (sizes - 3) + searched
    tokens = SHARED * sets * s.curve_prompts * LENGTH
    return Phase(
        "faithfulness",
        tokens=tokens,
        logits=sets * s.curve_prompts,
        calls=cost.passes(record, _passes(tokens, 8)) + FIXED["curve"],
    )


def _text(record: ModelRecord, s: Settings, heads: int) -> tuple[Phase, ...]:
    if not s.reads_text:
        return ()
    limit, first = s.exact_on_text
    exact = heads if heads <= limit else min(heads, 2 * first + s.sampled)
    positions = s.text_windows * s.text_tokens
    passes = HALF * _passes(exact * positions, exact) + 12
    total, direct = (
        Phase(
            f"natural text, {name}",
            tokens=HALF * share * exact * positions + more * positions,
            logits=(exact + more) * positions,
            elements=2 * (exact + more) * positions * record.d_vocab,
            calls=cost.passes(record, passes) + FIXED["text"],
        )
        for name, share, more in (("total", 1.0, 12), ("direct", MLP, 0))
    )
    return (total, direct)


def _passes(positions: float, least: float) -> float:
    """Forward passes that so many positions take."""
    return max(positions / cost.ROWS, least)


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads, the smallest p, and usable prompts per task on this tokenizer."""
    from reportgen.suites.circuits.scoring.score import tasks

    counts = [f"{task.title}: {len(task.pairs)} prompts" for task in tasks(tokens, s, seed)]
    return (*cost.family(record, s.flips, s.min_pairs, "prompts"), *counts)


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Words of each task that are not single tokens for this tokenizer, and unknown tokens of the text."""
    from reportgen.suites.circuits.scoring.score import tasks

    words = []
    for task in tasks(tokens, s, seed):
        few = f": {len(task.pairs)} usable prompts of {s.min_pairs} required" if len(task.pairs) < s.min_pairs else ""
        gone = "; ".join(f"{count} {why}" for why, count in task.dropped.items())
        if few or gone:
            words.append(f"task {task.title}{few}{f': without {gone}' if gone else ''}")
    return (*words, *(prose.drops(tokens, s.text_file) if s.text and s.text_windows else ()))


_GAP = "share of the clean-corrupted gap"
_NATS = "nats per token"
_WANG = "wang2022ioi, section 3.1"
_FLIPS = "clean and corrupted swapped per prompt (sign flip), effects standardised per head, step-down max-T; two-sided"
_WINDOWS = "random sign for each window's change in loss, standardised per head, step-down max-T; two-sided"
_INPUTS = {"q": "queries", "k": "keys", "v": "values", "kv": "keys and values"}


def _path(stage: str, whose: str, kind: str) -> Measure:
    return Measure(
        f"{stage}_{kind}",
        f"Effect through {whose} {_INPUTS[kind]}",
        f"(m_clean - m_2) / (m_clean - m_corrupted); run 1: this head's output from the corrupted prompt, all other "
        f"heads clean, {whose} {_INPUTS[kind]} read; run 2: these written into a clean run, the rest recomputes",
        f"Positive: what the head adds to {whose} {_INPUTS[kind]} supports the answer.",
        _GAP,
        _WANG,
        null=_FLIPS,
    )


def _side(which: str) -> Measure:
    supports = {"answer": "Positive: the head raises the answer.", "foil": "Negative: the head lowers the foil."}
    return Measure(
        f"dla_{which}",
        f"Direct logit attribution, {which}",
        f"direct logit attribution on the {which} alone: onto W_U[{which}] minus the mean of W_U over the task's "
        "words, over the same gap; answer minus foil is direct logit attribution",
        f"{supports[which]} Relative to the task's words.",
        _GAP,
        "ours",
        null=_FLIPS,
    )


SUITE = Suite(
    name="circuits",
    title="Task circuits",
    summary="Which heads move a task's answer to the logits, through which other heads, and which of them other tasks "
    "also use: measured by patching and ablating heads of this model.",
    version=5,
    settings=Settings,
    score="reportgen.suites.circuits.scoring.score:score",
    figures="reportgen.suites.circuits.drawing.figures:figures",
    threshold="effect_share",
    featured=("direct/ioi", "total/ioi"),
    older="reportgen.suites.circuits.facts:older",
    variants="reportgen.suites.circuits.variants:variants",
    measures=(
        Measure(
            "direct",
            "Direct effect on the logits",
            "(m_clean - m_patched) / (m_clean - m_corrupted), m = logit(answer) - logit(foil), or the difference of "
            "summed probabilities; patched: this head's output is that of the corrupted prompt, every other head keeps "
            "its clean output, MLPs and final norm recompute",
            "Positive: the head's own output supports the answer. Effects through other heads are excluded.",
            _GAP,
            _WANG,
            null=_FLIPS,
        ),
        Measure(
            "direct_raw",
            "Direct effect on the logits, not normalised",
            "mean over prompts of m_clean - m_patched",
            "As the direct effect, in units of m.",
            "logits or probability",
            _WANG,
            null=_FLIPS,
        ),
        Measure(
            "dla",
            "Direct logit attribution",
            "(z_clean - z_corrupted) W_O through the clean prompt's frozen final norm onto W_U[answer] - W_U[foil], "
            "over the clean-corrupted gap of that logit difference",
            "The part of the direct effect that reaches the logits through the residual stream alone, without MLPs.",
            _GAP,
            "wang2022ioi; normalisation ours",
            null=_FLIPS,
        ),
        Measure(
            "dla_raw",
            "Direct logit attribution, not normalised",
            "mean over prompts of the numerator of direct logit attribution",
            "As direct logit attribution, in logits.",
            "logits",
            "wang2022ioi",
            null=_FLIPS,
        ),
        *(_side(which) for which in ("answer", "foil")),
        Measure(
            "total",
            "Total effect",
            "(m_clean - m_patched) / (m_clean - m_corrupted); patched: the clean prompt with this head's output at "
            "every position from the corrupted one, everything downstream recomputed (noising)",
            "Positive: removing the head's information about the clean prompt hurts the answer, through any path.",
            _GAP,
            "merullo2023reuse",
            null=_FLIPS,
        ),
        Measure(
            "total_raw",
            "Total effect, not normalised",
            "mean over prompts of m_clean - m_patched",
            "As the total effect, in units of m.",
            "logits or probability",
            "merullo2023reuse",
            null=_FLIPS,
        ),
        Measure(
            "total_denoising",
            "Total effect, denoising",
            "(m_patched - m_corrupted) / (m_clean - m_corrupted); patched: the corrupted prompt with this head's "
            "output from the clean one, everything downstream recomputed",
            "Positive: the head's clean output alone restores the answer.",
            _GAP,
            "merullo2023reuse",
            null=_FLIPS,
        ),
        Measure(
            "attribution",
            "Attribution patching",
            "(z_clean - z_corrupted) . dm/dz, summed over positions, over the gap: a first-order estimate of the total "
            "effect, for all heads from one backward pass",
            "A cheap ranking. It can miss heads with saturated attention: exact effects decide.",
            _GAP,
            "nanda2023attribution",
            null="none: it estimates the total effect, which has one",
        ),
        *(_path("through_movers", "the movers'", kind) for kind in _INPUTS),
        *(_path("through_those", "the next heads'", kind) for kind in _INPUTS),
        Measure(
            "text_loss",
            "Loss on natural text, total",
            "mean over windows of loss(head ablated, everything downstream recomputed) - loss(whole model); ablated: "
            "its output is its mean over the text, or zero if the setting `ablation` says so",
            "Positive: the head lowers the next-token loss on natural text.",
            _NATS,
            "ours",
            null=_WINDOWS,
        ),
        Measure(
            "text_loss_direct",
            "Loss on natural text, direct",
            "the same with every other head's output held fixed; MLPs and final norm recompute",
            "The value of what the head itself writes; direct minus total is what other heads compensate.",
            _NATS,
            "ours",
            null=_WINDOWS,
        ),
        Measure(
            "text_loss_attribution",
            "Loss on natural text, total, attribution",
            "(z_mean - z) . d loss / dz, summed over positions, the gradient averaged over two points on the path "
            "from z to z_mean, all heads moved together: a first-order estimate",
            "A cheap ranking; exact values decide.",
            _NATS,
            "nanda2023attribution",
            null="none: it estimates an effect that has one",
        ),
        Measure(
            "text_loss_direct_attribution",
            "Loss on natural text, direct, attribution",
            "the same with every other head's output held fixed",
            "A cheap ranking; exact values decide.",
            _NATS,
            "nanda2023attribution",
            null="none: it estimates an effect that has one",
        ),
    ),
    licence="prompts and word lists written for this project (CC0 1.0); passages of English prose in the public domain",
    citations=("wang2022ioi", "merullo2023reuse"),
    quick=QUICK,
    left_out=LEFT_OUT,
    data=data_files,
    cost=phases,
    reach=reach,
    drops=drops,
)
