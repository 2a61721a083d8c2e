"""Cognitive items: a short invented passage, then a chain of questions of eight functions with one-word answers."""

from functools import lru_cache
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from reportgen.mini import words
from reportgen.mini.phrasings import ANSWER, FORMS, FUNCTIONS, PASSAGE_SENTENCES, PASSAGES, STEP, STOP, TEXT
from reportgen.mini.vocab import Ids, compiled, distinct, fill, ids_of, names, pick, pool, relation_pairs, vocabulary

CHAIN_STEPS = 4
Columns = dict[str, Ids]
_CLASSES = ("animal", "tool", "vehicle", "instrument", "clothing", "furniture", "weapon", "fruit", "vegetable")
_SPLITS = (("train", 0.6), ("validation", 0.1), ("selection", 0.15), ("test", 0.15))


class CognitiveItem(TypedDict):
    """One sub-question, as in a user's own JSONL file."""

    id: str
    chain: str
    step: int
    question: str
    context: list[dict[str, str]]
    subquestion: str
    answer: str
    function: str
    split: str


@lru_cache(maxsize=1)
def _facts() -> dict[str, Ids]:
    """The world's tables as ids: countries with capital and language, objects with class, jobs with place, ..."""
    language = dict(relation_pairs("country_to_language"))
    countries = [(x, capital, language[x]) for x, capital in relation_pairs("country_to_capital") if x in language]
    owned = [(x, y) for x, y in relation_pairs("object_to_superclass") if y in _CLASSES and x[0] not in "aeiou"]
    jobs = [(x, y) for x, y in relation_pairs("work_to_location") if x[0] not in "aeiou" and y not in ("space", "army")]
    ants, past = relation_pairs("word_to_antonym"), relation_pairs("verb_to_past_tense")
    columns: dict[str, list[tuple[str, ...]]] = {"country": [*countries], "owned": [*owned], "job": [*jobs]}
    columns |= {"ant": [*ants], "past": [*past], "amount": [*words.NUMBER_NAMES.items()]}
    columns["count"] = [(*key, value) for key, value in words.WORLD_COUNTS.items()]
    return {
        key: np.stack([ids_of(list(column)) for column in zip(*rows, strict=True)]) for key, rows in columns.items()
    }


def _world(rng: np.random.Generator, n: int) -> tuple[Columns, npt.NDArray[np.int64]]:
    """The facts of `n` passages, and the two counts as numbers [n, 2]."""
    table = _facts()
    people = names()[distinct(rng, n, 2, len(names()))]
    country, owned = _apart(rng, n, table["country"][2]), _apart(rng, n, table["owned"][1])
    color, count = pool("COLORS")[distinct(rng, n, 2, len(words.COLORS))], 2 + distinct(rng, n, 2, 8)
    out = {"k": pick(rng, n, pool("COUNTED"))}
    for side, person in enumerate("ab"):
        out |= {
            person: people[:, side],
            f"{person}c": color[:, side],
            f"{person}n": pool("NUMBERS")[count[:, side] - 1],
        }
        for slot, row in (("x", 0), ("capital", 1), ("l", 2)):
            out[f"{person}{slot}"] = table["country"][row][country[:, side]]
        out |= {f"{person}o": table["owned"][0][owned[:, side]], f"{person}k": table["owned"][1][owned[:, side]]}
    return out, count


def _apart(rng: np.random.Generator, n: int, label: Ids) -> npt.NDArray[np.int64]:
    """Two rows of a table [n, 2] with different labels."""
    out = rng.integers(len(label), size=(n, 2))
    while True:
        same = label[out[:, 0]] == label[out[:, 1]]
        if not same.any():
            return out
        out[same] = rng.integers(len(label), size=(int(same.sum()), 2))


def _word(flag: npt.NDArray[np.bool_], true: str = "yes", false: str = "no") -> Ids:
    return ids_of([false, true])[flag.astype(np.int64)]


