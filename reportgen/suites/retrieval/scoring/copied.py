"""Scores of copying on short sequences, from what copying.py measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.models.selfcheck import reasons_for
from reportgen.scores import HeadScores, NamedArray, NotComputed
from reportgen.stats import sign_flip_null, step_down_max_t
from reportgen.suites.base import Context
from reportgen.suites.retrieval.facts import PatchedFacts
from reportgen.suites.retrieval.scoring import copying, papers, patched
from reportgen.suites.retrieval.scoring.documents import Ids, Material
from reportgen.suites.retrieval.scoring.measures import Ratio, held_out
from reportgen.suites.retrieval.scoring.passes import windows, writer
from reportgen.suites.retrieval.suite import SUITE, Settings
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Model

TASKS = {"concept": "entities", "token": "random_tokens", "prefix": "random_tokens"}
WORDS = ("half of the examples", "the other half")
LEAST_POOL = 64  # different tokens that random ones are drawn from
FLIPS = 2_000  # draws at most: sign flips hold a number per head and draw
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Short:
    """Scores, what they are ratios of, and what is missing."""

    scores: tuple[HeadScores, ...] = ()
    ratios: dict[str, Ratio] = field(default_factory=dict)
    halves: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    arrays: dict[str, NamedArray] = field(default_factory=dict)
    missing: tuple[NotComputed, ...] = ()
    facts: tuple[PatchedFacts, ...] = ()


def copied(model: Model, made: Material, settings: Settings, context: Context) -> Short:
    """Concept and token copying by attention and by patching, and induction by a long prefix."""
    if not settings.sequences:
        return Short(missing=(NotComputed("concept, token and prefix", switched_off("retrieval", "sequences")),))
    pool = _pool(model, made)
    if len(pool) < LEAST_POOL or model.record.n_ctx < copying.PREFIX_LENGTH:
        why = f"{len(pool)} different tokens in the texts, at least {LEAST_POOL} are needed"
        if model.record.n_ctx < copying.PREFIX_LENGTH:
            why = f"its context has {model.record.n_ctx} tokens, {copying.PREFIX_LENGTH} are needed"
        return Short(missing=(NotComputed("concept, token and prefix", why),))
    paper, of = settings.preset == "feucht", writer(model)
    found = copying.measure(
        model, replace(of, W_O=[]) if paper else of, pool, settings.sequences, context.seed,
        lambda done, total: context.progress(done, total, "copying"), contrast=not paper,
    )  # fmt: skip
    named = {"concept": found.concept, "token": found.token, "prefix": found.prefix}
    each = {name: values for name, values in named.items() if values is not None}
    rng = np.random.default_rng([context.seed, 56])
    ratios = {name: Ratio(x.astype(np.float64), np.ones(x.shape)) for name, x in each.items()}
    halves = {name: np.arange(len(x)) // 2 % 2 == 0 for name, x in each.items()}
    scores = [_scores(name, of, halves[name], settings, rng) for name, of in ratios.items()]
    missing: tuple[NotComputed, ...] = ()
    if found.concept is None:
        why = f"fewer than {copying.LEAST_ENTITIES} names of each number of tokens in this tokenizer"
        missing = (NotComputed("concept copying", why),)
    attention = {name: one for name, one in zip(ratios, scores, strict=True) if name in patched.COPIED}
    cached = model.keeps_past and min(windows(model)) > copying.LENGTH
    moved = patched.verified(model, pool, attention, settings, context, cached=cached)
    scores = [*(one for one in scores if one.measure != "prefix"), *moved.scores, scores[-1]]
    return Short(
        tuple(scores), ratios, halves, {**_arrays(each, found.shared), **moved.arrays}, (*missing, *moved.missing),
        moved.facts,
    )  # fmt: skip


def _pool(model: Model, made: Material) -> Ids:
    """Tokens of the texts, without what marks them; any token where the texts have too few."""
    marks = {model.tokens.bos_id, model.tokens.unk_id, *model.tokens.encode("\n")}
    ids = np.unique(np.concatenate([doc.ids for doc in made.documents]))
    ids = ids if len(ids) > 2 * LEAST_POOL else np.arange(min(model.tokens.size, model.record.d_vocab))
    return ids[~np.isin(ids, [mark for mark in marks if mark is not None])]


def _scores(
    name: str, of: Ratio, halves: npt.NDArray[np.bool_], settings: Settings, rng: np.random.Generator
) -> HeadScores:  # fmt: skip
    measure, count = SUITE.measure(name), len(of.top)
    low, high = (np.clip(end, *measure.range) for end in of.interval(settings.resamples, rng))
    p, of_paper = None, name in papers.measures(settings.preset)
    if settings.permutations and not of_paper:
        flat = of.top.reshape(count, -1)
        null = sign_flip_null(flat, min(settings.permutations, FLIPS), rng).astype(np.float32)
        p = step_down_max_t(flat.mean(0), null, floor=_ROUNDING).reshape(of.value.shape).astype(np.float32)
    gone = ~np.isfinite(of.value)
    return HeadScores(
        key=f"retrieval/{name}/{TASKS[name]}",
        label=f"{measure.title}{f', {papers.says(settings.preset)}' if of_paper else ''} ({measure.unit})",
        values=of.value.astype(np.float32),
        n=count,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        p=p,
        no_null="" if p is not None else papers.NO_NULL if of_paper else switched_off("retrieval", "permutations"),
        range=measure.range,
        reasons=reasons_for(gone, "attention is not finite on these sequences"),
        held_out=held_out(of, halves, measure.range, settings.resamples, rng, WORDS),
    )


def _arrays(each: Mapping[str, npt.NDArray[np.float32]], shared: npt.NDArray[np.int64]) -> dict[str, NamedArray]:
    made = {f"copies/{name}": NamedArray(("example", "layer", "head"), values) for name, values in each.items()}
    return made | {"shared": NamedArray(("example",), shared.astype(np.int32))}
