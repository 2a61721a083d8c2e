"""The kinds of documents of the corpus. Each generator returns blocks [n, length] of token ids, one row a document.

A row may end or be interrupted by -1, which packing drops. `heldout=True` gives combinations that training never shows.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from reportgen.mini import phrasings, words
from reportgen.mini.pairs import PAIRS
from reportgen.mini.vocab import Ids, Relation, compiled, distinct, fill, ids_of, relation, vocabulary

Generator = Callable[[np.random.Generator, int, bool], list[Ids]]
FACTS = {name: texts for name, texts in phrasings.FACTS.items() if name not in ("copying", "name_copying")}
UNSEEN_NAMES = 12  # the last names never stand in an IOI document


@lru_cache(maxsize=1)
def names() -> Ids:
    """Ids of all first names; the last `UNSEEN_NAMES` are kept out of IOI documents."""
    return relation("name_copying").x


@lru_cache(maxsize=64)
def pool(kind: str) -> Ids:
    """Ids of one word list of `words` (PLACES, GIFTS, ...)."""
    return ids_of(getattr(words, kind))


def spread(rng: np.random.Generator, n: int, kinds: int) -> list[int]:
    """How many of `n` documents go to each of `kinds` forms."""
    return [int(count) for count in np.bincount(rng.integers(kinds, size=n), minlength=kinds)]


def pick(rng: np.random.Generator, n: int, values: Ids) -> Ids:
    """`n` draws with replacement."""
    return values[rng.integers(len(values), size=n)]


def name_pairs(rng: np.random.Generator, n: int, template: int, *, heldout: bool) -> Ids:
    """Two different names a row [n, 2]; one ordered pair in ten is held out, another tenth for every template."""
    size = len(names()) - UNSEEN_NAMES
    size -= size % 10  # so that the residue survives the wrap-around
    a, b = rng.integers(size, size=n), rng.integers(size, size=n)
    residue = (7 * a + b + template) % 10
    if heldout:
        b = (b - residue) % size
        b = np.where(a == b, (b + 10) % size, b)
    else:
        for _ in range(3):
            b = np.where((a == b) | ((7 * a + b + template) % 10 == 0), (b + 1) % size, b)
    return names()[np.stack([a, b], axis=1)]


def ioi(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """One pair of names, the subject repeated (ABBA and BABA). The last template only when held out."""
    kinds = len(phrasings.IOI) - (not heldout)
    blocks = []
    for template, count in enumerate(spread(rng, n, kinds)):
        pair = name_pairs(rng, count, template, heldout=heldout)
        subject = rng.integers(2, size=count)
        rows = np.arange(count)
        slots = {"a": pair[:, 0], "b": pair[:, 1], "s": pair[rows, subject], "i": pair[rows, 1 - subject]}
        slots |= {"p": pick(rng, count, pool("PLACES")), "o": pick(rng, count, pool("GIFTS"))}
        blocks.append(fill(phrasings.IOI[template], count, slots))
    return blocks


def two_pair(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Two pairs of names; any of the four gives, and its partner receives."""
    del heldout
    blocks = []
    for template, count in enumerate(spread(rng, n, len(phrasings.TWO_PAIR))):
        four = names()[distinct(rng, count, 4, len(names()) - UNSEEN_NAMES)]
        giver, rows = rng.integers(4, size=count), np.arange(count)
        slots = {slot: four[:, column] for column, slot in enumerate("abcd")}
        slots |= {"s": four[rows, giver], "i": four[rows, giver ^ 1]}
        slots |= {"p": pick(rng, count, pool("PLACES")), "q": pick(rng, count, pool("PLACES"))}
        blocks.append(fill(phrasings.TWO_PAIR[template], count, slots | {"o": pick(rng, count, pool("GIFTS"))}))
    return blocks


