"""Quality of a task's circuit: how much of the task it keeps.

Faithfulness f of the circuit and of its complement, against the first k heads by effect and against random sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Floats
from reportgen.scores import Column, Head, NamedArray, NotComputed, Table, head_name
from reportgen.suites.circuits.facts import Added, AddedWay, Bands, Faithfulness, OwnCircuit, Spread, Spreads
from reportgen.suites.circuits.scoring.circuit import ratio_of_means
from reportgen.suites.circuits.scoring.missed_heads import MissedHeadSearch, in_both, unseen_set
from reportgen.suites.circuits.scoring.passes import Batch, Batches, few, patched
from reportgen.suites.circuits.scoring.task_runs import Means, PromptSample, Runs, TaskOutcome
from reportgen.suites.circuits.settings import ABLATED
from reportgen.suites.circuits.tasks.task import Task
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import HookFn


# Random head sets like a given one: as many heads per layer, and of like output norm.
#
# Dormant heads are easy controls, so a head is replaced by one whose output differs between prompts about as much.

NEAREST = 3  # a head is drawn from the nearest three in norm, or the nearer half of what is left in its layer


@dataclass(frozen=True, eq=False)
class DrawnSets:
    """sets [set layer head] bool. Shares over all places of all sets:

    other_layer  drawn from the nearest layer, since its own had no head left
    shared       heads of the given set itself, since no other head was left anywhere
    """

    sets: Bools
    other_layer: float
    shared: float


def random_sets(
    like: Sequence[Head], norms: npt.NDArray[np.floating], count: int, rng: np.random.Generator
) -> DrawnSets:
    """`count` sets of heads like those of `like`; norms [layer head]."""
    sets = np.zeros((count, *norms.shape), bool)
    sizes = np.log(np.maximum(norms, 1e-30))
    own = np.zeros(norms.shape, bool)
    for head in like:
        own[head] = True
    moved = shared = 0
    for drawn in sets:
        for place in rng.permutation(len(like)):
            layer, head = like[place]
            free = ~drawn & ~own
            if not free.any():
                free = ~drawn
                shared += 1
            near = min(np.flatnonzero(free.any(1)), key=lambda at: (abs(at - layer), at))
            moved += int(near != layer)
            left = np.flatnonzero(free[near])
            order = left[np.argsort(np.abs(sizes[near, left] - sizes[layer, head]), kind="stable")]
            drawn[near, rng.choice(order[: max(NEAREST, len(order) // 2)])] = True
    places = max(1, count * len(like))
    return DrawnSets(sets, moved / places, shared / places)


# Faithfulness against circuit size: what is left of a task when only some heads, or all but some, are kept.
#
# - Every other head is ablated: its mean z over the corrupted prompts of the same template, by position (or zero, the
#   papers' way, where the settings ask for it). MLPs stay.
# - f = (m - m_none) / (m_clean - m_none), m_none with every head ablated: 1 is the whole model, 0 nothing. Heads join
#   in order of |total effect|; head-level CPR is the area under f, CMD the area of |1 - f|, both over the share of
#   heads. Named after the MIB benchmark's (arXiv 2504.13151), which patch, count edges or MLPs, and start at .001.
# - `kept` keeps the first k heads; `removed` ablates them and keeps the others (the complement).


class Ablation:
    """A task's prompts with any heads replaced by their means; a set asked for again is not run again."""

    def __init__(self, prompts: Batches, means: Means) -> None:
        """`means` are over all the task's corrupted prompts, of which `prompts` are some."""
        self.prompts, self.means = prompts, means
        self._known: dict[bytes, Floats] = {}

    def m(self, ablated: Bools, progress: Callable[[int, int, str], None] = lambda *_: None) -> Floats:
        """m [set prompt] with the heads of each set [set layer head] ablated, prompts in their order."""
        keys = [each.tobytes() for each in ablated]
        new = {key: each for key, each in zip(keys, ablated, strict=True) if key not in self._known}
        if new:
            found = self._run(np.stack(list(new.values())), progress)
            self._known.update(zip(new, found, strict=True))
        return np.stack([self._known[key] for key in keys])

    def _run(self, ablated: Bools, progress: Callable[[int, int, str], None]) -> Floats:
        prompts, done = self.prompts, 0
        out = np.empty((len(ablated), len(prompts)))
        for batch in prompts:
            progress(done, len(prompts), f"{prompts.task.title}: faithfulness")
            same, donor = self.means.same(batch.pairs), self._donor(batch)
            m = patched(prompts.model, batch.clean, batch.rows, donor, ablated, prompts.metric, same)
            out[:, prompts.places(batch)] = m.cpu().double().numpy()
            done += len(batch.pairs)
        return out

    def _donor(self, batch: Batch) -> list[Tensor]:
        return [self.means.of(layer, batch.pairs) for layer in range(self.means.shape[0])]

    def restored(self, ablated: Bools) -> Floats:
        """First-order change of m [prompt layer head] when each of these heads [layer head] gets its own z back.

        The derivative by a gate between mean and z, from one backward pass; 0 for heads that are not ablated.
        """
        out = np.zeros((len(self.prompts), *ablated.shape))
        if ablated.any():
            for batch in self.prompts:
                parts = [self._by_gate(batch, rows, ablated) for rows in few(batch)]
                out[self.prompts.places(batch)] = torch.cat(parts).cpu().double().numpy()
        return out

    def _by_gate(self, batch: Batch, rows: Tensor, ablated: Bools) -> Tensor:
        """`restored` of some prompts of a batch, [prompt layer head]."""
        model, first = self.prompts.model, int(np.flatnonzero(ablated.any(1))[0])
        donor = [means[rows] for means in self._donor(batch)]
        masks = torch.from_numpy(ablated).to(model.device)
        lost, written = list[Tensor](), list[Tensor]()

        def writer(layer: int) -> HookFn:
            def write(z: Tensor) -> Tensor:
                lost.append(torch.where(masks[layer, :, None], z - donor[layer], 0.0).detach().float())
                written.append(torch.where(masks[layer, :, None], donor[layer].to(z.dtype), z))
                return written[-1]

            return write

        hooks: dict[tuple[str, int], HookFn] = {("z", i): writer(i) for i in range(first, len(masks))}
        start = (first, batch.clean.residual[first][rows].clone().requires_grad_())
        m = self.prompts.metric.run(
            model, batch.clean.ids[rows], batch.rows[rows], hooks, start=start, grad=True
        )  # fmt: skip
        gradients = torch.autograd.grad(m.sum(), written)
        out = torch.zeros(len(rows), *ablated.shape, device=model.device)
        for layer, (gradient, change) in enumerate(zip(gradients, lost, strict=True), first):
            out[:, layer] = (gradient.float() * change).sum((1, 3))
        return out

    def norms(self) -> Floats:
        """Root mean square over clean prompts and positions of ||(z - mean) W_O||, [layer head]."""
        model, total = self.prompts.model, 0
        sums = torch.zeros(self.means.shape[:2], device=model.device)
        for batch in self.prompts:
            total += batch.clean.ids.numel()
            for layer, z in enumerate(batch.clean.z):
                lost = z.float() - self.means.of(layer, batch.pairs)
                for head, W_O in enumerate(model.W_O(layer)):
                    sums[layer, head] += (lost[:, :, head] @ W_O).square().sum()
        found: Floats = (sums / total).sqrt().cpu().double().numpy()
        return found


