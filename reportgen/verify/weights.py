"""Where the weights of a stored run are on this machine, found by their content hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportgen.errors import ModelError, UserError
from reportgen.files import expanded, is_file, is_folder
from reportgen.manifest import Manifest, ModelRecord

MOST_FOLDERS = 200  # folders of remembered weights that are looked into


@dataclass(frozen=True)
class Found:
    """What to give `reportgen run` as its model; why: where it was found, or why it was not (`name` is empty then)."""

    name: str
    revision: str = ""
    why: str = ""


def find(manifest: Manifest, given: str = "", *, offline: bool = False) -> Found:
    """The model of a run by name, folder or file whose content hash is the run's.

    given    a folder, a GGUF file or a hub id; empty: looked for
    offline  do not ask the hub

    Raises ModelError where what is given is no model, or is another one: its hash is not the run's.
    """
    model = manifest.model
    if given:
        return _given(model, given, offline)
    if model.source == "bundled":
        return Found(model.id, why="the bundled model")
    typed = [word for word in manifest.argv[1:] if not word.startswith("-")]
    if path := by_hash(model.content_hash, (model.id, model.slug), typed):
        return Found(str(path), why=f"{path}, by its hash")
    if model.source == "hub" and model.hub_id:
        file = model.id if model.quantisation else ""
        name = f"{model.hub_id}:{file}.gguf" if file else model.hub_id
        return Found(name, model.revision, f"{name} on the hub, revision {model.revision[:12] or 'main'}")
    return Found("", why=f"no weights with the hash {model.content_hash[:12]} were found on this machine")


def by_hash(content_hash: str, names: Sequence[str], typed: Sequence[str] = ()) -> Path | None:
    """The folder or GGUF file with this content hash, where it is on this machine.

    Looked into: the paths `typed`, `names` beside here, in models/ and in the cache, all that was hashed before.
    """
    return next((path for path in _candidates(content_hash, names, typed) if _hash(path) == content_hash), None)


def _given(model: ModelRecord, given: str, offline: bool) -> Found:
    from reportgen.models import load  # imports torch

    path = expanded(given)
    if not (is_folder(path) or is_file(path)):
        return Found(given, model.revision if model.source == "hub" else "", f"{given}, as given")
    place = load.on_this_machine(given)
    found = _hash(place.folder / place.file)
    if found != model.content_hash:
        raise ModelError(
            f"{given} is another model: its hash is {found[:12]}, the run's is {model.content_hash[:12]}.",
            "Give the folder, GGUF file or hub id that was scored.",
        )
    return Found(given, why=f"{given}, by its hash")


def _hash(path: Path) -> str:
    """The content hash of a model's folder or GGUF file; empty where it has none."""
    from reportgen.models import hub

    try:
        found = next(iter(sorted(path.glob("*.gguf"))), path) if path.is_dir() else path
        lone = found is not path and not (path / "config.json").is_file()
        return hub.content_hash(found if lone else path)
    except (OSError, UserError, ValueError):
        return ""


def _candidates(content_hash: str, names: Sequence[str], typed: Sequence[str]) -> Iterator[Path]:
    homes = [Path(), Path("models"), expanded("~/.cache/reportgen/models")]
    beside = [home / name for home in homes for model in names for name in (model, f"{model}.gguf")]
    seen: set[Path] = set()
    for path in (*map(expanded, typed), *beside, *_remembered(content_hash)):
        real = path.resolve()
        model_file = path.suffix.lower() == ".gguf" and is_file(path)
        if real not in seen and (model_file or (is_folder(path) and _holds_model(path))):
            seen.add(real)
            yield path


def _holds_model(path: Path) -> bool:
    return is_file(path / "config.json") or any(path.glob("*.gguf"))


def _remembered(content_hash: str) -> list[Path]:
    """Of the weight files whose digests are remembered: the one that is the model, else the folders they are in."""
    from reportgen.models import hub

    try:
        known = json.loads(hub.cache_file().read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(known, dict):
        return []
    same = [Path(path) for path, entry in known.items() if isinstance(entry, list) and entry[-1:] == [content_hash]]
    weights = [Path(path).parent for path in known if path.endswith(".safetensors")]
    return [*same, *list(dict.fromkeys(reversed(weights)))[:MOST_FOLDERS]]


def other_model(model: ModelRecord, place: Found, *, offline: bool = False) -> str:
    """Why what is at `place` is not the run's model; empty if it is. Its weights are hashed, and stay unread.

    Raises ModelError where it can't be had.
    """
    from reportgen.models import load

    record, _, _ = load.inspect(place.name, revision=place.revision, offline=offline)
    if record.content_hash == model.content_hash:
        return ""
    return (
        f"{place.name} has another hash than the model scored: {record.content_hash[:12]} now, "
        f"{model.content_hash[:12]} stored"
    )
