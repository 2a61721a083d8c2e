"""The suite `weights`: what the weights alone say about every head, and about every pair of heads.

No prompt is run. After Elhage et al. 2021 (eigenvalues, composition), McDougall et al. 2023 (copy suppression), Gould
et al. 2023 (successors) and Yamagiwa et al. 2026 (overlap of subspaces). Imports neither torch nor altair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.base import Check, Measure, Planted, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.settings import AUTO, check, setting
from reportgen.suites.weights import classes

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

KINDS = ("q", "k", "v")
MOST_PRODUCTS = 2e13  # multiply-adds of Q-composition above which `auto` leaves it out
FIXED = 20_000  # calls between the layers
LARGE = 1 << 30  # bytes of float32 bases, above which they are kept in bfloat16


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `weights`."""

    composition: tuple[str, ...] = setting(
        (AUTO,),
        "composition of pairs of heads through q, k, v; auto: all, without q where that takes more than an hour",
        off="composition of pairs of heads",
        one_of=(AUTO, *KINDS),
    )
    rotations: int = setting(200, "draws of heads with the same spectra", off="p of copying and matching")
    permutations: int = setting(2999, "draws of the nulls of suppression and succession", off="p of both")
    words: int = setting(1000, "sampled words behind suppression", off="copy suppression")
    keys: int = setting(4000, "further words among the keys of suppression", zero="the words alone")
    k: int = setting(10, "places that count as suppressed, and as found", least=1, needs="a rank is compared with it")
    mlp_tokens: int = setting(50_000, "tokens behind copying through the first MLP", zero="all")
    raw: bool = setting(True, "also score with the norms' scales left out and nothing centred")
    pairs: int = setting(40, "pairs in the graph of compositions", least=1, needs="the graph draws pairs")
    alpha: float = setting(0.05, "family-wise level", share=True)
    successor_threshold: float = setting(0.4, "score from which a head is called a successor head", share=True)
    suppressor_threshold: float = setting(0.5, "score from which a head is called a copy suppressor", share=True)
    twins: int = setting(
        1, "randomly initialised twins of the model scored as a control", off="control: randomly initialised twin"
    )

    def __post_init__(self) -> None:
        check(self)
        if AUTO in self.composition and len(self.composition) > 1:
            raise ValueError(f"composition={','.join(self.composition)}: expected auto alone, or some of q, k, v")


def composition_kinds(record: ModelRecord, s: Settings) -> tuple[str, ...]:
    """The kinds of composition that are computed on this model."""
    if record.n_layers < 2:
        return ()
    if s.composition != (AUTO,):
        return tuple(kind for kind in KINDS if kind in s.composition)
    return KINDS if pair_products(record, "q") <= MOST_PRODUCTS else ("k", "v")


def large(record: ModelRecord, heads: int) -> bool:
    """Whether orthonormal bases of so many heads of every layer are kept in half precision."""
    return 4 * record.n_layers * heads * record.d_head * record.d_model > LARGE


def raw_composition(record: ModelRecord, s: Settings) -> bool:
    """Whether pairs are composed with raw weights, too: not where that would hold more than LARGE bytes again."""
    return s.raw and bool(composition_kinds(record, s)) and not large(record, record.n_heads)


def pair_products(record: ModelRecord, kind: str) -> float:
    """Multiply-adds of one kind of composition over all pairs of layers."""
    r, layer_pairs = record, record.n_layers * (record.n_layers - 1) / 2
    readers = r.n_heads if kind == "q" else r.n_kv_heads
    small = 2 * r.n_heads * r.n_heads * r.d_head**3
    return float(layer_pairs * (r.n_heads * readers * r.d_head**2 * r.d_model + small))


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """Vocabulary products once; per layer eigenvalues and words; every pair of layers."""
    r, heads = record, record.n_layers * record.n_heads
    width, passes = heads * r.d_head, 1 + s.twins
    sums = (2 + 2 * s.raw) * r.d_vocab * r.d_model**2
    block = cost.body(r) / r.n_layers
    tokens = min(r.d_vocab, s.mlp_tokens or r.d_vocab)
    ordered = sum(len(one.words) for one in classes.CLASSES)
    words = width * (r.d_model * (r.d_vocab + s.words + s.keys) + s.words * (r.d_vocab + s.keys) + ordered * r.d_vocab)
    eigen = 25 * r.d_head**3 * heads * (4 + 3 * s.rotations / r.n_heads + 13)
    pairs = sum(pair_products(r, kind) for kind in composition_kinds(r, s))
    values = (r.n_layers * r.n_kv_heads * r.d_head) ** 2 * r.d_model / 2
    return (
        Phase("other", products=passes * (sums + tokens * (block + r.d_model**2)), calls=FIXED),
        Phase(
            "layers",
            products=passes * ((words if s.words else 0) + pairs + values) + raw_composition(r, s) * pairs + eigen,
            elements=passes * 4 * heads * s.words * r.d_vocab + heads * s.permutations * s.words * 2,
            calls=passes * heads * 300 + FIXED,
        ),
    )


