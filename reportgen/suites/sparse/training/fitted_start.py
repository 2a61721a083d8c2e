"""Initial weights whose gates already cut the dense pattern, for short training runs.

    s[q, k] + shift[q] > 0  with  shift[q] = -(log sum_k exp s[q, k] + log cut)   <=>   pattern[q, k] > cut

A shift shared by all keys of a query moves the gates and keeps the softmax unchanged. The shift a query needs
is nearly linear in the head's input, so it is fitted by least squares and written into the weights: along one unit
direction e of a head's space, keys get the constant SIZE (a key bias) and queries the fitted value. e lies among the
rotary planes that hardly turn over a sequence, where keys and queries hold least; what they held there is given up.

The first position counts as much in the fit as all others together: its one edge, to itself, makes the sink that others
attend to, and if it closes the model breaks (measured on SmolLM2-135M, 24 sequences: KL 0.104 from the dense model
when fitted without this, 0.038 with only that edge kept open).

A head whose shifts are not linear would close edges that it needs. So each head's shifts are moved by the constant that
costs least on the same text: open edges, each worth `cut`, plus the attention weight on closed ones.

Ours, not the paper's. Llama only: other families rotate or normalise queries differently.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reportgen.suites.sparse.training.networks import Llama
from reportgen.suites.sparse.training.texts import Ids

SIZE = 8.0  # of the key bias along e, where keys have nothing else
_SLOW = 0.3  # radians over a sequence below which a rotary plane counts as still
_RIDGE = 1e-3  # of the mean square of the inputs
_ROWS = 16  # sequences per forward pass
_MOVES = (*(0.5 * i for i in range(-4, 17)), 100.0)  # constants tried for a head; the last keeps every edge


@dataclass(frozen=True, eq=False)
class Start:
    """Weights by Hugging Face's names, the config that has room for their biases, and how well shifts were fitted.

    explained: share of the variance of the wanted shifts, [layer head].
    """

    tensors: dict[str, Tensor]
    config: Any
    explained: Tensor


def cut_start(tensors: Mapping[str, Tensor], config: Any, cut: float, ids: Ids, number: torch.dtype) -> Start:
    """Fit on `ids` [sequence pos], training text. `cut`: weight that an edge must carry; `number`: see networks.py."""
    network = _Watched(tensors, config, number)
    network.watch(ids, cut)
    slow = _slow_dimensions(network, ids.shape[1])
    made, explained = dict(tensors), []
    for layer in range(network.n_layers):
        sums, fitted = network.sums[layer], network.shifts[layer]
        explained.append(sums.explained(fitted))
        fitted[-1] += torch.tensor(_MOVES, dtype=torch.float64, device=network.device)[network.costs[layer].argmin(0)]
        made |= _shifted(network, layer, fitted, sums.products[:-1, :-1], slow)
    biased = copy.deepcopy(config)
    biased.attention_bias = True
    return Start(made, biased, torch.stack(explained))


@dataclass(eq=False)
class _Sums:
    """Sums over positions; x is what attention reads with a 1 at its end, t the wanted shifts.

    products  x x' [d_model+1 d_model+1];  wanted  x t' [d_model+1 head];  squares  t**2 [head]
    """

    products: Tensor
    wanted: Tensor
    squares: Tensor

    def add(self, x: Tensor, t: Tensor) -> None:
        self.products += x.T @ x
        self.wanted += x.T @ t
        self.squares += (t**2).sum(0)

    def fitted(self) -> Tensor:
        """[d_model+1 head] least squares; the constant is not held back."""
        ridge = torch.full_like(self.squares[:1], _RIDGE).expand(len(self.products)).clone()
        ridge[-1] = 0.0
        ridged = self.products + torch.diag(ridge * self.products.diagonal().mean())
        found: Tensor = torch.linalg.solve(ridged, self.wanted)
        return found

    def explained(self, fitted: Tensor) -> Tensor:
        """[head] share of the variance of the shifts."""
        left = self.squares - 2 * (fitted * self.wanted).sum(0) + (fitted * (self.products @ fitted)).sum(0)
        return 1 - left / (self.squares - self.wanted[-1] ** 2 / self.products[-1, -1])


class _Watched(Llama):
    """The dense model, which gathers what the fit needs."""

    @torch.no_grad()
    def watch(self, ids: Ids, cut: float) -> None:
        """Run `ids` [sequence pos] twice: for the fit, then for what each of `_MOVES` costs with it.

        Leaves sums, shifts [d_model+1 head] and costs [move head] of every layer.
        """
        self.cut, self.shifts = cut, []
        width = self.tensors["model.embed_tokens.weight"].shape[1] + 1
        zeros = torch.zeros(width, width + self.n_heads + 1, dtype=torch.float64, device=self.device)
        parts = [torch.split(zeros.clone(), [width, self.n_heads, 1], dim=1) for _ in range(self.n_layers)]
        self.sums = [_Sums(products, wanted, rest[: self.n_heads, 0]) for products, wanted, rest in parts]
        self.costs = [torch.zeros(len(_MOVES), self.n_heads, device=self.device) for _ in range(self.n_layers)]
        self._read(ids)
        self.shifts = [sums.fitted() for sums in self.sums]
        self._read(ids)

    def _read(self, ids: Ids) -> None:
        for first in range(0, len(ids), _ROWS):
            self(torch.as_tensor(ids[first : first + _ROWS], device=self.device), None)

    def seen(self, layer: int, x: Tensor, scores: Tensor) -> None:
        inputs = functional.pad(x, (0, 1), value=1.0)
        if not self.shifts:
            shift = -(scores.logsumexp(-1).transpose(1, 2).flatten(0, 1).double() + math.log(self.cut))
            self.sums[layer].add(inputs.flatten(0, 1).double(), shift)
            first = inputs[:, 0].double() * inputs.shape[1] ** 0.5  # weighs as much as all positions together
            self.sums[layer].add(first, shift.view(*inputs.shape[:2], -1)[:, 0] * inputs.shape[1] ** 0.5)
            return
        pattern = scores.softmax(-1)
        moved = scores + (inputs @ self.shifts[layer].float()).transpose(1, 2)[..., None]  # [batch head query key]
        for move, cost in zip(_MOVES, self.costs[layer], strict=True):
            opened = moved > -move
            cost += self.cut * opened.sum((0, 2, 3)) + (pattern * ~opened).sum((0, 2, 3))


def _slow_dimensions(network: Llama, length: int) -> Tensor:
    """Dimensions of a head whose rotary plane turns by less than `_SLOW` over a sequence; the two slowest at least."""
    slow = torch.where(network.frequencies * length < _SLOW)[0]
    planes = slow if len(slow) else torch.tensor([len(network.frequencies) - 1])
    return torch.cat((planes, planes + network.d_head // 2))


def _shifted(network: Llama, layer: int, fitted: Tensor, products: Tensor, slow: Tensor) -> dict[str, Tensor]:
    """The weights and biases of a layer's queries and keys with the shifts [d_model+1 head] in them, and zeros."""
    at, width = f"model.layers.{layer}.self_attn", network.d_head
    queries = network.tensors[f"{at}.q_proj.weight"].double().view(network.n_heads, width, -1).clone()
    keys = network.tensors[f"{at}.k_proj.weight"].double().view(network.n_kv, width, -1).clone()
    asked, told = queries.new_zeros(network.n_heads, width), keys.new_zeros(network.n_kv, width)
    each = network.n_heads // network.n_kv
    for group in range(network.n_kv):
        heads = range(group * each, (group + 1) * each)
        e = _empty_direction(keys[group, slow], [queries[head, slow] for head in heads], products, slow, width)
        told[group] = SIZE * e
        keys[group] -= torch.outer(e, e @ keys[group])
        for head in heads:
            wanted = fitted[:, head] * math.sqrt(width) / SIZE
            queries[head] += torch.outer(e, wanted[:-1] - e @ queries[head])
            asked[head] = e * wanted[-1]
    made = {"q_proj.weight": queries.flatten(0, 1), "q_proj.bias": asked.flatten()}
    made |= {"k_proj.weight": keys.flatten(0, 1), "k_proj.bias": told.flatten()}
    zeros = {"v_proj.bias": network.n_kv * width, "o_proj.bias": len(products)}
    made |= {name: queries.new_zeros(size) for name, size in zeros.items()}
    return {f"{at}.{name}": tensor.float() for name, tensor in made.items()}


def _empty_direction(key: Tensor, queries: list[Tensor], products: Tensor, slow: Tensor, width: int) -> Tensor:
    """[d_head] the unit direction among the slow dimensions along which keys and queries are smallest."""
    total = products.new_zeros(len(slow), len(slow))
    for weight, share in [(key, 1.0), *((query, 1 / len(queries)) for query in queries)]:
        spread = weight @ products @ weight.T
        total += share * spread / spread.diagonal().mean()
    found = products.new_zeros(width)
    found[slow] = torch.linalg.eigh(total)[1][:, 0]
    return found
