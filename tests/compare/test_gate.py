"""`compare --fail-over`: what moves a score beyond the limit is named and fails; what is below it passes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.cli import app
from reportgen.compare.gate import Gate, gate
from reportgen.compare.moved import apart, score_apart
from reportgen.errors import RunError, SettingsError
from reportgen.scores import Control, HeldOut
from tests.compare.made_up import grid, result, scores, stored
from tests.fixtures import suite_result

HEADS = ((0, 0), (1, 2))


def run_pair(folder: Path, by: float, **more: object) -> list[Path]:
    """Two runs of the same weights; L1H2 of the second scores `by` more on `copying`."""
    values = grid(3, 4)
    other = values.copy()
    other[1, 2] += np.float32(by)
    first, second = result(values, HEADS), result(values, HEADS)
    moved = scores(first.scores[0].key, other)
    second = replace(second, scores=(moved, second.scores[1]))
    stored(folder / "a", first)
    stored(folder / "b", second, **more)  # type: ignore[arg-type]
    return [folder / "a", folder / "b"]


def typed(*words: str) -> int:
    code = app(list(words), prog_name="reportgen", standalone_mode=False)
    return int(code or 0)


@pytest.mark.parametrize(("by", "code"), [(0.0, 0), (0.01, 0), (0.05, 1), (-0.05, 1)])
def test_the_limit_is_a_share_of_the_largest_value(
    by: float, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = run_pair(tmp_path, by)
    largest = float(grid(3, 4).max())
    assert typed("compare", *map(str, pair), "--fail-over", str(0.02 / largest)) == code
    out = capsys.readouterr().out
    assert ("moved" in out) == bool(code)
    if code:
        before = float(grid(3, 4)[1, 2])
        assert f"relations/score/copying: 1 head: L1H2 {before:.4g} to {before + by:.4g}" in out
    assert "relations/score/capital:" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # nothing is written


def test_json_lists_every_head_that_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = run_pair(tmp_path, 0.05, seed=3)
    assert typed("compare", *map(str, pair), "--fail-over", "0", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    (other,) = said["runs"]
    (moved,) = other["over"]["relations/score/copying"]
    assert (said["failed"], other["failed"], moved["head"]) == (True, True, "L1H2")
    assert moved["share"] == pytest.approx(0.05 / grid(3, 4).max(), rel=1e-5)
    assert any(words.startswith("seed: 0 in") for words in other["differ"])  # what may explain it


def test_a_lost_score_and_a_lost_head_fail_and_a_new_score_passes(tmp_path: Path) -> None:
    values = grid(3, 4)
    whole = result(values, HEADS)
    less = replace(whole, scores=whole.scores[:1])
    gone = values.copy()
    gone[2, 3] = np.nan
    blind = replace(scores(whole.scores[0].key, values), values=gone, reasons={"L2H3": "not finite"})
    first = stored(tmp_path / "whole", whole)
    part = stored(tmp_path / "less", less)
    lost = stored(tmp_path / "lost", replace(whole, scores=(blind, whole.scores[1])))
    a, b = gate([first, part, lost], Gate(0.5))
    assert a.failed
    assert a.gone == (whole.scores[1].key,)
    assert b.failed
    assert [(m.head, m.after) for m in b.over[blind.key]] == [("L2H3", None)]
    (back,) = gate([part, first], Gate(0.5))
    assert not back.failed
    assert back.added == (whole.scores[1].key,)
    (some,) = gate([first, part], Gate(0.5, measures=("relations/score",)))
    assert some.failed


def test_heads_that_change_sets_are_named_and_do_not_fail(tmp_path: Path) -> None:
    values = grid(3, 4)
    runs = [stored(tmp_path / n, result(values, heads)) for n, heads in (("a", HEADS), ("b", HEADS[:1]))]
    (found,) = gate(runs, Gate(0.0))
    assert not found.failed
    assert [(m.head, m.before) for m in found.labels] == [("L1H2", "in the set")]


def test_what_cannot_be_checked_is_one_line(tmp_path: Path) -> None:
    values = grid(3, 4)
    a = stored(tmp_path / "a", result(values, HEADS))
    other = stored(tmp_path / "b", result(values, HEADS), content_hash="cd" * 32)
    wide = stored(tmp_path / "c", result(grid(3, 5), HEADS))
    with pytest.raises(SettingsError, match=r"different models. For checkpoints .* --lineage"):
        gate([a, other], Gate(0.1))
    assert not gate([a, other], Gate(0.1, declared=True))[0].failed
    with pytest.raises(SettingsError, match=r"grids differ: .*3 x 4.*3 x 5"):
        gate([a, wide], Gate(0.1))
    with pytest.raises(RunError, match="with itself"):
        gate([a, a], Gate(0.1))
    with pytest.raises(SettingsError, match=r"--measure 'relations/scor'.*Did you mean relations/score"):
        gate([a, other], Gate(0.1, ("relations/scor",), True))
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="--fail-over"):
            Gate(wrong)
    with pytest.raises(SettingsError, match="Add --fail-over"):
        typed("compare", str(a.path), str(other.path), "--json")


@given(st.floats(-0.0625, 0.0625, width=32), st.integers(0, 2), st.integers(0, 3))
def test_a_share_is_the_difference_over_the_largest(by: float, layer: int, head: int) -> None:
    values = grid(3, 4)
    other = values.copy()
    other[layer, head] += np.float32(by)
    found = score_apart(scores("relations/score/copying", values), scores("relations/score/copying", other))
    want = abs(float(other[layer, head]) - float(values[layer, head])) / float(values.max())
    assert found.values == pytest.approx(want, abs=1e-12)
    assert len(found.moved) == (want > 0)


def test_every_kind_of_number_is_compared() -> None:
    """One change each: an end, a p, n, the line, the held-out head, a control, a set, a table, an array, a fact."""
    first = suite_result()
    score = replace(
        first.scores[0], held_out=HeldOut("L1H2", 0.5, 0.4, 0.6, 20), controls=(Control("random twin", 0.2),)
    )
    first = replace(first, scores=(score,))
    assert score.low is not None
    assert score.p is not None
    low, p = score.low.copy(), score.p.copy()
    low[2, 2] -= 0.01
    p[2, 2] = 0.5 if p[2, 2] < 0.5 else 0.01
    changes = {
        "low": {"low": low}, "p": {"p": p}, "n": {"n": 41}, "line": {"line": 0.9},
        "held": {"held_out": HeldOut("L1H2", 0.51, 0.4, 0.6, 20)},
        "control": {"controls": (Control("random twin", 0.3),)},
    }  # fmt: skip
    for name, change in changes.items():
        found = apart(first, replace(first, scores=(replace(score, **change),)))  # type: ignore[arg-type]
        assert found.most("values") == 0
        assert (found.most("p") if name == "p" else found.most("ends")) > 0, name
    table = replace(first.tables[0], rows=(("L1H2", 0.6), ("L0H1", None)))
    array = replace(first.arrays["ranks/capital"], values=first.arrays["ranks/capital"].values * 2)
    sets = (replace(first.head_sets[0], heads=((1, 2), (1, 3))),)
    assert [m.place for m in apart(first, replace(first, tables=(table,))).rest] == ["table top"]
    assert [m.place for m in apart(first, replace(first, arrays={"ranks/capital": array})).rest] == [
        "array ranks/capital"
    ]
    assert [m.place for m in apart(first, replace(first, facts={"k": 10, "share": 0.25})).rest] == ["fact share"]
    assert [m.head for m in apart(first, replace(first, head_sets=sets)).labels] == ["L1H3"]
    same = apart(first, replace(first))
    assert (same.most("values"), same.most("ends"), same.most("p"), same.rest, same.labels) == (0, 0, 0, (), ())


def test_it_needs_no_torch(tmp_path: Path) -> None:
    pair = [str(path) for path in run_pair(tmp_path, 0.05)]
    code = f"""
import sys
sys.argv = ["reportgen", "compare", *{pair!r}, "--fail-over", "0.02"]
from reportgen.cli import main
try:
    main()
except SystemExit as stop:
    print(stop.code, [name for name in ("torch", "transformers", "scipy", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 []"
