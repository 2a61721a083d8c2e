"""The causal check: every function's heads removed, every function's questions asked.

Heads are ranked on the selection split and removed on the test split. Sets have one size for all functions, so that a
function with more heads does not lose more; the elbow's own sets stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from reportgen.models.past import check_cache
from reportgen.suites.cognitive.ablation_run import Outcome, Question, Variants, neutral_loss
from reportgen.suites.cognitive.ablation_sets import Matched, curve_sizes, equal_size, matched_sets
from reportgen.suites.cognitive.prompts import Encoded

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
HOWS = ("mean", "scale")


@dataclass(frozen=True)
class Plan:
    """What is removed. ranked: per function all heads by falling importance; elbows: heads before the elbow.

    how, scale    the main matrix's change ("mean" or "scale") and the factor of "scale"
    size          heads removed per function in the matrix; 0 = a twelfth;  rule "elbow": the elbow's sets instead
    random_sets   random sets per function at that size;  curve_sets: those behind the curves
    """

    ranked: Sequence[Ints]
    elbows: Sequence[int]
    rule: str
    how: str
    scale: float
    size: int
    random_sets: int
    curve_sets: int


@dataclass(frozen=True)
class Effects:
    """What came out, item by item; items are the test rows in order.

    label [item]; chain [item]; intact [item] log-probability; right [item]
    logprob, correct, unchanged   how -> [item function]: with that function's heads removed
    elbow         [item] log-probability with the own function's elbow heads removed;  elbow_right [item]
    random        [item set] log-probability with random sets like the own function's;  random_right [item set]
    curve_right, curve_unchanged          [item size];  random_curve_*  [item set size]
    sizes         heads removed along the curves;  set_sizes: heads per function in the matrix
    neutral       [1 + function] loss on plain text, intact first
    fallbacks     (layer, norm, draws) of the random sets
    """

    label: Ints
    chain: tuple[str, ...]
    intact: Floats
    right: Bools
    logprob: dict[str, Floats]
    correct: dict[str, Bools]
    unchanged: dict[str, Bools]
    elbow: Floats
    elbow_right: Bools
    random: Floats
    random_right: Bools
    curve_right: Bools
    curve_unchanged: Bools
    random_curve_right: Bools
    random_curve_unchanged: Bools
    sizes: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    neutral: Floats
    fallbacks: tuple[int, int, int]
    cached: bool


@dataclass(frozen=True)
class _Function:
    """The variants that only this function's own questions are asked under."""

    variants: Variants
    random: int
    curve: int
    sizes: tuple[int, ...]


def effects(
    model: Model,
    rows: Sequence[Encoded],
    labels: Ints,
    chains: Sequence[str],
    texts: Sequence[Sequence[int]],
    z: Tensor,
    norms: Floats,
    active: Bools,
    plan: Plan,
    rng: np.random.Generator,
    batch: int,
    progress: Callable[[int, int, str], None],
) -> Effects:
    """Run everything. z [row layer head d_head]: head outputs of the train rows, whose mean replaces a removed head;
    norms [layer head] how much removing a head takes away; active [layer head] heads that may be removed."""
    shape = (model.record.n_layers, model.record.n_heads)
    size = equal_size(int(active.sum()), plan.size)
    sets = [
        tuple(r[: e if plan.rule == "elbow" else size].tolist()) for r, e in zip(plan.ranked, plan.elbows, strict=True)
    ]
    common = Variants.stacked([Variants.removed(sets, shape, how, plan.scale) for how in HOWS])
    mean = z.float().mean(0)
    cached = check_cache(model)
    own, draws = [], [0, 0, 0]
    for function in range(len(sets)):
        made, matched = _own(plan, function, sets, shape, norms, active, rng)
        own.append(made)
        for m in matched:
            draws = [draws[0] + m.layer_fallbacks, draws[1] + m.norm_fallbacks, draws[2] + m.sets.size]
    found: list[tuple[Question, Outcome, Outcome]] = []
    for i, row in enumerate(rows):
        progress(i, len(rows), "ablation")
        question = Question(model, row, mean, cached=cached)
        found.append((question, question.outcome(common), question.outcome(own[labels[i]].variants)))
    removed = Variants.removed([(), *sets], shape, plan.how, plan.scale)
    neutral = neutral_loss(model, texts, mean, removed, batch) if texts else np.full(len(sets) + 1, np.nan)
    return _gathered(found, own, labels, tuple(chains), sets, neutral, (draws[0], draws[1], draws[2]), cached)


