"""What a site is called, where it will stand, and which runs it shows: site.toml and the command line.

title = "Attention heads of small models"
description = "One report per model."
url = "https://me.github.io/heads/"
runs = ["runs/*"]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from reportgen.errors import DataError, RunError, SettingsError
from reportgen.reading import is_file, is_folder, read_toml
from reportgen.runfolder import MANIFEST, Run

MOST_RUNS = 2000


@dataclass(frozen=True)
class Site:
    """A site's words. `url` is absolute and ends in '/', or empty where it is not known yet."""

    title: str = "Attention heads"
    description: str = "Scores of every attention head, one report per model."
    url: str = ""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError as error:  # http://[
            raise SettingsError(f"url {self.url!r} is not an http address ({error}).") from error
        if self.url and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
            raise SettingsError(f"url {self.url!r} is not an http address.", "For example https://me.github.io/heads/")
        if self.url and not self.url.endswith("/"):
            object.__setattr__(self, "url", f"{self.url}/")

    @property
    def root(self) -> str:
        """The path that the site stands under, for pages that are served from anywhere in it."""
        return urlsplit(self.url).path or "/"


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    title: str = Site.title
    description: str = Site.description
    url: str = ""
    runs: list[str] = []


def read_site(path: Path) -> tuple[Site, list[Path]]:
    """The site and the run folders that a site.toml names (patterns are relative to it). DataError names the place."""
    said = read_toml(path, _File, "It can hold title, description, url and runs.")
    folders: list[Path] = []
    for pattern in said.runs:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise DataError(f"{path}: runs {pattern!r} leads out of its folder.", "Give paths below site.toml.")
        try:
            found = sorted(p for p in path.parent.glob(pattern) if is_file(p / MANIFEST))
        except (ValueError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{path}: runs {pattern!r} is no pattern ({why}).", "For example runs/*") from error
        if not found:
            raise DataError(f"{path}: no run folder matches {pattern!r}.", "Store one there: reportgen run --out ...")
        folders += found
    return Site(said.title, said.description, said.url), folders


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs in these folders; a folder of runs stands for all of them. RunError: none, or two of one name."""
    runs: dict[str, Run] = {}
    for path in dict.fromkeys(Path(os.path.realpath(found)) for given in paths for found in _expanded(given)):
        run = Run.open(path)
        slug = run.manifest.model.slug
        if slug in runs:
            raise RunError(f"{path} and {runs[slug].path} are both called {slug!r}.", "Score one with another --name.")
        runs[slug] = run
    if not runs:
        raise RunError("No runs for the site.", "Name run folders, or a site.toml: reportgen site --config site.toml")
    if len(runs) > MOST_RUNS:
        raise RunError(f"{len(runs)} runs; a site holds at most {MOST_RUNS}.")
    return list(runs.values())


def _expanded(path: Path) -> Sequence[Path]:
    if is_file(path / MANIFEST) or not is_folder(path):
        return [path]
    return sorted(p.parent for p in path.glob(f"*/{MANIFEST}")) or [path]
