"""Sentences of this suite's captions and notes, from its facts."""

from __future__ import annotations

from collections.abc import Mapping

from reportgen.figures.captions import number, plural
from reportgen.figures.figure import View
from reportgen.scores import HeadScores, HeadSet
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.suite import TASK

# Measure -> the computed sets and the citation keys of published ones that its map marks.
MARKED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "copy": (("retrieval_heads",), ("wu2024retrieval",)),
    "copy_mass": (("retrieval_heads",), ("wu2024retrieval",)),
    "point": (("pointing_heads",), ("zhang2025qrhead",)),
    "write": (("retrieval_heads",), ("wu2024retrieval",)),
    "concept": (("concept_copiers",), ("feucht2025dualroute",)),
    "token": (("token_copiers",), ("feucht2025dualroute",)),
    "concept_effect": (("concept_copiers",), ("feucht2025dualroute",)),
    "token_effect": (("token_copiers",), ("feucht2025dualroute",)),
    "prefix": (("retrieval_heads",), ()),
    "sink": ((), ()),
}


def sets(view: View, measure: str) -> list[HeadSet]:
    """Published sets of the papers that a map follows, the computed ones, the user's."""
    own, papers = MARKED.get(measure, ((), ()))
    found = [s for s in view.sets("published/", "optional/") if s.source in papers]
    found += [s for s in view.sets("retrieval/") if s.key.rsplit("/", 1)[-1] in own]
    return [s for s in found if s.heads] + [s for s in view.overlays if s.kind == "user"]


def lower(label: str) -> str:
    """A score's label within a sentence, without its unit."""
    own = label.partition(" (")[0]
    return f"{own[:1].lower()}{own[1:]}"


def questions(told: RetrievalFacts) -> str:
    """`n = 48 questions about 6 documents.`"""
    return f"n = {plural(told.recall.asked, 'question')} about {plural(told.documents, 'document')}."


def counted(told: RetrievalFacts, scores: HeadScores) -> str:
    """What a score of the documents is a mean over."""
    if scores.measure == "copy":
        return f"n = {scores.n} right answer tokens, {plural(told.documents, 'document')}."
    if scores.measure == "write" and told.preset == "locos":
        return f"n = {plural(scores.n, 'question')} answered right, {plural(told.documents, 'document')}."
    return questions(told)


def right(told: RetrievalFacts) -> str:
    """How many the model answers."""
    return f"The model answers {told.recall.right} of {plural(told.recall.asked, 'question')}."


def text(told: RetrievalFacts) -> str:
    """What the documents are."""
    chat = ", in the model's chat template" if told.chat else ""
    return (
        f"Text: {told.source}; {plural(told.documents, 'document')} of {told.length:,} tokens on average, up to "
        f"{told.facts} facts in each{chat}. A document is run once; every question goes on from it."
    )


def short(scores: HeadScores) -> str:
    """What the sequences are."""
    if scores.measure == "prefix":
        return "Sequences of random tokens of the texts; which of the two places stands first alternates."
    made = (
        "Sequences of random tokens of the texts, an entity (names and compounds of two to five tokens; sizes with "
        "fewer than 40 are left out) or as many random tokens, a line end, and the random tokens again"
    )
    if scores.measure.endswith("_effect"):
        return (
            f"{made}. Beside each a text with other tokens in the place of the first ones and of the entity: there z "
            "of one head becomes, at the last of the random tokens that come again, what it is in the sequence."
        )
    return f"{made}. By attention; by patching: the figure of patched heads."


def patched(told: RetrievalFacts, measure: str) -> str:
    """Which heads were patched, and what there was to bring back."""
    one = next((each for each in told.patched if measure == f"{each.of}_effect"), None)
    if one is None:
        return ""
    return (
        f"Patched: {plural(len(one.highest), 'head')} highest in attention, {len(one.random)} others at random. Log p "
        f"of the token: {number(one.intact)} in the intact sequences, {number(one.corrupted)} in the others."
    )


def forcing() -> str:
    """Why nothing is generated."""
    return (
        "Answers are fed in, not generated: up to the first token that is not the largest logit, patterns are those of "
        "greedy decoding. copy counts no later token; the other measures count all."
    )


def balance(told: RetrievalFacts) -> str:
    """How evenly properties stand at the depths."""
    parts = ", ".join(f"{name} {number(x)}" for name, x in told.imbalance.items())
    return f"Largest distance of a class's count at a depth from its mean over depths: {parts}." if parts else ""


def null(told: RetrievalFacts, scores: HeadScores, formula: str) -> str:
    """How p was made, or why there is none."""
    if scores.p is None:
        return f"No null: {scores.no_null}."
    draws = min(told.permutations, 2_000) if scores.task != TASK else told.permutations
    return f"Null: {formula}; {draws:,} draws."


def interval(told: RetrievalFacts) -> str:
    """How intervals were made."""
    few = " Fewer than eight documents: Student's quantile carries most of the width." if told.documents < 8 else ""
    return f"95 % intervals: bootstrap over {told.documents} documents ({told.resamples:,} draws).{few}"


def controls(scores: HeadScores) -> str:
    """The controls' highest heads."""
    parts = [f"{c.name} {number(c.value)}" for c in scores.controls]
    return f"Controls reach: {', '.join(parts)}." if parts else ""


def control_notes(scores: HeadScores) -> str:
    """What the controls are."""
    parts = "; ".join(f"{c.name}, {c.meaning}" for c in scores.controls)
    return f"Controls: {parts}." if parts else ""


def reached(told: RetrievalFacts) -> str:
    """Layers whose windows do not reach every fact."""
    if not told.reach:
        return ""
    least = min(told.reach.values())
    return (
        f"{plural(len(told.reach), 'layer')} see only part of the document: there n is {least} questions or more, and "
        "there is no p."
    )


def elsewhere(told: RetrievalFacts) -> str:
    """What the model answers where it can't know, and on random tokens."""
    recall = told.recall
    parts = []
    for name, counts in (("asked of another document", recall.other_document), ("random tokens", recall.random_tokens),
                         ("random twin", recall.twin)):  # fmt: skip
        parts += [f"{name} {counts[0]} of {counts[1]}"] if counts else []
    return f"Right: {', '.join(parts)}." if parts else ""


def by_kind(told: RetrievalFacts) -> str:
    """Answers by kind of question."""
    parts = [f"{kind} {got} of {of}" for kind, (got, of) in told.recall.by_kind.items()]
    return f"By kind: {', '.join(parts)}." if len(parts) > 1 else ""


def shape(view: View) -> tuple[int, int]:
    """(layers, heads)"""
    return view.model.n_layers, view.model.n_heads
