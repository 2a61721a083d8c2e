"""Later stages of a circuit: heads that act through the movers' inputs, and heads that act through those heads'.

Order of Wang et al. 2022 (arXiv 2211.00593) and Merullo et al. 2023 (arXiv 2310.08744). The effect of a head through
the inputs of later ones is measured by path patching with two runs (Wang et al., appendix on path patching). Run 1:
clean prompt, the sender's z from the corrupted one, every other z clean, MLPs recompute; the receivers' q, k or v are
read. Run 2: clean prompt with these written into the receivers; everything after them recomputes. The effect is
m_clean - m of run 2. With grouped queries a key or value belongs to a whole group: its other query heads are patched
with the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Float32s
from reportgen.scores import Head, HeadSet, NotComputed, head_name
from reportgen.suites import ov
from reportgen.suites.circuits.facts import StageFacts
from reportgen.suites.circuits.scoring import passes, results, roles
from reportgen.suites.circuits.scoring.circuit import Effects, replicated
from reportgen.suites.circuits.scoring.passes import Batch, Batches, Metric
from reportgen.suites.circuits.scoring.roles import HeadEvidence, Maps, looks, writes
from reportgen.suites.circuits.scoring.task_runs import PromptSample, Runs, TaskOutcome
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model


Hooks = dict[tuple[str, int], "HookFn"]


def path_effects(
    prompts: Batches,
    senders: Sequence[Head],
    receivers: Sequence[Head],
    kinds: Sequence[str],
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Float32s]:
    """Effects of each sender through the receivers' inputs, per kind "q", "k", "v" or several letters at once.

    kind -> [prompt layer head] in units of the metric; NaN for heads that are no senders or stand below no receiver
    """
    model, record = prompts.model, prompts.model.record
    shape = (len(prompts), record.n_layers, record.n_heads)
    out = {kind: np.full(shape, np.nan, np.float32) for kind in kinds}
    letters = "".join(sorted(set("".join(kinds))))
    for batch in prompts:
        at = prompts.places(batch)
        for layer in sorted({layer for layer, _ in senders}):
            progress(layer, shape[1], f"{prompts.task.title}: paths between heads")
            above = [head for head in receivers if head[0] > layer]
            own = [head for lay, head in senders if lay == layer]
            for some in _parts(own if above else [], batch.variants()):
                read = _inputs(model, batch, layer, some, above, letters)
                for kind in kinds:
                    m = _written(model, batch, len(some), above, kind, read, prompts.metric)  # [head prompt]
                    out[kind][np.ix_(at, [layer], some)] = (batch.clean.m - m).T.cpu().numpy()[:, None]
    return out


def _parts(heads: list[int], size: int) -> list[list[int]]:
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def _inputs(
    model: Model, batch: Batch, layer: int, senders: list[int], receivers: Sequence[Head], letters: str
) -> dict[tuple[str, int], Tensor]:
    """Run 1: (letter, layer) -> q, k, v of the receivers' layers [variant*prompt pos head d_head]; by sender.

    Between the sender and the last receiver every other z is clean: what attention gives there is written in, and
    attention is computed in the receivers' layers alone.
    """
    last, clean, times = max(lay for lay, _ in receivers), batch.clean, len(senders)
    change = (batch.corrupted.z[layer] - clean.z[layer])[:, :, senders].float()
    moved = torch.einsum("rphe,hed->hrpd", change, model.W_O(layer)[senders])
    attention = {layer: (model.attention_output(layer, clean.z[layer]) + moved).flatten(0, 1)}
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(at: tuple[str, int]) -> HookFn:
        def hook(tensor: Tensor) -> None:
            kept[at] = tensor.clone()

        return hook

    hooks: Hooks = {
        (letter, later): keep((letter, later)) for later in {lay for lay, _ in receivers} for letter in letters
    }
    for later in range(layer + 1, last):
        if any(lay == later for lay, _ in receivers):
            hooks["z", later] = _constant(clean.z[later], times)
        else:
            attention[later] = passes.repeat(model.attention_output(later, clean.z[later]), times)
    start = (layer, passes.repeat(clean.residual[layer], times))
    model.run_until(passes.repeat(clean.ids, times), hooks, last + 1, start=start, attention=attention)
    return kept


def _written(
    model: Model, batch: Batch, times: int, receivers: Sequence[Head], kind: str,
    read: dict[tuple[str, int], Tensor], metric: Metric,
) -> Tensor:  # fmt: skip
    """Run 2: m [variant prompt] of the clean prompts with the inputs read in run 1 written into the receivers."""
    group = model.record.n_heads // model.record.n_kv_heads
    hooks: Hooks = {}
    for layer in sorted({lay for lay, _ in receivers}):
        own = [head for lay, head in receivers if lay == layer]
        for letter in kind:
            heads = own if letter == "q" else sorted({head // group for head in own})
            hooks[letter, layer] = _writer(heads, read[letter, layer])
    first = min(lay for lay, _ in receivers)
    start = (first, passes.repeat(batch.clean.residual[first], times))
    ids = passes.repeat(batch.clean.ids, times)
    return metric.run(model, ids, batch.rows.repeat(times), hooks, start=start).view(times, -1)


def _writer(heads: Sequence[int], given: Tensor) -> HookFn:
    def write(tensor: Tensor) -> Tensor:
        out = tensor.clone()
        out[:, :, list(heads)] = given[:, :, list(heads)].to(tensor.dtype)
        return out

    return write


def _constant(values: Tensor, times: int) -> HookFn:
    return lambda z: passes.repeat(values, times).to(z.dtype)


def below(receivers: Sequence[Head], allowed: npt.NDArray[np.bool_]) -> list[Head]:
    """The allowed heads [layer head] that stand in a layer below some receiver."""
    if not receivers:
        return []
    top = max(layer for layer, _ in receivers)
    return [(int(layer), int(head)) for layer, head in np.argwhere(allowed) if layer < top]


MOST_EDGES = 8  # senders per stage whose edges to single receivers are measured, largest effect first
_TITLES = {"through_movers": "heads that act through the movers' inputs",
           "through_those": "heads that act through the inputs of those"}  # fmt: skip


@dataclass(frozen=True)
class Edge:
    """The effect of one head through one input of another, as a share of the gap."""

    sender: Head
    receiver: Head
    kind: str
    effect: float


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage's heads: effects per kind of input, and members with the kinds they act through."""

    name: str
    receivers: tuple[Head, ...]
    effects: Mapping[str, Effects] = field(default_factory=dict)
    members: Mapping[Head, tuple[str, ...]] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()

    def strongest(self, head: Head) -> tuple[str, float]:
        """The input that a member acts through most, and the effect."""
        kind = max(self.members[head], key=lambda name: abs(float(self.effects[name].value[head])))
        return kind, float(self.effects[kind].value[head])

    def stability(self, head: Head) -> float:
        """Share of bootstrap draws that select a member, by the input where that is largest."""
        return max(float(self.effects[kind].stability[head]) for kind in self.members[head])


