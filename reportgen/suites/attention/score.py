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
    snippet_*     where each head attends in natural text: see snippets.py
    copying       [layer head] OV copying share;  output_norm [layer head] mean ||z W_O||
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.scores import Cell, Column, HeadScores, NamedArray, NotComputed, SuiteResult, Table, head_name
from reportgen.stats import bootstrap_interval, sign_flip_null, step_down_max_t
from reportgen.suites import finite, ov, prose
from reportgen.suites.attention import patterns, sequences, snippets
from reportgen.suites.attention.heads import head_sets
from reportgen.suites.attention.nulls import permuted_labels
from reportgen.suites.attention.suite import SUITE, TASK, Settings
from reportgen.suites.base import Context
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float32]
MEASURES = tuple(measure.name for measure in SUITE.measures)
REPEATS = ("duplicate_token", "induction")
_ROUNDING = 1e-6  # attention mass
_NO_NULL = "entropy describes how spread a row is; there is no claim to test"


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything measured: made once, read by the tables and sets."""

    made: sequences.Sequences
    tally: patterns.Tally
    per_sequence: dict[str, Floats]  # measure -> [sequence layer head]
    control: dict[str, Floats]  # measure -> [layer head], for REPEATS
    copying: Floats  # [layer head]
    base: dict[str, float]
    left_out: npt.NDArray[np.bool_]  # [layer head] whose attention is not finite in some sequence


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head. Raises NotApplicable where the context or the vocabulary is too small."""
    rng = np.random.default_rng([context.seed, 0])
    lags = sequences.usable_lags(settings.lags, model.record.n_ctx)
    wanted = max(settings.copy_tokens, 4 * max(lags))
    words = sequences.plain_words(model.tokens, min(model.tokens.size, model.record.d_vocab), wanted, rng)
    made = sequences.repeated(words, lags, settings.sequences, model.tokens.bos_id, rng)
    tally = patterns.measure(model, made, settings.batch, context.progress)
    copied = ov.sources(model, words[: settings.copy_tokens])
    measured = _collect(made, tally, ov.copying_among(model, copied))
    if measured.left_out.all():
        finite.require(model, "attention patterns of every head", tally.entropy)
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
    size = (settings.text_windows, settings.text_tokens)
    found = prose.windows(model.tokens, settings.text_file, *size, context.seed, model.record.n_ctx)
    if isinstance(found, str):
        return {}, found
    return snippets.snippets(model, found, settings.batch, context.progress), found.source


def _collect(made: sequences.Sequences, tally: patterns.Tally, copying: Floats) -> Measured:
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
    return Measured(made, tally, per_sequence, control, copying, patterns.base_rates(made), left_out)


def _scores(name: str, measured: Measured, settings: Settings, rng: np.random.Generator) -> HeadScores:
    values = measured.per_sequence[name]  # [sequence layer head]
    count = len(values)
    low, high = bootstrap_interval(values, [0] * count, rng, draws=settings.resamples, bounds=(0.0, 1.0))
    p = _adjusted_p(name, measured, settings, rng)
    return HeadScores(
        key=f"attention/{name}/{TASK}",
        label=SUITE.measure(name).title,
        values=values.mean(0, dtype=np.float64).astype(np.float32),
        n=count,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        p=None if p is None else p.astype(np.float32),
        no_null="" if p is not None else _NO_NULL if name == "entropy" else switched_off("attention", "permutations"),
        range=(0.0, 1.0),
        reasons=finite.reasons(measured.left_out, "attention is not finite on these sequences"),
    )


def _adjusted_p(
    name: str, measured: Measured, settings: Settings, rng: np.random.Generator
) -> npt.NDArray[np.float64] | None:
    """Family-wise adjusted p [layer head], one-sided; None for entropy, and without draws of the null."""
    if name == "entropy" or not settings.permutations:
        return None
    values = measured.per_sequence[name]
    if name in REPEATS:
        cells = measured.tally.induction if name == "induction" else measured.tally.duplicate
        flat = cells.reshape(*cells.shape[:2], -1)
        observed, null = permuted_labels(flat, measured.made.which, settings.permutations, rng)
        return step_down_max_t(observed, null, floor=_ROUNDING).reshape(values.shape[1:])
    excess = (values - measured.base[name]).reshape(len(values), -1)
    null = sign_flip_null(excess, settings.permutations, rng).astype(np.float32)
    return step_down_max_t(excess.mean(0), null, floor=_ROUNDING).reshape(values.shape[1:])


def _head_table(scores: tuple[HeadScores, ...], measured: Measured, settings: Settings) -> Table:
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
        f"A uniform causal row scores: {base}.",
    )


def _sink_table(scores: tuple[HeadScores, ...], measured: Measured, most: int = 40) -> Table:
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
        title="Heads that rest on the first position",
        columns=(Column("head"), Column("first-position attention"), Column("output norm", "of the median head")),
        rows=rows,
        caption=f"{len(resting)} heads give position 0 at least half of their attention"
        f"{f'; the first {most} are listed' if len(resting) > most else ''}. Output norm is the mean of ||z W_O|| over "
        "queries, as a multiple of the model's median head: a head on the sink that still writes is not dormant.",
    )


def _arrays(measured: Measured) -> dict[str, NamedArray]:
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
    measured: Measured,
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
        "excess": "value minus what a head with uniform causal rows would score",
        "threshold": settings.threshold,
        "copy_threshold": settings.copy_threshold,
        "alpha": settings.alpha,
        "copy_tokens": copy_tokens,
        "copy_base_rate": 1.0 / copy_tokens,
        "copy_note": copy_note,
        "permutations": settings.permutations,
        "resamples": settings.resamples,
        "interval": "95 %: Student's quantile for the number of sequences times the spread of a bootstrap over them",
        "null": {m.name: m.null for m in SUITE.measures if not m.null.startswith("none")},
        "best": best,
    }