def sizes(total: int, *more: int) -> npt.NDArray[np.int64]:
    """0, 1, 2, 3, 5, 8, 13, ... and all heads, and these more."""
    steps, a, b = {0, total, *more}, 1, 2
    while a < total:
        steps.add(a)
        a, b = b, a + b
    return np.array(sorted(step for step in steps if 0 <= step <= total), np.int64)


def first(order: Sequence[Head], counts: Sequence[int], shape: tuple[int, int]) -> Bools:
    """[size layer head]: the first k heads of the order, for every k."""
    out = np.zeros((len(counts), *shape), bool)
    for row, count in zip(out, counts, strict=True):
        for head in order[:count]:
            row[head] = True
    return out


def by_size(effects: npt.NDArray[np.floating]) -> list[Head]:
    """Heads [layer head] by |effect|, largest first; those without a value last, in order."""
    flat = np.nan_to_num(np.abs(effects).ravel(), nan=-1.0)
    return [divmod(int(i), effects.shape[1]) for i in np.argsort(-flat, kind="stable")]


def faithfulness(m: Floats, clean: float, none: float) -> Floats:
    """f [set] of m [set prompt]: a ratio of means."""
    found: Floats = (m.mean(1) - none) / (clean - none)
    return found


def area(counts: npt.NDArray[np.int64], values: Floats) -> float:
    """Trapezoid area of the values over the share of heads."""
    return float(np.trapezoid(values, counts / counts[-1]))


_ENDS = ("lowest", "mean", "highest")
LEAST = 0.05  # of the clean metric: ablating every head must take away more than this, else f is noise


