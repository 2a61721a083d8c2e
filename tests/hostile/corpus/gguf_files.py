"""GGUF files: damaged, cut off, of something that is no language model, in parts, with sizes that nobody has."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from tests.hostile.bases import Edit, cut, folder, link, put
from tests.hostile.case import Case, missing, odd_files

NET = "gguf/net.gguf"
WORDS = ("run", "{here}/gguf/net.gguf", "--dry-run", "--suite", "attention", "--offline")


def _case(name: str, damage: Edit, says: str, words: tuple[str, ...] = WORDS) -> Case:
    return Case(f"gguf-{name}", words, says, base=("gguf",), damage=damage)


def _made(says: str, name: str, **how: object) -> Case:
    """A file written with these options in place of the valid one."""

    def damage(here: Path) -> None:
        from tests.gguf_files import tiny_gguf

        (here / NET).unlink()
        tiny_gguf("llama", here / NET, **how)  # type: ignore[arg-type]

    return _case(name, damage, says)


def _bytes(change: Callable[[bytearray], object]) -> Edit:
    """The valid file with some of its bytes changed in place."""

    def damage(here: Path) -> None:
        raw = bytearray((here / NET).read_bytes())
        change(raw)
        (here / NET).write_bytes(bytes(raw))

    return damage


def _number(at: int, form: str, value: int) -> Edit:
    return _bytes(lambda raw: struct.pack_into(form, raw, at, value))


def _embedding(after: int, form: str, value: int) -> Edit:
    """A number in the embedding's entry, so many bytes after the start of its name."""
    return _bytes(lambda raw: struct.pack_into(form, raw, raw.index(b"token_embd.weight") + after, value))


def _replaced(old: bytes, new: bytes) -> Edit:
    """The first `old` as `new`, which is as long."""
    assert len(old) == len(new)

    def change(raw: bytearray) -> None:
        at = raw.index(old)
        raw[at : at + len(old)] = new

    return _bytes(change)


def _key(key: str, value: bytes, says: str) -> Case:
    """The four bytes of a metadata number as these."""

    def change(raw: bytearray) -> None:
        at = raw.index(key.encode()) + len(key) + 4
        raw[at : at + 4] = value

    return _case(f"key-{key.rpartition('.')[2]}-{value.hex()}", _bytes(change), says)


def _renamed(name: str) -> Edit:
    def damage(here: Path) -> None:
        (here / NET).rename(here / "gguf" / name)

    return damage


def _two(here: Path) -> None:
    (here / "gguf/other.gguf").write_bytes(b"GGUF")


_DIRECTORY = ("run", "{here}/gguf", "--dry-run", "--suite", "attention", "--offline")
_HUGE = struct.pack("<I", 2**31 - 1)

CASES: tuple[Case, ...] = (
    _case("empty", put(NET, b""), "net.*truncated"),
    _case("magic", put(NET, b"GGML" + b"\0" * 64), "net is not a GGUF file"),
    _case("text", put(NET, "hello, this is a text file and no model at all"), "net is not a GGUF file"),
    _case("lfs-pointer", put(NET, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
          "not a GGUF file"),
    _case("magic-only", put(NET, b"GGUF"), "truncated"),
    _case("version", _number(4, "<I", 99), "version 99"),
    _case("big-endian", _number(4, ">I", 3), "big-endian"),
    _case("tensors-huge", _number(8, "<Q", 2**62), "counts 4611686018427387904 tensors"),
    _case("tensors-many", _number(8, "<Q", 99_999), "net"),
    _case("keys-huge", _number(16, "<Q", 2**62), "counts 4611686018427387904 keys"),
    _case("keys-none", _number(16, "<Q", 0), "net"),
    _case("string-huge", _number(24, "<Q", 2**60), "bytes of a string"),
    *(
        _case(f"cut-{share}", cut(NET, share), "net is (truncated|not a complete)")
        for share in (0.01, 0.05, 0.3, 0.9, 0.999)
    ),
    _case("architecture-unknown", _replaced(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0rwkv7"),
          r"architecture 'rwkv7', which is not supported. Supported: .*llama"),
    _case("architecture-control", _replaced(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0\x1b[31m"),
          "not supported"),
    _case("architecture-other", _replaced(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0qwen2"),
          "lacks model.layers.0.self_attn.k_proj.bias"),
    _case("not-utf8", _replaced(b"general.architecture", b"general.architectur\xff"), "truncated"),
    _made("image encoder", "mmproj", metadata={"general.type": "mmproj"}),
    _made("GGUF of type 'adapter', not model", "adapter", metadata={"general.type": "adapter"}),
    _made("one part of a split GGUF", "split", metadata={"split.count": 3}),
    _made("mixture of experts", "experts", metadata={"llama.expert_count": 8}),
    _made("alignment is 3", "alignment", metadata={"general.alignment": 3}),
    _made("vocabulary but no weights", "vocabulary-only",
          without=(*(f"blk.{i}.{part}.weight" for i in range(3) for part in (
              "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")),
              "token_embd.weight", "output.weight", "output_norm.weight")),
    _made("lacks model.layers.1.self_attn.v_proj.weight", "no-value", without=("blk.1.attn_v.weight",)),
    _made("lacks model.embed_tokens.weight", "no-embedding", without=("token_embd.weight",)),
    _case("part-by-name", _renamed("net-00001-of-00003.gguf"), "one part of a split GGUF", _DIRECTORY),
    _case("two", _two, "holds 2 GGUF files.*Name one", _DIRECTORY),
    _case("type-unknown", _embedding(37, "<I", 77), "stores token_embd.weight as type 77"),
    _case("axes", _embedding(17, "<I", 9), "has 9 axes"),
    _case("shape", _embedding(21, "<Q", 2**50), "damaged"),
    _case("offset", _embedding(41, "<Q", 2**50), "truncated"),
    _key("llama.block_count", _HUGE, "net"),
    _key("llama.block_count", b"\0\0\0\0", "net"),
    _key("llama.embedding_length", _HUGE, "net"),
    _key("llama.attention.head_count", b"\0\0\0\0", "net"),
    _key("llama.attention.head_count", struct.pack("<I", 5), "net"),
    _key("llama.context_length", b"\0\0\0\0", "net"),
    _case("folder", folder(NET), "net|no config.json"),
    _case("link", link(NET, "/etc/passwd"), "not a GGUF file"),
    Case("gguf-none", WORDS, r"There is no file .*net\.gguf", files={NET: missing("net.gguf")}),
    Case("gguf-no-file", ("run", "{here}/x.txt", "--dry-run"), "is a file", files={"x.txt": "a"}),
    *(
        Case(f"gguf-{suffix}", WORDS, "net", files={NET: content})
        for suffix, content, _ in odd_files("net.gguf") if suffix not in ("folder",)
    ),
    Case("gguf-hub-name", ("run", "owner/../net:x.gguf", "--dry-run", "--offline"), "no (file|folder)|neither"),
    Case("gguf-hub-path", ("run", "owner/net:../../x.gguf", "--dry-run", "--offline"), "is not a file of a hub model"),
    Case("gguf-hub-offline", ("run", "owner/net:x.gguf", "--dry-run", "--offline"), "not in the local cache"),
)  # fmt: skip
