"""The site's data for other programs: the catalogue of published heads and an index of the runs, each with its schema.

The addresses name the version: fields may be added under the same one, and are renamed or removed only under the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from reportgen.figures.theme import clean
from reportgen.manifest import Manifest
from reportgen.nulls import beyond_null
from reportgen.published import load_catalogue, text_of
from reportgen.report.document import Report
from reportgen.report.labels import order
from reportgen.scores import HeadScores, head_name

HEADS, HEADS_SCHEMA = "published/v1/heads.json", "published/v1/heads.schema.json"
RUNS, RUNS_SCHEMA = "runs/v1/index.json", "runs/v1/index.schema.json"
BEST = 3  # heads named per score


class PublishedPaper(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A paper: its key, how it is cited, and its address."""

    key: str
    citation: str
    address: str


class PublishedList(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One class of heads of one model, as one paper gives it. `heads` are L9H6, layer and head from 0."""

    model: str
    hub_id: str  # the model's name at the hub, or in TransformerLens
    layers: int
    heads_per_layer: int
    name: str  # the class, in the paper's words
    task: str
    heads: list[str]
    scores: list[float]  # in the order of heads; empty where the paper gives none
    paper: str  # key of a paper
    where: str  # where the paper states it
    source: str  # file @ commit that the list was read from
    verified: bool  # read in the paper or in its authors' code
    overlay: str  # default, optional or off: whether figures draw it
    notes: str


class PublishedHeads(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Attention heads classified in published work."""

    format: str
    papers: list[PublishedPaper]
    lists: list[PublishedList]


class BestHead(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A head among the highest of a score; null: not computed."""

    head: str
    value: float
    low: float | None
    high: float | None
    p: float | None  # family-wise over the heads


class ScoreEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One score of a run: suite/measure/task."""

    key: str
    label: str
    n: int  # examples; 0: not given
    beyond_null: int | None  # heads beyond the family-wise null; null: it has none
    no_null: str
    best: list[BestHead]  # largest first, by size where values are signed


class SuiteEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One finished suite: its version, and the sha256 of its two files in the run folder."""

    name: str
    version: int
    preset: str
    seed: int | None
    sha256: dict[str, str]


class RunEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One run. `report` is its page and `scores` a table of all its numbers, below the site's root."""

    run: str
    name: str
    model: str
    hub_id: str
    revision: str
    content_hash: str  # sha256 over the model's files
    layers: int
    heads_per_layer: int
    created: str  # ISO 8601
    updated: str
    synthetic: bool
    report: str
    scores: str
    suites: list[SuiteEntry]
    measures: list[ScoreEntry]


class RunIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The runs of a site."""

    format: str
    runs: list[RunEntry]


def published_heads() -> PublishedHeads:
    """The bundled catalogue."""
    catalogue = load_catalogue()
    papers = [PublishedPaper(key, text_of(paper), paper.address) for key, paper in catalogue.papers.items()]
    lists = [
        PublishedList(
            e.model, e.tl_official_name, e.n_layers, e.n_heads, e.name, e.task, [head_name(*h) for h in e.heads],
            list(e.scores), e.paper, e.where, e.source, e.verified, e.overlay, e.notes,
        )
        for e in catalogue.entries
    ]  # fmt: skip
    return PublishedHeads("reportgen-published-1", papers, lists)


def run_index(found: Sequence[tuple[Manifest, Report]]) -> RunIndex:
    """The runs in the order of the site."""
    return RunIndex("reportgen-runs-1", [_run(manifest, report) for manifest, report in found])


def _run(manifest: Manifest, report: Report) -> RunEntry:
    model = manifest.model
    done = {name: record for name, record in manifest.scored().items() if record.status == "done"}
    return RunEntry(
        run=report.slug,
        name=report.name,
        model=clean(model.id),
        hub_id=clean(model.hub_id),
        revision=clean(model.revision),
        content_hash=clean(model.content_hash),
        layers=model.n_layers,
        heads_per_layer=model.n_heads,
        created=clean(manifest.created),
        updated=clean(manifest.updated),
        synthetic=report.synthetic,
        report=f"{report.slug}/index.html",
        scores=f"{report.slug}/scores.csv",
        suites=[SuiteEntry(n, r.version, clean(r.preset), r.seed, dict(r.sha256)) for n, r in done.items()],
        measures=[_score(score, report.names[score.key]) for score in report.scores],
    )


def _score(scores: HeadScores, label: str) -> ScoreEntry:
    past = beyond_null(scores)
    grids = (scores.low, scores.high, scores.p)
    best = [
        BestHead(head_name(*head), float(scores.values[head]), *(_cell(grid, head) for grid in grids))
        for head in order(scores)[:BEST]
    ]
    return ScoreEntry(
        scores.key, label, scores.n, None if past is None else int(past.sum()), clean(scores.no_null), best
    )


def _cell(grid: object, head: tuple[int, int]) -> float | None:
    value = math.nan if grid is None else float(grid[head])  # type: ignore[index]
    return value if math.isfinite(value) else None


def schema(kind: type[msgspec.Struct]) -> bytes:
    """The JSON Schema (2020-12) of one of the files."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def data_files(found: Sequence[tuple[Manifest, Report]]) -> Mapping[str, bytes]:
    """The files by their address below the site's root."""
    return {
        HEADS: msgspec.json.encode(published_heads()) + b"\n",
        HEADS_SCHEMA: schema(PublishedHeads),
        RUNS: msgspec.json.encode(run_index(found)) + b"\n",
        RUNS_SCHEMA: schema(RunIndex),
    }
