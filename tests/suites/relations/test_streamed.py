"""Weights streamed from disk score as loaded ones do, to the last decision, and one layer at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reportgen.models import weights as statics
from reportgen.models.load import load, stream
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.suite import RelationsSettings
from tests.suites.relations.memory import Allocations
from tests.tiny import WORDS, tiny_folder

STATIC = {"dynamic": False, "multi_token": False, "ablation": False, "twins": 0}


def settings(folder: Path, **given: int) -> RelationsSettings:
    """Two relations over the tiny vocabulary, wide enough that about one pair in ten is a hit."""
    lists = folder / "lists"
    lists.mkdir(exist_ok=True)
    (lists / "next_word.json").write_text(json.dumps(list(zip(WORDS[:50], WORDS[20:70], strict=True))))
    (lists / "copying.json").write_text(json.dumps(list(zip(WORDS[10:60], WORDS[10:60], strict=True))))
    options: dict[str, object] = {"permutations": 99, "k": 20, "k_copying": 5, "salient_tokens": 3, **STATIC, **given}
    return RelationsSettings(relations_dir=str(lists), **options)  # type: ignore[arg-type]


def shard(folder: Path, n: int, dtype: torch.dtype) -> None:
    """Rewrite the checkpoint as n files with an index, its tensors as `dtype`."""
    whole = folder / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(whole).items()}
    whole.unlink()
    weight_map: dict[str, str] = {}
    for i in range(n):
        file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        part = {name: tensor for place, (name, tensor) in enumerate(sorted(tensors.items())) if place % n == i}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "mistral", "qwen2"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_rank_is_that_of_the_loaded_model(
    family: str, shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_folder(family, tmp_path / "model")
    if shards > 1:
        shard(folder, shards, torch.bfloat16 if family == "llama" else torch.float32)
        assert len(list(folder.glob("*.safetensors"))) == shards
    asked, context = settings(tmp_path), Context(seed=0, threads=1)
    loaded = score(load(str(folder), device="cpu"), asked, context)
    streamed = score(stream(str(folder), device="cpu"), asked, context)
    assert set(streamed.arrays) == set(loaded.arrays)
    assert "ranks/next_word" in streamed.arrays
    for name, array in loaded.arrays.items():
        np.testing.assert_array_equal(streamed.arrays[name].values, array.values, err_msg=name)
    for one in loaded.scores:
        other = streamed[one.key]
        np.testing.assert_array_equal(one.values, other.values, err_msg=one.key)
        np.testing.assert_array_equal(one.low, other.low, err_msg=one.key)
        if one.p is not None:
            np.testing.assert_array_equal(one.p, other.p, err_msg=one.key)
    assert (loaded["score/next_word"].values > 0).any()


def test_what_needs_a_forward_pass_says_that_weights_are_streamed(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path / "model")
    asked = settings(tmp_path, dynamic=True, multi_token=True, ablation=True, twins=1, permutations=0)
    result = score(stream(str(folder), device="cpu"), asked, Context(seed=0, threads=1))
    reasons = {m.what: m.why for m in result.not_computed}
    for what in ("dynamic scores", "multi-token sources", "ablation curves"):
        assert "streamed" in reasons[what]
    assert "control: randomly initialised twin" in reasons


def test_one_layer_at_a_time_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    after_a_layer: list[int] = []
    for layers in (2, 6):
        folder = tiny_folder("llama", tmp_path / f"model-{layers}", num_hidden_layers=layers)
        asked = settings(tmp_path, salient_tokens=0, matched=0, permutations=0, folded=0)
        live: list[int] = []
        with Allocations() as seen:
            context = Context(seed=0, threads=1, progress=lambda *_: live.append(seen.live))  # noqa: B023
            score(stream(str(folder), device="cpu"), asked, context)
        assert len(live) == layers
        after_a_layer += live
    a_layer = 4 * 2 * 32 * 32  # bytes of W_V and W_O
    assert max(after_a_layer) - min(after_a_layer) < a_layer  # ranks stay until the end, weights do not


def test_the_unembedding_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(statics, "BLOCK", 16)
    folder = tiny_folder("llama", tmp_path / "model", hidden_size=64, tie_word_embeddings=False)
    shard(folder, 2, torch.bfloat16)
    weights = stream(str(folder), device="cpu")
    with Allocations() as seen:
        W_U = weights.W_U()
    assert W_U.is_contiguous()
    assert W_U.dtype == torch.float32
    file, block = 2 * W_U.numel(), 4 * 16 * 64
    assert seen.peak <= W_U.nbytes + file + 2 * block
