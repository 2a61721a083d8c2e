"""How good a task's circuit is: its faithfulness and its complement's, against size and against random sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Column, Head, NamedArray, NotComputed, Table, head_name
from reportgen.suites.circuits import heads, unseen
from reportgen.suites.circuits.circuit import ratio_of_means
from reportgen.suites.circuits.curve import Ablation, area, by_size, faithfulness, first, sizes
from reportgen.suites.circuits.random_sets import Drawn, random_sets
from reportgen.suites.circuits.runs import Outcome, Runs, Sample
from reportgen.suites.circuits.settings import ABLATED
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.settings import switched_off

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_ENDS = ("lowest", "mean", "highest")
LEAST = 0.05  # of the clean metric: ablating every head must take away more than this, else f is noise


@dataclass(frozen=True, eq=False)
class Scale:
    """What f is measured on: `m` of any sets, and its two ends over the prompts chosen."""

    ablation: Ablation
    runs: Runs
    of: Sample
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


def quality(out: Outcome, runs: Runs) -> None:
    """Curves, areas, the circuit's own point, and random sets beside each."""
    task, settings, members = runs.task, runs.settings, out.members()
    if not settings.curve_prompts:
        why = switched_off("circuits", "curve_prompts")
        out.not_computed.append(NotComputed(f"faithfulness of {task.title}", why))
        return
    of = runs.sample(settings.curve_prompts)
    ablation = Ablation(runs.model, task, of.rows, settings.batch, settings.ablation)
    ablated = out.facts["ablated"] = ABLATED[settings.ablation]
    clean = runs.clean.m[list(of.rows)].cpu().double().numpy()
    none = ablation.m(np.ones((1, *runs.shape), bool))[0]
    if clean.mean() - none.mean() <= LEAST * abs(clean.mean()):
        why = f"with every head {ablated} the metric is still {none.mean():.3g} of {clean.mean():.3g}"
        out.not_computed.append(NotComputed(f"faithfulness of {task.title}", why))
        return
    scale = Scale(ablation, runs, of, clean, none)
    counts = sizes(runs.shape[0] * runs.shape[1])
    order, by_direct = by_size(out.effects["total"]), by_size(out.effects["direct"])
    kept, removed = ~first(order, counts.tolist(), runs.shape), first(order, counts.tolist(), runs.shape)
    f = {"kept": scale.f(scale.m(kept)), "removed": scale.f(scale.m(removed)),
         "removed_direct": scale.f(scale.m(first(by_direct, counts.tolist(), runs.shape)))}  # fmt: skip
    norms = ablation.norms()
    bands = _bands(scale, counts, order, norms)
    out.facts["faithfulness"] = {
        "n": len(of.rows),
        "m_clean": float(clean.mean()),
        "m_none": float(none.mean()),
        "sizes": counts.tolist(),
        **{name: values.tolist() for name, values in f.items()},
        "cpr": area(counts, f["kept"]),
        "cmd": area(counts, np.abs(1 - f["kept"])),
        "area_removed": area(counts, f["removed"]),
        "bands": bands,
        "circuit": _own(scale, members, norms, out, task) if members else None,
    }
    out.tables.append(_table(task, counts, f, bands, ablated))
    if members:
        _unseen(out, scale, members)


def _bands(scale: Scale, counts: npt.NDArray[np.int64], order: Sequence[Head], norms: Floats) -> dict[str, object]:
    """Random sets like the first k heads, at sizes up to half of all heads: lowest, mean, highest f."""
    settings, half = scale.runs.settings, norms.size // 2
    some = [int(k) for k in counts if 0 < k <= half] if settings.bands else []
    drawn = [random_sets(order[:k], norms, settings.bands, scale.runs.rng) for k in some]
    found: dict[str, object] = {"sizes": some, "sets": settings.bands}
    for name, turn in (("kept", True), ("removed", False)):
        f = [scale.f(scale.m(~d.sets if turn else d.sets)) for d in drawn]
        found[name] = {
            "low": [float(v.min()) for v in f],
            "mean": [float(v.mean()) for v in f],
            "high": [float(v.max()) for v in f],
        }
    return found | _fall_backs(drawn)


