"""Everything that can be refused before any weight is loaded, each in one line.

Folders are untrusted: the config is read as plain JSON, weight files by their headers, nothing is unpickled and
no code of the repository is run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from reportgen.errors import ModelError, one_line
from reportgen.files import as_text, parse_json, read_bytes
from reportgen.models.weights import LAYOUTS

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
_POINTER = b"version https://git-lfs"  # what Git leaves in a file's place where LFS did not run
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
ALIBI_CONTEXT = 2048  # tokens, where a config with relative positions only gives no limit
_LIMIT = 1 << 24  # bytes of a config or index; real ones are far below
# Exceptions that transformers raises for a well-formed but invalid config.
BAD_CONFIG = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, StrictDataclassError,
)  # fmt: skip
# Families that tie embedding and unembedding by default.
TIED_BY_DEFAULT = ("bloom", "cohere", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo",
                   "opt", "smollm3", "starcoder2")  # fmt: skip
# Switches that change the weight layout, and the one value that a family's layout supports (also the default).
_ONLY: dict[str, dict[str, bool]] = {
    "falcon": {"multi_query": True, "parallel_attn": True, "new_decoder_architecture": False, "alibi": False},
    "gpt_bigcode": {"multi_query": True},
    "opt": {"do_layer_norm_before": True},
    "bloom": {"apply_residual_connection_post_layernorm": False},
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as declared in its file's header."""

    shape: tuple[int, ...]
    dtype: str  # safetensors' name: "F32", "BF16", ...

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Facts:
    """Facts about a folder, read without loading it."""

    config: dict[str, Any]
    files: list[Path]
    tensors: dict[str, TensorInfo]

    @property
    def family(self) -> str:
        return str(self.config["model_type"])

    @property
    def counts(self) -> dict[str, int]:
        """Parameters by number type. GPT-2's old files also hold causal masks, which have four axes: left out."""
        sizes: dict[str, int] = {}
        for info in self.tensors.values():
            if info.dtype in _BYTES and len(info.shape) < 4:
                sizes[info.dtype] = sizes.get(info.dtype, 0) + info.numel
        return sizes

    @property
    def n_params(self) -> int:
        return sum(self.counts.values())

    @property
    def unembedding(self) -> int:
        """Parameters of the unembedding (or of the embedding, if tied)."""
        return max((i.numel for i in self.tensors.values() if i.shape[:1] == (self.embedding_rows,)), default=0)

    def find(self, name: str) -> TensorInfo | None:
        """A tensor by its name in the state dict, even if the file omits the base model's prefix."""
        names = (name, *tied_names(self.config, self.family, name))
        prefix = LAYOUTS[self.family].prefix
        return next(
            (t for n in names for t in (self.tensors.get(n), self.tensors.get(n.removeprefix(prefix))) if t), None
        )

    @property
    def embedding_rows(self) -> int:
        info = self.find(f"{LAYOUTS[self.family].embed}.weight")
        return info.shape[0] if info is not None and len(info.shape) == 2 else 0


def tied_names(config: Mapping[str, Any], family: str, name: str) -> tuple[str, ...]:
    """Other names under which a checkpoint with tied weights may store the embedding: the unembedding's."""
    layout = LAYOUTS[family]
    is_tied = config.get("tie_word_embeddings", family in TIED_BY_DEFAULT)
    return tuple(f"{u}.weight" for u in layout.unembed) if is_tied and name == f"{layout.embed}.weight" else ()


def check_folder(folder: Path, label: str, *, trust_remote_code: bool = False) -> Facts:
    """Read a folder's config and weight headers; ModelError for anything that could not be loaded or trusted."""
    _refuse_what_it_is(folder, label)
    config = read_config(folder / "config.json", label)
    check_config(config, label, trust_remote_code=trust_remote_code)
    files = weight_files(folder, label)
    facts = Facts(config, files, read_headers(files, label))
    check_tensors(facts, label)
    return facts


