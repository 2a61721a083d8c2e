"""Text from files, read a piece at a time: documents, what is refused and where, and how little is held."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from reportgen.errors import DataError
from reportgen.suites import documents
from reportgen.suites.documents import check, files_of, read_share
from reportgen.suites.documents import documents as read

MOST = 1000


def made(folder: Path, content: bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_two_blank_lines_or_a_form_feed_begin_a_document(tmp_path: Path) -> None:
    path = made(tmp_path, "\ufeffOne\r\n\r\nstill one\r\n\r\n\r\nTwo\fThree\n\n\n \n\n\n".encode())
    assert [text.strip() for text in read(path, MOST)] == ["One\n\nstill one", "Two", "Three"]


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 64])
def test_where_pieces_end_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    path = made(tmp_path, "Grüße aus Köln\r\n\r\n\r\nzweites\n\n\n\ndrittes – Ende".encode())
    whole = list(read(path, MOST))
    monkeypatch.setattr(documents, "PIECE", piece)
    assert [text.strip() for text in read(path, MOST)] == [text.strip() for text in whole]
    assert len(whole) == 3


def test_json_lines_and_folders(tmp_path: Path) -> None:
    made(tmp_path, b'{"text": "b", "id": 7}\n\n"plain string"\n{"text": ""}\n', "b.jsonl")
    made(tmp_path, b"a", "a.md")
    made(tmp_path, b"never read", "c.csv")
    assert [p.name for p in files_of(tmp_path)] == ["a.md", "b.jsonl"]
    assert list(read(tmp_path, MOST)) == ["a", "b", "plain string"]
    check(tmp_path)
    assert read_share(tmp_path) == 1.0


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"ab\x00c", "a.txt", "byte 2: control character 0x00"),
        (b"ab\x1b[31m", "a.txt", "byte 2: control character 0x1B"),
        (b"abc\xff", "a.txt", "byte 3: not UTF-8"),
        (b"ab\xe2\x82", "a.txt", "byte 2: not UTF-8"),
        (b'{"text": "a"}\n{"text": 3}\n', "a.jsonl", "line 2: no field text"),
        (b'{"text": "a"}\n[1\n', "a.jsonl", "line 2: not JSON"),
        (b'{"text": "a\\u0000"}\n', "a.jsonl", "line 1: control character 0x00"),
        (b"[" * 100_000, "a.jsonl", "line 1: not JSON"),
    ],
)
def test_what_is_no_text_is_named_with_its_place(tmp_path: Path, content: bytes, name: str, words: str) -> None:
    path = made(tmp_path, content, name)
    with pytest.raises(DataError, match=words):
        list(read(path, MOST))


def test_what_is_no_text_is_found_far_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PIECE", 16)
    path = made(tmp_path, b"x" * 100 + b"\xc3(")
    with pytest.raises(DataError, match="byte 100: not UTF-8"):
        check(path)


def test_an_empty_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.txt"):
        files_of(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        check(tmp_path / "none.txt")
    check("")


def test_one_endless_line_is_not_held(tmp_path: Path) -> None:
    """48 MB without a line end: less than a sixth of it is ever in memory."""
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        for _ in range(48):
            file.write(b"word " * 200_000)
    tracemalloc.start()
    (text,) = read(path, 5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(text) == 5000
    assert peak < 8_000_000


def test_no_more_than_the_first_part_of_a_huge_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_READ", 40)
    path = made(tmp_path, b"first\n\n\nsecond" + b" and on" * 20 + b"\n\n\nthird")
    found = list(read(path, MOST))
    assert len(found) == 2
    assert read_share(path) == pytest.approx(40 / path.stat().st_size)
    lines = made(tmp_path, b'{"text": "first"}\n{"text": "second, cut in the middle"}\n', "l.jsonl")
    assert list(read(lines, MOST)) == ["first"]
