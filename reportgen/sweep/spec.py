"""What to sweep: models with their revisions, suites and settings, and the engine.

sweep.toml:

    name = "growing-up"                  # folder under out
    suite = ["attention", "relations"]   # none: all
    engine = "ray"                       # local | ray
    threads = 1

    [[models]]
    model = "EleutherAI/pythia-70m"
    revisions = ["step1000", "step2000"]

    [[models]]
    model = "./mini-trained"             # a folder of checkpoint folders; no revisions: all of them
    label = "mini"

    [suites.relations]
    tau = 0.2

    [ray]
    address = "auto"
    cpus = 4
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from reportgen.config import Options
from reportgen.errors import ModelError, SettingsError, nearest
from reportgen.files import expanded, is_file, is_folder, read_toml
from reportgen.runfolder import slug_of

# Models and revisions as members: where each is found, its run folder's name, its training step.
#
# A folder that holds checkpoint folders is a model whose revisions they are. Of a hub model, revisions are branches,
# tags or commits: all of its names are asked for once, so that a misspelt one is told before anything runs.

_COMMIT = re.compile(r"[0-9a-f]{40}")
_STEP = re.compile(r"(?:step|steps|checkpoint|ckpt|iter|iteration)[-_=]?(\d{1,12})(?!\d)", re.IGNORECASE)
_DIGITS = re.compile(r"\d{1,12}")


@dataclass(frozen=True)
class Member:
    """One (model, revision).

    slug      name of its run folder
    model     what the loader gets: a bundled name, a hub id, or a folder's absolute path
    revision  hub commit (or the name as typed where the hub can't be asked); empty for folders
    label     the model in words;  name  the revision as typed;  step  its training step, where it is known
    folder    of the checkpoint, on this machine; None for hub models
    """

    slug: str
    model: str
    revision: str
    label: str
    name: str
    step: int | None
    folder: Path | None = None

    @property
    def title(self) -> str:
        return f"{self.label} @ {self.name}" if self.name else self.label


Commits = Mapping[tuple[str, str], str]  # (model, revision as typed) -> commit


def members(spec: SweepSpec, earlier: Commits = MappingProxyType({})) -> list[Member]:
    """Every member of a sweep, models in the order given, steps ascending. ModelError: an unknown model or revision.

    earlier  commits that this sweep had before: they stand in where the hub can't be asked
    """
    found = [member for model in spec.models for member in _of_model(model, earlier, offline=spec.options.offline)]
    slugs = [member.slug.lower() for member in found]  # file names may ignore case
    doubles = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if doubles:
        raise SettingsError(
            f"Two members of the sweep are called {doubles[0]!r}.", "Give their models different labels."
        )
    return found


def step_of(name: str) -> int | None:
    """The training step that a revision's name says: `step1000`, `checkpoint-500`, `1000`; None where it says none."""
    match = _STEP.search(name)
    if match:
        return int(match[1])
    return int(name) if _DIGITS.fullmatch(name) else None


def _of_model(model: ModelSpec, earlier: Commits, *, offline: bool) -> list[Member]:
    named = [_named(text) for text in model.revisions]
    folder = expanded(model.model)
    if is_folder(folder):
        return _of_folder(folder.absolute(), model, named)
    if is_file(folder):
        label = model.label or folder.stem
        return [Member(slug_of(label), str(folder.absolute()), "", label, "", step_of(folder.stem), folder.absolute())]
    if model.model.startswith(("/", ".", "~")):
        raise ModelError(f"There is no folder {model.model!r}.", "Give a folder of checkpoint folders, or a hub id.")
    label = model.label or model.model
    if model.model == "mini":
        if named:
            raise ModelError(f"The bundled model has no revision {named[0][0]!r}.", "Train it: reportgen mini train")
        return [Member(slug_of(label), model.model, "", label, "", None)]
    if not named:
        return [Member(slug_of(label), model.model, "", label, "", None)]
    commits = _commits(model.model, [name for name, _ in named], offline=offline)
    return _sorted(
        Member(slug_of(label, name), model.model, _commit(commits, earlier, model.model, name), label, name, step)
        for name, step in named
    )


def _named(text: str) -> tuple[str, int | None]:
    """`NAME=STEP`, or a name that says its step."""
    name, equals, step = text.rpartition("=")
    if equals and name and _DIGITS.fullmatch(step):
        return name, int(step)
    return text, step_of(text)


def _of_folder(folder: Path, model: ModelSpec, named: list[tuple[str, int | None]]) -> list[Member]:
    label = model.label or folder.resolve().name
    inside = {path.name: path for path in folder.iterdir() if is_file(path / "config.json")}
    inside |= {path.name: path for path in folder.glob("*.gguf") if is_file(path)}
    if not named and is_file(folder / "config.json"):
        steps = [name for name in inside if step_of(name) is not None]  # a trainer's output: the end, and checkpoints
        own = Member(slug_of(label), str(folder), "", label, "", step_of(folder.name), folder)
        return _sorted([*(_inside(label, name, inside) for name in steps), own])
    if not inside:
        raise ModelError(f"{folder} holds no checkpoint folder.", "Give a folder whose subfolders have a config.json.")
    unknown = [name for name, _ in named if name not in inside]
    if unknown:
        raise ModelError(f"{folder} has no checkpoint {unknown[0]!r}.", nearest(unknown[0], inside))
    wanted = named or [(name, step_of(name)) for name in inside if not name.startswith(".")]
    return _sorted(replace(_inside(label, name, inside), step=step) for name, step in wanted)


def _inside(label: str, name: str, inside: Mapping[str, Path]) -> Member:
    """The member that a checkpoint in a folder is."""
    return Member(slug_of(label, name), str(inside[name]), "", label, name, step_of(name), inside[name])


def _sorted(found: Iterable[Member]) -> list[Member]:
    """Steps ascending, members without one last, by name."""
    return sorted(found, key=lambda m: (m.step is None, m.step or 0, m.name))


def _commit(commits: Mapping[str, str], earlier: Commits, model: str, name: str) -> str:
    """What the hub says, or said to the sweep before; the name itself where neither knows it."""
    return commits.get(name) or earlier.get((model, name)) or name


def _commits(model: str, names: list[str], *, offline: bool) -> Mapping[str, str]:
    """Name -> commit of a hub model's revisions; ModelError names the first unknown one and what is near."""
    from reportgen.models import hub

    known = hub.revisions(model, offline=offline)
    unknown = [name for name in names if known and name not in known and not _COMMIT.fullmatch(name)]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise ModelError(f"{model} has no revision {unknown[0]!r}{more}.", nearest(unknown[0], known))
    return known


ENGINES = ("local", "ray")
PER = ("model", "suite")
_GIB = 2**30
_MOST = 1_000_000  # CPUs, GPUs, GiB or retries


@dataclass(frozen=True)
class RayOptions:
    """How Ray is used.

    address     HOST:PORT of a running cluster or "auto"; empty: a local one is started and stopped
    cpus, gpus  reserved for a task, fractions allowed (cpus 0: as many as --threads, at least 1)
    memory_gib  memory reserved for a task; 0: none
    retries     how often a task is started again after its worker or machine was lost
    per         one task for all suites of a model (it is loaded once), or one for each suite
    """

    address: str = ""
    cpus: float = 0.0
    gpus: float = 0.0
    memory_gib: float = 0.0
    retries: int = 3
    per: str = "model"

    def __post_init__(self) -> None:
        if self.per not in PER:
            raise SettingsError(f"--per {self.per!r} is neither model nor suite.", nearest(self.per, PER))
        for name in ("cpus", "gpus", "memory_gib", "retries"):
            if not 0 <= getattr(self, name) <= _MOST:
                raise SettingsError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 0 to {_MOST:,}.")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise SettingsError(
                f"--gpus {self.gpus:g}: above 1, Ray allows only whole GPUs.",
                "Give a fraction below 1, or 2.",
            )

    def resources(self, threads: int) -> dict[str, float]:
        """The resources of one task, as Ray names them."""
        asked = {"num_cpus": self.cpus or max(1, threads), "num_gpus": self.gpus, "memory": self.memory_gib * _GIB}
        return {name: value for name, value in asked.items() if value or name == "num_cpus"}


