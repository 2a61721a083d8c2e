"""What each head does on running text when nobody asks anything of it. Imports neither torch nor altair."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost, prose
from reportgen.suites.base import Check, Measure, Planted, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.documents import check as check_documents
from reportgen.suites.documents import files_of
from reportgen.suites.settings import check, setting
from reportgen.suites.text.classes import names as class_names

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

TASK = "text"
PASSAGES = Path(__file__).parent / "data" / "passages.jsonl"
FIXED = 20_000  # calls of small operations between the passes
REDUCED = 14  # elementwise operations on each cell of a pattern
MOST_WINDOWS = 4096  # a row of sums is kept of each


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `text`."""

    text_file: str = setting(
        "", "UTF-8 text, a .jsonl file or a folder, instead of the shipped passages", option="text"
    )
    source: str = setting(
        "text", "text, or samples: what the model itself writes, sampled from the seed", one_of=("text", "samples")
    )
    windows: int = setting(200, "windows of text", least=4, needs="a score is a mean over windows")
    tokens: int = setting(256, "tokens in a window", least=32, needs="shorter windows show no attention")
    first: int = setting(8, "first query that counts: earlier ones have few keys", least=1, needs="position 0 is none")
    batch: int = setting(4, "windows per forward pass", least=1, needs="a forward pass takes a window")
    shuffled: int = setting(12, "windows also read with their tokens in random order", off="the shuffled control")
    twins: int = setting(1, "random twins that read text", off="the random twin")
    twin_windows: int = setting(5, "windows a random twin reads", least=1, needs="twins: 0 switches it off")
    edge_windows: int = setting(
        12, "windows that fix the deciles of output norm", least=1, needs="examples are drawn by decile"
    )
    examples_each: int = setting(4, "examples of a head from each decile", zero="none but of the highest")
    examples_top: int = setting(12, "examples of a head from the highest decile", off="examples of what heads do")
    examples_largest: int = setting(4, "examples of a head with its largest outputs of all", zero="none")
    no_text: bool = setting(False, "store ids and positions of examples, not their text", option="no_text")
    classes: str = setting("", "TOML of your own token classes: name = regular expression")
    flips: int = setting(10_000, "draws of the sign-flip nulls", off="p of scores on text")
    resamples: int = setting(
        2000, "bootstrap draws over documents or windows", least=1, needs="every score has an interval"
    )
    quiet: float = setting(0.25, "output norm, as a share of the layer's mean, below which a head is quiet", share=True)
    quiet_share: float = setting(0.95, "share of windows in which a quiet head is below that", share=True)
    quiet_windows: int = setting(12, "windows on which all quiet heads are ablated", off="the ablation of quiet heads")
    quiet_sets: int = setting(19, "sets of other heads of the same layers, ablated for comparison", least=1,
                              needs="there is nothing to compare with")  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        if self.windows > MOST_WINDOWS:
            raise ValueError(f"windows is {self.windows:,}, must be at most {MOST_WINDOWS:,}.")
        if self.first + 8 > self.tokens:
            raise ValueError(f"first is {self.first}, must leave 8 of {self.tokens} tokens.")
        check_documents(self.text_file)
        class_names(self.classes)

    @property
    def places(self) -> int:
        """Examples of a head."""
        return self.examples_largest + self.examples_top + 9 * self.examples_each if self.examples_top else 0


