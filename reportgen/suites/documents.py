"""Documents of a user's text, read a piece at a time: a file of gigabytes is never held whole.

    notes.txt       one document; two blank lines in a row, or a form feed, begin another
    corpus.jsonl    one document a line: {"text": "..."}, other fields are left alone
    folder/         every .txt, .md and .jsonl in it, by name

Of each document the first `most` characters are kept. Refused, with the byte where it stands: what is not UTF-8, NUL
and other control characters.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path

from reportgen.errors import DataError
from reportgen.files import expanded, is_folder, readable

KINDS = (".txt", ".md", ".jsonl")
PIECE = 1 << 20  # bytes read at once
MOST_READ = 1 << 28  # bytes of a file that are looked at
MOST_LINE = 1 << 24  # bytes of one line of JSON
_HINT = "Give the path of a plain text file, of a .jsonl file with a field text, or of a folder of them."
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")  # tab, line ends and form feed are text
_BREAK = re.compile(r"\f|\n[ \t]*\n[ \t]*\n\s*")
_TAIL = 64  # characters held back, in which a break may begin


def files_of(name: str | Path) -> tuple[Path, ...]:
    """The files that `name` stands for, by name. DataError where there are none."""
    path = expanded(name)
    if not is_folder(path):
        return (path,)
    found = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in KINDS and p.is_file()))
    if not found:
        raise DataError(f"{path} holds no {', '.join(KINDS)} file.", _HINT)
    return found


def check(name: str | Path) -> None:
    """DataError where some of the text can't be read; an empty name is no text. Nothing is kept."""
    for path in files_of(name) if name else ():
        for _ in _lines(path) if _is_json(path) else _pieces(path):
            pass


def documents(name: str | Path, most: int) -> Iterator[str]:
    """Every document, in the order of names and places, cut to its first `most` characters; empty ones are left out.

    Raises DataError, in one line with the place, for what is no text.
    """
    for path in files_of(name):
        for text in _json_texts(path) if _is_json(path) else _plain(path, most):
            if text.strip():
                yield text[:most]


def read_share(name: str | Path) -> float:
    """How much of the text is looked at, as a share of its bytes: 1 but for files beyond MOST_READ."""
    sizes = [path.stat().st_size for path in files_of(name)]
    return sum(min(size, MOST_READ) for size in sizes) / max(1, sum(sizes))


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".jsonl"


def _pieces(path: Path) -> Iterator[str]:
    """The file's text in pieces, line ends as \\n. DataError with the byte of what is no text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    at, returned = 0, False
    with readable(path, _HINT, most=1 << 62), path.open("rb") as file:
        while at < MOST_READ:
            raw = file.read(min(PIECE, MOST_READ - at))
            held = len(decoder.getstate()[0])
            bad = _CONTROL.search(raw)
            try:
                # What stands before a control character is read first: the name of the first fault is the right one.
                text = decoder.decode(raw[: bad.start()] if bad else raw, final=not raw or bad is not None)
            except UnicodeDecodeError as problem:
                raise DataError(f"{path}, byte {at - held + problem.start:,}: not UTF-8 text.", _HINT) from problem
            if bad:
                place = f"{path}, byte {at + bad.start():,}"
                raise DataError(f"{place}: control character 0x{bad[0][0]:02X} in text.", _HINT)
            text = text.removeprefix("\ufeff") if at == 0 else text
            if not raw:
                break
            at += len(raw)
            text, returned = ("\r" if returned else "") + text, text.endswith("\r")
            yield (text[:-1] if returned else text).replace("\r\n", "\n").replace("\r", "\n")


def _plain(path: Path, most: int) -> Iterator[str]:
    """Documents of a plain file: at most `most` characters of one are held, the rest is passed over."""
    kept, held = "", ""
    for piece in _pieces(path):
        *ended, last = _BREAK.split(held + piece)
        for part in ended:
            yield (kept + part)[:most]
            kept = ""
        held = last[-_TAIL:]
        kept = (kept + last[: len(last) - len(held)])[:most]
    yield (kept + held)[:most]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a file of lines, empty ones left out."""
    held, number = "", 0
    for piece in _pieces(path):
        *ended, held = (held + piece).split("\n")
        for line in ended:
            number += 1
            if line.strip():
                yield number, line
        if len(held) > MOST_LINE:
            raise DataError(f"{path}, line {number + 1}: longer than {MOST_LINE:,} characters.", _HINT)
    if held.strip():
        yield number + 1, held


def _json_texts(path: Path) -> Iterator[str]:
    for number, line in _lines(path):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as problem:
            if number > 1 and path.stat().st_size > MOST_READ:  # the last line that was read is not whole
                return
            raise DataError(f"{path}, line {number}: not JSON.", _HINT) from problem
        text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise DataError(f"{path}, line {number}: no field text with words in it.", _HINT)
        if found := re.search("[\x00-\x08\x0e-\x1f\x7f]", text):
            raise DataError(f"{path}, line {number}: control character 0x{ord(found[0]):02X} in text.", _HINT)
        yield text.replace("\r\n", "\n").replace("\r", "\n")
