"""Which heads a task runs through, and which of them several tasks share. Imports neither torch nor altair."""

from __future__ import annotations

from reportgen.suites.base import Measure, Suite
from reportgen.suites.circuits import plan
from reportgen.suites.circuits.settings import LEFT_OUT, QUICK, Settings, data_files

_GAP = "share of the clean-corrupted gap"
_NATS = "nats per token"
_WANG = "wang2022ioi, section 3.1"
_FLIPS = "clean and corrupted swapped per prompt (sign flip), effects standardised per head, step-down max-T; two-sided"
_WINDOWS = "the change of each window's loss with a random sign, standardised per head, step-down max-T; two-sided"
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
        f"the part of direct logit attribution on the {which}: onto W_U[{which}] less the mean of W_U over the task's "
        "words, over the same gap; answer minus foil is direct logit attribution",
        f"{supports[which]} Among the task's words.",
        _GAP,
        "ours",
        null=_FLIPS,
    )


SUITE = Suite(
    name="circuits",
    title="Task circuits",
    summary="Which heads carry a task's answer to the logits, through which other heads, and which of them other tasks "
    "use, too: measured by patching and ablating heads of this model.",
    version=5,
    settings=Settings,
    score="reportgen.suites.circuits.score:score",
    figures="reportgen.suites.circuits.figures:figures",
    measures=(
        Measure(
            "direct",
            "Direct effect on the logits",
            "(m_clean - m_patched) / (m_clean - m_corrupted), m = logit(answer) - logit(foil), or the difference of "
            "summed probabilities; patched: this head's output is that of the corrupted prompt, every other head keeps "
            "its clean output, MLPs and final norm recompute",
            "Positive: the head's own output supports the answer. What it does through other heads is left out.",
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
            "The part of the direct effect that reaches the logits along the residual stream alone, past no MLP.",
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
            "Positive: without what the head knows of the clean prompt, the answer loses; through whatever path.",
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
            "Positive: the head's clean output alone brings the answer back.",
            _GAP,
            "merullo2023reuse",
            null=_FLIPS,
        ),
        Measure(
            "attribution",
            "Attribution patching",
            "(z_clean - z_corrupted) . dm/dz, summed over positions, over the gap: a first-order estimate of the total "
            "effect, for all heads from one backward pass",
            "Ranks heads cheaply. It can miss a head whose attention is saturated: exact effects decide.",
            _GAP,
            "nanda2023attribution",
            null="none: an estimate of the total effect, which has one",
        ),
        *(_path("through_movers", "the movers'", kind) for kind in _INPUTS),
        *(_path("through_those", "the next heads'", kind) for kind in _INPUTS),
        Measure(
            "text_loss",
            "Loss on natural text, total",
            "mean over windows of loss(head ablated, everything downstream recomputed) - loss(whole model); ablated: "
            "its output is its mean over the text, or zero where the setting `ablation` says so",
            "Positive: the head lowers the next-token loss on ordinary text.",
            _NATS,
            "ours",
            null=_WINDOWS,
        ),
        Measure(
            "text_loss_direct",
            "Loss on natural text, direct",
            "the same with every other head's output held; MLPs and final norm recompute",
            "What the head itself writes is worth this much; direct minus total is what other heads make up for.",
            _NATS,
            "ours",
            null=_WINDOWS,
        ),
        Measure(
            "text_loss_attribution",
            "Loss on natural text, total, attribution",
            "(z_mean - z) . d loss / dz, summed over positions, the gradient averaged over two points on the way "
            "from z to z_mean, all heads moved together: a first-order estimate",
            "Ranks heads cheaply; exact values decide.",
            _NATS,
            "nanda2023attribution",
            null="none: an estimate of an effect that has one",
        ),
        Measure(
            "text_loss_direct_attribution",
            "Loss on natural text, direct, attribution",
            "the same with every other head's output held",
            "Ranks heads cheaply; exact values decide.",
            _NATS,
            "nanda2023attribution",
            null="none: an estimate of an effect that has one",
        ),
    ),
    citations=("wang2022ioi", "merullo2023reuse"),
    quick=QUICK,
    left_out=LEFT_OUT,
    data=data_files,
    cost=plan.phases,
    reach=plan.reach,
    drops=plan.drops,
)
