"""Reading a user's file: JSONL, CSV, or the nested JSON of CogQA. Every mistake is one line that names the place."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from reportgen.errors import DataError
from reportgen.reading import parse_json, read_text
from reportgen.suites.cognitive.rows import REQUIRED, Reader, Row

_KINDS = ".jsonl, .csv or .json"


def read(path: Path) -> tuple[Row, ...]:
    """The rows of `path`; DataError names file, line, field and what is expected.

    .jsonl  one object per line;  .csv  the same names as columns, context as JSON text
    .json   CogQA: [{"question", "answer", "generated": [{"subquestion", "answer", "cognitive_skill"}]}], or a list of
            the objects that a .jsonl holds
    """
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".json": _json}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} is not a data file that can be read.", f"Give a file that ends in {_KINDS}.")
    text = read_text(path, "Give the path of a data file.")
    reader = Reader(str(path))
    readers[path.suffix.lower()](reader, text)
    return reader.finish()


def _jsonl(reader: Reader, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"line {number}"
            reader.add(_parse(reader, line, where), where, f"row{number}")


def _csv(reader: Reader, text: str) -> None:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="")
    try:
        missing = [name for name in REQUIRED if name not in (table.fieldnames or ())]
        if missing:
            found = ", ".join(table.fieldnames or ()) or "nothing"
            raise DataError(f"{reader.file}, line 1: columns {', '.join(missing)} are missing; found {found}.")
        if twice := sorted(n for n, count in Counter(table.fieldnames or ()).items() if count > 1):
            raise DataError(f"{reader.file}, line 1: two columns are called {twice[0]!r}.", "Rename one of them.")
        for record in table:
            where = f"line {table.line_num}"
            if "" in record:
                raise DataError(f"{reader.file}, {where}: more cells than columns.", "Quote cells that hold a comma.")
            reader.add({k: v for k, v in record.items() if v}, where, f"row{table.line_num}")
    except csv.Error as error:
        raise DataError(f"{reader.file}, line {table.line_num}: {error}.", "Check the quotes of that row.") from error


def _json(reader: Reader, text: str) -> None:
    value = _parse(reader, text, "")
    if not isinstance(value, list):
        raise DataError(f"{reader.file}: expected a list of entries.", "See 'reportgen suites cognitive'.")
    for number, entry in enumerate(value):
        where = f"entry {number}"
        if isinstance(entry, Mapping) and "generated" in entry:
            _chain(reader, entry, number)
        else:
            reader.add(entry, where, f"row{number}")


def _chain(reader: Reader, entry: Mapping[str, object], number: int) -> None:
    """One main question of CogQA with its list of sub-questions."""
    where = f"entry {number}"
    question, steps = reader.text(entry, "question", where), entry["generated"]
    if not isinstance(steps, list) or not steps:
        raise reader.fail(where, "generated", "a list of sub-questions")
    split = entry.get("split")
    for step, record in enumerate(steps):
        place = f"{where}, generated[{step}]"
        if not isinstance(record, Mapping):
            raise DataError(f"{reader.file}, {place}: expected an object with subquestion, answer, cognitive_skill.")
        if "cognitive_skill" not in record:
            raise DataError(f"{reader.file}, {place}: field 'cognitive_skill' is missing.")
        row = {"subquestion": record.get("subquestion"), "answer": record.get("answer")}
        row |= {"function": reader.text(record, "cognitive_skill", place), "question": question, "split": split}
        reader.add({**row, "chain": f"c{number}", "step": step}, place, f"c{number}-{step}")


def _parse(reader: Reader, text: str, where: str) -> object:
    return parse_json(text, f"{reader.file}, {where}" if where else reader.file, lines=not where)
