"""Fixtures of the cognitive suite's tests: one tiny model, one finished result, a cache folder of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.cognitive.suite import SUITE
from tests.suites.cognitive import toy


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """family -> a tiny model that knows the words of the toy set; loaded once."""
    base = tmp_path_factory.mktemp("models")
    return functools.cache(lambda family: load(toy.folder(base / family, family), device="cpu"))


@pytest.fixture(scope="session")
def result(model_of: Callable[[str], Model], tmp_path_factory: pytest.TempPathFactory) -> SuiteResult:
    """The whole suite on the toy set."""
    data = toy.write(tmp_path_factory.mktemp("data") / "toy.jsonl", toy.rows())
    settings = SUITE.make_settings(
        "quick", {"data": str(data), "seeds": 2, "most_steps": 60, "random_sets": 4, "curve_sets": 3, "resamples": 200}
    )
    done: list[int] = []
    context = Context(seed=0, threads=1, progress=lambda n, total, words: done.append(n))
    made = SUITE.load_score()(model_of("gpt2"), settings, context)
    assert done
    return made