def read_config(path: Path, label: str) -> dict[str, Any]:
    """config.json as a dict."""
    if not path.is_file():
        raise ModelError(
            f"{label} has no config.json.", "A model is a Hugging Face folder: config.json, tokenizer, *.safetensors."
        )
    config = read_json(path, label)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"config.json of {label} has no model_type.", f"Supported: {supported()}.")
    return config


def read_json(path: Path, label: str) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    hint = "Download it again."
    place = f"{path.name} of {label}"
    text = as_text(read_bytes(path, hint, most=_LIMIT, error=ModelError), place, error=ModelError)
    value = parse_json(text, place, hint, strict=False, error=ModelError)
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} of {label} is not a JSON object.", "Download it again.")
    return value


def check_config(config: Mapping[str, Any], label: str, *, trust_remote_code: bool = False) -> None:
    """Refuse what the config alone reveals: quantised weights, remote code, a family without a layout."""
    family = str(config.get("model_type"))
    if config.get("quantization_config"):
        raise ModelError(f"{label} has quantised weights, which are not supported.", "Use the original checkpoint.")
    if family not in LAYOUTS:
        if config.get("auto_map") and not trust_remote_code:
            raise ModelError(
                f"{label} ({family!r}) needs Python code from its own repository, which is not run.",
                f"Use a model of a supported family: {supported()}.",
            )
        raise ModelError(f"{label} is of the family {family!r}, which is not supported.", f"Supported: {supported()}.")
    if family == "opt" and config.get("word_embed_proj_dim", config.get("hidden_size")) != config.get("hidden_size"):
        raise ModelError(f"{label} projects its embeddings, which is not supported.", "Use another OPT model.")
    for name, wanted in _ONLY.get(family, {}).items():
        if config.get(name, wanted) is not wanted:
            raise ModelError(
                f"{label} is a {family} model with {name} = {config[name]!r}, which is not supported.",
                f"Use a model with {name} = {wanted!r}.",
            )


def supported() -> str:
    """The families with a layout, for error messages."""
    return ", ".join(sorted(LAYOUTS))


def weight_files(folder: Path, label: str) -> list[Path]:
    """The safetensors files that make up the model, as transformers chooses: one file, else the index's shards.

    An index next to a single file is stale and ignored. Loading, streaming, hash and download all use this.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        refuse_no_weights((p.name for p in folder.iterdir()), label)
    names = shards(read_json(folder / INDEX, label), label)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{label} lacks {missing[0]}, one of its {len(names)} weight files.", "Download it again.")
    return [folder / name for name in names]


def _refuse_what_it_is(folder: Path, label: str) -> None:
    """Refuse folders that are almost a model, each with what to type next."""
    inside = {path.name for path in folder.iterdir()}
    if {"snapshots", "blobs"} <= inside or folder.name.startswith("models--"):
        name = folder.resolve().name.removeprefix("models--").replace("--", "/", 1)
        raise ModelError(f"{label} is a folder of the hub's cache.", f"Give the model's id: {name}")
    if ADAPTER in inside:
        base = read_json(folder / ADAPTER, label).get("base_model_name_or_path")
        of = f" of {one_line(str(base))[:80]}" if base else ""
        what = "a base model with a PEFT adapter beside it" if SINGLE in inside or INDEX in inside else "a PEFT adapter"
        raise ModelError(
            f"{label} is {what}{of}: adapters are not applied.",
            "Merge it (peft: merge_and_unload, save_pretrained) and give that folder, or move the adapter out.",
        )


def refuse_no_weights(names: Iterable[str], label: str) -> NoReturn:
    """Say why a list of file names holds no usable weights."""
    names = list(names)
    pickled = [n for n in names if n.endswith(PICKLES) and n != "training_args.bin"]
    if pickled:
        raise ModelError(
            f"{label} has its weights only as {pickled[0]}; other formats can run code and are not read.",
            "Convert it with safetensors (huggingface.co/spaces/safetensors/convert).",
        )
    raise ModelError(f"{label} has no weights.", "Expected model.safetensors or shards with an index.")


def shards(index: Mapping[str, Any], label: str) -> list[str]:
    """File names that an index lists, each a plain name inside the folder."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{INDEX} of {label} has no weight_map.", "Download it again.")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{INDEX} of {label} names {name!r}, not a safetensors file.", "Download it again.")
    return names


