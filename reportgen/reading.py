"""Files that others wrote, read so that whatever is wrong with one becomes a line that names the place.

Every reader of a text, TOML or JSON file goes through here. Beyond what the formats say, these are refused: a file that
is no ordinary one (a pipe would wait for ever), one above the size limit, a name twice in a JSON object, NaN and
infinities in JSON, numbers and nesting beyond what can be read.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from reportgen.errors import DataError, UserError

T = TypeVar("T")
MOST_BYTES = 1 << 30
MOST_TOML = 1 << 20  # bytes; tomllib's time grows with the square of a dotted name
_MOST_DOTS = 200  # in what stands before a line's '='
_BEFORE = re.compile(r"^[^=\n]*", re.MULTILINE)


def read_bytes(path: Path, hint: str = "", *, most: int = MOST_BYTES, error: type[UserError] = DataError) -> bytes:
    """The bytes of an ordinary file of at most `most` bytes; `error` in one line otherwise."""
    with readable(path, hint, most=most, error=error):
        return path.read_bytes()


@contextmanager
def readable(
    path: Path, hint: str = "", *, most: int = MOST_BYTES, error: type[UserError] = DataError
) -> Iterator[None]:
    """Read `path` in the block: an ordinary file of at most `most` bytes, or `error` in one line."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise error(f"Can't read {path}: {os.strerror(errno.EISDIR)}.", hint)
        if not stat.S_ISREG(found.st_mode):
            raise error(f"Can't read {path}: it is no ordinary file.", hint)
        if found.st_size > most:
            raise error(f"{path} has {found.st_size:,} bytes; at most {most:,} are read.", hint)
        with path.open("rb"):
            pass
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise error(f"Can't read {path}: {_why(problem)}.", hint) from problem
    try:
        yield
    except OSError as problem:
        raise error(f"Can't read {path}: {_why(problem)}.", hint) from problem


def _why(problem: OSError | ValueError) -> str:
    return (problem.strerror if isinstance(problem, OSError) else "") or str(problem)


def read_text(path: Path, hint: str = "", *, most: int = MOST_BYTES, error: type[UserError] = DataError) -> str:
    """The file as UTF-8 text, a byte order mark left out; `error` names the first line that is not."""
    return as_text(read_bytes(path, hint, most=most, error=error), str(path), error=error)


def check_text(name: str) -> None:
    """DataError where a user's text file can't be read as UTF-8, so that it is told before a model is loaded."""
    if name:
        read_text(Path(name), "Give the path of a plain text file.")


def as_text(raw: bytes, place: str, *, error: type[UserError] = DataError) -> str:
    """`raw` as UTF-8 text, a byte order mark left out; `error` names `place` and the first line that is not."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise error(f"{place}, line {line}: not UTF-8 text.", "Save the file as UTF-8.") from problem


def read_toml(path: Path, kind: type[T], hint: str = "", *, error: type[UserError] = DataError) -> T:
    """A TOML file as a `kind` (a msgspec struct or a plain type); `error` names the file and the place."""
    text = read_text(path, hint, most=MOST_TOML, error=error)
    return convert(parse_toml(text, str(path), hint, error=error), kind, str(path), hint, error=error)


def parse_toml(text: str, place: str, hint: str = "", *, error: type[UserError] = DataError) -> dict[str, Any]:
    """The tables of a TOML text; `error` names `place` and the line."""
    if any(match[0].count(".") > _MOST_DOTS for match in _BEFORE.finditer(text)):
        raise error(f"{place}: a name of more than {_MOST_DOTS} parts.", hint)
    try:
        return tomllib.loads(text)
    except RecursionError as problem:
        raise error(f"{place}: nested too deeply.", hint) from problem
    except ValueError as problem:  # TOMLDecodeError, or a number of thousands of digits
        raise error(f"{place}: not TOML ({problem}).", hint) from problem


def read_json(path: Path, kind: type[T], hint: str = "", *, most: int = MOST_BYTES,
              error: type[UserError] = DataError) -> T:  # fmt: skip
    """A JSON file as a `kind` (a msgspec struct or a plain type); `error` names the file and the place."""
    text = read_text(path, hint, most=most, error=error)
    return convert(parse_json(text, str(path), hint, error=error), kind, str(path), hint, error=error)


def parse_json(
    text: str,
    place: str,
    hint: str = "",
    *,
    lines: bool = True,
    strict: bool = True,
    error: type[UserError] = DataError,
) -> object:
    """The value of a JSON text; `error` names `place`, and the line in it where `lines`.

    strict  refuse names given twice, NaN and infinities; other programs' files may have them
    """

    def fail(problem: str, cause: BaseException | None = None) -> NoReturn:
        raise error(f"{place}: {problem}.", hint) from cause

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            fail(f"{next(k for k, _ in pairs if k in seen or seen.add(k))!r} is given twice")  # type: ignore[func-returns-value]
        return found

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else fail(f"the number {digits[:20]} is too large")

    checks: dict[str, Any] = {
        "object_pairs_hook": once,
        "parse_float": finite,
        "parse_constant": lambda word: fail(f"{word} is no JSON"),
    }
    try:
        return json.loads(text, **(checks if strict else {}))
    except json.JSONDecodeError as problem:
        at = f"line {problem.lineno}, column {problem.colno}" if lines else f"column {problem.colno}"
        fail(f"not JSON ({problem.msg}, {at})", problem)
    except RecursionError as problem:
        fail("nested too deeply", problem)
    except ValueError as problem:  # a number of thousands of digits
        fail(f"not JSON that can be read ({problem})", problem)


def convert(
    value: object, kind: type[T], place: str, hint: str = "", *, error: type[UserError] = DataError
) -> T:  # fmt: skip
    """`value` as a `kind`; `error` names `place` and the field, with what is expected there."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        raise error(f"{place}: {problem}.", hint) from problem
    except RecursionError as problem:
        raise error(f"{place}: nested too deeply.", hint) from problem


def is_folder(path: Path) -> bool:
    """Whether there is a folder; also False for a name that no file can have, or one that may not be looked at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is an ordinary file; also False for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def there(path: Path) -> bool:
    """Whether something has this name, a link to nowhere too."""
    try:
        return path.is_symlink() or path.exists()
    except OSError:
        return False


def expanded(name: str | Path) -> Path:
    """The path of `name`, a `~` at its beginning replaced where that user is known."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
