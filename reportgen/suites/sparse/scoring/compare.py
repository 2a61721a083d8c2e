"""Counts of heads and edges over many prompts, side by side for the dense, thresholded and sparse model.

Per prompt [prompt], NaN where a count does not exist (nothing attributed, gap not positive, not reached):
    m, p_answer, solved    metric, probability of the answer, 1 where it is the first guess
    h80                    fewest heads with 80 % of the positive edge attribution on the template's link
    n90                    fewest edges with 90 % of sum |E|
    nonzero                edges with P > 0
    edges_90               causal: fewest edges kept, the others resampled from other text, with 90 % of the gap
    edges_90_twin          the same, the others resampled from the prompt's corrupted twin
    edges_90_zeroed        the same, the others sending nothing: off the distribution of a dense model
    heads_90               causal: fewest heads kept, the others giving the corrupted twin's output
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats, Progress
from reportgen.errors import DataError, SettingsError
from reportgen.models.tokens import Tokens
from reportgen.scores import head_name
from reportgen.stats import bootstrap_interval
from reportgen.suites.sparse.facts import DrawnPrompt, FeatureGroup, PromptColumn
from reportgen.suites.sparse.scoring import edges, prompts
from reportgen.suites.sparse.scoring.edges import EdgeTrace, ModelColumn, Scan
from reportgen.suites.sparse.scoring.gates import hooks
from reportgen.suites.sparse.scoring.prompts import Ids, PromptGroup, contexts
from reportgen.suites.sparse.suite import GROUPS_FORM, PairTask, Settings, read_feature_groups

if TYPE_CHECKING:
    from reportgen.models.model import Model

COUNTS = ("h80", "n90", "nonzero", "edges_90", "edges_90_twin", "edges_90_zeroed", "heads_90")
PER_PROMPT = ("m", "p_answer", "solved", *COUNTS)
SIZES = (*range(1, 11), *(round(10 * 1.2**i) for i in range(1, 42)))  # edges kept at which shares are stored


@dataclass(frozen=True, eq=False)
class Comparison:
    """values [column metric prompt], curves [column prompt size] share of the gap with `sizes` edges kept.

    templates [prompt] index; links (key, query) of each template; kl, same [prompt] between first and last column.
    """

    columns: tuple[str, ...]
    values: Floats
    curves: Floats
    sizes: tuple[int, ...]
    templates: npt.NDArray[np.int64]
    links: tuple[tuple[int, int], ...]
    kl: Floats
    same: Floats

    def of(self, column: str, metric: str) -> Floats:
        """[prompt] one metric of one column."""
        found: Floats = self.values[self.columns.index(column), PER_PROMPT.index(metric)]
        return found


@dataclass(frozen=True)
class Scope:
    """What is scanned: `draws` contexts of other text behind a resampled edge (0: no text), edges zeroed or not.

    exact_heads  models with more heads have them ranked by first-order effect
    """

    draws: int
    zeroed: bool
    seed: int
    exact_heads: int = 256


def compare(
    columns: Sequence[ModelColumn], groups: Sequence[PromptGroup], text: Ids | None, scope: Scope, progress: Progress
) -> Comparison:
    """Measure every prompt in every column. The first column is dense, the last sparse; `text` [sequence pos]."""
    total = sum(len(group) for group in groups)
    values = np.full((len(columns), len(PER_PROMPT), total), np.nan)
    curves = np.full((len(columns), total, len(SIZES)), np.nan)
    kl, same = np.empty(total), np.empty(total)
    links, done = [], 0
    for group in groups:
        rows = slice(done, done + len(group))
        traces = [edges.trace(column, group) for column in columns]
        attributions = [t.attribution().cpu().double().numpy() for t in traces]  # each [prompt layer head query key]
        link = edges.main_link([np.abs(attributions[i]).mean(0) for i in (0, -1)])
        links.append(link)
        kl[rows], same[rows] = agreement(columns, group)
        for c, column in enumerate(columns):
            values[c, :, rows] = _plain(traces[c], group, attributions[c], link).T
            progress(c * total + done, len(columns) * total, f"{column.name}: patching edges")
            for i, found in enumerate(causal(column, group, traces[c], text, scope, done)):
                for name, scan in found.items():
                    values[c, PER_PROMPT.index(name), done + i] = scan.reached
                curves[c, done + i] = _on_sizes(found.get("edges_90"))
        done += len(group)
    templates = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    names = tuple(column.name for column in columns)
    return Comparison(names, values, curves, SIZES, templates, tuple(links), kl, same)


def causal(
    column: ModelColumn, group: PromptGroup, clean: EdgeTrace, text: Ids | None, scope: Scope, first: int
) -> list[dict[str, Scan]]:
    """The scans of every prompt of one template by metric, those that have what they need.

    first  number of the template's first prompt among all: it picks the contexts
    """
    twins = None if group.corrupted is None else edges.trace(column, group, corrupted=True)
    other = None
    if text is not None and scope.draws:
        other = edges.trace_text(column, contexts(column.model.tokens, text, group.ids.shape[1]))
        orders = [
            np.random.default_rng([scope.seed, 81, first + i]).permutation(len(other.pattern))
            for i in range(len(group))
        ]
        picks = torch.from_numpy(np.array(orders)[:, : scope.draws]).to(clean.m.device)
    jobs: list[tuple[int, str, edges.Scanning]] = []
    for i in range(len(group)):
        own = take(clean, slice(i, i + 1))
        if other is not None:
            jobs.append((i, "edges_90", edges.fewest_edges(own, take(other, picks[i]), whole=True)))
        if twins is not None:
            twin = take(twins, slice(i, i + 1))
            jobs.append((i, "edges_90_twin", edges.fewest_edges(own, twin)))
            jobs.append((i, "heads_90", edges.fewest_heads(own, twin, scope.exact_heads)))
        if scope.zeroed:
            jobs.append((i, "edges_90_zeroed", edges.fewest_edges(own, None)))
    found: list[dict[str, Scan]] = [{} for _ in range(len(group))]
    for (i, name, _), scan in zip(jobs, edges.run_scans(column, group, [(i, s) for i, _, s in jobs]), strict=True):
        found[i][name] = scan
    return found


def take(trace: EdgeTrace, rows: slice | Tensor) -> EdgeTrace:
    """Some prompts of a trace; rows  a slice, or numbers on the trace's device."""
    return EdgeTrace(*(part[rows] if part.numel() else part for part in vars(trace).values()))


