"""One row per sub-question, and what every row must hold. Standard library only: files are read before the model.

Required: subquestion, answer, function. Defaults: id = "row<line>"; chain = id; step = place within the chain;
context = the earlier steps of the chain; split = drawn later, by chain. Any labels are functions.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reportgen.errors import DataError, nearest
from reportgen.files import parse_json, read_text

SPLITS = ("train", "validation", "selection", "test")
REQUIRED = ("subquestion", "answer", "function")
MOST_CHARACTERS = 20_000  # of one text: longer is a mistake in the file, not a question


@dataclass(frozen=True)
class Earlier:
    """An earlier step of the chain as the prompt shows it; `function` is empty where the file does not say."""

    q: str
    a: str
    function: str = ""


@dataclass(frozen=True)
class Row:
    """One sub-question. `question` is the chain's main question or passage; `split` is empty until drawn."""

    id: str
    chain: str
    step: int
    question: str
    context: tuple[Earlier, ...]
    subquestion: str
    answer: str
    function: str
    split: str = ""
    key_tokens: tuple[str, ...] = ()


@dataclass
class Reader:
    """Checks records one by one and collects rows; every complaint names the file, the place and the field."""

    file: str
    rows: list[Row] = field(default_factory=list)
    _given: list[bool] = field(default_factory=list)  # whether the row brought its own context
    _places: dict[str, str] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)

    def fail(self, where: str, name: str, expected: str) -> DataError:
        """The error for one field of one record."""
        return DataError(f"{self.file}, {where}, field {name!r}: expected {expected}.", "Fix that row.")

    def add(self, record: object, where: str, default_id: str) -> None:
        """Check one record and keep its row. DataError otherwise."""
        if not isinstance(record, Mapping):
            raise DataError(f"{self.file}, {where}: expected an object with the fields {', '.join(REQUIRED)}.")
        for name in REQUIRED:
            if name not in record:
                near = nearest(name, (str(key) for key in record)) if record else ""
                raise DataError(f"{self.file}, {where}: field {name!r} is missing.", near)
        key = self.text(record, "id", where, default_id)
        if key in self._places:
            raise self.fail(where, "id", f"an id of its own, {key!r} is that of {self._places[key]}")
        self._places[key] = where
        chain = self.text(record, "chain", where, key)
        context, given = self._context(record.get("context"), where)
        row = Row(
            id=key,
            chain=chain,
            step=self._step(record, where, chain),
            question=self.text(record, "question", where, ""),
            context=context,
            subquestion=self.text(record, "subquestion", where),
            answer=self.text(record, "answer", where),
            function=self.text(record, "function", where),
            split=self._split(record, where),
            key_tokens=self._words(record.get("key_tokens"), where),
        )
        self.rows.append(row)
        self._given.append(given)

    def text(self, record: Mapping[str, object], name: str, where: str, default: str | None = None) -> str:
        """A stripped text; without a default it must not be empty. A number is read as its digits."""
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is None:
            value = default
        if not isinstance(value, str):
            raise self.fail(where, name, f"text, found {_kind(record.get(name))}")
        value = value.strip()
        if not value and default is None:
            raise self.fail(where, name, "text that is not empty")
        if len(value) > MOST_CHARACTERS:
            raise self.fail(where, name, f"at most {MOST_CHARACTERS:,} characters, found {len(value):,}")
        return value or (default or "")

    def _step(self, record: Mapping[str, object], where: str, chain: str) -> int:
        value = record.get("step")
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if value is None or value == "":
            value = self._steps.get(chain, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10_000:
            raise self.fail(where, "step", f"a whole number from 0 on, found {_short(value)}")
        self._steps[chain] = value + 1
        return value

    def _split(self, record: Mapping[str, object], where: str) -> str:
        value = self.text(record, "split", where, "")
        if value and value not in SPLITS:
            raise self.fail(where, "split", f"{', '.join(SPLITS)} or nothing, found {_short(value)}")
        return value

    def _context(self, value: object, where: str) -> tuple[tuple[Earlier, ...], bool]:
        value = self._listed(value, "context", where)
        if value is None:
            return (), False
        steps = []
        for entry in value:
            if not isinstance(entry, Mapping) or not {"q", "a"} <= entry.keys():
                raise self.fail(where, "context", 'a list of {"q": "...", "a": "..."}')
            q, a = self.text(entry, "q", where), self.text(entry, "a", where)
            steps.append(Earlier(q, a, self.text(entry, "function", where, "")))
        return tuple(steps), True

    def _words(self, value: object, where: str) -> tuple[str, ...]:
        value = self._listed(value, "key_tokens", where) or []
        if not all(isinstance(word, str) and word.strip() for word in value):
            raise self.fail(where, "key_tokens", "a list of words")
        return tuple(str(word).strip() for word in value)

    def _listed(self, value: object, name: str, where: str) -> list[object] | None:
        """A list, given as such or (in CSV) as JSON text; None where there is none."""
        if value is None or value == "":
            return None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise self.fail(where, name, "a JSON list") from error
        if not isinstance(value, list):
            raise self.fail(where, name, f"a list, found {_kind(value)}")
        return value

    def finish(self) -> tuple[Row, ...]:
        """All rows, with the earlier steps of the chain as context where a row brought none. DataError when empty."""
        if not self.rows:
            raise DataError(f"{self.file}: no rows.", f"Each row needs {', '.join(REQUIRED)}.")
        chains: dict[str, list[Row]] = {}
        for row in self.rows:
            chains.setdefault(row.chain, []).append(row)
        self._check_chains(chains)
        return tuple(self._with_context(row, given, chains[row.chain]) for row, given in self._paired())

    def _paired(self) -> Sequence[tuple[Row, bool]]:
        return list(zip(self.rows, self._given, strict=True))

    def _check_chains(self, chains: Mapping[str, Sequence[Row]]) -> None:
        for name, members in chains.items():
            splits = {row.split for row in members}
            if len(splits) > 1:
                shown = ", ".join(sorted(s or "none" for s in splits))
                raise self.fail(f"chain {name!r}", "split", f"one split for the whole chain, found {shown}")
            steps = [row.step for row in members]
            if len(set(steps)) < len(steps):
                raise self.fail(f"chain {name!r}", "step", "each step once")

    def _with_context(self, row: Row, given: bool, members: Sequence[Row]) -> Row:
        functions = {other.subquestion: other.function for other in members}
        if given:
            named = tuple(replace(e, function=e.function or functions.get(e.q, "")) for e in row.context)
            return replace(row, context=named)
        before = sorted((other for other in members if other.step < row.step), key=lambda other: other.step)
        return replace(row, context=tuple(Earlier(o.subquestion, o.answer, o.function) for o in before))


def _kind(value: object) -> str:
    names = {type(None): "nothing", bool: "true or false", dict: "an object", list: "a list", str: "text"}
    return names.get(type(value), f"a {type(value).__name__}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# Reading a user's file: JSONL, CSV, or the nested JSON of CogQA. Every mistake is one line that names the place.

_KINDS = ".jsonl, .csv or .json"


def read_rows(path: Path) -> tuple[Row, ...]:
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
