"""Writes the sets of questions that ship, the same bytes always:

    python -m reportgen.suites.cognitive.make_rows english > english.jsonl
    python -m reportgen.suites.cognitive.make_rows in_vocabulary > in_vocabulary.jsonl

800 rows, 100 of each function; 200 chains of 4 steps, each about one invented passage and with four functions; every
function 25 times at each step; a quarter of each function's answers are a name, a word, a number, yes or no. Splits
are by chain, and the test split asks in words that no other split uses.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from reportgen.mini.cognitive import CognitiveItem, cognitive_items
from reportgen.suites.cognitive.scoring.dataset import DATA, PAPER, answer_shape

ENGLISH_SEED = 20260101
STEPS = 4
PAIRS = (("train", 60), ("validation", 10), ("selection", 15), ("test", 15))  # pairs of chains hold all functions once
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen".split()
)
ORDINALS = ("first", "second", "third", "fourth", "fifth")
Fields = dict[str, str]


def layout(rng: random.Random) -> list[tuple[str, tuple[str, ...]]]:
    """(split, functions of the four steps) of all 200 chains."""
    chains: list[tuple[str, tuple[str, ...]]] = []
    splits = [name for name, pairs in PAIRS for _ in range(pairs)]
    rng.shuffle(splits)
    for start in range(0, len(splits), STEPS):
        order = rng.sample(PAPER, len(PAPER))
        for turn, name in enumerate(splits[start : start + STEPS]):  # each function once at each step in four turns
            halves = (order[:STEPS], order[STEPS:])
            chains += [(name, tuple(half[turn:] + half[:turn])) for half in halves]
    return chains


class Deck:
    """Draws without replacement, and starts over when all are drawn: every item as often as any other."""

    def __init__(self, items: Sequence[Any], rng: random.Random) -> None:
        self.items, self.rng, self.left = list(items), rng, list[Any]()

    def draw(self) -> Any:
        if not self.left:
            self.left = self.rng.sample(self.items, len(self.items))
        return self.left.pop()


class Writer:
    """Everything the rows are drawn from."""

    def __init__(self, seed: int = ENGLISH_SEED) -> None:
        self.text = tomllib.loads((DATA / "english.toml").read_text("utf-8"))
        self.rng = random.Random(seed)
        self.decks: dict[object, Deck] = {}

    def deck(self, key: object, items: Sequence[Any]) -> Any:
        """The next of `items` under this key."""
        if key not in self.decks:
            self.decks[key] = Deck(items, self.rng)
        return self.decks[key].draw()

    def words(self, name: str) -> list[str]:
        return str(self.text[name]).split()

    def rows(self) -> list[dict[str, object]]:
        """All rows, chain after chain."""
        return [row for i, (name, steps) in enumerate(layout(self.rng)) for row in self._chain(i, name, steps)]

    def _chain(self, number: int, split: str, functions: Sequence[str]) -> list[dict[str, object]]:
        world, passage = self._world()
        rows: list[dict[str, object]] = []
        for step, function in enumerate(functions):
            form = self.deck((split, function), [f for f in self.text["form"] if f["function"] == function])
            phrasings = form["ask"][-1:] if split == "test" else form["ask"][:-1]
            asked = self.deck((split, form["ask"][0]), phrasings)
            fields = self._fields(world, passage, form["answer"])
            rows.append(
                {
                    "id": f"c{number:03d}-{step}", "chain": f"c{number:03d}", "step": step, "question": world["text"],
                    "subquestion": _capital(asked.format(**fields)), "answer": fields[form["answer"]],
                    "function": function, "split": split,
                }
            )  # fmt: skip
        return rows

    def _world(self) -> tuple[Fields, Any]:
        """One passage filled in: two people, their towns, counts, colours and things."""
        rng, passage = self.rng, self.deck("passage", self.text["passage"])
        world: Fields = {"k": passage["k"], "day": self.deck("day", self.words("days"))}
        world["a"], world["b"] = rng.sample(self.words("names"), 2)
        colours, counts = rng.sample(self.words("colours"), 2), rng.sample(range(2, 10), 2)
        towns, things = self._apart("towns", 1), self._apart("things", 1)
        for i, side in enumerate("ab"):
            world |= {f"{side}c": colours[i], f"{side}n": NUMBERS[counts[i]], f"{side}t": towns[i][0]}
            world |= {
                f"{side}language": towns[i][2],
                f"{side}o": things[i][0],
                f"{side}k": things[i][1],
                f"{side}use": things[i][2],
            }
        world["text"] = passage["text"].format(**world)
        return world, passage

    def _apart(self, name: str, column: int) -> list[list[str]]:
        """Two rows of a table that differ in a column."""
        while True:
            pair = self.rng.sample(self.text[name], 2)
            if pair[0][column] != pair[1][column]:
                return pair

    def _fields(self, world: Fields, passage: Any, answer: str) -> Fields:
        """Every slot of every question, asked about one of the two people."""
        p, r = self._asked_about(world, answer)
        out = {"k": world["k"], "p": world[p], "r": world[r]}
        for slot in ("c", "n", "t", "o", "k", "language", "use"):
            out |= {f"p{slot}": world[p + slot], f"r{slot}": world[r + slot]}
        mine, theirs = NUMBERS.index(out["pn"]), NUMBERS.index(out["rn"])
        return out | self._fixed(passage, world, mine, theirs) | self._about(out, answer) | self._general(answer)

    def _asked_about(self, world: Fields, answer: str) -> tuple[str, str]:
        """The sides (a or b) asked about and left over, so that comparisons are answered yes as often as no."""
        more, less = sorted("ab", key=lambda side: -NUMBERS.index(world[f"{side}n"]))
        if answer not in ("has_more", "has_less"):
            return (more, less) if self.rng.random() < 0.5 else (less, more)
        holds = self._coin(answer, answer) == "yes"
        return (more, less) if holds == (answer == "has_more") else (less, more)

    def _fixed(self, passage: Any, world: Fields, mine: int, theirs: int) -> Fields:
        """What follows from the counts of the person asked about and of the other one, and from the sentences."""
        at = self.rng.choice([i for i, side in enumerate(passage["subjects"]) if side])
        more = max("ab", key=lambda side: NUMBERS.index(world[f"{side}n"]))
        return {
            "more": world[more], "total": NUMBERS[mine + theirs], "minus": NUMBERS[mine - 1],
            "has_more": "yes" if mine > theirs else "no", "has_less": "yes" if mine < theirs else "no",
            "ordinal": ORDINALS[at], "subject": world[passage["subjects"][at]],
        }  # fmt: skip

    def _about(self, out: Fields, answer: str) -> Fields:
        """Statements about the two people that hold or not."""
        made: Fields = {"use": out["puse"], "is_town": self._coin("is_town", answer)}
        made["is_language"] = self._coin("is_language", answer)
        made["qtown"] = out["pt"] if made["is_town"] == "yes" else out["rt"]
        made["qlanguage"] = out["planguage"] if made["is_language"] == "yes" else out["rlanguage"]
        return made

    def _coin(self, name: str, answer: str) -> str:
        """Yes or no; as often the one as the other where it is the answer asked for."""
        return str(self.deck(("coin", name), ["yes", "no"]) if name == answer else self.rng.choice(["yes", "no"]))

    def _general(self, answer: str) -> Fields:
        """Questions that need no passage."""
        text, rng = self.text, self.rng
        town, other = self._apart("towns", 1)
        made: Fields = {"country": town[1], "capital": town[3], "is_capital": self._coin("is_capital", answer)}
        made["qcapital"] = town[3] if made["is_capital"] == "yes" else rng.choice([town[0], other[3]])
        made["maker"], made["product"] = rng.choice(text["makers"])
        made["part"], made["whole"], made["count"] = rng.choice(text["parts"])
        made["adjective"], made["opposite"] = rng.sample(rng.choice(text["opposites"]), 2)
        made["amount_word"], made["amount"] = rng.choice(text["amounts"])
        made["is_synonym"] = self._coin("is_synonym", answer)
        first, second = rng.sample(text["synonyms"], 2)
        made["first"], made["second"] = first if made["is_synonym"] == "yes" else (first[0], second[1])
        made["verb"], made["past"] = rng.choice(text["pasts"])
        made["sentence"], made["noun_count"] = rng.choice(text["nouns"])
        made["is_verb"] = self._coin("is_verb", answer)
        made["word"] = rng.choice(self.words("verbs" if made["is_verb"] == "yes" else "no_verbs"))
        m, n = rng.randint(1, 9), rng.randint(1, 9)
        made["is_sum"], made["parity"] = self._coin("is_sum", answer), "even" if (m + n) % 2 == 0 else "odd"
        made |= {"m": NUMBERS[m], "n": NUMBERS[n]}
        made["qsum"] = NUMBERS[m + n + (0 if made["is_sum"] == "yes" else rng.choice([-1, 1]) if m + n < 18 else -1)]
        situation, good, bad = rng.choice(text["choices"])
        made |= {"situation": situation, "choice": good}
        made["option1"], made["option2"] = rng.sample([good, bad], 2)
        return made


def _capital(text: str) -> str:
    """The text with its first letter, which may stand behind a quotation mark, as a capital."""
    return re.sub(r"^('?)(\w)", lambda m: m[1] + m[2].upper(), text)


def english() -> str:
    """The whole file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in Writer().rows())