def _plain(found: EdgeTrace, group: PromptGroup, attribution: Floats, link: tuple[int, int]) -> Floats:
    """[prompt metric] everything that needs no patching."""
    key, query = link
    out = np.full((len(group), len(PER_PROMPT)), np.nan)
    out[:, 0], out[:, 1] = _numpy(found.m), _numpy(found.p_answer)
    out[:, 2] = _numpy(found.top) == group.answers
    out[:, PER_PROMPT.index("nonzero")] = _numpy((found.pattern > 0).flatten(1).sum(1))
    for i, one_prompt in enumerate(attribution):
        heads = edges.heads_for_link(one_prompt, query, key)
        out[i, PER_PROMPT.index("h80")] = len(heads) or np.nan
        out[i, PER_PROMPT.index("n90")] = edges.edges_holding(one_prompt, edges.ENOUGH)
    return out


def _numpy(tensor: Tensor) -> Floats:
    return tensor.cpu().double().numpy()


def agreement(columns: Sequence[ModelColumn], group: PromptGroup) -> tuple[Floats, Floats]:
    """KL(first || last column) in nats and whether the first guesses agree, at the last position [prompt]."""
    ids = torch.as_tensor(group.ids, device=columns[0].model.device)
    one_, other = (c.model.run(ids, hooks(c.model, c.rule), last=True)[:, -1] for c in (columns[0], columns[-1]))
    logs = one_.log_softmax(-1), other.log_softmax(-1)
    return _numpy((logs[0].exp() * (logs[0] - logs[1])).sum(-1)), _numpy(one_.argmax(-1) == other.argmax(-1))


