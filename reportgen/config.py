"""User options: the command line, `--set SUITE.FIELD=VALUE` and reportgen.toml; the command line takes precedence.

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
from typing import Any

import msgspec

from reportgen.errors import SettingsError, nearest
from reportgen.files import read_toml

PRESETS = ("quick", "full")
MOST_THREADS = 1024
Given = dict[str, dict[str, object]]  # suite -> setting -> value


def _option(
    default: object, words: str = "", *, shown: str = "", file: bool = True, flag: str = "", metavar: str = ""
) -> Any:
    """An option of `reportgen run`: its help, whether reportgen.toml may hold it, and its form on the command line."""
    said = {"help": words, "shown": shown or str(default), "file": file, "flag": flag, "metavar": metavar}
    return field(default=default, metadata=said)


@dataclass(frozen=True)
class Options:
    """All options of `reportgen run`, declared here for the command line, reportgen.toml and Python alike."""

    model: str = _option("mini", "mini, a hub id, a folder, or a GGUF file.")
    suites: tuple[str, ...] = _option((), file=False)  # none = all
    preset: str = _option("quick", "quick or full.")
    settings: Given = field(default_factory=dict)
    device: str = _option("auto", "auto, cpu, cuda, cuda:1 or mps.")
    dtype: str = _option("auto", "auto, float32, bfloat16 or float16.")
    threads: int = _option(0, "CPU threads; 0 = torch's choice.")
    out: str = _option("runs", "Folder for the run folder.")
    name: str = _option("", "Name of the run folder.", shown="from the model's id")
    revision: str = _option("", "Hub revision: branch, tag or commit.")
    seed: int = _option(0, "Random seed.")
    offline: bool = _option(False, "Use the local hub cache only.", flag="--offline")
    trust_remote_code: bool = _option(
        False, "Run Python code from the model's repository.", flag="--trust-remote-code", file=False
    )
    selftest: bool = _option(
        True, "Skip the self-test (6 s) if this installation has no result yet.", flag="--no-selftest"
    )
    stream: bool = _option(
        False, "Static scores only, with weights read from disk layer by layer.", flag="--stream", file=False
    )
    overlays: tuple[str, ...] = ()
    published: str = _option("", "Draw the published heads of this catalogue model.", metavar="KEY")
    no_overlay: bool = _option(
        False, "Draw neither published nor user head sets until the next render.", flag="--no-overlay", file=False
    )
    cmap: str = _option("viridis", "Colour scheme of score maps.")
    palette: str = _option("published", "published or safe.")
    legend: str = _option("outside", "Legend of score maps: outside or inside.")

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise SettingsError(f"No preset {self.preset!r}.", nearest(self.preset, PRESETS))
        check_threads(self.threads)
        if not 0 <= self.seed < 2**31:
            raise SettingsError(f"--seed {self.seed} is out of range.", "Give a whole number from 0 to 2147483647.")


def check_threads(threads: int) -> None:
    """SettingsError for an implausible number of threads: torch would abort on some of them."""
    if not 0 <= threads <= MOST_THREADS:
        raise SettingsError(f"--threads {threads}: expected 0 to {MOST_THREADS:,}.", "Give the number of CPU threads.")


_KINDS = {f.name: type(f.default) for f in fields(Options) if f.metadata.get("file")}
_ConfigFile = msgspec.defstruct(  # reportgen.toml; None = not given
    "_ConfigFile",
    [
        *((name, kind | None, None) for name, kind in _KINDS.items()),
        ("overlays", list[str] | None, None),
        ("suite", list[str] | None, None),  # names of the suites to run, as --suite
        ("suites", dict[str, dict[str, object]] | None, None),  # [suites.NAME]: settings, as --set
    ],
    forbid_unknown_fields=True,
    frozen=True,
)


def read_config(path: Path) -> dict[str, object]:
    """Fields of `Options` set in a TOML file; DataError names the file and the place."""
    said: Any = read_toml(path, _ConfigFile, "See 'reportgen run --help' for the options a config file can set.")
    values = {name: getattr(said, name) for name in _KINDS}
    values |= {"settings": said.suites, "suites": said.suite and tuple(said.suite)}
    values["overlays"] = said.overlays and tuple(said.overlays)
    return {name: value for name, value in values.items() if value is not None}


def parse_set(entries: Iterable[str]) -> Given:
    """`SUITE.FIELD=VALUE` strings as nested settings; SettingsError for any other form."""
    given: Given = {}
    for entry in entries:
        path, equals, value = entry.partition("=")
        suite, dot, name = path.strip().partition(".")
        if not (equals and dot and suite and name):
            raise SettingsError(f"--set {entry!r} is not SUITE.FIELD=VALUE.", "For example --set relations.tau=0.2")
        given.setdefault(suite, {})[name] = value.strip()
    return given


def with_aliases(settings: Given, chosen: Collection[str], **given: object) -> Given:
    """`settings` with those that the options `given` stand for, of the suites `chosen` (none = all).

    A setting says in its metadata which option stands for it: {"option": "text"}.
    """
    from reportgen.suites import choose

    found = {suite: dict(values) for suite, values in settings.items()}
    said = {option: value for option, value in given.items() if value not in (None, "")}
    for suite in choose(chosen) if said else ():
        for setting in fields(suite.settings):
            if setting.metadata.get("option") in said:
                found.setdefault(suite.name, {})[setting.name] = str(said[setting.metadata["option"]])
    return found


def options_of(**said: object) -> Options:
    """Options by the names of Python or of the command line: `suite="relations"`, `set={"relations.tau": 0.2}`.

    Raises SettingsError for an unknown name, with the nearest ones.
    """
    from reportgen.suites import BUILT_IN, listed

    aliases = {f.metadata["option"] for suite in BUILT_IN for f in fields(suite.settings) if "option" in f.metadata}
    known = {f.name for f in fields(Options)}
    words = {_IN_PYTHON.get(name, name): value for name, value in said.items()}
    given = {name: words.pop(name) for name in aliases if name in words}
    dotted = words.pop("set", None) or {}
    for name in words:
        if name not in known:
            raise SettingsError(f"There is no option {name!r}.", nearest(name, {*known, *aliases, "set", "suite"}))
    if not isinstance(dotted, Mapping):
        raise SettingsError(f"set={dotted!r} is not a mapping.", 'For example set={"relations.tau": 0.2}')
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
    words["settings"] = with_aliases(settings, chosen, **given)
    kept = {name: value for name, value in words.items() if value is not None}
    return replace(Options(), **{k: str(v) if isinstance(v, Path) else v for k, v in kept.items()})  # type: ignore[arg-type]


_IN_PYTHON = {"suite": "suites", "overlay": "overlays"}  # the command line's word -> the field


def _several(value: object) -> tuple[str, ...]:
    """One name or path, or a sequence of them."""
    if isinstance(value, str | Path):
        return (str(value),)
    return tuple(str(part) for part in value) if isinstance(value, Iterable) else ()


def merge(base: Mapping[str, object], said: Mapping[str, object]) -> Options:
    """Options from a config file and the command line; the latter takes precedence, field by field."""
    settings: Given = {}
    for source in (base.get("settings"), said.get("settings")):
        if isinstance(source, Mapping):
            for suite, values in source.items():
                settings.setdefault(str(suite), {}).update(values)
    fields_said = {**base, **said, "settings": settings}
    return replace(Options(), **fields_said)  # type: ignore[arg-type]
