"""Text to ids on every kind of tokenizer: places are those of the whole text, in documents and questions."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen.errors import NotApplicable
from reportgen.suites.retrieval import layout
from reportgen.suites.retrieval.layout import Fact, Value
from reportgen.suites.retrieval.scoring import documents as docs
from tests import kinds

every_kind = pytest.mark.parametrize("kind", kinds.KINDS)
with_and_without_bos = pytest.mark.parametrize("bos", [False, True])
FACTS = tuple(
    Fact("motto", "slogan", thing, Value(value, 0, 2), kind)
    for thing, value, kind in (
        ("king", "Mary John", "literal"), ("queen", "Paris France", "paraphrased"), ("dog", "Rome Italy", "literal"),
    )
)  # fmt: skip
TEXT = "It rained. {} Nobody spoke.\n{} The day passed. {} Time went by."


@every_kind
@with_and_without_bos
def test_places_are_those_of_the_whole_text(kind: str, bos: bool) -> None:
    tokens = kinds.tokens(kind, bos=bos)
    text = TEXT.format(*(fact.sentence for fact in FACTS))
    doc = docs.document(tokens, text, FACTS)
    assert [needle.answer for needle in doc.needles] == [fact.value.text for fact in FACTS]
    for fact, needle in zip(FACTS, doc.needles, strict=True):
        assert tokens.decode(doc.ids[slice(*needle.value)].tolist()).strip() == fact.value.text
        said = tokens.decode(doc.ids[slice(*needle.sentence)].tolist()).strip()
        assert said == fact.sentence.rstrip(".").replace("motto", kinds.UNK if kind == "words" else "motto")
        assert tokens.decode(doc.ids[slice(*needle.things)].tolist()).strip() == fact.thing
        whole = tokens.prompt_ids(f"{text}{fact.question} {fact.value.text}")
        assert [*doc.ids, *needle.asked.ids] == whole
        assert needle.asked.expected.tolist() == doc.ids[slice(*needle.value)].tolist()
        assert len(needle.asked.things) == 2
        for low, high in needle.asked.things:
            assert tokens.decode(needle.asked.ids[low:high].tolist()).strip() == fact.thing
        assert needle.said == fact.sentence


@every_kind
def test_random_tokens_stand_in_the_same_places(kind: str) -> None:
    tokens = kinds.tokens(kind)
    doc = docs.document(tokens, TEXT.format(*(fact.sentence for fact in FACTS)), FACTS)
    allowed = np.unique(doc.ids)
    made = docs.random_tokens(doc, allowed, np.random.default_rng(0))
    assert len(made.ids) == len(doc.ids)
    for old, new in zip(doc.needles, made.needles, strict=True):
        assert new.asked.expected.tolist() == made.ids[slice(*new.value)].tolist()
        assert len(new.asked.ids) == len(old.asked.ids)
        thing = made.ids[slice(*new.things)].tolist()
        assert all(new.asked.ids[low:high].tolist() == thing for low, high in new.asked.things)


@with_and_without_bos
def test_a_question_of_another_document_goes_on_from_this_one(bos: bool) -> None:
    tokens = kinds.tokens("bytes", bos=bos)
    doc = docs.document(tokens, TEXT.format(*(fact.sentence for fact in FACTS)), FACTS)
    other = docs.document(tokens, TEXT.format(*(fact.sentence for fact in FACTS[::-1])), FACTS)
    asked = docs.asked_of(tokens, doc, other.needles[0], chat=False)
    assert asked is not None
    assert asked.ids.tolist() == doc.needles[0].asked.ids.tolist()
    again = docs.asked_of(tokens, doc, doc.needles[0], chat=False, again=True)
    assert again is not None
    assert FACTS[0].sentence in tokens.decode(again.ids.tolist())
    assert again.expected.tolist() == asked.expected.tolist()


def test_a_tokenizer_without_the_words_is_told_how_many_it_has() -> None:
    with pytest.raises(NotApplicable, match=r"18 of 60 answers are 2 to 4 known tokens"):
        docs.values_of(kinds.tokens("words"))
    assert len(layout.shipped()[-1]) == 60
