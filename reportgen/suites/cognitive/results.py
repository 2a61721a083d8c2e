"""What the suite hands over: scores with their nulls, head sets, tables, evidence per example, facts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reportgen.scores import HeadScores, NamedArray, NotComputed, SuiteResult, head_name
from reportgen.suites.cognitive import facts, sets, tables
from reportgen.suites.cognitive.ablation import HOWS
from reportgen.suites.cognitive.ablation_stats import Verdict, judge
from reportgen.suites.cognitive.accuracy import Accuracy, measure
from reportgen.suites.cognitive.baselines import NAMES
from reportgen.suites.cognitive.fit import intervals
from reportgen.suites.cognitive.recipe import UNCONFIRMED
from reportgen.suites.cognitive.scored import Lines, Scored, family_lines, slugs, why_no_null
from reportgen.suites.cognitive.suite import SUITE
from reportgen.suites.settings import switched_off

Floats = npt.NDArray[np.float64]
Grid = npt.NDArray[np.float32]
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
    said = {
        **facts.data_facts(found, names),
        **facts.probe_facts(found, accuracy, lines, facts.agreement(found)),
        "alone": facts.alone_facts(found),
        "ablation": facts.ablation_facts(found, verdicts),
        "features_bytes": found.bytes_each,
    }
    return SuiteResult(
        suite=SUITE.name,
        scores=(
            *(s for part in _MEASURES for s in _scores(found, part, names, lines, shape, rng)),
            *_alone(found, names, shape),
        ),
        head_sets=(*sets.line_sets(found, names, lines, shape), *sets.leading_sets(found, names, lines, judged, shape)),
        tables=tables.all_tables(found, accuracy, judged, lines, said),
        arrays=_arrays(found, accuracy, names, shape),
        facts=said,
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

    def grid(flat: Floats) -> Grid:
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
                line=(lines.own if part == "own" else lines.total) if lines is not None and tested else None,
                no_null="" if tested else why,
                reasons=reasons,
            )
        )
    return made


def _alone(found: Scored, names: tuple[str, ...], shape: tuple[int, int]) -> list[HeadScores]:
    each, test = found.alone, found.rows.labels[found.rows.at["test"]]
    reasons = {head_name(*map(int, at)): _INACTIVE for at in np.argwhere(~found.active)}

    def grid(flat: Floats) -> Grid:
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


def _notes(found: Scored, accuracy: Accuracy, judged: Verdict) -> tuple[str, ...]:
    data, about = found.prepared.data, found.prepared.about
    notes = [f"Data set: {about['set']} ({about['why']}), {len(data.rows)} rows in {data.about['chains']} chains."]
    best = f"{NAMES[accuracy.best]} ({accuracy.baselines[accuracy.best].value:.3f})"
    if accuracy.is_above:
        notes.append(f"The probe is above every surface baseline; the best is {best}.")
    else:
        notes.append(
            f"The probe ({accuracy.probe.value:.3f}) is NOT above every surface baseline: {best}. What it reads "
            "from the heads is no more than the questions' surface gives away."
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
        notes.append(f"Labels that differ in case or signs only: {alike}.")
    if UNCONFIRMED[found.settings.preset]:
        notes.append(f"Preset {found.settings.preset}: {UNCONFIRMED[found.settings.preset]}")
    return tuple(notes)


def _causal(found: Scored, judged: Verdict) -> str:
    """What removing heads says, in plain words."""
    alpha, n = found.settings.alpha, len(judged.functions)
    numbers = f"{judged.contrast:+.3f} nats [{judged.low:+.3f}, {judged.high:+.3f}], p = {judged.p:.2g}"
    if judged.p <= alpha and judged.contrast < 0:
        words = (
            "Causal check: positive over all functions. Without a function's own heads its questions lose more of the "
            f"right answer's log-probability than without other functions' heads ({numbers})."
        )
    else:
        words = (
            "Causal check: NEGATIVE. Without a function's own heads its questions do not lose more of the right "
            f"answer's log-probability than without other functions' heads (own minus other {numbers}). The probe "
            "reads the function from these heads; nothing here shows that the model answers with them."
        )
    if found.settings.can_test_random:
        beyond = sum(f.own < 0 and f.p_random_holm <= alpha for f in judged.functions)
        words += f" For {beyond} of {n} functions they matter more than random heads like them (p <= {alpha:g}, Holm)."
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
