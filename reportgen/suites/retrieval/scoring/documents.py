"""Documents as token ids: a haystack with facts at known places, and questions that go on from it.

A place is found in the tokens of the whole text, never by tokenizing a part alone: a fact that is not found token by
token is left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable
from reportgen.suites.retrieval import layout
from reportgen.suites.retrieval.layout import Fact
from reportgen.suites.retrieval.user import GivenText

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

Ids = npt.NDArray[np.int64]
Span = tuple[int, int]

LEAST_CONTEXT = 256
LEAST_VALUES = 40
SUBJECTS = 3  # of a document
PARAGRAPH = 6  # sentences
SLACK = 4  # tokens that joining sentences may add


@dataclass(frozen=True, eq=False)
class Asked:
    """A question and its answer, which go on from a document.

    ids     [pos] question, beginning of the answer, answer
    answer  place in ids at which the answer begins;  things  spans in ids of what the question asks of
    """

    ids: Ids
    answer: int
    things: tuple[Span, ...] = ()

    @property
    def expected(self) -> Ids:
        """[token] the answer"""
        return self.ids[self.answer :]


@dataclass(frozen=True, eq=False)
class Needle:
    """A fact of a document: where it stands, from where to where its value goes, and what is asked of it."""

    sentence: Span
    value: Span
    asked: Asked
    text: str  # of the question
    answer: str
    said: str = ""  # the sentence
    thing: str = ""
    things: Span = (0, 0)  # where the thing stands in the document
    kind: str = layout.KINDS[0]
    depth: float = 0.0


@dataclass(frozen=True, eq=False)
class Document:
    """A text as ids [pos], cut before anything that its questions could change, and its facts."""

    ids: Ids
    needles: tuple[Needle, ...]
    text: str
    group: int = 0  # half of the things that it is about


@dataclass(frozen=True, eq=False)
class Material:
    """What is read, and what was left out of it."""

    documents: tuple[Document, ...]
    source: str
    imbalance: dict[str, float]
    values: int = 0
    dropped: tuple[str, ...] = ()


def values_of(tokens: Tokens) -> list[layout.Value]:
    """The shipped values that this tokenizer can use. NotApplicable where they are too few."""
    listed = layout.shipped()[-1]
    found = layout.usable(listed, lambda text: tokens.following("is", f" {text}"), tokens.unk_id)
    if len(found) < LEAST_VALUES:
        raise NotApplicable(
            f"{len(found)} of {len(listed)} answers are 2 to {layout.LONGEST} known tokens in this tokenizer, at least "
            f"{LEAST_VALUES} are needed",
            "Give texts in its vocabulary with --set retrieval.needles=FILE.",
        )
    return found


def material(tokens: Tokens, count: int, length: int, seed: int, chat: bool = False) -> Material:
    """`count` documents that with their longest question have just under `length` tokens."""
    values = values_of(tokens)
    rng = np.random.default_rng([seed, length, 31])
    plans = layout.plan(count, values, np.random.default_rng([seed, 30]))
    asked = {f"{rendered(tokens, '', f.question, chat=chat)[0]} {f.value.text}" for facts in plans for f in facts}
    longest = max(len(tokens.encode(one)) for one in asked)  # of all: documents are asked each other's questions
    made = [_document(tokens, facts, length - longest, number, rng, chat=chat) for number, facts in enumerate(plans)]
    made, kept = _whole(made, plans)
    dropped = tuple(
        f"document {d + 1}: {fact.sentence}" for d, (doc, facts) in enumerate(zip(made, kept, strict=True))
        for fact in facts if fact.value.text not in {needle.answer for needle in doc.needles}
    )  # fmt: skip
    source = "sentences of everyday life with facts in them, written for this project"
    return Material(tuple(made), source, layout.imbalance(kept), len(values), dropped)


def _document(
    tokens: Tokens, facts: Sequence[Fact], length: int, number: int, rng: np.random.Generator, *, chat: bool
) -> Document:
    start = 0 if tokens.bos_id is None else 1
    room = length - start - sum(len(tokens.encode(f" {fact.sentence}")) for fact in facts)
    paragraphs = _paragraphs(tokens, room, number, rng)
    while True:
        text = _joined(tokens, paragraphs, facts)
        over = len(tokens.encode(text)) + start - length
        if over <= 0 or len(paragraphs[-1]) < 2:
            return document(tokens, text, facts, number % 2, chat=chat)
        paragraphs[-1].pop()


def _whole(
    made: Sequence[Document], plans: Sequence[Sequence[Fact]]
) -> tuple[list[Document], list[Sequence[Fact]]]:  # fmt: skip
    """Those with two facts or more that are found. NotApplicable where fewer than two are left."""
    kept = [i for i, doc in enumerate(made) if len(doc.needles) > 1]
    if len(kept) < 2:
        raise NotApplicable(
            "answers are not tokens of their own in this tokenizer",
            "Give texts in its vocabulary with --set retrieval.needles=FILE.",
        )
    return [made[i] for i in kept], [plans[i] for i in kept]


def _paragraphs(tokens: Tokens, room: int, number: int, rng: np.random.Generator) -> list[list[str]]:
    """Paragraphs of three subjects in turn that fill `room` tokens, the last with short sentences."""
    subjects, fillers, *_ = layout.shipped()
    names = list(subjects)
    chosen = [names[(SUBJECTS * number + i) % len(names)] for i in range(SUBJECTS)]
    decks = {name: [subjects[name][int(i)] for i in rng.permutation(len(subjects[name]))] for name in chosen}
    made: list[list[str]] = []
    left = room - SLACK
    while left > 0:
        deck = decks[chosen[len(made) % SUBJECTS]]
        made.append([])
        for _ in range(PARAGRAPH):
            if not deck or (size := len(tokens.encode(f" {deck[-1]}"))) > left:
                left = _filled(tokens, made[-1], left, fillers)
                break
            made[-1].append(deck.pop())
            left -= size
        left -= 1
    return [one for one in made if one] or [[fillers[0]]]


def _filled(tokens: Tokens, paragraph: list[str], left: int, fillers: Sequence[str]) -> int:
    """Short sentences, the longest that fits first; nothing is left afterwards."""
    sizes = {text: len(tokens.encode(f" {text}")) for text in fillers}
    for text in sorted(fillers, key=lambda one: -sizes[one]):
        if sizes[text] <= left:
            paragraph.append(text)
            left -= sizes[text]
    return 0


def _joined(tokens: Tokens, paragraphs: Sequence[Sequence[str]], facts: Sequence[Fact]) -> str:
    """The text with fact i at depth (2 i + 1) / 2 M of the haystack, each before a sentence."""
    sizes = [[len(tokens.encode(f" {text}")) for text in one] for one in paragraphs]
    total, so_far, placed = sum(map(sum, sizes)), 0, 0
    out = list[list[str]]()
    for sentences, counts in zip(paragraphs, sizes, strict=True):
        words = list[str]()
        for text, count in zip(sentences, counts, strict=True):
            while placed < len(facts) and so_far + count / 2 >= total * (2 * placed + 1) / (2 * len(facts)):
                words.append(facts[placed].sentence)
                placed += 1
            words.append(text)
            so_far += count
        out.append(words)
    out[-1][-1:] = [*(fact.sentence for fact in facts[placed:]), out[-1][-1]]
    return "\n".join(" ".join(words) for words in out)


@dataclass(frozen=True)
class Told:
    """A fact as it is looked for in a text: spans in characters of its sentence, value and thing, and what is asked."""

    sentence: Span
    value: Span
    thing: Span | None
    asked: str
    answer: str
    named: str = ""  # the thing
    kind: str = layout.KINDS[0]


def document(tokens: Tokens, text: str, facts: Sequence[Fact], group: int = 0, *, chat: bool = False) -> Document:
    """A text with facts that ship."""
    told = []
    for fact in facts:
        at = text.find(fact.sentence)
        end, thing = at + len(fact.sentence) - 1, text.find(f" {fact.thing} ", at)
        value = (end - len(fact.value.text) - 1, end)
        told.append(
            Told((_before_space(text, at), end), value, (thing, thing + len(fact.thing) + 1), fact.question,
                 fact.value.text, fact.thing, fact.kind)
        )  # fmt: skip
    return located(tokens, text, told, group, chat=chat)


def given(tokens: Tokens, texts: Sequence[GivenText], chat: bool) -> Material:
    """The user's texts. NotApplicable where fewer than two have two facts that are found token by token."""
    made, dropped = [], list[str]()
    for number, one in enumerate(texts):
        told = [
            Told((_before_space(one.text, f.start), f.at + len(f.answer) + 1), (f.at, f.at + len(f.answer) + 1), None,
                 f.question, f.answer, kind=f.kind)
            for f in one.facts
        ]  # fmt: skip
        doc = located(tokens, one.text, told, number % 2, chat=chat)
        found = {(needle.text, needle.answer) for needle in doc.needles}
        dropped += [f"line {f.line} ({f.answer})" for f in one.facts if (f.question, f.answer) not in found]
        if len(doc.needles) > 1 and not (tokens.unk_id is not None and tokens.unk_id in _answers(doc)):
            made.append(doc)
        elif doc.needles:
            dropped.append(f"the text of line {one.facts[0].line}, which has {len(doc.needles)} known facts left")
    if len(made) < 2:
        raise NotApplicable(
            f"{len(made)} of {len(texts)} texts have two or more answers that are tokens of their own",
            "Give answers that stand in the text as words.",
        )
    return Material(tuple(made), "the user's own texts", {}, 0, tuple(dropped))


