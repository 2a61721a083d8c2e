"""A small data set in the words of the tiny tokenizer, and a tiny model to ask."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import WORDS, tiny_folder

VOCABULARY = (*WORDS, "Text", "Q", "A", "yes", "no", "color", "plus", "live", "does", "have", "number", "thing")
_NAMES = "Mary John Tom Anna Paul Kate Sam Lucy Mark Jane".split()
_PLACES = "France Paris Spain Madrid Italy Rome Japan Tokyo Peru Lima".split()
_COLORS = "red blue green black white".split()
_NUMBERS = "one two three four five six seven eight nine ten".split()
FUNCTIONS = ("Place", "Color", "Sum")


def rows(chains: int = 60) -> list[dict[str, object]]:
    """Three functions in every chain, in rotating order; answers are one word, of one form for all functions."""
    made: list[dict[str, object]] = []
    for i in range(chains):
        name, place, color = _NAMES[i % 10], _PLACES[i % 9], _COLORS[i % 5]
        asked = {
            "Place": (f"in what does {name} live", place if i % 2 else "yes"),
            "Color": (f"what color does {name} have", color if i % 2 else "no"),
            "Sum": (
                f"{_NUMBERS[i % 4]} plus {_NUMBERS[i % 3]} is what",
                _NUMBERS[i % 4 + i % 3 + 1] if i % 2 else "yes",
            ),
        }
        for step in range(3):
            function = FUNCTIONS[(i + step) % 3]
            question, answer = asked[function]
            made.append(
                {
                    "chain": f"c{i}", "step": step, "question": f"{name} is in {place} with a {color} ball",
                    "subquestion": question, "answer": answer, "function": function,
                }
            )  # fmt: skip
    return made


def write(path: Path, made: list[dict[str, object]]) -> Path:
    """The rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def folder(path: Path, family: str = "gpt2", **config: object) -> Path:
    """A tiny random checkpoint that knows the words."""
    return tiny_folder(family, path, words=VOCABULARY, **config)
