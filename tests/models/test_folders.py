"""Folders as other people's tools leave them: which files count, what is read from where, what a folder is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reportgen.errors import NotApplicable
from reportgen.models.load import load, stream
from tests.models.refusals import refusal
from tests.tiny import tiny_folder


def test_an_added_token_without_a_row_is_refused_where_it_is_used(folder: Path) -> None:
    """As Gemma 3's image token, and a [PAD] added to GPT-2 without a resize."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    rows = load(folder, device="cpu").record.d_vocab
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first = len(load(folder, device="cpu").tokens._tokenizer)
    names = [*(f"[more {i}]" for i in range(first, rows)), "[PAD]"]  # ids follow the vocabulary's without a gap
    data["added_tokens"] += [{"id": i, "content": name, **plain} for i, name in enumerate(names, first)]
    path.write_text(json.dumps(data))
    model = load(folder, device="cpu")
    assert model.tokens.encode(" Mary")
    assert model.tokens.size <= rows
    with pytest.raises(NotApplicable, match=rf"'\[PAD\]' \(id {rows}\) has no row"):
        model.tokens.encode(" Mary [PAD]")


def test_a_token_whose_id_is_too_large_though_their_count_fits(folder: Path) -> None:
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["vocab"][" Mary"] = 99_999
    path.write_text(json.dumps(data))
    assert "(id 99999)" in refusal(folder)


def test_a_stale_index_beside_a_single_file_is_not_read(folder: Path) -> None:
    before = load(folder, device="cpu")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"another model's")
    after = load(folder, device="cpu")
    assert after.record.content_hash == before.record.content_hash
    assert torch.equal(after.W_O(0), before.W_O(0))
    assert torch.equal(stream(folder, device="cpu").W_O(0), before.W_O(0))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_tied_weights_under_the_unembeddings_name(family: str, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path / "net", tie_word_embeddings=True)
    before = load(folder, device="cpu")
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith(("wte.weight", "embed_tokens.weight")))
    tensors["lm_head.weight"] = tensors.pop(name)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    ids = torch.tensor([[5, 6, 7]])
    for model in (load(folder, device="cpu"), stream(folder, device="cpu")):
        assert torch.equal(model.embed(ids[0]), before.embed(ids[0]))
        assert torch.equal(model.W_U(), before.W_U())
    assert torch.equal(load(folder, device="cpu").logits(ids), before.logits(ids))


def test_the_tokenizer_in_the_folder_above(folder: Path) -> None:
    before = load(folder, device="cpu").record.content_hash
    inner = folder / "checkpoint-10"
    inner.mkdir()
    for name in ("config.json", "model.safetensors"):
        (inner / name).write_bytes((folder / name).read_bytes())
    found = load(inner, device="cpu")
    assert found.tokens.encode(" Mary")
    assert found.record.content_hash == before


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"}, "git lfs pull"),
        ({"adapter_config.json": '{"base_model_name_or_path": "me/base"}', "model.safetensors": None},
         "is a PEFT adapter of me/base.*merge_and_unload"),
        ({"adapter_config.json": "{}"}, "base model with a PEFT adapter beside it: adapters are not applied"),
        ({"snapshots": ..., "blobs": ...}, "folder of the hub's cache"),
    ],
)  # fmt: skip
def test_what_a_folder_is(folder: Path, files: dict[str, object], says: str) -> None:
    for name, content in files.items():
        if content is ...:
            (folder / name).mkdir()
        elif content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(str(content))
    assert re.search(says, refusal(folder))
