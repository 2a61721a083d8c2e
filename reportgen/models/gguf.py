"""GGUF files, the format of llama.cpp: header, checks, tensors by Hugging Face's names, tokenizer, model.

    with parsed_once(path, label) as header:   # sizes, types and metadata; no weight is read
        facts, config = read(header, label)    # refused in one line if it can't be loaded or trusted

- Names, layouts and the inverse of what llama.cpp does to weights (rotary pairs of Q and K, Gemma's norms, GPT-2's
  transposes) are transformers' own, whether a model is loaded or its tensors are streamed.
- Scores of a quantised file are those of its dequantised weights, and every caption says so.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.initialization import no_init_weights

from reportgen.errors import ModelError, one_line
from reportgen.models import checks
from reportgen.models.checks import Facts, TensorInfo
from reportgen.models.gguf_header import AGAIN, PLAIN, Field, Header, Stored, kind_name, read_header
from reportgen.models.model import quiet
from reportgen.models.weights import LAYOUTS

SUFFIX = ".gguf"
# Architectures whose GGUF transformers reads into a class that has a layout here, by `general.architecture`.
ARCHITECTURES = (
    "bloom", "falcon", "gemma2", "gemma3", "gpt2", "llama", "mistral", "phi3", "qwen2", "qwen2moe", "qwen3",
    "qwen3moe", "stablelm", "starcoder2",
)  # fmt: skip
_ROPE = "rope_freqs.weight"  # what rotary frequencies are divided by (Llama 3.1 and later); in no state dict
# What transformers leaves at its class's default in some families: the config's name -> the file's key
_FORGOTTEN = {
    "n_positions": "context_length", "head_dim": "attention.key_length",
    "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping",
}  # fmt: skip
_GEMMA_27B = {"gemma2": 46, "gemma3": 62}  # layers of the only size whose queries are scaled by d_model / n_heads
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_auto_config: Any = AutoConfig  # half-typed upstream
_auto_model: Any = AutoModelForCausalLM
_auto_tokenizer: Any = AutoTokenizer


def read(header: Header, label: str) -> tuple[Facts, Any]:
    """Facts by Hugging Face's names, and the config: eager attention, no word of quantisation. ModelError in one line.

    The tensors' types in the facts are what they are in memory: float32 for quantised ones.
    """
    check(header, label)
    config = _config(header, label)
    _check_sizes(header, config, label)
    names = _names(header, config, _processor(header, config), label)
    lost = sorted(set(header.tensors) - set(names) - {_ROPE})
    if lost:
        raise ModelError(
            f"{label} holds {len(lost)} tensors that transformers drops from this model, e.g. {one_line(lost[0])}.",
            "Use the original checkpoint.",
        )
    tensors = {
        name: TensorInfo(header.tensors[own].shape, PLAIN.get(kind_name(header.tensors[own].kind), "F32"))
        for own, name in names.items()
    }
    facts = Facts(config.to_dict(), [header.path], tensors)
    checks.check_config(facts.config, label)
    checks.check_tensors(facts, label)
    return facts, config


def check(header: Header, label: str) -> None:
    """Refuse what the header alone reveals: split files, companion files, unknown architectures, truncated files."""
    kind, n_parts = str(header.metadata.get("general.type", "model")), header.metadata.get("split.count", 0)
    if n_parts or _PART.search(header.path.name):
        raise ModelError(
            f"{label} is one part of a split GGUF file, which is not supported.",
            "Join the parts: llama-gguf-split --merge FIRST.gguf WHOLE.gguf",
        )
    arch = header.architecture
    if arch == "clip" or kind == "mmproj":
        raise ModelError(f"{label} is the image encoder of a model (mmproj).", "Give the language model's own GGUF.")
    if kind != "model":
        raise ModelError(f"{label} is a GGUF of type {one_line(kind)[:40]!r}, not model.", "Give the model's own GGUF.")
    if arch not in ARCHITECTURES:
        raise ModelError(
            f"{label} is a GGUF of architecture {one_line(arch)[:60]!r}, which is not supported.",
            f"Supported: {', '.join(ARCHITECTURES)}.",
        )
    if arch in ("llama", "mistral") and header.metadata.get(f"{arch}.expert_count"):
        raise ModelError(f"{label} is a mixture of experts under {arch}'s name.", "Use the original checkpoint.")
    if not any(name.startswith("blk.") for name in header.tensors):
        raise ModelError(f"{label} has a vocabulary but no weights.", "Give the model's own GGUF.")
    _check_bytes(header, label)


def _check_sizes(header: Header, config: Any, label: str) -> None:
    """Check the config's sizes against the tensors before building anything from it."""
    blocks = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    if config.num_hidden_layers != len(blocks):
        raise ModelError(
            f"{label} is damaged: its header says {config.num_hidden_layers} layers, its tensors {len(blocks)}.",
            AGAIN,
        )
    embedding = header.tensors.get("token_embd.weight")
    if embedding is not None and embedding.shape[1:] != (config.hidden_size,):
        raise ModelError(f"{label} is damaged: width {config.hidden_size}, but embedding {embedding.shape}.", AGAIN)
    heads = config.num_attention_heads, getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if any(not isinstance(n, int) or not 0 < n <= config.hidden_size for n in heads) or heads[0] % heads[1]:
        raise ModelError(f"{label} is damaged: {heads[0]} heads, {heads[1]} key-value heads.", AGAIN)


