"""Queries, keys, their biases, norms and rotations are those that the model computes with, loaded and streamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import NotApplicable
from reportgen.models.load import load, stream
from reportgen.models.model import Model
from reportgen.models.weights import StaticWeights, Weights
from tests.tiny import FAMILIES, tiny_folder

LAYER = 2
IDS = torch.arange(3, 11)[None]
ModelOf = Callable[[str], Model]
FolderOf = Callable[[str], Path]
NO_ROTARY = {"gpt2", "gpt_neo", "opt", "gpt_bigcode", "bloom"}
NEIGHBOURS = {"gptj", "cohere"}
PARTIAL = {"gpt_neox": 0.25, "phi": 0.5, "stablelm": 0.5, "gptj": 0.5}
NORMED = {"qwen3", "qwen3_moe", "olmo2", "gemma3_text"}
EXPERTS = {"mixtral", "qwen2_moe", "qwen3_moe"}
HIDDEN_SCORES = {"opt", "gptj", "gpt_neo"}


def read(model: Model, *kinds: str) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    hooks = {(kind, LAYER): (lambda x, kind=kind: seen.__setitem__(kind, x.clone())) for kind in kinds}
    model.run(IDS, hooks)  # type: ignore[arg-type]
    return seen


def attention_reads(model: Model, x: Tensor) -> Tensor:
    """What queries and keys are made from, [pos d_model], from the norm's own weights."""
    if not model.layout.ln1:
        return x
    names = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon")
    eps = next((getattr(model.config, name) for name in names if hasattr(model.config, name)), 1e-5)
    x = x - x.mean(-1, keepdim=True) if model.centres else x
    x = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    scale, shift = model.ln1_scale(LAYER), model.source.get(f"{model.layout.at(LAYER, model.layout.ln1)}.bias")
    return (x if scale is None else x * scale) + (0.0 if shift is None else shift)