def _on_sizes(scan: Scan | None) -> Floats:
    """The scan's share at `SIZES`, read at the largest number tried that is no larger; 1 beyond all edges."""
    if scan is None or not len(scan.kept):
        return np.full(len(SIZES), np.nan)
    at = np.searchsorted(scan.kept, SIZES, side="right") - 1
    return np.where(np.array(SIZES) >= scan.kept[-1], scan.share[-1], scan.share[at])


@dataclass(frozen=True)
class Mean:
    """A mean over `n` prompts with its 95 % interval; `missing` prompts have no value."""

    mean: float
    low: float
    high: float
    n: int
    missing: int


def mean_of(
    values: Floats, templates: npt.NDArray[np.int64], draws: int, rng: np.random.Generator, per: Floats | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Mean:  # fmt: skip
    """Mean (or ratio of means to `per`) over prompts that have a value; templates are resampled, then prompts."""
    known = np.isfinite(values) & (np.isfinite(per) if per is not None else True)
    missing = int((~known).sum())
    if not known.any():
        return Mean(float("nan"), float("nan"), float("nan"), 0, missing)
    x, labels = values[known], [int(t) for t in templates[known]]
    scale = None if per is None else per[known]
    low, high = bootstrap_interval(x, labels, rng, per=scale, draws=draws, bounds=bounds)
    centre = float(x.mean() / (1.0 if scale is None else scale.mean()))
    return Mean(centre, float(low), float(high), int(known.sum()), missing)


def bounds_of(metric: str) -> tuple[float, float]:
    """Least and largest value of a metric per prompt."""
    return (-np.inf, np.inf) if metric == "m" else (0.0, np.inf if metric in COUNTS else 1.0)


def summary(
    comparison: Comparison, draws: int, rng: np.random.Generator
) -> tuple[Mapping[str, Mapping[str, Mean]], Mapping[str, Mapping[str, Mean]]]:
    """(column -> metric -> mean, other column -> count -> its ratio to the sparse model).

    Ratios are of means over the prompts that both models solve and where both counts exist.
    """
    means = {
        column: {
            metric: mean_of(comparison.of(column, metric), comparison.templates, draws, rng, bounds=bounds_of(metric))
            for metric in PER_PROMPT
        }
        for column in comparison.columns
    }
    last = comparison.columns[-1]
    ratios: dict[str, dict[str, Mean]] = {}
    for column in comparison.columns[:-1]:
        both = (comparison.of(column, "solved") == 1) & (comparison.of(last, "solved") == 1)
        ratios[column] = {
            name: mean_of(np.where(both, comparison.of(column, name), np.nan), comparison.templates, draws, rng,
                          per=comparison.of(last, name), bounds=bounds_of(name))
            for name in COUNTS
        }  # fmt: skip
    return means, ratios


# The one prompt whose circuit is drawn: its link, and the heads of each model that carry it.

MOST_PANELS = 48  # heads drawn per model


@dataclass(frozen=True, eq=False)
class ExamplePrompt:
    """`facts` for captions; `panels` [panel query key] used patterns, `of` column and head of each panel."""

    facts: DrawnPrompt
    panels: npt.NDArray[np.float32]
    of: tuple[str, ...]


def choose_prompt(tokens: Tokens, settings: Settings, task: PairTask, groups: Sequence[PromptGroup]) -> PromptGroup:
    """The user's prompt, else the task's drawn one, else the first that this tokenizer has."""
    if settings.prompt:
        return prompts.own(tokens, settings.prompt, settings.answer, settings.foil, settings.corrupted)
    return prompts.drawn(tokens, task) or groups[0].row(0)


def check_prompt(settings: Settings, group: PromptGroup, model: Model) -> None:
    """SettingsError for a link, DataError for feature groups that the prompt or the model does not have."""
    size = group.ids.shape[1]
    _given_link(settings, size)
    _feature_groups(settings, size, model.record.n_layers)


def measure_prompt(
    columns: Sequence[ModelColumn], group: PromptGroup, text: Ids | None, scope: Scope, settings: Settings
) -> ExamplePrompt:
    """Every column on the one prompt of `group`; panels for the first (dense) and the last (sparse)."""
    tokens = columns[0].model.tokens
    traces = [edges.trace(column, group) for column in columns]
    found = [t.attribution()[0].cpu().double().numpy() for t in traces]  # each [layer head query key]
    key, query = _link(settings, [found[0], found[-1]], group)
    kl, same = agreement(columns, group)
    counted: dict[str, PromptColumn] = {}
    panels: list[npt.NDArray[np.float32]] = []
    of: list[str] = []
    for column, trace, attribution in zip(columns, traces, found, strict=True):
        heads = edges.heads_for_link(attribution, query, key)
        link = attribution[:, :, query, key]
        shares = [float(link[head] / np.maximum(link, 0).sum()) for head in heads]
        scans = causal(column, group, trace, text, scope, 0)[0]
        counted[column.name] = PromptColumn(
            m=float(trace.m[0]),
            p_answer=float(trace.p_answer[0]),
            guess=tokens.text(int(trace.top[0])),
            solved=int(trace.top[0]) == int(group.answers[0]),
            h80=len(heads),
            heads=[head_name(*head) for head in heads],
            shares=shares,
            negative=float(np.minimum(link, 0).sum()),
            n90=_whole(edges.edges_holding(attribution, edges.ENOUGH)),
            nonzero=int((trace.pattern > 0).sum()),
            **{name: _whole(scan.reached) for name, scan in scans.items()},
        )
        if column in (columns[0], columns[-1]):
            panels += [trace.pattern[0, layer, head].cpu().numpy() for layer, head in heads[:MOST_PANELS]]
            of += [f"{column.name} {head_name(*head)}" for head in heads[:MOST_PANELS]]
    size = group.ids.shape[1]
    words = [tokens.text(int(i)) for i in group.ids[0]]
    return ExamplePrompt(
        DrawnPrompt(
            tokens=words,
            answer=tokens.text(int(group.answers[0])),
            foil="" if group.foils is None else tokens.text(int(group.foils[0])),
            corrupted="" if group.corrupted is None else tokens.decode([int(i) for i in group.corrupted[0]]),
            key=key,
            query=query,
            causal_pairs=columns[0].model.record.n_layers * columns[0].model.record.n_heads * size * (size + 1) // 2,
            kl_nats=float(kl[0]),
            same_guess=bool(same[0]),
            columns=counted,
            feature_groups=_feature_groups(settings, size, columns[0].model.record.n_layers),
        ),
        np.array(panels, dtype=np.float32).reshape(-1, size, size),
        tuple(of),
    )


def _whole(value: float) -> int | None:
    """A count for `facts`; None: not reached."""
    return None if np.isnan(value) else int(value)


def _link(settings: Settings, attributions: list[npt.NDArray[np.float64]], group: PromptGroup) -> tuple[int, int]:
    return _given_link(settings, group.ids.shape[1]) or edges.main_link(attributions)


def _given_link(settings: Settings, size: int) -> tuple[int, int] | None:
    given = settings.positions()
    if given is not None and given[1] >= size:
        raise SettingsError(
            f"sparse.link {settings.link} is outside the prompt of {size} tokens.", f"Its last position is {size - 1}."
        )
    return given


def _feature_groups(settings: Settings, size: int, n_layers: int) -> list[FeatureGroup]:
    """The user's feature groups, checked against the prompt and the model."""
    if not settings.feature_groups:
        return []
    path = Path(settings.feature_groups)
    groups = read_feature_groups(path)
    for group in groups:
        low, high = group.layers
        if not (0 <= group.position < size and 0 <= low <= high <= n_layers):
            raise DataError(f"{path}: {group.name!r} is outside the prompt or the model.", GROUPS_FORM)
    return [FeatureGroup(name=g.name, position=g.position, layers=g.layers) for g in groups]
