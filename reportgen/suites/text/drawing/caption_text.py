"""Sentences of this suite's captions and notes, from its facts."""

from __future__ import annotations

from reportgen.figures.captions import number, percent, plural
from reportgen.scores import HeadScores
from reportgen.suites.text import classes
from reportgen.suites.text.facts import TextFacts


def material(told: TextFacts) -> str:
    """`n = 40 windows (9,677 tokens) of passages of ...`."""
    return f"n = {plural(told.windows, 'window')} ({told.tokens:,} tokens)."


def source(told: TextFacts) -> str:
    """What the text is, and what of it was not used."""
    left = f"; {told.dropped_tokens:,} tokens in ends of documents below 32 left out" if told.dropped_tokens else ""
    return (
        f"Text: {told.source}; {plural(told.documents, 'document')} in {plural(told.windows, 'window')} of at most "
        f"{told.length} tokens{left}."
    )


def counted(told: TextFacts, measure: str) -> str:
    """The queries behind a measure."""
    if measure in told.treated:
        return f"{told.treated[measure]:,} of {told.queries:,} queries have such a key. {source(told)}"
    if measure in ("dla", "dla_abs"):
        return f"{told.followed:,} queries with a next token. {source(told)}"
    if measure == "copy_next":
        return f"{told.queries:,} queries; {percent(told.next_base)} of their keys hold the next token. {source(told)}"
    return f"{told.queries:,} queries. {source(told)}"


def share_of_class(told: TextFacts, name: str) -> str:
    """How often a class occurs."""
    if name not in told.classes:
        return ""
    at = told.classes.index(name)
    return (
        f"{classes.title(name).capitalize()}: {percent(told.class_shares[at])} of the tokens, "
        f"{percent(told.class_base[at])} of the keys that a query can attend to."
    )


def interval(told: TextFacts) -> str:
    """How intervals were made."""
    if told.units < 2:
        return "No interval: the text is one unit."
    first = "documents, then windows within them" if told.unit == "documents" else "windows"
    return f"95 % intervals: bootstrap over {first} ({told.units} {told.unit}, {told.resamples:,} draws)."


def controls(scores: HeadScores) -> str:
    """The controls' highest heads."""
    parts = [f"{c.name} {number(c.value)}" for c in scores.controls]
    return f"Controls reach: {', '.join(parts)}." if parts else ""


def control_notes(told: TextFacts, scores: HeadScores) -> str:
    """What the controls are and how many windows they read."""
    parts = []
    for control in scores.controls:
        count = told.twin_windows if "twin" in control.name else told.shuffled
        parts.append(f"{control.name}, {control.meaning} ({plural(count, 'window')})")
    return f"Controls: {'; '.join(parts)}." if parts else ""
