"""Tables as people have them, every way they can be wrong in one line, and an imported table as a run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen import cli
from reportgen.errors import DataError, SettingsError
from reportgen.imported.store import Imported, TableSource, import_table, read_table
from reportgen.report.build import build
from reportgen.report.html import page
from reportgen.report.pdf import document
from reportgen.runfolder import Run

GRID = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
HOSTILE = "</script><b>\u202e"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["layer,head,Induction score,logit diff"]
    lines += [f"{layer},{head},{GRID[layer, head]:.3f},{-GRID[layer, head]:.3f}" for layer in (0, 1) for head in (0, 1)]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n1,2,,0.5\n")
    return path


def test_every_numeric_column_is_a_measure_without_interval_null_or_n(table: Path, tmp_path: Path) -> None:
    run = import_table(table, TableSource("made/up", 2, 3), tmp_path / "runs")
    assert run.path.name == "made--up"
    found = Run.open(run.path).result("imported")
    assert [s.key for s in found.scores] == ["imported/induction_score/table", "imported/logit_diff/table"]
    for scores in found.scores:
        assert (scores.low, scores.high, scores.p, scores.line, scores.n) == (None, None, None, None, 0)
        assert "not given" in scores.no_null
    assert found.scores[0].reasons == {"L0H2": "not in scores.csv", "L1H2": "empty in scores.csv"}
    assert found.scores[0].range[0] == 0
    assert found.scores[1].range[0] < 0


def test_names_that_are_alike_become_different_keys(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("A b,a-b,???\n" + "1,2,3\n" * 6)
    found = import_table(path, TableSource("m", 2, 3), tmp_path).result("imported")
    assert [s.measure for s in found.scores] == ["a_b", "a_b_2", "column"]


def test_the_report_says_what_was_not_given(table: Path, tmp_path: Path) -> None:
    run = import_table(table, TableSource(f"Model {HOSTILE}", 2, 3), tmp_path / "runs")
    report = build(run)
    assert [p.id for p in report.plates] == ["imported-induction_score", "imported-logit_diff"]
    assert ("Interval, null, n", "not given") in report.facts
    assert all("Interval, null and n: not given." in p.caption for p in report.plates)
    assert not report.verdicts
    words = page(report)
    assert "Parameters" not in words
    assert "<b>\u202e" not in words
    assert ">not given<" in words
    assert document(report).startswith(b"%PDF")


def test_published_heads_are_marked_when_the_user_says_whose(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.random.default_rng(0).random((12, 12)))
    plain = import_table(tmp_path / "t.npy", TableSource("gpt2", 12, 12), tmp_path / "a")
    assert build(plain).plates[0].figure.head_sets == ()
    marked = import_table(tmp_path / "t.npy", TableSource("gpt2", 12, 12, "gpt2"), tmp_path / "b")
    assert any(s.source == "wang2022ioi" for s in build(marked).plates[0].figure.head_sets)
    np.save(tmp_path / "t.npy", np.zeros((9, 16)))
    with pytest.raises(DataError, match="12 x 12"):
        import_table(tmp_path / "t.npy", TableSource("gpt2", 9, 16, "gpt2"), tmp_path / "c")


def test_a_role_in_a_columns_name_chooses_the_published_set(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("induction\n" + "0.5\n" * 144)
    run = import_table(path, TableSource("gpt2", 12, 12, "gpt2"), tmp_path / "runs")
    assert {s.label for s in build(run).plates[0].figure.head_sets} == {"Induction Heads"}


@pytest.mark.parametrize(("layers", "heads"), [(0, 3), (2, 10_000), (9_000, 9_000)])
def test_grids_that_no_model_has(layers: int, heads: int) -> None:
    with pytest.raises(SettingsError, match=r"layers|heads"):
        TableSource("m", layers, heads)


def test_the_verb_writes_run_and_report(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tmp_path / "mine.toml"
    overlay.write_text('[[entry]]\nclass = "Mine"\nheads = ["L1H1"]\n')
    words = ["import", str(table), "--model-name", "m", "--layers", "2", "--heads", "3", "--out", str(tmp_path / "r")]
    cli.app([*words, "--overlay", str(overlay)], standalone_mode=False)
    index = Path(capsys.readouterr().out.strip())
    assert index == tmp_path / "r" / "m" / "report" / "index.html"
    assert "Mine" in index.read_text()
    assert (index.parent / "figures" / "imported-logit_diff.pdf").stat().st_size > 1000
    assert ",not in scores.csv" in (index.parent / "scores.csv").read_text()


LAYERS, HEADS = 2, 3
TABLE_GRID: npt.NDArray[np.float32] = np.arange(6, dtype=np.float32).reshape(LAYERS, HEADS) / 4


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def long_rows() -> list[list[object]]:
    return [[layer, head, float(TABLE_GRID[layer, head])] for layer in range(LAYERS) for head in range(HEADS)]


def values(found: Imported) -> list[npt.NDArray[np.float32]]:
    return [m.values for m in found.measures]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_table(path, LAYERS, HEADS)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_layer_and_head_columns_in_any_order_and_case(tmp_path: Path) -> None:
    rows = [[row[2], row[1], "x", row[0]] for row in reversed(long_rows())]
    found = read_table(write_csv(tmp_path / "t.csv", ["Score", "HEAD", "who", "Layer"], rows), LAYERS, HEADS)
    assert [m.name for m in found.measures] == ["Score"]
    assert found.left_out == ("who",)
    np.testing.assert_array_equal(found.measures[0].values, TABLE_GRID)


def test_one_row_per_head_is_layer_major(tmp_path: Path) -> None:
    rows = [[float(v), -float(v)] for v in TABLE_GRID.ravel()]
    found = read_table(write_csv(tmp_path / "t.csv", ["a", "b"], rows), LAYERS, HEADS)
    np.testing.assert_array_equal(found.measures[0].values, TABLE_GRID)
    np.testing.assert_array_equal(found.measures[1].values, -TABLE_GRID)


@given(st.permutations(range(LAYERS * HEADS)), st.integers(1, LAYERS * HEADS))
def test_a_head_without_a_row_or_a_value_is_nan_with_its_reason(order: list[int], kept: int) -> None:
    import tempfile

    rows = [long_rows()[i] for i in order[:kept]]
    rows[0] = [*rows[0][:2], "nan"]
    with tempfile.TemporaryDirectory() as folder:
        path = write_csv(Path(folder) / "t.csv", ["layer", "head", "a"], [*rows[:1], *rows[1:]])
        if kept == 1:
            assert "no column of numbers" in refused(path)
            return
        (measured,) = read_table(path, LAYERS, HEADS).measures
    given_heads = {(int(str(row[0])), int(str(row[1]))) for row in rows}
    for layer in range(LAYERS):
        for head in range(HEADS):
            reason = measured.reasons.get(f"L{layer}H{head}")
            if (layer, head) not in given_heads:
                assert reason == "not in t.csv"
            elif [layer, head] == rows[0][:2]:
                assert reason == "empty in t.csv"
            else:
                assert reason is None
                assert measured.values[layer, head] == TABLE_GRID[layer, head]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.append([0, 1, 2.0]), "row 8: L0H1 is already in row 3"),
        (lambda rows: rows.__setitem__(2, [2, 0, 1.0]), "row 4: layer '2', expected a whole number from 0 to 1"),
        (lambda rows: rows.__setitem__(2, [0, -1, 1.0]), "row 4: head '-1', expected a whole number from 0 to 2"),
        (lambda rows: rows.__setitem__(2, [0.5, 1, 1.0]), "layer '0.5', expected a whole number"),
        (lambda rows: rows.__setitem__(2, ["", 1, 1.0]), "layer '', expected a whole number"),
        (lambda rows: rows.__setitem__(2, [0, 2, "high"]), "row 4, column a: 'high', expected a finite number"),
        (lambda rows: rows.__setitem__(2, [0, 2, "inf"]), "column a: 'inf', expected a finite number"),
        (lambda rows: rows.__setitem__(2, [0, 2, "1e300"]), "column a: '1e300', expected a finite number"),
        (lambda rows: rows.__setitem__(2, [0, 2]), "row 4: 2 cells, expected 3 as in the header"),
        (lambda rows: rows.clear(), "has no rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    rows = long_rows()
    change(rows)
    assert words in refused(write_csv(tmp_path / "t.csv", ["layer", "head", "a"], rows))


def test_wrong_number_of_rows_and_headers(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "t.csv", ["a"], [[1.0]] * 5)
    assert "has 5 rows, expected 2 layers x 3 heads = 6 in layer-major order" in refused(short)
    assert "only one of the columns layer and head" in refused(write_csv(tmp_path / "u.csv", ["layer", "a"], [[0, 1]]))
    assert "two columns are called 'A'" in refused(write_csv(tmp_path / "v.csv", ["a", "A"], [[0, 1]] * 6))
    assert "has no header" in refused(write_csv(tmp_path / "w.csv", ["0.5", "1"], [[0, 1]] * 6))
    assert "no name in the header" in refused(write_csv(tmp_path / "x.csv", ["a", ""], [[0, 1]] * 6))
    (tmp_path / "y.csv").write_text("")
    assert "is empty" in refused(tmp_path / "y.csv")


def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a\n\xff\xfe\n")
    assert "not UTF-8" in refused(tmp_path / "t.csv")
    (tmp_path / "t.npy").write_bytes(b"no array")
    assert "not an NPY file" in refused(tmp_path / "t.npy")
    np.savez(tmp_path / "t.npz", a=TABLE_GRID)
    (tmp_path / "t.npz").rename(tmp_path / "z.npy")
    assert "not an NPY file" in refused(tmp_path / "z.npy")
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "Python objects" in refused(tmp_path / "o.npy")
    (tmp_path / "t.xlsx").write_bytes(b"")
    assert ".csv, .tsv, .parquet, .npy" in refused(tmp_path / "t.xlsx")
    assert "Can't read" in refused(tmp_path / "missing.csv")


@pytest.mark.parametrize("shape", [(LAYERS, HEADS), (LAYERS * HEADS,), (LAYERS * HEADS, 1), (LAYERS, HEADS, 1)])
def test_npy_grids_and_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "t.npy", TABLE_GRID.reshape(shape))
    (found,) = read_table(tmp_path / "t.npy", LAYERS, HEADS).measures
    assert found.name == "value"
    np.testing.assert_array_equal(found.values, TABLE_GRID)


def test_npy_with_layer_and_head_columns(tmp_path: Path) -> None:
    rows = np.array(long_rows()[::-1])
    np.save(tmp_path / "t.npy", rows)
    np.testing.assert_array_equal(values(read_table(tmp_path / "t.npy", LAYERS, HEADS))[0], TABLE_GRID)
    np.save(tmp_path / "t.npy", np.vstack([rows, rows[:1]]))
    assert "row 7: L1H2 is already in row 1" in refused(tmp_path / "t.npy")
    named = np.array([tuple(row) for row in long_rows()], dtype=[("layer", "i4"), ("head", "i4"), ("mine", "f8")])
    np.save(tmp_path / "t.npy", named)
    assert read_table(tmp_path / "t.npy", LAYERS, HEADS).measures[0].name == "mine"
    np.save(tmp_path / "t.npy", np.full((3, 4), 0.5))
    assert "has shape (3, 4), expected [layer head] = (2, 3)" in refused(tmp_path / "t.npy")
    np.save(tmp_path / "t.npy", np.zeros(2_000))
    assert "2,000 rows" in refused(tmp_path / "t.npy")
    np.save(tmp_path / "t.npy", np.array(["a"] * 6))
    assert "expected numbers" in refused(tmp_path / "t.npy")


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow", reason="no pyarrow: pip install 'reportgen[parquet]'")
    from pyarrow import parquet

    columns = [list(c) for c in zip(*long_rows(), strict=True)]
    parquet.write_table(pa.table(dict(zip(("layer", "head", "a"), columns, strict=True))), tmp_path / "t.parquet")
    np.testing.assert_array_equal(values(read_table(tmp_path / "t.parquet", LAYERS, HEADS))[0], TABLE_GRID)
    (tmp_path / "u.parquet").write_bytes(b"PAR1 no")
    assert "not a Parquet file" in refused(tmp_path / "u.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    assert "pip install 'reportgen[parquet]'" in refused(tmp_path / "t.parquet")


def test_an_array_that_python_2_saved_is_read(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }\n"
    body = np.arange(6, dtype="<f4").tobytes()
    (tmp_path / "t.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body)
    (measured,) = read_table(tmp_path / "t.npy", 2, 3).measures
    assert measured.values.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
