"""Rows as token ids, and which positions of the answer count.

- Which tokens belong to the answer is read from character offsets in the whole text, never by tokenizing the answer
  alone: a word may take other tokens behind a space or a quote.
- The site of a token is the position that predicts it (one before), as in the released code, or its own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Protocol

from reportgen.errors import DataError
from reportgen.reading import read_text
from reportgen.suites.cognitive.recipe import Recipe
from reportgen.suites.cognitive.rows import Earlier, Row

SHORT = 6  # under top5, answers with fewer tokens count whole
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
STOP_WORDS = frozenset(
    "a an the and or but of to in on at by for with from as is are was were be been being it its this that these those "
    "he she they we you i his her their our your my do does did has have had will would can could so if than "
    "then".split()
)
_COGQA = """You answer questions step by step, each with a short answer.
Main question: {question}
Prior knowledge:
{context}
Sub-question: {subquestion}
Answer the sub-question from the main question and the prior knowledge, as briefly as possible.
Give a list with one object in this form: [ {{"answer": "..."}} ]
Your answer:"""
_PLACES = ("question", "context", "subquestion")


class Tokenizer(Protocol):
    """What is needed of a model's tokens."""

    bos_id: int | None

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def chat(self, text: str) -> str: ...


@dataclass(frozen=True)
class Format:
    """How a row becomes text: what stands before the answer, what opens it, what ends it.

    body    template with {question} {context} {subquestion}; empty = the plain form
    """

    name: str
    body: str
    opener: str
    closer: str

    def prompt(self, row: Row, context: str) -> str:
        """The text up to where the answer is opened."""
        steps = chosen_steps(row, context)
        if not self.body:
            text = f"Text: {row.question}\n" if row.question else ""
            asked = "".join(f"Q: {s.q} A: {bare(s.a)}.\n" for s in steps)
            return f"{text}{asked}Q: {row.subquestion} A:"
        shown = "\n".join(f"Q{i}: {s.q}\nA{i}: {s.a}" for i, s in enumerate(steps, 1)) or "No prior knowledge."
        return self.body.format(question=row.question, context=shown, subquestion=row.subquestion).rstrip()


def bare(answer: str) -> str:
    """The answer without its final full stop."""
    return answer.rstrip().removesuffix(".").rstrip() or answer


def chosen_steps(row: Row, context: str) -> tuple[Earlier, ...]:
    """The earlier steps that the prompt shows under a context rule: all, retrieval or none."""
    if context == "none":
        return ()
    if context == "retrieval":
        return tuple(step for step in row.context if step.function == "Retrieval")
    return row.context


def template(name: str) -> Format:
    """The prompt format of this name or file. DataError for a file without the placeholders."""
    if name == "plain":
        return Format("plain", "", " ", ".")
    if name == "cogqa":
        return Format("cogqa", _COGQA, ' [ {"answer": "', '"} ]')
    body = read_text(Path(name), "Give plain, cogqa or a text file.")
    try:
        fields = [(place, spec or "", way) for _, place, spec, way in Formatter().parse(body) if place is not None]
    except ValueError as error:
        raise DataError(
            f"{name}: expected no placeholders but {{question}}, {{context}} and {{subquestion}} ({error}).",
            "Write other braces twice.",
        ) from error
    odd = [place for place, spec, way in fields if place not in _PLACES or spec or way]
    if odd:
        raise DataError(
            f"{name}: expected no placeholders but {{question}}, {{context}} and {{subquestion}}, found {odd[0]!r}.",
            "Write other braces twice.",
        )
    if "{subquestion}" not in body:
        raise DataError(f"{name}: expected the placeholder {{subquestion}}.", "Put it where the question is asked.")
    return Format(name, body, " ", ".")


@dataclass(frozen=True)
class Encoded:
    """A row as ids, ending with the answer's last token.

    prompt   ids[:prompt] is the prompt as far as it is the same before any answer
    answer   positions of the answer's tokens;  sites  positions whose head outputs are averaged
    whole    the token policy found nothing and all answer tokens are used
    """

    ids: tuple[int, ...]
    answer: tuple[int, ...]
    sites: tuple[int, ...]
    whole: bool

    @property
    def first(self) -> int:
        """The position that predicts the answer's first token."""
        return self.answer[0] - 1


