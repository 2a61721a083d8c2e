"""Head scores of a pass: values with their reasons, intervals, adjusted p and the random twin's scores beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from reportgen.aliases import Bools, Floats
from reportgen.scores import Control, HeadScores, head_name
from reportgen.stats import permutation_p, step_down_max_t, wilson
from reportgen.suites.weights.found import spearman
from reportgen.suites.weights.scoring import successor
from reportgen.suites.weights.scoring.measure import INACTIVE, Measured
from reportgen.suites.weights.scoring.redundancy import ValueOverlap
from reportgen.suites.weights.scoring.successor import PREDECESSOR, REPEAT, SUCCESSOR
from reportgen.suites.weights.scoring.suppression import shares
from reportgen.suites.weights.suite import GINIBRE, MEASURES, SUITE, Settings

TASKS = {
    "copying": "vocabulary", "copying_raw": "vocabulary", "copying_mlp": "vocabulary", "copying_residual": "residual",
    "matching": "vocabulary", "matching_raw": "vocabulary", "induction_matching": "vocabulary",
    "suppression": "words", "suppression_ov": "words", "suppression_qk": "words",
    "successor": "classes", "successor_strict": "classes", "predecessor": "classes", "repeat": "classes",
    "sink_value": "position_0", "sink_key": "position_0", "sink_write": "position_0",
    "identity": "residual", "value_overlap": "residual", "ov_norm": "map", "qk_norm": "map",
    "ov_rank": "map", "ov_rank_99": "map", "qk_slow": "map",
}  # fmt: skip
READS_BOTH = ("suppression", "induction_matching")
READS_QK = ("matching", "matching_raw", "suppression_qk", "sink_key", "qk_norm", "qk_slow", *READS_BOTH)
WHOLE = "no interval: a function of the weights, nothing is sampled"
STEPS = {"successor": SUCCESSOR, "successor_strict": SUCCESSOR, "predecessor": PREDECESSOR, "repeat": REPEAT}
_TWIN = "random twin"
_MEANING = "the model at random initialisation"
_SHIFTED = "mean share of words whose winner stands 2 or more places on or back, up to half the class"


@dataclass(frozen=True, eq=False)
class Lost:
    """Which heads have no value, and why: [layer head] of OV and of QK."""

    ov: Bools
    qk: Bools
    inactive: Bools

    @staticmethod
    def of(found: Measured) -> Lost:
        norms, broken = found.grids["ov_norm"], found.broken["ov"]
        sound = norms[~broken]
        median = float(np.median(sound)) if sound.size else 0.0
        return Lost(broken, found.broken["qk"], ~broken & ~(norms > INACTIVE * median))

    def mask(self, name: str) -> tuple[Bools, dict[str, str]]:
        """Heads without a value of this score, and the reasons."""
        kinds = []
        if name not in READS_QK or name in READS_BOTH:
            kinds += [(self.inactive, "inactive: ||W_V W_O|| is below 1e-6 of the median head's")]
            kinds += [(self.ov, "weights are not finite")]
        if name in READS_QK:
            kinds += [(self.qk, "weights are not finite")]
        whole = np.zeros(self.ov.shape, np.bool_)
        reasons: dict[str, str] = {}
        for mask, why in kinds:
            whole |= mask
            reasons |= {head_name(int(layer), int(head)): why for layer, head in np.argwhere(mask)}
        return whole, reasons


def all_scores(found: Measured, twin: Measured | None, settings: Settings, seed: int, d_model: int) -> list[HeadScores]:
    """Every score of the suite that there is, in the order of the measures."""
    lost = Lost.of(found)
    made = {**_plain(found, twin, lost, d_model), **_ranked(found, twin, lost, settings)}
    made |= _ordered(found, twin, lost, settings, seed) | _pairs(found, twin, lost)
    order = {measure.name: i for i, measure in enumerate(MEASURES)}
    return sorted(made.values(), key=lambda s: order[s.measure])


ENDS = ("low", "high", "p_each")


def _scores(
    name: str, values: Floats, lost: Lost, n: int, twin: Floats | None, task: str = "", **more: Any
) -> HeadScores:
    """One score; heads that are lost, and values that came out as none, are NaN with a reason."""
    measure, (gone, reasons) = SUITE.measure(name), lost.mask(name)
    grid = np.where(gone, np.nan, values)
    empty = {
        head_name(int(layer), int(head)): _why(name, int(layer)) for layer, head in np.argwhere(~gone & np.isnan(grid))
    }
    p = more.pop("p", None)
    ends: dict[str, Any] = {end: _masked(more.pop(end), grid) for end in ENDS if more.get(end) is not None}
    controls: tuple[Control, ...] = ()
    if twin is not None and np.isfinite(twin).any():
        largest = float(np.nanmax(np.abs(twin))) if measure.range[0] < 0 else float(np.nanmax(twin))
        controls = (Control(_TWIN, largest, twin.astype(np.float32), meaning=_MEANING),)
    return HeadScores(
        key=f"weights/{name}/{task or TASKS[name]}", label=measure.title, values=grid.astype(np.float32),
        n=n, p=None if p is None else _masked(p, grid), range=measure.range, reasons={**empty, **reasons},
        controls=controls, no_null=str(more.pop("no_null", "")), **ends, **more,
    )  # fmt: skip


def _why(name: str, layer: int) -> str:
    if name == "qk_slow":
        return "no rotary positions in this layer"
    if name.startswith("composition") or name == "induction_matching":
        return "no such head in an earlier layer" if name != "composition_out" else "no such head in a later layer"
    return "every eigenvalue or number behind it is 0"


def _masked(values: object, grid: Floats) -> npt.NDArray[np.float32]:
    return np.where(np.isnan(grid), np.nan, np.asarray(values)).astype(np.float32)


def _plain(found: Measured, twin: Measured | None, lost: Lost, d_model: int) -> dict[str, HeadScores]:
    """Scores that are one number per head, with a null from rotations where there are draws."""
    made = {}
    for name, values in found.grids.items():
        if name.startswith("participation") or (name == "qk_slow" and np.isnan(values).all()):
            continue
        gone, _ = lost.mask(name)
        own: dict[str, Any] = {"no_null": _described(name)}
        if name in found.nulls:
            kept, draws = np.where(gone, np.nan, values), found.nulls[name]
            alone = permutation_p(np.abs(kept).ravel(), np.abs(draws).reshape(len(draws), -1)).reshape(kept.shape)
            own = {"p": two_sided(kept, draws), "p_each": alone, "no_null": WHOLE}
        elif name in ("identity", "copying_residual"):
            d_head = found.counts["d_head"]
            sd = 1 / d_model if name == "identity" else GINIBRE / d_head
            count = int((np.isfinite(values) & ~gone).sum())
            alone = 2 * norm.sf(np.abs(values) / sd)
            own = {"p": np.minimum(1, count * alone), "p_each": alone, "no_null": WHOLE}
        elif name == "value_overlap" and found.values is not None:
            own = _nearest(found.values, values.shape[1])
        n = found.counts["mlp_tokens" if name == "copying_mlp" else "tokens"] if TASKS[name] == "vocabulary" else 1
        made[name] = _scores(name, values, lost, n, None if twin is None else twin.grids.get(name), **own)
    return made


def _nearest(values: ValueOverlap, n_heads: int) -> dict[str, Any]:
    """p of each head's most similar value subspace among all others, and corrected over every pair of groups."""
    alone = norm.sf(values.nearest(n_heads)[1])
    count, others = values.pairs, len(values.z) - 1
    return {"p": np.minimum(1, count * alone), "p_each": np.minimum(1, others * alone), "no_null": WHOLE}


