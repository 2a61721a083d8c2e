"""The suite's part `natural_text`: which text, and its scores, tables and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, NamedArray, NotComputed, Table, head_name
from reportgen.stats import template_weights
from reportgen.suites import finite, prose
from reportgen.suites.base import Context
from reportgen.suites.circuits import text
from reportgen.suites.circuits.circuit import Effects, summarise
from reportgen.suites.circuits.estimates import GOOD, Choice, choose, rank_correlation
from reportgen.suites.circuits.runs import Outcome
from reportgen.suites.circuits.settings import ABLATED, Settings
from reportgen.suites.circuits.suite import SUITE
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

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


def natural_text(model: Model, settings: Settings, context: Context) -> Outcome:
    """Direct and total effects of mean-ablating each head on natural text."""
    out = Outcome()
    found = (
        read(model.tokens, settings, context.seed, model.record.n_ctx)
        if settings.reads_text
        else switched_off("circuits", "text_windows" if settings.text else "text")
    )
    if isinstance(found, str):
        out.not_computed.append(NotComputed("heads on natural text", found))
        return out
    rng = np.random.default_rng([context.seed, 6])
    parts = text.parts(model, found.ids)
    try:
        finite.require(model, "losses on this text", *(part.loss for part in parts))
    except NotApplicable as reason:
        out.not_computed.append(NotComputed("heads on natural text", str(reason)))
        return out
    mean = text.means(parts, settings.ablation)
    total_estimate, direct_estimate = text.estimates(model, parts, mean)
    chosen = _choice(settings, total_estimate, direct_estimate, rng)
    total, direct = (
        text.exact(
            model, parts, mean, chosen.exact, held=held, progress=context.progress, words=f"natural text, {words}"
        )
        for held, words in ((False, "total"), (True, "direct"))
    )
    clean = torch.cat([part.loss for part in parts]).cpu().numpy()
    _add(out, text.Losses(clean, total, direct, total_estimate, direct_estimate), chosen, settings, rng)
    out.facts |= {"ablated": ABLATED[settings.ablation]}
    out.facts |= {"source": found.source, "windows": len(found.ids), "tokens": found.ids.numel(), "null": _NULL}
    return out


def _choice(settings: Settings, total: text.Floats, direct: text.Floats, rng: np.random.Generator) -> Choice:
    """Heads to compute exactly: by the model's size, or the first `text_verified` by either estimate and others."""
    rankings = [total.mean(0), direct.mean(0)]
    most = settings.text_verified
    verified, limit = (most, 0) if most else (settings.verified, settings.exact_heads)
    return choose(rankings[0].shape, rankings, limit, verified, settings.sampled, rng)


def _add(out: Outcome, losses: text.Losses, chosen: Choice, settings: Settings, rng: np.random.Generator) -> None:
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
    out.facts.update(
        loss_nats=float(losses.clean.mean()),
        spearman=rank_correlation(losses.total_estimate.mean(0), losses.total.mean(0), chosen.random),
        spearman_direct=rank_correlation(losses.direct_estimate.mean(0), losses.direct.mean(0), chosen.random),
        over="all heads" if chosen.random.all() else "a random sample of heads",
        n_random=int(chosen.random.sum()),
        n_exact=int(chosen.exact.sum()),
        n_helpful=int(((total.value > 0) & (total.p <= settings.alpha)).sum()),
        n_repaired=int((repair[chosen.exact] > 0).sum()),
    )
    rho = out.facts["spearman"]
    if isinstance(rho, float) and rho < GOOD:
        out.notes.append(
            f"Natural text: attribution ranks heads poorly here (Spearman {rho:.2f}); use the exact values."
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
        caption=f"Change of the next-token loss with the head {ablated}; {len(at)} heads computed exactly, the first "
        f"{len(rows)} shown. Self-repair: what other heads make up for.",
    )  # fmt: skip


def with_rung(sets: Sequence[HeadSet], found: Outcome, alpha: float) -> list[HeadSet]:
    """The sets with the rung `natural text` of their evidence: every head raises the loss, beyond the null."""
    if "p" not in found.effects:
        return list(sets)
    p, value = found.effects["p"], found.effects["value"]

    def outcome(heads: tuple[Head, ...]) -> str:
        if any(np.isnan(value[head]) for head in heads):
            return "not run"
        return "passed" if all(value[head] > 0 and p[head] <= alpha for head in heads) else "failed"

    return [replace(s, evidence={**s.evidence, "natural text": outcome(s.heads)}) if s.evidence else s for s in sets]
