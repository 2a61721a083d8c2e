"""Classes of tokens by their own text, and the kinds of place that a head's strongest key can be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import DataError
from reportgen.files import read_toml

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

# Tried in this order on the decoded token; the first that matches is the token's class.
RULES: tuple[tuple[str, str], ...] = (
    ("newline", r"\s*\n\s*"),
    ("space", r"\s+"),
    ("digit", r"\s*\d+"),
    ("punctuation", r"\s*[^\w\s]+\s*"),
    ("capitalised", r"\s*[A-Z\u00c0-\u00d6\u00d8-\u00de][\w'\u2019-]*"),
    ("word_start", r"\s[A-Za-z\u00c0-\u024f_][\w'\u2019-]*"),
    ("word_piece", r"['\u2019]?[A-Za-z\u00c0-\u024f_][\w'\u2019-]*"),
)
SPECIAL, OTHER = "special", "other_script"
TITLES = {
    "special": "special tokens", "newline": "newlines", "space": "spaces", "digit": "digits",
    "punctuation": "punctuation", "capitalised": "capitalised words", "word_start": "word starts",
    "word_piece": "word pieces", "other_script": "other scripts",
}  # fmt: skip
MOST_CLASSES = 16
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_HINT = 'Write a line for each class: name = "regular expression", e.g. digit = "\\\\s*\\\\d+".'


def rules(file: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(name, pattern) in the order tried: the table above, or those of a user's TOML file. DataError says what is
    wrong with it."""
    if not file:
        return tuple((name, re.compile(pattern)) for name, pattern in RULES)
    given = read_toml(Path(file), dict[str, str], _HINT)
    if not 0 < len(given) <= MOST_CLASSES:
        raise DataError(f"{file} has {len(given)} classes, 1 to {MOST_CLASSES} are read.", _HINT)
    found = []
    for name, pattern in given.items():
        if not _NAME.fullmatch(name) or name in (SPECIAL, OTHER):
            raise DataError(f"{file}: {name!r} can't be the name of a class.", _HINT)
        try:
            found.append((name, re.compile(pattern)))
        except (re.error, RecursionError, OverflowError) as problem:
            raise DataError(f"{file}: {name} is no regular expression ({problem}).", _HINT) from problem
    return tuple(found)


def names(file: str) -> tuple[str, ...]:
    """The classes in order: special tokens first, what no rule matches last."""
    return (SPECIAL, *(name for name, _ in rules(file)), OTHER)


def title(name: str) -> str:
    """A class as captions print it."""
    return TITLES.get(name, name.replace("_", " "))


def table(tokens: Tokens, ids: npt.NDArray[np.int64], file: str) -> npt.NDArray[np.int64]:
    """Class of every id up to the largest in `ids`, -1 for ids that do not occur: [id]."""
    known = rules(file)
    found = np.full(int(ids.max(initial=0)) + 1, -1, np.int64)
    special = {i for i in (tokens.bos_id, tokens.unk_id, tokens.document_mark()) if i is not None}
    for token in np.unique(ids).tolist():
        text = tokens.decode([token])
        match = next((i + 1 for i, (_, pattern) in enumerate(known) if pattern.fullmatch(text)), len(known) + 1)
        found[token] = 0 if token in special else match
    return found


# Where a head's strongest key stands, from token data alone; tried in this order, so that the kinds exclude each other.
KINDS = ("sink", "self", "previous", "induction", "duplicate", "next", "other")
KIND_WORDS = {
    "sink": "position 0",
    "self": "the query itself",
    "previous": "the previous token",
    "induction": "the token after an earlier copy of the query's token",
    "duplicate": "an earlier copy of the query's token",
    "next": "another copy of the token that follows the query",
    "other": "any other key",
}
