"""Atomic writes and digests: a file exists whole or not at all, also after a crash."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from pathlib import Path

from reportgen.errors import RunError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to a temporary name beside `path`, fsync, rename. RunError when the disk is full or read-only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it private; a report is there to be shared
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


_FOLDERS = ("scores", "drawn", "overlays", "report", "report/figures")


def check_inside(folder: Path) -> None:
    """RunError where a link in a run's or sweep's folder would have its files written elsewhere.

    `folder` itself may be a link: that was its owner's choice. What lies in it may have come from anywhere.
    """
    links = [folder / name for name in (*_FOLDERS, ".lock") if (folder / name).is_symlink()]
    if links:
        raise RunError(f"{links[0]} is a link out of the folder: nothing is written through it.", "Remove the link.")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can (Windows cannot open folders)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """RunError where `folder` could not be made or written, said before hours of work rather than after them."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise unwritable(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(place, os.W_OK | os.X_OK):
        raise unwritable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def unwritable(path: Path, error: OSError) -> RunError:
    """One line for a path that cannot be written, with the next thing to do."""
    if error.errno in _FULL:
        return RunError(f"No room left to write {path}.", "Free some space or choose another folder with --out DIR.")
    return RunError(f"Can't write {path}: {error.strerror or error}.", "Choose another folder with --out DIR.")


def digest(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
