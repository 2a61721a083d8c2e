"""ro-crate-metadata.json of a run folder: a Process Run Crate 0.6 (RO-Crate 1.3), an action for each finished suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from reportgen import suites
from reportgen.files import there, write_atomic
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.runfolder import MANIFEST, Run, resume_key

NAME = "ro-crate-metadata.json"
CRATE = "https://w3id.org/ro/crate/1.3"
PROFILE = "https://w3id.org/ro/wfrun/process/0.6"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
TOOL = "https://pypi.org/project/reportgen/"
MIT = "https://spdx.org/licenses/MIT"
_KINDS = {".json": "application/json", ".safetensors": "application/octet-stream", ".toml": "application/toml"}

Entity = dict[str, Any]


def write(run: Run) -> Path:
    """Write the crate's metadata into the run folder, atomically. RunError where it can't be written."""
    path = run.path / NAME
    write_atomic(path, msgspec.json.format(msgspec.json.encode(crate(run)), indent=2) + b"\n")
    return path


def crate(run: Run) -> Entity:
    """The metadata as JSON-LD: the root, its files, the program, the model, and what was run when and with what."""
    manifest = run.manifest
    done = {name: record for name, record in manifest.scored().items() if record.status == "done"}
    files = [_file(run.path, MANIFEST, "The run: model, settings, versions, digests")]
    files += [_file(run.path, f"scores/{name}", f"Scores of {suite}") for suite, r in done.items() for name in r.sha256]
    files += [_file(run.path, f"overlays/{name}", "The user's head sets") for name in manifest.overlays]
    files += [
        _file(run.path, f"drawn/{n}.json", f"Figures of {n}") for n in done if there(run.path / f"drawn/{n}.json")
    ]
    actions = [_action(manifest, name, record) for name, record in done.items()]
    settings = [value for name, record in done.items() for value in _settings(name, record)]
    root: Entity = {
        "@id": "./", "@type": "Dataset", "name": f"Attention heads of {manifest.model.described}",
        "description": f"Scores of every attention head of {manifest.model.described}, made by reportgen.",
        "datePublished": manifest.updated, "conformsTo": _ref(PROFILE), "license": _ref("#licence"),
        "hasPart": [_ref(f["@id"]) for f in files], "mentions": [_ref(a["@id"]) for a in actions],
    }  # fmt: skip
    about: Entity = {
        "@id": NAME, "@type": "CreativeWork", "conformsTo": _ref(CRATE), "about": _ref("./"),
    }  # fmt: skip
    others = [_licence(), _profile(), *_programs(done), _model(manifest), _agent(), *_data(done)]
    return {"@context": [f"{CRATE}/context", TERMS], "@graph": [about, root, *others, *files, *actions, *settings]}


def _ref(name: str) -> dict[str, str]:
    return {"@id": name}


def _file(folder: Path, name: str, words: str) -> Entity:
    path = folder / name
    size = {"contentSize": str(path.stat().st_size)} if path.is_file() else {}
    return {
        "@id": name, "@type": "File", "name": name, "description": words,
        "encodingFormat": _KINDS.get(path.suffix, "application/octet-stream"), **size,
    }  # fmt: skip


def _licence() -> Entity:
    return {
        "@id": "#licence", "@type": "CreativeWork", "name": "Licence of the scores",
        "description": "Not stated by the run: who publishes it chooses. reportgen itself is under the MIT licence.",
    }  # fmt: skip


def _profile() -> Entity:
    return {"@id": PROFILE, "@type": ["CreativeWork", "Profile"], "name": "Process Run Crate", "version": "0.6"}


def _programs(done: Mapping[str, SuiteRecord]) -> list[Entity]:
    """reportgen with each set of versions that scored, the packages as its requirements, and their pages."""
    found: dict[str, Entity] = {}
    for record in done.values():
        packages = [_package(name, version) for name, version in record.versions.items() if name != "reportgen"]
        tool = {
            "@id": _tool(record), "@type": "SoftwareApplication", "name": "reportgen", "url": _ref(TOOL),
            "version": record.versions.get("reportgen", "unknown"), "license": _ref(MIT),
            "softwareRequirements": [_ref(package["@id"]) for package in packages],
        }  # fmt: skip
        pages = [{"@id": p["url"]["@id"], "@type": "WebPage", "name": p["name"]} for p in (*packages, tool)]
        found |= {entity["@id"]: entity for entity in (*packages, tool, *pages)}
    licence = {"@id": MIT, "@type": "CreativeWork", "name": "MIT License", "description": "The licence of reportgen"}
    return [licence, *found.values()]


def _package(name: str, version: str) -> Entity:
    page = "https://www.python.org/" if name == "python" else f"https://pypi.org/project/{name}/"
    return {
        "@id": f"{page}#{version}", "@type": "SoftwareApplication", "name": name, "url": _ref(page), "version": version,
    }  # fmt: skip


def _tool(record: SuiteRecord) -> str:
    """The program with these versions of everything: suites of one run may have been scored with others."""
    return f"{TOOL}#{record.versions.get('reportgen', 'unknown')}-{resume_key(versions=record.versions)[:8]}"


def _model_id(manifest: Manifest) -> str:
    model = manifest.model
    return f"https://huggingface.co/{model.hub_id}" if model.hub_id else f"#model-{model.content_hash[:12]}"


def _model(manifest: Manifest) -> Entity:
    model = manifest.model
    return {
        "@id": _model_id(manifest), "@type": "CreativeWork", "name": model.described,
        "version": model.revision or model.content_hash[:12], "identifier": f"sha256:{model.content_hash}",
        "description": f"{model.family} with {model.n_layers} layers of {model.n_heads} query heads",
    }  # fmt: skip


def _agent() -> Entity:
    return {"@id": "#agent", "@type": "Person", "name": "Not stated by the run"}


def _data(done: Mapping[str, SuiteRecord]) -> list[Entity]:
    """Data files by name and digest; they are not part of the crate."""
    return [
        {"@id": f"#data-{suite}-{name}", "@type": "CreativeWork", "name": name, "identifier": f"sha256:{sha}"}
        for suite, record in done.items()
        for name, sha in record.data.items()
    ]


def _action(manifest: Manifest, suite: str, record: SuiteRecord) -> Entity:
    known = suites.drawable([suite]).get(suite)
    inputs = [_model_id(manifest), *(f"#data-{suite}-{name}" for name in record.data)]
    return {
        "@id": f"#run-{suite}", "@type": "CreateAction", "name": f"Scoring: {known.title if known else suite}",
        "description": " ".join(manifest.argv), "instrument": _ref(_tool(record)), "agent": _ref("#agent"),
        **_times(manifest),
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "object": [*map(_ref, inputs), *(_ref(value["@id"]) for value in _settings(suite, record))],
        "result": [_ref(f"scores/{name}") for name in record.sha256],
    }  # fmt: skip


def _times(manifest: Manifest) -> dict[str, str]:
    """When the one command that made the run began; a run of several commands does not say which scored what."""
    return {"startTime": manifest.updated} if manifest.created == manifest.updated else {}


def _settings(suite: str, record: SuiteRecord) -> list[Entity]:
    """Settings, and after them the conditions of the run, which may have the same names."""
    conditions = {
        "seed": record.seed, "preset": record.preset, "device": record.device, "dtype": record.dtype,
        "threads": record.threads, "version": record.version,
    }  # fmt: skip
    found = {f"{suite}.{name}": (f"#{suite}-{name}", value) for name, value in record.settings.items()}
    found |= {f"run of {suite}, {name}": (f"#run-{suite}-{name}", value) for name, value in conditions.items()}
    return [
        {"@id": key, "@type": "PropertyValue", "name": name, "value": _plain(value)}
        for name, (key, value) in found.items()
    ]


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
