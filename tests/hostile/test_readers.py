"""Every reader, given any bytes or a valid file damaged at random, raises nothing but a user's error."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen import score_files
from reportgen.config import merge, read_config
from reportgen.errors import UserError
from reportgen.figures.figure import View
from reportgen.imported.store import read_table
from reportgen.models import checks, load
from reportgen.published import load_user
from reportgen.report import draw
from reportgen.report.draw import each
from reportgen.report.paper import check_paper
from reportgen.runfolder import Run
from reportgen.site import read_site
from reportgen.suites.circuits.settings import TASKS
from reportgen.suites.circuits.tasks import user
from reportgen.suites.cognitive import rows
from reportgen.suites.cognitive.scoring import prompts
from reportgen.suites.pairs import load_relations, load_templates, read_pairs
from reportgen.suites.sparse import facts
from reportgen.suites.sparse.suite import read_feature_groups, read_task
from reportgen.sweep.spec import make_spec, read_spec
from reportgen.sweep.stored import Sweep
from tests import fixtures
from tests.hostile import bases
from tests.hostile.corpus import overlays, questions, relations, sparse, tables, tasks
from tests.hostile.damage import altered, damaged


@dataclass(frozen=True)
class Reader:
    """A file's name, valid content, and who reads it; `base` is a folder it lies in."""

    file: str
    valid: bytes
    read: Callable[[Path], object]
    base: str = ""


def _relations(path: Path) -> None:
    load_relations(str(path.parent))
    load_templates(str(path.parent))


def _drawn(path: Path) -> None:
    """Every figure of the file is made or refused."""
    run = Run.open(path.parents[1])
    for suite in draw.stand_ins(run.path, run.manifest, {}).values():
        for found in each(suite, run.result(suite.name), View(run.model)):
            assert isinstance(found, str) or found.chart


def _table() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"layer": [0, 0, 1], "head": [0, 1, 2], "x": [1.0, None, 2.0]}), out)
    return out.getvalue()


_MEANING, _ARRAYS = score_files.encode(fixtures.suite_result())
_CONFIG = b"model = 'mini'\nsuite = ['relations']\nseed = 3\noverlays = ['a.toml']\n[suites.relations]\ntau = 0.2\n"
_SWEEP = b"name = 'a'\n[[models]]\nmodel = 'mini'\nrevisions = ['a=1']\n[suites.relations]\nk = 2\n[ray]\ncpus = 1\n"
_RELATIONS = b"templates = ['<X> is']\n[a]\ntitle = 'A'\nk = 3\ncopying = true\nprompt = 'x <X>'\n"
_PAPER = rb"\input{n}\includegraphics[width=1cm]{f/a.pdf}\rgnum{m/a/n}\rgscore{m/a/b/L0H1}\graphicspath{{figures/}}"
READERS = {
    "config": Reader("c.toml", _CONFIG, lambda path: merge(read_config(path), {})),
    "sweep": Reader("s.toml", _SWEEP, lambda path: make_spec(read_spec(path))),
    "site": Reader("site.toml", b"title = 'T'\nurl = 'https://a.b/'\nruns = ['r/*', 'a']\n", read_site),
    "overlay": Reader(
        "o.toml", overlays.ENTRY.encode() + b"weights = {L1H2 = 0.5}\n", lambda path: load_user(path, (2, 3))
    ),
    "pairs": Reader("a.json", relations.PAIRS.encode(), read_pairs),
    "relations": Reader("relations.toml", _RELATIONS, _relations, "lists"),
    "jsonl": Reader("q.jsonl", f"{questions.LINE}\n{questions.LINE}\n".encode(), rows.read_rows),
    "questions-csv": Reader("q.csv", b'subquestion,answer,function,context\na,b,c,\nd,e,f,"[]"\n', rows.read_rows),
    "cogqa": Reader("q.json", json.dumps([questions.COGQA]).encode(), rows.read_rows),
    "prompt": Reader("p.txt", b"{question} {context}\n{subquestion} {{a}}", lambda path: prompts.template(str(path))),
    "tasks": Reader("t.jsonl", f"{tasks.LINE}\n".encode(), lambda path: user.read(str(path), TASKS)),
    "csv": Reader("t.csv", tables.TABLE.encode(), lambda path: read_table(path, 2, 3)),
    "npy": Reader("t.npy", tables.GOOD, lambda path: read_table(path, 2, 3)),
    "parquet": Reader("t.parquet", _table(), lambda path: read_table(path, 2, 3)),
    "run": Reader("run.json", b"", lambda path: Run.open(path.parent), "run"),
    "drawn": Reader("drawn/mine.json", b"", _drawn, "kept"),
    "relations-object": Reader("r.json", relations.OBJECT.encode(), lambda path: load_relations(str(path))),
    "sweep-json": Reader("sweep.json", b"", lambda path: Sweep.open(path.parent), "sweep"),
    "meaning": Reader("m.json", _MEANING, lambda path: score_files.decode(path.read_bytes(), _ARRAYS, "m")),
    "arrays": Reader("m.bin", _ARRAYS, lambda path: score_files.decode(_MEANING, path.read_bytes(), "m")),
    "model-config": Reader("config.json", b"", lambda path: load.inspect(path.parent, device="cpu"), "model"),
    "weights": Reader("model.safetensors", b"", lambda path: checks.check_folder(path.parent, "model"), "model"),
    "tokenizer": Reader("tokenizer.json", b"", lambda path: load.read_tokens(path.parent, "model"), "model"),
    "tokenizer-config": Reader("tokenizer_config.json", b"", lambda path: load.read_tokens(path.parent, "m"), "model"),
    "task": Reader("p.toml", sparse.TASK.encode(), read_task),
    "features": Reader("f.json", b'[{"name": "a", "position": 1, "layers": [0, 1]}]', read_feature_groups),
    "gate": Reader(
        "config.json", (sparse.CONFIG % sparse.GATE).encode(), lambda path: facts.check_checkpoint(str(path.parent))
    ),
    "record": Reader("sparsify.json", b"", lambda path: facts.check_checkpoint(str(path.parent)), "mini-sparse"),
    "paper": Reader("p.tex", _PAPER, check_paper),
}
JSON = [name for name, reader in READERS.items() if reader.file.endswith(".json")]


