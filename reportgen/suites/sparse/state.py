"""What an interrupted phase goes on from: tensors and numbers in one safetensors file, and the log beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from reportgen.errors import RunError
from reportgen.files import write_atomic
from reportgen.reading import convert, parse_json, read_text

Groups = Mapping[str, Mapping[str, Tensor]]


def write(path: Path, groups: Groups, numbers: Mapping[str, Any]) -> None:
    """Keep tensors by group and name, and numbers that JSON can hold."""
    kept = {f"{group}/{name}": t.detach().contiguous() for group, named in groups.items() for name, t in named.items()}
    write_atomic(path, to_safetensors(kept, metadata={name: json.dumps(value) for name, value in numbers.items()}))


def read(path: Path, device: torch.device) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by group and name, numbers) of a file by `write`. Raises RunError when it can't be read."""
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safetensors.safe_open(path, "pt", device=str(device)) as file:
            for key in file.keys():  # noqa: SIM118  not a dict
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            numbers = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
    except (safetensors.SafetensorError, ValueError) as error:
        raise unreadable(path, error) from error
    return groups, numbers


def unreadable(path: Path, error: Exception) -> RunError:
    """The error for a state file that is damaged or of another training."""
    return RunError(f"{path} can't be read: {error}.", "Delete it and start again.")


def log_of(path: Path) -> Path:
    """The log beside a state file: one JSON object a line."""
    return path.with_suffix(".jsonl")


def append(path: Path, line: Mapping[str, float]) -> None:
    """Add one line to the log of the state file `path`."""
    with log_of(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def lines(path: Path, step: int) -> list[dict[str, float]]:
    """The log of the state file `path` up to `step`."""
    file = log_of(path)
    if not file.exists():
        return []
    again = "Delete it and start again."
    text = read_text(file, again, error=RunError).splitlines()
    found = [parse_json(line, f"{file}, line {i}", again, error=RunError) for i, line in enumerate(text, 1)]
    points = convert(found, list[dict[str, int | float]], str(file), again, error=RunError)
    return [point for point in points if point.get("step", 0.0) <= step]


def cut(path: Path, step: int) -> None:
    """Drop lines of the log written after the state at `step`."""
    write_atomic(log_of(path), "".join(json.dumps(line) + "\n" for line in lines(path, step)).encode())
