"""A table of scores computed elsewhere as one grid per measure, every cell checked, and as a run folder.

The run folder renders like any other. Nothing is added to the table's data.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from reportgen import __version__, published
from reportgen.errors import DataError, NotApplicable, SettingsError
from reportgen.files import digest
from reportgen.imported.files import groups, own_file, read, turned
from reportgen.imported.head_columns import BASES, TableColumns, index_columns, is_text, number, place, shown
from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord, command_line
from reportgen.runfolder import Run, RunWriter, check_slug, overlay_files, resume_key, slug_of
from reportgen.scores import FloatGrid, Head, HeadScores, NotComputed, SuiteResult, head_name
from reportgen.suites import IMPORTED, IMPORTED_NAME, NOT_GIVEN

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class ImportedMeasure:
    """One measure: its name as given, values [layer head], and why a head has none."""

    name: str
    values: FloatGrid
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Imported:
    """All measures of a table, the columns left out, and in words how its heads were read."""

    measures: tuple[ImportedMeasure, ...]
    left_out: tuple[str, ...] = ()
    reading: str = ""


def read_table(path: Path, layers: int, heads: int, base: str = "") -> Imported:
    """The measures in `path` for a model of `layers` x `heads` query heads.

    base  what the table counts from: "0", "1", "layer" or "head" (that one alone from 1); "" = 0, and a table that can
          only count from 1 is refused with the option to give

    Raises DataError, one line: the file, the row, what was found and what is expected.
    """
    if base not in BASES:
        raise SettingsError(f"--base {base}: expected 0, 1, layer or head.", "1: layers and heads count from 1.")
    found: list[tuple[TableColumns, Imported]] = []
    errors: list[tuple[int, DataError]] = []
    for columns in read(path, (layers, heads)):
        try:
            found.append((columns, _imported(path, columns, (layers, heads), base)))
        except DataError as error:
            errors.append((len(columns.names), error))
    if len(found) > 1:
        seen = " and ".join(columns.seen for columns, _ in found)
        raise DataError(f"{path} can be read as separated by {seen}.", "Save it with commas.")
    if not found:
        raise max(errors, key=lambda item: item[0])[1]
    return found[0][1]


def _imported(path: Path, columns: TableColumns, shape: tuple[int, int], base: str) -> Imported:
    columns = own_file(columns) or columns
    wide = turned(path, columns, shape)
    columns = wide or columns
    index = index_columns(columns)
    if wide is None:
        _check_names(path, columns, index)
    placing = place(path, columns, shape, base)
    by_measure, measure = groups(path, columns, placing)
    rest = [i for i in range(len(columns.names)) if i not in placing.used | index and i != measure]
    values = {i: _numbers(path, columns, i) for i in rest}
    numeric = [i for i in rest if values[i] is not None]
    if not numeric:
        raise DataError(f"{path} has no column of numbers besides layer and head.", "Give one column per measure.")
    measures = []
    for name, rows in by_measure:
        for i in numeric:
            cells, title = values[i] or [], _title(name, columns.names[i], len(numeric))
            places = [placing.places[row] for row in rows]
            measures.append(_measured(path, title, places, [cells[row] for row in rows], shape))
    left_out = tuple(columns.names[i] or "without a name" for i in rest if values[i] is None)
    dropped = [repr(columns.names[i]) for i in sorted(index - placing.used) if columns.names[i]]
    said = [placing.how, "a row per head and measure" if measure is not None and wide is None else ""]
    said += [f"separated by {columns.seen}" if columns.seen else ""]
    said += [f"index {', '.join(dropped)} left out" if dropped else ""]
    return Imported(tuple(measures), left_out, "; ".join(words for words in said if words))


def _title(measure: str, column: str, columns: int) -> str:
    """The name of a measure: its column's, or what the table calls the rows, or both."""
    if not measure or columns == 1:
        return measure or column
    return f"{measure}: {column}"


def _check_names(path: Path, columns: TableColumns, index: set[int]) -> None:
    """DataError for a header that is none or names a column twice or not, an index or row names in front left out."""
    if not columns.names[0] and is_text(columns.column(0)):
        index = index | {0}
    names = [name for i, name in enumerate(columns.names) if i not in index]
    empty = [i for i, name in enumerate(columns.names, start=1) if not name and i - 1 not in index]
    if empty:
        raise DataError(f"{path}: column {empty[0]} has no name in the header.", "Name every column.")
    if names and all(number(name) is not None for name in names):
        raise DataError(f"{path} has no header: its first row is {', '.join(names[:4])}.", "Name the columns first.")
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise DataError(f"{path}: two columns are called {name!r}.", "Rename one of them.")
        seen.add(name.lower())