def _fall_backs(drawn: Sequence[Drawn]) -> dict[str, object]:
    return {
        "other_layer": float(np.mean([d.other_layer for d in drawn])) if drawn else 0.0,
        "shared": float(np.mean([d.shared for d in drawn])) if drawn else 0.0,
    }


def _own(scale: Scale, members: Sequence[Head], norms: Floats, out: Outcome, task: Task) -> dict[str, object]:
    """The circuit's own faithfulness and its complement's, with p against random sets of its make-up."""
    own = np.zeros((1, *norms.shape), bool)
    for head in members:
        own[0][head] = True
    m_kept, m_removed = scale.m(~own), scale.m(own)
    f_kept, f_removed = float(scale.f(m_kept)[0]), float(scale.f(m_removed)[0])
    found: dict[str, object] = {
        "size": len(members), "kept": f_kept, "kept_interval": list(scale.interval(m_kept[0])),
        "removed": f_removed, "removed_interval": list(scale.interval(m_removed[0])),
        "accuracy_kept": float((m_kept > 0).mean()), "accuracy_removed": float((m_removed > 0).mean()),
        "accuracy_clean": float((scale.clean > 0).mean()),
    }  # fmt: skip
    count = scale.runs.settings.random_sets
    if not count or len(members) == norms.size:
        return found
    drawn = random_sets(list(members), norms, count, scale.runs.rng)
    kept, removed = scale.f(scale.m(~drawn.sets)), scale.f(scale.m(drawn.sets))
    out.arrays[f"{task.name}/random_kept"] = NamedArray(("set",), kept.astype(np.float32))
    out.arrays[f"{task.name}/random_removed"] = NamedArray(("set",), removed.astype(np.float32))
    return (
        found
        | _fall_backs([drawn])
        | {
            "random_sets": count,
            "random_kept": _spread(kept),
            "random_removed": _spread(removed),
            "p_kept": float((1 + (kept >= f_kept).sum()) / (count + 1)),
            "p_removed": float((1 + (removed <= f_removed).sum()) / (count + 1)),
        }
    )


def _spread(f: Floats) -> dict[str, float]:
    return {"low": float(f.min()), "mean": float(f.mean()), "high": float(f.max())}


def _unseen(out: Outcome, scale: Scale, members: Sequence[Head]) -> None:
    """Where the circuit keeps too little: heads that bring f nearest to 1 when they are added to it."""
    facts, settings = out.facts["faithfulness"], scale.runs.settings
    assert isinstance(facts, dict)
    if not settings.added or facts["circuit"]["kept"] >= unseen.ENOUGH:
        return
    own = np.zeros(scale.runs.shape, bool)
    for head in members:
        own[head] = True
    search = unseen.Search(scale.m, scale.clean, scale.none, scale.of.templates, settings.added, settings.effect_share)
    ways = search.ways(own)
    found = unseen.in_both(ways)
    facts["added"] = {
        "ways": [
            {
                "chosen_on": way.chosen_on, "n": way.n, "heads": [head_name(*head) for head in way.heads],
                "kept": list(way.kept),
            }
            for way in ways
        ],
        "both": [head_name(*head) for head in found],
        "enough": unseen.ENOUGH,
    }  # fmt: skip
    if found:
        out.head_sets.append(heads.unseen_set(scale.runs.task, found, ways, settings, scale.runs.shape))


def _table(
    task: Task, counts: npt.NDArray[np.int64], f: dict[str, Floats], bands: dict[str, object], ablated: str
) -> Table:
    places = bands["sizes"]
    assert isinstance(places, list)
    rows = []
    for i, k in enumerate(counts.tolist()):
        random = []
        for name in ("kept", "removed"):
            band = bands[name]
            assert isinstance(band, dict)
            random += [band[end][places.index(k)] if k in places else None for end in ("low", "mean", "high")]
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
        f"the rest is {ablated}. Random: {bands['sets']} sets of as many heads per layer, of like output norm.",
    )  # fmt: skip
