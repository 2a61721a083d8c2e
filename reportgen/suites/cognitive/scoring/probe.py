"""The probe of Cognitive Mirrors, many at once, and its importance in closed form.

    p_j = W_own z_j + W_layer zbar + b     one projection shared by all heads j; zbar is the mean over j's layer
    h   = A vec(p) + b1                    no nonlinearity before A
    y   = W2 Dropout(ReLU(h)) + b2         logits of the C functions

Notable decisions:
- Probes that share features are trained as one stack (leading dimension S of every weight): permuted labels, seeds.
- Each member draws its start and its dropout from a generator of its own, so that its result does not depend on which
  others it was stacked with; members of one call share the order of the examples.
- Importance needs no autograd: I_j = 1/p sum_u W2[c,u] 1[h_u > 0] <A_uj, p_j>, and it is linear in p_j, so that it
  splits into the head's own part, the layer's and the bias's. Completeness, p the projection's units:
  p sum_j I_j + sum_u W2[c,u] 1[h_u > 0] b1_u + b2_c = y_c.

Source: arXiv 2512.10978, section 3, and its released code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from reportgen.suites.cognitive.suite import Recipe

EVALUATE_EVERY = 10  # steps between looks at the validation loss
PATIENCE = 3  # looks without a gain
LEAST_GAIN = 0.01  # nats of validation loss
AHEAD = 16  # steps whose random numbers are copied to the device together
_DEAD = 1e-6  # spread relative to the largest: such a feature is constant


@dataclass(frozen=True)
class Features:
    """What a probe sees. own [N layer head d_head] and mean [N layer d_head] | None, float32 on one device."""

    own: Tensor
    mean: Tensor | None

    @property
    def heads(self) -> int:
        return self.own.shape[1] * self.own.shape[2]


def make_features(z: Tensor, train: Tensor, *, standardise: bool, layer_mean: bool) -> Features:
    """Features from head outputs z [N layer head d_head]; centre and spread are those of the rows `train`."""
    own = z.float()
    mean = own.mean(2) if layer_mean else None
    if standardise:
        own = _standardised(own, train)
        mean = None if mean is None else _standardised(mean, train)
    return Features(own.contiguous(), mean)


def _standardised(x: Tensor, train: Tensor) -> Tensor:
    centre, spread = x[train].mean(0), x[train].std(0)
    alive = spread > _DEAD * max(float(spread.max()), 1e-30)
    return torch.where(alive, (x - centre) / spread.clamp_min(1e-30), 0.0)


@dataclass(frozen=True)
class Probes:
    """A stack of S probes: own [S d p], layer [S d p] | None, b [S p], A [S J*p u], b1 [S u], W2 [S u C], b2 [S C]."""

    own: Tensor
    layer: Tensor | None
    b: Tensor
    A: Tensor
    b1: Tensor
    W2: Tensor
    b2: Tensor

    @property
    def weights(self) -> list[Tensor]:
        every = (self.own, self.layer, self.b, self.A, self.b1, self.W2, self.b2)
        return [w for w in every if w is not None]

    def parts(self, features: Features, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """The projections' own and layer parts for these rows: [S n J p] and [S n J p] (repeated over a layer)."""
        z = features.own[rows]  # [n L H d]
        own = _project(z, self.own)  # [S n L H p]
        shape = (own.shape[0], len(rows), -1, own.shape[-1])
        if self.layer is None or features.mean is None:
            return own.reshape(shape), None
        layer = _project(features.mean[rows], self.layer).unsqueeze(3).expand_as(own)
        return own.reshape(shape), layer.reshape(shape)

    def hidden(self, features: Features, rows: Tensor) -> Tensor:
        """[S n u] before the ReLU."""
        own, layer = self.parts(features, rows)
        p = self.b[:, None, None] + (own if layer is None else own + layer)
        return torch.baddbmm(self.b1[:, None], p.flatten(2), self.A)

    def logits(self, features: Features, rows: Tensor, keep: Tensor | None = None) -> Tensor:
        """[S n C]; `keep` [S n u] is the dropout mask, already scaled."""
        active = self.hidden(features, rows).relu()
        return torch.baddbmm(self.b2[:, None], active if keep is None else active * keep, self.W2)

    def predictions(self, features: Features, rows: Tensor) -> Tensor:
        """[S n] most likely function."""
        with torch.no_grad():
            return self.logits(features, rows).argmax(-1)


def _project(z: Tensor, weights: Tensor) -> Tensor:
    """z [n ... d] times weights [S d p] as one product: [S n ... p]."""
    stack, d, p = weights.shape
    flat = z.reshape(-1, d) @ weights.permute(1, 0, 2).reshape(d, stack * p)
    return flat.view(*z.shape[:-1], stack, p).movedim(-2, 0)


