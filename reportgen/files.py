"""Files: atomic writes and digests of our own files, and careful reading of untrusted ones."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from reportgen.errors import DataError, RunError, UserError

# Atomic writes and digests: a file is complete or absent, even after a crash.

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, content: bytes, synced: bool = True) -> None:
    """Write `content` to a temporary file next to `path`, fsync, rename. RunError if the disk is full or read-only.

    synced  False for files that a render makes anew: hundreds of them would wait for the disk one by one
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it private; reports are shared
        temporary.replace(path)
        if synced:
            _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


_FOLDERS = ("scores", "drawn", "overlays", "report", "report/figures")


def check_inside(folder: Path) -> None:
    """RunError if a link in a run's or sweep's folder would redirect writes elsewhere.

    `folder` itself may be a link: that was its owner's choice. Its contents are untrusted.
    """
    links = [folder / name for name in (*_FOLDERS, ".lock") if (folder / name).is_symlink()]
    if links:
        raise RunError(f"{links[0]} is a link out of the folder, and is not written to.", "Remove the link.")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, if the system can (Windows cannot open folders)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """RunError if `folder` cannot be created or written, raised before hours of work rather than after."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise unwritable(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(place, os.W_OK | os.X_OK):
        raise unwritable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def unwritable(path: Path, error: OSError) -> RunError:
    """One line for a path that cannot be written, with what to do next."""
    if error.errno in _FULL:
        return RunError(f"No room left to write {path}.", "Free some space or choose another folder with --out DIR.")
    return RunError(f"Can't write {path}: {error.strerror or error}.", "Choose another folder with --out DIR.")


def digest(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Reading untrusted files: any problem becomes one line that names the place.
#
# Every text, TOML or JSON file is read here. Beyond invalid syntax, these are refused: a file
# that is not regular (a pipe would block forever), one above the size limit, duplicate names in a JSON object, NaN
# and infinities in JSON, numbers and nesting beyond the parser's limits.

T = TypeVar("T")
MOST_BYTES = 1 << 30
MOST_TOML = 1 << 20  # bytes; tomllib's time grows with the square of a dotted name
_MOST_DOTS = 200  # in the part of a line before '='
_BEFORE = re.compile(r"^[^=\n]*", re.MULTILINE)


def read_bytes(path: Path, hint: str = "", *, most: int = MOST_BYTES, error: type[UserError] = DataError) -> bytes:
    """The bytes of a regular file of at most `most` bytes; otherwise `error`, in one line."""
    with readable(path, hint, most=most, error=error):
        return path.read_bytes()


@contextmanager
def readable(
    path: Path, hint: str = "", *, most: int = MOST_BYTES, error: type[UserError] = DataError
) -> Iterator[None]:
    """Read `path` in the block: a regular file of at most `most` bytes, or `error` in one line."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise error(f"Can't read {path}: {os.strerror(errno.EISDIR)}.", hint)
        if not stat.S_ISREG(found.st_mode):
            raise error(f"Can't read {path}: it is not a regular file.", hint)
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
    """The file as UTF-8 text, without a byte order mark; `error` names the first line that is not."""
    return as_text(read_bytes(path, hint, most=most, error=error), str(path), error=error)


def check_text(name: str) -> None:
    """DataError if a user's text file can't be read as UTF-8, raised before a model is loaded."""
    if name:
        read_text(Path(name), "Give the path of a plain text file.")


def as_text(raw: bytes, place: str, *, error: type[UserError] = DataError) -> str:
    """`raw` as UTF-8 text, without a byte order mark; `error` names `place` and the first line that is not."""
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
        raise error(f"{place}: a name has more than {_MOST_DOTS} parts.", hint)
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

    strict  refuse duplicate names, NaN and infinities, which other programs' files may contain
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
        "parse_constant": lambda word: fail(f"{word} is not JSON"),
    }
    try:
        return json.loads(text, **(checks if strict else {}))
    except json.JSONDecodeError as problem:
        at = f"line {problem.lineno}, column {problem.colno}" if lines else f"column {problem.colno}"
        fail(f"not JSON ({problem.msg}, {at})", problem)
    except RecursionError as problem:
        fail("nested too deeply", problem)
    except ValueError as problem:  # a number of thousands of digits
        fail(f"JSON that can't be read ({problem})", problem)


def convert(
    value: object, kind: type[T], place: str, hint: str = "", *, error: type[UserError] = DataError
) -> T:  # fmt: skip
    """`value` as a `kind`; `error` names `place` and the field, and what is expected there."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        raise error(f"{place}: {problem}.", hint) from problem
    except RecursionError as problem:
        raise error(f"{place}: nested too deeply.", hint) from problem


def is_folder(path: Path) -> bool:
    """Whether it is a folder; also False for an impossible name, or one without permission to look."""
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
    """Whether something has this name, including a broken link."""
    try:
        return path.is_symlink() or path.exists()
    except OSError:
        return False


def expanded(name: str | Path) -> Path:
    """The path of `name`, with a leading `~` expanded if that user is known."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
