"""The content hash of a model folder: sha256 over the sorted (name, sha256) of config, tokenizer and weight files.
Of a GGUF file, which is a whole model, it is the sha256 of the file.

- Digests of large files are remembered by (path, size, mtime_ns) in one small JSON file in the user's cache folder.
- In the hub's cache a weight file is a link to a blob named by its sha256: that name is trusted, nothing is re-read.
  A copy of the same files in a plain folder therefore has the same hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

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
    """Where the tokenizer of a checkpoint lies: its folder, or the one above, as where a trainer saves it once."""
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
    """Write the newest digests, whole or not at all. A cache that can't be written is no error."""
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