def made(weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """Queries [pos head d_head] and keys before norms and rotation."""
    b_q, b_k = weights.b_Q(LAYER), weights.b_K(LAYER)
    q = torch.einsum("pm,hmd->phd", x, weights.W_Q(LAYER)) + (0.0 if b_q is None else b_q)
    k = torch.einsum("pm,hmd->phd", x, weights.W_K(LAYER)) + (0.0 if b_k is None else b_k)
    return q, k


@pytest.mark.parametrize("family", FAMILIES)
def test_queries_and_keys_are_the_models_own(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model = model_of(family)
    seen = read(model, "resid_pre", "q", "k")
    x = attention_reads(model, seen["resid_pre"][0])
    for weights in (model, stream(folder_of(family), device="cpu")):
        q, k = made(weights, x)
        torch.testing.assert_close(q, seen["q"][0].view_as(q), atol=1e-5, rtol=0)
        torch.testing.assert_close(k, seen["k"][0].view_as(k), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in HIDDEN_SCORES | {"bloom", "gpt_bigcode"}])
def test_scores_are_those_of_turned_queries_and_keys(family: str, model_of: ModelOf) -> None:
    """Scores differ from the model's own by a factor of the layer only: the scaling by d_head, a softcap left out."""
    model = model_of(family)
    seen = read(model, "resid_pre", "scores")
    q, k = made(model, attention_reads(model, seen["resid_pre"][0]))
    r = model.record
    q_scale, k_scale = model.qk_norm_scales(LAYER)
    if q_scale is not None and k_scale is not None:
        whole = family == "olmo2"  # which divides by the size of all heads together
        q, k = (_normed(t, w, whole=whole) for t, w in ((q, q_scale), (k, k_scale)))
    k = k.repeat_interleave(r.n_heads // r.n_kv_heads, dim=1)
    turn = model.rotary(LAYER)
    rotated = [t if turn is None else _turned(t, *turn.pairs, turn.frequencies.float()) for t in (q, k)]
    mine = torch.einsum("qhd,khd->hqk", *rotated)
    own = seen["scores"][0]
    below = torch.tril(torch.ones(8, 8)).bool() & (own > -1e4).all(0)
    cap = getattr(model.config, "attn_logit_softcapping", None)
    own = cap * torch.atanh((own / cap).clamp(-0.999999, 0.999999)) if cap else own
    ratio = (own[:, below] * mine[:, below]).sum() / mine[:, below].square().sum()
    limit = 0.02 if cap else 1e-3
    torch.testing.assert_close(
        own[:, below], ratio * mine[:, below], atol=limit * float(own[:, below].abs().max()), rtol=0
    )
    assert ratio > 0


def _normed(x: Tensor, scale: Tensor, *, whole: bool) -> Tensor:
    over = (1, 2) if whole else (2,)
    return x / (x.square().mean(over, keepdim=True) + 1e-6).sqrt() * scale


def _turned(x: Tensor, one: Tensor, other: Tensor, frequencies: Tensor) -> Tensor:
    """[pos head d_head] turned by position, written out plane by plane."""
    angle = torch.arange(len(x))[:, None] * frequencies
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    out = x.clone()
    out[..., one], out[..., other] = x[..., one] * c - x[..., other] * s, x[..., other] * c + x[..., one] * s
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_rotary_settings(family: str, model_of: ModelOf) -> None:
    model = model_of(family)
    turn = model.rotary(LAYER)
    assert (turn is None) == (family in NO_ROTARY)
    if turn is None:
        return
    count = int(model.record.d_head * PARTIAL.get(family, 1.0)) // 2
    assert turn.pairs.shape == (2, count)
    assert len(turn.frequencies) == count
    assert float(turn.frequencies[0]) == 1.0
    step = 1 if family in NEIGHBOURS else count
    assert (turn.pairs[1] - turn.pairs[0]).tolist() == [step] * count
    assert sorted(turn.pairs.flatten().tolist()) == list(range(2 * count))


def test_layers_without_rotary_positions(tmp_path: Path) -> None:
    model = stream(tiny_folder("smollm3", tmp_path / "net"), device="cpu")
    assert [model.rotary(layer) is not None for layer in range(3)] == [True, False, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_of_queries_and_keys(family: str, model_of: ModelOf) -> None:
    r, scales = model_of(family).record, model_of(family).qk_norm_scales(LAYER)
    if family not in NORMED:
        assert scales == (None, None)
        return
    for scale, count in zip(scales, (r.n_heads, r.n_kv_heads), strict=True):
        assert scale is not None
        assert scale.shape == (count, r.d_head)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_token_through_one_block_at_a_time(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model = model_of(family)
    seen: list[Tensor] = []
    hooks = {("resid_pre", layer): (lambda x: seen.append(x[0, 0].clone())) for layer in range(model.record.n_layers)}
    hooks[("resid_post", model.record.n_layers - 1)] = lambda x: seen.append(x[0, 0].clone())
    model.run(torch.tensor([[5]]), hooks)
    torch.testing.assert_close(model.first_position(5), torch.stack(seen), atol=1e-4, rtol=1e-4)
    streamed = stream(folder_of(family), device="cpu")
    if family in EXPERTS:  # whose experts lie one by one in the files
        with pytest.raises(NotApplicable, match="layer 0 has no weight"):
            streamed.first_position(5)
        return
    torch.testing.assert_close(streamed.first_position(5), model.first_position(5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "gemma2"])
def test_the_effective_embedding_needs_no_position(family: str, model_of: ModelOf) -> None:
    """Block 0 of single tokens, in parts of any size; without positions where the model adds some."""
    model = model_of(family)
    ids = torch.tensor([7, 5, 7, 60])
    found = model.first_block(ids)
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(model.first_block(ids[1:2])[0], found[1], atol=1e-5, rtol=1e-5)
    seen: list[Tensor] = []
    embedded = model.embed(ids[:1])
    model.run(
        ids[None, :1], {("resid_pre", 0): lambda x: embedded[None], ("resid_post", 0): lambda x: seen.append(x[0])}
    )
    torch.testing.assert_close(found[:1], seen[0], atol=1e-4, rtol=1e-4)


def test_scaled_frequencies_are_transformers_own(tmp_path: Path) -> None:
    scaling = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
    folder = tiny_folder("llama", tmp_path / "net", rope_parameters=scaling)
    model = load(folder, device="cpu")
    auto: Any = AutoModelForCausalLM
    own = auto.from_pretrained(folder).model.rotary_emb.inv_freq
    turn = model.rotary(0)
    assert turn is not None
    torch.testing.assert_close(turn.frequencies.float(), own.float())
    assert turn.frequencies[-1] < 10000.0 ** -(6 / 8) / 2  # slower than without scaling


def test_static_weights_say_whether_norms_centre(model_of: ModelOf) -> None:
    assert isinstance(model_of("gpt2"), StaticWeights)
    assert {f: model_of(f).centres for f in ("gpt2", "olmo", "cohere", "llama", "gemma")} == {
        "gpt2": True, "olmo": True, "cohere": True, "llama": False, "gemma": False,
    }  # fmt: skip