def _number(value: npt.NDArray[np.int64]) -> Ids:
    return pool("NUMBERS")[value - 1]


def _step(
    rng: np.random.Generator, world: Columns, count: npt.NDArray[np.int64], layout: npt.NDArray[np.int64]
) -> Columns:
    """Every slot and every answer that a question about these passages may need."""
    n, coin = len(count), rng.random((12, len(count))) < 0.5
    first = coin[0]  # is the question about a (or b)?
    out = {"k": world["k"]}
    for slot in ("", "c", "n", "o", "x", "k", "l"):
        a, b = world[f"a{slot}"], world[f"b{slot}"]
        out |= {f"p{slot}": np.where(first, a, b), f"r{slot}": np.where(first, b, a)}
    mine, theirs = np.where(first, count[:, 0], count[:, 1]), np.where(first, count[:, 1], count[:, 0])
    out |= {"qx": np.where(coin[1], out["px"], out["rx"]), "lives": _word(coin[1])}
    out |= {"ql": np.where(coin[2], out["pl"], out["rl"]), "speaks": _word(coin[2])}
    out |= {"more": np.where(mine > theirs, out["p"], out["r"]), "hasmore": _word(mine > theirs)}
    out |= {"borrow": _word(mine < theirs), "sum": _number(mine + theirs), "plus": _number(mine + 1)}
    out |= {"minus": _number(mine - 1)}
    sentence = rng.integers(2, size=n)
    out |= {"ord": pool("ORDINALS")[sentence], "subject": np.where(sentence == 0, world["a"], world["b"])}
    out["sentences"] = ids_of(list(PASSAGE_SENTENCES))[layout]
    return out | _sums(rng, coin[3]) | _general(rng, coin[4:])


def _sums(rng: np.random.Generator, right: npt.NDArray[np.bool_]) -> Columns:
    m, n = rng.integers(1, 10, size=len(right)), rng.integers(1, 10, size=len(right))
    shift = rng.choice(np.array([-1, 1, 2]), size=len(right))
    shift = np.where(m + n + shift < 1, 1, shift)
    out = {"m": _number(m), "n": _number(n), "parity": _word((m + n) % 2 == 0, "even", "odd")}
    return out | {"qsum": _number(np.where(right, m + n, m + n + shift)), "issum": _word(right)}


def _general(rng: np.random.Generator, coin: npt.NDArray[np.bool_]) -> Columns:
    """Questions of general knowledge and of language, which need no passage."""
    table, n = _facts(), coin.shape[1]
    country = distinct(rng, n, 2, table["country"].shape[1])
    capital = table["country"][1][country]
    out = {"x": table["country"][0][country[:, 0]], "cap": capital[:, 0]}
    out |= {
        "qcap": np.where(coin[0], capital[:, 0], capital[:, 1]),
        "iscap": _word(capital[:, 0] == np.where(coin[0], capital[:, 0], capital[:, 1])),
    }
    for key, slots in (("job", ("job", "place")), ("count", ("part", "all", "count")), ("amount", ("aw", "amount"))):
        row = rng.integers(table[key].shape[1], size=n)
        out |= {slot: table[key][i][row] for i, slot in enumerate(slots)}
    adjective = distinct(rng, n, 2, table["ant"].shape[1])
    true = table["ant"][1][adjective[:, 0]]
    other = np.where(coin[1], true, table["ant"][1][adjective[:, 1]])
    out |= {"adj": table["ant"][0][adjective[:, 0]], "ant": true, "qant": other, "isant": _word(other == true)}
    verb = rng.integers(table["past"].shape[1], size=n)
    out |= {"verb": table["past"][0][verb], "past": table["past"][1][verb]}
    return out | _verbs(rng, coin[2])


def _verbs(rng: np.random.Generator, verb: npt.NDArray[np.bool_]) -> Columns:
    """A clear verb or a clear noun."""
    verbs, nouns = ids_of(list(words.CLEAR_VERBS)), ids_of(list(words.CLEAR_NOUNS))
    return {"qverb": np.where(verb, pick(rng, len(verb), verbs), pick(rng, len(verb), nouns)), "isverb": _word(verb)}