def later_stages(out: TaskOutcome, runs: Runs, direct: HeadEvidence, movers: Sequence[Head]) -> None:
    """Both later stages, from the movers (or, without any, the heads that support the answer directly)."""
    settings, task = runs.settings, runs.task
    supporting = tuple(head for head in direct.circuit.heads() if direct.effects.value[head] > 0)
    receivers = tuple(movers) or supporting
    out.facts.receivers = [head_name(*head) for head in receivers]
    out.facts.receivers_are = f"{task.mover.one}s" if movers else "heads with a direct effect that supports the answer"
    of, found = runs.sample(settings.patch_prompts), list[Stage]()
    for name, kinds in (("through_movers", settings.through_movers), ("through_those", settings.through_those)):
        stage = _stage(out, runs, of, name, receivers, kinds)
        if stage is None:
            break
        out.stages[name] = receivers = tuple(stage.members)
        found.append(stage)
    named = _named(runs, direct, found)
    for stage in found:
        _report(out, runs, stage, named)
    out.head_sets += _named_sets(runs, found, {head: role for head, (role, _) in named.items()})


def _stage(
    out: TaskOutcome, runs: Runs, of: PromptSample, name: str, receivers: tuple[Head, ...], kinds: Sequence[str]
) -> Stage | None:
    task, settings = runs.task, runs.settings
    senders, family = below(receivers, _allowed(out, runs)), below(receivers, np.ones(runs.shape, bool))
    why = (
        switched_off("circuits", name)
        if not kinds
        else "no head to act through"
        if not receivers
        else "no head stands below them"
    )
    if not kinds or not senders:
        out.not_computed.append(NotComputed(f"{_TITLES[name]} ({task.title})", why))
        return None
    progress = runs.context.progress
    raw = path_effects(runs.batches(of), senders, receivers, kinds, progress)
    effects = {kind: runs.summarise(each, of, family=len(family)) for kind, each in raw.items()}
    found: dict[Head, tuple[str, ...]] = {}
    for kind, e in effects.items():
        for head in runs.circuit(e).heads():
            found[head] = (*found.get(head, ()), kind)
    for kind, e in effects.items():
        out.scores += results.head_scores(task, f"{name}_{kind}", e, len(of.rows), _no_sender(runs, senders, receivers))
    stage = Stage(name, receivers, effects, found)
    edges = _edges(runs, runs.sample(settings.edge_prompts), stage) if found and settings.edge_prompts else ()
    return Stage(name, receivers, effects, found, edges)


