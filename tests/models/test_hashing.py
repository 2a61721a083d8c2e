"""The content hash: what it depends on, and the memory of digests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reportgen.models import hub
from reportgen.models.hub import cache_file, content_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "a")


def write(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 400_000)  # 2.8 MB: worth remembering
    return folder


def test_hash_is_of_content_not_of_place(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "b")
    (other / "README.md").write_text("not part of the model")
    assert content_hash(folder) == content_hash(other)
    assert len(content_hash(folder)) == 64


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"])
def test_every_model_file_counts(folder: Path, name: str) -> None:
    before = content_hash(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert content_hash(folder) != before


def test_a_renamed_shard_counts(folder: Path) -> None:
    before = content_hash(folder)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert content_hash(folder) != before


def test_large_files_are_read_once(folder: Path) -> None:
    before = content_hash(folder)
    weights = folder / "model.safetensors"
    known = json.loads(cache_file().read_text())
    assert list(known) == [str(weights.resolve())]  # small files are not worth remembering
    stamp = weights.stat()
    weights.write_bytes(b"W" + weights.read_bytes()[1:])
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_hash(folder) == before  # same size and time: the remembered digest was used
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert content_hash(folder) != before


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": [1, 2, "no digest"]}', "\x00"])
def test_a_damaged_memory_counts_as_empty(folder: Path, content: str) -> None:
    before = content_hash(folder)
    cache_file().write_text(content)
    assert content_hash(folder) == before
    assert str((folder / "model.safetensors").resolve()) in json.loads(cache_file().read_text())


def test_a_memory_that_cannot_be_written_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = folder / "file"
    blocker.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    assert len(content_hash(folder)) == 64


def test_only_the_newest_digests_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_MOST", 3)
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(json.dumps({f"/old/{i}": [1, 1, "0" * 64] for i in range(5)}))
    content_hash(folder)
    known = list(json.loads(cache_file().read_text()))
    assert known == ["/old/3", "/old/4", str((folder / "model.safetensors").resolve())]


def test_blob_names_of_the_hubs_cache_are_trusted_only_there(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    cached = write(tmp_path / "snapshot")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    weights = cached / "model.safetensors"
    digest = hub.hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.unlink()
    (blobs / digest).write_bytes(b"never read")
    weights.symlink_to(blobs / digest)
    assert content_hash(cached, trust_blobs=True) == content_hash(plain)
    assert content_hash(cached) != content_hash(plain)
