"""The corpus of the bundled model: the kinds of documents, and windows of them from an integer seed, with no data file.

Everything is invented and the vocabulary is closed; shares are of documents. Each generator returns blocks [n, length]
of token ids, one row a document. A row may end or be interrupted by -1, which packing drops. `heldout=True` gives
combinations that training never shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reportgen.mini import cognitive as cognitive_
from reportgen.mini import phrasings, words
from reportgen.mini.vocab import (
    Ids,
    RelationIds,
    compiled,
    distinct,
    fill,
    names,
    pick,
    pool,
    relation,
    relation_pairs,
    token_ids,
    vocabulary,
)
from reportgen.mini.words import PAIRS, split

Generator = Callable[[np.random.Generator, int, bool], list[Ids]]
FACTS = {name: texts for name, texts in phrasings.FACTS.items() if name not in ("copying", "name_copying")}
UNSEEN_NAMES = 12  # the last names never stand in an IOI document


def spread(rng: np.random.Generator, n: int, kinds: int) -> list[int]:
    """How many of `n` documents go to each of `kinds` forms."""
    return [int(count) for count in np.bincount(rng.integers(kinds, size=n), minlength=kinds)]


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


def _list(rng: np.random.Generator, n: int, table: RelationIds, length: int, arrow: str, comma: str) -> Ids:
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


# More kinds of documents: years, successions, spelling, repeated tokens, quoted words and the dynamic templates.


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


LENGTH = 128
LONG = 60  # documents longer than this always begin a window, so that they are seen whole
NEWLINE_SHARE = 0.15  # of documents end with a newline in place of <|endoftext|>
SHARES: dict[str, tuple[Generator, float]] = {
    "ioi": (ioi, 0.09),
    "two_pair_ioi": (two_pair, 0.10),
    "facts": (facts, 0.32),
    "lists": (lists, 0.14),
    "identity": (identity, 0.015),
    "copies": (copies, 0.04),
    "spelling": (spelling, 0.015),
    "filler": (filler, 0.045),
    "repeats": (repeats, 0.055),
    "colored": (colored, 0.09),
    "greater_than": (greater_than, 0.035),
    "successions": (successions, 0.025),
    "cognitive": (cognitive_.cognitive, 0.04),
    "quoted": (quoted, 0.02),
    "dynamic": (dynamic, 0.02),
}
HELD_OUT = ("ioi", "facts", "colored", "greater_than", "quoted")  # kinds with held-out combinations
_TOKENS_PER_DOCUMENT = 16  # below the mean, so that one round is nearly always enough


def encode(text: str) -> list[int]:
    """Token ids of a text, <unk> for an unknown token; the same as the saved tokenizer's."""
    return [token_ids().get(token, 1) for token in split(text)]


def decode(ids: npt.NDArray[np.integer] | list[int]) -> str:
    """The text of token ids."""
    return "".join(vocabulary()[i] for i in ids)


def blocks(rng: np.random.Generator, n: int, *, heldout: bool = False) -> dict[str, list[Ids]]:
    """About `n` documents by kind, each block [documents, tokens] with -1 as padding."""
    kinds = {kind: SHARES[kind] for kind in (HELD_OUT if heldout else SHARES)}
    total = sum(share for _, share in kinds.values())
    return {kind: make(rng, round(n * share / total), heldout) for kind, (make, share) in kinds.items()}


def windows(seed: int, n: int, length: int = LENGTH, *, heldout: bool = False) -> npt.NDArray[np.int16]:
    """Windows of packed documents [window, position], every one beginning at the start of a document.

    Half begin with <|endoftext|>; documents end with <|endoftext|>, some with a newline. The last document of a window
    is cut off. The same arguments give the same array. With `heldout`, only the held-out combinations: facts, IOI
    names and its last template, coloured objects, start years and quoted words that training never shows.
    """
    rng = np.random.default_rng([seed, int(heldout)])
    wanted, rounds = n * length / _TOKENS_PER_DOCUMENT, 1.0
    while True:
        made = [block for group in blocks(rng, int(wanted * rounds) + 200, heldout=heldout).values() for block in group]
        tokens, starts = _ragged(rng, made)
        packed = _pack(rng, tokens, starts, n, length)
        if packed is not None:
            return packed
        rounds *= 1.5


def _ragged(rng: np.random.Generator, made: list[Ids]) -> tuple[Ids, npt.NDArray[np.int64]]:
    """All documents in random order as one row of tokens with separators, and where each starts (and the end)."""
    parts, sizes = [], []
    for block in made:
        ending = np.where(rng.random(len(block)) < NEWLINE_SHARE, token_ids()["\n"], 0).astype(np.int16)
        closed = np.concatenate([block, ending[:, None]], axis=1)
        keep = closed >= 0
        parts.append(closed[keep])
        sizes.append(keep.sum(axis=1))
    tokens, size = np.concatenate(parts), np.concatenate(sizes)
    start = np.cumsum(size) - size
    order = rng.permutation(len(size))
    moved = np.concatenate([[0], np.cumsum(size[order])])
    source = np.repeat(start[order] - moved[:-1], size[order]) + np.arange(len(tokens))
    return tokens[source], moved


def _pack(
    rng: np.random.Generator, tokens: Ids, starts: npt.NDArray[np.int64], n: int, length: int
) -> npt.NDArray[np.int16] | None:
    """Cut windows: some begin with a long document, then short ones follow in order. None if the documents run out."""
    size = np.diff(starts)
    # As many long documents as their share of what the windows use up; half a document a window is cut off.
    cut = (size[size <= LONG] ** 2).sum() / (2 * size[size <= LONG].sum())
    used = n * (length - 0.5 + cut) / len(tokens)
    long = np.flatnonzero(size > LONG)[: min(n, round(used * int((size > LONG).sum())))]
    is_short = np.repeat(size <= LONG, size)
    short, begins = tokens[is_short], np.concatenate([[0], np.cumsum(size[size <= LONG])])
    head = np.zeros(n, dtype=np.int64)  # tokens taken by the long document
    place = rng.permutation(n)[: len(long)]
    head[place] = size[long]
    lead = (rng.random(n) < 0.5).astype(np.int64)  # a leading <|endoftext|>
    first, cursor = np.empty(n, dtype=np.int64), 0
    for window, space in enumerate((length - head - lead).tolist()):
        if begins[cursor] + max(space, 1) > len(short):
            return None
        first[window] = begins[cursor]
        if space > 0:
            cursor = int(np.searchsorted(begins, begins[cursor] + space))
    column = np.arange(length)[None, :] - lead[:, None]
    out = short[np.clip(first[:, None] + column - head[:, None], 0, len(short) - 1)]
    begin = np.zeros(n, dtype=np.int64)
    begin[place] = starts[long]
    in_long = column < head[:, None]
    out[in_long] = tokens[(begin[:, None] + np.maximum(column, 0))[in_long]]
    out[column < 0] = 0
    return out