@dataclass(frozen=True, eq=False)
class FaithfulnessScale:
    """What f is measured on: `m` of any sets, and its two ends over the prompts chosen."""

    ablation: Ablation
    runs: Runs
    of: PromptSample
    clean: Floats
    none: Floats

    def m(self, ablated: Bools) -> Floats:
        return self.ablation.m(ablated, self.runs.context.progress)

    def f(self, m: Floats) -> Floats:
        return faithfulness(m, float(self.clean.mean()), float(self.none.mean()))

    def interval(self, m: Floats) -> tuple[float, float]:
        """95 % interval of f of one set [prompt]."""
        low, high, _ = ratio_of_means(m - self.none, self.clean - self.none, self.of.weights, self.of.units)
        return float(low), float(high)


def quality(out: TaskOutcome, runs: Runs) -> None:
    """Curves, areas, the circuit's own point, and random sets beside each."""
    task, settings, members = runs.task, runs.settings, out.members()
    if not settings.curve_prompts:
        why = switched_off("circuits", "curve_prompts")
        out.not_computed.append(NotComputed(f"faithfulness of {task.title}", why))
        return
    of = runs.sample(settings.curve_prompts)
    ablation = Ablation(runs.batches(of), runs.means)
    ablated = out.facts.ablated = ABLATED[settings.ablation]
    clean = runs.clean.m[list(of.rows)].cpu().double().numpy()
    none = ablation.m(np.ones((1, *runs.shape), bool))[0]
    if clean.mean() - none.mean() <= LEAST * abs(clean.mean()):
        why = f"with every head {ablated} the metric is still {none.mean():.3g} of {clean.mean():.3g}"
        out.not_computed.append(NotComputed(f"faithfulness of {task.title}", why))
        return
    scale = FaithfulnessScale(ablation, runs, of, clean, none)
    counts, norms = sizes(runs.shape[0] * runs.shape[1]), ablation.norms()
    order, by_direct = by_size(out.effects["total"]), by_size(out.effects["direct"])
    removed, removed_direct = (first(some, counts.tolist(), runs.shape) for some in (order, by_direct))
    banded, own = _drawn_bands(scale, counts, order, norms), _drawn_own(scale, members, norms)
    drawn = [sets for found in (*banded.values(), *own.drawn) for sets in (~found.sets, found.sets)]
    scale.m(np.concatenate([~removed, removed, removed_direct, ~own.sets, own.sets, *drawn]))  # all share one tree
    f = {"kept": scale.f(scale.m(~removed)), "removed": scale.f(scale.m(removed)),
         "removed_direct": scale.f(scale.m(removed_direct))}  # fmt: skip
    bands = _bands(scale, banded)
    circuit = _own(scale, own, out) if members else None
    out.facts.faithfulness = Faithfulness(
        n=len(of.rows),
        m_clean=float(clean.mean()),
        m_none=float(none.mean()),
        sizes=counts.tolist(),
        kept=f["kept"].tolist(),
        removed=f["removed"].tolist(),
        removed_direct=f["removed_direct"].tolist(),
        cpr=area(counts, f["kept"]),
        cmd=area(counts, np.abs(1 - f["kept"])),
        area_removed=area(counts, f["removed"]),
        bands=bands,
        circuit=circuit,
    )
    out.tables.append(_table(task, counts, f, bands, ablated))
    if circuit is not None and settings.added and (circuit.kept or 0.0) < ENOUGH:
        out.facts.faithfulness.added = _unseen(out, scale, members)


@dataclass(frozen=True, eq=False)
class _OwnSet:
    """The circuit's heads, as a set [1 layer head] ([0 layer head] where it has none), and random ones like it."""

    heads: tuple[Head, ...]
    sets: Bools
    drawn: tuple[DrawnSets, ...]


def _drawn_bands(
    scale: FaithfulnessScale, counts: npt.NDArray[np.int64], order: Sequence[Head], norms: Floats
) -> dict[int, DrawnSets]:
    """Random sets like the first k heads, at sizes k up to half of all heads."""
    settings, half = scale.runs.settings, norms.size // 2
    some = [int(k) for k in counts if 0 < k <= half] if settings.bands else []
    return {k: random_sets(order[:k], norms, settings.bands, scale.runs.rng) for k in some}


def _drawn_own(scale: FaithfulnessScale, members: Sequence[Head], norms: Floats) -> _OwnSet:
    sets = np.zeros((min(1, len(members)), *norms.shape), bool)
    for head in members:
        sets[0][head] = True
    count = scale.runs.settings.random_sets
    if not members or not count or len(members) == norms.size:
        return _OwnSet(tuple(members), sets, ())
    return _OwnSet(tuple(members), sets, (random_sets(list(members), norms, count, scale.runs.rng),))


