"""Heads removed while a question is read and answered: does recall fall, more than without other heads like them?

Heads are picked on one half of the documents and removed on the other, which is about other things. Removed means: at
the positions of question and answer, not of the document, a head's z is the mean that it has at such positions of the
document's other questions. The document's keys and values stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.scores import Head
from reportgen.stats import bootstrap_interval
from reportgen.suites import ov
from reportgen.suites.facts import Number
from reportgen.suites.retrieval.facts import Ablated
from reportgen.suites.retrieval.scoring.documents import Asked, Document, asked_of
from reportgen.suites.retrieval.scoring.measures import Floats, Ratio
from reportgen.suites.retrieval.scoring.passes import WHOLE, answers, prefill

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model
    from reportgen.models.prefix_cache import Past

SIZES = (1, 2, 5, 10, 20, 50)
COMPARED = (5, 20)  # sizes that random sets are drawn for
MOST_SHARE = 0.1  # of all heads that are removed at once; no random set holds one of the highest of this share
EVERYWHERE = 10  # heads that are also removed at every position
LEAST = 2  # documents of the other half
LEAST_QUESTIONS = 2  # of a document: a mean over others needs one


@dataclass(frozen=True, eq=False)
class Removal:
    """What is removed at once.

    by     the measure that ranked the heads;  heads  the highest
    other  random sets like them; fallbacks  (nearest layer, nearest norm)
    """

    by: str
    heads: tuple[Head, ...]
    other: tuple[tuple[Head, ...], ...] = ()
    fallbacks: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Results:
    """Of every removal, and of the whole model: share right and mean log p; near: the fact said again.

    everywhere  heads removed at every position of document and question, share right, mean log p
    """

    sets: tuple[Ablated, ...]
    recall: float
    logp: float
    near: float
    documents: int
    everywhere: tuple[int, float, float] = (0, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Held:
    """A document of the other half, with its questions, also with the fact said right before them.

    z    [question pos layer head d_head] of the questions
    """

    past: Past
    asked: tuple[Asked, ...]
    near: tuple[Asked, ...]
    z: Tensor
    near_z: Tensor


def ablate(
    model: Model, documents: Sequence[Document], ratios: Mapping[str, Ratio], halves: npt.NDArray[np.bool_],
    *, sets: int, draws: int, chat: bool, cached: bool, seed: int, told: Callable[[int, int], None],
) -> Results | None:  # fmt: skip
    """None with fewer than two documents in either half, or too few heads."""
    others = [doc for doc, first in zip(documents, halves, strict=True) if not first]
    others = [doc for doc in others if len(doc.needles) >= LEAST_QUESTIONS]
    most = int(MOST_SHARE * model.record.n_layers * model.record.n_heads)
    if len(others) < LEAST or halves.sum() < LEAST or most < 1:
        return None
    rng = np.random.default_rng([seed, 54])
    held = [_held(model, doc, chat=chat, cached=cached) for doc in others]
    removals = _removals(model, ratios, halves, held, most, sets, rng)
    runs = len(held) * (1 + sum(1 + len(one.other) for one in removals))
    done = 0

    def run(heads: Sequence[Head], *, near: bool = False) -> tuple[Floats, Floats]:
        nonlocal done
        found = [_one(model, one, heads, near=near) for one in held]
        done += 0 if near else len(held)
        told(min(done, runs), runs)
        return np.array([a for a, _ in found]), np.array([b for _, b in found])

    whole, near = run(()), run((), near=True)
    everywhere = _everywhere(model, others, removals)
    made = []
    for one in removals:
        right, logp = run(one.heads)
        again = run(one.heads, near=True)[0]
        rest = [run(heads) for heads in one.other]
        made.append(_ablated(one, (right, logp), again, rest, whole[1], draws, rng))
    return Results(
        tuple(made), float(whole[0].mean()), float(whole[1].mean()), float(near[0].mean()), len(held), everywhere
    )


def _held(model: Model, doc: Document, *, chat: bool, cached: bool) -> Held:
    past = prefill(model, doc, cached=cached)
    asked = tuple(needle.asked for needle in doc.needles)
    again = [asked_of(model.tokens, doc, needle, chat, again=True) for needle in doc.needles]
    room = model.record.n_ctx - len(doc.ids)
    near = tuple(one for one in again if one is not None and len(one.ids) <= room)
    return Held(past, asked, near, _z(model, past, asked), _z(model, past, near) if near else torch.empty(0))


def _z(model: Model, past: Past, asked: Sequence[Asked]) -> Tensor:
    """[question pos layer head d_head]"""
    found: dict[int, Tensor] = {}

    def keep(layer: int, z: Tensor) -> None:
        found[layer] = z.clone()

    layers = range(model.record.n_layers)
    answers(model, past, asked, {("z", layer): partial(keep, layer) for layer in layers})
    return torch.stack([found[layer] for layer in layers], 2)


def _removals(
    model: Model, ratios: Mapping[str, Ratio], halves: npt.NDArray[np.bool_], held: Sequence[Held], most: int,
    sets: int, rng: np.random.Generator,
) -> list[Removal]:  # fmt: skip
    """The highest heads by copying and by writing on the first half, and random sets like some of them."""
    rows = torch.cat([_answering(one.z, one.asked) for one in held])
    norms = ov.output_norms(model, rows)
    made = []
    for by in ("copy", "write"):
        if by not in ratios or not np.isfinite(values := ratios[by].of(halves).value).any():
            continue
        order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")
        ranked = [(int(i) // values.shape[1], int(i) % values.shape[1]) for i in order]
        allowed = np.ones(values.shape, np.bool_)
        for head in ranked[:most]:
            allowed[head] = False
        for size in SIZES:
            if size > most:
                continue
            heads = tuple(ranked[:size])
            if size not in COMPARED or not sets:
                made.append(Removal(by, heads))
                continue
            drawn = ov.random_sets(heads, allowed, norms, sets, rng)
            other = tuple(tuple(divmod(int(i), values.shape[1]) for i in row) for row in drawn.heads)
            made.append(Removal(by, heads, other, (drawn.layer_fallbacks, drawn.norm_fallbacks)))
    return made


def _answering(z: Tensor, asked: Sequence[Asked]) -> Tensor:
    """[row layer head d_head] of the queries that predict an answer token."""
    return torch.cat([rows[one.answer - 1 : len(one.ids) - 1] for rows, one in zip(z, asked, strict=True)])


def _one(model: Model, held: Held, heads: Sequence[Head], *, near: bool) -> tuple[float, float]:
    """Share of questions answered right, and mean log p of the answers, without these heads."""
    asked, z = (held.near, held.near_z) if near else (held.asked, held.z)
    if len(asked) < LEAST_QUESTIONS:
        return math.nan, math.nan
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    hooks = {("z", layer): _without(z[:, :, layer], asked, some) for layer, some in by_layer.items()}
    right, logp = answers(model, held.past, asked, hooks)
    return float(right.float().mean()), float(logp.mean())


def _without(z: Tensor, asked: Sequence[Asked], heads: Sequence[int]) -> HookFn:
    """Put the mean of the other questions into these heads: of positions before the answer, and of those that give it.

    z [question pos head d_head] of the whole model
    """
    at = torch.arange(z.shape[1], device=z.device)
    answer = torch.tensor([one.answer - 1 for one in asked], device=z.device)[:, None]
    last = torch.tensor([len(one.ids) - 1 for one in asked], device=z.device)[:, None]
    classes = torch.stack([at < answer, (at >= answer) & (at < last)]).float()  # [class question pos]
    sums = torch.einsum("cqp,qphe->cqhe", classes, z.float())
    counts = classes.sum(-1)[..., None, None]
    mean = (sums.sum(1, keepdim=True) - sums) / (counts.sum(1, keepdim=True) - counts).clamp_min(1)
    fill = torch.where((at < answer)[..., None, None], mean[0][:, None], mean[1][:, None])  # [question pos head d_head]

    def hook(given: Tensor) -> Tensor:
        out = given.clone()
        out[:, :, heads] = fill[:, :, heads].to(given.dtype)
        return out

    return hook


def _everywhere(model: Model, documents: Sequence[Document], removals: Sequence[Removal]) -> tuple[int, float, float]:
    """Without the highest `EVERYWHERE` heads by copying at all positions, the document run anew for every question.

    z is the head's mean over the document. (0, NaN, NaN) without so many heads, or with documents that are too long.
    """
    one = next((one for one in removals if len(one.heads) == EVERYWHERE and one.by == "copy"), None)
    if one is None or max(len(doc.ids) for doc in documents) > WHOLE:
        return 0, math.nan, math.nan
    right, logp = list[float](), list[float]()
    for doc in documents:
        hooks = _means(model, doc, one.heads)
        for needle in doc.needles:
            asked, n = needle.asked, len(needle.asked.expected)
            prompt = torch.from_numpy(np.concatenate([doc.ids, asked.ids[:-1]]))[None]
            found = model.run(prompt, hooks)[0, -n:].log_softmax(-1).cpu()
            expected = torch.from_numpy(asked.expected)
            right.append(float((found.argmax(-1) == expected).all()))
            logp.append(float(found.gather(-1, expected[:, None]).sum()))
    return EVERYWHERE, float(np.mean(right)), float(np.mean(logp))


def _means(model: Model, doc: Document, heads: Sequence[Head]) -> dict[tuple[str, int], HookFn]:
    """Hooks that put the mean over the document into these heads, at every position."""
    means: dict[int, Tensor] = {}

    def keep(layer: int, z: Tensor) -> None:
        means[layer] = z.float().mean((0, 1))  # [head d_head]

    def put(layer: int, some: list[int], z: Tensor) -> Tensor:
        out = z.clone()
        out[:, :, some] = means[layer][some].to(z.dtype)
        return out

    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    reading = {("z", layer): partial(keep, layer) for layer in by_layer}
    model.run(torch.from_numpy(doc.ids)[None], reading, last=True)
    return {("z", layer): partial(put, layer, some) for layer, some in by_layer.items()}


def _ablated(
    removal: Removal, found: tuple[Floats, Floats], near: Floats, rest: Sequence[tuple[Floats, Floats]], whole: Floats,
    draws: int, rng: np.random.Generator,
) -> Ablated:  # fmt: skip
    """Against the random sets, paired by document."""
    right, logp = found
    made = Ablated(
        by=removal.by, heads=len(removal.heads), recall=Number(right.mean()), logp=Number(logp.mean()),
        near=Number(near.mean()), other_layer=removal.fallbacks[0], other_norm=removal.fallbacks[1],
    )  # fmt: skip
    if not rest:
        return made
    others = np.stack([one[1] for one in rest])  # [set document]
    beyond = others.mean(0) - logp
    low, high = bootstrap_interval(beyond[:, None], list(range(len(beyond))), rng, draws=draws)
    made.random = [Number(x) for x in others.mean(1)]
    made.random_recall = [Number(one[0].mean()) for one in rest]
    made.drop, made.low, made.high = Number(beyond.mean()), Number(low[0]), Number(high[0])
    made.p = Number((1 + int((others.mean(1) <= logp.mean()).sum())) / (len(rest) + 1))
    return made
