"""Facts in texts of the user's own: JSON lines with text, question, answer and optionally paraphrase. No torch.

    {"text": "... The motto of the castle is silver otter. ...", "question": "What is the motto of the castle?",
     "answer": "silver otter"}

Lines with the same text are facts of one document; each needs two or more. Every other question is asked as its
paraphrase, where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from reportgen.errors import DataError
from reportgen.files import convert, parse_json, read_text
from reportgen.suites.retrieval.layout import KINDS

MOST_LINES = 20_000
MOST_CHARACTERS = 400_000
_FORM = "Expected text, question and answer (paraphrase)."


class NeedleLine(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One fact of the file."""

    text: str
    question: str
    answer: str
    paraphrase: str = ""


@dataclass(frozen=True)
class GivenFact:
    """A fact, where its answer stands in the text, and how it is asked."""

    line: int
    start: int  # of the sentence, in characters
    at: int  # of the answer
    answer: str
    question: str
    kind: str


@dataclass(frozen=True)
class GivenText:
    """A document and its facts."""

    text: str
    facts: tuple[GivenFact, ...]


def read(name: str) -> list[GivenText]:
    """The documents of a file. DataError, in one line, for what is no list of facts."""
    path = Path(name)
    found: dict[str, list[GivenFact]] = {}
    for number, raw in enumerate(read_text(path, "Give the path of a JSONL file of facts.").split("\n"), 1):
        if not raw.strip():
            continue
        place = f"{path}, line {number}"
        if number > MOST_LINES:
            raise DataError(f"{path} has more than {MOST_LINES:,} lines.", "Give fewer facts.")
        line = convert(parse_json(raw, place, _FORM, lines=False), NeedleLine, place, _FORM)
        found.setdefault(line.text, []).append(_fact(line, number, place, len(found.get(line.text, ()))))
    if not found:
        raise DataError(f"{path} holds no facts.", "Give one JSON object a line.")
    for facts in found.values():
        if len(facts) < 2:
            raise DataError(
                f"{path}, line {facts[0].line}: the only fact of its text.",
                "Give two or more lines with the same text: the others are what a fact is compared with.",
            )
    if len(found) < 2:
        raise DataError(f"{path} holds one text.", "Give two or more: intervals are over texts.")
    return [GivenText(text, tuple(facts)) for text, facts in found.items()]


def _fact(line: NeedleLine, number: int, place: str, earlier: int) -> GivenFact:
    for name in ("text", "question", "answer"):
        if not getattr(line, name).strip():
            raise DataError(f"{place}: {name} is empty.", _FORM)
    if len(line.text) > MOST_CHARACTERS:
        raise DataError(f"{place}: the text has more than {MOST_CHARACTERS:,} characters.", "Give a shorter one.")
    answer = line.answer.strip()
    at = line.text.find(f" {answer}")
    if at < 0:
        raise DataError(f"{place}: its text does not hold the answer after a space.", "Copy the answer from the text.")
    start = max(line.text.rfind(mark, 0, at) for mark in (". ", "! ", "? ", "\n")) + 1
    paraphrased = bool(line.paraphrase) and earlier % 2 == 1
    asked = line.paraphrase if paraphrased else line.question
    return GivenFact(number, start, at, answer, f"\nQuestion: {asked.strip()}\nAnswer:", KINDS[paraphrased])
