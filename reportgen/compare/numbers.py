"""The contents of a comparison: lineage, differing settings, differences of scores, heads that changed class."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from reportgen import suites
from reportgen.aliases import Floats
from reportgen.manifest import SuiteRecord
from reportgen.published import plain_id
from reportgen.report.about import by_suite, setting_words
from reportgen.report.text import plural, value_words
from reportgen.runfolder import Run
from reportgen.scores import (
    EVERY_HEAD,
    Cell,
    Column,
    FloatGrid,
    Head,
    HeadScores,
    HeadSet,
    SuiteResult,
    Table,
    head_name,
)
from reportgen.suites.base import Classes, Suite

# Whether runs share a lineage: head indices do not correspond across models, so heads are subtracted only within one.


def lineage(runs: Sequence[Run], declared: bool = False) -> str:
    """Why head L1H2 of one run is head L1H2 of the others, in words; empty if it is not.

    The same weights, revisions of one hub model, or declared by the user; the same grid in every case.
    """
    first = runs[0].model
    shape = (first.n_layers, first.n_heads)
    if any((run.model.n_layers, run.model.n_heads) != shape for run in runs):
        return ""
    imported = any(run.model.source == "import" for run in runs)
    if not imported and all(run.model.content_hash == first.content_hash for run in runs):
        return "the same weights"
    if first.hub_id and all(plain_id(run.model.hub_id) == plain_id(first.hub_id) for run in runs):
        return f"revisions of {first.hub_id}"
    return "declared with --lineage" if declared else ""


# Differences between the runs in settings, seeds, data. A difference in scores may come from these.

EXAMPLES = ("pair", "prompt", "example", "question", "sequence", "text", "document")  # dimensions that name data
TITLE = "Data and settings that differ"  # of the table that holds every row
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Difference:
    """One thing that differs: what, and its value in each run. of_examples: it is the examples scored."""

    what: str
    values: tuple[str, ...]
    of_examples: bool = False

    def words(self, names: Sequence[str]) -> str:
        """`relations.tau: 0.15 in mini; 0.2 in mini-b`."""
        return f"{self.what}: " + "; ".join(
            f"{value} in {name}" for name, value in zip(names, self.values, strict=True)
        )


def differences(runs: Sequence[Run], compared: Sequence[str]) -> list[Difference]:
    """Everything but a suite's own that could make scores of the suites `compared` differ although models do not."""

    def each(words: Callable[[SuiteRecord], str]) -> list[str]:
        of = [{name: run.manifest.suites[name] for name in compared} for run in runs]
        return [
            by_suite(msgspec.structs.replace(r.manifest, suites=some), words) for r, some in zip(runs, of, strict=True)
        ]

    rows = [
        _row("seed", each(lambda record: str(record.seed))),
        _row("preset", each(lambda record: record.preset)),
        _row("weights", [run.model.weights for run in runs]),
        _row("dtype", each(lambda record: record.dtype)),
        _known("device", each(lambda record: record.device)),
        _known("threads", each(lambda record: str(record.threads or ""))),
        _known("torch", each(lambda record: record.versions.get("torch", ""))),
        _row("first token", [run.model.bos for run in runs]),
        _row("synthetic scores", [value_words(run.manifest.synthetic or run.model.synthetic) for run in runs]),
    ]
    return [row for row in rows if row is not None]


def sentences(names: Sequence[str], runs: Sequence[Run], rows: Sequence[Difference]) -> list[str]:
    """The rows in words; of models with different vocabularies their examples are one sentence."""
    sizes = [run.model.d_vocab for run in runs]
    of_examples = [row for row in rows if row.of_examples]
    if len(set(sizes)) == 1 or not of_examples:
        return [row.words(names) for row in rows]
    known = " and ".join(f"{size:,} in {name}" for name, size in zip(names, sizes, strict=True))
    kept = f"the vocabularies differ (tokens: {known}), so each run uses the examples that its own tokenizer keeps"
    return [f"{kept} (see the table {TITLE!r})", *(row.words(names) for row in rows if not row.of_examples)]


def _row(what: str, values: Sequence[str]) -> Difference | None:
    short = tuple(_short(value) for value in values)
    return Difference(what, short) if len(set(values)) > 1 else None


def _known(what: str, values: Sequence[str]) -> Difference | None:
    """A row that is left out where a run does not say, as one of an imported table does not."""
    return _row(what, values) if all(values) else None


def _short(value: str) -> str:
    return value[:12] if _DIGEST.fullmatch(value) else value or "–"


def of_suite(runs: Sequence[Run], suite: str, known: Suite | None) -> Iterator[Difference]:
    """What differs in one suite: version, settings, data files, and the examples scored. known: it is installed."""
    done = [run.manifest.suites[suite] for run in runs]
    rows = [_row(f"{suite}: version", [str(record.version) for record in done])]
    names = dict.fromkeys(name for record in done for name in record.settings)
    given = {name: [setting_words(known, name, record.settings.get(name)) for record in done] for name in names}
    rows += [_row(f"{suite}.{name}", words) for name, words in given.items()]
    read = [record.data for record in done]  # runs of older versions have none
    files = dict.fromkeys(name for data in read for name in data) if all(read) else {}
    rows += [_row(f"{suite}: data file {name}", [data.get(name, "not read") for data in read]) for name in files]
    yield from (row for row in rows if row is not None)
    yield from _data(suite, [run.result(suite) for run in runs])


