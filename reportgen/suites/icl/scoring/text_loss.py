"""What each head does for the fall of the loss along a text: the loss late in a window minus the loss early in it.

A head is ablated at all positions but the first of a window: its z becomes its mean over the text. Spans of tokens are
compared, not single ones, whose loss varies from text to text. Olsson et al. 2022 compare tokens 500 and 50.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen import stats
from reportgen.aliases import Bools, Float32s
from reportgen.scores import Column, HeadScores, NamedArray, Table
from reportgen.suites import facts, prose
from reportgen.suites.icl.facts import IclFacts, TextSet
from reportgen.suites.icl.scoring import everywhere
from reportgen.suites.icl.scoring.effects import spearman
from reportgen.suites.icl.scoring.held_out import SHARES as SET_SHARES
from reportgen.suites.icl.scoring.held_out import matched, ranked_sets
from reportgen.suites.icl.scoring.passes import layers_of
from reportgen.suites.icl.suite import FEW, SUITE, Settings
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Hooks, Model, Start

TASK = "natural_text"
LENGTH, EARLY, LATE = 512, (40, 60), (400, 500)
SHORTER = (256, 160)  # windows of texts that give too few of LENGTH
SHARES = (0.25, 0.75)  # on the way to the mean, where gradients are taken
GOOD = 0.8  # rank correlation from which the other heads show the estimate


@dataclass(frozen=True, eq=False)
class Losses:
    """Change of (late loss - early loss), nats a token: estimate [window layer head], exact the same with NaN for heads
    that are not exact; whole [window] of the whole model; random [layer head] heads drawn at random; sets: name ->
    [window] of sets of heads, the first windows."""

    whole: Float32s
    estimate: Float32s
    exact: Float32s
    random: Bools
    sets: dict[str, Float32s] = field(default_factory=dict)


def spans(length: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The early and the late window of tokens; of short texts those about 10 % and 90 % of the length."""
    if length >= LENGTH:
        return EARLY, LATE
    tenth = length // 10
    return (tenth, tenth + max(2, length // 20)), (length - 2 * tenth, length)


def reading(length: int) -> Tensor:
    """[place] the positions whose logits are read: those before the early and the late tokens."""
    return torch.cat([torch.arange(first - 1, last - 1) for first, last in spans(length)])


def fall(logits: Tensor, ids: Tensor) -> Tensor:
    """[row] mean loss of the late tokens minus that of the early ones; logits [row place vocab] at `reading`."""
    tokens = [ids[:, first:last] for first, last in spans(ids.shape[1])]
    each = logits.logsumexp(-1) - logits.gather(-1, torch.cat(tokens, 1)[..., None])[..., 0]
    early = tokens[0].shape[1]
    return each[:, early:].mean(1) - each[:, :early].mean(1)


def measure(
    model: Model, ids: Tensor, settings: Settings, seed: int, told: Callable[[int, int], None],
    sets: Mapping[str, Bools] | None = None,
) -> Losses:  # fmt: skip
    """All heads by attribution, the first of them and some at random exactly, and sets of heads on FEW windows; ids
    [window pos], window by window."""
    rows, layers = [ids[i : i + 1].to(model.device) for i in range(len(ids))], range(model.record.n_layers)
    at, whole = reading(ids.shape[1]).to(model.device), list[Tensor]()

    def change_of(row: Tensor, hooks: Hooks, start: Start | None = None) -> Tensor:
        return fall(model.run(row, hooks, start=start, at=at), row)

    mean = everywhere.mean_everywhere(model, rows, lambda row, hooks: whole.append(change_of(row, hooks)))
    estimate = np.stack([_estimate(model, row, mean, at) for row in rows])
    chosen, random = _chosen(estimate, settings, seed)
    exact = np.full(estimate.shape, np.nan, np.float32)
    edits = {}
    for layer, head in np.argwhere(chosen).tolist():
        only = np.zeros(chosen.shape, np.bool_)
        only[layer, head] = True
        edits[layer, head] = everywhere.hooks_of(only, mean)
    for number, row in enumerate(rows):
        told(number, len(rows))
        residual: dict[int, Tensor] = {}

        def keep(layer: int, stream: Tensor, residual: dict[int, Tensor] = residual) -> None:
            residual[layer] = stream.detach().clone()

        model.run(row, {("resid_pre", i): partial(keep, i) for i in layers}, last=True)
        for layer, heads in layers_of(chosen):
            for head in heads:
                got = change_of(row, edits[layer, head], (layer, residual[layer]))
                exact[number, layer, head] = float(got[0] - whole[number][0])
    told(len(rows), len(rows))
    together = everywhere.on_text(rows[:FEW], mean, sets or {}, change_of)
    return Losses(torch.cat(whole).cpu().numpy(), estimate, exact, random, together)


def _estimate(model: Model, row: Tensor, mean: list[Tensor], at: Tensor) -> Float32s:
    """[layer head] of one window: (mean - z) . d fall / d z, summed over positions."""
    parts = []
    for share in SHARES:
        seen: list[Tensor] = []
        changes: list[Tensor] = []

        def move(layer: int, z: Tensor, seen: list[Tensor], changes: list[Tensor], share: float) -> Tensor:
            change = mean[layer].to(z.dtype) - z.detach()
            change[:, 0] = 0
            changes.append(change)
            seen.append(z + share * change)
            return seen[-1]

        hooks: dict[tuple[str, int], HookFn] = {
            ("z", i): partial(move, i, seen=seen, changes=changes, share=share) for i in range(len(mean))
        }
        gradients = torch.autograd.grad(fall(model.run(row, hooks, grad=True, at=at), row).sum(), seen)
        parts.append(
            torch.stack([(g.float() * c.float()).sum((0, 1, 3)) for g, c in zip(gradients, changes, strict=True)])
        )
    found: Float32s = torch.stack(parts).mean(0).detach().cpu().numpy()
    return found


def _chosen(estimate: Float32s, settings: Settings, seed: int) -> tuple[Bools, Bools]:
    """Heads [layer head] to ablate exactly, and those of them drawn at random."""
    shape = estimate.shape[1:]
    flat = np.abs(estimate.mean(0)).ravel()
    exact, random = np.zeros(flat.size, np.bool_), np.zeros(flat.size, np.bool_)
    exact[np.argsort(-flat, kind="stable")[: settings.text_verified]] = True
    count = min(settings.text_sampled, flat.size)
    random[np.random.default_rng([seed, 61]).choice(flat.size, count, replace=False)] = True
    return (exact | random).reshape(shape), random.reshape(shape)


def text_sets(effect: Float32s, induction: Float32s | None, settings: Settings, seed: int) -> dict[str, Bools]:
    """The highest heads by effect and by induction [layer head], and random sets of the same layers."""
    if not settings.text_sets:
        return {}
    ranked = ranked_sets(effect, induction)
    at = SET_SHARES.index(everywhere.SHARE)
    found = {name: ranked[name][at] for name in everywhere.RANKINGS if name in ranked}
    rng = np.random.default_rng([seed, 63])
    random = {f"random {i}": matched(found["effect"], rng)[0] for i in range(settings.text_sets)}
    return found | {name: mask for name, mask in random.items() if mask.any()}


def score(
    model: Model, settings: Settings, seed: int, told: IclFacts, progress: Callable[[int, int], None],
    sets: Mapping[str, Bools] | None = None,
) -> tuple[HeadScores, dict[str, NamedArray], tuple[Table, ...]] | str:  # fmt: skip
    """The measure `icl_score`, what it is the mean of, and a table of sets of heads; or why there is none."""
    if not settings.text_windows:
        return switched_off("icl", "text_windows")
    for length in (LENGTH, *SHORTER):
        found = prose.windows(model.tokens, settings.text_file, settings.text_windows, length, seed, model.record.n_ctx)
        if not isinstance(found, str):
            break
    if isinstance(found, str):
        return found
    if found.ids.shape[1] < 40:
        return f"its context of {found.ids.shape[1]} tokens has no early and late part"
    losses = measure(model, torch.from_numpy(found.ids), settings, seed, progress, sets)
    if not np.isfinite(losses.estimate).all():
        return "losses on this text are not finite"
    told.text_source, told.text_windows = found.source, len(found.ids)
    told.text_spans = [list(span) for span in spans(found.ids.shape[1])]
    told.text_fall = facts.Number(float(losses.whole.mean()))
    scores = _scores(losses, settings, seed, told)
    arrays = {"icl_score": NamedArray(("window", "layer", "head"), losses.exact)}
    if not losses.sets:
        return scores, arrays, ()
    names = {"set": tuple(losses.sets)}
    arrays["text_sets"] = NamedArray(("set", "window"), np.stack(list(losses.sets.values())), names)
    return scores, arrays, (_tell_sets(losses, settings, seed, told),)


def _tell_sets(losses: Losses, settings: Settings, seed: int, told: IclFacts) -> Table:
    """Fill in the facts of sets of heads on text; their table."""
    rng, number = np.random.default_rng([seed, 64]), facts.Number
    heads = max(1, round(everywhere.SHARE * losses.random.size))
    for name in (name for name in everywhere.RANKINGS if name in losses.sets):
        each = losses.sets[name].astype(np.float64)[:, None]
        low, high = stats.bootstrap_interval(each, [0] * len(each), rng, draws=settings.resamples)
        ends = {"low": number(low[0]), "high": number(high[0])}
        told.text_sets.append(TextSet(name=name, heads=heads, value=number(each.mean()), **ends))
    random = np.array([each.mean() for name, each in losses.sets.items() if name.startswith("random")])
    low, high = np.quantile(random, (0.025, 0.975))
    told.text_sets.append(
        TextSet(name="random", heads=heads, value=number(random.mean()), low=number(low), high=number(high))
    )
    told.text_random, told.text_set_windows = len(random), len(next(iter(losses.sets.values())))
    rows = tuple((one.name, one.heads, float(one.value), float(one.low), float(one.high)) for one in told.text_sets)
    return Table(
        key="icl/text_sets",
        title="Sets of heads and the fall of the loss along a text",
        columns=(Column("heads"), Column("number"), Column("change", "nats a token"), Column("low"), Column("high")),
        rows=rows,
        caption="Change of the late minus the early loss with z of all heads of a set at its mean over the text, at "
        f"all positions but the first; {told.text_set_windows} windows, 95 % intervals over them. Random: "
        f"{told.text_random} sets with as many heads of each layer as the set by effect, and their middle 95 %.",
        folded=True,
    )


def _scores(losses: Losses, settings: Settings, seed: int, told: IclFacts) -> HeadScores:
    rng, measured = np.random.default_rng([seed, 62]), SUITE.measure("icl_score")
    exact = np.isfinite(losses.exact[0])
    means, estimate = losses.exact.mean(0), losses.estimate.mean(0)
    told.text_exact = int(exact.sum())
    told.text_spearman = facts.Number(spearman(estimate[losses.random], means[losses.random]))
    shown = bool(told.text_spearman >= GOOD) and not exact.all()
    each = losses.exact[:, exact].astype(np.float64)
    low, high = stats.bootstrap_interval(each, [0] * len(each), rng, draws=settings.resamples)
    p = None
    if settings.flips:
        null = stats.sign_flip_null(each, settings.flips, rng)
        p = stats.step_down_max_t(np.abs(each.mean(0)), np.abs(null))

    def grid(given: np.ndarray) -> Float32s:
        out = np.full(exact.shape, np.nan, np.float32)
        out[exact] = given
        return out

    return HeadScores(
        key=f"icl/icl_score/{TASK}",
        label=f"{measured.title} ({measured.unit})",
        values=np.where(exact, means, estimate if shown else np.nan).astype(np.float32),
        n=len(each),
        low=grid(low),
        high=grid(high),
        p=None if p is None else grid(p),
        no_null="" if p is not None else switched_off("icl", "flips"),
        range=measured.range,
        reasons={} if exact.all() else {"*": f"not among the {told.text_exact} heads that are ablated exactly"},
        estimated=~exact if shown else None,
        estimator="attribution" if shown else "",
    )