def facts(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """A relation stated in a sentence; the twenty relations weigh twice a sibling."""
    forms = [(name, form) for name, texts in FACTS.items() for form in range(len(texts))]
    weight = np.array([(2 if name in PAIRS else 1) / len(FACTS[name]) for name, _ in forms])
    blocks = []
    for (name, form), count in zip(forms, rng.multinomial(n, weight / weight.sum()), strict=True):
        table = relation(name)
        rows = table.usable(form, heldout=heldout)
        if not len(rows) or not count:
            continue
        text = table.phrasings[form]
        if "{bx}" in text:
            rows = rows[(table.bare_x[rows] >= 0) & (table.bare_y[rows] >= 0)]
        blocks.append(fill(text, count, table.slots(rows[rng.integers(len(rows), size=count)])))
    return blocks


def lists(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Few-shot lists of two to six pairs of one relation: ' a-> b; c-> d' (three in four) or ' a -> b, c -> d'."""
    del heldout
    tables = [relation(name) for name in FACTS]
    blocks = []
    for table, count in zip(tables, spread(rng, n, len(tables)), strict=True):
        for length, some in zip(range(2, 7), spread(rng, count, 5), strict=True):
            tight = int(rng.binomial(some, 0.75))
            blocks.append(_list(rng, tight, table, length, "->", ";"))
            blocks.append(_list(rng, some - tight, table, length, " ->", ","))
    return blocks


def _list(rng: np.random.Generator, n: int, table: Relation, length: int, arrow: str, comma: str) -> Ids:
    rows = distinct(rng, n, length, len(table.x))  # [n, pair]
    text = comma.join(f"{{x{i}}}{arrow}{{y{i}}}" for i in range(length))
    slots = {f"x{i}": table.x[rows[:, i]] for i in range(length)} | {
        f"y{i}": table.y[rows[:, i]] for i in range(length)
    }
    return fill(text, n, slots)


@lru_cache(maxsize=1)
def plain_words() -> Ids:
    """Ids of every vocabulary word with a leading space."""
    return np.array([i for i, t in enumerate(vocabulary()) if t[0] == " " and t[1:].isalpha()], dtype=np.int16)


def identity(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Lists that copy: ' a-> a; b-> b', over names (a third) or any words."""
    del heldout
    blocks = []
    for values, count in zip((names(), plain_words(), plain_words()), spread(rng, n, 3), strict=True):
        for length, some in zip(range(3, 7), spread(rng, count, 4), strict=True):
            rows = values[distinct(rng, some, length, len(values))]
            text = ";".join(f"{{x{i}}}->{{x{i}}}" for i in range(length))
            blocks.append(fill(text, some, {f"x{i}": rows[:, i] for i in range(length)}))
    return blocks


def copies(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Names and words said twice (the phrasings of the two copying relations), names three times in four."""
    blocks = []
    for name, count in (("name_copying", n - n // 4), ("copying", n // 4)):
        table = relation(name)
        for form, some in enumerate(spread(rng, count, len(table.phrasings))):
            rows = table.usable(form, heldout=heldout)
            blocks.append(fill(table.phrasings[form], some, table.slots(rows[rng.integers(len(rows), size=some)])))
    return blocks


def filler(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Plain sentences of random words."""
    del heldout
    values = {"j": relation("adj_to_comparative").x, "n": pool("NOUNS"), "p": pool("PLACES"), "d": pool("DAYS")}
    values |= {"m": pool("MONTHS"), "k": relation("country_to_capital").x, "y": pool("YEARS"), "v": pool("VERBS")}
    blocks = []
    for text, count in zip(phrasings.FILLER, spread(rng, n, len(phrasings.FILLER)), strict=True):
        slots = {slot: pick(rng, count, ids) for slot, ids in values.items()}
        pair = names()[distinct(rng, count, 2, len(names()))]
        blocks.append(fill(text, count, slots | {"a": pair[:, 0], "b": pair[:, 1]}))
    return blocks


def colored(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Coloured objects: two scenes in one form, each with its question (six in ten), or an easier form."""
    easy = 0 if heldout else int(n * 0.4)
    blocks = []
    for text, count in zip(phrasings.COLORED_EASY, spread(rng, easy, len(phrasings.COLORED_EASY)), strict=True):
        blocks.append(fill(text, count, scene(rng, count, 3 if "{q}" in text else 2, heldout=False)))
    forms = [(scene_, question) for scene_ in phrasings.COLORED for question in phrasings.COLOR_QUESTION]
    newline = compiled("\n")[0]
    for (text, question), count in zip(forms, spread(rng, n - easy, len(forms)), strict=True):
        parts = [fill(text + question, count, scene(rng, count, 3, heldout=heldout)) for _ in range(2)]
        blocks.append(np.concatenate([parts[0], np.full((count, 1), newline, dtype=np.int16), parts[1]], axis=1))
    return blocks


def scene(rng: np.random.Generator, n: int, objects: int, *, heldout: bool) -> dict[str, Ids]:
    """Different objects and colours, and the one asked for; one (object, colour) in ten is held out as an answer."""
    things, colors = pool("THINGS"), pool("COLORS")
    thing = distinct(rng, n, objects, len(things))
    color = distinct(rng, n, objects, len(colors))
    asked, rows = rng.integers(objects, size=n), np.arange(n)
    while True:
        wrong = ((thing[rows, asked] + color[rows, asked]) % 10 == 0) != heldout
        if not wrong.any():
            break
        count = int(wrong.sum())
        thing[wrong] = distinct(rng, count, objects, len(things))
        color[wrong] = distinct(rng, count, objects, len(colors))
    slots = {slot: colors[color[:, i]] for i, slot in enumerate("cde"[:objects])}
    slots |= {slot: things[thing[:, i]] for i, slot in enumerate("opq"[:objects])}
    return slots | {"t": things[thing[rows, asked]], "k": colors[color[rows, asked]]}