def _files(settings: Settings) -> tuple[Path, ...]:
    own = (Path(settings.classes),) if settings.classes else ()
    if settings.source == "samples":
        return own
    return (*(files_of(settings.text_file) if settings.text_file else (PASSAGES,)), *own)


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """A forward pass per window of each part, whose patterns are reduced; examples onto the vocabulary."""
    heads = record.n_layers * record.n_heads
    length = min(s.tokens, record.n_ctx)

    def passes(name: str, windows: int, *, plain: bool = False) -> Phase:
        return Phase(
            name,
            tokens=windows * length,
            logits=windows,
            elements=0 if plain else REDUCED * windows * heads * length**2,
            calls=3 * cost.passes(record, ceil(windows / s.batch)),
        )

    found = [passes("text", s.windows), passes("shuffled text", s.shuffled)]
    found += [passes("deciles", s.edge_windows, plain=True)] if s.examples_top else []
    found.append(passes("random twin", s.twins * s.twin_windows))
    if s.source == "samples":
        found.append(
            Phase("sampling text", tokens=s.windows * length, logits=s.windows * length, calls=record.n_layers * length)
        )
    sets = s.quiet_sets + 2 if s.quiet_windows else 0
    found.append(
        Phase(
            "quiet heads",
            tokens=sets * s.quiet_windows * length,
            logits=sets * s.quiet_windows * length,
            elements=4 * sets * s.quiet_windows * length * record.d_vocab,
        )
    )
    written = heads * s.places * record.d_vocab
    found.append(Phase("examples", products=written * record.d_model, elements=4 * written, calls=FIXED))
    found.append(Phase("other", products=40 * (s.flips + s.resamples) * s.windows * heads, calls=FIXED))
    return tuple(found)


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads and the smallest p."""
    return cost.family(record, s.flips, s.windows, "windows")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """How much of a user's text this tokenizer does not know."""
    return prose.drops(tokens, s.text_file) if s.text_file and s.source == "text" else ()


_MASS = "attention mass"
_NO_NULL = "none: a description of what the head does; there is no claim to test"
_FLIPS = (
    "random sign for each window (each document, where there are 16 or more), standardised per head, step-down max-T "
    "over heads; one-sided"
)
_MEAN = "mean over queries q >= first of"
_INNER = "position 0 left out"

