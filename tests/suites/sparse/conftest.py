"""One dense model and its sparse partner for the whole folder: made once, read only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.sparse.facts import Record
from reportgen.suites.sparse.scoring import checkpoint
from reportgen.suites.sparse.scoring.gates import Gate
from reportgen.suites.sparse.training.sparsify import SparsifyOptions, sparsify
from tests.suites.sparse.toy import LENGTH, dense_folder


@dataclass(frozen=True, eq=False)
class Pair:
    """A dense model, its sparse partner, and where they and their text lie."""

    base: Path
    dense: Model
    sparse: Model
    gate: Gate
    record: Record
    options: SparsifyOptions


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("pair")
    folder = dense_folder(base)
    options = SparsifyOptions(
        model=str(folder), text=str(base / "text.txt"), out=base / "sparse", steps=240, length=LENGTH, batch=32,
        lr=3e-3, slack=0.05, bias=2.0, log_every=30, device="cpu",
    )  # fmt: skip
    record = sparsify(options)
    sparse, gate = checkpoint.load_sparse(str(base / "sparse"), device="cpu")
    return Pair(base, load(folder, device="cpu"), sparse, gate, record, options)
