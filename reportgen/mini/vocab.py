"""The vocabulary and its tokenizer, templates filled with columns of token ids, and the relations as id tables.

One word with its leading space is one token, and text comes back exactly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.mini import phrasings, words
from reportgen.mini.words import PAIRS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Ids = npt.NDArray[np.int16]  # token ids; -1 = padding that packing drops
HELD_OUT_EVERY = 8  # pair p and phrasing f are held out together when p = f modulo this
_SLOT = re.compile(r"\{(\w+)\}")


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """All token strings, each with its leading space where it has one; id = index; the two specials come first."""
    spaced = [word for group in _word_lists() for word in group]
    spaced += [word for name in PAIRS for pair in relation_pairs(name) for word in pair]
    texts = [text for group in _template_lists() for text in group]
    bare = [word for pair in relation_pairs("word_to_antonym") for word in pair]
    tokens = [words.END, words.UNKNOWN, "\n", *words.TWO_DIGITS]
    tokens += [token for text in texts for part in _SLOT.sub("\0", text).split("\0") for token in words.split(part)]
    tokens += [f" {word}" for word in spaced] + bare
    return tuple(dict.fromkeys(tokens))


@lru_cache(maxsize=1)
def token_ids() -> dict[str, int]:
    """Token string -> id."""
    return {token: index for index, token in enumerate(vocabulary())}


def _word_lists() -> list[list[str]]:
    spans = [words.DAYS, words.MONTHS, words.NUMBERS, words.ORDINALS, words.LETTERS, words.YEARS, words.CENTURIES]
    kinds = [words.COLORS, words.PLACES, words.GIFTS, words.THINGS, words.EVENTS, words.COUNTED, words.VERBS]
    counts = [word for key in words.WORLD_COUNTS for word in key]
    named = list(words.NUMBER_NAMES)
    siblings = [word for text in (words.PARTICIPLES, words.GENDER) for pair in words.pairs(text) for word in pair]
    return [*spans, *kinds, words.NOUNS, counts, named, siblings, words.EXTRA, ["yes", "no", "even", "odd"]]


def _template_lists() -> list[tuple[str, ...]]:
    forms = tuple(f" {text}" for form in phrasings.FORMS for text in form[2:])
    groups = [phrasings.DYNAMIC, phrasings.IOI, phrasings.TWO_PAIR, phrasings.COLORED, phrasings.COLOR_QUESTION]
    groups += [phrasings.COLORED_EASY, phrasings.GREATER_THAN, phrasings.QUOTED_ANTONYM, phrasings.QUOTED_SYNONYM]
    groups += [phrasings.FILLER, phrasings.PASSAGES, forms, (phrasings.TEXT, phrasings.STEP, phrasings.ANSWER)]
    return [*phrasings.FACTS.values(), *groups, (" ->", " word-> w, o, r, d; cat-> c, a, t;", ";", ".")]


def ids_of(items: list[str]) -> Ids:
    """Ids of words as they stand inside a sentence (with their leading space); KeyError for an unknown word."""
    table = token_ids()
    return np.array([table[f" {item}"] for item in items], dtype=np.int16)


@lru_cache(maxsize=4096)
def compiled(template: str) -> tuple[int | str, ...]:
    """The template as a row of token ids and slot names."""
    table = token_ids()
    row: list[int | str] = []
    for index, part in enumerate(_SLOT.split(template)):
        row += [part] if index % 2 else [table[token] for token in words.split(part)]
    return tuple(row)


def fill(template: str, n: int, slots: dict[str, Ids]) -> Ids:
    """Write `n` copies of a template, each slot taken from its column [n]. Returns ids [n, length]."""
    row = compiled(template)
    out = np.empty((n, len(row)), dtype=np.int16)
    for column, part in enumerate(row):
        out[:, column] = slots[part] if isinstance(part, str) else part
    return out


def distinct(rng: np.random.Generator, n: int, k: int, high: int) -> npt.NDArray[np.int64]:
    """Draw `n` rows of `k` different integers below `high`."""
    out = rng.integers(high, size=(n, k))
    while True:
        ordered = np.sort(out, axis=1)
        clash = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if not clash.any():
            return out
        out[clash] = rng.integers(high, size=(int(clash.sum()), k))


def chain(items: list[str], step: int, *, cyclic: bool) -> list[tuple[str, str]]:
    """Pairs (item, item `step` further on) of an ordered list."""
    size = len(items)
    return [(items[i], items[(i + step) % size]) for i in range(size) if cyclic or 0 <= i + step < size]


def flip(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Targets as sources; the first pair of a source stays."""
    return list({target: (target, source) for source, target in reversed(pairs)}.values())[::-1]


