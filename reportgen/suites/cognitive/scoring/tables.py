"""Everything that was measured (`Scored`), and its tables: data, accuracy, functions, confusion, overlap, ablation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Floats
from reportgen.scores import Cell, Column, Table, head_name
from reportgen.stats import holm, overlap_by_chance, permutation_p
from reportgen.suites.cognitive.facts import AblationFacts, CognitiveFacts, DataFacts, NullFacts, OtherWay
from reportgen.suites.cognitive.rows import SPLITS
from reportgen.suites.cognitive.scoring.ablation import AblationEffects
from reportgen.suites.cognitive.scoring.ablation_tests import AblationVerdict
from reportgen.suites.cognitive.scoring.dataset import Prepared
from reportgen.suites.cognitive.scoring.fit import Accuracy, Fit, LabelledRows
from reportgen.suites.cognitive.scoring.null import BASELINES, adjusted_p, elbow_on_noise, family_line, ranking
from reportgen.suites.cognitive.scoring.per_head_probe import Alone
from reportgen.suites.cognitive.suite import Recipe, Settings


@dataclass(frozen=True)
class Scored:
    """Everything that was measured."""

    prepared: Prepared
    rows: LabelledRows
    fit: Fit
    alone: Alone
    effects: AblationEffects
    norms: Floats
    active: npt.NDArray[np.bool_]
    settings: Settings
    recipe: Recipe
    seed: int
    bytes_each: int

    @property
    def functions(self) -> tuple[str, ...]:
        return self.prepared.data.functions


@dataclass(frozen=True)
class Lines:
    """The family-wise lines of the own part and of the whole, with p [function head]; None without a null.

    alone  p of each head and function by itself, not adjusted
    """

    own: float
    total: float
    p: Mapping[str, Floats]
    alone: Mapping[str, Floats]


def slugs(functions: tuple[str, ...]) -> tuple[str, ...]:
    """Task names of the functions: letters, digits and _ only, each once."""
    made: list[str] = []
    for i, label in enumerate(functions):
        name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_") or f"function_{i + 1}"
        made.append(name if name not in made else f"{name}_{i + 1}")
    return tuple(made)


def family_lines(found: Scored) -> Lines | None:
    """Lines and adjusted p; a head is tested by its size, and the family is all heads and functions."""
    null = found.fit.null
    if null is None:
        return None
    maxima = {part: null.maxima(part) for part in ("own", "total")}
    alpha = found.settings.alpha
    p = {part: adjusted_p(np.abs(found.fit.mean(part)), maxima[part]) for part in maxima}
    alone = {part: _alone_p(found.fit.mean(part), draws) for part, draws in (("own", null.own), ("total", null.total))}
    return Lines(family_line(maxima["own"], alpha), family_line(maxima["total"], alpha), p, alone)


def _alone_p(values: Floats, draws: npt.NDArray[np.float32]) -> Floats:
    """By size, values [function head], draws [draw function head]."""
    return permutation_p(np.abs(values).ravel(), np.abs(draws).reshape(len(draws), -1)).reshape(values.shape)


def why_no_null(found: Scored) -> str:
    return f"preset {found.settings.preset}" if not found.recipe.null else "permutations = 0"


def number(value: float) -> float | None:
    """None for NaN: there is no such number."""
    return value if math.isfinite(value) else None


def all_tables(
    found: Scored, accuracy: Accuracy, judged: AblationVerdict, lines: Lines | None, facts: CognitiveFacts
) -> tuple[Table, ...]:
    """Every table, in the order of the report."""
    return (
        _accuracy(found, accuracy),
        _functions(found, accuracy, facts),
        _ablation(found, judged, facts),
        _answers(found, judged, facts),
        _overlap(found, lines),
        _layers(found),
        _confusion(found, accuracy),
        _data(found, facts),
    )


def _accuracy(found: Scored, accuracy: Accuracy) -> Table:
    rows: list[tuple[Cell, ...]] = []
    p = accuracy.probe
    rows.append(("probe on head outputs", p.value, p.low, p.high, p.balanced, accuracy.p))
    if accuracy.without is not None:
        bare = accuracy.without
        rows.append(("the same without the layer mean", bare.value, bare.low, bare.high, bare.balanced, None))
    for name, share in accuracy.baselines.items():
        rows.append((BASELINES[name], share.value, share.low, share.high, share.balanced, None))
    value, low, high, margin_p = accuracy.margin
    verdict = "above" if accuracy.is_above else "NOT above"
    spread = "" if math.isnan(accuracy.sd) else f" (sd {accuracy.sd:.3f})"
    return Table(
        key="cognitive/accuracy",
        title="Classifying the functions: held-out accuracy and surface baselines",
        columns=(Column("predictor"), Column("accuracy"), Column("95 % from"), Column("95 % to"),
                 Column("balanced accuracy"), Column("p (permuted labels)")),
        rows=tuple(rows),
        caption=f"n = {sum(accuracy.counts)} test rows; chance {accuracy.chance:.3f}. Probe: mean over "
        f"{found.settings.seeds} starts{spread}, {found.fit.steps} steps each; on the "
        f"selection rows, whose phrasings were trained on, {accuracy.selection:.3f}. The probe is {verdict} the best "
        f"baseline ({BASELINES[accuracy.best]}): difference {value:+.3f} [{low:+.3f}, {high:+.3f}], sign flips over "
        f"chains p = {margin_p:.3g}. Intervals: Wilson, rows of a chain as one cluster.",
    )  # fmt: skip


def _functions(found: Scored, accuracy: Accuracy, facts: CognitiveFacts) -> Table:
    own = np.where(found.active.reshape(-1), found.fit.mean("own"), np.nan)
    rows: list[tuple[Cell, ...]] = []
    for c, label in enumerate(found.functions):
        best, share = int(ranking(own[c])[0]), accuracy.recall[c]
        agreement = facts.agreement[label]
        rows.append(
            (
                label, accuracy.counts[c], share.value, share.low, share.high,
                head_name(*divmod(best, found.norms.shape[1])), float(own[c, best]),
                facts.significant[label] if facts.significant else None, facts.elbow[label], facts.elbow_own[label],
                agreement.spearman, agreement.jaccard,
            )
        )  # fmt: skip
    null = facts.null or NullFacts()
    line = "" if null.alpha is None else (
        f"The line is {null.line_own:.4g}: the {1 - null.alpha:.0%} point of the largest |own importance| over "
        f"all heads and functions under {null.permutations} permutations of the labels (within {null.strata}), "
        f"each trained for the same {null.steps} steps{null.starts}; under them the elbow keeps "
        f"{null.elbow:.1f} heads. "
    )  # fmt: skip
    parts = ", ".join(f"{part} {share:.0%}" for part, share in facts.shares.items())
    noise = facts.elbow_noise or elbow_on_noise(int(found.active.sum()), found.seed)
    return Table(
        key="cognitive/functions",
        title="Functions: recall, leading heads, elbow, agreement between starts",
        columns=(Column("function"), Column("test rows"), Column("recall"), Column("95 % from"), Column("95 % to"),
                 Column("largest |own|"), Column("own importance", digits=4), Column("heads beyond the line"),
                 Column("elbow of |I|"), Column("elbow of |own|"), Column("Spearman between starts"),
                 Column(f"Jaccard of the first {facts.top}")),
        rows=tuple(rows),
        caption=f"{line}Of pure noise the elbow keeps {noise.mean:.1f} heads ({noise.low:.0f} to "
        f"{noise.high:.0f}): its size is no evidence of sparsity. Shares of the summed sizes of importance: "
        f"{parts}. Spearman of |own importance| with the head's output norm: {facts.norm_correlation:+.2f}.",
    )  # fmt: skip


def _ablation(found: Scored, judged: AblationVerdict, facts: CognitiveFacts) -> Table:
    said, effects = facts.ablation or AblationFacts(), found.effects
    rows: list[tuple[Cell, ...]] = []
    for c, label in enumerate(found.functions):
        f = judged.functions[c]
        rows.append(
            (
                label, len(effects.sets[c]), f.used, f.own, f.others, f.random, f.contrast, f.low, f.high, f.p_holm,
                f.p_random_holm, f.elbow, float(effects.neutral[c + 1] - effects.neutral[0]),
            )
        )  # fmt: skip
    what = "replaced by its mean over the train rows" if said.how == "mean" else f"scaled by {said.scale:g}"
    other = said.other or OtherWay(how="scale")
    other_way = "replaced by their means" if other.how == "mean" else f"scaled by {said.scale:g}"
    which = "questions the intact model answers rightly" if judged.right_only else (
        "all questions, since the intact model answers too few rightly"
    )  # fmt: skip
    return Table(
        key="cognitive/ablation",
        title="Ablating a function's heads: its own questions, other functions' questions, random heads",
        columns=(Column("function"), Column("heads"), Column("n"), Column("own heads", "nats"),
                 Column("others' heads", "nats"), Column("random heads", "nats"),
                 Column("own - others'", "nats"), Column("95 % from"), Column("95 % to"), Column("p (Holm)"),
                 Column("p, random (Holm)"), Column("elbow's heads", "nats"),
                 Column("plain text", "nats")),
        rows=tuple(rows),
        caption=f"z of the heads {what}, at the positions that predict the answer. Changes of the log-probability of "
        f"the right answer on n {which}. Over all functions, own minus other heads: {judged.contrast:+.3f} nats "
        f"[{judged.low:+.3f}, {judged.high:+.3f}], p = {judged.p:.3g} (sign flips over chains); with "
        f"heads {other_way} {other.contrast:+.3f}, p = {other.p:.3g}. "
        f"Random heads: {said.random_sets} sets, of the same layers and of like output norm "
        f"({said.layer_fallbacks} of {said.draws} draws from a neighbouring layer, {said.norm_fallbacks} "
        "beyond a factor of two in norm). Plain text: change of the mean loss on the test passages, every position "
        "changed.",
    )  # fmt: skip


def _answers(found: Scored, judged: AblationVerdict, facts: CognitiveFacts) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, f in zip(found.functions, judged.functions, strict=True):
        rows.append(
            (label, f.n, f.n_right, f.kept_own, f.kept_others, f.kept_random, f.lost, f.gained, f.p_mcnemar_holm,
             f.unchanged)
        )  # fmt: skip
    return Table(
        key="cognitive/answers",
        title="Answers without a function's heads: correct and unchanged",
        columns=(Column("function"), Column("questions"), Column("answered rightly"), Column("still right, own heads"),
                 Column("other functions' heads"), Column("random heads"), Column("lost"), Column("gained"),
                 Column("McNemar p (Holm)"), Column("unchanged, own heads")),
        rows=tuple(rows),
        caption="Exact match of the greedy answer. 'Still right': of the questions that the intact model answers "
        "correctly; lost, gained: questions that turn wrong or right without the own heads, McNemar's exact test over "
        "all questions. 'Unchanged': of all questions, the same greedy tokens as before, right or wrong.",
    )  # fmt: skip


def _overlap(found: Scored, lines: Lines | None) -> Table:
    kinds = [np.zeros((len(found.functions), found.norms.size), dtype=bool)]
    for row, heads in zip(kinds[0], found.effects.sets, strict=True):
        row[list(heads)] = True
    if lines is not None:
        kinds.append((lines.p["own"] <= found.settings.alpha) & found.active.reshape(-1))
    pairs = list(combinations(range(len(found.functions)), 2))
    columns = []
    for kind in kinds:
        sets = kind.reshape(-1, *found.norms.shape)  # [function layer head]
        counted = [(int((sets[a] & sets[b]).sum()), *overlap_by_chance(sets[a], sets[b])) for a, b in pairs]
        adjusted = holm([p for _, _, p in counted])
        columns.append([(*one, float(p)) for one, p in zip(counted, adjusted, strict=True)])
    rows: list[tuple[Cell, ...]] = []
    for (a, b), *cells in zip(pairs, *columns, strict=True):
        rows.append((found.functions[a], found.functions[b], *(cell for group in cells for cell in group)))
    rows.sort(key=lambda row: (float(row[4] or 0), str(row[0])))
    named = [[Column(f"{word} shared"), Column("expected", digits=2), Column("p"), Column("p (Holm)")]
             for word in ("leading heads", "beyond the line,")[: len(kinds)]]  # fmt: skip
    return Table(
        key="cognitive/overlap",
        title="Heads that two functions share",
        columns=(Column("function"), Column("and"), *(column for group in named for column in group)),
        rows=tuple(rows),
        caption="Heads in both functions' sets: the leading heads that the ablation removes, and all heads beyond the "
        "family-wise line. Expectation and one-sided p: random sets within the layers in which the sets have heads.",
    )


def _layers(found: Scored) -> Table:
    own = np.where(found.active.reshape(-1), np.abs(found.fit.mean("own")), 0.0)
    totals = own.reshape(len(own), *found.norms.shape).sum(-1)  # [function layer]
    shares = totals / np.maximum(totals.sum(1, keepdims=True), 1e-30)
    rows: list[tuple[Cell, ...]] = []
    for layer, column in enumerate(shares.T.tolist()):
        rows.append((layer, *column))
    return Table(
        key="cognitive/layers",
        title="Importance by layer",
        columns=(Column("of layer"), *(Column(label, digits=2) for label in found.functions)),
        rows=tuple(rows),
        caption="Shares of summed absolute own importance. Compare models by such profiles, not by head indices.",
    )


def _confusion(found: Scored, accuracy: Accuracy) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, row in zip(found.functions, accuracy.confusion.tolist(), strict=True):
        rows.append((label, *row))
    return Table(
        key="cognitive/confusion",
        title="Confusion matrix of the probe",
        columns=(Column("function"), *(Column(label, digits=2) for label in found.functions)),
        rows=tuple(rows),
        caption="Shares of each function's test rows, mean over initialisations.",
    )


def _data(found: Scored, facts: CognitiveFacts) -> Table:
    said = facts.data or DataFacts()
    rows: list[tuple[Cell, ...]] = []
    for label in found.functions:
        shapes = ", ".join(f"{shape} {n}" for shape, n in sorted(said.answer_shapes[label].items()))
        counts = said.counts[label]
        rows.append(
            (
                label,
                *(counts[s] for s in SPLITS),
                said.mean_step[label],
                said.answer_words[label],
                facts.tokens_averaged[label],
                shapes,
            )
        )
    return Table(
        key="cognitive/data",
        title="The data: rows by function and split",
        columns=(Column("function"), *(Column(s) for s in SPLITS), Column("mean step", digits=2),
                 Column("answer words", digits=1), Column("tokens averaged", digits=1), Column("answer forms")),
        rows=tuple(rows),
        caption=f"{said.set} ({said.why}): {said.rows} rows, {said.chains} chains; splits by chain. "
        f"Test questions that stand in train word for word: {said.test_questions_in_train}; texts with two labels: "
        f"{said.texts_with_two_labels}; labels left out or collapsed: {len(said.stray)}; rows too long for the "
        f"context: {said.too_long}, without a token of the answer: {said.without_answer}, without an answer that "
        f"can be read: {said.unparsable}.",
    )  # fmt: skip