@dataclass(frozen=True)
class ModelSpec:
    """One model of a sweep. `revisions` as typed, "NAME=STEP" where the step is not in the name; empty: see members."""

    model: str
    revisions: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class SweepSpec:
    """Everything `reportgen sweep` can be told. `options` are those of every member; model, name, revision unused."""

    models: tuple[ModelSpec, ...]
    name: str = ""
    engine: str = "local"
    options: Options = field(default_factory=Options)
    ray: RayOptions = field(default_factory=RayOptions)
    reports: bool = False  # also every member's own report, not only its scores.csv

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise SettingsError(f"No engine {self.engine!r}.", nearest(self.engine, ENGINES))
        if not self.models:
            raise SettingsError("The sweep has no model.", "Add [[models]] with model = ... to sweep.toml.")


class _ModelEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    model: str
    revisions: list[str] = []
    label: str = ""


class _RayEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    memory_gib: float | None = None
    retries: int | None = None
    per: str | None = None


class _SweepFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """sweep.toml; None = not said."""

    models: list[_ModelEntry] = []
    name: str | None = None
    out: str | None = None
    engine: str | None = None
    reports: bool | None = None
    preset: str | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    seed: int | None = None
    offline: bool | None = None
    stream: bool | None = None
    trust_remote_code: bool | None = None
    suite: list[str] | None = None
    suites: dict[str, dict[str, object]] | None = None
    ray: _RayEntry = _RayEntry()


