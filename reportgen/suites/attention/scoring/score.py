"""Attention on repeated random tokens, for every head.

`facts` of the result:
    sequences, length, bos      how many sequences, tokens in each (position 0 included), whether position 0 is BOS
    lags                        block lengths used;  lags_left_out: those that do not fit the context
    queries                     queries per sequence behind duplicate_token and induction
    cells                       measure -> cells behind one head's value
    base_rates                  measure -> what a uniform causal row scores
    excess                      how to read them, in words
    threshold, copy_threshold, alpha, copy_tokens, copy_base_rate, copy_note
    permutations, resamples, interval, null   how p and the interval were made, in words
    snippets                    which text the snippets are from
    best                        measure -> {"head", "value", "excess", "low", "high"} of its highest head
`arrays`:
    per_sequence  [measure sequence layer head] the mean over each sequence's cells;  lag [sequence]
    control       [measure layer head] same cells without a repeat: mean over sequences of other lags (two measures)
    offsets       [layer head offset] mean attention by distance;  shifts [layer head shift] around the earlier copy
    snippet_*     where each head attends in natural text: see patterns.py
    copying       [layer head] OV copying share;  output_norm [layer head] mean ||z W_O||
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Float32s
from reportgen.models.selfcheck import reasons_for, require_finite
from reportgen.scores import (
    Cell,
    Column,
    Head,
    HeadScores,
    HeadSet,
    NamedArray,
    NotComputed,
    SuiteResult,
    Table,
    head_name,
)
from reportgen.stats import bootstrap_interval, permutation_p, sign_flip_null, step_down_max_t
from reportgen.suites import ov, prose
from reportgen.suites.attention.scoring import patterns
from reportgen.suites.attention.suite import SUITE, TASK, Settings, held_out
from reportgen.suites.base import Context
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Model


# The null of scores that depend on what is repeated: block lengths permuted over sequences.

_CHUNK = 500  # draws at a time


def permuted_labels(
    cells: npt.ArrayLike, labels: npt.ArrayLike, draws: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """(observed [head], null [draw head]) of cells [example label head]: means of each example's own label's cell.

    If a cell's value does not depend on which label is the example's own, labels are exchangeable between examples.
    """
    values, own = np.asarray(cells, np.float64), np.asarray(labels)
    count, kinds = values.shape[:2]
    flat = values.reshape(count * kinds, -1)  # [example * label, head]
    at = np.arange(count) * kinds
    null = np.empty((draws, flat.shape[1]), np.float32)
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        chosen = np.zeros((size, count * kinds))
        shuffled = rng.permuted(np.tile(own, (size, 1)), axis=1)
        np.put_along_axis(chosen, at + shuffled, 1.0 / count, axis=1)
        null[start : start + size] = chosen @ flat
    return flat[at + own].mean(0), null


# Named head sets from attention scores, with the rule by which a head got in.

LEGEND = "Computed on this model (repeated tokens)"

# set -> (measure, legend entry, where the mass lies)
_SETS = {
    "induction_heads": ("induction", "Induction Heads", "the token after the earlier copy"),
    "previous_token_heads": ("previous_token", "Previous-Token Heads", "the previous token"),
    "duplicate_token_heads": ("duplicate_token", "Duplicate-Token Heads", "the earlier copy of the token"),
}


def head_sets(
    scores: Sequence[HeadScores],
    per_sequence: Mapping[str, Float32s],
    which: npt.NDArray[np.int64],
    copying: Float32s,
    settings: Settings,
) -> tuple[HeadSet, ...]:
    """Induction, previous-token and duplicate-token heads; a set may be empty."""
    by_name = {s.measure: s for s in scores}
    sets = []
    for name, (measure, label, where) in _SETS.items():
        found = by_name[measure]
        assert found.p is not None
        member = (found.values >= settings.threshold) & (found.p <= settings.alpha)
        rule = (
            f"mean attention to {where} >= {settings.threshold:g} on repeated random tokens, family-wise adjusted "
            f"p <= {settings.alpha:g}"
        )
        if measure == "induction":
            member &= copying >= settings.copy_threshold
            rule += (
                f", and OV copying share >= {settings.copy_threshold:g} (share of sampled words whose own logit the "
                "head raises above that of every other sampled word)"
            )
        heads: tuple[Head, ...] = tuple((layer, head) for layer, head in np.argwhere(member).tolist())
        weights = _stability(per_sequence[measure], which, heads, settings.threshold)
        evidence = {
            "static score": "passed" if measure == "induction" and heads else "not run",
            "dynamic score": "passed" if heads else "failed",
            "causal effect": "not run",
            "natural text": "not run",
        }
        key = f"attention/{TASK}/{name}"
        source = "computed: repeated random tokens on this model"
        own = {rung: {head_name(*head): outcome for head in heads} for rung, outcome in evidence.items()}
        made = HeadSet(
            key, label, heads, LEGEND, source, rule, weights=weights, evidence=evidence, by_head=own, score=found.key
        )
        again = {head: "passed" if weights[head_name(*head)] == 1 else "failed" for head in heads}
        sets.append(made.judged("replicated (block lengths)", again))
    return tuple(sets)


def _stability(
    values: Float32s, which: npt.NDArray[np.int64], heads: Sequence[Head], threshold: float
) -> dict[str, float]:
    """Head name -> share of block lengths on which the head alone keeps the threshold."""
    by_lag = np.stack([values[which == index].mean(0) for index in np.unique(which)])  # [lag layer head]
    return {head_name(*lh): float((by_lag[:, lh[0], lh[1]] >= threshold).mean()) for lh in heads}


MEASURES = tuple(measure.name for measure in SUITE.measures)
REPEATS = ("duplicate_token", "induction")
_ROUNDING = 1e-6  # attention mass
_NO_NULL = "entropy describes how spread a row is; there is no claim to test"


@dataclass(frozen=True, eq=False)
class AttentionMeasured:
    """Everything measured: made once, read by the tables and sets."""

    made: patterns.Sequences
    tally: patterns.PatternMeans
    per_sequence: dict[str, Float32s]  # measure -> [sequence layer head]
    control: dict[str, Float32s]  # measure -> [layer head], for REPEATS
    copying: Float32s  # [layer head]
    base: dict[str, float]
    left_out: npt.NDArray[np.bool_]  # [layer head] whose attention is not finite in some sequence


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head. Raises NotApplicable where the context or the vocabulary is too small."""
    rng = np.random.default_rng([context.seed, 0])
    lags = patterns.usable_lags(settings.lags, model.record.n_ctx)
    wanted = max(settings.copy_tokens, settings.sequences * (1 + 2 * max(lags)))
    words = patterns.plain_words(model.tokens, min(model.tokens.size, model.record.d_vocab), wanted, rng)
    made = patterns.repeated(words, lags, settings.sequences, model.tokens.bos_id, rng)
    tally = patterns.measure(model, made, settings.batch, context.progress)
    copied = ov.sources(model, words[: settings.copy_tokens])
    measured = _collect(made, tally, ov.copying_among(model, copied))
    if measured.left_out.all():
        require_finite(model, "attention patterns of every head", tally.entropy)
    scores = tuple(_scores(name, measured, settings, rng) for name in MEASURES)
    named = bool(settings.permutations)
    sets = head_sets(scores, measured.per_sequence, made.which, measured.copying, settings) if named else ()
    left_out = [lag for lag in settings.lags if lag not in lags]
    shown, text = _snippets(model, settings, context)
    missing = [NotComputed("text snippets", text)] if not shown else []
    if left_out:
        missing.append(NotComputed("block lengths " + ", ".join(map(str, left_out)), "longer than half the context"))
    return SuiteResult(
        suite="attention",
        scores=scores,
        head_sets=sets,
        tables=(_head_table(scores, measured, settings), _sink_table(scores, measured)),
        arrays=_arrays(measured) | shown,
        facts=_facts(scores, measured, settings, len(copied.ids), copied.note, left_out)
        | ({"snippets": text} if shown else {}),
        notes=(f"OV copying share: {copied.note}",) if copied.note else (),
        not_computed=tuple(missing),
    )


