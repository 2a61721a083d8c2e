"""From a name or folder to a Model. Every source takes one path: resolve to a local folder, check it, load it.

    load("gpt2-medium")      a hub id          load("./checkpoint")   a Hugging Face folder
    load("mini")             the bundled one   load("model.gguf")     a GGUF file, its weights dequantised
    stream("big-model")      static weights only, read from disk on demand

A folder of that name in the working directory takes precedence over the hub.
"""

from __future__ import annotations

import copy
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from reportgen.config import check_threads
from reportgen.errors import ModelError
from reportgen.files import expanded, is_file, is_folder
from reportgen.manifest import ModelRecord, SelfCheck
from reportgen.mini import bundled_folder
from reportgen.models import checks, gguf, hub, selfcheck
from reportgen.models.checks import Facts
from reportgen.models.gguf_header import Header
from reportgen.models.hub import TOKENIZER_FILES, content_hash, tokenizer_folder
from reportgen.models.memory import check_memory, main_dtype, needed_bytes, pick_device, pick_dtype
from reportgen.models.model import Model, boot, quiet
from reportgen.models.tokens import Tokens
from reportgen.models.weights import LAYOUTS, DiskSource, StaticWeights, Weights, WeightSource

REMADE = {
    "mini": "reportgen mini train",
    "mini-sparse": "reportgen sparsify mini --corpus mini --out sparse, then --set sparse.sparse_model=sparse",
}

_AUTO_MODEL: Any = AutoModelForCausalLM  # half-typed upstream


def load(
    name: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    revision: str = "",
    *,
    offline: bool = False,
    trust_remote_code: bool = False,
    bos: str = "auto",
    twin: bool = False,
) -> Model:
    """Load a model by bundled name, folder or hub id, and check it against Hugging Face's own forward pass.

    device    auto (cuda, mps, cpu) | cpu | cuda | cuda:1 | mps
    dtype     auto (the checkpoint's on a CUDA GPU; float32 elsewhere, and for a bundled model) | float32 | float16 |
              bfloat16
    revision  hub branch, tag or commit;  offline  use the hub's local cache only
    bos       auto (what the tokenizer does by default) | always | never
    twin      memory must also fit a random twin

    Raises ModelError, in one line, for everything the user can fix.
    """
    chosen = pick_device(device)
    pick_dtype(dtype, {}, chosen)  # a misspelt one is refused before anything is fetched

    def admit(counts: Mapping[str, int], unembedding: int = 0) -> None:
        number = pick_dtype(dtype, counts, chosen)
        check_memory(sum(counts.values()), unembedding, number, chosen, str(name), twin=twin)

    found = _find(str(name), revision, offline=offline, trust_remote_code=trust_remote_code, bos=bos, admit=admit)
    counts = found.facts.counts
    admit(counts, found.facts.unembedding)
    hf_model = _read_weights(found, _dtype(dtype, found, chosen), trust_remote_code=trust_remote_code)
    return _assemble(hf_model, found.record, found.tokens, chosen)


def stream(
    name: str | Path, device: str = "auto", revision: str = "", *, offline: bool = False, bos: str = "auto"
) -> Weights:
    """The static weights of a model that need not fit into memory: each tensor is read on demand."""
    chosen = pick_device(device)
    found = _find(str(name), revision, offline=offline, trust_remote_code=False, bos=bos)
    check = selfcheck.not_run("weights streamed from disk: there is no forward pass")
    record = msgspec.structs.replace(found.record, self_check=check)
    source: WeightSource
    if found.header is None:
        layout, facts = LAYOUTS[record.family], found.facts
        embed = f"{layout.embed}.weight"
        source = DiskSource(facts.files, layout.prefix, {embed: checks.tied_names(facts.config, facts.family, embed)})
    else:
        source = gguf.GgufSource(found.header, found.config, record.id)
    return StaticWeights(source, found.config, record, found.tokens, chosen)


def inspect(
    name: str | Path,
    dtype: str = "auto",
    device: str = "auto",
    revision: str = "",
    *,
    offline: bool = False,
    trust_remote_code: bool = False,
    twin: bool = False,
) -> tuple[ModelRecord, int, Tokens]:
    """The record of a model whose weights stay unread, the bytes that it needs on the device, and its tokenizer.

    twin  as in load
    """
    found = _find(str(name), revision, offline=offline, trust_remote_code=trust_remote_code, bos="auto")
    number = _dtype(dtype, found, pick_device(device))
    record = msgspec.structs.replace(found.record, dtype=str(number).removeprefix("torch."))
    return record, needed_bytes(found.facts.n_params, found.facts.unembedding, number, twin=twin), found.tokens