def _bands(scale: FaithfulnessScale, drawn: Mapping[int, DrawnSets]) -> Bands:
    """Lowest, mean and highest f of the random sets of each size."""
    kept, removed = ([scale.f(scale.m(~d.sets if turn else d.sets)) for d in drawn.values()] for turn in (True, False))
    return Bands(
        sizes=[float(k) for k in drawn],
        sets=scale.runs.settings.bands,
        kept=_spreads(kept),
        removed=_spreads(removed),
        other_layer=float(np.mean([d.other_layer for d in drawn.values()])) if drawn else 0.0,
        shared=float(np.mean([d.shared for d in drawn.values()])) if drawn else 0.0,
    )


def _spreads(f: Sequence[Floats]) -> Spreads:
    found = [_spread(values) for values in f]
    return Spreads(low=[s.low for s in found], mean=[s.mean for s in found], high=[s.high for s in found])


def _own(scale: FaithfulnessScale, own: _OwnSet, out: TaskOutcome) -> OwnCircuit:
    """The circuit's own faithfulness and its complement's, with p against random sets of its make-up."""
    m_kept, m_removed = scale.m(~own.sets), scale.m(own.sets)
    f_kept, f_removed = float(scale.f(m_kept)[0]), float(scale.f(m_removed)[0])
    found = OwnCircuit(
        size=len(own.heads), kept=f_kept, kept_interval=list(scale.interval(m_kept[0])),
        removed=f_removed, removed_interval=list(scale.interval(m_removed[0])),
        accuracy_kept=float((m_kept > 0).mean()), accuracy_removed=float((m_removed > 0).mean()),
        accuracy_clean=float((scale.clean > 0).mean()),
    )  # fmt: skip
    for drawn in own.drawn:
        name, count = scale.runs.task.name, len(drawn.sets)
        kept, removed = scale.f(scale.m(~drawn.sets)), scale.f(scale.m(drawn.sets))
        out.arrays[f"{name}/random_kept"] = NamedArray(("set",), kept.astype(np.float32))
        out.arrays[f"{name}/random_removed"] = NamedArray(("set",), removed.astype(np.float32))
        found.random_sets, found.random_kept, found.random_removed = count, _spread(kept), _spread(removed)
        found.p_kept = float((1 + (kept >= f_kept).sum()) / (count + 1))
        found.p_removed = float((1 + (removed <= f_removed).sum()) / (count + 1))
        found.other_layer, found.shared = drawn.other_layer, drawn.shared
    return found


def _spread(f: Floats) -> Spread:
    return Spread(low=float(f.min()), mean=float(f.mean()), high=float(f.max()))


def _unseen(out: TaskOutcome, scale: FaithfulnessScale, members: Sequence[Head]) -> Added:
    """Where the circuit keeps too little: heads that bring f nearest to 1 when they are added to it."""
    settings = scale.runs.settings
    own = np.zeros(scale.runs.shape, bool)
    for head in members:
        own[head] = True
    search = MissedHeadSearch(
        scale.m, scale.ablation.restored, scale.clean, scale.none, scale.of.templates, settings.added,
        settings.effect_share, settings.verified,
    )  # fmt: skip
    ways = search.ways(own)
    found = in_both(ways)
    if found:
        out.head_sets.append(unseen_set(scale.runs.task, found, ways, settings, scale.runs.shape))
    return Added(
        ways=[
            AddedWay(
                chosen_on=way.chosen_on, n=way.n, heads=[head_name(*head) for head in way.heads], kept=list(way.kept)
            )
            for way in ways
        ],
        both=[head_name(*head) for head in found],
        enough=ENOUGH,
    )


def _table(task: Task, counts: npt.NDArray[np.int64], f: dict[str, Floats], bands: Bands, ablated: str) -> Table:
    rows = []
    for i, k in enumerate(counts.tolist()):
        random = []
        for band in (bands.kept, bands.removed):
            random += [
                line[bands.sizes.index(k)] if k in bands.sizes else None for line in (band.low, band.mean, band.high)
            ]
        rows.append((k, *(float(f[name][i]) for name in ("kept", "removed", "removed_direct")), *random))
    return Table(
        key=f"circuits/{task.name}/faithfulness",
        title=f"{task.title}: what is left with the first k heads kept, or removed",
        columns=(
            Column("k", "heads"), Column("kept", "f"), Column("removed", "f"), Column("removed, by direct effect", "f"),
            *(Column(f"random {what}, {end}", "f") for what in ("kept", "removed") for end in _ENDS),
        ),
        rows=tuple(rows),
        caption=f"f = (m - m with every head {ablated}) / (clean m - the same). Heads join by |total effect|; "
        f"the rest is {ablated}. Random: {bands.sets} sets of as many heads per layer, of like output norm.",
    )  # fmt: skip


ENOUGH = 0.9  # a circuit that keeps this much lacks nothing worth looking for