def _snippets(model: Model, settings: Settings, context: Context) -> tuple[dict[str, NamedArray], str]:
    """The arrays of the text snippets and what text they are from, or none and why."""
    if not settings.text_windows:
        return {}, switched_off("attention", "text_windows")
    if settings.no_text:
        return {}, "no text is stored (--no-text)"
    size = (settings.text_windows, settings.text_tokens)
    found = prose.windows(model.tokens, settings.text_file, *size, context.seed, model.record.n_ctx)
    if isinstance(found, str):
        return {}, found
    return patterns.snippets(model, found, settings.batch, context.progress), found.source


def _collect(made: patterns.Sequences, tally: patterns.PatternMeans, copying: Float32s) -> AttentionMeasured:
    at = np.arange(len(made.which))
    left_out = np.asarray(~np.isfinite(tally.entropy).all(0), dtype=np.bool_)  # entropy reads all rows but the first
    per_sequence = {
        "previous_token": tally.previous,
        "current_token": tally.current,
        "first_token": tally.first,
        "duplicate_token": tally.duplicate[at, made.which],
        "induction": tally.induction[at, made.which],
        "entropy": tally.entropy,
    }
    others = len(made.lags) - 1
    control = {
        name: ((cells.sum(1) - per_sequence[name]) / others).mean(0)
        for name, cells in (("duplicate_token", tally.duplicate), ("induction", tally.induction))
    }
    for cells in per_sequence.values():
        cells[:, left_out] = np.nan
    return AttentionMeasured(made, tally, per_sequence, control, copying, patterns.base_rates(made), left_out)


