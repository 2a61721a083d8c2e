"""Gemma 3 270M: a norm after W_O, one key-value head, sliding windows, a large vocabulary, BOS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reportgen.runfolder import Run
from tests.real.conftest import scored

pytestmark = pytest.mark.real
RELATIONS = (
    "--suite", "relations", "--set", "relations.relations=country_to_capital",
    "--set", "relations.permutations=99", "--set", "relations.dynamic=off", "--set", "relations.twins=0",
    "--set", "relations.matched=0", "--set", "relations.folded=off", "--set", "relations.salient_tokens=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded(file_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored(file_of("gemma"), tmp_path_factory.mktemp("loaded"), "--suite", "attention", *RELATIONS)


def test_the_model_is_what_it_should_be(loaded: Run) -> None:
    model = loaded.manifest.model
    assert (model.n_layers, model.n_heads, model.n_kv_heads, model.d_head) == (18, 4, 1, 256)
    assert model.quantisation == "Q4_K_M"
    assert model.bos.startswith("<bos>")
    assert model.self_check is not None
    assert model.self_check.passed
    assert {record.status for record in loaded.manifest.suites.values()} == {"done"}


def test_streamed_scores_are_the_loaded_ones(
    loaded: Run, file_of: Callable[[str], Path], tmp_path: Path
) -> None:  # fmt: skip
    streamed = scored(file_of("gemma"), tmp_path, "--stream", *RELATIONS)
    assert streamed.manifest.model.content_hash == loaded.manifest.model.content_hash
    theirs = {s.key: s for s in loaded.result("relations").scores}
    ours = {s.key: s for s in streamed.result("relations").scores}
    assert set(ours) <= set(theirs)
    assert len(ours) > 3
    for key, score in ours.items():
        np.testing.assert_array_equal(score.values, theirs[key].values, err_msg=key)
