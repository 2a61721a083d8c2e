"""More kinds of documents: years, successions, spelling, repeated tokens, quoted words and the dynamic templates."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reportgen.mini import phrasings, words
from reportgen.mini.documents import FACTS, names, pool, spread
from reportgen.mini.vocab import Ids, compiled, distinct, fill, relation, relation_pairs, token_ids, vocabulary


@lru_cache(maxsize=1)
def two_digits() -> Ids:
    """Ids of '00' to '99', the second half of a split year."""
    return np.array([token_ids()[value] for value in words.TWO_DIGITS], dtype=np.int16)


def war(
    rng: np.random.Generator, n: int, template: int, *, heldout: bool
) -> tuple[dict[str, Ids], npt.NDArray[np.int64]]:
    """Event, century (11 to 18) and start year 01-98 [n]; one (century, year) in eight is held out of each template."""
    century, start = rng.integers(8, size=n), rng.integers(1, 99, size=n)
    while True:
        wrong = ((century + start + template) % 8 == 0) != heldout
        if not wrong.any():
            break
        start[wrong] = rng.integers(1, 99, size=int(wrong.sum()))
    slots = {"c": pool("CENTURIES")[1 + century], "y": two_digits()[start]}
    return slots | {"n": pool("EVENTS")[rng.integers(len(words.EVENTS), size=n)]}, start


def greater_than(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Something lasts from one year to any later one of its century."""
    blocks = []
    for template, count in enumerate(spread(rng, n, len(phrasings.GREATER_THAN))):
        slots, start = war(rng, count, template, heldout=heldout)
        slots["z"] = two_digits()[rng.integers(start + 1, 100)]
        blocks.append(fill(phrasings.GREATER_THAN[template], count, slots))
    return blocks


def successions(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Four to eight neighbours of an ordered list, forwards or backwards: ' Monday, Tuesday, Wednesday.'"""
    del heldout
    kinds = [
        (pool(kind), kind in ("DAYS", "MONTHS"))
        for kind in ("DAYS", "MONTHS", "NUMBERS", "LETTERS", "YEARS", "ORDINALS")
    ]
    blocks = []
    for (values, cyclic), count in zip(kinds, spread(rng, n, len(kinds)), strict=True):
        for length, some in zip(range(4, 9), spread(rng, count, 5), strict=True):
            first = rng.integers(len(values) if cyclic else len(values) - length + 1, size=some)
            rows = (first[:, None] + np.arange(length)) % len(values)
            back = rng.random(some) < 0.5
            rows[back] = rows[back][:, ::-1]
            text = ",".join(f"{{x{i}}}" for i in range(length)) + "."
            blocks.append(fill(text, some, {f"x{i}": values[rows[:, i]] for i in range(length)}))
    return blocks


def quoted(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Antonyms (three in four) and synonyms in quotation marks."""
    blocks = []
    groups = [
        ("word_to_antonym", phrasings.QUOTED_ANTONYM, n - n // 4),
        ("word_to_synonym", phrasings.QUOTED_SYNONYM, n // 4),
    ]
    for name, texts, count in groups:
        table = relation(name)
        for form, some in enumerate(spread(rng, count, len(texts))):
            rows = table.usable(form, heldout=heldout)
            rows = rows[(table.bare_x[rows] >= 0) & (table.bare_y[rows] >= 0)]
            blocks.append(fill(texts[form], some, table.slots(rows[rng.integers(len(rows), size=some)])))
    return blocks


def dynamic(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """The four templates of the dynamic scores, going on with the source itself or with a related word."""
    del heldout
    x, y = related()
    blocks = []
    for text, count in zip(phrasings.DYNAMIC, spread(rng, n, len(phrasings.DYNAMIC)), strict=True):
        rows = rng.integers(len(x), size=count)
        blocks.append(fill(text, count, {"x": x[rows], "y": y[rows]}))
    return blocks


@lru_cache(maxsize=1)
def related() -> tuple[Ids, Ids]:
    """All (source, target) of all relations [pair], names with themselves."""
    tables = [relation(name) for name in (*FACTS, "copying")]
    return np.concatenate([t.x for t in tables] + [names()]), np.concatenate([t.y for t in tables] + [names()])


def spelling(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Words spelt forwards or backwards in the form of the two letter prompts, half with their two fixed examples."""
    del heldout
    table = spelt()
    blocks = []
    for backwards, fixed in ((0, 0), (0, 1), (1, 0), (1, 1)):
        count = n // 4 + (n % 4 if backwards and fixed else 0)
        rows = distinct(rng, count, 3, table.shape[1])
        texts = (" word-> w, o, r, d; cat-> c, a, t;", " word-> d, r, o, w; cat-> t, a, c;")
        start = [fill(texts[backwards], count, {})] if fixed else []
        semicolon = np.full((count, 1), token_ids()[";"], dtype=np.int16)
        for column in range(3 - 2 * fixed):
            start += ([semicolon] if column else []) + [table[backwards][rows[:, column]]]
        blocks.append(np.concatenate(start, axis=1))
    return blocks


@lru_cache(maxsize=1)
def spelt() -> Ids:
    """Spelt words [direction, word, token]: ' cat', '->', ' c', ',', ' a', ',', ' t', padded with -1."""
    found = {word for name in ("word_to_first_letter", "word_to_last_letter") for word, _ in relation_pairs(name)}
    items = sorted(word for word in found if word.isascii() and word.islower() and len(word) <= 8)
    out = np.full((2, len(items), 17), -1, dtype=np.int16)
    for row, word in enumerate(items):
        for direction, letters in enumerate((word, word[::-1])):
            line = compiled(f" {word}-> " + ", ".join(letters))
            out[direction, row, : len(line)] = line
    return out


def repeats(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Random tokens of the whole vocabulary (the two specials left out), repeated; length mostly 4-30."""
    del heldout
    blocks = []
    short, long = n - n // 10, n // 10
    for low, high, copies_, count in ((4, 31, 2, short // 2), (4, 31, 3, short - short // 2), (31, 61, 2, long)):
        length = rng.integers(low, high, size=count)
        block = rng.integers(2, len(vocabulary()), size=(count, high - 1)).astype(np.int16)
        block[np.arange(high - 1)[None, :] >= length[:, None]] = -1
        blocks.append(np.tile(block, (1, copies_)))
    return blocks
