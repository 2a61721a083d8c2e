"""Where each head attends on repeated random tokens. Imports neither torch nor altair."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.manifest import ModelRecord
from reportgen.scores import HeadScores, HeldOut, NamedArray, SuiteResult, head_name
from reportgen.suites import cost, prose
from reportgen.suites.base import Check, Measure, Planted, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.documents import check as check_documents
from reportgen.suites.documents import files_of
from reportgen.suites.prose import PASSAGES
from reportgen.suites.settings import check, setting

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


# Cost and smallest p of scoring attention patterns, reported before the model is loaded.

FIXED = 10_000  # calls between the passes


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """A forward pass per sequence, the nulls and intervals over sequences, sampled words through every OV map."""
    heads = record.n_layers * record.n_heads
    batches, windows = ceil(s.sequences / s.batch), ceil(s.text_windows / s.batch)
    length = 2 * max(s.lags) + 1
    draws = 2 * s.permutations * len(s.lags) + 3 * s.permutations + 6 * s.resamples
    copying = s.copy_tokens * heads * record.d_head * (record.d_model + s.copy_tokens)
    return (
        Phase(
            "repeated random tokens",
            tokens=s.sequences * length,
            logits=s.sequences,
            elements=4 * s.sequences * heads * length**2,
            calls=cost.passes(record, batches) + FIXED,
        ),
        Phase(
            "other",
            products=copying + draws * s.sequences * heads,
            elements=20 * s.permutations * heads,
            calls=2 * FIXED,
        ),
        Phase(
            "natural text",
            tokens=s.text_windows * s.text_tokens,
            logits=s.text_windows,
            elements=20 * s.text_windows * heads * s.text_tokens**2,
            calls=cost.passes(record, windows) + FIXED * bool(s.text_windows),
        ),
    )


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads and the smallest p."""
    return cost.family(record, s.permutations, s.sequences, "sequences")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Tokens of the text that this tokenizer does not know."""
    return prose.drops(tokens, s.text_file) if s.text_windows else ()


TASK = "repeated_tokens"
MIN_LAG_GAP = 3  # lags closer than this would put a special cell of one lag on a control cell of another


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `attention`."""

    lags: tuple[int, ...] = setting(
        (13, 17, 22, 28),
        "lengths of the repeated block; several, so that each distance has a control without repeat",
        needs="each distance is measured without a repeat at the other block lengths: two or more",
    )
    sequences: int = setting(
        64, "random-token sequences, divided evenly over the lags", least=2, needs="a score is a mean over sequences"
    )
    batch: int = setting(16, "sequences per forward pass", least=1, needs="a forward pass takes a sequence")
    permutations: int = setting(
        10_000,
        "draws of the permutation and sign-flip nulls",
        off="p of attention scores, and the head sets that p names",
    )
    resamples: int = setting(
        5_000, "bootstrap draws over sequences for the intervals", least=1, needs="every score has an interval"
    )
    alpha: float = setting(0.05, "family-wise level at which a head enters a head set", share=True)
    threshold: float = setting(0.3, "attention mass from which a head enters a head set", share=True)
    copy_tokens: int = setting(
        500,
        "sampled words behind the OV copying share",
        least=1,
        needs="an induction head is told by what its OV circuit does to these words",
    )
    copy_threshold: float = setting(0.15, "OV copying share an induction head needs", share=True)
    text_file: str = setting("", "UTF-8 text for the snippets, instead of the shipped passages", option="text")
    no_text: bool = setting(False, "store no snippets: they hold the text's words", option="no_text")
    text_windows: int = setting(32, "windows of text that the snippets come from", off="snippets of natural text")
    text_tokens: int = setting(48, "tokens in a window", least=8, needs="shorter windows show no attention")

    def __post_init__(self) -> None:
        check(self)
        check_documents(self.text_file)
        ordered = sorted(self.lags)
        if len(ordered) < 2 or ordered[0] < 4:
            raise ValueError(f"lags {self.lags}: give at least two block lengths of 4 tokens or more.")
        if any(b - a < MIN_LAG_GAP for a, b in pairwise(ordered)):
            raise ValueError(f"lags {self.lags}: block lengths must differ by {MIN_LAG_GAP} or more.")
        if self.sequences < 2 * len(self.lags):
            raise ValueError(f"sequences is {self.sequences}, must be at least {2 * len(self.lags)} (two per lag).")


