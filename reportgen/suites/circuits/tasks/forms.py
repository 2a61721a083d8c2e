"""Templates on one tokenizer: which words are single tokens, and where a template's words stand."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

T = TypeVar("T")
Word = tuple[str, int]  # a word and its id
DATA = Path(__file__).parent.parent / "data"


def read(name: str) -> dict[str, Any]:
    """The word lists and templates of a task that ships."""
    return tomllib.loads((DATA / f"{name}.toml").read_text("utf-8"))


def single(tokens: Tokens, words: Sequence[str]) -> dict[str, int]:
    """word -> id, for the words that are one token at a word start; two words with one id count once."""
    ids = {word: tokens.word_id(word) for word in words}
    first = {token: word for word, token in reversed(ids.items()) if token is not None}
    return {word: token for word, token in ids.items() if token is not None and first[token] == word}


def fill(template: str, slots: Mapping[str, str]) -> tuple[str, dict[str, list[int]]]:
    """The template's text with its slots filled, and where each slot's word ends in it, in characters."""
    text, ends = "", dict[str, list[int]]()
    for plain, slot, _, _ in Formatter().parse(template):
        text += plain
        if slot is not None:
            text += slots[slot]
            ends.setdefault(slot, []).append(len(text))
    return text, ends


@dataclass(frozen=True)
class Prompt:
    """A filled template: ids with BOS where the model uses one, and the positions of each slot's tokens."""

    text: str
    ids: tuple[int, ...]
    at: Mapping[str, tuple[int, ...]]


def prompt(tokens: Tokens, template: str, words: Mapping[str, Word], answers: Sequence[Word] = ()) -> Prompt | None:
    """The template with a word of one token in every slot, whose id must stand where the word does.

    answers  texts that can go on from it, each with the id that must come next when both are tokenized together

    None where the tokenizer joins a word with its neighbours, or knows a part of the text not at all.
    """
    text, ends = fill(template, {slot: word for slot, (word, _) in words.items()})
    whole = tokens.prompt_ids(text)
    if not tokens.knows(text) or any(tokens.next_id(text, answer) != token for answer, token in answers):
        return None
    at: dict[str, tuple[int, ...]] = {}
    for slot, places in ends.items():
        at[slot] = tuple(len(tokens.prompt_ids(text[:end])) - 1 for end in places)
        if any(not 0 <= pos < len(whole) or whole[pos] != words[slot][1] for pos in at[slot]):
            return None
    return Prompt(text, tuple(whole), at)


def usable(tokens: Tokens, templates: Sequence[str], words: Mapping[str, Word]) -> list[str]:
    """The templates that this tokenizer can write, tried with one word per slot."""
    return [template for template in templates if prompt(tokens, template, words) is not None]


def spaced(*words: Word) -> list[Word]:
    """The words as they go on from a prompt."""
    return [(f" {word}", token) for word, token in words]


def round_robin(items: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """`count` of the items, every one as often as the others, in random order."""
    out: list[T] = []
    while len(out) < count:
        out += [items[i] for i in rng.permutation(len(items))]
    return out[:count]


def written(ids: Sequence[int], at: Mapping[int, int]) -> tuple[int, ...]:
    """`ids` with other tokens at some positions, {position: id}."""
    out = list(ids)
    for position, token in at.items():
        out[position] = token
    return tuple(out)
