"""What the sparse suite says of a result beside scores (`SuiteResult.facts`), and a sparse checkpoint of itself.

Neither torch nor altair: drawing reads the one, and the other is checked before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from reportgen.errors import ModelError
from reportgen.files import expanded, is_folder, read_json, there
from reportgen.mini import bundled_folder
from reportgen.suites.facts import FactRecord


class GateFacts(FactRecord):
    """An edge is open where `rule`; `slack_nats` is what sparsity may cost."""

    rule: str = ""
    bias: float = 0.0
    slack_nats: float = 0.0


class TextFacts(FactRecord):
    """The text that losses and edges are measured on; `length` in tokens."""

    name: str = ""
    sequences: int = 0
    length: int = 0
    is_text: bool = True


class Interval(FactRecord):
    """A mean over sequences with its 95 % interval."""

    mean: float
    low: float
    high: float


class Agreement(FactRecord):
    """How far the sparse model is the dense one, on text: KL in nats a token, share of equal first guesses."""

    kl_nats: Interval
    top1: Interval


class CurvePoint(FactRecord):
    """On the sequences of the threshold curve alone."""

    loss_nats: float
    edges_percent: float


class PromptFacts(FactRecord):
    """The prompts that are counted on; kl_nats and same_guess are means over them."""

    task: str = ""
    n: int = 0
    templates: list[str] = []
    lengths: list[int] = []
    links: list[tuple[int, int]] = []
    kl_nats: float | None = None
    same_guess: float | None = None


class MeanFacts(FactRecord):
    """A mean over `n` prompts with its 95 % interval, None without; `missing` prompts have no value."""

    keeps_none: ClassVar[bool] = True

    mean: float | None
    low: float | None
    high: float | None
    n: int
    missing: int


class PromptColumn(FactRecord):
    """One model on the drawn prompt; of a count None means not reached, and UNSET that it was not looked for."""

    keeps_none: ClassVar[bool] = True

    m: float
    p_answer: float
    guess: str
    solved: bool
    h80: int
    heads: list[str]
    shares: list[float]  # of the link's positive attribution, head by head
    negative: float
    n90: int | None
    nonzero: int
    edges_90: int | UnsetType | None = UNSET
    edges_90_twin: int | UnsetType | None = UNSET
    edges_90_zeroed: int | UnsetType | None = UNSET
    heads_90: int | UnsetType | None = UNSET

    def has(self, name: str) -> bool:
        """Whether a count was looked for."""
        return getattr(self, name) is not UNSET


class FeatureGroup(FactRecord):
    """A group of features that the user gave: at a position, over layers."""

    name: str
    position: int
    layers: tuple[int, int]


class DrawnPrompt(FactRecord):
    """The prompt that is drawn, its link from `key` to `query`, and every model on it (columns)."""

    tokens: list[str]
    answer: str
    foil: str  # empty: against the mean logit
    key: int
    query: int
    causal_pairs: int
    kl_nats: float
    columns: dict[str, PromptColumn]
    corrupted: str = ""
    same_guess: bool = False
    feature_groups: list[FeatureGroup] = []

    @property
    def words(self) -> str:
        """The prompt as text."""
        return "".join(self.tokens)


class Made(FactRecord):
    """How the sparse model was made, from its sparsify.json; losses in nats on the reporting sequences."""

    text: str
    steps: int
    length: int
    dense_nats: float
    sparse_hard_nats: float
    edges_percent: float
    log_dense_nats: float
    sequences: int = 0
    excess_nats: list[float] = []
    finetuned_nats: float | None = None
    limit_nats: float | None = None
    constraint_met: bool | None = None
    training_tokens: int | None = None
    elapsed_s: float | None = None
    seed: int | None = None
    sampling: dict[str, int | float | str] = {}
    further: dict[str, object] | None = None


class SparseFacts(FactRecord):
    """The whole suite's. Losses, threshold and curve only with text; columns are dense, thresholded, sparse."""

    sparse_model: str = ""
    gate: GateFacts | None = None
    start: str = ""  # token before every prompt
    text: TextFacts | None = None
    loss_nats: dict[str, float] | None = None  # by column, and sparse_sampled, gates_off
    limit_nats: float | None = None
    excess_nats: list[float] | None = None  # mean, low, high
    edges_percent: dict[str, float] | None = None
    edges_per_token: dict[str, float] | None = None
    dead_heads: int | None = None  # below 0.01 edges per token in the sparse model
    curve_sequences: int | None = None
    on_curve: dict[str, CurvePoint] | None = None
    threshold: float | None = None  # of the pattern, of the column `thresholded`
    agreement: Agreement | None = None
    prompts: PromptFacts | None = None
    counts: dict[str, dict[str, MeanFacts]] | None = None  # column -> count
    ratios: dict[str, dict[str, MeanFacts]] | None = None  # the same, over sparse's
    enough: float | None = None
    link_share: float | None = None
    draws: int | None = None
    resamples: int | None = None
    interval: str = ""
    drawn: DrawnPrompt | None = None
    made: Made | None = None


