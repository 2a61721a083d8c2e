"""GGUF files: the model comes back, loaded or streamed; what is refused; what it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gguf as upstream
import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import _type_traits
from transformers.integrations.ggml import _gguf_parse_value

from reportgen.errors import ModelError
from reportgen.models import gguf
from reportgen.models.gguf import GgufSource, Header, Stored
from reportgen.models.load import inspect, load, stream
from tests.gguf_files import ARCHITECTURES, tiny_gguf
from tests.models.hub_server import HubServer
from tests.models.test_hub import hub  # noqa: F401  the fixture

IDS = torch.arange(24).view(2, 12) * 5 % 200


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_the_model_comes_back(family: str, tmp_path: Path) -> None:
    made = tiny_gguf(family, tmp_path / "net.gguf")
    with gguf.parsed_once(made.path, "net") as header:
        _, config = gguf.read(header, "net")
    assert config.model_type == family
    model = gguf.read_model(header, config, "net", torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, made.model(IDS).logits, rtol=0, atol=1e-5)


EVERY_TYPE: dict[str, Any] = {
    "own.words": ["eins", "zwei", "\u4e2d"], "own.text": "drei", "own.numbers": [1, -2, 3], "own.shares": [0.5, 0.25],
    "own.yes": True, "own.flags": [True, False],
}  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_metadata_is_what_the_packages_own_reader_finds(family: str, tmp_path: Path) -> None:
    """transformers takes it from ours: the same keys in the same order, the same values by its own rule."""
    made = tiny_gguf(family, tmp_path / "net.gguf", metadata=EVERY_TYPE)
    theirs = upstream.GGUFReader(made.path)
    with gguf.parsed_once(made.path, "net"):
        ours: Any = upstream.GGUFReader(made.path)
    assert upstream.GGUFReader is type(theirs)
    assert [tensor.name for tensor in ours.tensors] == [tensor.name for tensor in theirs.tensors]
    known = {key: field for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert list(ours.fields) == list(known)
    assert EVERY_TYPE.keys() <= ours.fields.keys()
    for key, field in known.items():
        assert values_of(ours.fields[key]) == values_of(field), key
    assert values_of(ours.fields["own.words"]) == EVERY_TYPE["own.words"]


def values_of(field: Any) -> list[Any]:
    return [_gguf_parse_value(field.parts[at], field.types) for at in field.data]


def test_the_file_is_parsed_once_and_no_weight_is_drawn_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf("llama", tmp_path / "net.gguf").path
    opened: list[Path] = []
    parse = gguf.read_header

    def counted(file: Path, *more: Any) -> Header:
        opened.append(file)
        return parse(file, *more)

    def never(tensor: object = None, *_: object, **__: object) -> object:
        assert isinstance(tensor, torch.Tensor)
        assert tensor.is_meta  # the model's shapes: no numbers
        return tensor

    monkeypatch.setattr(gguf, "read_header", counted)
    monkeypatch.setattr(upstream, "GGUFReader", never)
    monkeypatch.setattr(torch.Tensor, "normal_", never)
    monkeypatch.setattr(torch.Tensor, "uniform_", never)
    load(path, device="cpu")
    assert opened == [path]


def test_a_key_or_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tiny_gguf("llama", tmp_path / "net.gguf", metadata={"own.aa": 1, "own.bb": 2}).path
    content = path.read_bytes()
    for one, other in ((b"own.aa", b"own.bb"), (b"blk.0.attn_q", b"blk.1.attn_q")):
        assert content.count(one) >= 1
        path.write_bytes(content.replace(one, other))
        with pytest.raises(ModelError, match="twice"):
            inspect(path, device="cpu")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_streamed_weights_are_the_loaded_ones(family: str, tmp_path: Path) -> None:
    path = tiny_gguf(family, tmp_path / "net.gguf", kind="Q8_0").path
    whole, part = load(path, device="cpu"), stream(path, device="cpu")
    assert whole.record.self_check is not None
    assert whole.record.self_check.passed
    assert part.record.content_hash == whole.record.content_hash
    for layer in range(3):
        assert torch.equal(whole.W_V(layer), part.W_V(layer))
        assert torch.equal(whole.W_O(layer), part.W_O(layer))
        assert torch.equal(whole.W_Q(layer), part.W_Q(layer))  # llama.cpp's order of rotary pairs undone in both
        assert torch.equal(whole.W_K(layer), part.W_K(layer))
        assert torch.equal(whole.ln1_scale(layer), part.ln1_scale(layer))  # type: ignore[arg-type]
    ids = torch.tensor([7, 3, 7])
    assert torch.equal(whole.embed(ids), part.embed(ids))
    assert torch.equal(whole.first_mlp(ids), part.first_mlp(ids))
    assert torch.equal(whole.W_U(), part.W_U())


def test_a_quantised_file_is_called_so_and_a_plain_one_is_not(tmp_path: Path) -> None:
    quantised = load(tiny_gguf("llama", tmp_path / "net-Q4_1.gguf", kind="Q4_1").path, device="cpu").record
    assert (quantised.quantisation, quantised.name, quantised.id) == ("Q4_1", "net", "net-Q4_1")
    assert quantised.described == "net (dequantised from Q4_1)"
    plain, *_ = inspect(tiny_gguf("llama", tmp_path / "net.gguf", kind="BF16").path, device="cpu")
    assert (plain.quantisation, plain.described) == ("", "net")


def test_quantised_weights_differ_from_the_trained_ones(tmp_path: Path) -> None:
    """Else the note in every caption would be for nothing."""
    made = tiny_gguf("llama", tmp_path / "net.gguf", kind="Q4_0")
    with torch.no_grad():
        assert (load(made.path, device="cpu").logits(IDS) - made.model(IDS).logits).abs().max() > 0.01


def test_the_hash_is_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = tiny_gguf("llama", tmp_path / "net.gguf").path
    record, *_ = inspect(path)
    assert record.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_rotary_factors_of_the_file_are_used(tmp_path: Path) -> None:
    """Llama 3.1 keeps its frequencies in a tensor that transformers drops."""
    scaling = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
    plain = tiny_gguf("llama", tmp_path / "plain.gguf")
    scaled = tiny_gguf("llama", tmp_path / "scaled.gguf", rope_parameters=scaling)
    factors = plain.model.model.rotary_emb.inv_freq / scaled.model.model.rotary_emb.inv_freq
    assert factors.max() > 2
    path = tiny_gguf("llama", tmp_path / "net.gguf", extra={"rope_freqs.weight": factors.numpy()}).path
    with torch.no_grad():
        torch.testing.assert_close(load(path, device="cpu").logits(IDS), scaled.model(IDS).logits, rtol=0, atol=1e-5)
    assert (scaled.model(IDS).logits - plain.model(IDS).logits).abs().max() > 0.1


READABLE = sorted({kind.name for kind in _type_traits} | {"F32", "F16"})


@pytest.mark.parametrize("kind", READABLE)
def test_every_type_is_dequantised_as_upstream_does(kind: str, tmp_path: Path) -> None:
    """Rows of random blocks, read whole and by row."""
    number = GGMLQuantizationType[kind]
    block, width = GGML_QUANT_SIZES[number]
    raw = np.random.default_rng(0).integers(0, 120, (4, 2 * width), dtype=np.uint8)  # finite as halves
    path = tmp_path / "rows"
    path.write_bytes(b"\0" * 32 + raw.tobytes())
    header = Header(path, {}, {"rows": Stored((4, 2 * block), int(number), 32)})
    typed = raw.view({"F32": np.float32, "F16": np.float16}.get(kind, np.uint8))
    wanted = upstream.quants.dequantize(typed, number)
    assert wanted.shape == (4, 2 * block)
    got = gguf._numbers(header, header.tensors["rows"])
    np.testing.assert_array_equal(got, wanted)
    rows = np.array([3, 1])
    np.testing.assert_array_equal(gguf._numbers(header, header.tensors["rows"], rows), wanted[rows])


def test_one_tensor_at_a_time_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the embedding do not read the embedding."""
    made = tiny_gguf("llama", tmp_path / "net.gguf", kind="Q8_0")
    with gguf.parsed_once(made.path, "net") as header:
        _, config = gguf.read(header, "net")
    source, sizes = GgufSource(header, config, "net"), []
    dequantize = upstream.quants.dequantize
    monkeypatch.setattr(
        upstream.quants, "dequantize", lambda data, kind: sizes.append(data.shape) or dequantize(data, kind)
    )
    source.rows("model.embed_tokens.weight", torch.tensor([5, 9, 5]))
    assert [shape[0] for shape in sizes] == [2]


