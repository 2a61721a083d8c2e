"""Words in an order: the classes that successor and predecessor scores are taken over.

The eight classes of Gould et al. 2023 (arXiv 2312.09230) as Tigges et al. re-implemented them: numbers, number words,
ordinals, days, months, their prefixes, letters. Days and months go round; the others end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

LEAST = 5  # single-token words that a class needs


@dataclass(frozen=True)
class WordClass:
    """Words in order; `cyclic`: the first follows the last."""

    name: str
    title: str
    words: tuple[str, ...]
    cyclic: bool = False


_DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
_MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)  # fmt: skip
CLASSES = (
    WordClass("numbers", "numbers 1 to 200", tuple(str(i) for i in range(1, 201))),
    WordClass("number_words", "number words", tuple(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty".split()
    )),
    WordClass("ordinals", "ordinals", tuple(
        "first second third fourth fifth sixth seventh eighth ninth tenth".split()
    )),
    WordClass("days", "days", _DAYS, cyclic=True),
    WordClass("months", "months", _MONTHS, cyclic=True),
    WordClass("day_prefixes", "day prefixes", tuple(day[:3] for day in _DAYS)),
    WordClass("month_prefixes", "month prefixes", tuple(month[:3] for month in _MONTHS)),
    WordClass("letters", "letters", tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
)  # fmt: skip


@dataclass(frozen=True)
class KeptClass:
    """A class's single-token words: `ids` and, in step, their places in the class's order."""

    of: WordClass
    ids: tuple[int, ...]
    places: tuple[int, ...]

    def after(self, steps: int) -> dict[int, int]:
        """Index of a kept word -> index of the kept word `steps` places on, or back, where there is one."""
        at, size = {place: i for i, place in enumerate(self.places)}, len(self.of.words)
        found = {}
        for i, place in enumerate(self.places):
            there = (place + steps) % size if self.of.cyclic else place + steps
            if there in at and at[there] != i:
                found[i] = at[there]
        return found


def keep(tokens: Tokens) -> list[KeptClass]:
    """Every class with its single-token words, also those with too few."""
    kept = []
    for one in CLASSES:
        pairs = [(token, place) for place, word in enumerate(one.words) if (token := tokens.word_id(word)) is not None]
        kept.append(KeptClass(one, tuple(token for token, _ in pairs), tuple(place for _, place in pairs)))
    return kept


def usable(kept: KeptClass) -> bool:
    """Whether there are enough words, and a successor for as many."""
    return len(kept.ids) >= LEAST and len(kept.after(1)) >= LEAST - 1
