"""Scores of copying by patching, of the heads highest in attention and of some at random; NaN for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.models.selfcheck import reasons_for
from reportgen.scores import Control, Head, HeadScores, NamedArray, NotComputed, head_name
from reportgen.stats import sign_flip_null, step_down_max_t
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.retrieval.facts import PatchedFacts
from reportgen.suites.retrieval.scoring import copying, papers, patching
from reportgen.suites.retrieval.scoring.documents import Ids
from reportgen.suites.retrieval.scoring.measures import Ratio, held_out
from reportgen.suites.retrieval.suite import SUITE, Settings
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Model

OFF = switched_off("retrieval", "verified")
WHAT = "copying by patching"
UNVERIFIED = "not verified: its attention is not among the highest, and it was not drawn at random"
COPIED = ("concept", "token")  # measures of attention that have an effect, too
BAND = "random heads"
DRAWN = "the highest of {} heads drawn at random among those that are not highest in attention"
WORDS = {
    "concept_effect": ("half of the entities", "the other half"),
    "token_effect": ("half of the examples", "the other half"),
}
FLIPS = 2_000  # draws at most: sign flips hold a number per head and draw
_ROUNDING = 1e-6
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Verified:
    """What came of patching."""

    scores: tuple[HeadScores, ...] = ()
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)
    facts: tuple[PatchedFacts, ...] = ()
    missing: tuple[NotComputed, ...] = ()


def verified(
    model: Model, pool: Ids, attention: Mapping[str, HeadScores], settings: Settings, context: Context, *, cached: bool
) -> Verified:
    """Patches of the heads highest in `attention`: of concepts, of tokens, or both."""
    if not settings.verified:
        return Verified(missing=(NotComputed(WHAT, OFF),))
    scores, arrays, told = list[HeadScores](), dict[str, NamedArray](), list[PatchedFacts]()
    for number, (name, by) in enumerate(attention.items()):
        rng = np.random.default_rng([context.seed, 57, number])
        picked, units = _picked(model, pool, settings.sequences, rng, concept=name == "concept")
        made = patching.texts(model.tokens, pool, picked, units, concept=name == "concept", rng=rng)
        highest, random = choose(by, settings.verified, settings.sampled, rng)
        heads = sorted([*highest, *random])

        def told_of(done: int, total: int, number: int = number) -> None:
            context.progress(number * total + done, len(attention) * total, "patching")

        moved = patching.patched(model, made, heads, told_of, cached=cached)
        scores.append(_scores(f"{name}_effect", by, moved, made.units, heads, random, settings, rng))
        arrays[f"patched/{name}"] = NamedArray(
            ("unit", "example", "head"), moved.change,
            {"unit": patching.UNITS, "head": tuple(head_name(*head) for head in heads)},
        )  # fmt: skip
        told.append(_told(name, moved, made.units, highest, random))
    return Verified(tuple(scores), arrays, tuple(told))


def _picked(
    model: Model, pool: Ids, count: int, rng: np.random.Generator, *, concept: bool
) -> tuple[list[list[int]], npt.NDArray[np.int64]]:  # fmt: skip
    """Entities, or as many random tokens, of every size in turn; and which are the same."""
    known = copying.entities(model.tokens)
    if not concept:
        sizes = list(known) or list(copying.SIZES[:3])
        made = [rng.choice(pool, sizes[i % len(sizes)], replace=False).tolist() for i in range(count)]
        return made, np.arange(count)
    each = -(-count // len(known))
    made, units = list[list[int]](), list[int]()
    for size, entities in known.items():
        some = copying.picks(rng, len(entities), each)
        made += [entities[int(i)] for i in some]
        units += [1000 * size + int(i) for i in some]
    return made, np.asarray(units)


def choose(by: HeadScores, verified: int, sampled: int, rng: np.random.Generator) -> tuple[list[Head], list[Head]]:
    """The heads highest in attention, and some of the others at random."""
    ranked = by.ranking()
    highest, others = ranked[:verified], ranked[verified:]
    drawn = rng.permutation(len(others))[:sampled].tolist()
    return highest, sorted(others[i] for i in drawn)


def _told(
    name: str, moved: patching.Moved, units: npt.NDArray[np.int64], highest: Sequence[Head], random: Sequence[Head]
) -> PatchedFacts:  # fmt: skip
    intact, corrupted = (facts.Number(each[0].mean()) for each in (moved.intact, moved.corrupted))
    return PatchedFacts(
        of=name, entities=len(np.unique(units)), intact=intact, corrupted=corrupted,
        highest=[head_name(*head) for head in highest], random=[head_name(*head) for head in random],
    )  # fmt: skip


def _scores(
    name: str, by: HeadScores, moved: patching.Moved, units: npt.NDArray[np.int64], heads: Sequence[Head],
    random: Sequence[Head], settings: Settings, rng: np.random.Generator,
) -> HeadScores:  # fmt: skip
    measure, of_paper = SUITE.measure(name), name in papers.measures(settings.preset)
    of = _of_units(moved.change[int(of_paper)], units, heads, (by.values.shape[0], by.values.shape[1]))
    low, high = of.interval(settings.resamples, rng)
    p = None
    if settings.permutations and not of_paper:
        flat = of.top.reshape(len(of.top), -1)
        null = sign_flip_null(flat, min(settings.permutations, FLIPS), rng).astype(np.float32)
        p = step_down_max_t(flat.mean(0), null, floor=_ROUNDING).reshape(of.value.shape).astype(np.float32)
    gone = ~np.isfinite(of.value)
    unit = patching.UNITS[int(of_paper)]
    return HeadScores(
        key=f"retrieval/{name}/{by.task}",
        label=f"{measure.title}{f', {papers.says(settings.preset)}' if of_paper else ''} ({unit})",
        values=of.value.astype(np.float32),
        n=len(units),
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        p=p,
        no_null="" if p is not None else papers.NO_NULL if of_paper else switched_off("retrieval", "permutations"),
        reasons=reasons_for(gone, UNVERIFIED),
        held_out=held_out(of, np.arange(len(of.top)) % 2 == 0, measure.range, settings.resamples, rng, WORDS[name]),
        controls=_band(of, random),
    )


def _band(of: Ratio, random: Sequence[Head]) -> tuple[Control, ...]:
    """The highest of the heads that were drawn at random."""
    values = [float(of.value[head]) for head in random if np.isfinite(of.value[head])]
    return (Control(BAND, max(values), meaning=DRAWN.format(len(values))),) if values else ()


def _of_units(
    change: npt.NDArray[np.float32], units: npt.NDArray[np.int64], heads: Sequence[Head], shape: tuple[int, int]
) -> Ratio:  # fmt: skip
    """Per entity, [entity layer head]: sums over its examples, and how many they are; NaN for other heads."""
    values, member = np.unique(units, return_inverse=True)
    each = np.zeros((len(values), len(heads)))
    np.add.at(each, member, change.astype(np.float64))
    top = np.full((len(values), *shape), np.nan)
    for at, head in enumerate(heads):
        top[:, head[0], head[1]] = each[:, at]
    below = np.bincount(member).astype(float)
    return Ratio(top, np.broadcast_to(below[:, None, None], top.shape).copy())
