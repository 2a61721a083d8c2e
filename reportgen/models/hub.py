"""From a hub id to a folder in the hub's cache: fetches only config, tokenizer and safetensors, or one GGUF file.

- One request comes first: it names the files, so that a repository without safetensors, of an unsupported family or
  with quantised weights is refused before anything large is downloaded, and an unreachable hub costs one attempt
  instead of the client's five (23 seconds).
- HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are respected, and read when a model is requested.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined]  # whichever client it uses
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from reportgen.errors import ModelError, nearest
from reportgen.models import checks

# The content hash of a model folder: sha256 over the sorted (name, sha256) of config, tokenizer and weight files. Of a
# GGUF file, which is a complete model, it is the sha256 of the file.
#
# - Digests of large files are remembered by (path, size, mtime_ns) in one small JSON file in the user's cache folder.
# - In the hub's cache a weight file is a link to a blob named by its sha256: that name is trusted, nothing is re-read.
#   A copy of the same files in a plain folder therefore has the same hash.

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model",
)  # fmt: skip
_SMALL = 1 << 20  # bytes below which remembering a digest is not worth it
_MOST = 20_000  # digests remembered: sweeps over hundreds of checkpoints
_SHA256 = re.compile(r"[0-9a-f]{64}")
Known = dict[str, list[object]]  # path -> [size, mtime_ns, sha256]


class Digests:
    """sha256 of files, those of large ones remembered: open one for many folders, and `keep` at the end."""

    def __init__(self) -> None:
        self._known = _recall()
        self._new = False

    def of(self, path: Path) -> str:
        """The file's sha256 as hex; read only where (path, size, mtime_ns) is not known."""
        digest, fresh = _digest(path, self._known)
        self._new = self._new or fresh
        return digest

    def keep(self) -> None:
        """Write what is new to the user's cache."""
        if self._new:
            _remember(self._known)
            self._new = False


def content_hash(folder: Path, *, trust_blobs: bool = False, digests: Digests | None = None) -> str:
    """sha256 of the folder's model files, or of a GGUF file, as hex. `trust_blobs`: in the hub's own cache."""
    if folder.is_file():
        used = digests or Digests()
        whole = (_blob(folder) if trust_blobs else None) or used.of(folder)
        if digests is None:
            used.keep()
        return whole
    home = tokenizer_folder(folder)
    tokenizer = [p for n in TOKENIZER_FILES if (p := home / n).is_file()]
    files = [p for p in (folder / "config.json", *tokenizer) if p.is_file()] + _weights(folder)
    used = digests or Digests()
    total = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.name):
        digest = (_blob(path) if trust_blobs else None) or used.of(path)
        total.update(f"{path.name}\0{digest}\n".encode())
    if digests is None:
        used.keep()
    return total.hexdigest()


def tokenizer_folder(folder: Path) -> Path:
    """The folder of a checkpoint's tokenizer: its own, or the parent, where a trainer saves it once."""
    has = {home: any((home / name).is_file() for name in TOKENIZER_FILES) for home in (folder, folder.parent)}
    return folder.parent if has[folder.parent] and not has[folder] else folder


def _weights(folder: Path) -> list[Path]:
    """model.safetensors, or every safetensors file where the model is in shards."""
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(p for p in folder.glob("*.safetensors") if p.is_file())


def _blob(path: Path) -> str | None:
    """The sha256 in the name of the blob that a snapshot's link points to."""
    target = path.resolve()
    return (
        target.name if path.is_symlink() and target.parent.name == "blobs" and _SHA256.fullmatch(target.name) else None
    )


def _digest(path: Path, known: Known) -> tuple[str, bool]:
    """A file's sha256, and whether it was added to `known`."""
    real = str(path.resolve())
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    entry = known.get(real)
    if entry is not None and entry[:2] == stamp and isinstance(entry[2], str):
        return entry[2], False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.st_size < _SMALL:
        return digest, False
    known.pop(real, None)
    known[real] = [*stamp, digest]
    return digest, True


