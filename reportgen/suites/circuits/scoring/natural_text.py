"""The suite's part `natural_text`: which text, and its scores, tables and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Bools, Float32s, Progress
from reportgen.errors import NotApplicable
from reportgen.models.selfcheck import require_finite
from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, NamedArray, NotComputed, Table, head_name
from reportgen.stats import template_weights
from reportgen.suites import prose
from reportgen.suites.base import Context
from reportgen.suites.circuits.facts import TextFacts
from reportgen.suites.circuits.scoring import passes
from reportgen.suites.circuits.scoring.circuit import Effects, summarise
from reportgen.suites.circuits.scoring.effects import GOOD, LOGIT_BUDGET, Choice, choose_exact, rank_correlation
from reportgen.suites.circuits.scoring.task_runs import TaskOutcome
from reportgen.suites.circuits.settings import ABLATED, Settings
from reportgen.suites.circuits.suite import SUITE
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model
    from reportgen.models.tokens import Tokens


# Heads on natural text: how much the next-token loss rises when one head is mean-ablated.
#
# - Mean ablation: z becomes the head's mean over the text's positions but the first of each window, which stays as it
#   is
#   (it is the sink). Total: everything downstream recomputes. Direct: every other head keeps its z; MLPs and the final
#   norm recompute. Direct minus total is what the other heads make up for: self-repair (McGrath et al. 2023).
# - In nats per token; above 0 the head helps. Attribution is the first-order estimate of either, for all heads at
#   once.

SHARES = (0.25, 0.75)  # on the way to the mean, where gradients are taken: at the text itself they rank worse


@dataclass(frozen=True, eq=False)
class HeadLosses:
    """Change of the loss in nats per token, [window layer head]; exact ones NaN where not asked for.

    clean  [window] loss of the whole model
    """

    clean: Float32s
    total: Float32s
    direct: Float32s
    total_estimate: Float32s
    direct_estimate: Float32s


@dataclass(frozen=True, eq=False)
class TextPart:
    """Some windows [window pos] with what their clean run left: z, residual and what attention gives [window pos
    d_model] per layer, loss [window]."""

    ids: Tensor
    z: list[Tensor]
    residual: list[Tensor]
    attention: list[Tensor]
    loss: Tensor


def nats(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean next-token loss [row] of logits [row pos vocab]."""
    picked = logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    total = torch.stack([row.logsumexp(-1) for row in logits[:, :-1]])  # row by row: no second tensor of that size
    return (total - picked).mean(1)