def _data(suite: str, results: Sequence[SuiteResult]) -> Iterator[Difference]:
    """Examples by their stored names, and n, of what all runs scored."""
    shared = sorted(set.intersection(*(set(r.arrays) for r in results)))
    for dim in EXAMPLES:
        labels = [[r.arrays[name].labels.get(dim, ()) for name in shared] for r in results]
        other = [i for i in range(len(shared)) if len({found[i] for found in labels}) > 1]
        if other:
            values = tuple(_examples([found[i] for i in other], dim) for found in labels)
            yield Difference(f"{suite}: {dim}s of {_list([shared[i] for i in other])}", values, of_examples=True)
    counts: dict[tuple[str, ...], list[str]] = {}
    for score in results[0].scores:
        others = [other for r in results for other in r.scores if other.key == score.key]
        values = tuple(str(other.n) for other in others)
        if len(others) == len(results) and len(set(values)) > 1:
            counts.setdefault(values, []).append(score.key.split("/", 1)[1])
    for values, keys in counts.items():
        yield Difference(f"{suite}: n of {_list(keys)}", values, of_examples=True)


def _examples(labels: Sequence[tuple[str, ...]], dim: str) -> str:
    """How many examples, and a hash of them: `800 pairs, 3fa2b1c4`."""
    text = "\0".join(name for names in labels for name in names)
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{plural(sum(len(names) for names in labels), dim)}, {digest}"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"


# Heads whose class differs between runs: categories of relations, and sets that the suites computed.

YES, NO, OPEN = "yes", "no", "open: the interval spans the threshold"


def changed(names: Sequence[str], runs: Sequence[Run]) -> Table:
    """Runs of one lineage: every head that is in a class in some run and not in another."""
    rows = [*_categories(runs), *_sets(runs)]
    columns = (Column("head"), Column("class"), *(Column(name) for name in names))
    caption = (
        "A class is a category of relations (a score at or above the threshold) or a set that a suite computed. If a "
        "95 % interval spans the threshold the change is open: another sample of examples may reverse it."
    )
    return Table("changed", "Heads that changed class", columns, tuple(rows), caption)


def _categories(runs: Sequence[Run]) -> Iterator[tuple[Cell, ...]]:
    """Classes that a suite of all runs puts heads in."""
    done = set[str].intersection(*(set(run.done()) for run in runs))
    for suite in suites.known().values():
        if suite.name in done and suite.classes:
            yield from _moved([suite.load_classes()(run.result(suite.name)) for run in runs])


def _moved(found: Sequence[Classes | None]) -> Iterator[tuple[Cell, ...]]:
    members = [m for m in found if m is not None]
    if len(members) < len(found):
        return
    for name in [n for n in members[0].names if all(n in m.names for m in members)]:
        at = [m.names.index(name) for m in members]
        inside = np.stack([m.member[i] for m, i in zip(members, at, strict=True)])  # [run layer head]
        unsure = np.stack([m.unsure[i] for m, i in zip(members, at, strict=True)])
        for layer, head in np.argwhere(inside.any(0) & ~inside.all(0)):
            words = [_word(bool(i[layer, head]), bool(u[layer, head])) for i, u in zip(inside, unsure, strict=True)]
            yield head_name(int(layer), int(head)), name, *words


def _word(inside: bool, unsure: bool) -> str:
    word = YES if inside else NO
    return f"{word}, {OPEN}" if unsure else word


def _computed(run: Run) -> dict[str, HeadSet]:
    return {s.key: s for result in run.results.values() for s in result.head_sets if s.kind == "computed"}


def _sets(runs: Sequence[Run]) -> Iterator[tuple[Cell, ...]]:
    sets = [_computed(run) for run in runs]
    for key in [key for key in sets[0] if all(key in found for found in sets)]:
        inside: list[set[Head]] = [set(found[key].heads) for found in sets]
        label = f"{sets[0][key].label} ({key.split('/')[1]})"
        for head in sorted(set[Head]().union(*inside) - inside[0].intersection(*inside)):
            yield head_name(*head), label, *(YES if head in heads else NO for heads in inside)


def by_depth(names: Sequence[str], runs: Sequence[Run]) -> Table:
    """Runs of different models: the size of each computed set and the depth of its heads."""
    sets = [_computed(run) for run in runs]
    rows: list[tuple[Cell, ...]] = []
    for key in dict.fromkeys(key for found in sets for key in found):
        for name, run, found in zip(names, runs, sets, strict=True):
            if key in found:
                rows.append((f"{found[key].label} ({key.split('/')[1]})", name, *_depth(run, found[key])))
    columns = (
        Column("set"), Column("run"), Column("heads"), Column("share of heads"), Column("mean relative depth"),
        Column("which"),
    )  # fmt: skip
    caption = "Relative depth: 0 the first layer, 1 the last. Head indices do not correspond across models."
    return Table("sets", "Computed sets by depth", columns, tuple(rows), caption)