def _described(name: str) -> str:
    words = SUITE.measure(name).null
    return words.removeprefix("none: ") if words.startswith("none: ") else "its draws are switched off"


def two_sided(values: Floats, draws: Floats) -> Floats:
    """Step-down max-T of |value| over heads [layer head] against |draws| [draw layer head]."""
    flat = np.abs(draws).reshape(len(draws), -1)
    return step_down_max_t(np.abs(values).ravel(), flat).reshape(values.shape)


def _both(values: Floats, draws: Floats, n: int) -> dict[str, Any]:
    """p of shares [layer head] over n examples against [draw head]: adjusted over heads, and of each alone."""
    adjusted = step_down_max_t(values.ravel(), draws, floor=1 / n)
    return {"p": adjusted.reshape(values.shape), "p_each": permutation_p(values.ravel(), draws).reshape(values.shape)}


def suppression_shares(found: Measured, k: int) -> dict[str, Floats]:
    """The two halves and their minimum, [layer head]."""
    ov, qk = (shares(found.ranks[part], k) for part in ("ov", "qk"))
    return {"suppression": np.minimum(ov, qk), "suppression_ov": ov, "suppression_qk": qk}


def _ranked(found: Measured, twin: Measured | None, lost: Lost, s: Settings) -> dict[str, HeadScores]:
    if not found.ranks:
        return {}
    own = suppression_shares(found, s.k)
    other = suppression_shares(twin, s.k) if twin is not None and twin.ranks else {}
    draws: dict[str, Floats] = {}
    if found.permuted is not None:
        ov, qk = found.permuted
        draws = {"suppression": np.minimum(ov, qk), "suppression_ov": ov, "suppression_qk": qk}
    made, n = {}, len(found.words)
    for name, values in own.items():
        gone, _ = lost.mask(name)
        low, high = wilson(np.rint(values * n), n)
        p = None
        if name in draws:
            p = _both(np.where(gone, np.nan, values), draws[name], n)
        more = p if p is not None else {"no_null": "its draws are switched off"}
        made[name] = _scores(name, values, lost, n, other.get(name), low=low, high=high, **more)
    return made


