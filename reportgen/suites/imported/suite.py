"""What the report says of imported scores: that they come from elsewhere, and without interval, null or n."""

from __future__ import annotations

from dataclasses import dataclass, field

from reportgen.suites.base import Suite

NAME = "imported"
NOT_GIVEN = "not given: the scores were computed elsewhere and imported as they are"


@dataclass(frozen=True)
class Settings:
    """What an import was told."""

    table: str = field(default="", metadata={"help": "file that the scores were read from"})
    sha256: str = field(default="", metadata={"help": "digest of that file"})
    columns: tuple[str, ...] = field(default=(), metadata={"help": "its measures, in order"})
    reading: str = field(default="", metadata={"help": "how the head of each value was told"})


SUITE = Suite(
    name=NAME,
    title="Imported scores",
    summary="Scores that were computed elsewhere and imported from a table. Interval, null and n were not given with "
    "them; nothing on this page tests them.",
    version=1,
    settings=Settings,
    score="reportgen.imported.store:score",
    figures="reportgen.suites.imported.figures:figures",
    measures=(),
)
