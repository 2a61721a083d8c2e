"""Loading: one line for everything the user can mend, raised before weights are read; twins, types, shards."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reportgen.errors import ModelError, NotApplicable
from reportgen.models import checks, memory
from reportgen.models import load as load_module
from reportgen.models.load import load, random_twin, set_threads, stream
from reportgen.models.model import Model
from tests.tiny import tiny_folder

IDS = (torch.arange(24).view(2, 12) * 5 + 4) % 200
FolderOf = Callable[[str], Path]
ModelOf = Callable[[str], Model]


@pytest.fixture
def folder(folder_of: FolderOf, tmp_path: Path) -> Path:
    """A GPT-2 checkpoint to damage."""
    return Path(shutil.copytree(folder_of("gpt2"), tmp_path / "net"))


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(folder: Path | str, **how: Any) -> str:
    """The one line that loading ends in. Weights are never reached."""
    with pytest.raises(ModelError) as caught:
        load(folder, device="cpu", **how)
    assert caught.value.hint
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.fixture
def no_weights_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a check lets a bad folder through to the loading of weights."""

    def reached(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(load_module, "_read_weights", reached)


# ---- refused before loading -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_weights_read")
class TestRefusedBeforeLoading:
    def test_a_folder_that_is_not_there(self) -> None:
        assert "no folder './nowhere'" in refusal("./nowhere")

    def test_neither_folder_nor_id(self) -> None:
        assert "neither a folder nor a hub id" in refusal("what is this?")
        assert "neither a folder nor a hub id" in refusal("a/..b")

    def test_no_config(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        assert "net has no config.json" in refusal(folder)

    @pytest.mark.parametrize("content", ["{", "[1]", "", '{"model_type": 3}', "[" * 100_000, "\xff"])
    def test_config_that_is_no_config(self, folder: Path, content: str) -> None:
        (folder / "config.json").write_text(content, encoding="latin-1")
        assert "config.json of net" in refusal(folder)

    def test_config_whose_values_make_no_sense(self, folder: Path) -> None:
        edit_config(folder, n_embd="wide")
        assert "config.json of net is not valid" in refusal(folder)

    def test_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        assert "net has no weights" in refusal(folder)

    def test_pickle_only_and_the_pickle_is_not_run(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        marker = folder / "ran"

        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (marker,))

        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
        text = refusal(folder)
        assert "pytorch_model.bin" in text
        assert "only safetensors" in text
        assert not marker.exists()

    def test_unsupported_family_lists_what_is(self, folder: Path) -> None:
        edit_config(folder, model_type="mamba")
        text = refusal(folder)
        assert "'mamba'" in text
        assert "gpt2, gpt_neo, gpt_neox, gptj, llama" in text

    def test_remote_code(self, folder: Path) -> None:
        (folder / "net.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
        edit_config(folder, model_type="novel", auto_map={"AutoModelForCausalLM": "net.Net"})
        assert "Python code from its own repository" in refusal(folder)
        assert "'novel', which is not supported" in refusal(folder, trust_remote_code=True)
        assert not (folder / "ran").exists()

    def test_quantised_by_config(self, folder: Path) -> None:
        edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
        assert "quantised" in refusal(folder)

    def test_quantised_by_type(self, folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(32, 48, dtype=torch.int8)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        assert "transformer.h.0.mlp.c_fc.weight as I8: quantised" in refusal(folder)

    def test_projected_opt(self, folder_of: FolderOf, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(folder_of("opt"), tmp_path / "net"))
        edit_config(folder, word_embed_proj_dim=16)
        assert "projects its embeddings" in refusal(folder)

    @pytest.mark.parametrize("cut", [0, 4, 9, 200, -1])
    def test_damaged_weights(self, folder: Path, cut: int) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:cut])
        assert "model.safetensors of net is damaged" in refusal(folder)

    def test_header_that_claims_a_terabyte(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
        assert "damaged" in refusal(folder)

    def test_layers_that_are_not_there(self, folder: Path) -> None:
        edit_config(folder, n_layer=10**9)
        assert "net lacks transformer.h.3.attn.c_attn.weight" in refusal(folder)

    def test_index_with_a_missing_shard(self, folder: Path) -> None:
        (folder / checks.INDEX).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
        assert "net lacks model-00001-of-00002.safetensors" in refusal(folder)

    @pytest.mark.parametrize("name", ["../../etc/passwd.safetensors", "/etc/x.safetensors", "weights.bin"])
    def test_index_that_points_elsewhere(self, folder: Path, name: str) -> None:
        (folder / checks.INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
        assert "not a safetensors file" in refusal(folder)

    @pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": []}'])
    def test_index_without_a_map(self, folder: Path, content: str) -> None:
        (folder / checks.INDEX).write_text(content)
        assert "has no weight_map" in refusal(folder)

    def test_no_tokenizer(self, folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
        assert "net has no tokenizer" in refusal(folder)

    def test_tokenizer_larger_than_the_embedding(self, folder: Path, folder_of: FolderOf) -> None:
        big = tiny_folder("gpt2", folder.parent / "big", words=[f"w{i}" for i in range(300)])
        shutil.copy(big / "tokenizer.json", folder)
        assert "The tokenizer of net has 620 tokens, its embedding only 229 rows." in refusal(folder)

    def test_too_little_memory_names_the_way_out(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        facts = checks.check_folder(folder, "net")
        assert (facts.n_params, facts.unembedding) == (31952, 229 * 32)
        full, half = ((facts.n_params * size + facts.unembedding * 4) for size in (4, 2))
        monkeypatch.setattr(memory, "available_bytes", lambda device: (full + half) // 2)
        text = refusal(folder)
        assert "--dtype bfloat16" in text
        assert "--stream" in text
        monkeypatch.setattr(memory, "available_bytes", lambda device: half - 1)
        text = refusal(folder, dtype="bfloat16")
        assert "--dtype" not in text
        assert "--stream" in text

    def test_memory_is_asked_of_the_system(self) -> None:
        free = memory.available_bytes(torch.device("cpu"))
        assert 10_000_000 < free < 1 << 50

    @pytest.mark.parametrize(
        ("device", "words"),
        [("tpu", "no device 'tpu'"), ("meta", "not supported"), ("xla", "not supported"), ("cpu:x", "no device")],
    )
    def test_unknown_devices(self, folder: Path, device: str, words: str) -> None:
        with pytest.raises(ModelError, match=words):
            load(folder, device=device)

    def test_gpus_that_are_absent(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        for device in ("cuda", "cuda:1", "mps"):
            with pytest.raises(ModelError, match="on this machine") as caught:
                load(folder, device=device)
            assert "--device cpu" in caught.value.hint

    def test_unknown_dtype(self, folder: Path) -> None:
        assert "Did you mean bfloat16" in refusal(folder, dtype="bfloat")


def test_mini_takes_the_same_path_as_any_folder() -> None:
    record = load("mini", device="cpu").record
    assert (record.id, record.source, record.family, record.hub_id) == ("mini", "bundled", "gpt2", "")
    assert record.self_check is not None
    assert record.self_check.passed


def test_mini_that_is_not_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(load_module.BUNDLED, "mini", "not-there")
    assert "reportgen mini train" in refusal("mini")


def test_weights_that_the_file_lacks(folder: Path) -> None:
    """Hugging Face would fill them with random numbers."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.2.ln_2.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "net lacks 1 weights, e.g. transformer.h.2.ln_2.weight" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    edit_config(folder, n_embd=64)
    assert "net can't be loaded" in refusal(folder)


def test_what_the_bridge_cannot_wrap(tmp_path: Path) -> None:
    assert "can't wrap net" in refusal(tiny_folder("gpt_neox", tmp_path / "net", attention_bias=False))


# ---- loaded -----------------------------------------------------------------------------------------------------


def test_code_beside_a_known_family_is_not_run(folder: Path, model_of: ModelOf) -> None:
    (folder / "net.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit_config(folder, auto_map={"AutoModelForCausalLM": "net.Net", "AutoConfig": "net.Config"})
    assert torch.equal(load(folder, device="cpu").logits(IDS), model_of("gpt2").logits(IDS))
    assert not (folder / "ran").exists()


def test_folder_record(folder: Path) -> None:
    record = load(folder, device="cpu").record
    assert (record.id, record.slug, record.source, record.hub_id, record.revision) == ("net", "net", "folder", "", "")
    assert record.synthetic is False


def test_half_precision_keeps_statics_in_float32(folder: Path, model_of: ModelOf) -> None:
    model = load(folder, device="cpu", dtype="bfloat16")
    check = model.record.self_check
    assert check is not None
    assert check.passed
    assert check.tolerance == pytest.approx(0.01 * check.logit_std)
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
    assert load(folder, device="cpu").record.dtype == "float32"


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
