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

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from reportgen.config import Options
from reportgen.errors import SettingsError, nearest
from reportgen.reading import read_toml

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
                f"--gpus {self.gpus:g}: Ray lends whole GPUs above 1.", "Give a fraction below 1, or 2."
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
            raise SettingsError("The sweep names no model.", "Add [[models]] with model = ... to sweep.toml.")


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


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
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
    said = read_toml(path, _File, "README.md has a sweep.toml to start from.")
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
