"""The small numbers that captions and tables need; `score` lists them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from reportgen.scores import head_name
from reportgen.suites.cognitive import heads
from reportgen.suites.cognitive.ablation import HOWS
from reportgen.suites.cognitive.ablation_stats import Verdict
from reportgen.suites.cognitive.accuracy import Accuracy
from reportgen.suites.cognitive.baselines import NAMES
from reportgen.suites.cognitive.recipe import UNCONFIRMED
from reportgen.suites.cognitive.scored import Lines, Scored, number, why_no_null

Floats = npt.NDArray[np.float64]
_MARGIN = ("value", "low", "high", "p")


@dataclass(frozen=True)
class Agreement:
    """Between seeds, per function: mean Spearman of |own| and mean Jaccard of the first `top` heads."""

    top: int
    spearman: tuple[float, ...]
    jaccard: tuple[float, ...]


def agreement(found: Scored) -> Agreement:
    own = np.where(found.active.reshape(-1), found.fit.by_seed["own"], np.nan)
    top = len(found.effects.sets[0]) if found.recipe.rule == "line" else max(1, int(found.active.sum()) // 12)
    pairs = [heads.agreement(own[:, c], top) for c in range(own.shape[1])]
    return Agreement(top, tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def data_facts(found: Scored, names: tuple[str, ...]) -> dict[str, object]:
    data, recipe, settings = found.prepared.data, found.recipe, found.settings
    tokens: dict[str, list[int]] = {label: [] for label in data.functions}
    for row, encoded in zip(data.rows, found.prepared.encoded, strict=True):
        tokens[row.function].append(len(encoded.sites))
    right = found.prepared.correct
    return {
        "data": {**found.prepared.about, **data.about, "stray": dict(data.stray)},
        "functions": dict(zip(names, data.functions, strict=True)),
        "preset": settings.preset, "unconfirmed": UNCONFIRMED[settings.preset], "context": recipe.context,
        "answers": recipe.answers, "tokens": recipe.tokens, "k": settings.k, "site": settings.site,
        "hook": settings.hook, "prompt": recipe.prompt, "chat_template": recipe.chat, "standardise": recipe.standardise,
        "layer_mean": settings.layer_mean,
        "rule": recipe.rule, "ablation_how": recipe.ablation,
        "tokens_averaged": {label: float(np.mean(counts)) for label, counts in tokens.items()},
        "whole_answers": sum(e.whole for e in found.prepared.encoded),
        "generated": None if right is None else {"right": float(np.mean(right)), "n": len(right)},
    }  # fmt: skip


def probe_facts(found: Scored, accuracy: Accuracy, lines: Lines | None, agreed: Agreement) -> dict[str, object]:
    fit, recipe, labels, active = found.fit, found.recipe, found.functions, found.active.reshape(-1)
    total, own = (np.where(active, fit.mean(part), np.nan) for part in ("total", "own"))
    sizes = {part: float(np.nansum(np.abs(fit.mean(part)))) for part in ("own", "layer", "bias") if part in fit.by_seed}
    mean_own = np.abs(own).mean(0)  # NaN where inactive
    return {
        "probe": {
            "proj": recipe.proj, "hidden": recipe.hidden, "steps": fit.steps, "batch": recipe.batch,
            "learning_rate": recipe.learning_rate, "optimiser": recipe.optimiser, "seeds": found.settings.seeds,
            "early_stopped": recipe.epochs == 0, "validation_loss_nats": list(fit.validation),
        },
        "accuracy": {
            "value": accuracy.probe.value, "sd": number(accuracy.sd), "low": accuracy.probe.low,
            "high": accuracy.probe.high, "n": sum(accuracy.counts), "chance": accuracy.chance,
            "selection": accuracy.selection, "balanced": accuracy.probe.balanced, "p": number(accuracy.p),
            "without_layer_mean": accuracy.without.value if accuracy.without else None,
        },
        "baselines": {
            name: {"words": NAMES[name], "accuracy": s.value, "low": s.low, "high": s.high,
                   "balanced": s.balanced}
            for name, s in accuracy.baselines.items()
        },
        "best_baseline": accuracy.best,
        "margin": {"above": accuracy.is_above, **dict(zip(_MARGIN, accuracy.margin, strict=True))},
        "recall": {
            label: {"value": s.value, "low": s.low, "high": s.high, "n": n}
            for label, s, n in zip(labels, accuracy.recall, accuracy.counts, strict=True)
        },
        "null": _null_facts(found, lines),
        "elbow": {label: heads.elbow(total[c]) for c, label in enumerate(labels)},
        "elbow_own": {label: heads.elbow(own[c]) for c, label in enumerate(labels)},
        "elbow_noise": heads.elbow_on_noise(int(active.sum()), found.seed),
        "significant": {
            label: int((lines.p["own"][c][active] <= found.settings.alpha).sum()) for c, label in enumerate(labels)
        } if lines else None,
        "agreement": {
            label: {"spearman": number(a), "jaccard": number(b)}
            for label, a, b in zip(labels, agreed.spearman, agreed.jaccard, strict=True)
        },
        "top": agreed.top,
        "shares": {part: size / max(sum(sizes.values()), 1e-30) for part, size in sizes.items()},
        "norm_correlation": number(spearmanr(mean_own[active], found.norms.reshape(-1)[active]).statistic),
        "without_layer_mean": None if fit.without is None else {"spearman": _alike(fit.without[1], own, active)},
    }  # fmt: skip


def _alike(bare: Floats, own: Floats, active: npt.NDArray[np.bool_]) -> list[object]:
    """Spearman of |own| with and without the layer mean, per function; bare [seed function head]."""
    pairs = zip(np.abs(bare.mean(0)[:, active]), np.abs(own[:, active]), strict=True)
    return [number(spearmanr(a, b).statistic) for a, b in pairs]


def _null_facts(found: Scored, lines: Lines | None) -> dict[str, object]:
    drawn = found.fit.null
    if drawn is None or lines is None:
        return {"why": why_no_null(found)}
    kept = [heads.elbow(values[found.active.reshape(-1)]) for draw in drawn.total for values in draw]
    return {
        "permutations": len(drawn.accuracy), "seeds_each": found.settings.null_seeds or found.settings.seeds,
        "seeds": found.settings.seeds, "steps": found.fit.steps,
        "alpha": found.settings.alpha, "strata": found.fit.strata, "line_own": lines.own, "line_total": lines.total,
        "accuracy": float(drawn.accuracy.mean()), "elbow": float(np.mean(kept)),
    }  # fmt: skip


def alone_facts(found: Scored) -> dict[str, object]:
    each, active, width = found.alone, found.active.reshape(-1), found.norms.shape[1]
    best = np.where(active, each.area, -1.0).argmax(1)
    return {
        "penalty": each.penalty,
        "best": {label: head_name(*divmod(int(h), width)) for label, h in zip(found.functions, best, strict=True)},
        "beyond": None if each.p is None else {
            label: int((p[active] <= found.settings.alpha).sum())
            for label, p in zip(found.functions, each.p, strict=True)
        },
    }  # fmt: skip


def ablation_facts(found: Scored, verdicts: Mapping[str, Verdict]) -> dict[str, object]:
    effects, how = found.effects, found.recipe.ablation
    shown, other = verdicts[how], next(h for h in HOWS if h != how)
    names = [[head_name(f // found.norms.shape[1], f % found.norms.shape[1]) for f in s] for s in effects.sets]
    neutral = [number(float(x)) for x in effects.neutral]
    per = [{k: number(v) for k, v in dataclasses.asdict(f).items()} for f in shown.functions]
    return {
        "how": how, "scale": found.recipe.scale, "size": None if found.recipe.rule == "elbow" else len(effects.sets[0]),
        "right_only": shown.right_only, "cached": effects.cached,
        "sets": dict(zip(found.functions, names, strict=True)),
        "functions": dict(zip(found.functions, per, strict=True)),
        "contrast": shown.contrast, "low": number(shown.low), "high": number(shown.high), "p": shown.p,
        "sizes": list(effects.sizes), "random_sets": effects.random.shape[1],
        "curve_sets": effects.random_curve_right.shape[1],
        "layer_fallbacks": effects.fallbacks[0], "norm_fallbacks": effects.fallbacks[1], "draws": effects.fallbacks[2],
        "neutral_loss_nats": {"intact": neutral[0], **dict(zip(found.functions, neutral[1:], strict=True))},
        "other": {"how": other, "contrast": verdicts[other].contrast, "low": number(verdicts[other].low),
                  "high": number(verdicts[other].high), "p": verdicts[other].p},
    }  # fmt: skip