def _check_bytes(header: Header, label: str) -> None:
    """Every tensor of a type that can be dequantised, and inside the file."""
    size = header.path.stat().st_size
    readable = _readable()
    for name, stored in header.tensors.items():
        kind = kind_name(stored.kind)
        if kind not in readable:
            raise ModelError(
                f"{label} stores {one_line(name)[:60]} as {kind}, which can't be read.",
                f"Readable: {', '.join(sorted(readable))}.",
            )
        block, width = readable[kind]
        count = math.prod(stored.shape)
        if not 0 < count < 1 << 40 or stored.shape[-1] % block:
            raise ModelError(
                f"{label} is damaged: {one_line(name)[:60]} has the shape {stored.shape} as {kind}.", AGAIN
            )
        end = stored.start + count // block * width
        if end > size:
            raise ModelError(f"{label} is truncated: {size:,} bytes of at least {end:,}.", AGAIN)


def _readable() -> dict[str, tuple[int, int]]:
    """Types that can be dequantised -> (numbers in a block, bytes of a block)."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import _type_traits

    return {
        kind.name: sizes
        for kind, sizes in GGML_QUANT_SIZES.items()
        if kind in _type_traits or kind.name in ("F32", "F16")
    }


@contextlib.contextmanager
def _told(label: str, what: str) -> Iterator[None]:
    """Turn exceptions of transformers and gguf for a well-formed but invalid header into ModelError."""
    loggers = [logging.getLogger(name) for name in ("transformers.modeling_gguf_pytorch_utils", "transformers")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)  # advice about kernels that are not there
        with quiet():
            yield
    except ModelError:
        raise
    except checks.BAD_CONFIG as error:
        raise ModelError(f"{what} of {label} can't be read: {error}.", AGAIN) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def parsed_once(path: Path, label: str) -> Iterator[Header]:
    """The header, and within the block transformers takes the metadata from it.

    The package's own reader parses the file for each call, 17 s with a vocabulary of 262,144, for what takes one here.
    """
    fields: dict[str, Field] = {}
    header = read_header(path, label, fields)
    import gguf

    module: Any = gguf
    reader = module.GGUFReader
    parsed = SimpleNamespace(fields=fields, tensors=[SimpleNamespace(name=name) for name in header.tensors])
    module.GGUFReader = lambda *_, **__: parsed
    try:
        yield header
    finally:
        module.GGUFReader = reader


def _config(header: Header, label: str) -> Any:
    with _told(label, "The config"):
        config = _auto_config.from_pretrained(header.path.parent, gguf_file=header.path.name, local_files_only=True)
    config.__dict__.pop("quantization_config", None)  # the weights in memory are plain numbers
    for name, key in _FORGOTTEN.items():
        value = header.metadata.get(f"{header.architecture}.{key}")
        if isinstance(value, int | float) and hasattr(config, name):
            setattr(config, name, value)
    if hasattr(config, "query_pre_attn_scalar"):  # in no file: llama.cpp tells it from the size, too
        is_largest = config.num_hidden_layers == _GEMMA_27B.get(header.architecture)
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if is_largest else config.head_dim
        )
    config._attn_implementation = "eager"  # patterns exist in no other implementation
    return config


def _names(header: Header, config: Any, processor: Any, label: str) -> dict[str, str]:
    """Name in the file -> name in Hugging Face's state dict, for the tensors that the file has."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    if config.model_type not in LAYOUTS:
        raise ModelError(f"{label} is of the family {config.model_type!r}, which is not supported.",
                         f"Supported: {checks.supported()}.")  # fmt: skip
    # transformers names Mistral what llama.cpp calls Llama
    kind = "llama" if header.architecture == "mistral" else header.architecture
    arch = next(key for key, name in MODEL_ARCH_NAMES.items() if name == kind)
    known = get_tensor_name_map(arch, config.num_hidden_layers)
    prefix = LAYOUTS[config.model_type].prefix
    found: dict[str, str] = {}
    skeleton = _skeleton(config, label)
    for name, tensor in skeleton.state_dict().items():
        plain = processor.preprocess_name(name)
        base, dot, end = plain.rpartition(".")
        base, suffix = (base, dot + end) if end in ("weight", "bias") else (plain, "")
        own = known.get_name(base) or known.get_name(base.removeprefix(prefix))
        if own is None:
            processor.perform_fallback_tensor_mapping(found, suffix, "", plain)
        else:
            found[own + suffix] = plain
            stored = header.tensors.get(own + suffix)
            if stored is not None and "_exps" not in own and math.prod(stored.shape) != tensor.numel():
                raise ModelError(
                    f"{label} is damaged: {own}{suffix} is {stored.shape}, its config says {tuple(tensor.shape)}.",
                    AGAIN,
                )
    kept = {own: name for own, name in found.items() if own in header.tensors}
    missing = sorted({processor.preprocess_name(name) for name, _ in skeleton.named_parameters()} - set(kept.values()))
    if missing:  # tied ones are named once
        raise ModelError(f"{label} lacks {missing[0]} ({len(missing)} weights in all).", AGAIN)
    return kept


