from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.figure import Figure
from reportgen.report import paper as made
from reportgen.report.build import build
from reportgen.report.paper import addresses, expected, numbers_tex, read, run_hash, slugs
from reportgen.scores import Column, HeadScores, SuiteResult, Table, head_name
from tests.report import sample

RUN = sample.run(Path("nowhere"))
FIGURES = [plate.figure for plate in build(RUN, suites=sample.SUITES).plates]
FOUND = expected(RUN, FIGURES)
CAPITAL = next(s for s in RUN.results["alpha"].scores if s.key == "alpha/score/capital")
EFFECT = next(s for s in RUN.results["alpha"].scores if s.key == "alpha/effect/ioi")


def text(key: str) -> str:
    return FOUND[f"made-up/{key}"].text


def captioned(caption: str) -> Figure:
    return dataclasses.replace(FIGURES[0], caption=caption)


def with_tables(*tables: Table) -> sample.FakeRun:
    alpha = dataclasses.replace(RUN.results["alpha"], tables=tables)
    return dataclasses.replace(RUN, results={"alpha": alpha})


def test_a_map_s_numbers_are_those_of_its_score() -> None:
    best = CAPITAL.ranking()[0]
    assert CAPITAL.low is not None
    assert CAPITAL.high is not None
    assert text("alpha-capital/best") == f"{CAPITAL.values[best]:.3f}"
    assert text("alpha-capital/best/head") == head_name(*best)
    assert text("alpha-capital/best/low") == f"{CAPITAL.low[best]:.3f}"
    assert text("alpha-capital/best/high") == f"{CAPITAL.high[best]:.3f}"
    assert text("alpha-capital/n") == str(CAPITAL.n)
    assert text("alpha-capital/heads") == str(int(CAPITAL.exact.sum()))
    assert "made-up/alpha-capital/lowest" not in FOUND
    assert (text("layers"), text("heads-per-layer"), text("heads")) == ("3", "4", "12")


def test_signed_scores_have_a_lowest_and_scores_with_a_line_say_where_it_is() -> None:
    assert (text("alpha-ioi/lowest"), text("alpha-ioi/lowest/head")) == ("$-$0.999", "L2H1")
    assert text("alpha-ioi/line") == "0.900"
    assert text("alpha-ioi/above") == str(int((EFFECT.values > 0.9).sum()))


def test_a_count_by_p_means_another_thing_than_a_count_by_a_line() -> None:
    assert "above the family-wise line" in FOUND["made-up/alpha-ioi/above"].meaning
    tested = dataclasses.replace(EFFECT, p=np.where(EFFECT.values > 0.5, np.float32(0.01), np.float32(1)), line=None)
    scores = tuple(tested if s is EFFECT else s for s in RUN.results["alpha"].scores)
    alpha = dataclasses.replace(RUN.results["alpha"], scores=scores)
    found = expected(dataclasses.replace(RUN, results={"alpha": alpha}), FIGURES)["made-up/alpha-ioi/above"]
    assert found.text == str(int((EFFECT.values > 0.5).sum()))
    assert "p of 0.05 or less" in found.meaning


def test_every_head_with_a_value_has_its_score_and_interval() -> None:
    names = addresses([s for r in RUN.results.values() for s in r.scores])
    for result in RUN.results.values():
        for score in result.scores:
            for layer, head in np.ndindex(*score.values.shape):
                key = f"made-up/{names[score.key]}/{head_name(layer, head)}"
                assert (key in FOUND) == bool(score.exact[layer, head]), key
                has_interval = score.low is not None and np.isfinite(score.low[layer, head])
                assert (f"{key}/low" in FOUND) == (f"{key}/high" in FOUND) == has_interval
    assert CAPITAL.low is not None
    key = names[CAPITAL.key]
    assert (text(f"{key}/L1H2"), text(f"{key}/L1H2/low")) == (
        f"{CAPITAL.values[1, 2]:.3f}",
        f"{CAPITAL.low[1, 2]:.3f}",
    )


def test_a_score_is_called_without_its_task_where_there_is_no_other() -> None:
    def score(key: str) -> HeadScores:
        return HeadScores(key, "x", sample.grid(0), 1, no_null="none")

    assert addresses([score("a/b/c"), score("a/d/c")]) == {"a/b/c": "a/b", "a/d/c": "a/d"}
    assert addresses([score("a/b/c"), score("a/b/d")]) == {"a/b/c": "a/b/c", "a/b/d": "a/b/d"}


