"""The suite on real checkpoints: loaded and streamed weights score alike, and the twin is another model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reportgen.models.load import load, stream
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.suite import RelationsSettings
from tests.tiny import WORDS, tiny_folder


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_loaded_and_streamed_weights_score_alike(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_folder(family, tmp_path / "model")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "next_word.json").write_text(json.dumps(list(zip(WORDS[:50], WORDS[20:70], strict=True))))
    settings = RelationsSettings(relations_dir=str(lists), permutations=99, k=20)
    loaded = score(load(str(folder), device="cpu"), settings, Context(seed=0, threads=1))
    streamed = score(stream(str(folder), device="cpu"), settings, Context(seed=0, threads=1))
    for measure in ("score", "suppression", "strict", "adjusted", "folded"):
        one, other = loaded[f"{measure}/next_word"], streamed[f"{measure}/next_word"]
        np.testing.assert_array_equal(one.values, other.values)
        assert one.n == 50
    assert (loaded["score/next_word"].values > 0).any()
    facts = loaded.facts["relations"]["next_word"]  # type: ignore[index]
    assert facts["twin"]["n_heads"] == loaded["score/next_word"].values.size
    assert facts["copier"]["embedding"]["score"] is not None
    assert loaded.facts["twin_seeds"] == [1]
    assert streamed.facts["twin_seeds"] == []
    assert "control: randomly initialised twin" in {m.what for m in streamed.not_computed}
