"""Every family: the bridge computes what Hugging Face computes, and static weights are the ones that it computes with.

References are taken from a fresh Hugging Face model by plain torch hooks on the modules named here, never from the
layout table under test.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import ModelError, NotApplicable
from reportgen.models.load import load, stream
from reportgen.models.model import Model
from tests.tiny import FAMILIES, tiny_folder

LAYER = 1
IDS = (torch.arange(24).view(2, 12) * 7 + 3) % 200  # [batch pos]
TOKENS = torch.tensor([2, 17, 17, 60, 203])

ModelOf = Callable[[str], Model]
FolderOf = Callable[[str], Path]

_LLAMA_MLP: Callable[[Any, Tensor], Tensor] = lambda b, e: b.mlp(b.post_attention_layernorm(e))  # noqa: E731
# family -> MLP 0 of an embedding, in the words of its own module
FIRST_MLP: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "gpt2": lambda b, e: b.mlp(b.ln_2(e)),
    "gpt_neo": lambda b, e: b.mlp(b.ln_2(e)),
    "gptj": lambda b, e: b.mlp(b.ln_1(e)),
    "gpt_neox": lambda b, e: b.mlp(b.post_attention_layernorm(e)),
    "opt": lambda b, e: b.fc2(torch.relu(b.fc1(b.final_layer_norm(e)))),
    "phi": lambda b, e: b.mlp(b.input_layernorm(e)),
    "gemma2": lambda b, e: b.mlp(b.pre_feedforward_layernorm(e)),
    "gemma3_text": lambda b, e: b.mlp(b.pre_feedforward_layernorm(e)),
    "cohere": lambda b, e: b.mlp(b.input_layernorm(e)),
    "falcon": lambda b, e: b.mlp(b.input_layernorm(e)),
    "gpt_bigcode": lambda b, e: b.mlp(b.ln_2(e)),
    "bloom": lambda b, e: b.mlp(b.post_attention_layernorm(e), torch.zeros_like(e)),  # adds its second argument
    **dict.fromkeys(["phi3", "llama", "mistral", "qwen2", "qwen3", "gemma", "olmo"], _LLAMA_MLP),
    **dict.fromkeys(["smollm3", "starcoder2", "stablelm"], _LLAMA_MLP),
}
_EXPERTS = dict.fromkeys(["mixtral", "qwen2_moe", "qwen3_moe"], "mixture of experts")
WITHOUT_FIRST_MLP = {**_EXPERTS, "olmo2": "No norm feeds MLP 0"}
MULTI_QUERY = {"gpt_bigcode", "falcon"}
WRITES_NO_PATTERN = {"opt", "gptj", "gpt_neo"}


@functools.cache
def reference(folder: Path) -> Any:
    """A Hugging Face model that nothing of ours has touched."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def blocks(hf: Any) -> Any:
    """The list of blocks, wherever the family keeps it."""
    base = hf.base_model
    base = getattr(base, "decoder", base)
    return base.h if hasattr(base, "h") else base.layers


def output_module(block: Any) -> torch.nn.Module:
    """The last projection of attention."""
    names = {"c_proj", "out_proj", "o_proj", "dense"}
    found = [m for n, m in block.named_modules() if n.split(".")[-1] in names and ("attn" in n or "attention" in n)]
    assert len(found) == 1
    return found[0]


def attention_input(family: str, block: Any) -> torch.nn.Module:
    """A module whose output is what attention reads."""
    if family == "olmo2":
        raise AssertionError("attention of OLMo 2 reads the residual stream itself")
    for name in ("ln_1", "self_attn_layer_norm", "input_layernorm"):
        if hasattr(block, name):
            module: torch.nn.Module = getattr(block, name)
            return module
    raise AssertionError(family)


