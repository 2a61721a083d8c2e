"""The contents of a report: plain data, every string cleaned and ready to print. HTML and PDF only lay it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from reportgen.figures.export import Spec
from reportgen.figures.figure import Figure, MapPlace
from reportgen.head_examples import HeadExamples
from reportgen.scores import Head, HeadScores, HeadSet


@dataclass(frozen=True)
class Label:
    """The score (by key) that leads a head, its margin in standard deviations over heads, and the keys of ties."""

    key: str
    margin: float
    ties: tuple[str, ...] = ()


@dataclass(frozen=True)
class FramedPanel(MapPlace):
    """One map in a drawing.

    shape  layers, heads
    uses   ids of the groups that a thumbnail draws
    art    these groups and their definitions, for a thumbnail that stands elsewhere
    """

    shape: Head = (0, 0)
    uses: tuple[str, ...] = ()
    art: str = ""

    @property
    def columns(self) -> int:
        return self.shape[1] if self.down else self.shape[0]

    @property
    def rows(self) -> int:
        return self.shape[0] if self.down else self.shape[1]

    def in_cells(self) -> str:
        """The transformation after which a cell is a unit square and the panel's corner the origin."""
        (x, y), (across, down) = self.at, self.step
        return f"scale({1 / across:.6g} {1 / down:.6g}) translate({-x:g} {-y:g})"

    def data(self) -> str:
        """What the page's script reads: [key, x, y, step across, step down, layers run down]."""
        return json.dumps([self.key, *self.at, *self.step, int(self.down)], separators=(",", ":"))


@dataclass(frozen=True)
class Framed:
    """A drawing's inside for the page, without its root, and its panels."""

    body: str
    panels: tuple[FramedPanel, ...] = field(default=())


@dataclass(frozen=True)
class Operation:
    """One line of a head's table: a token, how strongly the head maps it, and the outputs it raises and lowers most.

    sigma  ||x W_V W_O|| / ||x||
    """

    token: str
    sigma: float
    raised: tuple[str, ...]
    lowered: tuple[str, ...]


@dataclass(frozen=True)
class Salient:
    """`heads[layer][head]`: the head's operations, largest first, at most `places` with `outputs` tokens each."""

    heads: tuple[tuple[tuple[Operation, ...], ...], ...]
    places: int
    outputs: int


Pairs = tuple[tuple[str, str], ...]  # (name, value), in the order printed
NOT_INSTALLED = "Figures are not drawn:"  # start of the note for an unknown suite


@dataclass(frozen=True)
class TextTable:
    """A table with formatted cells. `numeric[i]` sets column i to the right; `hidden` rows are only in the CSV."""

    title: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    hidden: int = 0
    folded: bool = False  # the page shows its title, and the rows when asked
    matrix: bool = False  # first column is the layer, the others are heads


@dataclass(frozen=True)
class Plate:
    """A numbered figure as drawn: its words, its Vega-Lite and SVG (`width` x `height` px), its numbers as tables."""

    number: int
    id: str
    title: str
    caption: str
    notes: tuple[str, ...]  # how it was made, a sentence each
    alt: str
    svg: str
    width: int
    height: int
    twins: tuple[TextTable, ...]
    figure: Figure
    spec: Spec  # empty: kept as it was drawn
    is_map: bool  # a layer x head map
    keys: tuple[str, ...]  # the score of each panel of a map, where the figure's data name them

    @property
    def anchor(self) -> str:
        return f"fig-{self.id}"


@dataclass(frozen=True)
class MeasureText:
    """One kind of score, as printed in section and glossary."""

    anchor: str
    suite: str
    name: str
    title: str
    formula: str
    meaning: str
    unit: str
    source: str