def _own(
    plan: Plan, function: int, sets: Sequence[Sequence[int]], shape: tuple[int, int], norms: Floats, active: Bools,
    rng: np.random.Generator,
) -> tuple[_Function, list[Matched]]:  # fmt: skip
    """Elbow set, random sets of the matrix's size, then the curve of the own heads and of random ones."""
    ranked, mine = plan.ranked[function], sets[function]
    sizes = curve_sizes(int(active.sum()))
    leading = ranked[: sizes[-1]].tolist()
    random = matched_sets(mine, mine, active, norms, plan.random_sets, rng)
    curve = matched_sets(leading, leading, active, norms, plan.curve_sets, rng)
    steps = [n for n in sizes[1:] if n <= curve.sets.shape[1]]
    off: list[Sequence[int]] = [ranked[: plan.elbows[function]].tolist(), *random.sets.tolist()]
    off += [ranked[:n].tolist() for n in steps]
    off += [row[:n].tolist() for row in curve.sets for n in steps]
    variants = Variants.removed(off, shape, plan.how, plan.scale)
    return _Function(variants, len(random.sets), len(curve.sets), (0, *steps)), [random, curve]


def _gathered(
    found: Sequence[tuple[Question, Outcome, Outcome]], own: Sequence[_Function], labels: Ints, chains: tuple[str, ...],
    sets: Sequence[tuple[int, ...]], neutral: Floats, fallbacks: tuple[int, int, int], cached: bool,
) -> Effects:  # fmt: skip
    n, first = len(sets), own[0]
    right = np.array([q.right for q, _, _ in found])
    start = 1 + first.random
    steps = len(first.sizes) - 1

    def curve(name: str, intact: Bools) -> tuple[Bools, Bools]:
        values = np.array([getattr(o, name)[start:] for _, _, o in found])
        mine, others = values[:, :steps], values[:, steps:].reshape(len(found), first.curve, steps)
        at_none = np.broadcast_to(intact[:, None, None], (len(found), first.curve, 1))
        return np.column_stack([intact, mine]), np.concatenate([at_none, others], axis=2)

    def matrix(name: str) -> dict[str, npt.NDArray[np.generic]]:
        values = np.array([getattr(o, name) for _, o, _ in found])
        return {how: values[:, i * n : (i + 1) * n] for i, how in enumerate(HOWS)}

    curve_right, random_curve_right = curve("right", right)
    curve_unchanged, random_curve_unchanged = curve("unchanged", np.ones(len(found), dtype=bool))
    return Effects(
        label=labels,
        chain=chains,
        intact=np.array([q.intact for q, _, _ in found]),
        right=right,
        logprob=matrix("logprob"),  # type: ignore[arg-type]
        correct=matrix("right"),  # type: ignore[arg-type]
        unchanged=matrix("unchanged"),  # type: ignore[arg-type]
        elbow=np.array([o.logprob[0] for _, _, o in found]),
        elbow_right=np.array([o.right[0] for _, _, o in found]),
        random=np.array([o.logprob[1:start] for _, _, o in found]),
        random_right=np.array([o.right[1:start] for _, _, o in found]),
        curve_right=curve_right,
        curve_unchanged=curve_unchanged,
        random_curve_right=random_curve_right,
        random_curve_unchanged=random_curve_unchanged,
        sizes=first.sizes,
        sets=tuple(sets),
        neutral=neutral,
        fallbacks=fallbacks,
        cached=cached,
    )
