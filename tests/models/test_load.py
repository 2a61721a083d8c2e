"""Loading: number types, shards, old names, weights that are not finite, the self-check, random twins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reportgen import mini
from reportgen.errors import NotApplicable
from reportgen.models import checks, memory, selfcheck
from reportgen.models import load as load_module
from reportgen.models.load import load, random_twin, set_threads, stream
from reportgen.models.model import Model
from tests.models.refusals import edit_config, refusal
from tests.tiny import tiny_folder

IDS = (torch.arange(24).view(2, 12) * 5 + 4) % 200
FolderOf = Callable[[str], Path]
ModelOf = Callable[[str], Model]


def test_mini_takes_the_same_path_as_any_folder() -> None:
    record = load("mini", device="cpu").record
    assert (record.id, record.source, record.family, record.hub_id) == ("mini", "bundled", "gpt2", "")
    assert record.self_check is not None
    assert record.self_check.passed


def test_mini_that_is_not_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.BUNDLED, "mini", "not-there")
    assert "reportgen mini train" in refusal("mini")


def test_weights_that_the_file_lacks(folder: Path) -> None:
    """Hugging Face would fill them with random numbers."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.2.ln_2.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "net lacks 1 weights, e.g. transformer.h.2.ln_2.weight" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    edit_config(folder, n_inner=64)
    assert "net can't be loaded" in refusal(folder)


def test_what_the_bridge_cannot_wrap(tmp_path: Path) -> None:
    assert "can't wrap net" in refusal(tiny_folder("gpt_neox", tmp_path / "net", attention_bias=False))


# ---- loaded -----------------------------------------------------------------------------------------------------


def test_code_beside_a_known_family_is_not_run(folder: Path, model_of: ModelOf) -> None:
    (folder / "net.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit_config(folder, auto_map={"AutoModelForCausalLM": "net.Net", "AutoConfig": "net.Config"})
    assert torch.equal(load(folder, device="cpu").logits(IDS), model_of("gpt2").logits(IDS))
    assert not (folder / "ran").exists()


def test_code_beside_a_known_family_is_run_when_asked_for(
    folder: Path, model_of: ModelOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In so many words only: its own class stands in the place of the family's, and the scores are of that."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    (folder / "net.py").write_text(
        f"""from transformers import GPT2LMHeadModel
open({str(folder / "ran")!r}, 'w').close()
class Net(GPT2LMHeadModel):
    pass
"""
    )
    edit_config(folder, auto_map={"AutoModelForCausalLM": "net.Net"})
    assert torch.equal(load(folder, device="cpu", trust_remote_code=True).logits(IDS), model_of("gpt2").logits(IDS))
    assert (folder / "ran").exists()


def test_folder_record(folder: Path) -> None:
    record = load(folder, device="cpu").record
    assert (record.id, record.slug, record.source, record.hub_id, record.revision) == ("net", "net", "folder", "", "")
    assert record.synthetic is False


def test_half_precision_keeps_statics_in_float32(folder: Path, model_of: ModelOf) -> None:
    model = load(folder, device="cpu", dtype="bfloat16")
    check = model.record.self_check
    assert check is not None
    assert check.passed
    largest = float(model_of("gpt2").logits(selfcheck.sample_ids(model.tokens.size, 64)).abs().max())
    assert check.tolerance == pytest.approx(
        max(0.01 * check.logit_std, 4 * selfcheck.step_at(largest, torch.bfloat16)), rel=1e-3
    )
    assert model.record.dtype == "bfloat16"
    ids = torch.tensor([3, 8])
    for got in (model.W_U(), model.W_V(0), model.W_O(0), model.embed(ids), model.first_mlp(ids), model.logits(IDS)):
        assert got.dtype == torch.float32
    rounded = model_of("gpt2").W_V(0).bfloat16().float()
    assert torch.equal(model.W_V(0), rounded)


def test_half_precision_checkpoints_run_in_float32_on_a_cpu(folder: Path) -> None:
    tensors = {k: v.bfloat16() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, dtype="bfloat16")
    facts = checks.check_folder(folder, "net")
    assert memory.main_dtype(facts.counts) == "bfloat16"
    assert memory.pick_dtype("auto", facts.counts, torch.device("cuda")) == torch.bfloat16
    assert memory.pick_dtype("auto", facts.counts, torch.device("mps")) == torch.float32
    assert memory.pick_dtype("bfloat16", facts.counts, torch.device("mps")) == torch.bfloat16
    assert load(folder, device="cpu").record.dtype == "float32"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_mini_is_run_in_float32_though_its_file_is_float16(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "pick_device", torch.device)
    record, *_ = load_module.inspect("mini", device=device)
    assert record.dtype == "float32"
    assert load_module.inspect("mini", device=device, dtype="float16")[0].dtype == "float16"


@pytest.mark.parametrize(
    ("value", "dtype", "step"),
    [
        (9.3, torch.float16, 2**-7),
        (-8.0, torch.float16, 2**-7),
        (7.5, torch.bfloat16, 2**-5),
        (1.0, torch.float32, 2**-23),
    ],
)
def test_the_step_of_a_number_type_is_the_distance_to_the_next_number(
    value: float, dtype: torch.dtype, step: float
) -> None:
    assert selfcheck.step_at(value, dtype) == step
    number = torch.tensor(abs(value), dtype=dtype)
    assert torch.nextafter(number, torch.tensor(torch.inf, dtype=dtype)) - number == step


def test_the_self_check_allows_for_the_step_at_the_largest_logit() -> None:
    """Mini's spread of logits is small beside its largest one: a step of float16 there is more than 1 % of it."""
    expected = torch.full((2, 4, 50), 9.3) + torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(0)) * 0.24
    near, far = expected.clone(), expected.clone()
    near[0, 0, 0] += 2**-7
    far[0, 0, 0] += 5 * 2**-7
    assert selfcheck.compare(expected, near, torch.float16).passed
    assert not selfcheck.compare(expected, far, torch.float16).passed
    assert not selfcheck.compare(expected, near, torch.float32).passed


