from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np
import pytest

from reportgen.report.snippets import snippets
from reportgen.scores import NamedArray, SuiteResult
from tests.report import sample


def changed(**arrays: NamedArray | None) -> SuiteResult:
    found = sample.result()
    kept = {name: array for name, array in {**found.arrays, **arrays}.items() if array is not None}
    return dataclasses.replace(found, arrays=kept)


def test_words_places_and_weights_come_back() -> None:
    found: Any = snippets(sample.result("new\u202eword"))
    assert found["words"][2] == "</script>"
    assert "\u202e" not in found["words"][1]
    assert (found["places"], found["length"], found["keys"]) == (["100%", "50%"], 5, 1)
    assert list(base64.b64decode(found["key"])[:2]) == [1, 255]
    assert list(base64.b64decode(found["weight"])[:2]) == [204, 0]
    assert list(base64.b64decode(found["query"])[:2]) == [3, 8]
    assert len(base64.b64decode(found["sink"])) == sample.LAYERS * sample.HEADS * 2


def test_more_words_take_more_bits() -> None:
    words = tuple(f"w{i}" for i in range(300))
    found: Any = snippets(changed(snippet_words=NamedArray(("word",), np.arange(300), {"word": words})))
    assert found["text_bits"] == 16
    assert np.frombuffer(base64.b64decode(found["text"]), "<u2").tolist()[:5] == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    "arrays",
    [
        {"snippet_query": None},
        {"snippet_query": NamedArray(("layer", "head", "place"), np.full((3, 4, 2), 99))},
        {"snippet_text": NamedArray(("window", "pos"), np.full((2, 5), 7))},
        {"snippet_key": NamedArray(("layer", "head", "place", "key"), np.full((3, 4, 2, 1), 5))},
        {"snippet_sink": NamedArray(("layer", "head"), np.zeros((3, 4), np.float32))},
        {"snippet_words": NamedArray(("word",), np.arange(4))},
    ],
    ids=["missing", "beyond the text", "beyond the words", "key beyond the window", "other shape", "no words"],
)
def test_arrays_that_do_not_agree_are_left_out(arrays: dict[str, NamedArray | None]) -> None:
    assert snippets(changed(**arrays)) is None
