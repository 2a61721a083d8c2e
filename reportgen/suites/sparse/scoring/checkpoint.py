"""A sparse checkpoint on disk: a Hugging Face folder whose config holds the gate, and the record of its making.

config.json    ... "attention_gate": {"rule": "score + bias > 0", "bias": 0.0, "slack_nats": 0.01}
sparsify.json  settings, losses, edges, controls, training log
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import DataError, ModelError, NotApplicable
from reportgen.files import read_json, there, unwritable, write_atomic
from reportgen.mini import BUNDLED
from reportgen.models.load import load, on_this_machine, save_tokenizer
from reportgen.models.model import Model, quiet
from reportgen.suites import prose
from reportgen.suites.sparse.facts import AGAIN, CONFIG_KEY, HELD, MOST_BYTES, RECORD, Record, folder_of, read_record
from reportgen.suites.sparse.scoring.gates import Gate, gate_of
from reportgen.suites.sparse.suite import BUNDLED_PAIRS, Settings
from reportgen.suites.sparse.training import texts
from reportgen.suites.sparse.training.networks import own_tensors
from reportgen.suites.sparse.training.texts import Ids

_AUTO: Any = AutoModelForCausalLM  # half-typed upstream


def load_sparse(
    name: str, *, device: str = "auto", dtype: str = "float32", offline: bool = False
) -> tuple[Model, Gate]:
    """A checkpoint with its gate. ModelError when it has none: without gates these weights are another model."""
    model = load(name, device=device, dtype=dtype, offline=offline)
    gate = gate_of(model.config, model.record.id)
    if gate is None:
        raise ModelError(
            f"{model.record.id} has no {CONFIG_KEY} in its config.json: it is not a sparse model.",
            "Make one: reportgen sparsify MODEL --text FILE --out DIR.",
        )
    return model, gate


def save(
    config: Any, tensors: Mapping[str, Tensor], gate: Gate | None, source: str, folder: Path,
    number: torch.dtype | None = None,
) -> None:  # fmt: skip
    """Write `tensors` as a fresh Hugging Face model in the number type of the dense files, with their tokenizer.

    A bridge's own model can't be saved: its parts are views of one another. The folder appears whole or not at all.
    `number`: another number type.
    """
    place = on_this_machine(source)
    config = copy.deepcopy(config)
    dtype = number or (torch.float32 if place.file else stored_dtype(place.folder))
    if gate is not None:
        setattr(config, CONFIG_KEY, gate.as_config())
    with torch.random.fork_rng(devices=[]), quiet():
        fresh = _AUTO.from_config(config)
        fresh.load_state_dict(dict(tensors))
        part = folder.with_name(f".{folder.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            fresh.to(dtype).eval().save_pretrained(part)
            save_tokenizer(place, part)
            for file in part.iterdir():
                file.chmod(0o644)  # safetensors makes its file private
            shutil.rmtree(folder, ignore_errors=True)
            part.replace(folder)
        except OSError as error:
            raise unwritable(folder, error) from error


def stored_dtype(folder: Path) -> torch.dtype:
    """The number type of a checkpoint's files, by its config; float32 where that says nothing."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    found = getattr(torch, name, None)
    return found if found in (torch.float16, torch.bfloat16) else torch.float32


def check_reload(saved: Model, tensors: Mapping[str, Tensor], gate: Gate | None, folder: Path) -> None:
    """That a saved folder came back as written: every weight, and the gate. ModelError otherwise."""
    back, dtype = own_tensors(saved), stored_dtype(folder)
    for name, tensor in tensors.items():
        if not torch.equal(back[name].float().cpu(), tensor.to(dtype).float().cpu()):
            raise ModelError(f"{saved.record.id}: {name} changed when saved to disk.", AGAIN)
    if gate_of(saved.config, saved.record.id) != gate:
        raise ModelError(f"{saved.record.id}: the gate changed when saved to disk.", AGAIN)


def write_record(record: Record, folder: Path) -> None:
    """Put the record beside the weights."""
    write_atomic(folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def write_heldout(ids: Ids, folder: Path) -> None:
    """Put the sequences [sequence pos] that losses were reported on beside the weights."""
    write_atomic(folder / HELD, json.dumps(ids.tolist()).encode() + b"\n")


def read_heldout(name: str, size: int) -> Ids | None:
    """The sequences beside a sparse checkpoint, None where there are none. ModelError for a damaged file.

    size  ids that the model has
    """
    folder = folder_of(name)
    path = folder / HELD if folder else None
    if path is None or not there(path):
        return None
    found = read_json(path, list[list[int]], AGAIN, most=MOST_BYTES, error=ModelError)
    if len({len(row) for row in found}) != 1 or not all(0 <= i < size for row in found for i in row):
        raise ModelError(f"{path} holds no sequences of this model.", AGAIN)
    return np.array(found, np.int64)


# The sparse model that belongs to a dense one, and the text both are measured on.

_OTHER = "Give the copy that reportgen sparsify made from this model: --set sparse.sparse_model=DIR."


@dataclass(frozen=True, eq=False)
class Partner:
    """A sparse model, its gate, and the record of its making where it has one."""

    model: Model
    gate: Gate
    record: Record | None


def find_partner(dense: Model, settings: Settings, *, offline: bool = False) -> Partner:
    """The sparse partner. NotApplicable, with the next thing to type, where there is none or it does not fit."""
    record = dense.record
    if gate_of(dense.config, record.id) is not None:
        raise NotApplicable(
            f"{record.id} is itself a sparse model. Other suites use its weights without the gate, so they score a "
            "different model.",
            "Run this suite on the dense model it was made from.",
        )
    pair = BUNDLED_PAIRS.get(record.id, "") if record.source == "bundled" else ""
    name = settings.sparse_model or (pair if pair in BUNDLED else "")
    if not name:
        raise NotApplicable(
            f"{record.id} has no sparse copy.",
            f"Make one: reportgen sparsify {record.id} --text FILE --out DIR (or --samples TOKENS, without text), "
            "then add --set sparse.sparse_model=DIR.",
        )
    try:
        model, gate = load_sparse(name, device=str(dense.device), dtype=record.dtype, offline=offline)
        made = read_record(name)
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
class TextSample:
    """Sequences [sequence pos] that losses and edges are measured on; `is_text` False: only the task's prompts."""

    name: str
    ids: Ids
    is_text: bool


def draw_sample(dense: Model, settings: Settings, prompts: Ids) -> TextSample:
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
        return TextSample(path.name, ids, True)
    if texts.is_mini(dense.tokens):
        ids = texts.reporting(min(length, texts.MINI_LENGTH), settings.sequences)
        return TextSample("held-out windows of the bundled corpus", ids, True)
    brought = read_heldout(settings.sparse_model, dense.tokens.size)
    if brought is not None and len(brought) >= texts.LEAST:
        return TextSample(f"held-out {texts.SAMPLED}", brought[: settings.sequences, :length], True)
    found = prose.windows(dense.tokens, "", settings.sequences, length, 0, dense.record.n_ctx)
    if not isinstance(found, str):
        return TextSample(found.source, found.ids, True)
    return TextSample("the task's prompts", prompts, False)
