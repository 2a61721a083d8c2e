"""The command line in this process, watched: its output, its exit code, and what it writes and where."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reportgen import cli
from tests.hostile.case import Outcome

Command = Callable[..., Outcome]
LIMIT_S = 60
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree"}


class Watch:
    """Paths that this process writes to, makes or removes outside `allowed`, while it is set."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.strayed: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & _WRITING:
                self._note(path)
        elif event in _CHANGES:
            for path in args[:2] if event in ("os.rename", "os.symlink", "os.link") else args[:1]:
                self._note(path)

    def _note(self, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(path)
        real = os.path.realpath(Path.cwd() / Path(text).parent) + "/" + Path(text).name
        if text.endswith(".pyc") or "__pycache__" in text or text == os.devnull or ".pyc." in text:
            return
        if not Path(real).is_relative_to(str(self.allowed)):
            self.strayed.append(text)


WATCH = Watch()
sys.addaudithook(WATCH)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bases are made."""
    return tmp_path_factory.mktemp("bases")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`reportgen WORDS` in this process, as the installed command runs it, with `tmp_path` as working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / ".cache" / "inductor"))  # made where torch is imported
    monkeypatch.setenv("COLUMNS", "100")
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["reportgen", *words])
        capfd.readouterr()
        WATCH.allowed, WATCH.strayed = Path(os.path.realpath(tmp_path)), []
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(LIMIT_S)  # a command that waits for ever ends as after Ctrl-C, with 130
        try:
            with pytest.raises(SystemExit) as end:
                cli.main()
        finally:
            WATCH.allowed = None
            signal.alarm(0)
        said = capfd.readouterr()
        code = end.value.code
        return Outcome(code if isinstance(code, int) else 0, said.out, said.err, tuple(WATCH.strayed))

    yield run
    signal.signal(signal.SIGTERM, before)


def tree(folder: Path) -> dict[str, str]:
    """Every path below `folder` with what it is: digest, link target or folder. Locks and caches are left out."""
    found: dict[str, str] = {}
    for root, folders, files in os.walk(folder):
        at = Path(root)
        for name in (*folders, *files):
            path = at / name
            key = path.relative_to(folder).as_posix()
            if name in (".lock", "__pycache__") or "__pycache__/" in key or key.split("/")[0] == ".cache":
                continue
            if path.is_symlink():
                found[key] = f"-> {path.readlink()}"
            elif path.is_file() and os.access(path, os.R_OK):
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[key] = "folder" if path.is_dir() else "other"
    return found