def _depth(run: Run, found: HeadSet) -> tuple[Cell, ...]:
    deep = depths(run.model.n_layers)
    inside = [h for h in found.heads if h[0] < run.model.n_layers]
    mean = float(np.mean([deep[layer] for layer, _ in inside])) if inside else None
    total = run.model.n_layers * run.model.n_heads
    return len(inside), len(inside) / total, mean, " ".join(head_name(*h) for h in inside)


def counts(table: Table) -> Mapping[str, int]:
    """How many heads changed, by class."""
    found: dict[str, int] = {}
    for row in table.rows:
        found[str(row[1])] = found.get(str(row[1]), 0) + 1
    return found


# Numbers of a comparison: differences with intervals, rank correlations, layer profiles.

DRAWS = 2000
SEED = 0
LEAST = 4  # points below which no correlation is given


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of `n` points with a 95 % bootstrap interval; NaN where there are too few points."""

    rho: float
    low: float
    high: float
    n: int


def difference(key: str, label: str, first: HeadScores, other: HeadScores) -> HeadScores:
    """`other` minus `first`, head by head, where both are exact.

    The interval combines both runs' 95 % intervals as if they were independent (MOVER; Zou and Donner 2008,
    Statistics in Medicine 27): runs that share examples have a narrower one.
    """
    values = other.exact_values.astype(np.float64) - first.exact_values.astype(np.float64)  # [layer head]
    low, high = _mover(values, first, other)
    ends = (first.range[0] - other.range[1], first.range[1] - other.range[0])
    reach = max((abs(end) for end in ends if math.isfinite(end)), default=math.inf)
    reach = reach if all(math.isfinite(end) for end in ends) else math.inf
    return HeadScores(
        key, label, values.astype(np.float32), n=min(first.n, other.n), low=low, high=high,
        no_null="a difference of two runs has no null here: read its interval", range=(-reach, reach),
        reasons=_reasons(values, first, other),
    )  # fmt: skip


def _mover(values: Floats, first: HeadScores, other: HeadScores) -> tuple[FloatGrid | None, FloatGrid | None]:
    if first.low is None or first.high is None or other.low is None or other.high is None:
        return None, None
    a, b = first.values.astype(np.float64), other.values.astype(np.float64)
    down = np.hypot(b - other.low, first.high - a)
    up = np.hypot(other.high - b, a - first.low)
    return (values - down).astype(np.float32), (values + up).astype(np.float32)


def _reasons(values: Floats, first: HeadScores, other: HeadScores) -> dict[str, str]:
    found = {}
    for layer, head in np.argwhere(np.isnan(values)):
        at = (int(layer), int(head))
        found[head_name(*at)] = first.note(*at) or other.note(*at) or "not computed"
    return found or {EVERY_HEAD: "not computed"}


def spearman(x: Floats, y: Floats) -> Correlation:
    """Spearman's rho of the points where both are known; the interval resamples points (2,000 draws, seed 0)."""
    known = np.isfinite(x) & np.isfinite(y)
    a, b = x[known], y[known]
    if len(a) < LEAST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(math.nan, math.nan, math.nan, len(a))
    draws = np.random.default_rng(SEED).integers(0, len(a), (DRAWS, len(a)))
    rhos = _rho(a[draws], b[draws])
    low, high = np.quantile(rhos[np.isfinite(rhos)], [0.025, 0.975])
    return Correlation(float(_rho(a[None], b[None])[0]), float(low), float(high), len(a))


def _rho(a: Floats, b: Floats) -> Floats:
    """Row by row [draw point]: Pearson's correlation of the mid-ranks; NaN where a row is constant."""
    from scipy.stats import rankdata

    x, y = rankdata(a, axis=1), rankdata(b, axis=1)
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1)), dtype=np.float64)


def sized(values: npt.NDArray[np.floating], signed: bool) -> Floats:
    """Values, or absolute values if a score can be negative."""
    plain = values.astype(np.float64)
    return np.abs(plain) if signed else plain


def depths(layers: int) -> Floats:
    """Relative depth of every layer: 0 the first, 1 the last."""
    return np.arange(layers) / max(1, layers - 1)


def profile(values: Floats) -> Floats:
    """[layer, 3] mean and quartiles over the heads of each layer; NaN for a layer without a value."""
    rows = []
    for row in values:
        known = row[np.isfinite(row)]
        rows.append((known.mean(), *np.quantile(known, [0.25, 0.75])) if known.size else (np.nan,) * 3)
    return np.array(rows, dtype=np.float64)


def at_depths(mean: Floats, count: int) -> Floats:
    """A profile's means at `count` equally spaced relative depths, by linear interpolation between layers."""
    known = np.isfinite(mean)
    if known.sum() < 2:
        return np.full(count, np.nan)
    return np.interp(depths(count), depths(len(mean))[known], mean[known])
