"""Sentences of this suite's captions and notes, from its facts."""

from __future__ import annotations

from collections.abc import Sequence

from reportgen.figures.captions import number, plural
from reportgen.figures.figure import View
from reportgen.figures.markers import role
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites import facts
from reportgen.suites.icl.facts import IclFacts
from reportgen.suites.icl.found import auroc
from reportgen.suites.icl.suite import PAPER, SUITE

PERMUTED = " As in Todd et al. 2023 the outputs of deranged examples are permuted at random, so that some may stay."


def facts_of(result: SuiteResult) -> IclFacts:
    return facts.read(result, IclFacts)


def lower(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def material(told: IclFacts, n: int) -> str:
    """`n = 56 prompts of 7 tasks, 6 examples each.`"""
    return f"n = {n} prompts of {plural(len(told.tasks), 'task')}, {told.shots} examples each."


def tasks(told: IclFacts) -> str:
    """The tasks by name, and how they were asked."""
    names = ", ".join(lower(gate.title) for gate in told.tasks)
    return (
        f"Tasks: {names}; {told.prompts} prompts of about {told.tokens:.0f} tokens each, written as {told.form}. "
        f"Scored where the model learns them: accuracy at least {told.least_accuracy:g}, and {told.least_gain:g} above "
        f"that with deranged examples.{PERMUTED if told.preset == PAPER else ''}"
    )


def interval(told: IclFacts) -> str:
    """How intervals were made."""
    first = (
        f"tasks, then prompts within them ({plural(len(told.tasks), 'task')})" if told.over_tasks else
        "the prompts within each task: they hold over these tasks"
    )  # fmt: skip
    return f"95 % intervals: bootstrap over {first}, {told.resamples:,} draws."


def exact(told: IclFacts) -> str:
    """Which heads are exact, and how well the screen ranks them."""
    if told.exact == told.heads:
        return f"Every head patched; the gradient screen agrees with Spearman {told.spearman_all:.2f}."
    return (
        f"{told.exact} of {told.heads} heads patched: the first by the gradient screen, by induction, and "
        f"{told.random_heads} at random. Spearman of screen and exact effect: {told.spearman_random:.2f} on the random "
        f"ones, {told.spearman_all:.2f} on all of them."
    )


def null(told: IclFacts, scores: HeadScores) -> str:
    """How p was made."""
    if scores.p is None:
        return f"No null: {scores.no_null}."
    return f"Null: {SUITE.measure(scores.measure).null}; {told.flips:,} draws."


def vectors(told: IclFacts) -> str:
    """Into how many prompts each random vector was patched."""
    if not told.vectors or not told.vector_prompts:
        return ""
    return (
        f"Random vectors: {told.vectors} a head, in turn, each in at least {told.vector_prompts} of the {told.prompts} "
        "prompts of a task."
    )


def controls(scores: HeadScores) -> str:
    """The controls' highest heads."""
    parts = [f"{c.name} {number(c.value)}" for c in scores.controls]
    return f"Highest head of each control: {', '.join(parts)}." if parts else ""


def control_notes(scores: HeadScores) -> str:
    parts = [f"{c.name}, {c.meaning}" for c in scores.controls]
    return f"Controls: {'; '.join(parts)}." if parts else ""


def sets(view: View) -> list[HeadSet]:
    """Function-vector heads of papers and of this run, induction heads, and the user's own."""
    found = [s for s in view.overlays if s.kind == "published" and role(s) == "function_vector" and s.heads]
    roles = ("function_vector", "induction")
    found += [s for s in view.overlays if s.kind == "computed" and role(s) in roles and s.heads]
    return found + [s for s in view.overlays if s.kind == "user"]


def published(scores: HeadScores, some: Sequence[HeadSet]) -> str:
    """How the score ranks the heads that papers list."""
    found = [(s, auroc(scores.values, s)) for s in some if s.kind == "published"]
    words = [f"{s.label} ({len(s.heads)}): AUROC {value:.2f}" for s, value in found if value == value]
    return f"Published lists ranked by this score: {'; '.join(words)}." if words else ""


def text_sets(told: IclFacts) -> str:
    """What sets of heads, ablated together, do for the fall of the loss; empty where the run has none."""
    if not told.text_sets:
        return ""
    parts = [f"{one.name} {number(one.value)} [{number(one.low)}, {number(one.high)}]" for one in told.text_sets]
    return (
        f"On text, with the {plural(told.text_sets[0].heads, 'head')} that are highest ablated together at all "
        f"positions, the late minus the early loss changes by {', '.join(parts)} nats a token "
        f"({plural(told.text_set_windows, 'window')}; random: {told.text_random} sets of the same layers)."
    )


def text(told: IclFacts) -> tuple[str, ...]:
    """What text the fall of the loss is of, and how heads were ablated."""
    parts = [f"tokens {first} to {last - 1}" for first, last in told.text_spans]
    what = (
        f"Text: {told.text_source}; {plural(told.text_windows, 'window')}. Whole model: the loss of {parts[1]} minus "
        f"that of {parts[0]} is {number(told.text_fall)} nats a token."
    )
    how = (
        f"{told.text_exact} of {told.heads} heads ablated: the first by attribution, and some at random, on which "
        f"attribution and exact change agree with Spearman {told.text_spearman:.2f}. 95 % intervals: bootstrap over "
        "windows."
    )
    return what, how, text_sets(told)