def _scores(name: str, measured: AttentionMeasured, settings: Settings, rng: np.random.Generator) -> HeadScores:
    values = measured.per_sequence[name]  # [sequence layer head]
    count = len(values)
    low, high = bootstrap_interval(values, [0] * count, rng, draws=settings.resamples, bounds=(0.0, 1.0))
    tested = _tested(name, measured, settings, rng)
    p, p_each = (None, None) if tested is None else _both(*tested, values.shape[1:])
    return HeadScores(
        key=f"attention/{name}/{TASK}",
        label=SUITE.measure(name).title,
        values=values.mean(0, dtype=np.float64).astype(np.float32),
        n=count,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        p=p,
        p_each=p_each,
        no_null="" if p is not None else _NO_NULL if name == "entropy" else switched_off("attention", "permutations"),
        range=(0.0, 1.0),
        reasons=reasons_for(measured.left_out, "attention is not finite on these sequences"),
        held_out=held_out(values, measured.made.which),
    )


def _tested(
    name: str, measured: AttentionMeasured, settings: Settings, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.floating]] | None:
    """What is tested [head] and its draws [draw head], one-sided; None for entropy, and without draws of the null."""
    if name == "entropy" or not settings.permutations:
        return None
    values = measured.per_sequence[name]
    if name in REPEATS:
        cells = measured.tally.induction if name == "induction" else measured.tally.duplicate
        flat = cells.reshape(*cells.shape[:2], -1)
        return permuted_labels(flat, measured.made.which, settings.permutations, rng)
    excess = (values - measured.base[name]).reshape(len(values), -1)
    return excess.mean(0), sign_flip_null(excess, settings.permutations, rng).astype(np.float32)


def _both(
    observed: npt.NDArray[np.float64], null: npt.NDArray[np.floating], shape: tuple[int, ...]
) -> tuple[Float32s, Float32s]:
    """p adjusted over heads, and of each head alone, [layer head]."""
    adjusted = step_down_max_t(observed, null, floor=_ROUNDING).reshape(shape).astype(np.float32)
    return adjusted, permutation_p(observed, null).reshape(shape).astype(np.float32)


def _adjusted_p(
    name: str, measured: AttentionMeasured, settings: Settings, rng: np.random.Generator
) -> npt.NDArray[np.float64] | None:
    """Family-wise adjusted p [layer head], one-sided; None for entropy, and without draws of the null."""
    tested = _tested(name, measured, settings, rng)
    shape = measured.per_sequence[name].shape[1:]
    return None if tested is None else step_down_max_t(*tested, floor=_ROUNDING).reshape(shape)


def _head_table(scores: tuple[HeadScores, ...], measured: AttentionMeasured, settings: Settings) -> Table:
    """Heads that put at least the threshold's mass on one of the named places, by layer."""
    by_name = {s.measure: s for s in scores}
    shown = [name for name in MEASURES if name not in ("entropy", "first_token")]
    strong = np.any([by_name[name].values >= settings.threshold for name in shown], axis=0)
    rows: list[tuple[Cell, ...]] = []
    for layer, head in np.argwhere(strong).tolist():
        masses = [float(by_name[name].values[layer, head]) for name in shown]
        control = [float(measured.control[name][layer, head]) for name in REPEATS]
        copying = float(measured.copying[layer, head])
        rest = [copying if np.isfinite(copying) else None, float(by_name["entropy"].values[layer, head])]
        rows.append((head_name(layer, head), *masses, *control, *rest))
    titles = [SUITE.measure(name).title for name in shown]
    base = ", ".join(f"{name.replace('_', ' ')} {measured.base[name]:.3f}" for name in shown)
    return Table(
        key="attention/heads",
        title="Heads with a clear attention pattern on repeated random tokens",
        columns=(
            Column("head"),
            *(Column(title) for title in titles),
            Column("duplicate, same cells without repeat"),
            Column("induction, same cells without repeat"),
            Column("OV copying share"),
            Column("relative entropy"),
        ),
        rows=tuple(rows),
        caption=f"Heads with a mass of at least {settings.threshold:g} in one of the first {len(shown)} columns. "
        f"Uniform causal attention scores: {base}.",
    )