def _allowed(out: TaskOutcome, runs: Runs) -> Bools:
    """Heads that may be senders: those whose total effect is known, the first `senders` of them by size."""
    total = np.nan_to_num(np.abs(out.effects["total"]), nan=-1.0)
    known: Bools = total >= 0
    most = runs.settings.senders
    if most and most < known.sum():
        known &= total >= np.sort(total.ravel())[-most]
    return known


def _no_sender(runs: Runs, senders: Sequence[Head], receivers: Sequence[Head]) -> dict[str, str]:
    """Why a head is not a sender."""
    layers, count = runs.shape
    top, known = max(layer for layer, _ in receivers), set(senders)
    return {
        head_name(layer, head): "no receiver stands above it" if layer >= top else "not among the largest total effects"
        for layer in range(layers)
        for head in range(count)
        if (layer, head) not in known
    }


def _edges(runs: Runs, of: PromptSample, stage: Stage) -> tuple[Edge, ...]:
    """The strongest members' effects through each receiver alone, by the input each acts through most."""
    ordered = sorted(stage.members, key=lambda head: -abs(stage.strongest(head)[1]))[:MOST_EDGES]
    by_kind: dict[str, list[Head]] = {}
    for head in ordered:
        by_kind.setdefault(stage.strongest(head)[0], []).append(head)
    gap, edges = float(of.gap.mean()), list[Edge]()
    for kind, senders in by_kind.items():
        for receiver in stage.receivers:
            some = below([receiver], _grid(runs.shape, senders))
            if not some:
                continue
            raw = path_effects(runs.batches(of), some, [receiver], [kind])[kind]
            edges += [Edge(head, receiver, kind, float(raw[:, head[0], head[1]].mean()) / gap) for head in some]
    return tuple(edges)


def _grid(shape: tuple[int, int], some: Sequence[Head]) -> Bools:
    grid = np.zeros(shape, bool)
    for head in some:
        grid[head] = True
    return grid


Named = Mapping[Head, tuple[str, Mapping[str, float]]]  # head -> its role, and where it looks