SUITE = Suite(
    name="text",
    title="Heads on text",
    summary="What every head does on running text, when no task asks anything of it: where it attends, how much it "
    "writes and of what kind, with examples by decile of its output, and how much of that is the role found on tasks.",
    version=1,
    settings=Settings,
    score="reportgen.suites.text.scoring.score:score",
    figures="reportgen.suites.text.drawing.figures:figures",
    variants="reportgen.suites.text.variants:variants",
    featured=("induction/", "copy_next/"),
    norm="output_norm",
    needs=("attention", "circuits", "relations", "cognitive", "sparse"),  # whose heads' roles are looked for
    reads_sets=True,
    measures=(
        Measure(
            "previous", "Previous-token attention on text", f"{_MEAN} pattern[q, q - 1], {_INNER}",
            "High: the head reads the previous token on ordinary text, too.", _MASS, "ours",
            range=(0.0, 1.0), null=_NO_NULL,
        ),
        Measure(
            "self", "Self-attention on text", f"{_MEAN} pattern[q, q]",
            "High: the head reads the token it stands on.", _MASS, "ours", range=(0.0, 1.0), null=_NO_NULL,
        ),
        Measure(
            "sink", "Sink on text", f"{_MEAN} pattern[q, 0]",
            "High: the head rests on position 0. Resting is not being inactive: compare its output norm.", _MASS,
            "ours", range=(0.0, 1.0), null=_NO_NULL,
        ),
        Measure(
            "first_four", "First four positions on text", f"{_MEAN} sum_(k = 0..3) pattern[q, k]",
            "High: the sink is at the beginning, not at position 0 alone.", _MASS, "ours",
            range=(0.0, 1.0), null=_NO_NULL,
        ),
        Measure(
            "entropy", "Relative attention entropy on text",
            f"{_MEAN} -sum_k pattern[q, k] ln pattern[q, k] / ln(q + 1)",
            "1: attention spread evenly over all earlier positions; 0: all on one position.", "share of ln(q + 1)",
            "ours", range=(0.0, 1.0), null=_NO_NULL,
        ),
        Measure(
            "reach", "Reach on text",
            "sum over queries and keys k >= 1 of pattern[q, k] (q - k), over the same sum of pattern[q, k]",
            "High: what the head reads besides position 0 stands far back.", "tokens", "ours",
            range=(0.0, float("inf")), null=_NO_NULL,
        ),
        Measure(
            "induction", "Induction on text",
            "mean over queries with such a key of the mass on the tokens after the two nearest earlier copies of the "
            "query's token, minus the mean mass at the same distances over queries without such a key",
            "High: the head finds what followed earlier copies in ordinary text. What it writes is not measured.",
            _MASS, "ours; after olsson2022induction", range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "duplicate", "Duplicate token on text",
            "mean over queries with such a key of the mass on earlier copies of the query's token, minus the mean mass "
            "at the same distances over queries without one",
            "High: the head finds earlier copies of its own token in ordinary text.", _MASS, "ours; after wang2022ioi",
            range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "copy_next", "Attention to copies of the next token",
            f"{_MEAN} the mass on keys 1..q that hold the token at q + 1, minus the share of keys 1..q that hold it",
            "High: the head reads the token that comes next, by whatever means it finds it.", _MASS, "ours",
            range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "excess", "Attention to a class of tokens, beyond its share",
            f"{_MEAN} the mass on keys 1..q of the class, minus the share of the class among keys 1..q",
            "High: the head prefers this class of tokens. A head that rests on position 0 is below zero everywhere.",
            _MASS, "ours", range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "output_norm", "Output norm on text", f"{_MEAN} ||z W_O||",
            "High: the head writes much. Not comparable across layers: the stream grows.", "", "ours",
            range=(0.0, float("inf")), null=_NO_NULL,
        ),
        Measure(
            "relative_norm", "Output norm over the stream's", f"{_MEAN} ||z W_O|| / ||resid_pre||",
            "High: what the head writes is large beside what is there already.", "ratio", "ours",
            range=(0.0, float("inf")), null=_NO_NULL,
        ),
        Measure(
            "honor", "HONOR", "mean over windows of (mean over queries of ||z||) / (the mean of that over the layer)",
            "Low: among the heads of its layer this one moves little, before W_O.", "ratio",
            "sandovalsegura2026inactive", range=(0.0, float("inf")), null=_NO_NULL,
        ),
        Measure(
            "honor_out", "HONOR after W_O",
            "mean over windows of (mean over queries of ||z W_O||) / (the mean of that over the layer)",
            "Low: among the heads of its layer this one writes little. Quiet on this text, not inactive.", "ratio",
            "ours; after sandovalsegura2026inactive", range=(0.0, float("inf")), null=_NO_NULL,
        ),
        Measure(
            "dla", "Direct effect on the next token's logit",
            f"{_MEAN} z W_O through the frozen final norm onto W_U[next token] - mean over the vocabulary of W_U",
            "Positive: what the head writes is itself an argument for the token that comes. Paths through later layers "
            "are not counted.", "logits", "ours", null=_NO_NULL,
        ),
        Measure(
            "dla_abs", "Size of the direct effect on the next token's logit",
            "the same, mean of its absolute value", "High: the head moves the logits of what comes, either way.",
            "logits", "ours", range=(0.0, float("inf")), null=_NO_NULL,
        ),
    ),
    data=_files,
    cost=phases,
    reach=reach,
    drops=drops,
    licence="passages of works in the public domain",
    citations=("sandovalsegura2026inactive", "olsson2022induction"),
    quick={
        "windows": 40, "shuffled": 10, "edge_windows": 8, "examples_each": 1, "examples_top": 4,
        "examples_largest": 2, "flips": 2_000, "resamples": 1_000, "quiet_windows": 0,
    },
    left_out=(
        "text: 40 instead of 200 windows, 15 instead of 52 examples of a head",
        "text: the ablation of quiet heads",
    ),
    check=Check(
        settings={"windows": 24, "tokens": 48, "shuffled": 4, "edge_windows": 4, "twins": 0, "examples_each": 1,
                  "examples_top": 2, "examples_largest": 1, "source": "samples"},
        planted=(
            Planted(f"previous/{TASK}", "L0H0", low=0.99),
            Planted(f"self/{TASK}", "L1H2", low=0.99),
            Planted(f"previous/{TASK}", "L0H1", high=0.01),
        ),
    ),
)  # fmt: skip
