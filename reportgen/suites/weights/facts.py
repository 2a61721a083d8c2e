"""What the suite says of a result beside scores: `SuiteResult.facts`. Neither torch nor altair."""

from __future__ import annotations

from msgspec import field

from reportgen.scores import head_name
from reportgen.suites.facts import FactRecord


class Pair(FactRecord):
    """A writer and a reader that pass both lines; rank among all pairs of the kind by z within the two layers.

    raw_rank   the same with raw weights
    """

    writer: str
    reader: str
    excess: float
    z: float
    within: float
    rank: int
    raw_rank: int | None = None


class Kind(FactRecord):
    """One kind of composition.

    pairs      tested pairs of heads
    beyond     pairs beyond the family-wise line on p, and also beyond the line on z within the two layers
    log_p      the family-wise line, natural logarithm;  within  the line on z within the two layers
    median     of the excess;  twin, twin_beyond  the random twin's median and pairs beyond the line on p
    overlap_z  median z of the overlap of subspaces
    top        pairs with the largest z within the two layers that are beyond both lines
    raw        rank correlation over pairs of C^2 with raw and with folded weights;  raw_within  its median over pairs
               of layers, within each
    """

    pairs: int = 0
    beyond: int = 0
    beyond_both: int = 0
    log_p: float = 0.0
    within: float = 0.0
    median: float | None = None
    twin: float | None = None
    twin_beyond: int | None = None
    overlap_z: float | None = None
    raw: float | None = None
    raw_within: float | None = None
    top: list[Pair] = []


class ValuePair(FactRecord):
    """Two key-value heads (their query heads) and the overlap of their value subspaces."""

    one: str
    other: str
    overlap: float
    z: float | None = None


class Values(FactRecord):
    """Overlap of value subspaces.

    groups, pairs  key-value heads and their pairs;  beyond  pairs beyond the family-wise line on z, `line`
    median, z      of all pairs;  twin, twin_beyond  the random twin's median z and pairs beyond the line
    """

    groups: int = 0
    pairs: int = 0
    beyond: int = 0
    line: float = 0.0
    median: float | None = None
    z: float | None = None
    twin: float | None = None
    twin_beyond: int | None = None
    top: list[ValuePair] = []


class ClassFacts(FactRecord):
    """A class of words in order; best  the head with the largest share of successors, and its shares."""

    title: str = ""
    words: int = 0
    listed: int = 0
    chance: float = 0.0
    shifts: int = 0
    best: str = ""
    best_share: float | None = None
    best_predecessor: float | None = None


class WeightsFacts(FactRecord):
    """Everything.

    tokens, mlp_tokens  behind the products with the vocabulary, and with the first MLP
    spearman     pair of score names, "a~b" -> rank correlation over heads
    spread       least participation that is not called narrow, d_head / 4;  narrow  score -> heads below it
    group        query heads to a key-value head
    phased       rotary positions are averaged over phases;  qk_norm  queries and keys are normalised in the model
    beginning    the token whose residual at position 0 is used
    """

    n_heads: int = 0
    d_model: int = 0
    d_head: int = 0
    tokens: int = 0
    mlp_tokens: int = 0
    words: int = 0
    keys: int = 0
    k: int = 0
    rotations: int = 0
    permutations: int = 0
    alpha: float = 0.05
    seed: int = 0
    group: int = 1
    phased: bool = False
    turning: float = 1.0
    qk_norm: bool = False
    beginning: str = ""
    note: str = ""
    spread: float = 0.0
    narrow: dict[str, int] = {}
    spearman: dict[str, float | None] = {}
    inactive: list[str] = []
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    composition: dict[str, Kind] = field(default_factory=dict)
    values: Values = field(default_factory=Values)
    twin_seed: int | None = None


def group_name(index: int, n_kv: int, n_heads: int) -> str:
    """Key-value head number `index`, layer by layer, by its query heads: L3H6, or L3H6-8."""
    layer, at = divmod(index, n_kv)
    group = n_heads // n_kv
    return head_name(layer, at * group) + (f"-{(at + 1) * group - 1}" if group > 1 else "")