def fresh(
    features: Features, classes: int, recipe: Recipe, seeds: Sequence[int]
) -> tuple[Probes, list[torch.Generator]]:
    """Untrained probes, one per seed, drawn as torch.nn.Linear draws: uniform within 1/sqrt(inputs)."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    d, p, u = features.own.shape[-1], recipe.proj, recipe.hidden
    inputs = 2 * d if features.mean is not None else d
    device = features.own.device

    def draw(fan_in: int, *shape: int) -> Tensor:
        values = torch.stack([torch.rand(shape, generator=g) for g in generators])
        return ((2 * values - 1) / math.sqrt(fan_in)).to(device)

    own = draw(inputs, d, p)
    layer = draw(inputs, d, p) if features.mean is not None else None
    wide = features.heads * p
    rest = (draw(inputs, p), draw(wide, wide, u), draw(wide, u), draw(u, u, classes), draw(u, classes))
    return Probes(own, layer, *rest), generators


@dataclass(frozen=True)
class Trained:
    """A trained stack; `steps` taken; `validation` loss in nats at every look, where there were any."""

    probes: Probes
    steps: int
    validation: tuple[float, ...] = ()


def train(
    features: Features,
    labels: Tensor,
    rows: Tensor,
    recipe: Recipe,
    steps: int,
    seeds: Sequence[int],
    *,
    classes: int,
    validation: Tensor | None = None,
) -> Trained:
    """Train one probe per seed on labels [S N] of the examples `rows` [n] for `steps` steps.

    With `validation` rows, the stack's mean loss on them is looked at every 10 steps, and training ends when it has
    not fallen by 0.01 nats for 3 looks; `steps` of the result is then the step of the last gain.
    """
    probes, generators = fresh(features, classes, recipe, seeds)
    weights = [w.requires_grad_() for w in probes.weights]
    optimiser = _optimiser(weights, recipe)
    order = torch.Generator().manual_seed(seeds[0])
    turns = _turns(rows, recipe, order, generators, steps)
    looks: list[float] = []
    best, best_step = math.inf, steps
    for step in range(1, steps + 1):
        batch, keep = next(turns)
        with torch.enable_grad():
            logits = probes.logits(features, batch, keep)  # [S n C]
            # Summed over the stack, since no member may see another's gradient scale.
            loss = cross_entropy(logits.flatten(0, 1), labels[:, batch].flatten(), reduction="sum") / len(batch)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
        optimiser.step()
        if validation is not None and step % EVALUATE_EVERY == 0:
            looks.append(_loss(probes, features, labels, validation))
            if looks[-1] < best - LEAST_GAIN:
                best, best_step = looks[-1], step
            elif step >= best_step + PATIENCE * EVALUATE_EVERY:
                break
    for weight in weights:
        weight.requires_grad_(False)
    return Trained(probes, best_step if validation is not None else steps, tuple(looks))


def _turns(
    rows: Tensor, recipe: Recipe, order: torch.Generator, generators: Sequence[torch.Generator], steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, dropout mask [S n u]) of every step, on the device of `rows`: drawn on the CPU, copied AHEAD at a time."""
    here, queue = rows.cpu(), list[Tensor]()
    for start in range(0, steps, AHEAD):
        some = []
        for _ in range(min(AHEAD, steps - start)):
            queue = queue or _epoch(here, recipe, order)
            some.append(queue.pop(0))
        sizes = [len(batch) for batch in some]
        keeps = torch.cat([_dropout(size, recipe, generators) for size in sizes], dim=1).to(rows.device)
        batches = torch.split(torch.cat(some).to(rows.device), sizes)
        yield from zip(batches, torch.split(keeps, sizes, dim=1), strict=True)


def _epoch(rows: Tensor, recipe: Recipe, order: torch.Generator) -> list[Tensor]:
    """The batches of one epoch; a last batch smaller than the others is left out when the order changes every time."""
    if recipe.shuffle:
        rows = rows[torch.randperm(len(rows), generator=order)]
    batches = list(torch.split(rows, recipe.batch))
    return batches[:-1] if recipe.shuffle and len(batches) > 1 and len(batches[-1]) < recipe.batch else batches


def _dropout(n: int, recipe: Recipe, generators: Sequence[torch.Generator]) -> Tensor:
    """[S n u], scaled; every member has a generator of its own."""
    kept = torch.stack([torch.rand(n, recipe.hidden, generator=g) for g in generators]) >= recipe.dropout
    return kept / (1 - recipe.dropout)


def _optimiser(weights: list[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    fused = weights[0].device.type in ("cpu", "cuda")
    if recipe.optimiser == "adam":
        return torch.optim.Adam(weights, lr=recipe.learning_rate, fused=fused)
    return torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)


@torch.no_grad()
def _loss(probes: Probes, features: Features, labels: Tensor, rows: Tensor) -> float:
    logits = probes.logits(features, rows)
    return float(cross_entropy(logits.flatten(0, 1), labels[:, rows].flatten()))


@dataclass(frozen=True)
class Importance:
    """Per example, the true function's importance [S n J] and its three parts, which add up to `total`."""

    total: Tensor
    own: Tensor
    layer: Tensor | None
    bias: Tensor


@torch.no_grad()
def importance(probes: Probes, features: Features, labels: Tensor, rows: Tensor, recipe: Recipe) -> Importance:
    """Importance for each example's own function, labels [S N], in closed form (see the module's head)."""
    own, layer = probes.parts(features, rows)  # [S n J p]
    p = own if layer is None else own + layer
    h = torch.baddbmm(probes.b1[:, None], (p + probes.b[:, None, None]).flatten(2), probes.A)
    members = torch.arange(len(labels), device=labels.device)[:, None]
    through = probes.W2.transpose(1, 2)[members, labels[:, rows]] * (h > 0)  # [S n u] d y_c / d h_u
    slope = torch.bmm(through, probes.A.transpose(1, 2)).view_as(own)  # [S n J p] d y_c / d p_jk
    scale = 1 / own.shape[-1] if recipe.mean_over_units else 1.0
    own_part = scale * (slope * own).sum(-1)
    layer_part = None if layer is None else scale * (slope * layer).sum(-1)
    bias = scale * torch.einsum("snjp,sp->snj", slope, probes.b)
    total = own_part + (0 if layer_part is None else layer_part)
    return Importance(total + bias if recipe.bias_counts else total, own_part, layer_part, bias)
