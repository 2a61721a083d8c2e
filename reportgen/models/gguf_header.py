"""The header of a GGUF file: sizes, types and metadata, read here within bounds, because files are untrusted.

No weight is read. Of metadata the vocabulary's strings are kept only where asked for: as transformers takes them.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reportgen.errors import ModelError, one_line

NO_GGUF = "Type: pip install 'reportgen[gguf]'"
AGAIN = "Download it again."
PLAIN = {"F32": "F32", "F16": "F16", "BF16": "BF16", "F64": "F64"}  # ggml's name -> safetensors'
_MOST_TENSORS, _MOST_KEYS, _MOST_ITEMS, _MOST_TEXT = 100_000, 10_000, 4_000_000, 1 << 24
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Stored:
    """A tensor as declared in the header: shape in torch's order, ggml's number type, bytes from the file's start."""

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """The contents of a GGUF file before its weights. Arrays of strings are left out of `metadata`."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Stored]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def adds_bos(self) -> bool:
        """Whether the file asks for BOS; if unspecified, as in llama.cpp: yes for SentencePiece."""
        said = self.metadata.get("tokenizer.ggml.add_bos_token")
        return self.metadata.get("tokenizer.ggml.model") == "llama" if said is None else bool(said)

    @cached_property
    def quantisation(self) -> str:
        """`Q4_1`: as the file says, else the type of most parameters; "" if no tensor is quantised."""
        kinds: dict[str, int] = {}
        for stored in self.tensors.values():
            name = kind_name(stored.kind)
            kinds[name] = kinds.get(name, 0) + math.prod(stored.shape)
        if set(kinds) <= set(PLAIN):
            return ""
        from gguf import LlamaFileType

        with contextlib.suppress(ValueError):
            return LlamaFileType(self.metadata.get("general.file_type", -1)).name.removeprefix("MOSTLY_")
        return max((k for k in kinds if k not in PLAIN), key=lambda k: kinds[k])


def kind_name(kind: int) -> str:
    """`Q4_K` for ggml's number of a type; `type 99` for an unknown one."""
    from gguf import GGMLQuantizationType

    with contextlib.suppress(ValueError):
        return str(GGMLQuantizationType(kind).name)
    return f"type {kind}"


@dataclass(frozen=True)
class Field:
    """A metadata value as the package's own reader holds it: its parts, which of them are data, and ggml's types."""

    parts: list[Any]
    data: range
    types: list[int]


def read_header(path: Path, label: str, fields: dict[str, Field] | None = None) -> Header:
    """The header, with bounded numbers; ModelError if it is damaged or the package gguf is missing.

    fields  is filled with all metadata, the vocabulary's strings too
    """
    _package(label)
    try:
        with path.open("rb") as file:
            return _Reader(file, path, label, fields).header()
    except OSError as error:
        raise ModelError(f"{label} can't be read: {error.strerror}.", "Check the path.") from error
    except (struct.error, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ModelError(f"{label} is not a complete GGUF file: its header is truncated.", AGAIN) from error


def _package(label: str) -> None:
    """Require the optional package; ModelError says what to type."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ModelError(f"{label}: reading GGUF needs the package gguf.", NO_GGUF) from error


class _Reader:
    """One pass over a header, from the first byte on."""

    def __init__(self, file: Any, path: Path, label: str, fields: dict[str, Field] | None) -> None:
        self.file, self.path, self.label, self.fields = file, path, label, fields

    def header(self) -> Header:
        magic, version = self._bytes(4), self._one("<I")
        if magic != b"GGUF":
            raise ModelError(f"{self.label} is not a GGUF file: it does not begin with 'GGUF'.", AGAIN)
        if version not in (2, 3):
            known = "big-endian" if version & 0xFFFF == 0 else f"version {version}"
            raise ModelError(f"{self.label} is GGUF {known}; only versions 2 and 3 are read.", "Convert it again.")
        n_tensors, n_keys = self._count(_MOST_TENSORS, "tensors"), self._count(_MOST_KEYS, "keys")
        metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key = self._text()
            self._new(key, metadata)
            metadata[key] = self._value(key, self._one("<I"))
        entries = [self._entry() for _ in range(n_tensors)]
        step = metadata.get("general.alignment", 32)
        if not isinstance(step, int) or step < 1 or step & (step - 1):
            raise ModelError(f"{self.label}: general.alignment is {step!r}, expected a power of two.", AGAIN)
        base = -(-self.file.tell() // step) * step
        tensors: dict[str, Stored] = {}
        for name, shape, kind, offset in entries:
            self._new(name, tensors)
            tensors[name] = Stored(shape, kind, base + offset)
        return Header(self.path, {key: value for key, value in metadata.items() if value is not None}, tensors)

    def _new(self, name: str, known: Mapping[str, Any]) -> None:
        if name in known:
            raise ModelError(f"{self.label} is damaged: its header says {one_line(name)[:60]!r} twice.", AGAIN)

    def _entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name, axes = self._text(), self._one("<I")
        if not 1 <= axes <= 4:
            raise ModelError(f"{self.label}: {one_line(name)[:60]!r} has {axes} axes, expected 1 to 4.", AGAIN)
        shape = tuple(self._one("<Q") for _ in range(axes))[::-1]  # ggml names the fastest axis first
        return name, shape, self._one("<I"), self._one("<Q")

    def _value(self, key: str, kind: int) -> Any:
        """One metadata value, kept in `fields` where there are any; None for an array of strings."""
        if kind in _FORMATS:
            value = self._one(_FORMATS[kind])
            self._keep(key, [(value,)], [kind])
            return value
        if kind == _STRING:
            text = self._string()
            self._keep(key, [text], [kind])
            return text.decode("utf-8")
        if kind != _ARRAY:
            raise ModelError(f"{self.label} is damaged: its metadata has a value of type {kind}.", AGAIN)
        item, count = self._one("<I"), self._count(_MOST_ITEMS, "items of an array")
        if item in _FORMATS:
            form = f"<{count}{_FORMATS[item][1]}"
            values = struct.unpack(form, self._bytes(struct.calcsize(form)))
            self._keep(key, ((value,) for value in values), [kind, item])
            return list(values)
        if item != _STRING:
            raise ModelError(f"{self.label} is damaged: its metadata has an array of type {item}.", AGAIN)
        if self.fields is None:
            for _ in range(count):
                self.file.seek(self._count(_MOST_TEXT, "bytes of a string"), 1)
        else:
            self._keep(key, (self._string() for _ in range(count)), [kind, item])
        return None

    def _keep(self, key: str, parts: Iterable[Any], types: list[int]) -> None:
        if self.fields is not None:
            kept = list(parts)
            self.fields[key] = Field(kept, range(len(kept)), types if kept else types[:1])

    def _string(self) -> bytes:
        return self._bytes(self._count(_MOST_TEXT, "bytes of a string"))

    def _text(self) -> str:
        return self._string().decode("utf-8")

    def _count(self, most: int, what: str) -> int:
        count = int(self._one("<Q"))
        if count > most:
            raise ModelError(f"{self.label} is damaged: its header counts {count} {what}.", AGAIN)
        return count

    def _one(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, count: int) -> bytes:
        found: bytes = self.file.read(count)
        if len(found) < count:
            raise struct.error("the file ends here")
        return found