def _chains(
    rng: np.random.Generator, n: int, phrasing: npt.NDArray[np.int64]
) -> tuple[Ids, list[Ids], npt.NDArray[np.int64]]:
    """Passages [n, tokens], per step question and answer [n, tokens] (padded), the form of each step [n, step]."""
    world, count = _world(rng, n)
    layout = rng.integers(2, size=n)
    passage = np.full((n, max(len(compiled(TEXT + text)) for text in PASSAGES)), -1, dtype=np.int16)
    for kind, text in enumerate(PASSAGES):
        rows = np.flatnonzero(layout == kind)
        block = fill(TEXT + text, len(rows), {slot: column[rows] for slot, column in world.items()})
        passage[rows, : block.shape[1]] = block
    forms = 4 * distinct(rng, n, CHAIN_STEPS, len(FUNCTIONS)) + rng.integers(4, size=(n, CHAIN_STEPS))
    steps = []
    for step in range(CHAIN_STEPS):
        columns = _step(rng, world, count, layout)
        steps.append(_ask(columns, forms[:, step], phrasing))
    return passage, steps, forms


def _ask(columns: Columns, forms: npt.NDArray[np.int64], phrasing: npt.NDArray[np.int64]) -> Ids:
    out = np.full((len(forms), 24), -1, dtype=np.int16)
    for code in np.unique(forms * 2 + phrasing).tolist():
        rows = np.flatnonzero(forms * 2 + phrasing == code)
        _, answer, *texts = FORMS[code // 2]
        text = f"{STEP} {texts[code % 2]}{ANSWER}{{answer}}{STOP}"
        slots = {slot: column[rows] for slot, column in columns.items()} | {"answer": columns[answer][rows]}
        block = fill(text, len(rows), slots)
        out[rows, : block.shape[1]] = block
    return out


def cognitive(rng: np.random.Generator, n: int, heldout: bool) -> list[Ids]:
    """Passages with one to four questions, either phrasing."""
    del heldout
    passage, steps, _ = _chains(rng, n, rng.integers(2, size=n))
    keep = rng.integers(1, CHAIN_STEPS + 1, size=n)
    for step, block in enumerate(steps):
        block[keep <= step] = -1
    return [np.concatenate([passage, *steps], axis=1)]


def cognitive_items(seed: int, n_chains: int) -> list[CognitiveItem]:
    """Chains of four sub-questions as rows of the cognitive suite's own JSONL format.

    Splits are by chain (60/10/15/15 %); the test split uses each form's second phrasing, the others its first.
    `question` is the passage; `answer` is one word. The same seed gives the same rows.
    """
    rng = np.random.default_rng([seed, 3])
    split = rng.choice(4, size=n_chains, p=[share for _, share in _SPLITS])
    passage, steps, forms = _chains(rng, n_chains, (split == 3).astype(np.int64))
    rows: list[CognitiveItem] = []
    for item in range(n_chains):
        context: list[dict[str, str]] = []
        for step, block in enumerate(steps):
            asked, _, answer = _text(block[item]).removeprefix(f"{STEP} ").rpartition(f"{ANSWER} ")
            answer = answer.removesuffix(STOP)
            row: CognitiveItem = {
                "id": f"c{item:05d}-{step}",
                "chain": f"c{item:05d}",
                "step": step,
                "question": _text(passage[item]).removeprefix(f"{TEXT} "),
                "context": list(context),
                "subquestion": asked,
                "answer": answer,
                "function": FORMS[forms[item, step]][0],
                "split": _SPLITS[split[item]][0],
            }
            rows.append(row)
            context.append({"q": asked, "a": answer})
    return rows


def _text(ids: Ids) -> str:
    tokens = vocabulary()
    return "".join(tokens[i] for i in ids[ids >= 0])
