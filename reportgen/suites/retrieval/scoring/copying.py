"""Copying on short sequences: concepts of several tokens, tokens one by one, and what follows a long shared prefix.

    concept, token   [BOS] r_1..r_m  e_1..e_n  line end  r_1..r_m      the last query, where e_1 comes next
    prefix           ... p_1..p_L c ... x p_L d ... p_1..p_L           the last query; c or d stands first

`r` are random tokens, `e` an entity or as many random tokens. Attention is weighted by what is written: pattern times
||v_k W_O||, over its sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.retrieval import layout
from reportgen.suites.retrieval.scoring.documents import Ids
from reportgen.suites.retrieval.scoring.passes import Writer

if TYPE_CHECKING:
    from reportgen.models.model import Hooks, Model
    from reportgen.models.tokens import Tokens

LENGTH = 30  # tokens of a sequence with an entity
SIZES = (2, 3, 4, 5)  # tokens of an entity
LEAST_ENTITIES = 40  # of a size: with fewer it is left out
PREFIXES = (2, 4, 8)  # tokens that the end shares with one of two places; the other shares the last alone
PREFIX_LENGTH = 60
_BATCH = 32
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Copies:
    """Per example and head [example layer head].

    concept  to e_n of an entity, less the same for random tokens in its place
    token    to e_1 of random tokens, less the same where the tokens before it do not come again
    prefix   to c, less to d;  shared [example] L
    sizes    entity sizes that were used -> entities of that size
    """

    concept: Floats | None
    token: Floats
    prefix: Floats
    shared: npt.NDArray[np.int64]
    sizes: dict[int, int]


def entities(tokens: Tokens) -> dict[int, list[list[int]]]:
    """Size -> ids of the shipped names and compounds of that many tokens; sizes with fewer than 40 are left out."""
    found: dict[int, list[list[int]]] = {size: [] for size in SIZES}
    for text in layout.ENTITIES.read_text("utf-8").splitlines():
        ids = tokens.following("the", f" {text}")
        if ids is not None and len(ids) in found and tokens.unk_id not in ids:
            found[len(ids)].append(ids)
    return {size: each for size, each in found.items() if len(each) >= LEAST_ENTITIES}


def measure(
    model: Model, of: Writer, pool: Ids, count: int, seed: int, told: Callable[[int, int], None], *,
    contrast: bool = True,
) -> Copies:  # fmt: skip
    """`count` examples of each kind; `pool` are the tokens that random ones are drawn from.

    contrast  less what the controls get; without it concept and token are as in the paper
    """
    rng, known = np.random.default_rng([seed, 55]), entities(model.tokens)
    sizes = list(known) or list(SIZES[:3])
    concept, token = list[Floats](), list[Floats]()
    total = len(sizes) + len(PREFIXES)
    for done, size in enumerate(sizes, 1):
        each = -(-count // len(sizes))
        picked = [known[size][int(i)] for i in picks(rng, len(known[size]), each)] if known else []
        rows, at = _rows(model.tokens, pool, picked, size, each, rng)
        mass = [_weighted(model, of, some, at) for some in rows]  # per kind [example place layer head]
        if picked:
            concept.append(mass[2][:, 1] - contrast * mass[0][:, 1])
        token.append(mass[0][:, 0] - contrast * mass[1][:, 0])
        told(done, total)
    prefix, shared = list[Floats](), list[int]()
    for done, length in enumerate(PREFIXES, 1 + len(sizes)):
        each = -(-count // len(PREFIXES))
        rows_, places = _prefixes(model.tokens, pool, length, each, rng)
        mass_ = _plain(model, rows_, places)  # [example place layer head]
        prefix.append(mass_[:, 0] - mass_[:, 1])
        shared += [length] * each
        told(done, total)
    return Copies(
        np.concatenate(concept) if concept else None, np.concatenate(token), np.concatenate(prefix), np.array(shared),
        {size: len(known[size]) for size in known},
    )  # fmt: skip


def picks(rng: np.random.Generator, size: int, count: int) -> Ids:
    """Places 0..size-1 in random order, over again where there are more."""
    return np.concatenate([rng.permutation(size) for _ in range(-(-count // size))])[:count]


def _rows(
    tokens: Tokens, pool: Ids, picked: Sequence[Sequence[int]], size: int, count: int, rng: np.random.Generator
) -> tuple[list[Tensor], tuple[int, int]]:
    """Sequences [example pos] with random tokens as entity, the same with other tokens before it, and with entities;
    the places of e_1 and e_n."""
    start = [] if tokens.bos_id is None else [tokens.bos_id]
    line = (tokens.encode("\n") or [int(pool[0])])[-1]
    m = (LENGTH - len(start) - size - 1) // 2
    made: list[list[list[int]]] = [[], [], []]
    for i in range(count):
        drawn = rng.choice(pool, 2 * m + size, replace=False).tolist()
        repeated, others, random = drawn[:m], drawn[m : 2 * m], drawn[2 * m :]
        made[0].append([*start, *repeated, *random, line, *repeated])
        made[1].append([*start, *others, *random, line, *repeated])
        if picked:
            made[2].append([*start, *repeated, *picked[i], line, *repeated])
    first = len(start) + m
    return [torch.tensor(rows) for rows in made if rows], (first, first + size - 1)


def _weighted(model: Model, of: Writer, rows: Tensor, at: Sequence[int]) -> Floats:
    """[example place layer head] value-weighted attention of the last query to the places."""
    layers, group = range(model.record.n_layers), model.record.n_heads // model.record.n_kv_heads
    grams = [torch.einsum("hed,hfd->hef", W, W) for W in of.W_O] if of.W_O else None
    norms: dict[int, Tensor] = {}
    found: dict[int, Tensor] = {}

    def see_v(layer: int, v: Tensor) -> None:
        v = v.float().repeat_interleave(group, 2)  # [example key head d_head]
        gram = torch.eye(v.shape[-1], device=v.device).expand(v.shape[2], -1, -1) if grams is None else grams[layer]
        norms[layer] = torch.einsum("bkhe,hef,bkhf->bhk", v, gram, v).clamp_min(0).sqrt()

    def see_pattern(layer: int, pattern: Tensor) -> None:
        weight = pattern[:, :, -1].float() * norms.pop(layer)
        found[layer] = (weight / weight.sum(-1, keepdim=True).clamp_min(1e-30))[:, :, list(at)]

    hooks: Hooks = {
        **{("v", layer): partial(see_v, layer) for layer in layers},
        **{("pattern", layer): partial(see_pattern, layer) for layer in layers},
    }
    return _in_batches(model, rows, hooks, found)


def _in_batches(model: Model, rows: Tensor, hooks: Hooks, found: dict[int, Tensor]) -> Floats:
    """[example place layer head] of what the hooks leave per layer, [example head place]."""
    made = []
    for some in torch.split(rows, _BATCH):
        model.run(some, hooks, last=True)
        made.append(torch.stack([found[layer] for layer in sorted(found)], 1).movedim(3, 1).cpu().numpy())
        found.clear()
    return np.concatenate(made).astype(np.float32)


def _prefixes(
    tokens: Tokens, pool: Ids, length: int, count: int, rng: np.random.Generator
) -> tuple[Tensor, list[tuple[int, int]]]:  # fmt: skip
    """Sequences [example pos], and per example the places of c and d; in every other one d stands first."""
    start = [] if tokens.bos_id is None else [tokens.bos_id]
    gap = (PREFIX_LENGTH - len(start) - 2 * length - 2 - length) // 3
    rows, places = [], []
    for i in range(count):
        drawn = rng.choice(pool, length + 2 + length - 1 + 3 * gap, replace=False).tolist()
        shared, c, d = drawn[:length], drawn[length], drawn[length + 1]
        near = [*drawn[length + 2 : 2 * length + 1], shared[-1], d]  # other tokens, then the last of the prefix
        fill = [drawn[2 * length + 1 + n * gap :][:gap] for n in range(3)]
        blocks = ([*shared, c], near) if i % 2 == 0 else (near, [*shared, c])
        row = [*start, *fill[0], *blocks[0], *fill[1], *blocks[1], *fill[2], *shared]
        rows.append(row)
        places.append((row.index(c), row.index(d)))
    return torch.tensor(rows), places


def _plain(model: Model, rows: Tensor, places: Sequence[tuple[int, int]]) -> Floats:
    """[example place layer head] attention of the last query to two places of each example."""
    found: dict[int, Tensor] = {}
    at = torch.tensor(places, device=model.device)
    made = []
    for first in range(0, len(rows), _BATCH):
        some = at[first : first + _BATCH]

        def see(layer: int, pattern: Tensor, some: Tensor = some) -> None:
            row = pattern[:, :, -1].float()  # [example head key]
            found[layer] = row.gather(2, some[:, None].expand(-1, row.shape[1], -1))

        hooks: Hooks = {("pattern", layer): partial(see, layer) for layer in range(model.record.n_layers)}
        made.append(_in_batches(model, rows[first : first + _BATCH], hooks, found))
    return np.concatenate(made)
