"""Writes the in-vocabulary set: `python -m reportgen.suites.cognitive.make_in_vocabulary > in_vocabulary.jsonl`.

The same shape as the English set, in the words of the bundled model's closed vocabulary: chains are picked from those
that the bundled model's corpus can make, so that functions, steps and answer forms are balanced. Nothing here is text
that the model was trained on word for word: the corpus draws its own chains.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter, defaultdict

from reportgen.mini.corpus import Row, cognitive_items
from reportgen.suites.cognitive.dataset import answer_shape
from reportgen.suites.cognitive.make_english import STEPS, layout

SEED = 20260102
POOL = 120_000  # chains to pick from


def chains() -> list[list[Row]]:
    """200 chains: each has the functions that the layout asks for, and the answers that balance what is there."""
    rng = random.Random(SEED)
    pool: dict[tuple[str, tuple[str, ...]], list[list[Row]]] = defaultdict(list)
    items = cognitive_items(SEED, POOL)
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
        used.update(key for row in best for key in (_form(row), _answer(row)))
        if split in asked:
            asked[split].update(row["subquestion"] for row in best)
        picked.append(best)
    return picked


def _repeats(chain: list[Row], split: str, asked: dict[str, set[str]]) -> bool:
    """Whether a test question would stand in train word for word."""
    other = asked["train" if split == "test" else "test"] if split in asked else set()
    return any(row["subquestion"] in other for row in chain)


def _crowding(chain: list[Row], used: Counter[tuple[str, str, str]]) -> float:
    """How often the answer forms of this chain are there already; yes against no decides between equals."""
    forms = sum(used[_form(row)] for row in chain)
    return forms + 0.01 * sum(used[_answer(row)] for row in chain if row["answer"] in ("yes", "no"))


def _form(row: Row) -> tuple[str, str, str]:
    return row["split"], row["function"], answer_shape(row["answer"])


def _answer(row: Row) -> tuple[str, str, str]:
    return "every split", row["function"], row["answer"]


def jsonl() -> str:
    """The whole file."""
    lines = []
    for number, chain in enumerate(chains()):
        for row in chain:
            kept = {"id": f"v{number:03d}-{row['step']}", "chain": f"v{number:03d}", "step": row["step"]}
            names = ("question", "subquestion", "answer", "function", "split")
            lines.append(json.dumps(kept | {name: dict(row)[name] for name in names}))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(jsonl())