def _ordered(found: Measured, twin: Measured | None, lost: Lost, s: Settings, seed: int) -> dict[str, HeadScores]:
    if not found.winners:
        return {}
    made = {}
    shifted = Control("order shifted", float(successor.shifted(found.winners).max()),
                      successor.shifted(found.winners).astype(np.float32), meaning=_SHIFTED)  # fmt: skip
    for name, steps in STEPS.items():
        strict = name == "successor_strict"
        hits = [successor.in_vocabulary(one) if strict else one.hits(steps) for one in found.winners]
        each, counts = np.array([one.mean(0) for one in hits]), np.array([len(one) for one in hits])
        values, effective = each.mean(0), successor.effective_n(each, counts)
        low, high = wilson(values * effective, effective)
        n = int(counts.sum())
        gone, _ = lost.mask(name)
        more: dict[str, Any] = {"no_null": "its draws are switched off"}
        if s.permutations:
            rng = np.random.default_rng([seed, 3])
            draws = successor.permuted(found.winners, steps, s.permutations, rng, strict=strict)
            more = {**_both(np.where(gone, np.nan, values), draws, n)}
        other = None
        if twin is not None and twin.winners:
            drawn = [successor.in_vocabulary(one) if strict else one.hits(steps) for one in twin.winners]
            other = np.mean([one.mean(0) for one in drawn], axis=0)
        one = _scores(name, values, lost, n, other, low=low, high=high, **more)
        made[name] = one if strict else replace(one, controls=(*one.controls, shifted))
    return made


def sums(values: npt.NDArray[np.float32], shape: tuple[int, int], axis: int) -> tuple[Floats, int]:
    """Mean over writers (axis 0) or readers (axis 1) of [writer reader], per head; the most pairs a head has."""
    known = np.isfinite(values)
    count = known.sum(axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(axis, dtype=np.float64) / np.where(count > 0, count, np.nan)
    return mean.reshape(shape), int(count.max(initial=0))


def _pairs(found: Measured, twin: Measured | None, lost: Lost) -> dict[str, HeadScores]:
    made = {}
    shape = (lost.ov.shape[0], lost.ov.shape[1])
    for kind, one in found.pairs.items():
        for name, axis in (("composition_in", 0), ("composition_out", 1)):
            values, n = sums(one.excess, shape, axis)
            other = sums(twin.pairs[kind].excess, shape, axis)[0] if twin and kind in twin.pairs else None
            made[f"{name}/{kind}"] = _scores(name, values, lost, max(n, 1), other, kind, no_null=_described(name))
    return made


def rank_correlations(grids: Mapping[str, Floats], pairs: Sequence[tuple[str, str]]) -> dict[str, float | None]:
    """Spearman's correlation over heads of each pair of scores that there are."""
    from scipy.stats import spearmanr

    found: dict[str, float | None] = {}
    for a, b in pairs:
        if a in grids and b in grids:
            known = np.isfinite(grids[a]) & np.isfinite(grids[b])
            some = known.sum() > 2 and np.ptp(grids[a][known]) > 0 and np.ptp(grids[b][known]) > 0
            found[f"{a}~{b}"] = float(spearmanr(grids[a][known], grids[b][known]).statistic) if some else None
    return found


def descending(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """1 for the largest number, and so on, in the shape of `values`; NaN comes last."""
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), axis=None, kind="stable")
    ranks = np.empty(values.size, np.int64)
    ranks[order] = np.arange(1, values.size + 1)
    return ranks.reshape(values.shape)


def agreement(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32], n_heads: int
) -> tuple[float | None, float | None]:
    """Rank correlation of two grids [writer reader]: over all pairs, and its median over pairs of layers."""
    layers = len(one) // n_heads
    first, second = one.astype(np.float64), other.astype(np.float64)
    a, b = (grid.reshape(layers, n_heads, layers, n_heads).transpose(0, 2, 1, 3) for grid in (first, second))
    blocks = [spearman(a[i, j], b[i, j]) for i, j in zip(*np.triu_indices(layers, 1), strict=True)]
    known = [rho for rho in blocks if np.isfinite(rho)]
    whole = spearman(first, second)
    return (whole if np.isfinite(whole) else None), (float(np.median(known)) if known else None)