def read_headers(files: Iterable[Path], label: str) -> dict[str, TensorInfo]:
    """Shape and type of every tensor, from the headers."""
    found: dict[str, TensorInfo] = {}
    for path in files:
        with path.open("rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
        if is_pointer:
            raise ModelError(f"{path.name} of {label} is a Git LFS pointer, not the weights.", "Type: git lfs pull")
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  not a dict
                    part = file.get_slice(name)
                    found[name] = TensorInfo(tuple(part.get_shape()), str(part.get_dtype()))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path.name} of {label} is damaged: {error}.", "Download it again.") from error
    return found


def check_tensors(facts: Facts, label: str) -> None:
    """Weights in a floating type, and one value and output matrix for every layer that the config promises."""
    for name, info in facts.tensors.items():
        if len(info.shape) == 2 and info.dtype not in _BYTES:
            raise ModelError(
                f"{label} stores {name} as {info.dtype}: quantised weights are not supported.",
                "Use the original checkpoint.",
            )
    layout = LAYOUTS[facts.family]
    if not facts.embedding_rows:
        raise ModelError(f"{label} lacks {layout.embed}.weight.", "Download it again.")
    n_layers = layer_count(facts.config, label)
    for layer in range(min(n_layers, len(facts.tensors) + 1)):
        for module in (layout.value, layout.output):
            if facts.find(f"{layout.at(layer, module)}.weight") is None:
                raise ModelError(f"{label} lacks {layout.at(layer, module)}.weight.", "Download it again.")


def layer_count(config: Mapping[str, Any], label: str) -> int:
    """The number of layers in the config, under any of the families' names."""
    for name in ("num_hidden_layers", "n_layer", "num_layers"):
        if isinstance(value := config.get(name), int) and value is not True and value > 0:
            return value
    raise ModelError(f"config.json of {label} has no number of layers.", "Download it again.")


def context_of(config: Any) -> Any:
    """Context length in tokens, under any of the families' names."""
    found = getattr(config, "max_position_embeddings", None)
    return getattr(config, "seq_length", ALIBI_CONTEXT) if found is None else found


def check_sizes(config: Any, facts: Facts, label: str) -> None:
    """Check the sizes in a model's record, as transformers read them, against each other and the embedding."""
    hint = "Download it again."
    sizes: list[int] = []
    named = {name: getattr(config, name, None) for name in ("hidden_size", "num_attention_heads")}
    for name, value in {**named, "context": context_of(config)}.items():
        if not isinstance(value, int) or not 0 < value < 1 << 31:
            raise ModelError(f"config.json of {label}: {name} is {value!r}, expected a whole number from 1.", hint)
        sizes.append(value)
    width, heads, _ = sizes
    if not getattr(config, "head_dim", None) and width % heads:
        raise ModelError(f"config.json of {label}: {heads} heads do not divide hidden_size {width}.", hint)
    stored = facts.find(f"{LAYOUTS[facts.family].embed}.weight")
    if stored is not None and stored.shape[1:] != (width,):
        raise ModelError(f"config.json of {label}: hidden_size is {width}, the embedding has {stored.shape[1:]}.", hint)


def check_vocabulary(vocabulary: Mapping[str, int], added: Collection[int], facts: Facts, label: str) -> None:
    """Every token of the vocabulary proper must have a row in the embedding; what was added to it need not.

    For added tokens, `Tokens` refuses text that contains one: Gemma 3's image token, a [PAD] without a resize.
    """
    rows = facts.embedding_rows
    lost = sorted((i, token) for token, i in vocabulary.items() if i >= rows and i not in added)
    if lost:
        raise ModelError(
            f"The tokenizer of {label} has {len(lost)} tokens beyond its embedding's {rows} rows, e.g. "
            f"{one_line(lost[0][1])[:40]!r} (id {lost[0][0]}).",
            "Use the tokenizer that belongs to these weights.",
        )
