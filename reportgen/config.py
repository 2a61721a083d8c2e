"""What the user asked for: options, `--set SUITE.FIELD=VALUE` and reportgen.toml; the command line wins.

reportgen.toml:

    model = "mini"
    suite = ["relations", "attention"]
    preset = "quick"

    [suites.relations]
    tau = 0.2
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import msgspec

from reportgen.errors import SettingsError, nearest
from reportgen.reading import read_toml

PRESETS = ("quick", "full")
MOST_THREADS = 1024
Given = dict[str, dict[str, object]]  # suite -> setting -> value
ALIASES = {  # options that stand for a setting of a suite: option -> (suite, setting)
    "relations": (("relations", "relations_dir"),),
    "tasks": (("circuits", "tasks_file"),),
    "cognitive_data": (("cognitive", "data"),),
    "text": (("attention", "text_file"), ("circuits", "text_file"), ("sparse", "text")),
    "prompt": (("sparse", "prompt"),),
    "answer": (("sparse", "answer"),),
    "foil": (("sparse", "foil"),),
}


@dataclass(frozen=True)
class Options:
    """Everything `reportgen run` can be told. Defaults are the command line's."""

    model: str = "mini"
    suites: tuple[str, ...] = ()  # none = all
    preset: str = "quick"
    settings: Given = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0  # 0 = as many as torch chooses
    out: str = "runs"
    name: str = ""
    revision: str = ""
    seed: int = 0
    offline: bool = False
    trust_remote_code: bool = False
    selftest: bool = True  # where no result is kept for this installation, run the self-test first (6 s)
    stream: bool = False  # static scores only, weights read from disk one tensor at a time
    overlays: tuple[str, ...] = ()
    published: str = ""
    no_overlay: bool = False
    cmap: str = "viridis"
    palette: str = "published"
    legend: str = "outside"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise SettingsError(f"No preset {self.preset!r}.", nearest(self.preset, PRESETS))
        check_threads(self.threads)
        if not 0 <= self.seed < 2**31:
            raise SettingsError(f"--seed {self.seed} is out of range.", "Give a whole number from 0 to 2147483647.")


def check_threads(threads: int) -> None:
    """SettingsError for a number of threads that no machine has: torch would end the program on some of them."""
    if not 0 <= threads <= MOST_THREADS:
        raise SettingsError(f"--threads {threads}: expected 0 to {MOST_THREADS:,}.", "Give the number of CPU threads.")


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """reportgen.toml; None = not said."""

    model: str | None = None
    preset: str | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    out: str | None = None
    name: str | None = None
    revision: str | None = None
    seed: int | None = None
    offline: bool | None = None
    selftest: bool | None = None
    overlays: list[str] | None = None
    published: str | None = None
    cmap: str | None = None
    palette: str | None = None
    legend: str | None = None
    suite: list[str] | None = None  # names of the suites to run, as --suite
    suites: dict[str, dict[str, object]] | None = None  # [suites.NAME]: settings, as --set


def read_config(path: Path) -> dict[str, object]:
    """Fields of `Options` said in a TOML file; DataError names the file and the place."""
    said = read_toml(path, _File, "See 'reportgen run --help' for the options a config can hold.")
    values: dict[str, object] = {
        f.name: getattr(said, f.name)
        for f in fields(Options)
        if f.name not in ("settings", "suites") and getattr(said, f.name, None) is not None
    }
    if said.suites is not None:
        values["settings"] = said.suites
    if said.suite is not None:
        values["suites"] = tuple(said.suite)
    if said.overlays is not None:
        values["overlays"] = tuple(said.overlays)
    return values


def parse_set(entries: Iterable[str]) -> Given:
    """`SUITE.FIELD=VALUE` strings as nested settings; SettingsError for another shape."""
    given: Given = {}
    for entry in entries:
        path, equals, value = entry.partition("=")
        suite, dot, name = path.strip().partition(".")
        if not (equals and dot and suite and name):
            raise SettingsError(f"--set {entry!r} is not SUITE.FIELD=VALUE.", "For example --set relations.tau=0.2")
        given.setdefault(suite, {})[name] = value.strip()
    return given


def with_aliases(settings: Given, given: Mapping[str, object], chosen: Collection[str]) -> Given:
    """`settings` with those that the options `given` stand for, of the suites `chosen` (none = all)."""
    found = {suite: dict(values) for suite, values in settings.items()}
    for option, value in given.items():
        for suite, name in ALIASES[option]:
            if value not in (None, "") and (not chosen or suite in chosen):
                found.setdefault(suite, {})[name] = str(value)
    return found


def options_of(**said: object) -> Options:
    """Options by the names of Python or of the command line: `suite="relations"`, `set={"relations.tau": 0.2}`.

    Raises SettingsError for a name that neither knows, with the nearest ones.
    """
    from reportgen.suites import listed

    known = {f.name for f in fields(Options)}
    words = {_IN_PYTHON.get(name, name): value for name, value in said.items()}
    given = {name: words.pop(name) for name in ALIASES if name in words}
    dotted = words.pop("set", None) or {}
    for name in words:
        if name not in known:
            raise SettingsError(f"There is no option {name!r}.", nearest(name, {*known, *ALIASES, "set", "suite"}))
    if not isinstance(dotted, Mapping):
        raise SettingsError(f"set={dotted!r} is no mapping.", 'For example set={"relations.tau": 0.2}')
    for name in ("suites", "overlays"):
        if name in words:
            words[name] = _several(words[name])
    chosen = words["suites"] = listed(_several(words.get("suites")))
    own = words.pop("settings", None)
    settings: Given = {suite: dict(values) for suite, values in own.items()} if isinstance(own, Mapping) else {}
    for path, value in dotted.items():
        suite, dot, name = str(path).partition(".")
        if not (suite and dot and name):
            raise SettingsError(f"set={{{path!r}: ...}} is not SUITE.FIELD.", 'For example set={"relations.tau": 0.2}')
        settings.setdefault(suite, {})[name] = value
    words["settings"] = with_aliases(settings, given, chosen)
    kept = {name: value for name, value in words.items() if value is not None}
    return replace(Options(), **{k: str(v) if isinstance(v, Path) else v for k, v in kept.items()})  # type: ignore[arg-type]


_IN_PYTHON = {"suite": "suites", "overlay": "overlays"}  # the command line's word -> the field


def _several(value: object) -> tuple[str, ...]:
    """One name or path, or a sequence of them."""
    if isinstance(value, str | Path):
        return (str(value),)
    return tuple(str(part) for part in value) if isinstance(value, Iterable) else ()


def merge(base: Mapping[str, object], said: Mapping[str, object]) -> Options:
    """Options from a config file's fields and the command line's; the latter win, settings field by field."""
    settings: Given = {}
    for source in (base.get("settings"), said.get("settings")):
        if isinstance(source, Mapping):
            for suite, values in source.items():
                settings.setdefault(str(suite), {}).update(values)
    fields_said = {**base, **said, "settings": settings}
    return replace(Options(), **fields_said)  # type: ignore[arg-type]