def _answers(doc: Document) -> list[int]:
    return [int(i) for needle in doc.needles for i in needle.asked.expected]


def rendered(tokens: Tokens, text: str, asked: str, *, chat: bool) -> tuple[str, int]:
    """Text, question and the beginning of its answer as one string, and where the text begins in it."""
    if not chat:
        return text + asked, 0
    question, mark, stem = asked.partition("\nAnswer:")
    turn = tokens.chat(text + question)
    return f"{turn}{mark.strip()}{stem}", max(0, turn.find(text))


def located(tokens: Tokens, text: str, told: Sequence[Told], group: int = 0, *, chat: bool = False) -> Document:
    """The text as ids, with those of its facts that are found in it token by token."""
    whole = [rendered(tokens, text, one.asked, chat=chat) for one in told]
    full = [tokens.encode(f"{string} {one.answer}") for (string, _), one in zip(whole, told, strict=True)]
    string, start = whole[0]
    ids = _common([tokens.encode(string[: start + len(text)]), *full])
    offset = int(tokens.bos_id is not None)
    needles = []
    for one, (asked_string, at), every in zip(told, whole, full, strict=True):
        sentence, value = (place(tokens, ids, asked_string, at + a, at + b) for a, b in (one.sentence, one.value))
        asked = going_on(tokens, asked_string, at + len(text), one, len(ids), every)
        if sentence is None or value is None or asked is None or list(ids[slice(*value)]) != asked.expected.tolist():
            continue
        thing = place(tokens, ids, asked_string, at + one.thing[0], at + one.thing[1]) if one.thing else None
        moved = [(low + offset, high + offset) for low, high in (sentence, value, thing or (0, 0))]
        said = f"{text[slice(*one.sentence)].strip()}."
        depth = moved[1][0] / max(1, len(ids))
        needles.append(
            Needle(moved[0], moved[1], asked, one.asked, one.answer, said, one.named, moved[2], one.kind, depth)
        )
    front = [] if tokens.bos_id is None else [tokens.bos_id]
    return Document(np.asarray([*front, *ids], np.int64), tuple(needles), text, group)


