"""Fixtures of the model room: one loaded model per family for the whole test run, and a cache folder of our own."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from tests.tiny import tiny_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """family -> its tiny checkpoint, written once. Read only."""
    base = tmp_path_factory.mktemp("tiny")
    return functools.cache(lambda family: tiny_folder(family, base / family))


@pytest.fixture(scope="session")
def model_of(folder_of: Callable[[str], Path]) -> Callable[[str], Model]:
    """family -> its tiny model on the CPU, loaded once."""
    return functools.cache(lambda family: load(folder_of(family), device="cpu"))


@pytest.fixture
def folder(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A GPT-2 checkpoint to damage."""
    return Path(shutil.copytree(folder_of("gpt2"), tmp_path / "net"))