@contextmanager
def watching(module: torch.nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """(input, output) of every call of `module`."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    try:
        yield seen
    finally:
        handle.remove()


def read(model: Model, *kinds: str, layer: int = LAYER) -> dict[str, Tensor]:
    """Activations of one layer on IDS."""
    seen: dict[str, Tensor] = {}
    model.run(IDS, {(kind, layer): functools.partial(seen.__setitem__, kind) for kind in kinds})
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_self_check_passes(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model = model_of(family)
    check = model.record.self_check
    assert check is not None
    assert check.passed
    assert check.max_abs_diff < 1e-3 == check.tolerance
    assert check.tokens == 64
    assert check.logit_std > 0.1  # a model whose logits are all alike would pass any check
    with torch.no_grad():
        expected = reference(folder_of(family))(IDS).logits
    torch.testing.assert_close(model.logits(IDS), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.run(IDS, last=True), expected[:, -1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_record_matches_the_config(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    r = model_of(family).record
    hf = reference(folder_of(family))
    assert (r.family, r.n_layers, r.n_heads, r.d_model) == (family, FAMILIES[family].get("num_layers", 3), 4, 32)
    assert r.n_kv_heads == FAMILIES[family].get("num_key_value_heads", 1 if family in MULTI_QUERY else 4)
    assert r.d_head == FAMILIES[family].get("head_dim", 8)
    assert r.d_vocab == hf.get_output_embeddings().weight.shape[0]
    assert r.n_params == sum(p.numel() for p in hf.parameters())
    assert (r.dtype, r.weights, r.n_ctx) == ("float32", "raw", 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_w_v_gives_each_heads_output(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    """z = pattern @ (x W_V + b_V); patterns sum to one, so b_V is the same at every position."""
    model, hf = model_of(family), reference(folder_of(family))
    seen = read(model, "z", "pattern", "resid_pre")
    if family == "olmo2":
        x = seen["resid_pre"]
    else:
        with watching(attention_input(family, blocks(hf)[LAYER])) as calls, torch.no_grad():
            hf(IDS)
        x = calls[0][1]  # [batch pos d_model]
    w_v = model.W_V(LAYER)
    assert w_v.shape == (model.record.n_kv_heads, 32, model.record.d_head)
    group = model.record.n_heads // model.record.n_kv_heads
    for head in range(model.record.n_heads):
        got = seen["pattern"][:, head] @ (x @ w_v[head // group])  # [batch query d_head]
        bias = seen["z"][:, :, head] - got
        torch.testing.assert_close(bias, bias[:1, :1].expand_as(bias), atol=2e-4, rtol=0)
        assert got.std() > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_w_o_gives_attentions_output(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model, hf = model_of(family), reference(folder_of(family))
    with watching(output_module(blocks(hf)[LAYER])) as calls, torch.no_grad():
        hf(IDS)
    z = read(model, "z")["z"]  # [batch pos head d_head]
    got = torch.einsum("bphd,hdm->bpm", z, model.W_O(LAYER))
    bias = calls[0][1] - got
    torch.testing.assert_close(bias, bias[:1, :1].expand_as(bias), atol=2e-4, rtol=0)
    assert got.std() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_w_u_gives_the_logits(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model, hf = model_of(family), reference(folder_of(family))
    with watching(hf.get_output_embeddings()) as calls, torch.no_grad():
        hf(IDS)
    normed, logits = calls[0]
    logits = logits * FAMILIES[family].get("logit_scale", 1)
    w_u = model.W_U()
    assert w_u.shape == (32, model.record.d_vocab)
    own = model.W_U(own=True)
    assert own.is_contiguous()
    assert torch.equal(own, w_u)
    held = {tensor.data_ptr() for tensor in model.source.tensors.values()}  # type: ignore[attr-defined]
    assert own.data_ptr() not in held
    assert (w_u.data_ptr() in held) == ("logit_scale" not in FAMILIES[family])  # nothing is copied to be read
    assert torch.equal(model.W_U_of(IDS), w_u[:, IDS])
    bias = logits - normed @ w_u
    torch.testing.assert_close(bias, bias[:1, :1].expand_as(bias), atol=2e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_embed_is_what_enters_the_residual_stream(family: str, model_of: ModelOf) -> None:
    model = model_of(family)
    entering = read(model, "resid_pre", layer=0)["resid_pre"]  # [batch pos d_model]
    rest = entering - model.embed(IDS.flatten()).view_as(entering)  # positions alone: the same for both prompts
    torch.testing.assert_close(rest[0], rest[1], atol=1e-5, rtol=0)
    if family == "bloom":
        assert rest.abs().max() < 1e-6
    elif family not in {"gpt2", "gpt_neo", "opt", "gpt_bigcode"}:
        assert rest.abs().max() == 0


@pytest.mark.parametrize("family", FIRST_MLP)
def test_first_mlp_is_the_models_own(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model, hf = model_of(family), reference(folder_of(family))
    e = model.embed(TOKENS)
    with torch.no_grad():
        expected = FIRST_MLP[family](blocks(hf)[0], e)
    got = model.first_mlp(TOKENS)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
    assert (got - e).abs().max() > 0.1
    assert not got.is_inference()  # a suite may differentiate what it builds on it


@pytest.mark.parametrize("family", WITHOUT_FIRST_MLP)
def test_first_mlp_says_why_there_is_none(family: str, model_of: ModelOf) -> None:
    with pytest.raises(NotApplicable, match=WITHOUT_FIRST_MLP[family]):
        model_of(family).first_mlp(TOKENS)


def test_every_family_is_covered() -> None:
    assert FIRST_MLP.keys() | WITHOUT_FIRST_MLP.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_scales_are_the_norms_own(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    """A norm's output is proportional to its scale: compare with the module at scale 1."""
    model, hf = model_of(family), reference(folder_of(family))
    block = blocks(hf)[LAYER]
    base = getattr(hf.base_model, "decoder", hf.base_model)
    final = next(m for n, m in base.named_children() if n in {"ln_f", "norm", "final_layernorm", "final_layer_norm"})
    _assert_scale(final, model.final_scale())
    if family == "olmo2":
        assert model.ln1_scale(LAYER) is None
    else:
        _assert_scale(attention_input(family, block), model.ln1_scale(LAYER))
    if family in {"gemma2", "gemma3_text", "olmo2"}:
        _assert_scale(block.post_attention_layernorm, model.post_attn_scale(LAYER))
    else:
        assert model.post_attn_scale(LAYER) is None


def _assert_scale(norm: Any, scale: Tensor | None) -> None:
    """d norm(x) / d (normalised x) is the scale: compare two inputs of equal spread, biases cancel."""
    if scale is None:
        assert not list(norm.parameters())  # OLMo's norms have none
        scale = torch.ones(32)
    x = torch.randn(32, generator=torch.Generator().manual_seed(0))
    x = x - x.mean()
    with torch.no_grad():
        half_difference = (norm(x) - norm(-x)) / 2
    torch.testing.assert_close(half_difference, scale * x / x.pow(2).mean().sqrt(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_streamed_weights_are_the_loaded_ones(family: str, model_of: ModelOf, folder_of: FolderOf) -> None:
    model, streamed = model_of(family), stream(folder_of(family), device="cpu")
    for layer in range(model.record.n_layers):
        assert torch.equal(model.W_V(layer), streamed.W_V(layer))
        assert torch.equal(model.W_O(layer), streamed.W_O(layer))
    assert torch.equal(model.W_U(), streamed.W_U())
    assert torch.equal(model.W_U_of(TOKENS), streamed.W_U_of(TOKENS))
    assert torch.equal(model.embed(TOKENS), streamed.embed(TOKENS))
    if family in FIRST_MLP:
        assert torch.equal(model.first_mlp(TOKENS), streamed.first_mlp(TOKENS))
    check = streamed.record.self_check
    assert check is not None
    assert "streamed" in check.note
    assert streamed.record.content_hash == model.record.content_hash


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_and_mlp_add_up_to_the_block(family: str, model_of: ModelOf) -> None:
    seen = read(model_of(family), "resid_pre", "attn_out", "mlp_out", "resid_post")
    total = seen["resid_pre"] + seen["attn_out"] + seen["mlp_out"]
    torch.testing.assert_close(total, seen["resid_post"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["z", "q", "k", "v", "pattern", "scores", "attn_out", "mlp_out", "resid_post"])
def test_writes_take_effect_or_are_refused(family: str, kind: str, model_of: ModelOf) -> None:
    """Replace one head's (or position's) part; a write that changes nothing would be a silent zero in every score."""
    model = model_of(family)

    def edit(t: Tensor) -> Tensor:
        t = t.clone()
        if kind == "pattern":
            t[:, 0] = torch.eye(t.shape[-1])
        elif kind == "scores":
            t[:, 0, :, 0] += 3.0
        elif t.ndim == 4:
            t[:, :, 0] = t[:, :, 0].roll(1, dims=-1)
        else:
            t[..., :16] = 0
        return t

    before = model.logits(IDS)
    if kind in {"pattern", "scores"} and family in WRITES_NO_PATTERN:
        assert not model.can_edit_pattern
        with pytest.raises(NotApplicable, match=family):
            model.run(IDS, {(kind, LAYER): edit})
    else:
        assert (model.run(IDS, {(kind, LAYER): edit}) - before).abs().max() > 1e-3
    assert torch.equal(model.logits(IDS), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_are_softmax_of_scores(family: str, model_of: ModelOf) -> None:
    model = model_of(family)
    pattern = read(model, "pattern")["pattern"]
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 4, 12))
    assert pattern.triu(1).abs().max() == 0
    if model.can_edit_pattern:
        torch.testing.assert_close(read(model, "scores")["scores"].softmax(-1), pattern)


def test_one_norm_may_feed_attention_and_mlp(tmp_path: Path) -> None:
    """StableLM with parallel residuals has no second norm."""
    folder = tiny_folder("stablelm", tmp_path / "net", use_parallel_residual=True)
    model, hf = load(folder, device="cpu"), reference(folder)
    e = model.embed(TOKENS)
    with torch.no_grad():
        expected = blocks(hf)[0].mlp(blocks(hf)[0].input_layernorm(e))
    torch.testing.assert_close(model.first_mlp(TOKENS), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("family", "switch"),
    [
        ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
        ("falcon", {"multi_query": False, "num_kv_heads": 4}),
        ("gpt_bigcode", {"multi_query": False}),
        ("opt", {"do_layer_norm_before": False}),
    ],
)
def test_layouts_that_the_table_does_not_know_are_refused(family: str, switch: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path / "net", **switch)
    with pytest.raises(ModelError, match=f"{next(iter(switch))} = "):
        load(folder, device="cpu")
