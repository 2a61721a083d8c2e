"""What a sparse checkpoint says of itself: its gate in config.json, and sparsify.json. No torch.

config.json    ... "attention_gate": {"rule": "score + bias > 0", "bias": 0.0, "slack_nats": 0.01}
sparsify.json  settings, losses, edges, controls, training log
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from reportgen.errors import ModelError
from reportgen.mini import bundled_folder
from reportgen.reading import expanded, is_folder, read_json, there

RECORD = "sparsify.json"
HELD = (
    "heldout.json"  # beside it, where the dense model wrote the text itself: the sequences that losses are reported on
)
AGAIN = "Make it again with reportgen sparsify."
CONFIG_KEY = "attention_gate"  # in config.json of a sparse checkpoint
RULE = "score + bias > 0"
MOST_BYTES = 1 << 24  # bytes of a record


class Point(msgspec.Struct, frozen=True):
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
    chosen: dict[str, float]  # the step kept, and its excess and edges on the steering text; see training.py
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
    log: list[Point]
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


def check(name: str) -> None:
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
