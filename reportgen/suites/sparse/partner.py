"""The sparse model that belongs to a dense one, and the text both are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reportgen.errors import DataError, ModelError, NotApplicable
from reportgen.mini import BUNDLED
from reportgen.models.model import Model
from reportgen.suites import prose
from reportgen.suites.sparse import checkpoint, texts
from reportgen.suites.sparse.gates import Gate, gate_of
from reportgen.suites.sparse.record import Record
from reportgen.suites.sparse.suite import BUNDLED_PAIRS, Settings
from reportgen.suites.sparse.texts import Ids

_OTHER = "Give the copy that reportgen sparsify made from this model: --set sparse.sparse_model=DIR."


@dataclass(frozen=True, eq=False)
class Partner:
    """A sparse model, its gate, and the record of its making where it has one."""

    model: Model
    gate: Gate
    record: Record | None


def find(dense: Model, settings: Settings, *, offline: bool = False) -> Partner:
    """The sparse partner. NotApplicable, with the next thing to type, where there is none or it does not fit."""
    record = dense.record
    if gate_of(dense.config, record.id) is not None:
        raise NotApplicable(
            f"{record.id} is a sparse model itself. Other suites read its weights without the gate: what they score is "
            "another model.",
            "Run this suite on the dense model it was made from.",
        )
    pair = BUNDLED_PAIRS.get(record.id, "") if record.source == "bundled" else ""
    name = settings.sparse_model or (pair if pair in BUNDLED else "")
    if not name:
        raise NotApplicable(
            f"{record.id} has no sparse partner.",
            f"Make one: reportgen sparsify {record.id} --text FILE --out DIR (or --samples TOKENS, without text), "
            "then add --set sparse.sparse_model=DIR.",
        )
    try:
        model, gate = checkpoint.load_sparse(name, device=str(dense.device), dtype=record.dtype, offline=offline)
        made = checkpoint.read_record(name)
    except ModelError as error:
        raise NotApplicable(str(error)) from error
    _check(dense, model)
    return Partner(model, gate, made)


def _check(dense: Model, sparse: Model) -> None:
    one, other = dense.record, sparse.record
    for name in ("family", "n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "d_vocab"):
        if getattr(one, name) != getattr(other, name):
            raise NotApplicable(
                f"{other.id} was not made from {one.id}: {name} is {getattr(other, name)}, not {getattr(one, name)}.",
                _OTHER,
            )
    sizes = dense.tokens.size, sparse.tokens.size
    if sizes[0] != sizes[1] or any(dense.tokens.text(i) != sparse.tokens.text(i) for i in range(sizes[0])):
        raise NotApplicable(f"{other.id} was not made from {one.id}: their tokenizers differ.", _OTHER)


@dataclass(frozen=True, eq=False)
class Sample:
    """Sequences [sequence pos] that losses and edges are measured on; `is_text` False: only the task's prompts."""

    name: str
    ids: Ids
    is_text: bool


def sample(dense: Model, settings: Settings, prompts: Ids) -> Sample:
    """Held-out text: the user's file, the bundled corpus where the vocabulary is its own, what the sparse model brought
    along, the shipped passages, else the prompts."""
    length = min(settings.length, dense.record.n_ctx)
    if settings.text:
        path = Path(settings.text)
        ids = texts.sequences(path, dense.tokens, length)[: settings.sequences]
        if len(ids) < texts.LEAST:
            raise DataError(
                f"{path} has {len(ids)} sequences of {length} tokens; {texts.LEAST} are needed.",
                "Give a longer text, or a smaller sparse.length.",
            )
        return Sample(path.name, ids, True)
    if texts.is_mini(dense.tokens):
        ids = texts.reporting(min(length, texts.MINI_LENGTH), settings.sequences)
        return Sample("held-out windows of the bundled corpus", ids, True)
    brought = checkpoint.read_heldout(settings.sparse_model, dense.tokens.size)
    if brought is not None and len(brought) >= texts.LEAST:
        return Sample(f"held-out {texts.SAMPLED}", brought[: settings.sequences, :length], True)
    found = prose.windows(dense.tokens, "", settings.sequences, length, 0, dense.record.n_ctx)
    if not isinstance(found, str):
        return Sample(found.source, found.ids, True)
    return Sample("the task's prompts", prompts, False)
