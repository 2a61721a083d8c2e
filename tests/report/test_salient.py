from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np

from reportgen.report.salient import MOST_CELLS, Salient, salient
from reportgen.suites.relations.salient_table import Operation
from tests.report import sample


def rows(data: dict[str, Any]) -> np.ndarray:  # type: ignore[type-arg]
    """[head place word] indices."""
    cells = np.frombuffer(base64.b64decode(data["cells"]), f"<u{data['bits'] // 8}")
    return cells.reshape(-1, data["places"], 1 + 2 * data["outputs"])


def test_words_come_back_and_gaps_stay_gaps() -> None:
    found = salient(sample.result("M\x07ary"))
    assert found is not None
    data: Any = found.data()
    cells, words = rows(data), data["words"]
    assert words == [r"M\u{7}ary", "</script>", "new\nline"]
    assert (cells[0] == 2**16 - 1).all()  # L0H0 has no entry
    first = [None if i == 2**16 - 1 else words[i] for i in cells[1, 0]]
    assert first == [r"M\u{7}ary", "</script>", "new\nline", "new\nline", "</script>"]
    sigma = np.frombuffer(base64.b64decode(data["sigma"]), "<f2").reshape(-1, data["places"])
    assert np.isnan(sigma[0]).all()
    assert sigma[1, 0] == 1.5


def test_results_without_the_table_have_none() -> None:
    assert salient(dataclasses.replace(sample.result(), arrays={})) is None


def test_many_heads_get_fewer_tokens_each() -> None:
    token = Operation("a", 1.0, ("b",) * 5, ("c",) * 5)
    heads = tuple(tuple((token,) * 15 for _ in range(64)) for _ in range(80))
    assert salient(sample.result()).places == 2  # type: ignore[union-attr]
    fits = MOST_CELLS // (80 * 64 * 11)
    assert 1 <= fits < 10
    data: Any = Salient(heads, fits, 5).data()
    assert rows(data).shape == (5120, fits, 11)