def _sink_table(scores: tuple[HeadScores, ...], measured: AttentionMeasured, most: int = 40) -> Table:
    """Heads that rest on position 0, and whether they write anything meanwhile."""
    first = next(s for s in scores if s.measure == "first_token").values
    norm = measured.tally.output_norm
    relative = norm / max(float(np.median(norm[np.isfinite(norm)])), 1e-12)
    resting = [(lay, head) for lay, head in np.argwhere(first >= 0.5).tolist()]
    resting.sort(key=lambda lh: (-float(first[lh]), lh))
    rows = tuple(
        (head_name(*lh), float(first[lh]), float(relative[lh]) if np.isfinite(relative[lh]) else None)
        for lh in resting[:most]
    )
    return Table(
        key="attention/sinks",
        title="Heads that attend mostly to the first position",
        columns=(Column("head"), Column("first-position attention"), Column("output norm", "of the median head")),
        rows=rows,
        caption=f"{len(resting)} heads give position 0 at least half of their attention"
        f"{f'; the first {most} are listed' if len(resting) > most else ''}. Output norm is the mean of ||z W_O|| over "
        "queries, as a multiple of the model's median head: a head on the sink that still writes is not inactive.",
    )


def _arrays(measured: AttentionMeasured) -> dict[str, NamedArray]:
    tally, made = measured.tally, measured.made
    sequence_lags = np.asarray(made.lags, np.int32)[made.which]
    return {
        "per_sequence": NamedArray(
            ("measure", "sequence", "layer", "head"),
            np.stack([measured.per_sequence[name] for name in MEASURES]),
            {"measure": MEASURES},
        ),
        "lag": NamedArray(("sequence",), sequence_lags),
        "control": NamedArray(
            ("measure", "layer", "head"), np.stack([measured.control[name] for name in REPEATS]), {"measure": REPEATS}
        ),
        "offsets": NamedArray(("layer", "head", "offset"), tally.offsets),
        "shifts": NamedArray(
            ("layer", "head", "shift"), tally.shifts, {"shift": tuple(f"{shift:+d}" for shift in patterns.SHIFTS)}
        ),
        "copying": NamedArray(("layer", "head"), measured.copying),
        "output_norm": NamedArray(("layer", "head"), tally.output_norm),
    }


def _facts(
    scores: tuple[HeadScores, ...],
    measured: AttentionMeasured,
    settings: Settings,
    copy_tokens: int,
    copy_note: str,
    left_out: list[int],
) -> dict[str, object]:
    made = measured.made
    count, length = made.ids.shape
    cells = {name: count * (made.queries if name in REPEATS else length - 1) for name in MEASURES}
    cells["previous_token"] = count * (length - 2)
    best: dict[str, object] = {}
    for s in scores:
        layer, head = s.ranking()[0]
        value = float(s.values[layer, head])
        assert s.low is not None
        assert s.high is not None
        best[s.measure] = {
            "head": head_name(layer, head),
            "value": value,
            "excess": value - measured.base[s.measure],
            "low": float(s.low[layer, head]),
            "high": float(s.high[layer, head]),
        }
    return {
        "sequences": count,
        "length": length,
        "bos": made.bos,
        "lags": list(made.lags),
        "lags_left_out": left_out,
        "queries": made.queries,
        "cells": cells,
        "base_rates": measured.base,
        "excess": "value minus the score of uniform causal attention",
        "threshold": settings.threshold,
        "copy_threshold": settings.copy_threshold,
        "alpha": settings.alpha,
        "copy_tokens": copy_tokens,
        "copy_base_rate": 1.0 / copy_tokens,
        "copy_note": copy_note,
        "permutations": settings.permutations,
        "resamples": settings.resamples,
        "interval": "95 %: Student's quantile for the number of sequences times the bootstrap SD over them",
        "null": {m.name: m.null for m in SUITE.measures if not m.null.startswith("none")},
        "best": best,
    }
