"""Direct effects of heads on the logits, by path patching, direct logit attribution, and total effects.

- With the z of every other head held at its clean value nothing mixes positions: what happens at the position read
  depends on the residual stream there and on nothing else, and below the sender nothing changes. So one token per
  prompt runs from the sender's block on, its clean input and every layer's attention output given, and all heads of a
  layer share a batch. `frozen_error` says how exactly that returns the clean m.
- Cost: one token per head and prompt, through the MLPs from the sender's block on (half of them on average).
- Source: Wang et al. 2022 (arXiv 2211.00593), section 3.1 (sender head -> logits; MLPs and final norm recompute).
- Sign: m_clean - m_patched, so what supports the answer is positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from reportgen.aliases import Bools, Float32s
from reportgen.errors import NotApplicable
from reportgen.scores import NotComputed
from reportgen.suites.circuits.facts import Attribution as AttributionFacts
from reportgen.suites.circuits.facts import AttributionBack
from reportgen.suites.circuits.scoring import results
from reportgen.suites.circuits.scoring.circuit import Effects
from reportgen.suites.circuits.scoring.passes import GRADIENT_ROWS, ROWS, Batch, Batches, Metric, Side, few, patched
from reportgen.suites.circuits.scoring.task_runs import PerPrompt, PromptSample, Runs, TaskOutcome, Trace
from reportgen.suites.circuits.tasks.task import Task

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Floats = npt.NDArray[np.floating]
LOGIT_BUDGET = 2**26  # logits per forward pass: 256 MB as float32


@dataclass(frozen=True, eq=False)
class Direct:
    """Direct effects, in units of the metric.

    effects       [prompt layer head] m_clean - m_patched
    frozen_error  largest |m - m_clean| when every head keeps its clean z: 0 but for rounding
    """

    effects: Float32s
    frozen_error: float


def direct_effects(
    model: Model,
    task: Task,
    clean: Trace,
    corrupted: Trace,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    most: int = 0,
    rank: Callable[[Floats], Floats] = np.abs,
    also: Bools | None = None,
) -> Direct:
    """Path patching sender -> logits, for every prompt and every head: exact, whatever the model's size.

    most  above 0: so many heads alone, NaN for the others: those highest by `rank` of the mean effects by gradient
          [layer head], and the heads `also` [layer head]

    Raises NotApplicable when holding every head at its clean output does not give the clean run back.
    """
    frozen = _Frozen(model, task, clean, corrupted)
    count, layers, heads, _ = clean.z.shape
    effects = np.full((count, layers, heads), np.nan, np.float32)
    m_clean = frozen.clean_m()
    error = float((m_clean - clean.m).abs().max())
    if error > _tolerance(model, clean):
        raise NotApplicable(f"with every head held at its clean output the metric is off by up to {error:.2g}")
    wanted = np.ones((layers, heads), bool)
    if 0 < most < wanted.size:
        wanted = _highest(rank(frozen.estimates().mean(0)), most)
        wanted = wanted if also is None else wanted | also
    for layer in np.flatnonzero(wanted.any(1)).tolist():
        progress(layer, layers, f"{task.title}: direct effects")
        senders = np.flatnonzero(wanted[layer]).tolist()
        change = m_clean - frozen.patched(layer, senders)  # [sender prompt]
        effects[:, layer, senders] = change.T.cpu().numpy()
    progress(layers, layers, f"{task.title}: direct effects")
    return Direct(effects, error)


def _highest(values: Floats, most: int) -> Bools:
    """The `most` heads of highest value [layer head]."""
    found = np.zeros(values.size, bool)
    found[np.argsort(-values.ravel(), kind="stable")[:most]] = True
    return found.reshape(values.shape)


class _Frozen:
    """Runs of the position read alone, with every layer's attention output given."""

    def __init__(self, model: Model, task: Task, clean: Trace, corrupted: Trace) -> None:
        self.model, self.clean, self.corrupted = model, clean, corrupted
        self.metric = Metric(task, model.device)
        self.ends = torch.tensor([pair.clean[pair.read] for pair in task.pairs], device=model.device)
        self.everyone = torch.arange(len(self.ends), device=model.device)
        self.given = [model.attention_output(i, clean.z[:, i]) for i in range(clean.z.shape[1])]  # [prompt d_model]
        logits = model.record.d_vocab if self.metric.vocab is None else len(self.metric.vocab)
        self.size = max(1, min(ROWS, LOGIT_BUDGET // logits))

    def clean_m(self) -> Tensor:
        """m [prompt] with every head clean."""
        return torch.cat([self._m(rows, 0, self.given[0][rows]) for rows in torch.split(self.everyone, self.size)])

    def patched(self, layer: int, senders: Sequence[int]) -> Tensor:
        """m [sender prompt] with one head of the layer at a time corrupted."""
        change = (self.corrupted.z[:, layer] - self.clean.z[:, layer])[:, senders]  # [prompt sender d_head]
        moved = torch.einsum("phe,hed->hpd", change, self.model.W_O(layer)[senders])
        given = (self.given[layer] + moved).flatten(0, 1)  # [sender*prompt d_model]
        rows = self.everyone.repeat(len(senders))
        both = zip(torch.split(rows, self.size), torch.split(given, self.size), strict=True)
        return torch.cat([self._m(some, layer, own) for some, own in both]).view(len(senders), -1)

    def estimates(self) -> PerPrompt:
        """First-order direct effects [prompt layer head], from one backward pass."""
        parts = [self._estimate(rows) for rows in torch.split(self.everyone, GRADIENT_ROWS)]
        return torch.cat(parts).cpu().numpy()

    def _estimate(self, rows: Tensor) -> Tensor:
        given = [out[rows].requires_grad_() for out in self.given]
        with torch.enable_grad():
            m = self._m(rows, 0, given[0], given, grad=True)
        found = list[Tensor]()
        for layer, gradient in enumerate(torch.autograd.grad(m.sum(), given)):
            change = self.clean.z[rows, layer] - self.corrupted.z[rows, layer]  # [row head d_head]
            through = torch.einsum("rd,hed->rhe", gradient, self.model.W_O(layer))
            found.append((change * through).sum(-1))
        return torch.stack(found, 1)

    def _m(self, rows: Tensor, layer: int, own: Tensor, given: Sequence[Tensor] = (), *, grad: bool = False) -> Tensor:
        """m [row] from block `layer` on, whose attention gives `own` [row d_model]; above as `given`, or clean."""
        above = {i: (given[i] if given else self.given[i][rows])[:, None] for i in range(layer + 1, len(self.given))}
        start = (layer, self.clean.residual[rows, layer, None])
        attention = {layer: own[:, None], **above}
        return self.metric.run(
            self.model, self.ends[rows, None], rows, {}, start=start, attention=attention, grad=grad
        )  # fmt: skip


def _tolerance(model: Model, clean: Trace) -> float:
    """How far the frozen run may be from the clean one: rounding, by the precision the model runs in."""
    scale = max(1.0, float(clean.m.abs().max()))
    return scale * (1e-3 if model.record.dtype in ("float32", "float64") else 0.1)


@dataclass(frozen=True, eq=False)
class Attributions:
    """Direct logit attribution of each head's change between the prompts, [prompt layer head], in logits.

    answer, foil  to the answer's and to the foil's logit, each less the mean over the task's words:
                  (z_clean - z_corrupted) W_O through the clean prompt's final norm, its scale frozen, onto the
                  unembedding (means over sets); past no MLP
    """

    answer: Float32s
    foil: Float32s

    @property
    def metric(self) -> Float32s:
        """To the logit difference: what is written for the answer, less what is written for the foil."""
        return self.answer - self.foil


def attributions(model: Model, task: Task, clean: Trace, corrupted: Trace) -> Attributions:
    """Direct logit attribution of every head.

    Raises NotApplicable where a norm stands between W_O and the residual stream: one head's part is not linear then.
    """
    if model.post_attn_scale(0) is not None:
        raise NotApplicable("a norm follows W_O in this family, so one head's part of the logits is not linear")
    toward = directions(model, task, clean.final)  # two of [prompt d_model]
    out = np.empty((2, *clean.z.shape[:3]), np.float32)
    for layer in range(model.record.n_layers):
        change = clean.z[:, layer] - corrupted.z[:, layer]  # [prompt head d_head]
        W_O = model.W_O(layer)
        for which, direction in enumerate(toward):
            reader = torch.einsum("nhd,pd->pnh", W_O, direction)
            out[which, :, layer] = (change * reader).sum(-1).cpu().numpy()
    return Attributions(out[0], out[1])


def directions(model: Model, task: Task, final: Tensor) -> tuple[Tensor, Tensor]:
    """Per prompt, the residual-stream directions [prompt d_model] whose product with an addend is its part of the
    answer's and of the foil's logit, each less the mean over the task's words; the final norm frozen at `final`."""
    W_U = model.W_U()
    answer = torch.stack([W_U[:, list(pair.answer_ids)].mean(1) for pair in task.pairs])
    foil = torch.stack([W_U[:, list(pair.foil_ids)].mean(1) for pair in task.pairs])
    words = W_U[:, list(task.words)].mean(1) if task.words else W_U.mean(1)
    return _through_norm(model, final, answer - words), _through_norm(model, final, foil - words)


def _through_norm(model: Model, final: Tensor, toward: Tensor) -> Tensor:
    """`toward` [prompt d_model], given after the final norm, as a direction before it."""
    scale = model.final_scale()
    toward = toward if scale is None else toward * scale
    eps = norm_epsilon(model)
    if is_rms(model):
        return toward / (final.square().mean(1, keepdim=True) + eps).sqrt()
    toward = toward - toward.mean(1, keepdim=True)  # centring the addend is centring the direction
    return toward / (final.var(1, unbiased=False, keepdim=True) + eps).sqrt()


def is_rms(model: Model) -> bool:
    """Whether the final norm divides by the root mean square without centring (Hugging Face names its epsilon so)."""
    return hasattr(model.config, "rms_norm_eps")


def norm_epsilon(model: Model) -> float:
    """The final norm's epsilon."""
    names = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon")
    return float(next((getattr(model.config, name) for name in names if hasattr(model.config, name)), 1e-5))


# Total effects of heads by activation patching: everything downstream recomputes.
#
# noising    clean prompt, the head's z at every position from the corrupted one: m_clean - m_patched
# denoising  corrupted prompt, the head's z from the clean one: m_patched - m_corrupted
#
# Both over the gap m_clean - m_corrupted; what supports the answer is positive.


@dataclass(frozen=True, eq=False)
class Totals:
    """Total effects in units of the metric, [prompt layer head]; NaN for heads that were not asked for.

    denoising  None where not asked for
    """

    noising: Float32s
    denoising: Float32s | None


def total_effects(
    prompts: Batches,
    heads: Bools,
    *,
    denoising: bool,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Totals:
    """Each head [layer head] patched alone, in each direction, from its layer on."""
    out = [np.full((len(prompts), *heads.shape), np.nan, np.float32) for _ in range(1 + denoising)]
    found = np.argwhere(heads)
    sets = np.zeros((len(found), *heads.shape), bool)
    sets[np.arange(len(found)), found[:, 0], found[:, 1]] = True
    done, words = 0, f"{prompts.task.title}: total effects"
    for batch in prompts if len(found) else ():
        progress(done, len(prompts), words)
        at = prompts.places(batch)
        for effects, (base, donor, sign) in zip(out, _directions(batch), strict=False):
            m = patched(prompts.model, base, batch.rows, donor.z, sets, prompts.metric, batch.same)
            change = sign * (m - base.m).cpu().numpy()  # [head prompt]
            for (layer, head), each in zip(found, change, strict=True):
                effects[at, layer, head] = each
        done += len(at)
    progress(done, len(prompts), words)
    return Totals(out[0], out[1] if denoising else None)


def _directions(batch: Batch) -> tuple[tuple[Side, Side, float], tuple[Side, Side, float]]:
    """(prompts run, prompts that lend z, sign) of noising and denoising."""
    return (batch.clean, batch.corrupted, -1.0), (batch.corrupted, batch.clean, 1.0)


def passes(heads: Bools, denoising: bool) -> int:
    """Patched forward passes over the prompts that exact total effects of these heads take."""
    return int(heads.sum()) * (1 + denoising)


# Attribution patching: first-order estimates of every head's effect from one backward pass.
#
# - Total effect (noising): (z_clean - z_corrupted) . dm/dz, summed over positions (Nanda 2023). With several steps the
#   gradient is averaged over inputs between the two prompts, as in integrated gradients (Hanna et al. 2024).
# - An estimate: a saturated softmax has no gradient, so it can miss the strongest mover. It ranks; exact values
#   decide.


def attribution(prompts: Batches, steps: int = 1, *, denoising: bool = False) -> Float32s:
    """Estimated total effects of all heads in units of the metric, [prompt layer head].

    steps      1 takes the gradient at the prompt that is patched, the clean one; more average it at as many midpoints
               between the two prompts' inputs to block 0
    denoising  with one step, at the corrupted prompt, which is patched there
    """
    record = prompts.model.record
    out = np.zeros((len(prompts), record.n_layers, record.n_heads), np.float32)
    for batch in prompts:
        shares = [float(denoising)] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
        found = [_estimate(prompts.model, batch, rows, prompts.metric, shares) for rows in few(batch)]
        out[prompts.places(batch)] = torch.cat(found).cpu().numpy()
    return out


def _estimate(model: Model, batch: Batch, rows: Tensor, metric: Metric, shares: Sequence[float]) -> Tensor:
    """[prompt layer head] of some prompts, gradients at inputs these shares of the way from clean to corrupted."""
    changes = [(a[rows] - b[rows]).float() for a, b in zip(batch.clean.z, batch.corrupted.z, strict=True)]
    parts = []
    for share in shares:
        kept: list[Tensor] = []
        hooks: dict[tuple[str, int], HookFn] = {("z", i): kept.append for i in range(model.record.n_layers)}
        between = torch.lerp(batch.clean.residual[0][rows], batch.corrupted.residual[0][rows], share).requires_grad_()
        m = metric.run(model, batch.clean.ids[rows], batch.rows[rows], hooks, start=(0, between), grad=True)
        gradients = torch.autograd.grad(m.sum(), kept)
        parts.append(torch.stack([(g * c).sum((1, 3)) for g, c in zip(gradients, changes, strict=True)], 1))
    return torch.stack(parts).mean(0)


# Which heads' total effects are computed exactly, and how well attribution ranks them.
#
# Up to `exact_heads` heads every one is exact. Above, attribution ranks; the circuit's heads and the top ones by
# attribution, by direct effect and by attention to the answer are verified exactly, and a random sample of the others,
# on which the rank correlation of estimate and exact value is taken. The others keep their estimate, which is marked
# as one and has no interval and no p: whatever selects or names heads takes exact values alone.

GOOD = 0.8  # rank correlation below which attribution is called poor


@dataclass(frozen=True, eq=False)
class Choice:
    """Heads [layer head] to compute exactly, and those of them that were drawn at random (all, where all are exact)."""

    exact: Bools
    random: Bools


def choose_exact(
    shape: tuple[int, ...],
    rankings: Sequence[Floats],
    limit: int,
    verified: int,
    sampled: int,
    rng: np.random.Generator,
    always: Bools | None = None,
) -> Choice:
    """All heads of a model of at most `limit`; else the first `verified` of each ranking, `sampled` random ones, and
    those wanted `always`."""
    everyone = np.ones(shape, bool)
    if everyone.size <= limit:
        return Choice(everyone, everyone)
    random = np.zeros(everyone.size, bool)
    random[rng.choice(everyone.size, size=min(sampled, everyone.size), replace=False)] = True
    exact = random.reshape(shape) if always is None else random.reshape(shape) | always
    for ranking in rankings:
        exact = exact | _highest(np.abs(ranking), verified)
    return Choice(exact, random.reshape(shape))


def rank_correlation(estimate: Floats, exact: Floats, over: Bools) -> float | None:
    """Spearman's rho over these heads; None where either does not vary."""
    a, b = estimate[over], exact[over]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)


def chosen_totals(out: TaskOutcome, runs: Runs, rankings: Sequence[Floats], circuit: Bools) -> Effects:
    """Total effects and their estimates: scores, arrays, facts. Those of the `circuit` [layer head] are all exact.

    Returns the exact ones (noising), NaN for heads that were only estimated.
    """
    task, settings = runs.task, runs.settings
    of = runs.sample(settings.patch_prompts)
    prompts = runs.batches(of)
    estimate, steps = attribution(prompts), 1
    chosen = choose_exact(
        runs.shape, [estimate.mean(0), *rankings], settings.exact_heads, settings.verified, settings.sampled, runs.rng,
        circuit,
    )  # fmt: skip
    found = total_effects(prompts, chosen.exact, denoising=settings.denoising, progress=runs.context.progress)
    exact = found.noising.mean(0)
    rho = one_step = rank_correlation(estimate.mean(0), exact, chosen.random)
    if rho is not None and rho < GOOD and settings.attribution_steps > 1:
        better = attribution(prompts, settings.attribution_steps)
        again = rank_correlation(better.mean(0), exact, chosen.random)
        if again is not None and again > rho:
            estimate, rho, steps = better, again, settings.attribution_steps
    out.facts.attribution = AttributionFacts(
        spearman=rho,
        spearman_one_step=one_step,
        over="all heads" if chosen.random.all() else "a random sample of heads",
        n_heads=int(chosen.random.sum()),
        n_exact=int(chosen.exact.sum()),
        steps=steps,
        poor=rho is not None and rho < GOOD,
        exact_passes=passes(chosen.exact, settings.denoising),
        n=len(of.rows),
    )
    if rho is not None and rho < GOOD:
        out.notes.append(
            f"{task.title}: attribution ranks heads poorly here (Spearman {rho:.2f}); use the exact effects."
        )
    by_attribution = runs.summarise(estimate, of)
    exact_ones = _add(out, runs, of, "total", found.noising, by_attribution)
    _estimates(out, runs, of, estimate, by_attribution)
    if found.denoising is None:
        out.not_computed.append(NotComputed(f"denoising effects of {task.title}", "switched off (circuits.denoising)"))
        return exact_ones
    back = attribution(prompts, steps, denoising=True)
    out.facts.attribution_denoising = AttributionBack(
        spearman=rank_correlation(back.mean(0), found.denoising.mean(0), chosen.random)
    )
    _add(out, runs, of, "total_denoising", found.denoising, runs.summarise(back, of))
    return exact_ones


def _estimates(out: TaskOutcome, runs: Runs, of: PromptSample, each: PerPrompt, effects: Effects) -> None:
    """Attribution as a measure of its own, for all heads."""
    why = "an estimate of the total effect, which has one"
    out.scores += results.head_scores(runs.task, "attribution", effects, len(of.rows), no_null=why)
    out.effects["attribution"] = effects.value
    out.arrays[f"{runs.task.name}/attribution"] = runs.evidence(each, of)


def _add(out: TaskOutcome, runs: Runs, of: PromptSample, measure: str, each: PerPrompt, estimate: Effects) -> Effects:
    """Exact effects [prompt layer head], NaN where they were not computed, with the estimates of those heads."""
    effects = runs.summarise(each, of)
    out.scores += results.head_scores(runs.task, measure, effects, len(of.rows), estimate=estimate)
    out.effects[measure] = effects.value
    out.arrays[f"{runs.task.name}/{measure}"] = runs.evidence(each, of)
    return effects