def test_where_there_are_too_many_heads_the_largest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [s for r in RUN.results.values() for s in r.scores]
    monkeypatch.setattr(made, "MOST_HEADS", 3 * len(scores))
    kept = {key.split("/")[-1] for key in expected(RUN, []) if key.startswith("made-up/alpha/effect/")}
    largest = sorted(EFFECT.ranking(), key=lambda head: -abs(float(EFFECT.values[head])))[:3]
    assert kept - {"low", "high"} == {head_name(*head) for head in largest}


def test_head_sets_and_tables_have_names_of_their_own() -> None:
    assert (text("alpha/ioi/movers/count"), text("alpha/ioi/movers/heads")) == ("2", "L1H2, L2H3")
    columns = (Column("task"), Column("kept, mean", digits=2), Column("p"), Column("p"))
    table = Table("fit", "Fit", columns, (("IOI", 0.7251, 0.1, 0.2), ("x & y", None, 0.1, 0.2)))
    found = expected(with_tables(table), [])
    assert found["made-up/alpha/fit/IOI/kept-mean"].text == "0.73"
    assert found["made-up/alpha/fit/IOI/kept-mean"].meaning == "kept, mean where task is IOI in the table alpha/fit"
    assert not [key for key in found if key.endswith("/p") or "x-y" in key]  # two of one name; not computed


def test_rows_that_their_words_do_not_tell_apart_have_no_names() -> None:
    table = Table("t", "T", (Column("a"), Column("b")), (("x", 1.0), ("x", 1.0)))
    assert not [key for key in expected(with_tables(table), []) if key.startswith("made-up/alpha/t/")]


def test_a_number_keeps_its_key_whatever_else_the_caption_says() -> None:
    """Keys by place moved as soon as an overlay put words in front."""
    longer = dataclasses.replace(FIGURES[0], caption=f"Marked: 36 heads of 999. {FIGURES[0].caption}")
    found = expected(RUN, [longer, *FIGURES[1:]])
    changed = {key for key in FOUND if found.get(key) != FOUND[key]}
    assert changed == {f"made-up/{FIGURES[0].id}/caption"}
    assert set(found) == set(FOUND)


def test_a_file_from_before_keys_had_names_says_what_a_place_was() -> None:
    found = read("\\rgdefine{m/a/3}{122}% n =\n\\rgdefine{m/hash}{ab}%\n")
    assert (found["m/a/3"].text, found["m/a/3"].meaning) == ("122", "number 3 of a caption, after 'n ='")
    assert slugs(found) == ["m"]


def test_the_hash_is_of_what_was_found_not_of_when() -> None:
    manifest = sample.manifest()
    later = msgspec.structs.replace(manifest, created="2030-01-01T00:00:00+00:00", argv=["other"], device="cuda")
    assert run_hash(later) == run_hash(manifest) == text("hash")
    alpha = msgspec.structs.replace(manifest.suites["alpha"], sha256={"alpha.json": "cd" * 32})
    other = msgspec.structs.replace(manifest, suites={**manifest.suites, "alpha": alpha})
    assert run_hash(other) != run_hash(manifest)


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_words_break_the_file(caption: str, row: str, column: str) -> None:
    table = Table("t", caption, (Column(row), Column(column)), ((row, 1.5), (caption, column)))
    run = with_tables(table)
    lines = numbers_tex(run, [captioned(caption)]).splitlines()
    found = expected(run, [captioned(caption)])
    defined = [line for line in lines if line.startswith("\\rgset{")]
    heads = [line for line in lines if line.startswith("\\rgat{")]
    assert len([key for key in found if not key.startswith("made-up/alpha/") or "/t/" in key]) >= 6
    assert len(defined) == len([line for line in defined if read(line)])
    assert heads
    for number in found.values():
        bare = number.text.replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")
        assert not set("{}%#\\") & set(number.key + number.meaning)


def test_nothing_is_named_of_a_run_without_results() -> None:
    found = expected(dataclasses.replace(RUN, results={"alpha": SuiteResult("alpha")}), [])
    assert set(found) == {f"made-up/{name}" for name in ("hash", "layers", "heads-per-layer", "heads")}