def test_the_reference_is_taken_before_the_weights_are_moved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    reference, to = selfcheck.reference, torch.nn.Module.to

    def noted(hf_model: Any, ids: torch.Tensor) -> torch.Tensor:
        order.append("reference")
        return reference(hf_model, ids)

    def moved(module: torch.nn.Module, *places: Any, **how: Any) -> torch.nn.Module:
        order.append("moved")
        return to(module, *places, **how)

    monkeypatch.setattr(selfcheck, "reference", noted)
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    load(folder, device="cpu")
    assert order.index("reference") < order.index("moved")


def test_names_without_the_base_prefix_and_stored_masks(folder: Path, model_of: ModelOf) -> None:
    """GPT-2 as it was first published: no "transformer." prefix, causal masks in the file."""
    tensors = {k.removeprefix("transformer."): v for k, v in load_file(folder / "model.safetensors").items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model, plain, streamed = load(folder, device="cpu"), model_of("gpt2"), stream(folder, device="cpu")
    assert torch.equal(model.logits(IDS), plain.logits(IDS))
    assert model.record.n_params == plain.record.n_params == streamed.record.n_params
    assert torch.equal(streamed.W_V(1), plain.W_V(1))
    assert torch.equal(streamed.first_mlp(torch.tensor([5])), plain.first_mlp(torch.tensor([5])))


def test_sharded_checkpoints(folder: Path, model_of: ModelOf) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
    weight_map = {n: file for file, part in halves.items() for n in part}
    (folder / checks.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert torch.equal(load(folder, device="cpu").logits(IDS), model_of("gpt2").logits(IDS))
    assert torch.equal(stream(folder, device="cpu").W_O(2), model_of("gpt2").W_O(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_load_and_the_self_check_says_so(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.1.attn.c_proj.weight"][:] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = load(folder, device="cpu")
    check = model.record.self_check
    assert check is not None
    assert not check.passed
    assert check.tokens == 0
    assert "not finite" in check.note
    assert not torch.isfinite(model.W_O(1)).any()


def test_self_check_fails_when_the_bridge_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = load_module.boot

    def wrong(hf_model: Any) -> Any:
        bridge = real(hf_model)
        with torch.no_grad():
            hf_model.transformer.ln_f.weight.mul_(1.01)
        return bridge

    monkeypatch.setattr(load_module, "boot", wrong)
    check = load(folder, device="cpu").record.self_check
    assert check is not None
    assert not check.passed
    assert check.max_abs_diff > 1e-3


def test_a_folder_in_the_working_directory_wins_over_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert load("net", device="cpu").record.source == "folder"


def test_loading_leaves_no_trace_in_the_random_state(folder: Path) -> None:
    state = torch.random.get_rng_state()
    random_twin(load(folder, device="cpu"), 1).first_mlp(torch.tensor([3]))
    assert torch.equal(state, torch.random.get_rng_state())


def test_set_threads() -> None:
    set_threads(2)
    assert torch.get_num_threads() == 2
    set_threads(0)
    assert torch.get_num_threads() == 2
    set_threads(1)
    assert torch.get_num_threads() == 1


# ---- twins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2"])
def test_a_twin_has_the_shape_and_none_of_the_weights(family: str, model_of: ModelOf) -> None:
    model = model_of(family)
    twin, same, other = random_twin(model, 1), random_twin(model, 1), random_twin(model, 2)
    assert torch.equal(twin.logits(IDS), same.logits(IDS))
    assert not torch.equal(twin.logits(IDS), other.logits(IDS))
    assert not torch.equal(twin.W_V(1), model.W_V(1))
    assert twin.W_V(1).shape == model.W_V(1).shape
    assert twin.W_U().shape == model.W_U().shape
    assert 0.001 < twin.W_V(1).std() < 0.1  # Hugging Face's initialisation, not ours
    assert twin.tokens is model.tokens
    assert twin.record.synthetic
    assert twin.record.id == f"{family} (random twin, seed 1)"
    assert len({m.record.content_hash for m in (model, twin, other)}) == 3
    assert twin.record.self_check is not None
    assert twin.record.self_check.passed


def test_twin_of_a_mixture_has_no_first_mlp_either(model_of: ModelOf) -> None:
    with pytest.raises(NotApplicable, match="mixture"):
        random_twin(model_of("mixtral"), 0).first_mlp(torch.tensor([3]))