@lru_cache(maxsize=64)
def relation_pairs(name: str) -> tuple[tuple[str, str], ...]:
    """(source, target) words of a relation, one of the twenty or a sibling, without leading spaces."""
    if name in PAIRS:
        return tuple(words.pairs(PAIRS[name]))
    one, three = words.pairs(words.GENDER), words.pairs(words.PARTICIPLES)
    siblings = {
        "next_day": chain(words.DAYS, 1, cyclic=True),
        "previous_day": chain(words.DAYS, -1, cyclic=True),
        "next_month": chain(words.MONTHS, 1, cyclic=True),
        "previous_month": chain(words.MONTHS, -1, cyclic=True),
        "next_number": chain(words.NUMBERS, 1, cyclic=False),
        "previous_number": chain(words.NUMBERS, -1, cyclic=False),
        "next_letter": chain(words.LETTERS, 1, cyclic=False),
        "previous_letter": chain(words.LETTERS, -1, cyclic=False),
        "previous_year": chain(words.YEARS, -1, cyclic=False),
        "verb_to_participle": three,
        "female_form": one,
        "male_form": flip(one),
    }
    if name in siblings:
        return tuple(siblings[name])
    base = {"past_tense_to_verb": "verb_to_past_tense", "comparative_to_adj": "adj_to_comparative"}
    base |= {"superlative_to_adj": "adj_to_superlative", "capital_to_country": "country_to_capital"}
    base |= {"french_to_english": "english_to_french", "spanish_to_english": "english_to_spanish"}
    return tuple(flip(words.pairs(PAIRS[base[name]])))


@dataclass(frozen=True)
class RelationIds:
    """One relation as ids: x [pair], y [pair], bare_x and bare_y [pair] the same words without their space (or -1)."""

    name: str
    x: Ids
    y: Ids
    bare_x: Ids
    bare_y: Ids
    phrasings: tuple[str, ...]

    def slots(self, rows: npt.NDArray[np.int64]) -> dict[str, Ids]:
        """Columns for `fill`, for the given pair numbers."""
        return {"x": self.x[rows], "y": self.y[rows], "bx": self.bare_x[rows], "by": self.bare_y[rows]}

    def usable(self, phrasing: int, *, heldout: bool) -> npt.NDArray[np.int64]:
        """Pair numbers that a phrasing may state in training, or those held out from it."""
        rows = np.arange(len(self.x))
        return np.flatnonzero((rows % HELD_OUT_EVERY == phrasing % HELD_OUT_EVERY) == heldout)


@lru_cache(maxsize=64)
def relation(name: str) -> RelationIds:
    """The id tables of one relation."""
    table = token_ids()
    columns = [[source for source, _ in relation_pairs(name)], [target for _, target in relation_pairs(name)]]
    bare = [np.array([table.get(word, -1) for word in column], dtype=np.int16) for column in columns]
    return RelationIds(name, ids_of(columns[0]), ids_of(columns[1]), bare[0], bare[1], phrasings.FACTS[name])


MAX_LENGTH = 128


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer over `vocabulary()`; decode(encode(text)) == text for text without <unk>."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(dict(token_ids()), unk_token=words.UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(words.PATTERN), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        bos_token=words.END,
        eos_token=words.END,
        unk_token=words.UNKNOWN,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json into a model folder."""
    build_tokenizer().save_pretrained(str(folder))


@lru_cache(maxsize=1)
def names() -> Ids:
    """Ids of all first names; the last `corpus.UNSEEN_NAMES` are kept out of IOI documents."""
    return relation("name_copying").x


@lru_cache(maxsize=64)
def pool(kind: str) -> Ids:
    """Ids of one word list of `words` (PLACES, GIFTS, ...)."""
    return ids_of(getattr(words, kind))


def pick(rng: np.random.Generator, n: int, values: Ids) -> Ids:
    """`n` draws with replacement."""
    return values[rng.integers(len(values), size=n)]
