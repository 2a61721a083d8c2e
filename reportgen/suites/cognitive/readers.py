"""Reading a user's file: JSONL, CSV, or the nested JSON of CogQA. Every mistake is one line that names the place."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from reportgen.errors import DataError
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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"Can't read {path}: {error.strerror}.", "Give the path of a data file.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text.", "Save the file as UTF-8.") from error
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
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno}"
        raise DataError(f"{reader.file}, {place}: not JSON ({error.msg}, column {error.colno}).") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        raise DataError(f"{reader.file}, {where or 'line 1'}: not JSON that can be read ({error}).") from error
