"""Tables of scores to import: CSV, NPY, Parquet."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.bases import IMPORT, TABLE
from tests.hostile.case import Case, Content, garbled, odd_files


class _Bomb:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("pickle-was-run", "w")


def _table(kind: str, name: str, content: Content, says: str) -> Case:
    file = f"t.{kind}"
    words = tuple(word.replace("t.csv", file) for word in IMPORT)
    return Case(f"{kind}-{name}", words, rf"t\.{kind}.*{says}", {file: content})


def _csv(name: str, content: Content, says: str) -> Case:
    return _table("csv", name, content, says)


def _npy(name: str, array: object, says: str) -> Case:
    out = io.BytesIO()
    np.save(out, np.asarray(array), allow_pickle=True)
    return _table("npy", name, out.getvalue(), says)


def _header(name: str, header: str, says: str, body: bytes = b"\0" * 48) -> Case:
    """An NPY file with this very header."""
    raw = header.encode("latin-1") + b"\n"
    return _table("npy", name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + body, says)


def _parquet(name: str, columns: dict[str, object], says: str) -> Case:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return _table("parquet", name, out.getvalue(), says)


def _cell(name: str, cell: str, says: str = "row 2, column score") -> Case:
    return _csv(f"cell-{name}", TABLE.replace("0,0,0.0", f"0,0,{cell}"), says)


_WHOLE = io.BytesIO()
np.save(_WHOLE, np.zeros((2, 3), np.float32))
GOOD = _WHOLE.getvalue()

CASES = (
    *(_csv(name, content, says.replace("t.csv.*", "")) for name, content, says in odd_files("t.csv")),
    *(_csv(name, content, says.replace(".*UTF", "UTF")) for name, content, says in garbled("")),
    _csv("empty", "", "is empty"),
    _csv("blank", "\r\n \n", "is empty"),
    _csv("header-only", "layer,head,score\n", "no rows|no column"),
    _csv("no-header", "0,0,1\n0,1,1\n", "no header"),
    _csv("no-head", TABLE.replace("head", "hed"), "only one of the columns"),
    _csv("truncated", TABLE[:-6], "row 7: 2 cells"),
    _csv("name-twice", TABLE.replace("score", "Layer"), "two columns are called"),
    _csv("no-name", TABLE.replace("score", ""), "has no name"),
    _csv("row-twice", TABLE + "0,0,1\n", "row 8: L0H0 is already in row 2"),
    _csv("outside", TABLE.replace("1,2,", "2,2,"), "row 7: layer '2'"),
    _csv("negative", TABLE.replace("0,0,", "-1,0,"), "row 2: layer '-1'"),
    _csv("fraction", TABLE.replace("0,1,", "0,1.5,"), "row 3: head '1.5'"),
    _csv("words", "layer,head,score\n0,0,high\n", "no column of numbers"),
    _csv("more-cells", TABLE + "1,1,1,1\n", "row 8: 4 cells"),
    _csv("open-quote", TABLE + '"1,2', "CSV|row"),
    _csv("nul", TABLE.replace("0,0,0.0", "0,0,\0"), "row 2|NUL"),
    _csv("long-cell", TABLE.replace("0,0,0.0", f"0,0,{'9' * 200_000}"), "CSV|row 2"),
    _csv("plain-rows", "score\n1\n2\n", "2 rows, expected 2 layers x 3 heads"),
    _csv("counts-from-1", "layer,head,score\n1,1,0.5\n2,3,0.5\n", "counts layers from 1 .*Add --base 1"),
    _csv("index-moved", ",score\n" + "".join(f"{5 - i},0.{i}\n" for i in range(6)), "not in layer-major order"),
    _csv("ranked", "rank,score\n" + "".join(f"{i},0.{i}\n" for i in range(6)), "not in layer-major order"),
    _csv("names-unread", "name,score\n" + "".join(f"block {i},0.{i}\n" for i in range(6)), "does not name one head"),
    _csv("names-edges", "edge,score\nL0H0 to L1H1,0.5\n" + "x,1\n" * 5, "row 2: 'L0H0 to L1H1'"),
    _csv("names-disagree", "layer,name,score\n0,L1H1,0.5\n", "names another head"),
    _csv("two-layers", "layer,L,head,score\n0,1,0,0.5\n", "can both be the layer"),
    _csv("spaces", "layer head score\n0 0 0.5\n", "separated by spaces"),
    _csv("bars", "layer|head|score\n0|0|0.5\n", "separated by vertical bars"),
    _csv("both-decimals", "layer;head;score\n0;0;0,5\n0;1;0.5\n", "with a decimal comma, but row 3"),
    _csv("thousands", "layer;head;score\n0;0;1,234\n", "thousands"),
    _csv("two-separators", "a,b;c\n" + "1,2;3\n" * 6, "commas and semicolons"),
    _csv("semicolons-ragged", "layer;head;score\n0;0\n", "2 cells, expected 3 as in the header, separated by semicol"),
    _csv("seeds", "layer,head,seed,score\n0,0,1,0.5\n0,0,2,0.5\n", "L0H0 is already in row 2.*Column 'seed'"),
    _csv("wide-unnamed-rows", "L0H0,L0H1\n1,2\n3,4\n", "2 rows; 0 columns name"),
    _csv("wide-outside", "layer,H0,H9\n0,1,2\n", "row 2, under H9: head '9'"),
    _csv("wide-word", "layer,H0,H1\n0,1,high\n", "row 2, under H1, column value: 'high'"),
    _csv("grid-sides", ",0,1\n0,0.5,0.5\n", "grid of 1 x 2, expected 2 layers x 3 heads"),
    _table("tsv", "ragged", "layer\thead\tscore\n0\t0\n", "separated by tabs"),
    _table("tsv", "binary", bytes(range(256)), "UTF-8"),
    _cell("word", "high"),
    _cell("infinite", "inf"),
    _cell("minus-infinite", "-Infinity"),
    _cell("too-large", "1e999"),
    _cell("above-float32", "1e39"),
    _cell("hex", "0x10"),
    _cell("underscores", "1_000"),
    _cell("formula", "=1+1"),
    _cell("escape", "\x1b[31m1", r"row 2, column score: '\\\\x1b"),
    _table("npy", "empty", b"", "not an NPY"),
    _table("npy", "text", "layer,head\n", "not an NPY"),
    _table("npy", "truncated", GOOD[:-8], "not an NPY|Can't read"),
    _table("npy", "half-header", GOOD[:40], "not an NPY"),
    _table("npy", "pickle", pickle.dumps(_Bomb()), "not an NPY"),
    _npy("objects", np.array([_Bomb()] * 6, dtype=object), "not an NPY"),
    _npy("strings", np.array(["a"] * 6), "expected numbers"),
    _npy("complex", np.zeros(6, complex), "expected numbers"),
    _npy("dates", np.zeros(6, "datetime64[s]"), "expected numbers"),
    _npy("bool", np.zeros((2, 3), bool), "expected numbers"),
    _npy("nan", np.full((2, 3), np.nan), "no column of numbers"),
    _npy("infinite", np.full((2, 3), np.inf), "expected a finite number"),
    _npy("above-float32", np.full((2, 3), 1e300), "expected a finite number"),
    _npy("turned", np.zeros((3, 2)), "shape"),
    _npy("scalar", np.zeros(()), "shape"),
    _npy("none", np.zeros((0, 3)), "shape|rows"),
    _npy("four-axes", np.zeros((2, 3, 1, 1)), "shape"),
    _npy("record-objects", np.array([(0, 0, None)], dtype=[("layer", "i4"), ("head", "i4"), ("x", "O")]), "not an NPY"),
    _header("lying-shape", "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 300000000000000)}", ""),
    _header("negative-shape", "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, 3)}", ""),
    _header("huge-shape", f"{{'descr': '<f8', 'fortran_order': False, 'shape': (1{'0' * 30},)}}", ""),
    _header("code", "{'descr': __import__('os').system('touch evil'), 'shape': (6,)}", "not an NPY"),
    _header("deep", "(" * 9_000, "not an NPY"),
    _header("open-string", "{'descr': '''", "not an NPY"),
    _header("python-2", "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L)", "not an NPY"),
    _header("not-a-dict", "[1, 2]", "not an NPY"),
    _header("other-keys", "{'descr': '<f8'}", "not an NPY"),
    _header("wrong-descr", "{'descr': 5, 'fortran_order': False, 'shape': (6,)}", "not an NPY"),
    _header("object-descr", "{'descr': '|O', 'fortran_order': False, 'shape': (6,)}", "not an NPY"),
    _header("nul-descr", "{'descr': '<f8\\x00', 'fortran_order': False, 'shape': (6,)}", "not an NPY"),
    _table("npy", "future", b"\x93NUMPY\x09\x00" + GOOD[8:], "not an NPY"),
    _table("parquet", "empty", b"", ""),
    _table("parquet", "text", TABLE, "not a Parquet file|Can't read"),
    _table("parquet", "magic-alone", b"PAR1PAR1", "not a Parquet file|Can't read"),
    _table("parquet", "lying-footer", b"PAR1" + b"\0" * 20 + struct.pack("<I", 2**31) + b"PAR1", ""),
    _parquet("words", {"score": ["a"] * 6}, "no column of numbers"),
    _parquet("rows", {"score": [1.0] * 5}, "5 rows"),
    _parquet("too-many", {"score": [1.0] * 2_000}, "2,000 rows"),
    _parquet("nested", {"score": [[1.0]] * 6}, "no column of numbers"),
    _parquet("infinite", {"score": [float("inf")] * 6}, "finite"),
    _parquet("stamps", {"score": pa.array([2**62] * 6, pa.timestamp("ns"))}, "column|not a Parquet"),
    _parquet("dates", {"score": pa.array([2**30] * 6, pa.date32())}, "column|not a Parquet"),
    _parquet("decimals", {"score": pa.array([1] * 6, pa.decimal128(38, 0)), "b": ["x"] * 6}, "no column of numbers"),
    _table("xlsx", "ending", b"PK\x03\x04", "expected the extension"),
    _table("pkl", "ending", pickle.dumps(_Bomb()), "expected the extension"),
)  # fmt: skip
