"""Figures of the sparse suite."""

from reportgen.figures.figure import Figure, View
from reportgen.scores import SuiteResult


def figures(result: SuiteResult, view: View) -> list[Figure]:
    return []