@dataclass(frozen=True)
class Leading:
    """Leading heads of some scores: one row per score, then the first few heads of each."""

    title: str
    overview: TextTable
    heads: TextTable
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One setting of a suite with the value used; `given` when the user typed it."""

    name: str
    value: str
    given: bool
    help: str


@dataclass(frozen=True)
class Section:
    """One suite. `status` is done, failed, skipped or not run; `reason` says why where it is not done."""

    name: str
    title: str
    summary: str
    status: str
    reason: str
    left_out: tuple[str, ...]
    plates: tuple[Plate, ...] = ()
    undrawn: tuple[str, ...] = ()  # figures that could not be drawn, and why
    before: tuple[int, ...] = ()  # how many plates stand before each of those
    leading: tuple[Leading, ...] = ()
    leading_notes: tuple[str, ...] = ()
    tables: tuple[TextTable, ...] = ()
    measures: tuple[MeasureText, ...] = ()
    settings: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()
    not_computed: Pairs = ()
    cited: Pairs = ()  # citation key, authors and year

    @property
    def anchor(self) -> str:
        return f"suite-{self.name}"

    def undrawn_at(self, plates: int) -> list[str]:
        """The notes that stand after so many plates."""
        return [why for why, at in zip(self.undrawn, self.before, strict=True) if at == plates]

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(plate.figure for plate in self.plates)


@dataclass(frozen=True)
class SetText:
    """One head set in words: source, rule, its rungs of the evidence ladder, and how it holds under other settings."""

    label: str
    heads: tuple[str, ...]
    rule: str
    source: str
    kind: str
    evidence: Pairs  # rung, outcome
    holds: str = ""


@dataclass(frozen=True)
class Verdict:
    """A line of the first screen. `causal` lines passed the causal and the replicated rung; others are scores.

    text      the whole line as a sentence
    anchor    the figure that shows it, else its section
    label     what is said of `heads`
    estimate  the strongest head with its held-out value and interval, on `n` examples; empty where there is none
    line      the null's line of that score; empty where there is none
    how       what was measured, on what the head was picked and on what it was measured
    rungs     the evidence ladder, every rung
    holds     of the pairs of head and other setting, those above the line: "48 of 48"; empty where there are none
    order     where it stands among the claims
    """

    text: str
    causal: bool
    anchor: str = ""
    label: str = ""
    heads: tuple[str, ...] = ()
    estimate: str = ""
    line: str = ""
    n: int = 0
    how: str = ""
    rungs: Pairs = ()
    holds: str = ""
    order: tuple[float, ...] = ()


@dataclass(frozen=True)
class Source:
    """One entry of the bibliography."""

    key: str
    citation: str
    bibtex: str


@dataclass(frozen=True)
class Report:
    """Everything the page and the PDF say."""

    title: str
    model: str  # the model's printed name
    name: str  # that, with the run's own name where --name gave it one: what titles and links say
    slug: str
    created: str  # ISO 8601, UTC
    date: str  # the day of `created`
    synthetic: bool
    check: str  # the self-check in words
    check_passed: bool | None  # None = not run
    broken: str  # the self-test in words where a check of it failed, else ""
    facts: Pairs
    banner: tuple[str, ...]  # what was done differently in the runs of a comparison
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    overlays: tuple[HeadSet, ...]
    scores: tuple[HeadScores, ...]  # every score of the run, for the head panel
    names: Mapping[str, str]  # score key -> printed name; no two of a suite are alike
    labels: Mapping[Head, Label]  # the leading label of each head that has one
    frames: Mapping[str, Framed]  # every plate's drawing as the page carries it, by id
    salient: Salient | None  # every head's most salient tokens
    snippets: Mapping[str, object] | None  # where every head attends in natural text, packed for the page
    examples: HeadExamples | None  # of what every head does in text, in place of snippets
    set_groups: tuple[tuple[str, tuple[SetText, ...]], ...]  # legend, its sets
    not_computed: tuple[tuple[str, str, str], ...]  # suite, what, why
    provenance: tuple[tuple[str, Pairs], ...]
    glossary: Pairs
    sources: tuple[Source, ...]
    bibtex: str  # of the sources and of reportgen

    @property
    def undrawn(self) -> tuple[str, ...]:
        """Why figures are missing, one line each; a suite that is not installed is not a failure."""
        return tuple(
            f"{section.title}: {why}"
            for section in self.sections
            for why in section.undrawn
            if not why.startswith(NOT_INSTALLED)
        )

    @property
    def claims(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.causal)

    @property
    def plates(self) -> tuple[Plate, ...]:
        return tuple(plate for section in self.sections for plate in section.plates)
