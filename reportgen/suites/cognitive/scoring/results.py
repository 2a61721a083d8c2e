"""The suite's results: scores with their nulls, head sets, tables, evidence per example, facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from reportgen.aliases import Float32s, Floats
from reportgen.scores import HeadScores, HeadSet, NamedArray, NotComputed, SuiteResult, head_name
from reportgen.suites.cognitive.facts import (
    AblationFacts,
    AccuracyFacts,
    AgreementFacts,
    AloneFacts,
    BareFacts,
    BaselineFacts,
    CognitiveFacts,
    DataFacts,
    GeneratedFacts,
    MarginFacts,
    NullFacts,
    OtherWay,
    ProbeFacts,
    RecallFacts,
    score_of,
)
from reportgen.suites.cognitive.scoring import null, tables
from reportgen.suites.cognitive.scoring.ablation import HOWS
from reportgen.suites.cognitive.scoring.ablation_tests import AblationVerdict, judge
from reportgen.suites.cognitive.scoring.fit import Accuracy, intervals, measure
from reportgen.suites.cognitive.scoring.null import BASELINES
from reportgen.suites.cognitive.scoring.tables import Lines, Scored, family_lines, number, slugs, why_no_null
from reportgen.suites.cognitive.suite import SUITE, UNCONFIRMED
from reportgen.suites.facts import encoded, plain
from reportgen.suites.settings import switched_off

# The small numbers that captions and tables need.


@dataclass(frozen=True)
class SeedAgreement:
    """Between seeds, per function: mean Spearman of |own| and mean Jaccard of the first `top` heads."""

    top: int
    spearman: tuple[float, ...]
    jaccard: tuple[float, ...]


def agreement(found: Scored) -> SeedAgreement:
    own = np.where(found.active.reshape(-1), found.fit.by_seed["own"], np.nan)
    top = len(found.effects.sets[0]) if found.recipe.rule == "line" else max(1, int(found.active.sum()) // 12)
    pairs = [null.agreement(own[:, c], top) for c in range(own.shape[1])]
    return SeedAgreement(top, tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def data_facts(found: Scored, names: tuple[str, ...]) -> CognitiveFacts:
    """What was asked of which model in which way."""
    data, recipe, settings = found.prepared.data, found.recipe, found.settings
    tokens: dict[str, list[int]] = {label: [] for label in data.functions}
    for row, question in zip(data.rows, found.prepared.encoded, strict=True):
        tokens[row.function].append(len(question.sites))
    right = found.prepared.correct
    about = {**found.prepared.about, **data.about, "stray": dict(data.stray)}
    return CognitiveFacts(
        data=msgspec.convert(plain(about), DataFacts),
        functions=dict(zip(names, data.functions, strict=True)),
        preset=settings.preset, unconfirmed=UNCONFIRMED[settings.preset], context=recipe.context,
        answers=recipe.answers, tokens=recipe.tokens, k=settings.k, site=settings.site, hook=settings.hook,
        prompt=recipe.prompt, chat_template=recipe.chat, standardise=recipe.standardise,
        layer_mean=settings.layer_mean, rule=recipe.rule, ablation_how=recipe.ablation,
        tokens_averaged={label: float(np.mean(counts)) for label, counts in tokens.items()},
        whole_answers=sum(e.whole for e in found.prepared.encoded),
        generated=None if right is None else GeneratedFacts(right=float(np.mean(right)), n=len(right)),
        features_bytes=found.bytes_each,
    )  # fmt: skip


def add_probe(
    facts: CognitiveFacts, found: Scored, accuracy: Accuracy, lines: Lines | None, agreed: SeedAgreement
) -> None:
    """How well the probe does, and what its importance says."""
    fit, recipe, labels, active = found.fit, found.recipe, found.functions, found.active.reshape(-1)
    total, own = (np.where(active, fit.mean(part), np.nan) for part in ("total", "own"))
    sizes = {part: float(np.nansum(np.abs(fit.mean(part)))) for part in ("own", "layer", "bias") if part in fit.by_seed}
    mean_own = np.abs(own).mean(0)  # NaN where inactive
    facts.probe = ProbeFacts(
        proj=recipe.proj, hidden=recipe.hidden, steps=fit.steps, batch=recipe.batch,
        learning_rate=recipe.learning_rate, optimiser=recipe.optimiser, seeds=found.settings.seeds,
        early_stopped=recipe.epochs == 0, validation_loss_nats=list(fit.validation),
    )  # fmt: skip
    _add_accuracy(facts, accuracy, labels)
    facts.null = _null_facts(found, lines)
    facts.elbow = {label: null.elbow(total[c]) for c, label in enumerate(labels)}
    facts.elbow_own = {label: null.elbow(own[c]) for c, label in enumerate(labels)}
    facts.elbow_noise = null.elbow_on_noise(int(active.sum()), found.seed)
    if lines is not None:
        beyond = (lines.p["own"][:, active] <= found.settings.alpha).sum(1)
        facts.significant = dict(zip(labels, beyond.tolist(), strict=True))
    facts.agreement = {
        label: AgreementFacts(spearman=number(a), jaccard=number(b))
        for label, a, b in zip(labels, agreed.spearman, agreed.jaccard, strict=True)
    }
    facts.top = agreed.top
    facts.shares = {part: size / max(sum(sizes.values()), 1e-30) for part, size in sizes.items()}
    facts.norm_correlation = float(spearmanr(mean_own[active], found.norms.reshape(-1)[active]).statistic)
    if fit.without is not None:
        facts.without_layer_mean = BareFacts(spearman=_alike(fit.without[1], own, active))


def _add_accuracy(facts: CognitiveFacts, accuracy: Accuracy, labels: tuple[str, ...]) -> None:
    facts.accuracy = AccuracyFacts(
        value=accuracy.probe.value, sd=accuracy.sd, low=accuracy.probe.low, high=accuracy.probe.high,
        n=sum(accuracy.counts), chance=accuracy.chance, selection=accuracy.selection, balanced=accuracy.probe.balanced,
        p=accuracy.p, without_layer_mean=accuracy.without.value if accuracy.without else None,
    )  # fmt: skip
    facts.baselines = {
        name: BaselineFacts(words=BASELINES[name], accuracy=s.value, low=s.low, high=s.high, balanced=s.balanced)
        for name, s in accuracy.baselines.items()
    }
    facts.best_baseline = accuracy.best
    value, low, high, p = accuracy.margin
    facts.margin = MarginFacts(above=accuracy.is_above, value=value, low=low, high=high, p=p)
    facts.recall = {
        label: RecallFacts(value=s.value, low=s.low, high=s.high, n=n)
        for label, s, n in zip(labels, accuracy.recall, accuracy.counts, strict=True)
    }


def _alike(bare: Floats, own: Floats, active: npt.NDArray[np.bool_]) -> list[float | None]:
    """Spearman of |own| with and without the layer mean, per function; bare [seed function head]."""
    pairs = zip(np.abs(bare.mean(0)[:, active]), np.abs(own[:, active]), strict=True)
    return [float(spearmanr(a, b).statistic) for a, b in pairs]


def _null_facts(found: Scored, lines: Lines | None) -> NullFacts:
    drawn = found.fit.null
    if drawn is None or lines is None:
        return NullFacts(why=why_no_null(found))
    kept = [null.elbow(values[found.active.reshape(-1)]) for draw in drawn.total for values in draw]
    return NullFacts(
        permutations=len(drawn.accuracy), seeds_each=found.settings.null_seeds or found.settings.seeds,
        seeds=found.settings.seeds, steps=found.fit.steps, alpha=found.settings.alpha, strata=found.fit.strata,
        line_own=lines.own, line_total=lines.total, accuracy=float(drawn.accuracy.mean()), elbow=float(np.mean(kept)),
    )  # fmt: skip


def alone_facts(found: Scored) -> AloneFacts:
    each, active, width = found.alone, found.active.reshape(-1), found.norms.shape[1]
    best = np.where(active, each.area, -1.0).argmax(1)
    beyond = None if each.p is None else (each.p[:, active] <= found.settings.alpha).sum(1).tolist()
    return AloneFacts(
        penalty=each.penalty,
        best={label: head_name(*divmod(int(h), width)) for label, h in zip(found.functions, best, strict=True)},
        beyond=None if beyond is None else dict(zip(found.functions, beyond, strict=True)),
    )


def ablation_facts(found: Scored, verdicts: Mapping[str, AblationVerdict]) -> AblationFacts:
    effects, how = found.effects, found.recipe.ablation
    shown, other = verdicts[how], next(h for h in HOWS if h != how)
    names = [[head_name(f // found.norms.shape[1], f % found.norms.shape[1]) for f in s] for s in effects.sets]
    rest, neutral = verdicts[other], effects.neutral.tolist()
    return AblationFacts(
        how=how, scale=found.recipe.scale, size=None if found.recipe.rule == "elbow" else len(effects.sets[0]),
        right_only=shown.right_only, cached=effects.cached,
        sets=dict(zip(found.functions, names, strict=True)),
        functions=dict(zip(found.functions, shown.functions, strict=True)),
        contrast=shown.contrast, low=shown.low, high=shown.high, p=shown.p,
        sizes=list(effects.sizes), random_sets=effects.random.shape[1],
        curve_sets=effects.random_curve_right.shape[1],
        layer_fallbacks=effects.fallbacks[0], norm_fallbacks=effects.fallbacks[1], draws=effects.fallbacks[2],
        neutral_loss_nats=dict(zip(("intact", *found.functions), neutral, strict=True)),
        other=OtherWay(how=other, contrast=rest.contrast, low=rest.low, high=rest.high, p=rest.p),
    )  # fmt: skip


# Head sets: the heads beyond the family-wise line, and those that the ablation removed.

AGAIN = "replicated (probe starts)"


def line_sets(found: Scored, names: tuple[str, ...], lines: Lines | None, shape: tuple[int, int]) -> list[HeadSet]:
    """Per function the heads whose own importance is beyond the line; weight: share of starts that agree."""
    if lines is None:
        return []
    own, sets = found.fit.by_seed["own"], []  # [seed function head]
    for c, (name, label) in enumerate(zip(names, found.functions, strict=True)):
        member = (lines.p["own"][c] <= found.settings.alpha).reshape(shape) & found.active
        members = tuple((int(a), int(b)) for a, b in np.argwhere(member))
        again = (np.abs(own[:, c]) > lines.own).mean(0).reshape(shape)
        made = HeadSet(
                key=f"{SUITE.name}/{name}/line", label=f"{label}: beyond the line", heads=members,
                legend="Heads for cognitive functions", source=f"computed: {label} on this model",
                score=score_of(f"{SUITE.name}/{name}/line"),
                rule=f"|own importance| on held-out rows with family-wise p <= {found.settings.alpha:g} over all heads "
                f"and functions ({found.settings.permutations} permutations of the labels)",
                weights={head_name(*h): float(again[h]) for h in members},
                evidence={"dynamic score": "failed", "causal effect": "not run", AGAIN: "not run"},
        )  # fmt: skip
        if members:
            made = made.judged("dynamic score", dict.fromkeys(members, "passed"))
            made = made.judged(AGAIN, {h: "passed" if again[h] == 1 else "failed" for h in members})
        sets.append(made)
    return sets


def leading_sets(
    found: Scored, names: tuple[str, ...], lines: Lines | None, judged: AblationVerdict, shape: tuple[int, int]
) -> list[HeadSet]:
    """Per function the heads that the ablation removed, with what came of it."""
    alpha, sets = found.settings.alpha, []
    for c, (name, label) in enumerate(zip(names, found.functions, strict=True)):
        flat, effect = found.effects.sets[c], judged.functions[c]
        members = tuple((f // shape[1], f % shape[1]) for f in flat)
        every = [np.abs(found.fit.by_seed["own"][:, c, f]) > lines.own for f in flat] if lines else []
        is_causal = effect.own < 0 and effect.contrast < 0 and effect.p_holm <= alpha and effect.p_random_holm <= alpha
        causal = "not run" if math.isnan(effect.p_random_holm) else "passed" if is_causal else "failed"
        scored = {h: "passed" if v.mean() >= 0.5 else "failed" for h, v in zip(members, every, strict=False)}
        again = {h: "passed" if v.all() else "failed" for h, v in zip(members, every, strict=False)}
        rule = f"the {len(flat)} heads with the largest |own importance| on the selection rows"
        if found.recipe.rule == "elbow":
            rule = f"the {len(flat)} heads before the elbow of |importance| on the selection rows"
        made = HeadSet(
            key=f"{SUITE.name}/{name}/leading", label=f"{label}: leading heads", heads=members,
            legend="Heads for cognitive functions", source=f"computed: {label} on this model", rule=rule,
            score=score_of(f"{SUITE.name}/{name}/leading"),
            evidence={"dynamic score": "not run", "causal effect": causal, AGAIN: "not run"},
        )  # fmt: skip
        sets.append(made.judged("dynamic score", scored).judged(AGAIN, again))
    return sets


_MEASURES = {"own": "importance_own", "total": "importance", "layer": "importance_layer", "bias": "importance_bias"}
_SHORT = {
    "own": "own importance",
    "total": "importance",
    "layer": "layer's part of importance",
    "bias": "bias's part of importance",
}
_NO_NULL = {
    "layer": "the layer's part is no claim about a head",
    "bias": "the bias's part is the same whatever the model computes",
}
_INACTIVE = "inactive: its output does not vary over the train rows"


def result(found: Scored, shape: tuple[int, int]) -> SuiteResult:
    """The whole result for a grid of `shape` = (layers, heads)."""
    names, lines = slugs(found.functions), family_lines(found)
    rng = np.random.default_rng([found.seed, 10])
    accuracy = measure(found.prepared.data, found.rows, found.fit, found.seed)
    can_test, draws = found.settings.can_test_random, found.settings.resamples
    verdicts = {how: judge(found.effects, how, len(names), can_test, draws, rng) for how in HOWS}
    judged = verdicts[found.recipe.ablation]
    facts = data_facts(found, names)
    add_probe(facts, found, accuracy, lines, agreement(found))
    facts.alone, facts.ablation = alone_facts(found), ablation_facts(found, verdicts)
    return SuiteResult(
        suite=SUITE.name,
        scores=(
            *(s for part in _MEASURES for s in _scores(found, part, names, lines, shape, rng)),
            *_alone(found, names, shape),
        ),
        head_sets=(*line_sets(found, names, lines, shape), *leading_sets(found, names, lines, judged, shape)),
        tables=tables.all_tables(found, accuracy, judged, lines, facts),
        arrays=_arrays(found, accuracy, names, shape),
        facts=encoded(facts),
        notes=_notes(found, accuracy, judged),
        not_computed=_not_computed(found),
    )


def _scores(
    found: Scored, part: str, names: tuple[str, ...], lines: Lines | None, shape: tuple[int, int],
    rng: np.random.Generator,
) -> list[HeadScores]:  # fmt: skip
    if part not in found.fit.by_seed:
        return []
    selection = found.rows.at["selection"]
    labels, chains = found.rows.labels[selection], [found.rows.chains[i] for i in selection]
    low, high = intervals(found.fit.examples[part], labels, chains, len(names), found.settings.resamples, rng)
    values, tested = found.fit.mean(part), lines is not None and part in lines.p
    reasons = {head_name(*map(int, at)): _INACTIVE for at in np.argwhere(~found.active)}

    def grid(flat: Floats) -> Float32s:
        return np.where(found.active, flat.reshape(shape), np.nan).astype(np.float32)

    made = []
    for c, (name, label) in enumerate(zip(names, found.functions, strict=True)):
        why = _NO_NULL.get(part) or f"permuted labels were not run ({why_no_null(found)})"
        made.append(
            HeadScores(
                key=f"{SUITE.name}/{_MEASURES[part]}/{name}",
                label=f"{label}: {_SHORT[part]}",
                values=grid(values[c]),
                n=int((labels == c).sum()),
                low=grid(low[c]),
                high=grid(high[c]),
                p=grid(lines.p[part][c]) if lines is not None and tested else None,
                p_each=grid(lines.alone[part][c]) if lines is not None and tested else None,
                line=(lines.own if part == "own" else lines.total) if lines is not None and tested else None,
                no_null="" if tested else why,
                reasons=reasons,
            )
        )
    return made


def _alone(found: Scored, names: tuple[str, ...], shape: tuple[int, int]) -> list[HeadScores]:
    each, test = found.alone, found.rows.labels[found.rows.at["test"]]
    reasons = {head_name(*map(int, at)): _INACTIVE for at in np.argwhere(~found.active)}

    def grid(flat: Floats) -> Float32s:
        return np.where(found.active, flat.reshape(shape), np.nan).astype(np.float32)

    return [
        HeadScores(
            key=f"{SUITE.name}/alone/{name}",
            label=f"{label}: told by the head alone",
            values=grid(each.area[c]),
            n=int((test == c).sum()),
            low=grid(each.low[c]),
            high=grid(each.high[c]),
            p=grid(each.p[c]) if each.p is not None else None,
            no_null="" if each.p is not None else f"permuted labels were not run ({why_no_null(found)})",
            range=(0.0, 1.0),
            reasons=reasons,
        )
        for c, (name, label) in enumerate(zip(names, found.functions, strict=True))
    ]


def _arrays(found: Scored, accuracy: Accuracy, names: tuple[str, ...], shape: tuple[int, int]) -> dict[str, NamedArray]:
    fit, effects = found.fit, found.effects
    rows = found.prepared.data.rows
    at = {part: tuple(rows[i].id for i in found.rows.at[part]) for part in ("selection", "test")}
    by_example = {"example": at["selection"]}
    own = fit.by_seed["own"].reshape(-1, len(names), *shape)
    made = {
        "importance_own": NamedArray(("example", "layer", "head"), fit.examples["own"].reshape(-1, *shape), by_example),
        "importance": NamedArray(("example", "layer", "head"), fit.examples["total"].reshape(-1, *shape), by_example),
        "by_seed": NamedArray(("seed", "function", "layer", "head"), own.astype(np.float32), {"function": names}),
        "layer_totals": NamedArray(
            ("function", "layer"), np.abs(own.mean(0)).sum(-1).astype(np.float32), {"function": names}
        ),
        "confusion": NamedArray(("function", "predicted"), accuracy.confusion.astype(np.float32), {"function": names}),
        "right": NamedArray(("seed", "test_example"), fit.right.astype(np.uint8), {"test_example": at["test"]}),
        "output_norm": NamedArray(("layer", "head"), found.norms.astype(np.float32)),
        "alone": NamedArray(
            ("test_example", "layer", "head", "function"),
            found.alone.logprob.reshape(-1, *shape, len(names)),
            {"test_example": at["test"], "function": names},
        ),
    }
    if fit.null is not None:
        largest = np.abs(fit.null.own).max(2)
        made["null_own"] = NamedArray(("permutation", "function"), largest.astype(np.float32), {"function": names})
    items = {"test_example": at["test"]}
    for how in HOWS:
        dims, labels = ("test_example", "heads_of"), {**items, "heads_of": names}
        made[f"ablation/{how}/logprob"] = NamedArray(dims, effects.logprob[how].astype(np.float32), labels)
        made[f"ablation/{how}/right"] = NamedArray(dims, effects.correct[how].astype(np.uint8), labels)
        made[f"ablation/{how}/unchanged"] = NamedArray(dims, effects.unchanged[how].astype(np.uint8), labels)
    sizes = {"size": tuple(str(n) for n in effects.sizes)}
    for name in ("right", "unchanged"):
        own_curve, random = getattr(effects, f"curve_{name}"), getattr(effects, f"random_curve_{name}")
        dims = ("test_example", "size")
        made[f"ablation/curve/{name}"] = NamedArray(dims, own_curve.astype(np.uint8), {**items, **sizes})
        made[f"ablation/curve_random/{name}"] = NamedArray(
            ("test_example", "set", "size"), random.astype(np.uint8), {**items, **sizes}
        )
    made["ablation/intact"] = NamedArray(("test_example",), effects.intact.astype(np.float32), items)
    made["ablation/intact_right"] = NamedArray(("test_example",), effects.right.astype(np.uint8), items)
    made["ablation/random"] = NamedArray(("test_example", "set"), effects.random.astype(np.float32), items)
    made["ablation/function"] = NamedArray(("test_example",), effects.label.astype(np.int32), items)
    return made


def _notes(found: Scored, accuracy: Accuracy, judged: AblationVerdict) -> tuple[str, ...]:
    data, about = found.prepared.data, found.prepared.about
    notes = [f"Data set: {about['set']} ({about['why']}), {len(data.rows)} rows in {data.about['chains']} chains."]
    best = f"{BASELINES[accuracy.best]} ({accuracy.baselines[accuracy.best].value:.3f})"
    if accuracy.is_above:
        notes.append(f"The probe is above every surface baseline; the best is {best}.")
    else:
        notes.append(
            f"The probe ({accuracy.probe.value:.3f}) is NOT above every surface baseline: {best}. What it reads "
            "from the heads is no more than surface features of the questions reveal."
        )
    notes.append(_causal(found, judged))
    few, most = min(accuracy.counts), max(accuracy.counts)
    if few < 50:
        notes.append(
            f"{few if few == most else f'{few} to {most}'} test rows per function: enough to see that the method "
            "works, too few for claims about one function (50 or more)."
        )
    if about["prompt_why"]:
        notes.append(f"Prompt: {about['prompt_why']}.")
    if data.stray:
        small = ", ".join(f"{label} ({n})" for label, n in data.stray.items())
        verb = "collapsed into one" if found.settings.small_classes == "other" else "left out"
        notes.append(f"Labels with fewer than {found.settings.min_per_class} rows, {verb}: {small}.")
    if data.about["labels_that_look_alike"]:
        alike = "; ".join(", ".join(group) for group in data.about["labels_that_look_alike"])  # type: ignore[attr-defined]
        notes.append(f"Labels that differ only in case or punctuation: {alike}.")
    if UNCONFIRMED[found.settings.preset]:
        notes.append(f"Preset {found.settings.preset}: {UNCONFIRMED[found.settings.preset]}")
    return tuple(notes)


def _causal(found: Scored, judged: AblationVerdict) -> str:
    """What removing heads says, in plain words."""
    alpha, n = found.settings.alpha, len(judged.functions)
    numbers = f"{judged.contrast:+.3f} nats [{judged.low:+.3f}, {judged.high:+.3f}], p = {judged.p:.2g}"
    if judged.p <= alpha and judged.contrast < 0:
        words = (
            "Causal check: positive over all functions. Ablating a function's own heads lowers its questions' "
            f"correct-answer log-probability more than ablating other functions' heads ({numbers})."
        )
    else:
        words = (
            "Causal check: NEGATIVE. Ablating a function's own heads does not lower its questions' correct-answer "
            f"log-probability more than ablating other functions' heads (own minus other {numbers}). The probe "
            "reads the function from these heads; nothing here shows that the model uses them to answer."
        )
    if found.settings.can_test_random:
        beyond = sum(f.own < 0 and f.p_random_holm <= alpha for f in judged.functions)
        words += f" For {beyond} of {n} functions they matter more than matched random heads (p <= {alpha:g}, Holm)."
    return words


def _not_computed(found: Scored) -> tuple[NotComputed, ...]:
    made, about = [], found.prepared.about
    reasons = {"too_long": "too long for the context", "without_answer": "without a token of the answer",
               "unparsable": "with a generated answer that can't be read"}  # fmt: skip
    for key, why in reasons.items():
        if about[key]:
            made.append(NotComputed(f"{about[key]} of {about['tried']} rows", why))
    if found.fit.null is None:
        made.append(NotComputed("family-wise line and p of importance", why_no_null(found)))
    if not found.settings.can_test_random:
        why = switched_off("cognitive", f"random_sets = {found.settings.random_sets}; a p-value needs 399")
        made.append(NotComputed("p of the ablation against random head sets", why))
    if not found.settings.layer_mean:
        made.append(NotComputed("the layer's part of importance", switched_off("cognitive", "layer_mean")))
    return tuple(made)