GINIBRE = 1.5  # sd of the signed share of W_O W_V times d_head, for Gaussian factors


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Family, smallest p and smallest scores that pass, pairs of heads, classes that the tokenizer keeps."""
    heads, kinds = record.n_layers * record.n_heads, composition_kinds(record, s)
    kept = [one for one in classes.keep(tokens) if classes.usable(one)]
    words = [f"family: {heads:,} heads"]
    if s.rotations:
        least = smallest_eigen(heads, record.d_head)
        words.append(_passes("copying and matching", s.rotations, "rotations", f"{least:.2g} in size"))
    if s.permutations:
        found = []
        if s.words and (sampled := min(s.words, record.d_vocab)):
            share = cost.smallest_share(heads, sampled, min(0.5, s.k / record.d_vocab))
            found.append(f"suppression by OV {share:.2g} of {sampled} words")
        if kept:
            found.append(f"succession {smallest_macro(heads, kept):.2g}")
        words.append(_passes("suppression and succession", s.permutations, "permutations", ", ".join(found)))
    if kinds:
        pairs = record.n_heads**2 * record.n_layers * (record.n_layers - 1) // 2
        words.append(f"{pairs:,} pairs of heads through {', '.join(kinds)}")
    return (*words, f"{len(kept)} of {len(classes.CLASSES)} classes of words in order are usable")


def _passes(what: str, draws: int, kind: str, scores: str) -> str:
    """The smallest p of so many draws, and the smallest scores that pass at the family-wise level by that."""
    least = 1 / (draws + 1)
    said = f"smallest p of {what}: {least:.2g} ({draws:,} {kind})"
    if least > cost.ALPHA:
        return f"{said}; no head can pass: p can't reach {cost.ALPHA:g}"
    return f"{said}; smallest that passes: about {scores}" if scores else said


def smallest_eigen(heads: int, d_head: int) -> float:
    """|sum(lambda)| / sum|lambda| at which one of many heads is beyond Gaussian maps of its rank, two-sided."""
    return min(1.0, NormalDist().inv_cdf(1 - cost.ALPHA / (2 * heads)) * GINIBRE / d_head)


def smallest_macro(heads: int, kept: Sequence[classes.KeptClass]) -> float:
    """The mean over classes of the share of words in order at which one of many heads is beyond permuted targets.

    By chance each of a class's words has the largest logit equally often: the normal distribution of that mean.
    """
    chance = [1 / len(one.ids) for one in kept]
    spread = sum(p * (1 - p) / len(one.after(1)) for p, one in zip(chance, kept, strict=True))
    line = sum(chance) + NormalDist().inv_cdf(1 - cost.ALPHA / heads) * math.sqrt(spread)
    return min(1.0, line / len(kept))


_ROTATED = (
    "heads with the same singular values, their d_head sides and their sides in the residual stream turned by uniform "
    "rotations, step-down max-T over heads, two-sided"
)
_EIGEN = "sum(lambda) / sum|lambda| over the eigenvalues of"
_PLACED = (
    "words' targets permuted within deciles of embedding norm, the same for every head, step-down max-T; one-sided"
)
_ORDERED = "targets permuted over the words of each class, step-down max-T over heads; one-sided"
_DESCRIBED = "none: a description of the weights; there is no claim to test"
_COMPOSED = "none: pairs are tested one by one against a random rotation of the residual stream, their mean is not"


def _weights(name: str, title: str, formula: str, meaning: str, source: str, null: str, **more: Any) -> Measure:
    return Measure(name, title, formula, meaning, source=source, null=null, from_weights=True, **more)


_SIGNED: dict[str, Any] = {"range": (-1.0, 1.0)}
_SHARE: dict[str, Any] = {"range": (0.0, 1.0)}
MEASURES = (
    _weights(
        "copying", "Copying", f"{_EIGEN} W_O (U E) W_V, norms folded, rows of E normalised, E and U centred",
        "Near 1: what the head reads is what it writes, over the whole vocabulary. Evidence for copying, no proof: "
        "many heads of a model are near 1 or -1, and the eigenvalues do not say how strongly.",
        "elhage2021framework, Summarizing OV/QK matrices; centring ours", _ROTATED, **_SIGNED,
    ),
    _weights(
        "copying_raw", "Copying, raw weights", f"{_EIGEN} W_O (U E) W_V, nothing folded or centred",
        "As copying. A few directions shared by all embeddings can carry the sum.",
        "elhage2021framework, Summarizing OV/QK matrices", "none: drawn for the centred form only", **_SIGNED,
    ),
    _weights(
        "copying_mlp", "Copying through the first MLP",
        f"{_EIGEN} W_O (U E') W_V with E' = MLP_0(LN2_0(E)); layer 0 reads E",
        "As copying, for tokens as the first MLP writes them.", "elhelo2024maps for E'; ours", _ROTATED, **_SIGNED,
    ),
    _weights(
        "copying_residual", "Copying in the residual stream", f"{_EIGEN} W_O W_V, norms folded",
        "Near 1: the head writes along what it reads, whatever the vocabulary.", "ours",
        "W_O W_V of Gaussian factors: sd 1.5 / d_head, normal, Bonferroni over heads, two-sided", **_SIGNED,
    ),
    _weights(
        "matching", "Matching of queries and keys",
        f"{_EIGEN} W_K' (E' E) W_Q, norms folded, E normalised and centred; rotary positions at distance 0",
        "Near 1: a token scores highest against itself; near -1 lowest.",
        "elhage2021framework, Summarizing OV/QK matrices", _ROTATED, **_SIGNED,
    ),
    _weights(
        "matching_raw", "Matching of queries and keys, raw weights", f"{_EIGEN} W_K' (E' E) W_Q, nothing folded or "
        "centred", "As matching.", "elhage2021framework, Summarizing OV/QK matrices",
        "none: drawn for the centred form only", **_SIGNED,
    ),
    _weights(
        "induction_matching", "Matching through the strongest writer", f"{_EIGEN} W_K' W_O1' W_V1' (E' E) W_Q, "
        "with the earlier head 1 of largest key composition z",
        "Near 1: the head's queries match the tokens that this writer moved there, as an induction head's do.",
        "elhage2021framework, Induction heads", _DESCRIBED, **_SIGNED,
    ),
    _weights(
        "suppression", "Copy suppression", "the smaller of suppression_ov and suppression_qk",
        "High: the head looks for tokens that are predicted, and lowers them. It does not say how much.",
        "mcdougall2023copysuppression, section 3; minimum ours", _PLACED, **_SHARE,
    ),
    _weights(
        "suppression_ov", "Suppression by the OV map", "share of words i whose own column is among the k lowest of "
        "row i of n(W_EE) W_V W_O U", "High: the head lowers the token that it reads.",
        "mcdougall2023copysuppression, section 3", _PLACED, **_SHARE,
    ),
    _weights(
        "suppression_qk", "Search for the predicted token", "share of words T whose own key n(W_EE)_T W_K is among the "
        "k highest for the query n(U_T) W_Q + b_Q, among all sampled words",
        "High: where T is predicted, the head attends to T.", "mcdougall2023copysuppression, section 3", _PLACED,
        **_SHARE,
    ),
    _weights(
        "successor", "Successors", "mean over classes of the share of words whose largest logit within the class is "
        "the next word's", "High: the head steps on in an order. Compare predecessor and repeat.",
        "gould2023successor, section 2; macro mean ours", _ORDERED, **_SHARE,
    ),
    _weights(
        "successor_strict", "Successors in the vocabulary", "mean over classes of the share of words whose next word "
        "is among the k highest of the vocabulary", "High: the next word stands out among all tokens, not only in its "
        "class.", "ours, after Gould et al. 2023", _ORDERED, **_SHARE,
    ),
    _weights(
        "predecessor", "Predecessors", "the same with the word before", "High: the head steps back in an order.",
        "ours", _ORDERED, **_SHARE,
    ),
    _weights(
        "repeat", "Repeats", "the same with the word itself", "High: the head copies words of an order.", "ours",
        _ORDERED, **_SHARE,
    ),
    _weights(
        "sink_value", "Output at position 0", "||n(x_0) W_V W_O|| over the median of it over sampled words, x_0 the "
        "residual at position 0", "Low: attending to position 0 writes little.", "ours", _DESCRIBED,
        range=(0.0, float("inf")),
    ),
    _weights(
        "sink_key", "Preference for position 0",
        "(score of k_0 - mean over words) / sd over words, for the words' mean query; content only",
        "High: position 0 is preferred before any prompt is read.", "ours", _DESCRIBED,
        unit="sd",
    ),
    _weights(
        "sink_write", "Writing along the sink",
        "|cos| of the leading output direction of W_V W_O and of what the blocks add at position 0",
        "High: the head writes in the direction that position 0 grows in.", "ours", _DESCRIBED,
        **_SHARE,
    ),
    _weights(
        "identity", "Identity", "tr(W_V W_O) / (||W_V W_O|| sqrt(d_model)), norms folded",
        "High: the head hands on what it reads. Its largest possible value is sqrt(d_head / d_model).",
        "yamagiwa2026kernel; cosine ours",
        "a uniform rotation between W_V and W_O: sd 1 / d_model, normal, Bonferroni over heads, two-sided", **_SIGNED,
    ),
    _weights("ov_norm", "Norm of the OV map", "||W_V W_O|| (Frobenius), norms folded",
             "High: the head can write much. It says nothing about what it attends to.", "ours", _DESCRIBED,
             range=(0.0, float("inf"))),
    _weights("qk_norm", "Norm of the QK map", "root of E||W_Q R W_K'||^2 over phases of rotary planes, norms folded",
             "High: scores can differ much. With normalised queries and keys it has no scale across heads.", "ours",
             _DESCRIBED, range=(0.0, float("inf"))),
    _weights("ov_rank", "Rank of the OV map", "singular values of W_V W_O above 1e-6 of the largest",
             "Below d_head: directions are lost.", "ours", _DESCRIBED, unit="dimensions", range=(0.0, float("inf"))),
    _weights("ov_rank_99", "99 % rank of the OV map", "fewest singular values of W_V W_O that hold 99 % of the sum of "
             "squares", "Low: few directions carry the head's output.", "ours", _DESCRIBED, unit="dimensions",
             range=(0.0, float("inf"))),
    _weights("qk_slow", "Content at long range", "share of ||W_Q W_K'||^2 in dimensions that never go round within the "
             "context", "High: the head can match content at any distance.", "ours", _DESCRIBED),
    _weights(
        "value_overlap", "Overlap of value subspaces",
        "largest ||B_1' B_2||^2 / min(a, b) with another key-value head's W_V, B orthonormal bases of a and b "
        "dimensions, norms folded",
        "Near 1: another head reads the same directions, so one may stand in for the other. Near d_head / d_model: it "
        "reads directions of its own.", "yamagiwa2026kernel; within W_V ours",
        "a uniform rotation between the two subspaces: exact mean and variance, normal tail, Bonferroni over all pairs "
        "of key-value heads, one-sided", **_SHARE,
    ),
    _weights("composition_in", "Composition with earlier heads", "mean over earlier heads of C^2 d_model - 1, by input",
             "High: the head reads what earlier heads write, through its queries (q), keys (k) or values (v).",
             "elhage2021framework, Measuring head composition; excess ours", _COMPOSED),
    _weights("composition_out", "Composition with later heads", "mean over later heads of C^2 d_model - 1, by input",
             "High: later heads read what the head writes.",
             "elhage2021framework, Measuring head composition; excess ours", _COMPOSED),
)  # fmt: skip
SUITE = Suite(
    name="weights",
    title="Weights alone",
    summary="What the weights say about every head and every pair of heads, without a prompt.",
    version=3,
    settings=Settings,
    score="reportgen.suites.weights.scoring.score:score",
    figures="reportgen.suites.weights.drawing.figures:figures",
    variants="reportgen.suites.weights.variants:variants",
    featured=("copying_mlp/", "suppression/"),
    measures=MEASURES,
    licence="words in order (numbers, days, months, letters), in reportgen's code (MIT)",
    citations=("elhage2021framework", "mcdougall2023copysuppression", "gould2023successor", "yamagiwa2026kernel"),
    quick={"rotations": 100, "permutations": 999, "words": 400},
    left_out=("weights: half the rotations, 400 instead of 1,000 words, 999 instead of 2,999 permutations",),
    cost=phases,
    reach=reach,
    static=True,
    check=Check(
        settings={"rotations": 40, "permutations": 60, "words": 60, "keys": 100, "twins": 0},
        planted=(
            Planted("copying_mlp/vocabulary", "L1H0", low=0.99),
            Planted("composition_in/k", "L1H0", low=5.0),  # its keys read what the previous-token head writes
            Planted("composition_in/k", "L1H2", high=-0.9),
            Planted("suppression/words", "L1H2", high=0.0),
        ),
    ),
)
