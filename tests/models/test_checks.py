"""What is refused before a weight is read, each in one line that names the next thing to do."""

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

from reportgen.errors import ModelError
from reportgen.models import checks, memory
from reportgen.models import load as load_module
from reportgen.models.load import load
from tests.models.refusals import edit_config, refusal
from tests.tiny import tiny_folder

FolderOf = Callable[[str], Path]
pytestmark = pytest.mark.usefixtures("no_weights_read")


@pytest.fixture
def no_weights_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a check lets a bad folder through to the loading of weights."""

    def reached(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(load_module, "_read_weights", reached)


def test_a_folder_that_is_not_there() -> None:
    assert "no folder './nowhere'" in refusal("./nowhere")


def test_neither_folder_nor_id() -> None:
    assert "neither a folder nor a hub id" in refusal("what is this?")
    for name in ("a/..b", "a--b/c", "net.git", "-net", "\n"):
        assert "neither a folder nor a hub id" in refusal(name)


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "net has no config.json" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "", '{"model_type": 3}', "[" * 100_000, "\xff"])
def test_config_that_is_no_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="latin-1")
    assert "config.json of net" in refusal(folder)


def test_config_whose_values_make_no_sense(folder: Path) -> None:
    edit_config(folder, n_embd="wide")
    assert "config.json of net is not valid" in refusal(folder)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "net has no weights" in refusal(folder)


def test_pickle_only_and_the_pickle_is_not_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    marker = folder / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    text = refusal(folder)
    assert "pytorch_model.bin" in text
    assert "safetensors" in text
    assert not marker.exists()


def test_unsupported_family_lists_what_is(folder: Path) -> None:
    edit_config(folder, model_type="mamba")
    text = refusal(folder)
    assert "'mamba'" in text
    assert "gpt_neo, gpt_neox, gptj, llama" in text


def test_remote_code(folder: Path) -> None:
    (folder / "net.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit_config(folder, model_type="novel", auto_map={"AutoModelForCausalLM": "net.Net"})
    assert "Python code from its own repository" in refusal(folder)
    assert "'novel', which is not supported" in refusal(folder, trust_remote_code=True)
    assert not (folder / "ran").exists()


def test_quantised_by_config(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "quantised" in refusal(folder)


def test_quantised_by_type(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(32, 48, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "transformer.h.0.mlp.c_fc.weight as I8: quantised" in refusal(folder)


def test_projected_opt(folder_of: FolderOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("opt"), tmp_path / "net"))
    edit_config(folder, word_embed_proj_dim=16)
    assert "projects its embeddings" in refusal(folder)


@pytest.mark.parametrize("cut", [0, 4, 9, 200, -1])
def test_damaged_weights(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert "model.safetensors of net is damaged" in refusal(folder)


def test_header_that_claims_a_terabyte(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    assert "damaged" in refusal(folder)


def test_layers_that_are_not_there(folder: Path) -> None:
    edit_config(folder, n_layer=10**9)
    assert "net lacks transformer.h.3.attn.c_attn.weight" in refusal(folder)


def test_index_with_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()  # it would win
    (folder / checks.INDEX).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert "net lacks model-00001-of-00002.safetensors" in refusal(folder)


@pytest.mark.parametrize("name", ["../../etc/passwd.safetensors", "/etc/x.safetensors", "weights.bin"])
def test_index_that_points_elsewhere(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()  # it would win
    (folder / checks.INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    assert "not a safetensors file" in refusal(folder)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_index_without_a_map(folder: Path, content: str) -> None:
    (folder / "model.safetensors").unlink()  # it would win
    (folder / checks.INDEX).write_text(content)
    assert "has no weight_map" in refusal(folder)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert "net has no tokenizer" in refusal(folder)


def test_tokenizer_larger_than_the_embedding(folder: Path, folder_of: FolderOf) -> None:
    big = tiny_folder("gpt2", folder.parent / "big", words=[f"w{i}" for i in range(300)])
    shutil.copy(big / "tokenizer.json", folder)
    assert "The tokenizer of net has 391 tokens beyond its embedding's 229 rows" in refusal(folder)


def test_too_little_memory_names_the_way_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_random_twin_and_its_unembedding_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = checks.check_folder(folder, "net")
    alone = facts.n_params * 4 + facts.unembedding * 4
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2 * alone - 1)
    with pytest.raises(AssertionError, match="weights were read"):
        load(folder, device="cpu")
    with pytest.raises(ModelError, match="a random twin") as caught:
        load(folder, device="cpu", twin=True)
    assert "--set SUITE.twins=0" in caught.value.hint
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2 * alone)
    with pytest.raises(AssertionError, match="weights were read"):
        load(folder, device="cpu", twin=True)


def test_weights_on_their_way_to_a_gpu_need_room_in_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10**9 if device == gpu else 1999)
    with pytest.raises(ModelError, match="free on cpu"):
        memory.check_memory(1000, 10**6, torch.bfloat16, gpu, "net")
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10**9 if device == gpu else 2000)
    memory.check_memory(1000, 10**6, torch.bfloat16, gpu, "net")  # W_U in float32 is made on the GPU
    with pytest.raises(ModelError, match="free on cpu"):
        memory.check_memory(1000, 10**6, torch.bfloat16, gpu, "net", twin=True)  # drawn in float32


def test_memory_is_asked_of_the_system() -> None:
    free = memory.available_bytes(torch.device("cpu"))
    assert 10_000_000 < free < 1 << 50


def test_without_procfs_the_installed_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    free = memory.available_bytes(torch.device("cpu"))
    monkeypatch.setattr(memory, "MEMINFO", Path("/not/there"))
    assert free <= memory.available_bytes(torch.device("cpu")) < 1 << 50


@pytest.mark.parametrize(
    ("device", "words"),
    [("tpu", "no device 'tpu'"), ("meta", "not supported"), ("xla", "not supported"), ("cpu:x", "no device")],
)
def test_unknown_devices(folder: Path, device: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load(folder, device=device)


def test_gpus_that_are_absent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(ModelError, match="on this machine") as caught:
            load(folder, device=device)
        assert "--device cpu" in caught.value.hint


def test_unknown_dtype(folder: Path) -> None:
    assert "Did you mean bfloat16" in refusal(folder, dtype="bfloat")