def _files(settings: Settings) -> tuple[Path, ...]:
    own = files_of(settings.text_file) if settings.text_file else (PASSAGES,)
    return own if settings.text_windows else ()


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
    version=4,
    settings=Settings,
    score="reportgen.suites.attention.scoring.score:score",
    figures="reportgen.suites.attention.drawing:figures",
    threshold="threshold",
    featured=("induction/", "previous_token/"),
    older="reportgen.suites.attention.suite:older",
    norm="output_norm",
    variants="reportgen.suites.attention.variants:variants",
    measures=(
        Measure(
            "previous_token",
            "Previous-token attention",
            "mean over queries q >= 2 of pattern[q, q - 1]",
            "High: the head reads the previous token. It says nothing about what the head writes.",
            _MASS,
            "olsson2022induction; mask ours",
            range=(0.0, 1.0),
            null=_FLIPS,
        ),
        Measure(
            "current_token",
            "Current-token attention",
            "mean over queries q >= 1 of pattern[q, q]",
            "High: the head reads the current token.",
            _MASS,
            "olsson2022induction; mask ours",
            range=(0.0, 1.0),
            null=_FLIPS,
        ),
        Measure(
            "first_token",
            "First-position attention",
            "mean over queries q >= 1 of pattern[q, 0]",
            "High: the head attends to the attention sink. This does not mean inactive: compare its output norm.",
            _MASS,
            "ours",
            range=(0.0, 1.0),
            null=_FLIPS,
        ),
        Measure(
            "duplicate_token",
            "Duplicate-token attention",
            "mean over queries q of the second copy of pattern[q, q - lag]",
            "High: the head finds the earlier copy of the current token.",
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
            null="none: entropy is descriptive; there is no claim to test",
        ),
    ),
    data=_files,
    cost=phases,
    reach=reach,
    drops=drops,
    licence="random tokens; passages of English prose in the public domain",
    citations=("olsson2022induction", "wang2022ioi"),
    quick={"sequences": 32, "permutations": 2_000, "resamples": 1_000, "copy_tokens": 200},
    check=Check(
        settings={"lags": (4, 8, 11), "sequences": 24, "copy_tokens": 20, "text_windows": 0},
        planted=(
            Planted(f"previous_token/{TASK}", "L0H0", low=0.99),
            Planted(f"current_token/{TASK}", "L1H2", low=0.99),
            Planted(f"induction/{TASK}", "L1H0", low=0.99),
            Planted(f"induction/{TASK}", "L0H1", 0.3, 0.4),  # three back: correct only for blocks of 4
        ),
    ),
    left_out=("attention: half the sequences, 2,000 instead of 10,000 null draws",),
)


LEAST = 4  # sequences a half needs


def held_out(values: npt.NDArray[np.floating], lag: npt.NDArray[np.generic]) -> HeldOut | None:
    """With Student's interval of the mean; values [sequence layer head], lag [sequence].

    Every other sequence of each block length, so that both halves have all of them alike. None where a head has no
    value, or a half too few sequences.
    """
    second = np.zeros(len(values), bool)
    for kind in np.unique(lag):
        second[np.flatnonzero(lag == kind)[1::2]] = True
    first, other = values[~second].astype(np.float64), values[second].astype(np.float64)
    if len(other) < LEAST or not np.isfinite(values).all():
        return None
    from scipy.special import stdtrit  # looking suites up needs no scipy

    layer, head = (int(i) for i in np.unravel_index(int(first.mean(0).argmax()), first.shape[1:]))
    sample = other[:, layer, head]
    half = float(stdtrit(len(sample) - 1, 0.975) * sample.std(ddof=1) / math.sqrt(len(sample)))
    mean = float(sample.mean())
    return HeldOut(head_name(layer, head), mean, mean - half, mean + half, len(sample), "half of the sequences")


def older(result: SuiteResult) -> SuiteResult:
    """A result of reportgen 0.1, which kept the values per sequence and the rule of each set alone."""
    stored, lag = result.arrays.get("per_sequence"), result.arrays.get("lag")
    scores = tuple(replace(s, held_out=_stored(s, stored, lag)) for s in result.scores)
    tasks = {s.measure: s.task for s in scores}
    sets = []
    for heads in result.head_sets:
        measure = heads.key.rsplit("/", 1)[-1].removesuffix("_heads")
        sets.append(replace(heads, score=f"{result.suite}/{measure}/{tasks[measure]}" if measure in tasks else ""))
    return replace(result, scores=scores, head_sets=tuple(sets))


def _stored(scores: HeadScores, stored: NamedArray | None, lag: NamedArray | None) -> HeldOut | None:
    """None where the values are not those that the score is the mean of."""
    if stored is None or stored.dims != ("measure", "sequence", "layer", "head"):
        return None
    names = stored.labels.get("measure", ())
    if scores.measure not in names:
        return None
    values = stored.values[names.index(scores.measure)]  # [sequence layer head]
    kinds = np.zeros(len(values)) if lag is None or lag.values.shape != (len(values),) else lag.values
    if values.shape[1:] != scores.values.shape or not np.allclose(values.mean(0), scores.values, atol=1e-4):
        return None
    return held_out(values, kinds)
