"""A table of scores becomes a run folder that renders like any other. Nothing is added that the table does not say."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from reportgen import __version__
from reportgen.errors import NotApplicable, SettingsError
from reportgen.files import digest
from reportgen.imported.table import Imported, Measured, read_table
from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord, command_line
from reportgen.published import catalogue
from reportgen.runfolder import Run, RunWriter, check_slug, overlay_files, resume_key, slug_of
from reportgen.scores import HeadScores, NotComputed, SuiteResult
from reportgen.suites.imported.suite import NAME, NOT_GIVEN, SUITE

MOST_LAYERS = MOST_HEADS = 9999  # what head names like L9999H9999 can say
MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Source:
    """What the user said of the table: the model it is about, its grid, and whose published heads to draw.

    base  what layers and heads count from: "" or "0", "1", or "layer" or "head" for that one alone from 1
    """

    model_name: str
    layers: int
    heads: int
    published: str = ""
    base: str = ""

    def __post_init__(self) -> None:
        if not self.model_name.strip():
            raise SettingsError("--model-name is empty.", "Name the model the scores are of, e.g. --model-name gpt2.")
        for name, value, most in (("layers", self.layers, MOST_LAYERS), ("heads", self.heads, MOST_HEADS)):
            if not 1 <= value <= most:
                raise SettingsError(f"--{name} {value}: expected 1 to {most}.", f"For GPT-2: --{name} 12.")
        if self.layers * self.heads > MOST_CELLS:
            raise SettingsError(f"{self.layers} x {self.heads} heads: at most {MOST_CELLS:,} are drawn.")


def import_table(
    path: Path,
    source: Source,
    out: Path,
    name: str = "",
    overlays: Sequence[Path] = (),
    tell: Callable[[str], object] = lambda words: None,
) -> Run:
    """Read `path` and store its scores as a run in `out`; the same model's earlier import is replaced.

    name  of the run folder; empty = from the model's name
    tell  is told in one line how the table was read
    Raises UserError: a table that is not as described, an unknown model to take published heads of, a bad overlay.
    """
    shape = (source.layers, source.heads)
    found = read_table(path, *shape, source.base)
    catalogue.sets_for("", source.published, shape)
    kept = overlay_files(overlays, shape)
    slug = check_slug(name) if name else slug_of(source.model_name)
    tell(f"{path.name}: {found.reading}.")
    settings: dict[str, object] = {
        "table": path.name, "sha256": digest(path), "columns": [m.name for m in found.measures],
        "reading": found.reading,
    }  # fmt: skip
    record = SuiteRecord("done", SUITE.version, settings, {}, resume_key=resume_key(suite=NAME, settings=settings))
    with RunWriter(out / slug, _manifest(source, slug)) as writer:
        if kept:
            tell(writer.keep_overlays(kept))
        writer.store(NAME, result(found, path.name), record)
        return writer.run


def result(found: Imported, table: str) -> SuiteResult:
    """The scores of a table, and in words what was not given with them."""
    keys = _keys([m.name for m in found.measures])
    notes = [f"Column {name} holds no numbers and was left out." for name in found.left_out]
    return SuiteResult(
        NAME,
        scores=tuple(_scores(m, key) for m, key in zip(found.measures, keys, strict=True)),
        facts={"table": table, "given": "values", "reading": found.reading},
        notes=tuple(notes),
        not_computed=(NotComputed("95 % intervals, nulls and n of imported scores", NOT_GIVEN),),
    )


def _scores(measured: Measured, key: str) -> HeadScores:
    finite = measured.values[np.isfinite(measured.values)]
    low = -math.inf if finite.size and finite.min() < 0 else 0.0
    return HeadScores(
        f"{NAME}/{key}/table", measured.name, measured.values, n=0, no_null=NOT_GIVEN, range=(low, math.inf),
        reasons=measured.reasons,
    )  # fmt: skip


def _keys(names: Sequence[str]) -> list[str]:
    """Column names as parts of score keys, all different: lower case, other characters as `_`."""
    keys: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:60] or "column"
        key, i = plain, 2
        while key in keys:
            key, i = f"{plain}_{i}", i + 1
        keys.append(key)
    return keys


def _manifest(source: Source, slug: str) -> Manifest:
    """Counts that nobody gave are 0: the report leaves them out."""
    identity = f"import\0{source.model_name}\0{source.layers}\0{source.heads}"
    model = ModelRecord(
        id=source.model_name, slug=slug, source="import", revision="",
        content_hash=hashlib.sha256(identity.encode()).hexdigest(), family="", n_layers=source.layers,
        n_heads=source.heads, n_kv_heads=source.heads, d_model=0, d_head=0, d_vocab=0, n_ctx=0, n_params=0, dtype="",
        weights="not given", bos="",
    )  # fmt: skip
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(
        schema_version=SCHEMA_VERSION, model=model, device="", device_name="", threads=0, seed=0, preset="",
        created=now, updated=now, argv=command_line(), versions={"reportgen": __version__},
        published_as=source.published,
    )  # fmt: skip


def score(*_: object) -> SuiteResult:
    """Imported scores cannot be computed here."""
    raise NotApplicable("imported scores come from a table: reportgen import TABLE")