def _skeleton(config: Any, label: str) -> Any:
    """The model on the meta device."""
    with _told(label, "The config"), torch.device("meta"), torch.random.fork_rng(devices=[]):
        return _auto_model.from_config(copy.deepcopy(config), attn_implementation="eager")


def _processor(header: Header, config: Any) -> Any:
    """The converter that undoes llama.cpp's changes to single tensors."""
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    make: Callable[..., Any] = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
    return make(config=config.to_dict())


def read_tokenizer(header: Header, label: str) -> Any:
    """The tokenizer in the file, as transformers rebuilds it."""
    with _told(label, "The tokenizer"):
        return _auto_tokenizer.from_pretrained(
            header.path.parent, gguf_file=header.path.name, local_files_only=True, trust_remote_code=False
        )


def read_model(header: Header, config: Any, label: str, dtype: torch.dtype) -> Any:
    """The Hugging Face model with dequantised weights; `read` has seen that none is left at random."""
    source = GgufSource(header, config, label)
    with _told(label, "The weights"):
        with no_init_weights():  # random numbers that the file's would replace
            model = _auto_model.from_config(copy.deepcopy(config), attn_implementation="eager", dtype=dtype)
        model.tie_weights()  # part of what was left out
        into = dict(model.named_buffers()) | dict(model.named_parameters())
        for name, tensor in source.tensors():
            into[name].data.copy_(tensor)
    if _ROPE in header.tensors:
        _divide_frequencies(model, _numbers(header, header.tensors[_ROPE]), label)
    return model.eval()


def _divide_frequencies(model: Any, factors: npt.NDArray[np.float32], label: str) -> None:
    """Rotary frequencies as the file has them: transformers drops this tensor and would run with others."""
    rotary = getattr(model.model, "rotary_emb", None)
    if rotary is None or rotary.inv_freq.shape != factors.shape or not (np.isfinite(factors) & (factors > 0)).all():
        raise ModelError(f"{label} has rotary factors of the shape {factors.shape}.", "Use the original checkpoint.")
    rotary.inv_freq.div_(torch.from_numpy(factors).to(rotary.inv_freq))
    if getattr(rotary, "original_inv_freq", None) is not None:
        rotary.original_inv_freq = rotary.inv_freq


def _numbers(header: Header, stored: Stored, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
    """A tensor of the file as float32, or some rows of it; the rest of the file stays unread."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType(stored.kind)
    block, width = _readable()[kind.name]
    shape = (*stored.shape[:-1], stored.shape[-1] // block * width)  # bytes
    raw = np.memmap(header.path, np.uint8, "r", stored.start, shape)
    part = np.array(raw if rows is None else raw[rows])
    typed = part.view({"F32": np.float32, "F16": np.float16}.get(kind.name, np.uint8))
    return np.asarray(dequantize(typed, kind), dtype=np.float32)


class GgufSource:
    """Tensors by Hugging Face's names, dequantised on demand, one at a time in memory."""

    def __init__(self, header: Header, config: Any, label: str) -> None:
        self.header, self.config = header, config
        self.processor = _processor(header, config)
        self.name_of = _names(header, config, self.processor, label)
        self.own_of = {name: own for own, name in self.name_of.items()}

    def get(self, name: str) -> Tensor | None:
        own = self.own_of.get(name)
        return None if own is None else self._tensor(own, _numbers(self.header, self.header.tensors[own]))

    def rows(self, name: str, ids: Tensor) -> Tensor:
        own = self.own_of[name]
        unique, back = torch.unique(ids.cpu(), return_inverse=True)
        return self._tensor(own, _numbers(self.header, self.header.tensors[own], unique.numpy()))[back]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the model, in the file's order; the parts of stacked experts are put together at the end."""
        stacked: dict[str, Tensor] = {}
        bases = {own.removesuffix(".weight"): name for own, name in self.name_of.items()} | self.name_of
        for own, name in self.name_of.items():
            values = _numbers(self.header, self.header.tensors[own])
            if "_exps" not in own:
                yield name, self._tensor(own, values)
            else:
                self.processor.process(
                    weights=values, name=own, tensor_key_mapping=bases, parsed_parameters={"tensors": stacked}
                )
        yield from stacked.items()

    def _tensor(self, own: str, values: npt.NDArray[np.float32]) -> Tensor:
        done = values
        if own.startswith("blk.") or "norm" in own:  # embeddings are as they are in every architecture
            done = self.processor.process(weights=values, name=own).weights
        return torch.from_numpy(np.ascontiguousarray(done))


def lone_file(folder: Path, label: str) -> Path | None:
    """The GGUF file of a folder without other weights; None where it has some, or no GGUF. ModelError for two."""
    if any(folder.glob("*.safetensors")):
        return None
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:4])
        raise ModelError(f"{label} holds {len(found)} GGUF files: {names}.", f"Name one: {folder / found[0].name}")
    return found[0] if found else None
