"""Permalinks: a page per figure whose address holds the hash of its numbers and caption.

A link in a paper leads to that very figure or nowhere: when the run is scored again and the figure changes, so does its
address, and the page for missing addresses says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from reportgen.figures.export import stamp
from reportgen.report.parts import Plate, Report

FOLDER = "at"
COPIES = ("svg", "pdf", "csv")


@dataclass(frozen=True)
class Link:
    """A figure's permanent place below its run's folder: `at/<id>-<hash>.html`, and copies of its files beside it."""

    plate: Plate
    hash: str

    @property
    def stem(self) -> str:
        return f"{FOLDER}/{self.plate.id}-{self.hash}"

    @property
    def page(self) -> str:
        return f"{self.stem}.html"

    def copies(self) -> dict[str, str]:
        """Name of a copy -> the report's file that it is of."""
        return {f"{self.stem}.{ending}": f"figures/{self.plate.id}.{ending}" for ending in COPIES}


def links(report: Report) -> tuple[Link, ...]:
    """The permalinks of a report's figures, in order."""
    return tuple(Link(plate, stamp(plate.figure).rsplit(":", 1)[1]) for plate in report.plates)
