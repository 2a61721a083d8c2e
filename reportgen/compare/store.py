"""A comparison as its own run folder: it renders, exports and is checked like any other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from reportgen import __version__, suites
from reportgen.compare.numbers import (
    TITLE,
    Correlation,
    Difference,
    at_depths,
    by_depth,
    changed,
    difference,
    differences,
    lineage,
    of_suite,
    profile,
    sentences,
    sized,
    spearman,
)
from reportgen.errors import RunError, SettingsError, nearest
from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord, command_line
from reportgen.nulls import is_signed
from reportgen.report.labels import score_names
from reportgen.report.paper import run_hash
from reportgen.runfolder import Run, RunWriter, check_slug, resume_key, slug_of
from reportgen.scores import Cell, Column, HeadScores, NamedArray, NotComputed, SuiteResult, Table
from reportgen.suites import COMPARED, COMPARED_NAME

MOST_RUNS = 8
Scores = dict[str, list[HeadScores]]  # key -> one per run


@dataclass(frozen=True)
class ComparisonRequest:
    """What to compare: `measures` as suite/measure (none: `_first`), `declared` = one lineage."""

    measures: tuple[str, ...] = ()
    declared: bool = False


def compare(runs: Sequence[Run], asked: ComparisonRequest, out: Path, name: str = "") -> Run:
    """Compare stored runs and store the result as a run in `out`; replaces an earlier comparison of them.

    Raises UserError: fewer than two runs or more than eight, one run twice, nothing in common, an unknown measure, a
    lineage of different grids.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise RunError(f"{len(runs)} runs to compare: expected 2 to {MOST_RUNS}.", "Type: reportgen compare RUN RUN")
    if len({os.path.realpath(run.path) for run in runs}) < len(runs):
        raise RunError("A run can't be compared with itself.", "Name different run folders.")
    grids = {run.path.resolve().name: f"{run.model.n_layers} x {run.model.n_heads}" for run in runs}
    if asked.declared and len(set(grids.values())) > 1:
        said = ", ".join(f"{name} has {grid} heads" for name, grid in grids.items())
        raise SettingsError(f"--lineage: runs of one lineage have the same grid; {said}.", "Compare without --lineage.")
    names = names_of(runs)
    shared = common(runs, asked.measures)
    words = lineage(runs, asked.declared)
    found = result(names, runs, shared, words)
    settings: dict[str, object] = {
        "runs": [_said(n, run) for n, run in zip(names, runs, strict=True)],
        "hashes": [run_hash(run.manifest) for run in runs],
        "measures": sorted({"/".join(key.split("/")[:2]) for key in shared}),
        "lineage": words or "different models",
    }
    slug = check_slug(name) if name else _slug(runs)
    record = SuiteRecord(
        "done", COMPARED.version, settings, {}, resume_key=resume_key(suite=COMPARED.name, settings=settings)
    )
    with RunWriter(out / slug, _manifest(names, runs, slug)) as writer:
        kept = runs[0].overlay_files() if words else []
        writer.keep_overlays({file.name: file.read_bytes() for file in kept})
        writer.store(COMPARED_NAME, found, record)
        return writer.run


def names_of(runs: Sequence[Run]) -> list[str]:
    """Display names of the runs: the models' names, with the folder's if two are equal."""
    plain = [run.model.name for run in runs]
    return [n if plain.count(n) == 1 else run.path.resolve().name for n, run in zip(plain, runs, strict=True)]


def _slug(runs: Sequence[Run]) -> str:
    long = "compare--" + "--".join(slug_of(run.path.resolve().name) for run in runs)
    if len(long) <= 120:
        return long
    return f"{long[:100]}-{hashlib.sha256(long.encode()).hexdigest()[:8]}"


