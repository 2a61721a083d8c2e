"""Every way a table can say which head a value is of: read right, or refused in a line that names what was seen."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import DataError, SettingsError
from reportgen.imported.store import Imported, read_table
from reportgen.report.render import COLUMNS, scores_csv
from tests import fixtures
from tests.report import sample

L, H = 3, 4
GRID = np.round(np.random.default_rng(7).normal(size=(L, H)), 3).astype(np.float32)
HEADS = [(layer, head) for layer in range(L) for head in range(H)]
BEST = sorted(HEADS, key=lambda at: -GRID[at])  # a table sorted by score, as people save it


def read(folder: Path, text: str, base: str = "", name: str = "t.csv", shape: tuple[int, int] = (L, H)) -> Imported:
    (folder / name).write_text(text)
    return read_table(folder / name, *shape, base)


def lines(header: str, cells: Callable[[int, int, str], str], order: list[tuple[int, int]] = BEST) -> str:
    """A header and one line per head, written by `cells(layer, head, value)`."""
    return "\n".join([header, *(cells(a, b, f"{GRID[a, b]:.3f}") for a, b in order)])


def check(found: Imported, measures: int = 1) -> Imported:
    assert len(found.measures) == measures
    np.testing.assert_array_equal(found.measures[0].values, GRID)
    return found


def refused(folder: Path, text: str, base: str = "", shape: tuple[int, int] = (L, H)) -> str:
    with pytest.raises(DataError) as error:
        read(folder, text, base, shape=shape)
    return str(error.value)


@pytest.mark.parametrize(
    "form", ["L{a}H{b}", "l{a}h{b}", "L{a}.H{b}", "a{a}.h{b}", "{a}H{b}", "layer_{a}_head_{b}", "{a}.{b}",
             "gpt2/L{a}H{b}", '"({a}, {b})"', '"Layer {a}, head {b}"'],
)  # fmt: skip
@pytest.mark.parametrize("column", ["name", "head_name", "Head", ""])
def test_names_of_heads_in_any_column_and_order(tmp_path: Path, form: str, column: str) -> None:
    text = lines(f"{column},score", lambda a, b, v: f"{form.format(a=a, b=b)},{v}")
    if form == "{a}.{b}" and not column:
        assert "no name" in refused(tmp_path, text)  # it may be a number
        return
    assert "names in" in check(read(tmp_path, text)).reading


@pytest.mark.parametrize(
    ("layer", "head"),
    [("layer_idx", "head_idx"), ("Layer_Index", "HEAD_INDEX"), ("l", "h"), ("L", "H"), ("layerIdx", "headIdx"),
     ("LAYER", "head"), ("Layer index", "Head index"), ("layers", "heads")],
)  # fmt: skip
def test_usual_names_of_columns(tmp_path: Path, layer: str, head: str) -> None:
    found = check(read(tmp_path, lines(f"{layer},{head},score", lambda a, b, v: f"{a},{b},{v}")))
    assert f"columns {layer!r} and {head!r}" in found.reading
    check(read(tmp_path, lines(f"score,{head},{layer}", lambda a, b, v: f"{v},{float(b)},L{a}")))


def test_a_name_that_contradicts_its_columns(tmp_path: Path) -> None:
    good = lines("layer,head,name,score", lambda a, b, v: f"{a},{b},L{a}H{b},{v}")
    check(read(tmp_path, good))
    assert "names another head" in refused(tmp_path, good.replace(",L1H2,", ",L1H3,"))
    check(read(tmp_path, lines("layer,head,score", lambda a, b, v: f"{a},L{a}H{b},{v}")))
    twice = lines("layer,layer_idx,head,score", lambda a, b, v: f"{a},{b % L},{b},{v}")
    assert "can both be the layer" in refused(tmp_path, twice)
    # Names of other heads beside layer and head are no place.
    check(read(tmp_path, lines("layer,head,feeds,score", lambda a, b, v: f"{a},{b},L0H0,{v}")))


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("rank,score", lambda a, b, v: f"{BEST.index((a, b)) + 1},{v}"),
        (",score", lambda a, b, v: f"{a * H + b},{v}"),
        ("Unnamed: 0,score", lambda a, b, v: f"{7 * (a * H + b)},{v}"),
        ("index,score", lambda a, b, v: f"{a * H + b},{v}"),
        ("block,unit,score", lambda a, b, v: f"{a},{b},{v}"),
        ("block,unit,score", lambda a, b, v: f"{a + 1},{b + 1},{v}"),
        ("block,score", lambda a, b, v: f"{a},{v}"),
        ("unit,score", lambda a, b, v: f"{b},{v}"),
        ("what,score", lambda a, b, v: f"{f'L{a}H{b}' if a else 'x'},{v}"),
        ("component,score", lambda a, b, v: f"blocks.{a}.{b},{v}"),
        ("edge,score", lambda a, b, v: f"L{a}H{b}->L2H0,{v}"),
    ],
)
def test_order_is_refused_where_a_column_speaks_against_it(
    tmp_path: Path, header: str, cells: Callable[[int, int, str], str]
) -> None:
    assert any(word in refused(tmp_path, lines(header, cells)) for word in ("order", "not name one head"))


def test_order_is_taken_where_nothing_speaks_against_it(tmp_path: Path) -> None:
    in_order: list[tuple[str, Callable[[int, int, str], str]]] = [
        ("score", lambda a, b, v: v),
        ("score,rank", lambda a, b, v: f"{v},{BEST.index((a, b)) + 1}"),  # ranks of heads in order are a measure
        ("score,count", lambda a, b, v: f"{v},{(a + b) % 2}"),
    ]
    for header, cells in in_order:
        assert "order" in check(read(tmp_path, lines(header, cells, HEADS)), header.count(",") + 1).reading
    check(read(tmp_path, lines("block,unit,score", lambda a, b, v: f"{a + 1},{b + 1},{v}", HEADS)))
    np.save(tmp_path / "counts.npy", np.random.default_rng(0).permutation(L * H).reshape(L, H))
    assert "[layer head]" in read_table(tmp_path / "counts.npy", L, H).reading
    np.save(tmp_path / "moved.npy", np.random.default_rng(0).permutation(L * H))
    with pytest.raises(DataError, match="not in layer-major order"):
        read_table(tmp_path / "moved.npy", L, H)


@pytest.mark.parametrize(("base", "da", "db"), [("1", 1, 1), ("layer", 1, 0), ("head", 0, 1)])
def test_a_table_that_counts_from_1(tmp_path: Path, base: str, da: int, db: int) -> None:
    grid_of_names = lines("name,score", lambda a, b, v: f"L{a + da}H{b + db},{v}")
    wide = "layer," + ",".join(f"H{b + db}" for b in range(H))
    for a in range(L):
        wide += "\n" + ",".join([str(a + da), *(f"{v:.3f}" for v in GRID[a])])
    for text in (lines("layer,head,score", lambda a, b, v: f"{a + da},{b + db},{v}"), grid_of_names, wide):
        said = refused(tmp_path, text)
        assert "from 1" in said
        assert f"Add --base {base}." in said
        assert "counted from 1" in check(read(tmp_path, text, base)).reading
        assert "expected a whole number from" in refused(tmp_path, text.replace("1", "0"), base)
    np.save(tmp_path / "t.npy", np.array([(a + 1, b + 1, GRID[a, b]) for a, b in HEADS]))
    with pytest.raises(DataError, match="Add --base 1"):
        read_table(tmp_path / "t.npy", L, H)
    check(read_table(tmp_path / "t.npy", L, H, "1"))


def test_a_base_that_is_none_or_means_nothing(tmp_path: Path) -> None:
    assert "--base 1" in refused(tmp_path, lines("score", lambda a, b, v: v, HEADS), "1")
    with pytest.raises(SettingsError, match="0, 1, layer or head"):
        read(tmp_path, "score\n1\n", "2")
    part = "layer,head,score\n3,1,0.5\n1,2,0.5\n"  # heads 1 to 2 of 4: they may count from either
    said = refused(tmp_path, part)
    assert "Add --base 1, or --base layer if its heads count from 0" in said
    assert np.isfinite(read(tmp_path, part, "layer").measures[0].values[2, 1])
    assert np.isfinite(read(tmp_path, part, "1").measures[0].values[2, 0])


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("comma", [False, True])
@pytest.mark.parametrize("index", ["", "Unnamed: 0", "index", None])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_separators_decimal_commas_and_indexes(
    tmp_path: Path, sep: str, comma: bool, index: str | None, name: str
) -> None:
    rows: list[list[str]] = [["layer", "head", "score"]]
    for a, b in BEST:
        value = f"{GRID[a, b]:.3f}"
        rows.append([str(a), str(b), value.replace(".", ",") if comma else value])
    if index is not None:
        rows = [[index if i == 0 else str(90 - i), *row] for i, row in enumerate(rows)]
    text = "\n".join(sep.join(f'"{c}"' if sep in c else c for c in row) for row in rows) + "\n"
    found = check(read(tmp_path, text, name=name))
    assert found.left_out == ()
    assert {",": "commas", ";": "semicolons", "\t": "tabs"}[sep] in found.reading
    assert ("decimal commas" in found.reading) == comma


def test_a_separator_at_the_end_of_each_line_and_one_column_with_commas(tmp_path: Path) -> None:
    check(read(tmp_path, lines("layer;head;score;", lambda a, b, v: f"{a};{b};{v};")))
    check(read(tmp_path, lines("score", lambda a, b, v: v.replace(".", ","), HEADS)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layer head score\n0 0 0.5\n", "separated by spaces"),
        ("layer|head|score\n0|0|0.5\n", "vertical bars"),
        ("layer;head;score\n0;0;0,5\n0;1;0.5\n", "decimal comma"),
        ("layer;head;score\n0;0;1,234\n0;1;2,345\n", "thousands"),
        ("layer;head;score\n0;0;1;2\n", "separated by semicolons"),
        ("a,b;c\n" + "1,2;3\n" * (L * H), "commas and semicolons"),
    ],
)
def test_what_has_no_one_reading_names_what_was_seen(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)


@pytest.mark.parametrize("column", ["measure", "variable", "which"])
@pytest.mark.parametrize("head", ["{a},{b}", "L{a}H{b}"])
def test_a_row_per_head_and_measure(tmp_path: Path, column: str, head: str) -> None:
    at = "layer,head" if "," in head else "name"
    rows = [f"{head.format(a=a, b=b)},{m},{GRID[a, b] * s:.3f}" for m, s in (("ind", 1), ("dup", -1)) for a, b in BEST]
    found = check(read(tmp_path, "\n".join([f"{at},{column},value", *rows])), 2)
    assert [m.name for m in found.measures] == ["ind", "dup"]
    np.testing.assert_array_equal(found.measures[1].values, -GRID)
    assert "row per head and measure" in found.reading
    two = "\n".join([f"{at},{column},value,low", *(f"{row},0.5" for row in rows)])
    assert [m.name for m in read(tmp_path, two).measures] == ["ind: value", "ind: low", "dup: value", "dup: low"]


def test_heads_that_stand_twice_for_no_known_reason(tmp_path: Path) -> None:
    rows = [f"{a},{b},{seed},{GRID[a, b]:.3f}" for seed in (0, 1) for a, b in BEST]
    assert "Column 'seed' differs" in refused(tmp_path, "\n".join(["layer,head,seed,score", *rows]))
    rows = [f"{a},{b},{x},{x}{x},{GRID[a, b]:.3f}" for x in "pq" for a, b in BEST]
    assert "'one' or 'two'" in refused(tmp_path, "\n".join(["layer,head,one,two,score", *rows]))


def wide(first: list[str], names: list[str], rows: list[list[float]], label: str | None) -> str:
    """A grid as text, with a first column of labels."""
    head = ",".join(([label] if label is not None else []) + names)
    body = [
        ",".join(([a] if label is not None else []) + [f"{v:.3f}" for v in row])
        for a, row in zip(first, rows, strict=True)
    ]
    return "\n".join([head, *body])


@pytest.mark.parametrize("form", ["H{}", "head_{}", "head {}", "{}"])
@pytest.mark.parametrize("label", ["layer", "Layer_idx", "", "Unnamed: 0", None])
@pytest.mark.parametrize("across", ["head", "layer"])
def test_a_column_per_head_or_per_layer(tmp_path: Path, form: str, label: str | None, across: str) -> None:
    values, down = (GRID, "layer") if across == "head" else (GRID.T, "head")
    if across == "layer":
        form = form.replace("head", "layer").replace("H", "L")
        label = {"layer": "head", "Layer_idx": "Head_idx"}.get(label or "", label)
    names = [form.format(i) for i in range(values.shape[1])]
    text = wide([str(i) for i in range(values.shape[0])], names, values.tolist(), label)
    assert f"a row per {down} and a column per {across}" in check(read(tmp_path, text)).reading


def test_a_column_for_each_head_of_the_model(tmp_path: Path) -> None:
    names = ",".join(f"L{a}H{b}" for a, b in BEST)
    values = ",".join(f"{GRID[at]:.3f}" for at in BEST)
    assert check(read(tmp_path, f"{names}\n{values}\n")).measures[0].name == "value"
    text = f"measure,{names}\ninduction,{values}\nother,{values}\n"
    assert [m.name for m in check(read(tmp_path, text), 2).measures] == ["induction", "other"]
    assert check(read(tmp_path, f",{names}\ninduction,{values}\n")).measures[0].name == "induction"
    assert "2 rows; 0 columns name" in refused(tmp_path, f"{names}\n{values}\n{values}\n")


def test_a_grid_without_names_is_read_only_where_its_sides_tell(tmp_path: Path) -> None:
    def rows(grid: np.ndarray) -> str:  # type: ignore[type-arg]
        return "\n".join(",".join(f"{v:.3f}" for v in row) for row in grid)

    check(read(tmp_path, rows(GRID)))
    check(read(tmp_path, rows(GRID.T)))
    square = "\n".join("0.1,0.2,0.3" for _ in range(3))
    for text in (square, ",0,1,2\n0,0.1,0.2,0.3\n1,0.1,0.2,0.3\n2,0.1,0.2,0.3\n"):
        assert "grid of 3 x 3" in refused(tmp_path, text, shape=(3, 3))
    assert read(tmp_path, "layer" + text, shape=(3, 3)).measures[0].values[0, 1] == np.float32(0.2)
    assert read(tmp_path, "head" + text, shape=(3, 3)).measures[0].values[1, 0] == np.float32(0.2)
    assert "expected 3 layers x 4 heads" in refused(tmp_path, ",0,1\n0,0.1,0.2\n1,0.1,0.2\n")
    assert "4 rows, expected one per layer: 3" in refused(tmp_path, "H0,H1\n" + "0.1,0.2\n" * 4)


@given(st.permutations(HEADS), st.sampled_from(["columns", "names", "tidy"]), st.sampled_from([",", ";", "\t"]))
def test_no_order_of_rows_moves_a_value(order: list[tuple[int, int]], shape: str, sep: str) -> None:
    import tempfile

    header = {"columns": "layer,head,x", "names": "x,name", "tidy": "measure,l,h,value"}[shape]
    cell = {"columns": "{a},{b},{v}", "names": "{v},L{a}H{b}", "tidy": "m,{a},{b},{v}"}[shape]
    text = lines(header, lambda a, b, v: cell.format(a=a, b=b, v=v), order).replace(",", sep)
    with tempfile.TemporaryDirectory() as folder:
        check(read(Path(folder), text))


def test_the_scores_file_of_a_report_is_read_as_its_values(tmp_path: Path) -> None:
    """Every score under its key; a file cut down to one score is read, too."""
    scores = {score.key: score for score in sample.result().scores}
    text = scores_csv({"alpha": sample.result()}, fixtures.model_record())
    found = read(tmp_path, text, shape=(sample.LAYERS, sample.HEADS))
    assert {m.name for m in found.measures} == set(scores)
    for measured in found.measures:
        assert np.array_equal(measured.values, scores[measured.name].values, equal_nan=True)
    assert "a report's scores.csv" in found.reading
    older = io.StringIO()  # of a report made before there were these columns
    writer = csv.DictWriter(older, [n for n in COLUMNS if n not in ("p_each", "fdr")], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(csv.DictReader(io.StringIO(text)))
    before = read(tmp_path, older.getvalue(), shape=(sample.LAYERS, sample.HEADS))
    assert {m.name for m in before.measures} == set(scores)
    header, *rows = text.splitlines(keepends=True)
    (one,) = read(
        tmp_path, header + "".join(r for r in rows if ",ioi," in r), shape=(sample.LAYERS, sample.HEADS)
    ).measures
    assert one.name == "alpha/effect/ioi"
