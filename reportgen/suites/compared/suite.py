"""What the report says of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field

from reportgen.suites.base import Measure, Suite

NAME = "compared"


@dataclass(frozen=True)
class Settings:
    """What was compared."""

    runs: tuple[str, ...] = field(default=(), metadata={"help": "the runs, in order"})
    hashes: tuple[str, ...] = field(default=(), metadata={"help": "what each run found, as one hash"})
    measures: tuple[str, ...] = field(default=(), metadata={"help": "measures compared, as suite/measure"})
    lineage: str = field(default="", metadata={"help": "why heads may be subtracted, or that they may not"})


SUITE = Suite(
    name=NAME,
    title="Comparison",
    summary="The same scores in several runs. Heads are subtracted only within one lineage; different models are "
    "compared by relative depth and by rank.",
    version=1,
    settings=Settings,
    score="reportgen.suites.compared.figures:figures",
    figures="reportgen.suites.compared.figures:figures",
    measures=(
        Measure(
            "difference",
            "Difference",
            "score in the later run minus score in the first",
            "Positive: the head scores higher in the later run. Its interval treats the runs as independent.",
            source="ours",
        ),
    ),
)