def cache_file() -> Path:
    """Where digests are remembered: $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "reportgen" / "digests.json"


def _recall() -> Known:
    """The remembered digests; a damaged or foreign file counts as empty."""
    try:
        value = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if isinstance(v, list) and len(v) == 3 and _SHA256.fullmatch(str(v[2]))}


def _remember(known: Known) -> None:
    """Write the newest digests atomically. A cache that can't be written is not an error."""
    path = cache_file()
    newest = dict(list(known.items())[-_MOST:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(newest, file)
        Path(name).replace(path)
    except OSError:
        return


_TIMEOUT_S = 10.0
# Ids without an owner that the hub forwards; needed where it can't be asked.
_FORWARDED = {
    "gpt2": "openai-community", "gpt2-medium": "openai-community", "gpt2-large": "openai-community",
    "gpt2-xl": "openai-community", "distilgpt2": "distilbert",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A model's files on this machine.

    id      hub id as typed, the folder's name, or the bundled name
    source  "bundled" | "folder" | "hub";  revision  hub commit;  hub_id  owner/name, for published head lists
    file    the GGUF file in `folder` that is the model; "" where the folder is
    """

    folder: Path
    id: str
    source: str
    revision: str = ""
    hub_id: str = ""
    file: str = ""


def looks_like_path(name: str) -> bool:
    """Whether `name` can only be a folder."""
    return name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1


Admit = Callable[[Mapping[str, int]], None]


def admit_all(counts: Mapping[str, int]) -> None:
    """Accept any size."""


def fetch(
    name: str,
    revision: str = "",
    *,
    offline: bool = False,
    trust_remote_code: bool = False,
    admit: Admit = admit_all,
) -> Place:
    """The snapshot of a hub model, downloaded where the cache lacks it; ModelError for what goes wrong.

    `admit` gets the number of parameters by type, where the hub tells, and raises when that is too many.
    """
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _told(api, name, revision):
        validate_repo_id(name)
    if offline or constants.HF_HUB_OFFLINE:
        return _cached(name, revision, "and --offline forbids downloading it")
    try:
        with _hushed(), _told(api, name, revision):
            return _download(api, name, revision, trust_remote_code=trust_remote_code, admit=admit)
    except (ClientError, LocalEntryNotFoundError, ConnectionError) as error:
        reason = f"{api.endpoint} can't be reached ({_first_line(error)})"
        return _cached(name, revision, f"and {reason}")


def fetch_file(name: str, file: str, revision: str = "", *, offline: bool = False) -> Place:
    """One GGUF file of a hub model: `owner/name:file.gguf`. ModelError for what goes wrong."""
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _told(api, name, revision):
        validate_repo_id(name)
    common: dict[str, Any] = {"revision": revision or "main", "cache_dir": _cache_dir()}
    why, hub_id = "and --offline forbids downloading it", name
    if not (offline or constants.HF_HUB_OFFLINE):
        try:
            with _hushed(), _told(api, name, revision):
                info = api.model_info(name, revision=revision or None, timeout=_TIMEOUT_S)
                ggufs = _ggufs(sibling.rfilename for sibling in info.siblings or [])
                if file not in ggufs:
                    raise ModelError(f"{name} on the hub has no file {file!r}.", nearest(file, ggufs or ["none"]))
                return _of_file(Path(api.hf_hub_download(name, file, **common)), name, file, info.id)
        except (ClientError, LocalEntryNotFoundError, ConnectionError) as error:
            why = f"and {api.endpoint} can't be reached ({_first_line(error)})"
    try:
        with _hushed():
            found = Path(api.hf_hub_download(name, file, local_files_only=True, **common))
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{name}:{file} is not in the local cache, {why}.", "Give a local file, or mini.") from error
    return _of_file(found, name, file, hub_id)


def _of_file(path: Path, name: str, file: str, hub_id: str) -> Place:
    commit = path.parents[file.count("/")].name  # snapshots/<commit>/<file>
    return Place(path.parent, Path(file).stem, "hub", commit, hub_id, path.name)


def _ggufs(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(".gguf"))


def revisions(name: str, *, offline: bool = False) -> dict[str, str]:
    """Branches and tags of a hub model with their commits, in one request. Empty where the hub can't be asked."""
    if offline or constants.HF_HUB_OFFLINE:
        return {}
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        with _hushed(), _told(api, name, ""):
            found = api.list_repo_refs(name)
    except (ClientError, ConnectionError):
        return {}
    return {ref.name: ref.target_commit for ref in (*found.branches, *found.tags)}


@contextlib.contextmanager
def _told(api: HfApi, name: str, revision: str) -> Iterator[None]:
    """What the hub refuses, as one line."""
    try:
        yield
    except HFValidationError as error:
        raise ModelError(
            f"{name!r} is neither a folder nor a hub id.", "Give owner/name, a folder, or mini."
        ) from error
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is gated: its owner grants access.",
            f"Ask on its page at {api.endpoint}/{name}, then set HF_TOKEN.",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model {name!r} on {api.endpoint}, and no folder of that name.",
            "Check the spelling; if it is private, set HF_TOKEN.",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision!r}.", "Give a branch, tag or commit.") from error


def _download(api: HfApi, name: str, revision: str, *, trust_remote_code: bool, admit: Admit) -> Place:
    info = api.model_info(name, revision=revision or None, timeout=_TIMEOUT_S)
    present = {sibling.rfilename for sibling in info.siblings or []}
    common: dict[str, Any] = {"revision": revision or "main", "cache_dir": _cache_dir()}
    if (ggufs := _ggufs(present)) and not any(name.endswith(".safetensors") for name in present):
        raise ModelError(f"{name} on the hub has GGUF files: {', '.join(ggufs[:6])}.", f"Name one: {name}:{ggufs[0]}")
    if "config.json" not in present:
        raise ModelError(f"{name} on the hub has no config.json.", "Give a Hugging Face language model.")
    config = checks.read_config(Path(api.hf_hub_download(name, "config.json", **common)), name)
    checks.check_config(config, name, trust_remote_code=trust_remote_code)
    if checks.SINGLE in present:
        weights = [checks.SINGLE]
    elif checks.INDEX in present:
        index = checks.read_json(Path(api.hf_hub_download(name, checks.INDEX, **common)), name)
        weights = checks.shards(index, name)
    else:
        checks.refuse_no_weights(present, name)
    if info.safetensors is not None:
        admit(info.safetensors.parameters)
    wanted = ["config.json", *TOKENIZER_FILES, *weights, *([checks.INDEX] if checks.SINGLE not in weights else [])]
    if trust_remote_code:
        wanted.append("*.py")
    folder = Path(api.snapshot_download(name, allow_patterns=wanted, **common))
    return Place(folder, name, "hub", folder.name, info.id)


def _cached(name: str, revision: str, why: str) -> Place:
    """The snapshot in the local cache, where it is whole."""
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        with _hushed():
            folder = Path(
                api.snapshot_download(
                    name, revision=revision or None, cache_dir=_cache_dir(), local_files_only=True,
                    allow_patterns=["config.json"],
                )
            )  # fmt: skip
    except LocalEntryNotFoundError as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ModelError(f"{name}{at} is not in the local cache, {why}.", "Give a local folder, or mini.") from error
    try:
        checks.weight_files(folder, name)
    except ModelError as error:
        raise ModelError(f"{name} is only partly in the local cache, {why}.", "Download it while online.") from error
    owner = _FORWARDED.get(name)
    return Place(folder, name, "hub", folder.name, f"{owner}/{name}" if owner else name)


def _cache_dir() -> str | None:
    """The hub's cache folder as the environment says now; None leaves it to the client."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return cache
    home = os.environ.get("HF_HOME")
    return str(Path(home) / "hub") if home else None


def _first_line(error: BaseException) -> str:
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    return (str(error) or type(error).__name__).splitlines()[0][:120]


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """The client's advice silenced, and its progress bars where nobody watches."""
    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not are_progress_bars_disabled() and not sys.stderr.isatty()
    logger.setLevel(logging.ERROR)
    if bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()