def test_a_folder_with_one_file_and_with_two(tmp_path: Path) -> None:
    tiny_gguf("llama", tmp_path / "one.gguf")
    assert inspect(tmp_path)[0].id == "one"
    tiny_gguf("llama", tmp_path / "two.gguf")
    with pytest.raises(ModelError, match=r"2 GGUF files: one.gguf, two.gguf.*Name one: .*one.gguf"):
        inspect(tmp_path)


def test_the_package_is_asked_for_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_gguf("llama", tmp_path / "net.gguf").path
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r"pip install 'reportgen\[gguf\]'"):
        inspect(path)


def test_a_file_of_a_hub(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    path = tiny_gguf("llama", folder / "sub" / "net-Q8_0.gguf", kind="Q8_0").path
    (folder / "mmproj.gguf").write_bytes(b"GGUF")
    commit = hub.add("owner/net", {"main": folder})["main"]
    record, *_ = inspect("owner/net:sub/net-Q8_0.gguf")
    assert (record.id, record.source, record.hub_id, record.revision) == ("net-Q8_0", "hub", "owner/net", commit)
    assert record.content_hash == inspect(path)[0].content_hash
    assert [name for _, name in hub.fetched] == ["sub/net-Q8_0.gguf"]
    with pytest.raises(ModelError, match=r"has no file 'sub/net-Q4_0.gguf'. Did you mean sub/net-Q8_0.gguf"):
        inspect("owner/net:sub/net-Q4_0.gguf")
    with pytest.raises(ModelError, match=r"GGUF files: mmproj.gguf, sub/net-Q8_0.gguf. Name one: owner/net:"):
        inspect("owner/net")
    hub.down = True
    assert inspect("owner/net:sub/net-Q8_0.gguf")[0].revision == commit
    assert inspect("owner/net:sub/net-Q8_0.gguf", offline=True)[0].hub_id == "owner/net"
    with pytest.raises(ModelError, match="not in the local cache"):
        inspect("owner/net:mmproj.gguf", offline=True)


def test_tensors_that_the_model_would_not_take(tmp_path: Path) -> None:
    extra = {"blk.0.attn_q.bias": np.zeros(32, np.float32)}
    path = tiny_gguf("llama", tmp_path / "net.gguf", extra=extra).path
    with pytest.raises(ModelError, match=r"1 tensors that transformers .*blk.0.attn_q.bias"):
        inspect(path)