def common(runs: Sequence[Run], measures: Sequence[str] = ()) -> Scores:
    """The scores that all runs have, for the requested measures. RunError if there are none."""
    tables = [{s.key: s for result in run.results.values() for s in result.scores} for run in runs]
    keys = [key for key in tables[0] if all(key in table for table in tables)]
    kinds = list(dict.fromkeys("/".join(key.split("/")[:2]) for key in keys))
    unknown = [m for m in measures if m not in kinds]
    if unknown:
        raise SettingsError(f"--measure {unknown[0]!r}: not in every run.", nearest(unknown[0], kinds))
    if not keys:
        raise RunError("The runs have no score in common.", "Score both with the same suite.")
    wanted = set(measures) or set(_first(kinds, keys))
    return {key: [table[key] for table in tables] for key in keys if "/".join(key.split("/")[:2]) in wanted}


def _first(kinds: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Each suite's first measure in its own order, and every measure that has a single task."""
    known, found = suites.known(), []
    for name in dict.fromkeys(kind.split("/")[0] for kind in kinds):
        mine = [kind for kind in kinds if kind.split("/")[0] == name]
        order = [f"{name}/{m.name}" for m in known[name].measures] if name in known else mine
        ranked = sorted(mine, key=lambda kind: order.index(kind) if kind in order else len(order))
        single = [kind for kind in mine if sum(key.startswith(f"{kind}/") for key in keys) == 1]
        found += list(dict.fromkeys((*ranked[:1], *(single if len(single) == len(mine) else ()))))
    return found


def result(names: Sequence[str], runs: Sequence[Run], shared: Scores, words: str) -> SuiteResult:
    """The data for a comparison's figures and tables."""
    compared = list(dict.fromkeys(key.split("/")[0] for key in shared))
    known = suites.known()
    named = score_names(runs[0].result(suite) for suite in compared)
    own = {suite: list(of_suite(runs, suite, known.get(suite))) for suite in compared}
    differ = [*differences(runs, compared), *(row for rows in own.values() for row in rows)]
    scores = _differences(names, shared) if words else []
    tables = [ranks(names, shared, bool(words))]
    tables.append(changed(names, runs) if words else by_depth(names, runs))
    tables.append(_table(names, differ))
    arrays = {
        f"{key}/{i}": NamedArray(("layer", "head"), score.exact_values)
        for key, scored in shared.items()
        for i, score in enumerate(scored)
    }
    return SuiteResult(
        COMPARED_NAME,
        scores=tuple(scores),
        tables=tuple(table for table in tables if table.rows),
        arrays=arrays,
        facts={
            "names": list(names),
            "described": [
                f"{n} ({r.model.dequantised})" if r.model.dequantised else n for n, r in zip(names, runs, strict=True)
            ],
            "keys": list(shared),
            "labels": {key: named.get(key, scored[0].label) for key, scored in shared.items()},
            "ranges": {key: _range(scored) for key, scored in shared.items()},
            "signed": [key for key, scored in shared.items() if any(is_signed(s) for s in scored)],
            "n": {key: [s.n for s in scored] for key, scored in shared.items()},
            "lineage": words,
            "banner": sentences(names, runs, differ),
            "banner_of": {s: sentences(names, runs, [*differences(runs, [s]), *rows]) for s, rows in own.items()},
            "titles": _titles(compared),
        },
        not_computed=(*_left_out(names, runs, compared), *(() if words else (NotComputed("difference maps", _APART),))),
    )


def _titles(compared: Sequence[str]) -> dict[str, str]:
    """Suite or suite/measure -> its title, of the suites that are installed here."""
    known = suites.known()
    mine = [known[name] for name in compared if name in known]
    return {s.name: s.title for s in mine} | {f"{s.name}/{m.name}": m.title for s in mine for m in s.measures}


def _left_out(names: Sequence[str], runs: Sequence[Run], compared: Sequence[str]) -> list[NotComputed]:
    """Suites that are not compared, as not every run has scores of them under one name."""
    gone = []
    for suite in dict.fromkeys(name for run in runs for name in run.done() if name not in compared):
        without = [name for name, run in zip(names, runs, strict=True) if suite not in run.done()]
        why = f"not scored in {', '.join(without)}" if without else "no score of it is compared here"
        gone.append(NotComputed(f"comparison of {suite}", why))
    return gone


def _range(scored: Sequence[HeadScores]) -> list[float | None]:
    """The widest range of the runs, None where there is no bound: scores of one range may share axes."""
    low, high = min(s.range[0] for s in scored), max(s.range[1] for s in scored)
    return [low if np.isfinite(low) else None, high if np.isfinite(high) else None]


_APART = (
    "the runs are of different models, so head indices do not correspond; for checkpoints of one training run, "
    "add --lineage"
)


def _differences(names: Sequence[str], shared: Scores) -> list[HeadScores]:
    """Every run minus the first, score by score."""
    made = []
    for key, found in shared.items():
        for i, other in enumerate(found[1:], start=1):
            tail = "" if len(found) == 2 else f".{i}"
            task = key.replace("/", ".") + tail
            label = f"{found[0].label}, difference" + ("" if len(found) == 2 else f" of {names[i]}")
            made.append(difference(f"{COMPARED_NAME}/difference/{task}", label, found[0], other))
    return made


def ranks(names: Sequence[str], shared: Scores, same_heads: bool) -> Table:
    """Spearman's correlation of every run with the first: over heads in one lineage, else over layers by depth."""
    rows: list[tuple[Cell, ...]] = []
    for found in shared.values():
        signed = any(is_signed(s) for s in found)
        for i, other in enumerate(found[1:], start=1):
            rho = correlation(found[0], other, signed, same_heads)
            rows.append((found[0].label, names[0], names[i], *(_cell(v) for v in (rho.rho, rho.low, rho.high)), rho.n))
    over = "heads" if same_heads else "layers"
    columns = (
        Column("score"), Column("run"), Column("other run"), Column("Spearman"), Column("from"), Column("to"),
        Column(over),
    )  # fmt: skip
    of = (
        "the values of the same heads"
        if same_heads
        else "layer profiles (mean over heads, of absolute values if values can be negative) at matched relative "
        "depths, one per layer of the shallower model"
    )
    caption = f"Rank correlation of {of}; 95 % bootstrap interval over {over}, 2,000 draws."
    return Table("ranks", "Rank correlation", columns, tuple(rows), caption)


def correlation(first: HeadScores, other: HeadScores, signed: bool, same_heads: bool) -> Correlation:
    """Over heads, or over matched relative depths."""
    if same_heads:
        return spearman(first.exact_values.astype(np.float64).ravel(), other.exact_values.astype(np.float64).ravel())
    count = min(len(first.values), len(other.values))
    means = [profile(sized(s.exact_values, signed))[:, 0] for s in (first, other)]
    return spearman(*(at_depths(mean, count) for mean in means))


def _cell(value: float) -> Cell:
    return value if np.isfinite(value) else None


def _table(names: Sequence[str], differ: Sequence[Difference]) -> Table:
    columns = (Column("what"), *(Column(name) for name in names))
    rows = tuple((row.what, *row.values) for row in differ)
    return Table("settings", TITLE, columns, rows, "A difference in scores may come from these.", folded=len(rows) > 4)


def _said(name: str, run: Run) -> str:
    model = run.model
    grid = f"{model.n_layers} × {model.n_heads} heads"
    weights = ", ".join(filter(None, (f"{model.weights} {model.dtype}".strip(), model.dequantised)))
    return f"{name}: {grid}, {weights}, {run.manifest.created[:10]}"


def _manifest(names: Sequence[str], runs: Sequence[Run], slug: str) -> Manifest:
    models = [run.model for run in runs]
    title = f"{', '.join(names[:-1])} and {names[-1]}"
    whole = hashlib.sha256("\n".join(m.content_hash for m in models).encode()).hexdigest()
    record: ModelRecord = msgspec.structs.replace(
        models[0], id=title, title=title, slug=slug, source="comparison", revision="", content_hash=whole,
        self_check=None, hub_id=models[0].hub_id if len({m.hub_id for m in models}) == 1 else "",
        synthetic=any(m.synthetic for m in models),
    )  # fmt: skip
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(
        schema_version=SCHEMA_VERSION, model=record, device="", device_name="", threads=0, seed=0, preset="",
        created=now, updated=now, argv=command_line(), versions={"reportgen": __version__},
        synthetic=any(run.manifest.synthetic for run in runs), published_as=runs[0].manifest.published_as,
    )  # fmt: skip