def _numbers(path: Path, columns: TableColumns, column: int) -> list[float] | None:
    """The column's values, NaN where a cell is empty; None where it holds no number. DataError for a word among them.

    A column counts as numeric if any of its cells is a number: a typo must not drop a measure.
    """
    cells = columns.column(column)
    found = [number(cell) for cell in cells]
    if not any(value is not None and not math.isnan(value) for value in found):
        return None
    values = []
    for at, cell, value in zip(columns.at, cells, found, strict=True):
        if value is None or abs(value) > _FLOAT32_MAX:
            raise DataError(
                f"{path}, {at}, column {columns.names[column]}: {shown(cell)}, expected a finite number or an empty "
                "cell."
            )
        values.append(value)
    return values


def _measured(
    path: Path, name: str, places: Sequence[Head], values: Sequence[float], shape: tuple[int, int]
) -> ImportedMeasure:
    grid = np.full(shape, np.nan, dtype=np.float32)  # [layer head]
    for at, value in zip(places, values, strict=True):
        grid[at] = value
    given = set(places)
    reasons = {
        head_name(int(layer), int(head)): f"empty in {path.name}" if (layer, head) in given else f"not in {path.name}"
        for layer, head in np.argwhere(np.isnan(grid))
    }
    return ImportedMeasure(name, grid, reasons)


MOST_LAYERS = MOST_HEADS = 9999  # what head names like L9999H9999 can say
MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class TableSource:
    """The user's description of the table: the model, its grid, and whose published heads to draw.

    base  what layers and heads count from: "" or "0", "1", or "layer" or "head" for that one alone from 1
    """

    model_name: str
    layers: int
    heads: int
    published: str = ""
    base: str = ""

    def __post_init__(self) -> None:
        if not self.model_name.strip():
            raise SettingsError("--model-name is empty.", "Name the scored model, e.g. --model-name gpt2.")
        for name, value, most in (("layers", self.layers, MOST_LAYERS), ("heads", self.heads, MOST_HEADS)):
            if not 1 <= value <= most:
                raise SettingsError(f"--{name} {value}: expected 1 to {most}.", f"For GPT-2: --{name} 12.")
        if self.layers * self.heads > MOST_CELLS:
            raise SettingsError(f"{self.layers} x {self.heads} heads: at most {MOST_CELLS:,} are drawn.")


def import_table(
    path: Path,
    source: TableSource,
    out: Path,
    name: str = "",
    overlays: Sequence[Path] = (),
    tell: Callable[[str], object] = lambda words: None,
) -> Run:
    """Read `path` and store its scores as a run in `out`; the same model's earlier import is replaced.

    name  of the run folder; empty = from the model's name
    tell  called with one line on how the table was read
    Raises UserError: a table that is not as described, an unknown model to take published heads of, a bad overlay.
    """
    shape = (source.layers, source.heads)
    found = read_table(path, *shape, source.base)
    published.sets_for("", source.published, shape)
    kept = overlay_files(overlays, shape)
    slug = check_slug(name) if name else slug_of(source.model_name)
    tell(f"{path.name}: {found.reading}.")
    settings: dict[str, object] = {
        "table": path.name, "sha256": digest(path), "columns": [m.name for m in found.measures],
        "reading": found.reading,
    }  # fmt: skip
    record = SuiteRecord(
        "done", IMPORTED.version, settings, {}, resume_key=resume_key(suite=IMPORTED.name, settings=settings)
    )
    with RunWriter(out / slug, _manifest(source, slug)) as writer:
        if kept:
            tell(writer.keep_overlays(kept))
        writer.store(IMPORTED_NAME, result(found, path.name), record)
        return writer.run


def result(found: Imported, table: str) -> SuiteResult:
    """The scores of a table, and in words what was not given with them."""
    keys = _keys([m.name for m in found.measures])
    notes = [f"Column {name} has no numbers and was left out." for name in found.left_out]
    return SuiteResult(
        IMPORTED_NAME,
        scores=tuple(_scores(m, key) for m, key in zip(found.measures, keys, strict=True)),
        facts={"table": table, "given": "values", "reading": found.reading},
        notes=tuple(notes),
        not_computed=(NotComputed("95 % intervals, nulls and n of imported scores", NOT_GIVEN),),
    )


def _scores(measured: ImportedMeasure, key: str) -> HeadScores:
    finite = measured.values[np.isfinite(measured.values)]
    low = -math.inf if finite.size and finite.min() < 0 else 0.0
    return HeadScores(
        f"{IMPORTED_NAME}/{key}/table", measured.name, measured.values, n=0, no_null=NOT_GIVEN, range=(low, math.inf),
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


def _manifest(source: TableSource, slug: str) -> Manifest:
    """Counts that were not given are 0: the report leaves them out."""
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
