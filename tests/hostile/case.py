"""What a hostile input is, as data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEEP = 10**6  # brackets


@dataclass(frozen=True)
class Link:
    """A symbolic link; `{here}` in the target is the case's folder."""

    target: str


@dataclass(frozen=True)
class Folder:
    """An empty folder."""


@dataclass(frozen=True)
class Pipe:
    """A named pipe that nobody writes to: whoever opens it waits for ever."""


@dataclass(frozen=True)
class Locked:
    """A file that may not be read."""

    content: bytes = b"x"


Content = bytes | str | Link | Folder | Pipe | Locked


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, standard output and error, paths written outside the case's folder."""

    code: int
    out: str
    err: str
    strayed: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One hostile input.

    name    unique, begins with the kind of input
    words   of the command; `{here}` is the case's folder, which is also the working folder
    says    regular expression that the one line on standard error must hold: the place, and what is expected
    files   by their path in the case's folder
    base    valid folders made once (see bases.py) and copied here under these names
    damage  what is done to the case's folder when all is there
    code    exit code; 0: the input is odd and must be taken, with everything in it escaped
    check   looks at what a taken input became
    """

    name: str
    words: tuple[str, ...]
    says: str = ""
    files: Mapping[str, Content] = field(default_factory=dict)
    base: tuple[str, ...] = ()
    damage: Callable[[Path], object] | None = None
    code: int = 2
    check: Callable[[Outcome, Path], object] | None = None

    def argv(self, here: Path) -> list[str]:
        """The words with the case's folder filled in."""
        return [word.replace("{here}", str(here)) for word in self.words]

    def write(self, here: Path) -> None:
        """Write the case's files."""
        for name, content in self.files.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            match content:
                case bytes():
                    path.write_bytes(content)
                case str():
                    path.write_bytes(content.encode())
                case Link(target):
                    path.symlink_to(target.replace("{here}", str(here)))
                case Folder():
                    path.mkdir()
                case Pipe():
                    os.mkfifo(path)
                case Locked(inside):
                    path.write_bytes(inside)
                    path.chmod(0)

    @property
    def needs_permissions(self) -> bool:
        """Whether the case means nothing to root, who may read everything."""
        return any(isinstance(content, Locked) for content in self.files.values())


# What any file can be in place of what it should be: (suffix of the case's name, content, what the line says).
def odd_files(name: str) -> tuple[tuple[str, Content, str], ...]:
    """Contents that no text file should have; `name` is the file's own, for links to itself."""
    return (
        ("folder", Folder(), f"{name}.*(Is a directory|no file|expected the extension|not a |holds no .txt)"),
        ("pipe", Pipe(), f"{name}.*(not a regular file|no file)"),
        ("endless", Link("/dev/zero"), f"{name}.*(not a regular file|no file)"),
        ("loop", Link(name), f"{name}.*(symbolic links|no file|There is no)"),
        ("dangling", Link("nowhere"), f"{name}.*(No such file|no file|There is no)"),
        ("locked", Locked(), f"{name}.*(Permission denied|permissions)"),
    )


def garbled(name: str) -> tuple[tuple[str, Content, str], ...]:
    """Bytes that are no UTF-8 text."""
    return (
        ("latin-1", "caf\u00e9".encode("latin-1"), f"{name}.*UTF-8"),
        ("utf-16", "[1]".encode("utf-16"), f"{name}.*UTF-8"),
        ("binary", bytes(range(256)) * 4, f"{name}.*UTF-8"),
    )


def missing(name: str) -> Content:
    """A file that is not there: a link to nothing, so that the case is data like the others."""
    return Link(f"no-{name}")
