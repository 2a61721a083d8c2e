"""Windows: in which order, of what length, what is left out, and what stands for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reportgen.errors import NotApplicable
from reportgen.models.tokens import Tokens
from reportgen.suites.text.scoring import stream
from reportgen.suites.text.scoring.stream import TAIL, Window, batches, by_hash, cut, of_text
from tests import kinds
from tests.tiny import WORDS, word_tokenizer

LENGTH = 40


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(word_tokenizer(bos=True), adds_bos=True)


def text(count: int, seed: int) -> str:
    return " " + " ".join(np.random.default_rng(seed).choice(WORDS, count))


def lines(folder: Path, sizes: list[int], name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"text": text(n, i)}) + "\n" for i, n in enumerate(sizes)), "utf-8")
    return path


def test_first_windows_of_all_documents_come_before_second_ones(tokens: Tokens, tmp_path: Path) -> None:
    found = of_text(tokens, str(lines(tmp_path, [100, 300, 50])), 9, LENGTH)
    assert [(w.document, w.place) for w in found.windows][:6] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (1, 2)]
    assert {int(w.ids[0]) for w in found.windows} == {tokens.bos_id}
    assert max(len(w.ids) for w in found.windows) == LENGTH
    assert min(len(w.ids) for w in found.windows) >= TAIL
    assert found.dropped_tokens == (100 - 78) + (50 - 39)  # ends of documents, below the least
    first = found.windows[0]
    whole = tokens.encode(text(100, 0))
    assert first.ids[1:].tolist() == whole[:39]
    assert first.following == whole[39]
    assert first.next_ids[:-1].tolist() == first.ids[1:].tolist()


def test_enough_documents_end_the_reading(tokens: Tokens) -> None:
    taken = []

    def endless():  # type: ignore[no-untyped-def]
        while True:
            taken.append(1)
            yield np.random.default_rng(len(taken)).integers(2, 100, 60)

    found = cut(endless(), tokens, 8, LENGTH, "x")
    assert len(taken) == len(found.windows) == 8


def test_a_repeated_document_counts_once(tokens: Tokens) -> None:
    one, two = (np.random.default_rng(i).integers(2, 100, 400) for i in range(2))
    found = cut(iter([one, two, one]), tokens, 20, LENGTH, "x")
    assert found.repeated > 0
    assert len({w.ids.tobytes() for w in found.windows}) == len(found.windows)


def test_little_text_and_foreign_text_are_refused(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="at least 300"):
        of_text(tokens, str(lines(tmp_path, [100, 20])), 20, LENGTH)
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("слово " * 600, "utf-8")
    with pytest.raises(NotApplicable, match="unknown to this tokenizer"):
        of_text(tokens, str(foreign), 20, LENGTH)


def test_other_scripts_endless_lines_and_long_lines_give_windows(tmp_path: Path) -> None:
    tokens = kinds.tokens("bytes")
    path = tmp_path / "a.txt"
    endless = "".join(np.random.default_rng(0).choice(list("日本語のテキストを書く"), 60_000))
    path.write_text(f"{endless}\n\n\n{text(10_000, 0)}", "utf-8")
    found = of_text(tokens, str(path), 12, 64)
    assert len(found.windows) == 12
    assert {w.document for w in found.windows} == {0, 1}


def test_the_shipped_passages_fill_a_full_run() -> None:
    texts = [json.loads(line)["text"] for line in stream.PASSAGES.read_text("utf-8").splitlines()]
    assert len(texts) >= 20
    assert sum(map(len, texts)) > 150_000
    assert not [t for t in texts if "Gutenberg" in t or "\x00" in t]


def windows(count: int) -> list[Window]:
    rng = np.random.default_rng(0)
    return [Window(rng.integers(2, 50, 40 - i % 3), 3, i, bytes([i]) * 16, 0) for i in range(count)]


def test_the_hash_of_a_window_does_not_know_the_order() -> None:
    some = windows(9)
    assert {w.document for w in by_hash(some, 3, 4)} == {w.document for w in by_hash(some[::-1], 3, 4)}
    assert [w.document for w in by_hash(some, 3, 9)] != [w.document for w in by_hash(some, 4, 9)]


def test_shuffled_windows_keep_their_tokens_and_the_first_place() -> None:
    whole = stream.Stream(tuple(windows(6)), "x")
    mixed = whole.shuffled(0, 4)
    assert len(mixed.windows) == 4
    for window in mixed.windows:
        plain = whole.windows[window.document]
        assert sorted(window.ids) == sorted(plain.ids)
        assert window.ids[0] == plain.ids[0]
        assert window.ids.tolist() != plain.ids.tolist()


def test_batches_hold_equally_long_windows() -> None:
    some = windows(10)
    found = list(batches(some, 2))
    assert sorted(i for rows in found for i in rows) == list(range(10))
    assert all(len({len(some[i].ids) for i in rows}) == 1 and len(rows) <= 2 for rows in found)