# The in-vocabulary set: the same shape in the words of the bundled model's closed vocabulary. Chains are picked from
# those that the bundled model's corpus can make, so that functions, steps and answer forms are balanced. Nothing here
# is text that the model was trained on word for word: the corpus draws its own chains.

VOCABULARY_SEED = 20260102
POOL = 120_000  # chains to pick from


def chains() -> list[list[CognitiveItem]]:
    """200 chains: each has the functions that the layout asks for, and the answers that balance what is there."""
    rng = random.Random(VOCABULARY_SEED)
    pool: dict[tuple[str, tuple[str, ...]], list[list[CognitiveItem]]] = defaultdict(list)
    items = cognitive_items(VOCABULARY_SEED, POOL)
    for start in range(0, len(items), STEPS):
        chain = items[start : start + STEPS]
        pool[chain[0]["split"], tuple(row["function"] for row in chain)].append(chain)
    used: Counter[tuple[str, str, str]] = Counter()
    asked = {"train": set[str](), "test": set[str]()}
    picked = []
    for split, functions in layout(rng):
        candidates = [c for c in pool[split, functions] if not _repeats(c, split, asked)]
        best = min(candidates, key=lambda chain: _crowding(chain, used))
        pool[split, functions].remove(best)
        used.update(key for row in best for key in (_answer_form(row), _answer(row)))
        if split in asked:
            asked[split].update(row["subquestion"] for row in best)
        picked.append(best)
    return picked