class Encoder:
    """Rows to `Encoded`, by one format and one token policy."""

    def __init__(self, tokens: Tokenizer, rows: Sequence[Row], recipe: Recipe, k: int, site: str) -> None:
        self.tokens, self.recipe, self.k, self.site = tokens, recipe, k, site
        self.format = template(recipe.prompt)
        documents = [{word for _, _, word in _words(row.answer)} for row in rows]
        counts = Counter(word for document in documents for word in document)
        self.idf = {word: math.log(len(rows) / n) for word, n in counts.items()}

    def prompt_ids(self, row: Row) -> list[int]:
        """Ids of the prompt alone: what generation starts from."""
        return [*self._start(), *self.tokens.encode(self._asked(row))]

    def _asked(self, row: Row) -> str:
        text = self.format.prompt(row, self.recipe.context)
        return self.tokens.chat(text) if self.recipe.chat else text

    def encode(self, row: Row, answer: str) -> Encoded:
        """The row with this answer in place. An answer without any token of its own gives no sites."""
        opener = self.format.opener.lstrip() if self.recipe.chat else self.format.opener
        before = self._asked(row) + opener
        answer = bare(answer) if self.format.closer == "." else answer
        ids = self.tokens.encode(before + answer + self.format.closer)
        spans = self._spans(ids, before, answer)
        shift = len(self._start())
        at = tuple(i + shift for i, _, _ in spans)
        chosen = self._chosen(spans, answer, row)
        picked = at if not chosen else tuple(at[i] for i in chosen)
        back = 1 if self.site == "predict" else 0
        ids = [*self._start(), *ids][: at[-1] + 1] if at else []
        sites = tuple(i - back for i in picked if i >= back)
        return Encoded(tuple(ids), at, sites, whole=not chosen)

    def _start(self) -> list[int]:
        return [] if self.tokens.bos_id is None else [self.tokens.bos_id]

    def _spans(self, ids: list[int], before: str, answer: str) -> list[tuple[int, int, int]]:
        """(token, from, to) of the answer's tokens, characters counted within the answer.

        Offsets are lengths of decoded beginnings, anchored at the end of the text: what a tokenizer does to the first
        space of all shifts nothing.
        """
        text = before + answer + self.format.closer
        whole = self.tokens.decode(ids)
        if not whole.endswith(text[len(before.rstrip()) :]):
            return self._by_prefix(ids, before, answer)
        shift = len(text) - len(whole) - len(before)
        spans = []
        after = self._length(ids, whole)
        for i in range(len(ids) - 1, -1, -1):
            before_it = self._length(ids[:i], whole)
            start, end = before_it[0] + shift, after[1] + shift
            after = before_it
            if start < len(answer) and end > 0:
                spans.append((i, start, end))
            elif end <= 0:
                break
        return spans[::-1]

    def _length(self, ids: Sequence[int], whole: str) -> tuple[int, int]:
        """Characters of `whole` that ids decode to, without and with a last one of which only some bytes are there."""
        text = self.tokens.decode(ids)
        if text.endswith("\ufffd") and not whole.startswith(text):
            complete = len(text.rstrip("\ufffd"))
            return complete, complete + 1
        return len(text), len(text)

    def _by_prefix(self, ids: list[int], before: str, answer: str) -> list[tuple[int, int, int]]:
        """For tokenizers that change the text: tokens by comparing with the beginnings; no offsets, so all count."""
        start = _common(ids, self.tokens.encode(before.rstrip()))
        end = max(start, _common(ids, self.tokens.encode(before + answer)))
        return [(i, 0, len(answer)) for i in range(start, end)]

    def _chosen(self, spans: Sequence[tuple[int, int, int]], answer: str, row: Row) -> list[int]:
        """Places in `spans` of the tokens that count; empty where the policy finds none."""
        policy, every = self.recipe.tokens, list(range(len(spans)))
        if policy == "first":
            return every[:1]
        if policy == "last":
            return every[-1:]
        if policy == "all" or (policy == "top5" and len(spans) < SHORT):
            return every
        if policy == "given":
            ranges = [_find(word, answer) for word in row.key_tokens]
        else:
            ranges = [(a, b) for a, b, word in self._ranked(answer)]
        picked: list[int] = []
        for low, high in ranges:
            inside = [i for i, (_, a, b) in enumerate(spans) if a < high and b > low]
            picked += [i for i in inside if low < high and i not in picked]
        return sorted(picked if policy == "given" else picked[: self.k])

    def _ranked(self, answer: str) -> list[tuple[int, int, str]]:
        """The answer's content words, the rarest in the data set first, then by position."""
        words = [(a, b, word) for a, b, word in _words(answer) if word not in STOP_WORDS]
        return sorted(words, key=lambda w: (-self.idf.get(w[2], math.inf), w[0]))


def _words(text: str) -> list[tuple[int, int, str]]:
    return [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(text)]


def _find(word: str, answer: str) -> tuple[int, int]:
    at = answer.lower().find(word.lower())
    return (at, at + len(word)) if at >= 0 else (0, 0)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n