def read_spec(path: Path) -> dict[str, Any]:
    """What a sweep.toml says, as the fields that `make_spec` takes; DataError names the file and the place."""
    said = read_toml(path, _SweepFile, "docs/sweeps.md has an example of a sweep.toml.")
    values = {f: getattr(said, f) for f in said.__struct_fields__ if f not in ("models", "ray", "suite", "suites")}
    values["models"] = tuple(ModelSpec(m.model, tuple(m.revisions), m.label) for m in said.models)
    values["suites"] = tuple(said.suite) if said.suite is not None else None
    values["settings"] = said.suites
    values["ray"] = {f: getattr(said.ray, f) for f in said.ray.__struct_fields__}
    if path.stem != "sweep":
        values["name"] = said.name or path.stem
    return values


def make_spec(*sources: Mapping[str, Any]) -> SweepSpec:
    """The spec of several sources, the later ones winning; None = not said. Settings are merged field by field."""
    said: dict[str, Any] = {}
    ray: dict[str, Any] = {}
    settings: dict[str, dict[str, object]] = {}
    for source in sources:
        said |= {name: value for name, value in source.items() if value is not None}
        ray |= {name: value for name, value in (source.get("ray") or {}).items() if value is not None}
        for suite, values in (source.get("settings") or {}).items():
            settings.setdefault(suite, {}).update(values)
    own = {f.name for f in fields(Options)} - {"name", "settings"}
    options = replace(Options(), **{k: v for k, v in said.items() if k in own}, settings=settings)
    rest = {k: v for k, v in said.items() if k in ("models", "name", "engine", "reports")}
    if ray.get("address") and "engine" not in rest:
        rest["engine"] = "ray"  # an address can mean nothing else
    return SweepSpec(**{"models": (), **rest}, options=options, ray=RayOptions(**ray))


def parse_revisions(text: str) -> tuple[str, ...]:
    """`a,b=20` as its entries; SettingsError where one is empty."""
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise SettingsError(f"--revisions {text!r} has an empty entry.", "For example --revisions step1000,step2000")
    return found