def _named(runs: Runs, direct: HeadEvidence, found: Sequence[Stage]) -> Named:
    """Role of every member and its attention by kind; a head of both stages is named by the first."""
    task, settings = runs.task, runs.settings
    members = list(dict.fromkeys(head for stage in found for head in stage.members))
    if not members:
        return {}
    seen = looks(runs.model, task, runs.sample(settings.patch_prompts).rows, settings.batch)
    copying = _copying(runs.model, task.maps, members, settings)
    named: dict[Head, tuple[str, Mapping[str, float]]] = {}
    for head in members:
        role = roles.query_role(head, direct, settings) if head in found[0].members else roles.OTHER_PATH
        if role == roles.OTHER_PATH:
            role = roles.feeding_role(head, seen, copying.get(head, 0.0), settings)
        named[head] = (role, {kind: float(grid[head]) for kind, grid in seen.items()})
    return named


def _copying(model: Model, maps: Maps, some: Sequence[Head], settings: Settings) -> dict[Head, float]:
    """OV copying of the words that an answer is read from, whatever the task's own map is."""
    ids = list(maps)
    if not ids:
        return {}
    return writes(model, {i: ((i,), ()) for i in ids}, ov.sources(model, ids), some, settings.copy_k)


def _report(out: TaskOutcome, runs: Runs, stage: Stage, named: Named) -> None:
    """The head set, table and facts of one stage."""
    task, settings = runs.task, runs.settings
    label = f"Heads Acting Through {task.mover.label}" if stage.name == "through_movers" else "Heads Feeding Those"
    rule = roles.rules(task, settings)[stage.name]
    out.head_sets.append(_set(runs, [stage], stage.name, label, tuple(stage.members), rule))
    shares = {head: stage.stability(head) for head in stage.members}
    out.tables.append(results.stage_table(task, stage, named, shares, _TITLES[stage.name], settings))
    found = StageFacts(
        receivers=[head_name(*head) for head in stage.receivers],
        kinds=list(stage.effects),
        heads={head_name(*head): named[head][0] for head in stage.members},
        edges=[(head_name(*e.sender), head_name(*e.receiver), e.kind, e.effect) for e in stage.edges],
    )
    setattr(out.facts, stage.name, found)  # through_movers or through_those


def _named_sets(runs: Runs, found: Sequence[Stage], named: Mapping[Head, str]) -> list[HeadSet]:
    """S-inhibition, duplicate-token, induction and previous-token heads; none that nobody is in."""
    words = roles.rules(runs.task, runs.settings)
    wanted = {
        roles.INHIBITION: ("s_inhibition_heads", "S-Inhibition Heads"),
        roles.LOOKS["duplicate"]: ("duplicate_token_heads", "Duplicate-Token Heads"),
        roles.LOOKS["induction"]: ("induction_heads", "Induction Heads"),
        roles.LOOKS["previous"]: ("previous_token_heads", "Previous-Token Heads"),
    }
    return [
        _set(runs, found, key, label, some, words[role])
        for role, (key, label) in wanted.items()
        if (some := results.having_role(named, role))
    ]


def _set(runs: Runs, stages: Sequence[Stage], key: str, label: str, some: tuple[Head, ...], rule: str) -> HeadSet:
    """A set of members of these stages; each is as stable and replicated as in the best of them."""
    share = runs.settings.effect_share
    of = {head: [stage for stage in stages if head in stage.members] for head in some}
    stability = {head: max(stage.stability(head) for stage in its) for head, its in of.items()}
    same = np.zeros(runs.shape, bool)
    for head, its in of.items():
        same[head] = any(replicated(stage.effects[kind], share)[head] for stage in its for kind in stage.members[head])
    dynamic = "not run" if key in _TITLES else "passed"  # those named are named by where they look on the prompts
    return results.head_set(runs.task, key, label, some, rule, stability, same, dynamic=dynamic)
