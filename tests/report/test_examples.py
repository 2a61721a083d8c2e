"""Examples per head in page and export, whatever suite stored them, and sets judged by another suite."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen.errors import SettingsError
from reportgen.head_examples import HeadExamples
from reportgen.report.build import AS_STORED, build, scene
from reportgen.report.example_block import example_block
from reportgen.report.heads_json import VERSION, export, number
from reportgen.report.html import page
from reportgen.report.passport import passport
from reportgen.scores import Judged, NamedArray, SuiteResult
from tests.report import sample

LAYERS, HEADS = sample.LAYERS, sample.HEADS


def examples(text: str = "</script>", *, labels: bool = True) -> dict[str, NamedArray]:
    """Two windows of four tokens and the one after; every head has one event and an empty place."""
    dims, shape = ("layer", "head", "place"), (LAYERS, HEADS, 2)
    window = np.zeros(shape, np.int32) + np.array([1, -1], np.int32)
    key = np.zeros((*shape, 2), np.int32) + np.array([1, -1], np.int32)
    mass = np.where(key < 0, np.nan, 0.6).astype(np.float32)
    outputs = np.zeros((*shape, 2), np.int32) + np.array([3, -1], np.int32)
    one = np.full(shape, 0.5, np.float32)
    words = {"word": (" a", text, "new\u202e", "d")} if labels else {}
    return {
        "example_text": NamedArray(("token",), np.array([0, 1, 2, 3, 0, 3, 2, 1, 0, -1], np.int32)),
        "example_start": NamedArray(("window",), np.array([0, 5, 10], np.int32)),
        "example_words": NamedArray(("word",), np.array([10, 11, 12, 13], np.int32), words),
        "example_window": NamedArray(dims, window, {"place": ("largest", "d10")}),
        "example_query": NamedArray(dims, np.full(shape, 2, np.int32)),
        "example_key": NamedArray((*dims, "key"), key),
        "example_mass": NamedArray((*dims, "key"), mass),
        "example_weight": NamedArray((*dims, "key"), mass),
        **{f"example_{n}": NamedArray(dims, one) for n in ("sink", "norm", "top_share")},
        "example_dla": NamedArray(dims, np.full(shape, np.nan, np.float32)),
        "example_raised": NamedArray((*dims, "output"), outputs),
        "example_lowered": NamedArray((*dims, "output"), outputs),
    }


def result(**changes: NamedArray | None) -> SuiteResult:
    found = sample.result()
    arrays = {name: a for name, a in {**found.arrays, **examples(), **changes}.items() if a is not None}
    return dataclasses.replace(found, arrays=arrays)


def run(folder: Path, found: SuiteResult, other: SuiteResult | None = None) -> sample.FakeRun:
    results = {"alpha": found, **({"beta": other} if other else {})}
    return sample.FakeRun(folder, sample.manifest(), results)


def test_an_event_is_read_with_its_text() -> None:
    found = HeadExamples.of(result())
    assert found is not None
    (event,) = found.of_head((1, 2))
    assert (event.place, event.window, event.query) == ("largest", 1, 2)
    assert [t for _, t in event.before] == ["d", "new\\u{202e}", "</script>"]
    assert event.after == " a"
    assert [(k.position, k.token, k.mass) for k in event.keys] == [(1, "new\\u{202e}", pytest.approx(0.6))]
    assert event.raised == ("d",)


WRONG = {
    "missing": {"example_query": None},
    "a window that is not there": {"example_window": NamedArray(("layer", "head", "place"), np.full((3, 4, 2), 2),
                                                                {"place": ("largest", "d10")})},
    "a query beyond its window": {"example_query": NamedArray(("layer", "head", "place"), np.full((3, 4, 2), 4))},
    "a key beyond its window": {"example_key": NamedArray(("layer", "head", "place", "key"), np.full((3, 4, 2, 2), 4))},
    "a word that is not there": {"example_raised": NamedArray(("layer", "head", "place", "output"),
                                                              np.full((3, 4, 2, 2), 4))},
    "starts that go back": {"example_start": NamedArray(("window",), np.array([0, 7, 5]))},
    "numbers in place of indices": {"example_text": NamedArray(("token",), np.zeros(10, np.float32))},
    "no places": {"example_window": NamedArray(("layer", "head", "place"), np.zeros((3, 4, 2), np.int32))},
}  # fmt: skip


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_arrays_that_do_not_agree_are_left_out(changes: dict[str, NamedArray | None]) -> None:
    assert HeadExamples.of(result(**changes)) is None


def test_the_page_has_one_block_of_them_and_no_request(tmp_path: Path) -> None:
    report = build(run(tmp_path, result()), suites=sample.SUITES)
    text = page(report)
    assert text.count('id="examples-data"') == 1
    assert "\\u003c/script\\u003e" in text
    assert report.snippets is None  # examples stand in their place
    block: Any = example_block(report.examples, (LAYERS, HEADS))
    assert list(base64.b64decode(block["key"])[:2]) == [1, 255]
    assert list(base64.b64decode(block["mass"])[:2]) == [153, 0]
    assert example_block(report.examples, (9, 9)) is None
    assert "examples" not in passport(report)


def test_many_heads_show_fewer_places() -> None:
    found = HeadExamples.of(result())
    assert found is not None
    wide = dataclasses.replace(
        found,
        places=(*["largest"] * 2, *["d10"] * 3, *["d9"] * 2),
        arrays={n: (np.repeat(v[:, :, :1], 7, 2).repeat(60, 0).repeat(60, 1) if v.ndim > 2 else v)
                for n, v in found.arrays.items()},
    )  # fmt: skip
    block: Any = example_block(wide, wide.shape)
    assert block["places"] == ["largest", "d10"]


def test_a_file_per_head_and_an_index(tmp_path: Path) -> None:
    seen = scene(run(tmp_path, result()), None, sample.SUITES, AS_STORED)
    index, count = export(seen, tmp_path / "out", ["L1H2", "L0H1"])
    assert count == 2
    said = json.loads(index.read_text("utf-8"))
    assert said["format"] == VERSION
    assert [h["name"] for h in said["heads"]] == ["L0H1", "L1H2"]
    assert said["heads"][0]["scores"]["alpha/score/capital"] is None  # not computed
    one = json.loads((tmp_path / "out" / said["heads"][1]["file"]).read_text("utf-8"))
    (event,) = one["examples"]
    assert event["tokens"][2] == {"id": 11, "text": "</script>"}
    assert event["next"] == {"id": 10, "text": " a"}
    assert event["direct_effect"] is None
    assert event["keys"][0]["weight"] == 0.6
    assert {s["key"] for s in one["sets"]} == {"alpha/ioi/movers"}
    assert {(s["p_each"], s["fdr"]) for s in one["scores"]} == {(None, None)}  # of a run that does not hold them
    with pytest.raises(SettingsError, match="there is no L9H0"):
        export(seen, tmp_path / "out", ["L9H0"])
    with pytest.raises(SettingsError, match="not a head name"):
        export(seen, tmp_path / "out", ["x"])
    assert (number(1 / 3), number(float("nan")), number(123456.7)) == (0.33333, None, 123460.0)


def test_a_head_s_file_has_its_own_p_and_false_discovery_rate(tmp_path: Path) -> None:
    found = result()
    values = found.scores[0].values
    each = np.where(np.isnan(values), np.nan, 0.5).astype(np.float32)
    each[1, 2] = 0.001
    scores = (dataclasses.replace(found.scores[0], p_each=each), *found.scores[1:])
    seen = scene(run(tmp_path, dataclasses.replace(found, scores=scores)), None, sample.SUITES, AS_STORED)
    export(seen, tmp_path / "out", ["L1H2"])
    one = json.loads((tmp_path / "out" / "heads" / "L1H2.json").read_text("utf-8"))
    first = next(s for s in one["scores"] if s["key"] == scores[0].key)
    assert (first["p_each"], first["fdr"]) == (0.001, number(0.001 * np.isfinite(values).sum()))


def test_another_suites_judgement_is_in_the_ladder(tmp_path: Path) -> None:
    found = result()
    other = SuiteResult(
        "beta", judged=(Judged("alpha/ioi/movers", "natural text (wide)", {"L1H2": "passed"}, "natural text"),)
    )
    plain = passport(build(run(tmp_path, found), suites=sample.SUITES))
    judged = passport(build(run(tmp_path, found, other), suites=sample.SUITES))

    def rung(data: dict[str, Any]) -> str:
        (movers,) = [s for s in data["sets"] if s["label"].startswith("Movers")]
        return str(movers["ladders"][movers["ladder"]["L1H2"]][3][0])

    assert rung(plain) == "not run"
    assert rung(judged) == "passed"
