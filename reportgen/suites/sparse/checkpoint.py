"""A sparse checkpoint on disk: a Hugging Face folder whose config holds the gate, and the record of its making.

config.json    ... "attention_gate": {"rule": "score + bias > 0", "bias": 0.0, "slack_nats": 0.01}
sparsify.json  settings, losses, edges, controls, training log
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import ModelError
from reportgen.files import unwritable, write_atomic
from reportgen.models.boot import quiet
from reportgen.models.load import load, on_this_machine, save_tokenizer
from reportgen.models.model import Model
from reportgen.reading import read_json, there
from reportgen.suites.sparse.gates import Gate, gate_of
from reportgen.suites.sparse.record import AGAIN, CONFIG_KEY, HELD, MOST_BYTES, RECORD, Record, folder_of
from reportgen.suites.sparse.record import Point as Point
from reportgen.suites.sparse.record import read_record as read_record
from reportgen.suites.sparse.texts import Ids
from reportgen.suites.sparse.trainees import own_tensors

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
            raise ModelError(f"{saved.record.id}: {name} came back changed from the disk.", AGAIN)
    if gate_of(saved.config, saved.record.id) != gate:
        raise ModelError(f"{saved.record.id}: the gate came back changed from the disk.", AGAIN)


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
