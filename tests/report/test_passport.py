from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reportgen.report.build import build
from reportgen.report.document import Operation, Report, Salient
from reportgen.report.passport import MOST_CELLS, pack, passport, salient, salient_data, snippets
from reportgen.report.verdicts import RUNGS
from reportgen.scores import NamedArray, SuiteResult
from tests import fixtures
from tests.figures import samples
from tests.report import sample


def unpack(packed: Sequence[str]) -> npt.NDArray[np.float32]:
    """The grid's values [layer*head] again."""
    if packed[0] == "d":
        table = np.frombuffer(base64.b64decode(packed[1]), "<f4")
        return table[np.frombuffer(base64.b64decode(packed[2]), np.uint8)].astype(np.float32)
    return np.frombuffer(base64.b64decode(packed[1]), dtype=f"<{packed[0]}").astype(np.float32)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run")), suites=sample.SUITES)


@pytest.mark.parametrize(("scale", "exact", "kind"), [(1.0, True, "f"), (1.0, False, "e"), (1e6, False, "f")])
def test_grids_are_exact_or_keep_three_digits(scale: float, exact: bool, kind: str) -> None:
    grid = sample.grid(0, -1.0) * np.float32(scale)
    grid[1, 2] = np.nan
    packed = pack(grid, exact)
    assert packed[0] == kind
    np.testing.assert_allclose(unpack(packed), grid.ravel(), rtol=1e-9 if exact or kind == "f" else 1e-3)


def test_few_different_values_take_a_byte_each() -> None:
    grid = np.random.default_rng(0).integers(0, 41, (30, 40)).astype(np.float32) / 40
    grid[3, 3] = np.nan
    packed = pack(grid)
    assert packed[0] == "d"
    assert sum(map(len, packed)) < 2000
    np.testing.assert_array_equal(unpack(packed), grid.ravel())


def test_what_a_score_lacks_is_left_out(report: Report) -> None:
    known = passport(report)
    json.dumps(known)
    capital, names, effect = known["scores"][:3]  # type: ignore[index]
    assert {"value", "low", "high", "p", "why"} <= set(capital)
    assert capital["why"] == {"L0H1": "inactive head"}
    assert not {"low", "high", "p", "line"} & set(names)
    assert names["no_null"] == "no permutations of Mary"
    assert "p" not in effect
    assert effect["line"] == 0.9
    assert known["measures"]["alpha/score"] == "Relation score"  # type: ignore[index]


def test_sets_say_source_rule_and_evidence(report: Report) -> None:
    (movers,) = passport(report)["sets"]  # type: ignore[misc]
    assert movers["heads"] == ["L1H2", "L2H3"]
    assert movers["rule"] == "effect above .5"
    causal = movers["ladders"][movers["ladder"][""]][RUNGS.index("causal effect")]
    assert causal == ("passed", True, "causal effect: passed (the set as a whole)")


def test_a_head_has_its_own_outcome_where_it_was_judged(report: Report) -> None:
    (movers,) = report.overlays
    movers = movers.judged("replicated (templates)", {(1, 2): "passed", (2, 3): "failed"})
    (found,) = passport(dataclasses.replace(report, overlays=(movers,)))["sets"]  # type: ignore[misc]
    at = RUNGS.index("replicated")
    assert [found["ladders"][found["ladder"][head]][at][:2] for head in ("L1H2", "L2H3", "")] == [
        ("passed", False), ("failed", False), ("failed", True),
    ]  # fmt: skip


def test_no_scores_no_panel(report: Report) -> None:
    assert passport(dataclasses.replace(report, scores=())) == {}


def test_scores_of_another_grid_stay_out(report: Report) -> None:
    scores = (fixtures.head_scores(), fixtures.head_scores("a/b/c", layers=2))
    names = {score.key: score.label for score in scores}
    known = passport(dataclasses.replace(report, scores=scores, names=names))
    assert len(known["scores"]) == 1  # type: ignore[arg-type]


def test_estimates_are_told_apart(report: Report) -> None:
    some = samples.estimated()
    found = passport(dataclasses.replace(report, sections=(), scores=(some,), names={some.key: "Total effect"}))
    (entry,) = found["scores"]  # type: ignore[misc]
    assert entry["how"] == some.how_estimated
    np.testing.assert_array_equal(unpack(entry["estimated"]) == 1, some.estimated.ravel())  # type: ignore[union-attr]
    plain = samples.signed()
    (entry,) = passport(dataclasses.replace(report, sections=(), scores=(plain,), names={plain.key: "x"}))["scores"]  # type: ignore[misc]
    assert not {"how", "estimated"} & set(entry)


def rows(data: dict[str, Any]) -> np.ndarray:  # type: ignore[type-arg]
    """[head place word] indices."""
    cells = np.frombuffer(base64.b64decode(data["cells"]), f"<u{data['bits'] // 8}")
    return cells.reshape(-1, data["places"], 1 + 2 * data["outputs"])


def test_words_come_back_and_gaps_stay_gaps() -> None:
    found = salient(sample.result("M\x07ary"))
    assert found is not None
    data: Any = salient_data(found)
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
    data: Any = salient_data(Salient(heads, fits, 5))
    assert rows(data).shape == (5120, fits, 11)


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
