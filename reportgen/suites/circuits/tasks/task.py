"""A task: aligned pairs of a clean and a corrupted prompt, and what counts as the answer; written from templates.

Templates are filled on one tokenizer: which words are single tokens, and where a template's words stand.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


Metric = Literal["logit_diff", "prob_diff"]
Ids = tuple[int, ...]
END = "END"
METRICS: dict[Metric, str] = {"logit_diff": "logits", "prob_diff": "probability"}  # metric -> its unit


@dataclass(frozen=True)
class Pair:
    """One clean prompt and its corruption, token by token aligned.

    clean, corrupted      ids of equal length, BOS included where the model uses one
    answer_ids, foil_ids  next tokens that the metric sets against each other; none in both
    roles                 token role -> position; "END", the last position, is the one read
    template              index into the task's templates; prompts of one template are one cluster in every interval
    text                  the clean prompt's words
    """

    clean: Ids
    corrupted: Ids
    answer_ids: Ids
    foil_ids: Ids
    roles: Mapping[str, int]
    template: int
    text: str = ""

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise ValueError(f"{len(self.clean)} clean tokens, {len(self.corrupted)} corrupted: {self.text!r}")
        if not self.answer_ids or not self.foil_ids or set(self.answer_ids) & set(self.foil_ids):
            raise ValueError(f"answers {self.answer_ids} and foils {self.foil_ids}: {self.text!r}")
        outside = {role: pos for role, pos in self.roles.items() if not 0 <= pos < len(self.clean)}
        if self.roles.get(END) != len(self.clean) - 1 or outside:
            raise ValueError(f"roles {dict(self.roles)} of {len(self.clean)} tokens: {self.text!r}")

    @property
    def read(self) -> int:
        """The position whose next-token logits are read: the last."""
        return self.roles[END]


@dataclass(frozen=True)
class Mover:
    """What a task calls the heads that write its answer: key and legend entry of their set, and one of them."""

    key: str = "movers"
    label: str = "Mover Heads"
    one: str = "mover"


@dataclass(frozen=True)
class Task:
    """A task on one tokenizer.

    metric     m = logit(answer) - logit(foil), means over the sets where they hold several tokens; or the same with
               summed probabilities
    attended   roles whose attention from END is measured; the first is the token that the answer is read from
    foils      those of them that speak for the foil
    templates  the templates' words, in the order `Pair.template` counts
    maps       token that a mover attends to -> (answers, foils): what its OV circuit should write
    words      ids of all the words that can be an answer, for what a head does to the foil among them
    form       how this tokenizer has the task put, a sentence, where there are several ways
    dropped    why candidates were left out -> how many
    user       whether it comes from the user's file
    """

    name: str
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]
    templates: tuple[str, ...]
    attended: tuple[str, ...]
    foils: tuple[str, ...] = ()
    maps: Mapping[int, tuple[Ids, Ids]] = field(default_factory=dict)
    words: Ids = ()
    mover: Mover = Mover()
    form: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    user: bool = False

    @property
    def unit(self) -> str:
        """The unit of m."""
        return METRICS[self.metric]

    def batches(self, size: int) -> Iterator[list[int]]:
        """Indices of pairs, `size` at most together, all of one length: no padding anywhere."""
        yield from batches(self.pairs, range(len(self.pairs)), size)


def batches(pairs: Sequence[Pair], chosen: Sequence[int], size: int) -> Iterator[list[int]]:
    """The chosen indices grouped by prompt length, at most `size` together."""
    by_length: dict[int, list[int]] = {}
    for index in chosen:
        by_length.setdefault(len(pairs[index].clean), []).append(index)
    for _, indices in sorted(by_length.items()):
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def copies(ids: Sequence[int]) -> dict[int, tuple[Ids, Ids]]:
    """The map of heads that copy: each token writes itself."""
    return {token: ((token,), ()) for token in ids}


T = TypeVar("T")
Word = tuple[str, int]  # a word and its id
DATA = Path(__file__).parent.parent / "data"


def read_words(name: str) -> dict[str, Any]:
    """The word lists and templates of a task that ships."""
    return tomllib.loads((DATA / f"{name}.toml").read_text("utf-8"))


def single_tokens(tokens: Tokens, words: Sequence[str]) -> dict[str, int]:
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
class TaskPrompt:
    """A filled template: ids with BOS where the model uses one, and the positions of each slot's tokens."""

    text: str
    ids: tuple[int, ...]
    at: Mapping[str, tuple[int, ...]]


def prompt(tokens: Tokens, template: str, words: Mapping[str, Word], answers: Sequence[Word] = ()) -> TaskPrompt | None:
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
    return TaskPrompt(text, tuple(whole), at)


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
