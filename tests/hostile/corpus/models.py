"""Model folders: config.json, safetensors, tokenizer.json, the index of shards. Nothing is unpickled or run."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.hostile.bases import Edit, cut, edit, folder, link, put
from tests.hostile.case import DEEP, Case

WORDS = ("run", "{here}/model", "--dry-run", "--suite", "attention", "--offline")
WEIGHTS = "model/model.safetensors"


def _case(name: str, damage: Edit, says: str) -> Case:
    return Case(f"model-{name}", WORDS, says, base=("model",), damage=damage)


def _config(name: str, says: str, **fields: object) -> Case:
    return _case(f"config-{name}", edit("model/config.json", **fields), says)


def _tokenizer(name: str, says: str, **fields: object) -> Case:
    return _case(f"tokenizer-{name}", edit("model/tokenizer.json", **fields), says)


def _weights(name: str, raw: bytes, says: str = "is damaged") -> Case:
    return _case(f"weights-{name}", put(WEIGHTS, raw), says)


def _header(text: str, body: bytes = b"\0" * 8) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw + body


def _tensors(*without: str, **kinds: str) -> Edit:
    """The weights without some tensors, or all of another type."""

    def damage(here: Path) -> None:
        tensors = load_file(here / WEIGHTS)
        kept = {name: t for name, t in tensors.items() if not any(part in name for part in without)}
        dtype = kinds.get("dtype")
        save_file({n: t.astype(dtype) if dtype else t for n, t in kept.items()}, here / WEIGHTS)

    return damage


def _index(**fields: object) -> Edit:
    """An index of shards that says this."""

    def damage(here: Path) -> None:
        (here / "model/model.safetensors.index.json").write_text(json.dumps(fields))
        (here / WEIGHTS).unlink()  # it would win

    return damage


def _pickled(here: Path) -> None:
    (here / WEIGHTS).unlink()
    (here / "model/pytorch_model.bin").write_bytes(pickle.dumps({"a": np.zeros(2)}))


def _remote(here: Path) -> None:
    """Code beside the weights, which would leave a file behind."""
    edit("model/config.json", model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})(here)
    (here / "model/evil.py").write_text("open('evil-was-run', 'w')\n")


HUGE = '{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]}}'
MANY = ("<unk>", *(f"w{i}" for i in range(300)))
ONE = '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, %s]}}'
CASES = (
    Case("model-none", ("run", "{here}/model", "--dry-run"), "no folder"),
    Case("model-empty", WORDS, "no config.json", {"model/readme.txt": "x"}),
    *(
        _case(f"config-{name}", damage, says)
        for name, damage, says in (
            ("empty", put("model/config.json", ""), "config.json of model: not JSON"),
            ("truncated", cut("model/config.json", 0.5), "config.json of model: not JSON"),
            ("list", put("model/config.json", "[]"), "not a JSON object"),
            ("deep", put("model/config.json", '{"a":' * DEEP), "config.json of model: nested too deeply"),
            ("digits", put("model/config.json", f'{{"n_layer": {"9" * 5_000}}}'), "config.json of model: .*digits"),
            ("garbled", put("model/config.json", b"\xff{}"), "UTF-8"),
            ("folder", folder("model/config.json"), "config.json"),
            ("loop", link("model/config.json", "config.json"), "config.json"),
            ("endless", link("model/config.json", "/dev/zero"), "config.json"),
            ("huge", put("model/config.json", " " * (17 << 20)), "config.json has 17,825,792 bytes"),
            ("no-type", put("model/config.json", "{}"), "no model_type"),
        )
    ),
    _config("type-number", "no model_type", model_type=1),
    _config("type-unknown", "family 'nonsense'", model_type="nonsense"),
    _config("type-markup", "family '<b>'", model_type="<b>"),
    _config("type-escape", r"family '\\x1b", model_type="\x1b[2J"),
    _config("type-traversing", r"family '\.\./x'", model_type="../x"),
    _config("quantised", "quantised weights", quantization_config={"bits": 4}),
    _config("layers-text", "layers|not valid", n_layer="2"),
    _config("layers-zero", "number of layers", n_layer=0),
    _config("layers-below", "number of layers", n_layer=-1),
    _config("layers-more", "lacks transformer.h.2", n_layer=3),
    _config("layers-huge", "lacks transformer.h.2", n_layer=10**9),
    _config("layers-bool", "number of layers", n_layer=True),
    _config("dtype-list", "config.json of model is not valid", dtype=[["a", "b"]]),
    _config("heads-text", "config.json of model", n_head="x"),
    _config("heads-zero", "config.json of model", n_head=0),
    _config("heads-below", "config.json of model", n_head=-2),
    _config("heads-uneven", "config.json of model", n_head=3),
    _config("heads-none", "config.json of model", n_head=None),
    _config("width-zero", "config.json of model", n_embd=0),
    _config("width-huge", "config.json of model", n_embd=10**12),
    _config("width-text", "config.json of model", n_embd=[8]),
    _config("width-other", "config.json of model", n_embd=16),
    _config("context-zero", "config.json of model", n_positions=0),
    _config("context-text", "config.json of model", n_positions="x"),
    _config("vocabulary-text", "config.json of model", vocab_size="x"),
    _config("activation", "config.json of model|can't be loaded", activation_function=7),
    _case("remote-code", _remote, "needs Python code from its own repository, which is not run"),
    _case("pickle-only", _pickled, r"only as pytorch_model\.bin.*safetensors"),
    _case("no-weights", lambda here: (here / WEIGHTS).unlink(), "has no weights"),
    _weights("empty", b""),
    _weights("short", b"\x08\0\0"),
    _weights("pickle", pickle.dumps({"a": 1})),
    _weights("huge-header", struct.pack("<Q", 2**63) + b"{}"),
    _weights("header-beyond", struct.pack("<Q", 100_000) + b"{}"),
    _weights("no-json", _header("nonsense")),
    _weights("deep", _header("[" * DEEP)),
    _weights("garbled", struct.pack("<Q", 4) + b"\xff\xfe{}" + b"\0" * 8),
    _weights("lying-offsets", _header(ONE % 9_999_999)),
    _weights("hole", _header(ONE % 4)),
    _weights("huge-shape", _header(HUGE)),
    _weights("other-type", _header('{"a": {"dtype": "Z9", "shape": [2], "data_offsets": [0, 8]}}')),
    _weights("other-names", _header(ONE % 8), "lacks transformer.wte.weight"),
    _weights("none", _header("{}", b""), "lacks transformer.wte.weight"),
    _case("weights-truncated", cut(WEIGHTS, 0.7), "is damaged"),
    _case("weights-folder", folder(WEIGHTS), "no weights|Is a directory"),
    _case("weights-link", link(WEIGHTS, "/etc/passwd"), "is damaged"),
    _case("weights-endless", link(WEIGHTS, "/dev/zero"), "no weights"),
    _case("weights-loop", link(WEIGHTS, "model.safetensors"), "no weights"),
    _weights("lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    _case("adapter", put("model/adapter_config.json", '{"base_model_name_or_path": "a\\u001b[31m"}'), "PEFT adapter"),
    _case("adapter-list", put("model/adapter_config.json", "[]"), "adapter_config.json"),
    _case("cache", lambda here: [(here / "model" / name).mkdir() for name in ("snapshots", "blobs")], "hub's cache"),
    _case("weights-ints", _tensors(dtype="int8"), "quantised weights are not supported"),
    _case("weights-no-attention", _tensors("h.1.attn"), "lacks transformer.h.1.attn"),
    _case("index-list", _index(weight_map=[]), "no weight_map"),
    _case("index-none", _index(), "no weight_map"),
    _case("index-traversing", _index(weight_map={"a": "../../outside.safetensors"}), r"names '\.\./\.\./outside"),
    _case("index-absolute", _index(weight_map={"a": "/etc/x.safetensors"}), "names '/etc/x.safetensors'"),
    _case("index-pickle", _index(weight_map={"a": "pytorch_model.bin"}), "names 'pytorch_model.bin'"),
    _case("index-missing", _index(weight_map={"a": "gone.safetensors"}), "lacks gone.safetensors"),
    _case("index-number", _index(weight_map={"a": 7}), "names '7'"),
    *(
        _case(f"tokenizer-{name}", damage, says)
        for name, damage, says in (
            ("none", lambda here: (here / "model/tokenizer.json").unlink(), "tokenizer"),
            ("empty", put("model/tokenizer.json", ""), "tokenizer"),
            ("truncated", cut("model/tokenizer.json", 0.5), "tokenizer"),
            ("list", put("model/tokenizer.json", "[]"), "tokenizer"),
            ("object", put("model/tokenizer.json", "{}"), "tokenizer"),
            ("deep", put("model/tokenizer.json", "[" * DEEP), "tokenizer"),
            ("garbled", put("model/tokenizer.json", b"\xff\xfe"), "tokenizer"),
            ("folder", folder("model/tokenizer.json"), "tokenizer"),
            ("config-list", put("model/tokenizer_config.json", "[]"), "tokenizer"),
            ("config-truncated", cut("model/tokenizer_config.json", 0.5), "tokenizer"),
        )
    ),
    _tokenizer("model-none", "tokenizer", model=None),
    _tokenizer("model-type", "tokenizer", model__type="Evil"),
    _tokenizer("vocabulary-list", "tokenizer", model__vocab=[]),
    _tokenizer("vocabulary-text-ids", "tokenizer", model__vocab={"a": "x"}),
    _tokenizer("vocabulary-below", "tokenizer", model__vocab={"a": -1}),
    _tokenizer("vocabulary-large", "beyond its embedding", model__vocab={w: i for i, w in enumerate(MANY)}),
    _tokenizer("vocabulary-empty", "tokenizer", model__vocab={}, added_tokens=[]),
    _tokenizer("regex", "tokenizer", pre_tokenizer={"type": "Split", "pattern": {"Regex": "(" * 50},
                                                    "behavior": "Isolated", "invert": False}),
    _tokenizer("nothing-left", "encodes text as no tokens", normalizer={
        "type": "Replace", "pattern": {"Regex": "[\\s\\S]"}, "content": ""}),
)  # fmt: skip