def _repeats(chain: list[CognitiveItem], split: str, asked: dict[str, set[str]]) -> bool:
    """Whether a test question would stand in train word for word."""
    other = asked["train" if split == "test" else "test"] if split in asked else set()
    return any(row["subquestion"] in other for row in chain)


def _crowding(chain: list[CognitiveItem], used: Counter[tuple[str, str, str]]) -> float:
    """How often the answer forms of this chain are there already; yes against no decides between equals."""
    forms = sum(used[_answer_form(row)] for row in chain)
    return forms + 0.01 * sum(used[_answer(row)] for row in chain if row["answer"] in ("yes", "no"))


def _answer_form(row: CognitiveItem) -> tuple[str, str, str]:
    return row["split"], row["function"], answer_shape(row["answer"])


def _answer(row: CognitiveItem) -> tuple[str, str, str]:
    return "every split", row["function"], row["answer"]


def in_vocabulary() -> str:
    """The whole file."""
    lines = []
    for number, chain in enumerate(chains()):
        for row in chain:
            kept = {"id": f"v{number:03d}-{row['step']}", "chain": f"v{number:03d}", "step": row["step"]}
            names = ("question", "subquestion", "answer", "function", "split")
            lines.append(json.dumps(kept | {name: dict(row)[name] for name in names}))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write({"english": english, "in_vocabulary": in_vocabulary}[sys.argv[1]]())