@pytest.fixture(scope="module")
def place(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Reader], tuple[Path, bytes]]:
    """Where a reader's file lies, with what else it needs, and its valid content."""

    def of(reader: Reader) -> tuple[Path, bytes]:
        folder = tmp_path_factory.mktemp("read")
        if reader.base == "lists":
            (folder / "a.json").write_text(relations.PAIRS)
        elif reader.base == "mini-sparse":
            bundled = facts.folder_of(reader.base)
            assert bundled is not None
            for name in ("config.json", "sparsify.json"):
                shutil.copy(bundled / name, folder / name)
        elif reader.base:
            bases.copy(reader.base, store, folder)
            folder = folder / reader.base
        path = folder / reader.file
        valid = reader.valid or path.read_bytes()
        path.write_bytes(valid)
        if reader.file not in ("site.toml", "p.tex"):  # those two need runs, which are not there
            reader.read(path)  # the valid file is valid
        return path, valid

    return of


def _try(reader: Reader, path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with contextlib.suppress(UserError):
        reader.read(path)


@pytest.mark.parametrize("name", READERS)
def test_random_bytes(name: str, place: Callable[[Reader], tuple[Path, bytes]]) -> None:
    reader = READERS[name]
    path, _ = place(reader)

    @given(st.binary(max_size=300))
    def check(raw: bytes) -> None:
        _try(reader, path, raw)

    check()


@pytest.mark.parametrize("name", READERS)
def test_random_damage(name: str, place: Callable[[Reader], tuple[Path, bytes]]) -> None:
    reader = READERS[name]
    path, valid = place(reader)

    @given(damaged(valid))
    def check(raw: bytes) -> None:
        _try(reader, path, raw)

    check()


@pytest.mark.parametrize("name", JSON)
def test_other_values_in_json(name: str, place: Callable[[Reader], tuple[Path, bytes]]) -> None:
    reader = READERS[name]
    path, valid = place(reader)

    @given(altered(valid))
    def check(raw: bytes) -> None:
        _try(reader, path, raw)

    check()


@given(st.lists(st.one_of(st.floats(width=32), st.just(float("nan"))), min_size=6, max_size=6), st.integers(0, 3))
def test_numbers_of_an_npy_table(values: list[float], axis: int) -> None:
    """Any numbers in any of these shapes are read or refused, and what is read is finite or has a reason."""
    shape = ((2, 3), (6,), (6, 1), (3, 2))[axis]
    out = io.BytesIO()
    np.save(out, np.array(values).reshape(shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.npy"
        path.write_bytes(out.getvalue())
        try:
            found = read_table(path, 2, 3)
        except UserError:
            return
    for measured in found.measures:
        assert not np.isinf(measured.values).any()
        assert len(measured.reasons) == np.isnan(measured.values).sum()
