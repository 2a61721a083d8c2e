"""Which fact stands where: the balanced plan of all documents. Neither torch nor altair."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
HAYSTACK, NEEDLES = DATA / "haystack.json", DATA / "needles.json"
ENTITIES = DATA / "entities.txt"  # names and compounds of several tokens
CHECKED = DATA / "check.jsonl"  # facts in the words of the models that suites are checked on
M = 8  # facts of a document
KINDS = ("literal", "paraphrased")
LONGEST = 4  # tokens of a value
SHORTEST = 2


@dataclass(frozen=True)
class Value:
    """A phrase that answers a question; its first token, and how many it has."""

    text: str
    first: int
    length: int


@dataclass(frozen=True)
class Fact:
    """`The {attribute} of the {thing} is {value}.`; a paraphrased question says `synonym` in place of `attribute`."""

    attribute: str
    synonym: str
    thing: str
    value: Value
    kind: str

    @property
    def sentence(self) -> str:
        return f"The {self.attribute} of the {self.thing} is {self.value.text}."

    @property
    def question(self) -> str:
        """The question and the beginning of its answer."""
        asked = self.attribute if self.kind == KINDS[0] else self.synonym
        return f"\nQuestion: What is the {asked} of the {self.thing}?\nAnswer: The {asked} of the {self.thing} is"


def shipped() -> tuple[dict[str, list[str]], list[str], dict[str, str], list[str], list[str]]:
    """Sentences by subject, fillers; attributes with their synonyms, things, values."""
    hay = json.loads(HAYSTACK.read_text("utf-8"))
    facts = json.loads(NEEDLES.read_text("utf-8"))
    return hay["subjects"], hay["fillers"], facts["attributes"], facts["things"], facts["values"]


def usable(values: Sequence[str], ids_of: Callable[[str], Sequence[int] | None], unknown: int | None) -> list[Value]:
    """The values that have 2 to 4 known tokens after a word; one with the first token of an earlier one is left out."""
    found: dict[int, Value] = {}
    for text in values:
        ids = ids_of(text)
        if ids and SHORTEST <= len(ids) <= LONGEST and unknown not in ids:
            found.setdefault(ids[0], Value(text, ids[0], len(ids)))
    return list(found.values())


def pattern(values: Sequence[Value]) -> list[int]:
    """The value lengths of a document's facts, in proportion to how many values have them, largest remainders first."""
    counts = Counter(v.length for v in values)
    exact = {length: M * count / len(values) for length, count in sorted(counts.items())}
    shares = {length: int(x) for length, x in exact.items()}
    for length in sorted(exact, key=lambda one: shares[one] - exact[one])[: M - sum(shares.values())]:
        shares[length] += 1
    return [length for length, count in shares.items() for _ in range(count)]


def plan(documents: int, values: Sequence[Value], rng: np.random.Generator) -> list[list[Fact]]:
    """The facts of every document, by depth. Things, attributes, kinds and value lengths are Latin squares over the
    documents, complete after 16, 48, 8 and 8 of them. Even and odd documents share no thing."""
    _, _, synonyms, things, _ = shipped()
    attributes = [str(a) for a in rng.permutation(list(synonyms))]
    named = [str(t) for t in rng.permutation(things)]
    lengths = pattern(values)
    left = {length: [v for v in values if v.length == length] for length in set(lengths)}
    decks: dict[int, list[Value]] = {length: [] for length in left}
    made = []
    for d in range(documents):
        facts, taken = [], set[str]()
        for i in range(M):
            length = lengths[(i + d) % M]
            value = _draw(decks[length], left[length], taken, rng)
            taken.add(value.text)
            attribute, thing = _turn(attributes, i, d), _turn(named, i, d)
            facts.append(Fact(attribute, synonyms[attribute], thing, value, KINDS[(i + d + d // 4) % 2]))
        made.append(facts)
    return made


def _turn(names: Sequence[str], i: int, d: int) -> str:
    """Blocks of eight names in turn; each time that a block returns, every depth takes its next name."""
    blocks = len(names) // M
    return names[(i + d // blocks) % M + M * (d % blocks)]


def _draw(deck: list[Value], every: Sequence[Value], taken: set[str], rng: np.random.Generator) -> Value:
    """The next of a shuffled deck that the document has not; the deck begins anew where it is empty."""
    if not any(v.text not in taken for v in deck):
        deck[:] = [every[int(i)] for i in rng.permutation(len(every))]
    at = next((i for i, v in enumerate(deck) if v.text not in taken), 0)
    return deck.pop(at)


def imbalance(plans: Sequence[Sequence[Fact]]) -> dict[str, float]:
    """Per property, the largest distance of a class's count at a depth from its mean over depths."""
    found = {}
    for name in ("attribute", "thing", "length", "kind"):
        counts = Counter(
            (i, fact.value.length if name == "length" else getattr(fact, name)) for facts in plans
            for i, fact in enumerate(facts)
        )  # fmt: skip
        classes = {what for _, what in counts}
        mean = {c: sum(counts[i, c] for i in range(M)) / M for c in classes}
        found[name] = max((abs(counts[i, c] - mean[c]) for i in range(M) for c in classes), default=0.0)
    return found
