"""Copying by patching: one head's output where an entity comes next, taken from a text that has told the entity.

    intact     [BOS]  r_0..r_m  e_1..e_n     line end  r_1..r_m  e_1
    corrupted  [BOS]  as many other tokens   line end  r_1..r_m  e_1

In the corrupted text z of one head at r_m, where e_1 comes next, becomes what it is in the intact one. `concept`: log
P(e_2) one position on; `token`: log P(e_1) at that position, where the text ends. r_0 stands there where the lengths
would else differ.
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

from reportgen.models.prefix_cache import Past, last_logits
from reportgen.scores import Head
from reportgen.suites.retrieval.scoring.copying import LENGTH
from reportgen.suites.retrieval.scoring.documents import Ids

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

UNITS = ("nats", "probability")
ROWS = 64  # examples of a pass
LOGITS = 2**24  # float32 logits of a pass: 64 MB
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Texts:
    """intact, corrupted [example pos], which end before the token in question; answers [example] that token.

    after  positions behind the one where z is put in place: 1 for `concept`, 0 for `token`
    units  [example] the same number: the same entity
    """

    intact: Tensor
    corrupted: Tensor
    answers: Tensor
    after: int
    units: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moved:
    """change [unit example head] by each head; intact, corrupted [unit example] without a patch."""

    change: Floats
    intact: Floats
    corrupted: Floats


def texts(
    tokens: Tokens, pool: Ids, picked: Sequence[Sequence[int]], units: npt.NDArray[np.int64], *, concept: bool,
    rng: np.random.Generator,
) -> Texts:  # fmt: skip
    """A pair of texts for each entity; `pool` are the tokens that random ones are drawn from."""
    start = [] if tokens.bos_id is None else [tokens.bos_id]
    line = (tokens.encode("\n") or [int(pool[0])])[-1]
    after = int(concept)
    intact, corrupted, answers = list[list[int]](), list[list[int]](), list[int]()
    for entity in picked:
        spare = LENGTH - len(start) - len(entity) - 1
        m = spare // 2
        drawn = rng.choice(pool[~np.isin(pool, entity)], 2 * (spare - m) + len(entity), replace=False).tolist()
        told, others = drawn[: spare - m], drawn[spare - m :]
        end = [line, *told[-m:], *entity[:after]]
        intact.append([*start, *told, *entity, *end])
        corrupted.append([*start, *others, *end])
        answers.append(entity[after])
    return Texts(torch.tensor(intact), torch.tensor(corrupted), torch.tensor(answers), after, units)


def patched(
    model: Model, made: Texts, heads: Sequence[Head], told: Callable[[int, int], None], *, cached: bool
) -> Moved:
    """What every head changes alone. Blocks below its own are not run again, where there is a cache."""
    by_layer: dict[int, list[int]] = {}
    for at, (layer, _) in enumerate(heads):
        by_layer.setdefault(layer, []).append(at)
    starts = range(0, len(made.answers), ROWS)
    parts, total = [], len(starts) * len(by_layer)
    for number, at in enumerate(starts):
        some = slice(at, at + ROWS)
        rows = _Rows.of(model, made.intact[some], made.corrupted[some], made.answers[some], made.after, cached=cached)
        change = torch.zeros(len(UNITS), len(rows.answers), len(heads))
        for done, (layer, which) in enumerate(sorted(by_layer.items()), 1):
            change[:, :, which] = rows.changed(layer, [heads[i][1] for i in which]).cpu()
            told(number * len(by_layer) + done, total)
        parts.append((change, rows.intact.cpu(), rows.corrupted.cpu()))
    return Moved(*(torch.cat(each, 1).numpy() for each in zip(*parts, strict=True)))


@dataclass(eq=False)
class _Rows:
    """Examples that are run together.

    ids        [example pos] from the position of the patch on;  residual: per layer [example pos d_model] of these
    z          per layer [example head d_head] there, in the intact text
    intact, corrupted  [unit example]
    """

    model: Model
    past: Past
    ids: Tensor
    answers: Tensor
    z: list[Tensor]
    residual: list[Tensor]
    intact: Tensor
    corrupted: Tensor

    @classmethod
    def of(cls, model: Model, intact: Tensor, corrupted: Tensor, answers: Tensor, after: int, *, cached: bool) -> _Rows:
        layers, place, answers = range(model.record.n_layers), -1 - after, answers.to(model.device)
        z: dict[int, Tensor] = {}
        residual: dict[int, Tensor] = {}

        def keep_z(layer: int, given: Tensor) -> None:
            z[layer] = given[:, place].clone()

        def keep_residual(layer: int, given: Tensor) -> None:
            residual[layer] = given.clone()

        whole = model.run(intact, {("z", i): partial(keep_z, i) for i in layers}, last=True)[:, -1]
        past = Past(model, corrupted[:, :place], cached=cached)
        ids = corrupted[:, place:].to(model.device)
        base = last_logits(past, ids, {("resid_pre", i): partial(keep_residual, i) for i in layers})
        return cls(
            model, past, ids, answers, [z[i] for i in layers], [residual[i] for i in layers], _read(whole, answers),
            _read(base, answers),
        )  # fmt: skip

    def changed(self, layer: int, heads: Sequence[int]) -> Tensor:
        """[unit example head] the change by each head of a layer, alone."""
        n = len(self.ids)
        most = max(1, LOGITS // (n * self.model.record.d_vocab))
        found = [self._some(layer, heads[at : at + most]) for at in range(0, len(heads), most)]
        return torch.cat(found, 2) - self.corrupted[:, :, None]

    def _some(self, layer: int, heads: Sequence[int]) -> Tensor:
        n, times = len(self.ids), len(heads)

        def write(z: Tensor) -> Tensor:
            out = z.clone()
            for i, head in enumerate(heads):
                out[i * n : (i + 1) * n, 0, head] = self.z[layer][:, head].to(z.dtype)
            return out

        start = None
        if self.past.cache is not None:
            start = (layer, self.residual[layer].repeat(times, 1, 1))
        logits = last_logits(self.past, self.ids.repeat(times, 1), {("z", layer): write}, start=start)
        return _read(logits, self.answers.repeat(times)).view(len(UNITS), times, n).transpose(1, 2)


def _read(logits: Tensor, answers: Tensor) -> Tensor:
    """[unit row] log P and P of each row's answer, logits [row vocab]."""
    log_p = logits.gather(1, answers[:, None])[:, 0] - torch.stack([row.logsumexp(0) for row in logits])
    return torch.stack([log_p, log_p.exp()])
