"""Figures made one by one, so that one that fails takes no other with it. The boundary of drawing: never raises."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from reportgen.errors import one_line
from reportgen.figures.figure import Figure, View
from reportgen.figures.theme import clean
from reportgen.scores import HeadScores, SuiteResult

T = TypeVar("T")
Maker = Callable[[], Figure | None]
Plan = Callable[[SuiteResult, View], Iterable[Maker]]


class OneByOne:
    """A suite's figures as the makers that `plan` yields; called, it makes all of them, and anything raised is raised.

    The report calls each maker alone. A maker that gives None has no numbers to draw.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.__doc__, self.__module__ = plan, plan.__doc__, plan.__module__

    def __call__(self, result: SuiteResult, view: View) -> list[Figure]:
        return [figure for make in self.plan(result, view) if (figure := make()) is not None]


def attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    """What `make` gives, or None and in one line what it raised."""
    try:
        return make(), ""
    except Exception as error:  # noqa: BLE001  the boundary: one drawing's bug must not lose the others
        if sys.flags.dev_mode:  # python -X dev shows where it broke
            traceback.print_exc()
        return None, clean(one_line(f"{type(error).__name__}: {error}"))


def made(makers: Iterable[Maker]) -> Iterator[Figure | str]:
    """Each maker's figure, or the sentence that says why there is none, in order. Never raises."""
    steps = iter(makers)
    while True:
        make, problem = attempt(lambda: next(steps, None))
        if problem:
            yield f"The figures of this suite could not be drawn: {problem}"
        if make is None:
            return
        figure, problem = attempt(make)
        if problem:
            yield f"A figure could not be drawn ({_name(make)}): {problem}"
        elif figure is not None:
            yield figure


def _name(make: Maker) -> str:
    """What a maker draws: its function, and the score or task it was given."""
    if not isinstance(make, partial):
        return getattr(make, "__name__", "figure").strip("_")
    given = [
        arg.label if isinstance(arg, HeadScores) else arg for arg in make.args if isinstance(arg, HeadScores | str)
    ]
    return clean(", ".join([make.func.__name__.strip("_").replace("_", " "), *given]))