def going_on(
    tokens: Tokens, string: str, end: int, told: Told, before: int, whole: Sequence[int]
) -> Asked | None:  # fmt: skip
    """What goes on from the first `before` tokens of `whole`; None where the answer is not tokens of its own.

    end  where the document's text ends in the string
    """
    stem = tokens.encode(string)
    if list(whole[: len(stem)]) != stem or len(stem) <= before or len(whole) <= len(stem):
        return None
    things, at = [], end
    while told.named and (at := string.find(f" {told.named}", at)) >= 0:
        found = place(tokens, whole, string, at, at + len(told.named) + 1)
        things += [(found[0] - before, found[1] - before)] if found else []
        at += 1
    return Asked(np.asarray(whole[before:], np.int64), len(stem) - before, tuple(things))


def asked_of(tokens: Tokens, doc: Document, other: Needle, chat: bool, *, again: bool = False) -> Asked | None:
    """A question, also of another document, asked of this one; `again` says the fact right before it."""
    offset = int(tokens.bos_id is not None)
    own = doc.ids[offset:].tolist()
    said = f"\n{other.said}{other.text}" if again else other.text
    string, start = rendered(tokens, doc.text, said, chat=chat)
    whole = tokens.encode(f"{string} {other.answer}")
    if whole[: len(own)] != own:
        return None
    told = Told((0, 0), (0, 0), None, other.text, other.answer)
    return going_on(tokens, string, start + len(doc.text), told, len(own), whole)


def place(tokens: Tokens, ids: Sequence[int], text: str, start: int, end: int) -> Span | None:
    """The tokens of text[start:end] in `ids`, which begin as `text` does; None where they are shared with others."""
    if start < 0:
        return None
    before, upto = tokens.encode(text[:start]), tokens.encode(text[:end])
    if list(ids[: len(before)]) != before or list(ids[: len(upto)]) != upto or len(upto) <= len(before):
        return None
    return len(before), len(upto)


def _before_space(text: str, at: int) -> int:
    return at - 1 if at > 0 and text[at - 1] == " " else at


def _common(each: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning."""
    length = min(map(len, each))
    rows = np.asarray([one[:length] for one in each])
    same = (rows == rows[0]).all(0)
    return list(each[0][: length if same.all() else int(same.argmin())])


def random_tokens(doc: Document, allowed: Ids, rng: np.random.Generator) -> Document:
    """The document with every thing and every value replaced by as many random tokens, in the questions, too."""
    ids, made = doc.ids.copy(), []
    for needle in doc.needles:
        value = rng.choice(allowed, needle.value[1] - needle.value[0], replace=False)
        thing = rng.choice(allowed, needle.things[1] - needle.things[0], replace=False)
        ids[slice(*needle.value)], ids[slice(*needle.things)] = value, thing
        asked = needle.asked.ids.copy()
        asked[needle.asked.answer :] = value
        for low, high in needle.asked.things:
            if high - low == len(thing):
                asked[low:high] = thing
        made.append(replace(needle, asked=replace(needle.asked, ids=asked)))
    return replace(doc, ids=ids, needles=tuple(made))