def text_parts(model: Model, ids: Tensor) -> list[TextPart]:
    """The windows in parts whose logits and graphs of activations fit in memory, each run once."""
    size = max(1, min(passes.GRADIENT_ROWS, _most_rows(model)) // ids.shape[1])
    return [_part(model, some) for some in torch.split(ids.to(model.device), size)]


def _most_rows(model: Model) -> int:
    """Positions of one forward pass with all their logits."""
    return max(1, min(passes.ROWS, LOGIT_BUDGET // model.record.d_vocab))


def _part(model: Model, ids: Tensor) -> TextPart:
    hooks, kept = passes.whole_run(model)
    loss = nats(model.run(ids, hooks), ids)
    run = passes.side_of(model, kept, ids, loss)
    return TextPart(ids, run.z, run.residual, [model.attention_output(i, z) for i, z in enumerate(run.z)], loss)


def means(found: list[TextPart], ablation: str = "mean") -> list[Tensor]:
    """Per layer the mean z [head d_head] over all windows and positions but the first, or zero."""
    layers = range(len(found[0].z))
    if ablation == "zero":
        return [torch.zeros_like(z[0, 0]) for z in found[0].z]
    return [torch.cat([part.z[i][:, 1:].flatten(0, 1) for part in found]).mean(0) for i in layers]


def estimates(
    model: Model, found: list[TextPart], mean: list[Tensor], shares: Sequence[float] = SHARES
) -> tuple[Float32s, Float32s]:
    """First-order estimates of the total and the direct change, [window layer head] each.

    shares  how far every head is moved to its mean where the gradient is taken; several are averaged
    """
    both = [
        [torch.stack([one(model, part, mean, share) for share in shares]).mean(0) for part in found]
        for one in (_total_estimate, _direct_estimate)
    ]
    total, direct = (torch.cat(of).cpu().numpy() for of in both)
    return total, direct


def _total_estimate(model: Model, part: TextPart, mean: list[Tensor], share: float) -> Tensor:
    """(mean - z) . d loss / dz, summed over positions, [window layer head]."""
    seen: list[Tensor] = []

    def keep(layer: int) -> HookFn:
        def hook(z: Tensor) -> Tensor:
            seen.append(torch.lerp(z, _ablated(part.z[layer], mean[layer]), share))
            return seen[-1]

        return hook

    logits = model.run(part.ids, {("z", layer): keep(layer) for layer in range(len(mean))}, grad=True)
    gradients = torch.autograd.grad(nats(logits, part.ids).sum(), seen)
    changes = [_ablated(z, m) - z for z, m in zip(part.z, mean, strict=True)]
    return torch.stack(
        [(g.float() * change.float()).sum((1, 3)) for g, change in zip(gradients, changes, strict=True)], 1
    )


def _direct_estimate(model: Model, part: TextPart, mean: list[Tensor], share: float) -> Tensor:
    """The same with every other head's z a constant: through what attention gives, [window layer head]."""
    ablated = [_ablated(z, m) for z, m in zip(part.z, mean, strict=True)]
    moved = [torch.lerp(z, other, share) for z, other in zip(part.z, ablated, strict=True)]
    given = [model.attention_output(i, z).requires_grad_() for i, z in enumerate(moved)]
    logits = model.run(part.ids, attention=dict(enumerate(given)), grad=True)
    found = []
    for layer, gradient in enumerate(torch.autograd.grad(nats(logits, part.ids).sum(), given)):
        by_z = torch.einsum("rpd,hed->rphe", gradient, model.W_O(layer))
        found.append((by_z * (ablated[layer] - part.z[layer]).float()).sum((1, 3)))
    return torch.stack(found, 1)


def _ablated(z: Tensor, mean: Tensor) -> Tensor:
    out = mean.to(z.dtype).expand_as(z).clone()
    out[:, 0] = z[:, 0]
    return out


def exact(
    model: Model, found: list[TextPart], mean: list[Tensor], heads: Bools, *, held: bool, progress: Progress, words: str
) -> Float32s:
    """Exact change of the loss for these heads [layer head], total or (`held`) direct: [window layer head]."""
    out = []
    for number, part in enumerate(found):
        progress(number, len(found), words)
        change = torch.full((len(part.ids), *heads.shape), torch.nan)
        for layer in range(len(heads)):
            some = np.flatnonzero(heads[layer]).tolist()
            size = max(1, _most_rows(model) // part.ids.numel())
            for start in range(0, len(some), size):
                own = some[start : start + size]
                loss = _loss(model, part, mean, layer, own, held)  # [head window]
                change[:, layer, own] = (loss - part.loss).T.cpu()
        out.append(change)
    progress(len(found), len(found), words)
    result: Float32s = torch.cat(out).numpy()
    return result


def _loss(model: Model, part: TextPart, mean: list[Tensor], layer: int, heads: list[int], held: bool) -> Tensor:
    times, donor = len(heads), _ablated(part.z[layer], mean[layer])
    start = (layer, passes.repeat(part.residual[layer], times))
    ids = passes.repeat(part.ids, times)
    if not held:
        return nats(model.run(ids, {("z", layer): passes.swap(heads, donor)}, start=start), ids).view(times, -1)
    change = (donor - part.z[layer])[:, :, heads].float()
    moved = torch.einsum("rphe,hed->hrpd", change, model.W_O(layer)[heads])
    attention = {i: passes.repeat(part.attention[i], times) for i in range(layer + 1, len(part.z))}
    attention[layer] = (part.attention[layer] + moved).flatten(0, 1)
    return nats(model.run(ids, start=start, attention=attention), ids).view(times, -1)


TASK = "natural_text"
TOP = 15  # heads in the table
_NULL = SUITE.measure("text_loss").null


@dataclass(frozen=True, eq=False)
class Windows:
    """Text as ids [window pos], and what it is."""

    ids: Tensor
    source: str


def read(tokens: Tokens, settings: Settings, seed: int, n_ctx: int) -> Windows | str:
    """The windows of text to use, or why there are none. DataError for a file that cannot be read."""
    found = prose.windows(tokens, settings.text_file, settings.text_windows, settings.text_tokens, seed, n_ctx)
    return found if isinstance(found, str) else Windows(torch.from_numpy(found.ids), found.source)


def natural_text(model: Model, settings: Settings, context: Context) -> TaskOutcome:
    """Direct and total effects of mean-ablating each head on natural text."""
    out = TaskOutcome()
    found = (
        read(model.tokens, settings, context.seed, model.record.n_ctx)
        if settings.reads_text
        else switched_off("circuits", "text_windows" if settings.text else "text")
    )
    if isinstance(found, str):
        out.not_computed.append(NotComputed("heads on natural text", found))
        return out
    rng = np.random.default_rng([context.seed, 6])
    parts = text_parts(model, found.ids)
    try:
        require_finite(model, "losses on this text", *(part.loss for part in parts))
    except NotApplicable as reason:
        out.not_computed.append(NotComputed("heads on natural text", str(reason)))
        return out
    mean = means(parts, settings.ablation)
    total_estimate, direct_estimate = estimates(model, parts, mean)
    chosen = _choice(settings, total_estimate, direct_estimate, rng)
    below = chosen.exact.copy()
    below[-1] = False  # no head comes after those of the last layer: direct is total
    total, direct = (
        exact(model, parts, mean, heads, held=held, progress=context.progress, words=f"natural text, {words}")
        for heads, held, words in ((chosen.exact, False, "total"), (below, True, "direct"))
    )
    direct[:, -1] = total[:, -1]
    clean = torch.cat([part.loss for part in parts]).cpu().numpy()
    facts = out.natural_text = _add(
        out, HeadLosses(clean, total, direct, total_estimate, direct_estimate), chosen, settings, rng
    )
    facts.source, facts.windows, facts.tokens = found.source, len(found.ids), found.ids.numel()
    return out


def _choice(settings: Settings, total: Float32s, direct: Float32s, rng: np.random.Generator) -> Choice:
    """Heads to compute exactly: all of a small model, else the first by either estimate and some at random."""
    rankings = [total.mean(0), direct.mean(0)]
    limit, verified = settings.exact_on_text
    return choose_exact(rankings[0].shape, rankings, limit, verified, settings.sampled, rng)


def _add(
    out: TaskOutcome, losses: HeadLosses, chosen: Choice, settings: Settings, rng: np.random.Generator
) -> TextFacts:
    windows = np.arange(len(losses.clean))
    weights = template_weights(windows.tolist(), settings.resamples, rng)
    named = {
        "text_loss": losses.total,
        "text_loss_direct": losses.direct,
        "text_loss_attribution": losses.total_estimate,
        "text_loss_direct_attribution": losses.direct_estimate,
    }
    effects: dict[str, Effects] = {}
    for name, each in named.items():
        effects[name] = summarise(each, np.ones(len(windows)), windows, weights, 0.0, settings.flips, rng)
        out.arrays[f"{TASK}/{name}"] = NamedArray(("window", "layer", "head"), each)
    out.scores += [_scores(name, e, len(windows), effects.get(f"{name}_attribution")) for name, e in effects.items()]
    out.arrays[f"{TASK}/loss"] = NamedArray(("window",), losses.clean)
    total, direct = effects["text_loss"], effects["text_loss_direct"]
    out.effects |= {"p": total.p, "value": total.value}
    table = _table(total, direct, effects["text_loss_attribution"], chosen, ABLATED[settings.ablation])
    out.tables.append(table)
    repair = direct.value - total.value
    rho = rank_correlation(losses.total_estimate.mean(0), losses.total.mean(0), chosen.random)
    if rho is not None and rho < GOOD:
        out.notes.append(
            f"Natural text: attribution ranks heads poorly here (Spearman {rho:.2f}); use the exact values."
        )
    return TextFacts(
        ablated=ABLATED[settings.ablation],
        null=_NULL,
        loss_nats=float(losses.clean.mean()),
        spearman=rho,
        spearman_direct=rank_correlation(losses.direct_estimate.mean(0), losses.direct.mean(0), chosen.random),
        over="all heads" if chosen.random.all() else "a random sample of heads",
        n_random=int(chosen.random.sum()),
        n_exact=int(chosen.exact.sum()),
        n_helpful=int(((total.value > 0) & (total.p <= settings.alpha)).sum()),
        n_repaired=int((repair[chosen.exact] > 0).sum()),
    )


def _scores(name: str, effects: Effects, n: int, stand_in: Effects | None) -> HeadScores:
    """A measure's scores; `stand_in` holds the estimates of heads without an exact value."""
    estimate, absent = name.endswith("attribution"), np.isnan(effects.value)
    told = absent if stand_in is not None and absent.any() else None
    values = effects.value if stand_in is None else np.where(absent, stand_in.value, effects.value)
    return HeadScores(
        key=f"circuits/{name}/{TASK}",
        label=f"{SUITE.measure(name).title} (nats per token)",
        values=values.astype(np.float32),
        n=n,
        low=effects.low.astype(np.float32),
        high=effects.high.astype(np.float32),
        p=None if estimate else effects.p.astype(np.float32),
        p_each=None if estimate or effects.p_each is None else effects.p_each.astype(np.float32),
        no_null="an estimate of an effect that has one" if estimate else "",
        estimated=told,
        estimator="" if told is None else "attribution",
    )


def _table(total: Effects, direct: Effects, estimate: Effects, chosen: Choice, ablated: str) -> Table:
    at = [(int(layer), int(head)) for layer, head in np.argwhere(chosen.exact)]
    at.sort(key=lambda lh: (-abs(float(total.value[lh])), lh))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            head_name(*lh), *(float(g[lh]) for g in (total.value, total.low, total.high, total.p, direct.value)),
            float(direct.value[lh] - total.value[lh]), float(estimate.value[lh]),
        )
        for lh in at[:TOP]
    )  # fmt: skip
    return Table(
        key=f"circuits/{TASK}/heads",
        title="Natural text: heads whose loss matters most",
        columns=(
            Column("head"), Column("total", "nats per token", 4), Column("low", digits=4), Column("high", digits=4),
            Column("p", "adjusted", 4), Column("direct", "nats per token", 4),
            Column("self-repair", "direct - total", 4), Column("attribution", "nats per token", 4),
        ),
        rows=rows,
        caption=f"Change in next-token loss with the head {ablated}; {len(at)} heads computed exactly, the first "
        f"{len(rows)} shown. Self-repair: what other heads compensate.",
    )  # fmt: skip


def with_rung(sets: Sequence[HeadSet], found: TaskOutcome, alpha: float) -> list[HeadSet]:
    """The sets with the rung `natural text` of their evidence: every head raises the loss, beyond the null."""
    if "p" not in found.effects:
        return list(sets)
    p, value = found.effects["p"], found.effects["value"]

    def outcome(heads: tuple[Head, ...]) -> str:
        if any(np.isnan(value[head]) for head in heads):
            return "not run"
        return "passed" if all(value[head] > 0 and p[head] <= alpha for head in heads) else "failed"

    return [replace(s, evidence={**s.evidence, "natural text": outcome(s.heads)}) if s.evidence else s for s in sets]