def random_twin(model: Model, seed: int) -> Model:
    """The same architecture with weights redrawn by Hugging Face's own initialisation; same tokenizer.

    A control: the scores of an untrained model. Marked synthetic; `seed` is in its id.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        hf_model = _AUTO_MODEL.from_config(copy.deepcopy(model.config), attn_implementation="eager").eval()
    dtype = getattr(torch, model.record.dtype)
    record = msgspec.structs.replace(
        model.record,
        id=f"{model.record.id} (random twin, seed {seed})",
        slug=f"{model.record.slug}-twin-{seed}",
        content_hash=hashlib.sha256(f"{model.record.content_hash} twin {seed}".encode()).hexdigest(),
        synthetic=True,
        hub_id="",
    )
    return _assemble(hf_model.to(dtype), record, model.tokens, model.device)


def set_threads(threads: int) -> None:
    """Set torch's number of CPU threads; 0 leaves its own choice. SettingsError for an implausible number."""
    check_threads(threads)
    if threads > 0:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Found:
    """A model on disk that has passed every check but memory. `header`: of a GGUF file, None for a folder."""

    folder: Path
    facts: Facts
    config: Any
    tokens: Tokens
    record: ModelRecord
    header: Header | None = None


def _find(
    name: str, revision: str, *, offline: bool, trust_remote_code: bool, bos: str, admit: hub.Admit = hub.admit_all
) -> _Found:
    place = _resolve(name, revision, offline=offline, trust_remote_code=trust_remote_code, admit=admit)
    if place.file:
        return _find_gguf(place, bos)
    facts = checks.check_folder(place.folder, place.id, trust_remote_code=trust_remote_code)
    config = _read_config(place.folder, place.id, trust_remote_code=trust_remote_code)
    checks.check_sizes(config, facts, place.id)
    tokens = read_tokens(place.folder, place.id, bos, trust_remote_code=trust_remote_code)
    tokens.keep_within(facts.embedding_rows, lambda v, added: checks.check_vocabulary(v, added, facts, place.id))
    return _Found(place.folder, facts, config, tokens, _record(place, facts, config, tokens))


def _find_gguf(place: hub.Place, bos: str) -> _Found:
    """As `_find`, for a GGUF file: everything is in one file."""
    with gguf.parsed_once(place.folder / place.file, place.id) as header:
        facts, config = gguf.read(header, place.id)
        checks.check_sizes(config, facts, place.id)
        tokens = _useful(lambda: gguf.read_tokenizer(header, place.id), place.id, bos, adds_bos=header.adds_bos)
    tokens.keep_within(facts.embedding_rows, lambda v, added: checks.check_vocabulary(v, added, facts, place.id))
    record = _record(place, facts, config, tokens)
    if header.quantisation:
        title = re.sub(rf"[-._]{re.escape(header.quantisation)}$", "", place.id, flags=re.IGNORECASE)
        record = msgspec.structs.replace(record, quantisation=header.quantisation, title=title, dtype="float32")
    return _Found(place.folder, facts, config, tokens, record, header)


def _resolve(name: str, revision: str, *, offline: bool, trust_remote_code: bool, admit: hub.Admit) -> hub.Place:
    """The location of the model's files; downloads them if `name` is a hub id."""
    bundled = bundled_folder(name)
    if bundled is not None:
        folder = bundled
        if not folder.is_dir():
            raise ModelError(f"The bundled model {name!r} is not part of this copy.", f"Make it: {REMADE[name]}")
        return hub.Place(folder, name, "bundled")
    folder = expanded(name)
    if is_folder(folder):
        lone = gguf.lone_file(folder, name)
        return hub.Place(folder, lone.stem if lone else folder.resolve().name, "folder", file=lone.name if lone else "")
    if is_file(folder) and folder.suffix.lower() == gguf.SUFFIX:
        return hub.Place(folder.parent, folder.stem, "folder", file=folder.name)
    if is_file(folder):
        raise ModelError(f"{name} is a file.", "Give a GGUF file, a Hugging Face folder, a hub id, or mini.")
    repository, colon, file = name.rpartition(":")
    if colon and repository.count("/") == 1 and file.lower().endswith(gguf.SUFFIX):
        if ".." in Path(file).parts or file.startswith("/"):
            raise ModelError(f"{file!r} is not a file of a hub model.", "Give owner/name:file.gguf.")
        return hub.fetch_file(repository, file, revision, offline=offline)
    if hub.looks_like_path(name):
        what = "file" if folder.suffix.lower() == gguf.SUFFIX else "folder"
        raise ModelError(f"There is no {what} {name!r}.", "Give a Hugging Face folder, a GGUF file, a hub id, or mini.")
    return hub.fetch(name, revision, offline=offline, trust_remote_code=trust_remote_code, admit=admit)


def on_this_machine(name: str) -> hub.Place:
    """The location of a previously loaded model's files: no download. ModelError if they are gone."""
    return _resolve(name, "", offline=True, trust_remote_code=False, admit=hub.admit_all)


def save_tokenizer(place: hub.Place, into: Path) -> None:
    """Put the model's tokenizer files into the folder `into`; those of a GGUF file are made from it."""
    if place.file:
        with gguf.parsed_once(place.folder / place.file, place.id) as header, quiet():
            gguf.read_tokenizer(header, place.id).save_pretrained(into)
        return
    for name in TOKENIZER_FILES:
        if (place.folder / name).is_file():
            shutil.copy(place.folder / name, into / name)