# What a sparse checkpoint says of itself: its gate in config.json, and sparsify.json.
#
# config.json    ... "attention_gate": {"rule": "score + bias > 0", "bias": 0.0, "slack_nats": 0.01}
# sparsify.json  settings, losses, edges, controls, training log

RECORD = "sparsify.json"
HELD = (
    "heldout.json"  # beside it, where the dense model wrote the text itself: the sequences that losses are reported on
)
AGAIN = "Make it again with reportgen sparsify."
CONFIG_KEY = "attention_gate"  # in config.json of a sparse checkpoint
RULE = "score + bias > 0"
MOST_BYTES = 1 << 24  # bytes of a record


class LogPoint(msgspec.Struct, frozen=True):
    """One line of the training log; losses and edges on the first reporting sequences."""

    step: int
    loss_hard_nats: float
    loss_sampled_nats: float  # mean over the training batches since the last line
    edges_percent: float
    edges_per_token: float
    weight: float  # of sparsity, set by the dual steps


class Further(msgspec.Struct, frozen=True):
    """Losses and edges on a second, independent text, as in `Record`."""

    text: str
    sequences: int
    length: int
    dense_nats: float
    sparse_hard_nats: float
    excess_nats: list[float]
    edges_percent: float
    edges_per_token: float


class Record(msgspec.Struct, frozen=True):
    """How a sparse checkpoint was made, and what came of it. Losses in nats on the reporting sequences."""

    schema: int
    dense_id: str
    dense_hash: str
    text: str
    text_sha256: str
    training_tokens: int  # of the text; 0: generated
    settings: dict[str, bool | int | float | str]
    steps: int  # taken
    chosen: dict[str, float]  # the step kept, and its excess and edges on the steering text; see training/phase.py
    length: int  # tokens a sequence
    elapsed_s: float
    threads: int
    device: str
    dense_nats: float
    sparse_hard_nats: float
    sparse_sampled_nats: float
    gates_off_nats: float
    limit_nats: float  # dense_nats + slack
    constraint_met: bool
    edges_percent: float
    edges_per_token: float
    finetuned_nats: float | None  # the dense model trained on for as many steps
    cuts: list[dict[str, float]]  # the dense pattern cut at thresholds, see measure.Cut
    log_dense_nats: float  # the dense model on the sequences of the log
    log: list[LogPoint]
    sequences: int = 0  # behind these losses; 0: not written down
    excess_nats: list[float] = []  # sparse minus dense: mean and ends of its 95 % interval over sequences
    sampling: dict[str, int | float | str] = {}  # how a text was made that the dense model wrote itself
    further: Further | None = None


def folder_of(name: str) -> Path | None:
    """Where a bundled model or a folder lies; None for a hub id, whose record is not read."""
    if bundled := bundled_folder(name):
        return bundled
    folder = expanded(name)
    return folder if is_folder(folder) else None


def read_record(name: str) -> Record | None:
    """The record beside a sparse checkpoint, None where there is none. ModelError for a damaged one."""
    folder = folder_of(name)
    path = folder / RECORD if folder else None
    if path is None or not there(path):
        return None
    return read_json(path, Record, AGAIN, most=MOST_BYTES, error=ModelError)


def gate_numbers(found: object, label: str) -> tuple[float, float]:
    """(bias, slack_nats) of a config's gate. ModelError when it is not one that this program knows."""
    if not isinstance(found, Mapping) or found.get("rule") != RULE:
        raise ModelError(f"{label} has a gate of another kind than {RULE!r} in its config.", AGAIN)
    numbers = [v for v in map(found.get, ("bias", "slack_nats")) if isinstance(v, int | float) and v is not True]
    if len(numbers) != 2 or not all(abs(v) < 1e3 for v in numbers):
        raise ModelError(f"The gate of {label} has no usable bias and slack_nats.", AGAIN)
    return float(numbers[0]), float(numbers[1])


def check_checkpoint(name: str) -> None:
    """What can be refused of a sparse model before it is loaded: no gate, another gate, a damaged record."""
    folder = folder_of(name)
    if folder is None:
        return
    config = read_json(folder / "config.json", dict[str, object], AGAIN, most=MOST_BYTES, error=ModelError)
    if CONFIG_KEY not in config:
        raise ModelError(
            f"{name} has no {CONFIG_KEY} in its config.json: it is not a sparse model.",
            "Make one: reportgen sparsify MODEL --text FILE --out DIR.",
        )
    gate_numbers(config[CONFIG_KEY], name)
    read_record(name)
