"""Where every head attends on repeated random tokens. Imports neither torch nor altair."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from reportgen.reading import check_text
from reportgen.suites.attention import plan
from reportgen.suites.base import Check, Measure, Planted, Suite
from reportgen.suites.prose import PASSAGES
from reportgen.suites.settings import check

TASK = "repeated_tokens"
MIN_LAG_GAP = 3  # lags closer than this would put a special cell of one lag on a control cell of another


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `attention`."""

    lags: tuple[int, ...] = field(
        default=(13, 17, 22, 28),
        metadata={
            "help": "lengths of the repeated block; several, so that each distance has a control without repeat",
            "needs": "each distance is measured without a repeat at the other block lengths: two or more",
        },
    )
    sequences: int = field(
        default=64,
        metadata={
            "help": "random-token sequences, divided evenly over the lags",
            "least": 2,
            "needs": "a score is a mean over sequences",
        },
    )
    batch: int = field(
        default=16,
        metadata={"help": "sequences per forward pass", "least": 1, "needs": "a forward pass takes a sequence"},
    )
    permutations: int = field(
        default=10_000,
        metadata={
            "help": "draws of the permutation and sign-flip nulls",
            "off": "p of attention scores, and the head sets that p names",
        },
    )
    resamples: int = field(
        default=5_000,
        metadata={
            "help": "bootstrap draws over sequences for the intervals",
            "least": 1,
            "needs": "every score has an interval",
        },
    )
    alpha: float = field(default=0.05, metadata={"help": "family-wise level at which a head enters a head set"})
    threshold: float = field(default=0.3, metadata={"help": "attention mass from which a head enters a head set"})
    copy_tokens: int = field(
        default=500,
        metadata={
            "help": "sampled words behind the OV copying share",
            "least": 1,
            "needs": "an induction head is told by what its OV circuit does to these words",
        },
    )
    copy_threshold: float = field(default=0.15, metadata={"help": "OV copying share an induction head needs"})
    text_file: str = field(
        default="", metadata={"help": "UTF-8 text for the snippets, instead of the shipped passages"}
    )
    text_windows: int = field(
        default=32,
        metadata={"help": "windows of text that the snippets come from", "off": "snippets of natural text"},
    )
    text_tokens: int = field(
        default=48, metadata={"help": "tokens in a window", "least": 8, "needs": "shorter windows show no attention"}
    )

    def __post_init__(self) -> None:
        check(self)
        check_text(self.text_file)
        ordered = sorted(self.lags)
        if len(ordered) < 2 or ordered[0] < 4:
            raise ValueError(f"lags {self.lags}: give at least two block lengths of 4 tokens or more.")
        if any(b - a < MIN_LAG_GAP for a, b in pairwise(ordered)):
            raise ValueError(f"lags {self.lags}: block lengths must differ by {MIN_LAG_GAP} or more.")
        if self.sequences < 2 * len(self.lags):
            raise ValueError(f"sequences is {self.sequences}, must be at least {2 * len(self.lags)} (two per lag).")
        for name in ("alpha", "threshold", "copy_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie between 0 and 1.")


def _files(settings: Settings) -> tuple[Path, ...]:
    return (Path(settings.text_file) if settings.text_file else PASSAGES,) if settings.text_windows else ()


_MASS = "attention mass"


_FLIPS = "sign flips over sequences of the excess over a uniform causal row, step-down max-T over heads; one-sided"
_SWAPPED = (
    "block lengths permuted over sequences: the same cells, the same distances, without the repeat; step-down "
    "max-T over heads; one-sided"
)
SUITE = Suite(
    name="attention",
    title="Attention patterns",
    summary="Where each head attends on random tokens repeated twice: previous token, itself, first position, earlier "
    "copy, token after the earlier copy; and how spread its rows are.",
    version=3,
    settings=Settings,
    score="reportgen.suites.attention.score:score",
    figures="reportgen.suites.attention.figures:figures",
    measures=(
        Measure(
            "previous_token",
            "Previous-token attention",
            "mean over queries q >= 2 of pattern[q, q - 1]",
            "High: the head reads the token before. It says nothing of what the head writes.",
            _MASS,
            "olsson2022induction; mask ours",
            range=(0.0, 1.0),
            null=_FLIPS,
        ),
        Measure(
            "current_token",
            "Current-token attention",
            "mean over queries q >= 1 of pattern[q, q]",
            "High: the head reads the token it stands on.",
            _MASS,
            "olsson2022induction; mask ours",
            range=(0.0, 1.0),
            null=_FLIPS,
        ),
        Measure(
            "first_token",
            "First-position attention",
            "mean over queries q >= 1 of pattern[q, 0]",
            "High: the head rests on the sink. Not the same as inactive: compare its output norm.",
            _MASS,
            "ours",
            range=(0.0, 1.0),
            null=_FLIPS,
        ),
        Measure(
            "duplicate_token",
            "Duplicate-token attention",
            "mean over queries q of the second copy of pattern[q, q - lag]",
            "High: the head finds the earlier copy of the token it stands on.",
            _MASS,
            "wang2022ioi; mask ours",
            range=(0.0, 1.0),
            null=_SWAPPED,
        ),
        Measure(
            "induction",
            "Induction attention (prefix matching)",
            "mean over queries q of the second copy of pattern[q, q - lag + 1]",
            "High: the head attends to the token that came after the earlier copy. An induction head also copies what "
            "it attends to: see the OV copying share.",
            _MASS,
            "olsson2022induction; mask ours",
            range=(0.0, 1.0),
            null=_SWAPPED,
        ),
        Measure(
            "entropy",
            "Relative attention entropy",
            "mean over queries q >= 1 of -sum_k pattern[q, k] ln pattern[q, k] / ln(q + 1)",
            "1: attention spread evenly over all earlier positions; 0: all on one position.",
            "share of ln(q + 1)",
            "ours",
            range=(0.0, 1.0),
            null="none: it describes how spread a row is; there is no claim to test",
        ),
    ),
    data=_files,
    cost=plan.phases,
    reach=plan.reach,
    drops=plan.drops,
    citations=("olsson2022induction", "wang2022ioi"),
    quick={"sequences": 32, "permutations": 2_000, "resamples": 1_000, "copy_tokens": 200},
    check=Check(
        settings={"lags": (4, 8, 11), "sequences": 24, "copy_tokens": 20, "text_windows": 0},
        planted=(
            Planted(f"previous_token/{TASK}", "L0H0", low=0.99),
            Planted(f"current_token/{TASK}", "L1H2", low=0.99),
            Planted(f"induction/{TASK}", "L1H0", low=0.99),
            Planted(f"induction/{TASK}", "L0H1", 0.3, 0.4),  # three back: right for blocks of 4 only
        ),
    ),
    left_out=("attention: half the sequences, 2,000 instead of 10,000 null draws",),
)