def _read_config(folder: Path, label: str, *, trust_remote_code: bool) -> Any:
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except checks.BAD_CONFIG as error:
        raise ModelError(f"config.json of {label} is not valid: {error}.", "Download it again.") from error
    config._attn_implementation = "eager"  # patterns exist in no other implementation
    return config


def read_tokens(folder: Path, label: str, bos: str = "auto", *, trust_remote_code: bool = False) -> Tokens:
    """The folder's tokenizer. tokenizer.json is read as it stands; older folders go through AutoTokenizer."""
    folder = tokenizer_folder(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(f"{label} has no tokenizer.", "Put its tokenizer.json into the folder.")

    def read() -> Any:
        if (folder / "tokenizer.json").is_file():
            return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)

    path = folder / "tokenizer_config.json"
    adds_bos = bool(checks.read_json(path, label).get("add_bos_token")) if path.is_file() else False
    return _useful(read, label, bos, adds_bos=adds_bos)


def _useful(read: Callable[[], Any], label: str, bos: str, *, adds_bos: bool) -> Tokens:
    """The tokenizer that `read` returns, tested; ModelError if it can't be read or used."""
    with _tokenizer(label), quiet():
        tokenizer = read()
    with _tokenizer(label):  # one that was read may still be of no use
        tokens = Tokens(tokenizer, bos, adds_bos=adds_bos)
        is_silent = not tokens.encode("a") or tokens.size == 0
    if is_silent:
        raise ModelError(f"The tokenizer of {label} encodes text as no tokens.", "Save it again as tokenizer.json.")
    return tokens


@contextmanager
def _tokenizer(label: str) -> Iterator[None]:
    """Turn any exception of tokenizers into a ModelError: its Rust code raises bare Exceptions."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"The tokenizer of {label} can't be read: {error}.", "Download it again.") from error


def _read_weights(found: _Found, dtype: torch.dtype, *, trust_remote_code: bool) -> Any:
    """The Hugging Face model; refused if any weight would stay randomly initialised."""
    if found.header is not None:
        return gguf.read_model(found.header, found.config, found.record.id, dtype)
    try:
        with quiet():
            hf_model, info = _AUTO_MODEL.from_pretrained(
                found.folder, config=found.config, dtype=dtype, use_safetensors=True, local_files_only=True,
                attn_implementation="eager", trust_remote_code=trust_remote_code, output_loading_info=True,
            )  # fmt: skip
    except checks.BAD_CONFIG as error:
        raise ModelError(
            f"{found.record.id} can't be loaded: {error}.", "Check config.json against the weights."
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{found.record.id} lacks {len(missing)} weights, e.g. {missing[0]}.", "Download it again.")
    return hf_model.eval()


def _dtype(name: str, found: _Found, device: torch.device) -> torch.dtype:
    """The dtype to run in. Bundled models run in float32; their files are float16 only to save space."""
    return pick_dtype(name, {} if found.record.source == "bundled" else found.facts.counts, device)


def _assemble(hf_model: Any, record: ModelRecord, tokens: Tokens, device: torch.device) -> Model:
    """Move the model from the CPU to `device`, boot the bridge, and compare it with the model as it was before."""
    ids = selfcheck.sample_ids(tokens.size, record.n_ctx)
    expected = selfcheck.reference(hf_model, ids)
    hf_model = hf_model.to(device)
    tensors: dict[str, Tensor] = hf_model.state_dict(keep_vars=True)
    config = copy.deepcopy(hf_model.config)
    n_params = sum(p.numel() for p in hf_model.parameters())
    try:
        bridge = boot(hf_model)
    except (ValueError, KeyError, AttributeError, AssertionError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"TransformerLens can't wrap {record.id}: {error}.", "Report it with the config.json."
        ) from error
    dtype = hf_model.dtype
    record = msgspec.structs.replace(record, dtype=str(dtype).removeprefix("torch."), n_params=n_params)
    model = Model(bridge, tensors, config, record, tokens)
    check: SelfCheck = selfcheck.compare(expected, model.logits(ids), dtype)
    model.record = msgspec.structs.replace(record, self_check=check)
    return model


def _record(place: hub.Place, facts: Facts, config: Any, tokens: Tokens) -> ModelRecord:
    n_heads = config.num_attention_heads
    d_model = config.hidden_size
    multi_query = getattr(config, "multi_query", False)
    return ModelRecord(
        id=place.id,
        slug=place.id.replace("/", "--"),
        source=place.source,
        revision=place.revision,
        content_hash=content_hash(place.folder / place.file, trust_blobs=place.source == "hub"),
        family=facts.family,
        n_layers=config.num_hidden_layers,
        n_heads=n_heads,
        n_kv_heads=getattr(config, "num_key_value_heads", None) or (1 if multi_query else n_heads),
        d_model=d_model,
        d_head=getattr(config, "head_dim", None) or d_model // n_heads,
        d_vocab=facts.embedding_rows,
        n_ctx=checks.context_of(config),
        n_params=facts.n_params,
        dtype=main_dtype(facts.counts),
        weights="raw",
        bos=tokens.bos_rule,
        synthetic=bool(facts.config.get("reportgen_synthetic", False)),  # random weights say so in config.json
        hub_id=place.hub_id,
    )
