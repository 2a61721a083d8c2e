"""A stored run: run.json, scores/, overlays/; read by render, figure, compare, site and check."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.hostile.bases import Edit, cut, edit, folder, link, put, signed
from tests.hostile.case import DEEP, Case, Link

RENDER = ("render", "{here}/run")
NAME = "run/scores/imported"


def _render(name: str, damage: Edit, says: str) -> Case:
    return Case(f"run-{name}", RENDER, says, base=("run",), damage=damage)


def _manifest(name: str, says: str, **fields: object) -> Case:
    return _render(f"manifest-{name}", edit("run/run.json", **fields), rf"run\.json.*{says}")


def _meaning(name: str, says: str, **fields: object) -> Case:
    return _render(f"meaning-{name}", signed("run", edit(f"{NAME}.json", **fields)), rf"scores/imported.*{says}")


def _tensors(name: str, raw: bytes, says: str = "is damaged") -> Case:
    return _render(f"tensors-{name}", signed("run", put(f"{NAME}.safetensors", raw)), rf"scores/imported.*{says}")


def _header(text: str, body: bytes = b"\0" * 24) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw + body


def _values(change: str) -> Edit:
    """The stored grid changed: another shape or type, or numbers that cannot be."""

    def damage(here: Path) -> None:
        path = here / f"{NAME}.safetensors"
        tensors = load_file(path)
        (key,) = tensors
        grid = tensors[key]
        changed = {
            "shape": grid[:1], "axes": grid[None], "type": grid.astype(np.float64), "ints": grid.astype(np.int32),
            "nan": np.full_like(grid, np.nan), "infinite": np.full_like(grid, np.inf), "none": grid[:0],
            "wider": np.tile(grid, (1, 2)),
        }  # fmt: skip
        save_file({key: np.ascontiguousarray(changed[change])}, path)

    return damage


def _nested(key: str) -> Edit:
    """10^6 brackets as the value of a key of the meaning."""

    def damage(here: Path) -> None:
        path = here / f"{NAME}.json"
        value = json.loads(path.read_text())
        value[key] = "@"
        path.write_text(json.dumps(value).replace('"@"', "[" * DEEP + "]" * DEEP))

    return damage


def _twice(here: Path) -> None:
    path = here / "run/run.json"
    path.write_text(path.read_text().replace("{", '{"device": "a",', 1))


def _suite(name: str) -> Edit:
    """The suite's entry in run.json under another name."""

    def damage(here: Path) -> None:
        path = here / "run/run.json"
        value = json.loads(path.read_text())
        value["suites"] = {name: value["suites"]["imported"]}
        path.write_text(json.dumps(value))

    return damage


HUGE = '{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 24]}}'
RECORD = "suites__imported__"
CASES = (
    Case("run-none", RENDER, "not a run folder"),
    Case("run-file", RENDER, "not a run folder", {"run": "x"}),
    Case("run-loop", RENDER, "not a run folder", {"run": Link("run")}),
    Case("run-long-name", ("render", "n" * 5_000), "not a run folder"),
    Case("run-figure-none", ("figure", "{here}/run", "x"), "not a run folder"),
    Case("run-compare-loop", ("compare", "{here}/a", "{here}/b"), "not a run folder", {"a": Link("b"), "b": Link("a")}),
    *(
        _render(f"manifest-{name}", damage, rf"run\.json.*{says}")
        for name, damage, says in (
            ("empty", put("run/run.json", ""), "not JSON"),
            ("truncated", cut("run/run.json", 0.9), "not JSON"),
            ("garbled", put("run/run.json", b"\xff\xfe{}"), "UTF-8"),
            ("list", put("run/run.json", "[]"), "Expected `object`"),
            ("deep", put("run/run.json", "[" * DEEP), "nested too deeply"),
            ("digits", put("run/run.json", f'{{"seed": {"9" * 5_000}}}'), "digits"),
            ("folder", folder("run/run.json"), "Is a directory"),
            ("loop", link("run/run.json", "run.json"), "symbolic links"),
            ("endless", link("run/run.json", "/dev/zero"), "not a regular file"),
            ("other-file", link("run/run.json", "/etc/passwd"), "not JSON"),
            ("twice", _twice, "'device' is given twice"),
            ("traversing-suite", _suite("../../evil"), r"'\.\./\.\./evil'"),
            ("absolute-suite", _suite("/etc/evil"), "'/etc/evil'"),
            ("empty-suite", _suite(""), "''"),
            ("long-suite", _suite("s" * 300), "sss"),
            ("nul-suite", _suite("a\0b"), "plain name"),
        )
    ),
    _manifest("schema-newer", "schema 99", schema_version=99),
    _manifest("schema-text", r"\$\.schema_version", schema_version="1"),
    _manifest("schema-none", "schema_version", schema_version=...),
    _manifest("schema-huge", "schema", schema_version=10**40),
    _manifest("no-model", "model", model=...),
    _manifest("model-list", r"\$\.model", model=[]),
    _manifest("seed", r"\$\.seed", seed="x"),
    _manifest("argv", r"\$\.argv", argv="reportgen"),
    _manifest("suites", r"\$\.suites", suites=[]),
    _manifest("status", r"\$\.suites", **{f"{RECORD}status": 1}),
    _manifest("settings", r"\$\.suites", **{f"{RECORD}settings": []}),
    _manifest("digests", r"\$\.suites", **{f"{RECORD}sha256": {"imported.json": 1}}),
    _manifest("traversing-file", r"'\.\./x'", **{f"{RECORD}sha256": {"../x": "ab"}}),
    _manifest("no-files", "has no", **{f"{RECORD}sha256": {}}),
    _manifest("traversing-slug", r"'\.\./\.\./evil'", model__slug="../../evil"),
    _manifest("absolute-slug", "'/tmp/evil'", model__slug="/tmp/evil"),
    _manifest("dot-slug", r"'\.\.'", model__slug=".."),
    _manifest("empty-slug", "''", model__slug=""),
    _manifest("newline-slug", "plain name", model__slug="a\nb"),
    _manifest("traversing-overlay", r"'\.\./\.\./x\.toml'", overlays=["../../x.toml"]),
    _manifest("absolute-overlay", "'/etc/passwd'", overlays=["/etc/passwd"]),
    _manifest("layers-text", r"\$\.model\.n_layers", model__n_layers="2"),
    _manifest("layers-below", "n_layers", model__n_layers=-1),
    _manifest("layers-zero", "n_layers", model__n_layers=0),
    _manifest("layers-huge", "n_layers", model__n_layers=10**9),
    _manifest("heads-huge", "n_heads", model__n_heads=10**30),
    _manifest("parameters-below", "n_params", model__n_params=-5),
    _manifest("check-nan", "NaN", model__self_check={"max_abs_diff": float("nan")}),
    _render("grid-of-another-size", edit("run/run.json", model__n_layers=7), "imported.*7"),
    _render("no-such-status", edit("run/run.json", **{f"{RECORD}status": "maybe"}), r"run\.json.*maybe"),
    _render("published", edit("run/run.json", published_as="nonsense"), "nonsense"),
    _render("published-of-another-grid", edit("run/run.json", published_as="gpt2-small"), "published heads"),
    _render("file-gone", lambda here: (here / f"{NAME}.json").unlink(), r"imported\.json: No such file"),
    _render("file-cut", cut(f"{NAME}.safetensors", 0.5), "differs from the digest"),
    _render("file-folder", folder(f"{NAME}.json"), r"imported\.json: Is a directory"),
    _render("file-link-out", link(f"{NAME}.json", "/etc/passwd"), "differs from the digest"),
    _render("file-endless", link(f"{NAME}.json", "/dev/zero"), r"imported\.json: .*not a regular file"),
    _render("meaning-text", signed("run", put(f"{NAME}.json", "x")), "scores/imported is damaged"),
    _render("meaning-cut", signed("run", cut(f"{NAME}.json", 0.5)), "scores/imported is damaged"),
    _render("meaning-deep", signed("run", _nested("facts")), "scores/imported is damaged"),
    _render("meaning-deep-scores", signed("run", _nested("scores")), "scores/imported is damaged"),
    _meaning("suite", "other", suite="other"),
    _meaning("scores-text", r"\$\.scores", scores="x"),
    _meaning("scores-none", "scores", scores=...),
    _meaning("key", "is damaged", scores__0__key="imported"),
    _meaning("key-traversing", "is damaged", scores__0__key="imported/../x"),
    _meaning("key-other", "is damaged", scores__0__key="imported/other/table"),
    _meaning("key-of-another-suite", "is damaged", scores__0__key="relations/a/b"),
    _meaning("range", r"is damaged", scores__0__range=[5, 6]),
    _meaning("range-text", r"\$\.scores", scores__0__range=["a", "b"]),
    _meaning("reasons", r"\$\.scores", scores__0__reasons=["x"]),
    _meaning("n-fraction", r"\$\.scores", scores__0__n=0.5),
    _meaning("no-null-empty", "is damaged", scores__0__no_null=""),
    _meaning("set-outside", "L99H99", head_sets=[
        {"key": "a/b", "label": "x", "heads": [[99, 99]], "legend": "", "source": "", "rule": "", "kind": "computed",
         "verified": True, "weights": {}, "evidence": {}}]),
    _meaning("set-below", "L0H-1", head_sets=[
        {"key": "a/b", "label": "x", "heads": [[0, -1]], "legend": "", "source": "", "rule": "", "kind": "computed",
         "verified": True, "weights": {}, "evidence": {}}]),
    _meaning("table-ragged", "is damaged", tables=[
        {"key": "t", "title": "t", "columns": [], "rows": [[1]], "caption": ""}]),
    _meaning("array-absent", "is damaged", arrays={"x": {"dims": ["a"], "labels": {}}}),
    _tensors("empty", b""),
    _tensors("short", b"\x10\0\0"),
    _tensors("huge-header", struct.pack("<Q", 2**63) + b"{}"),
    _tensors("header-beyond", struct.pack("<Q", 10_000) + b"{}"),
    _tensors("no-json", _header("nonsense")),
    _tensors("deep", _header("[" * DEEP)),
    _tensors("list", _header("[]")),
    _tensors("no-values", _header("{}", b"")),
    _tensors("lying-offsets", _header('{"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 9999999]}}')),
    _tensors("turned-offsets", _header('{"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [24, 0]}}')),
    _tensors("huge-shape", _header(HUGE)),
    _tensors("minus-shape", _header('{"a": {"dtype": "F32", "shape": [-2, 3], "data_offsets": [0, 24]}}')),
    _tensors("no-type", _header('{"a": {"dtype": "F99", "shape": [2, 3], "data_offsets": [0, 24]}}')),
    _tensors("half-floats", _header('{"a": {"dtype": "BF16", "shape": [12], "data_offsets": [0, 24]}}')),
    _tensors("pickle", b"\x80\x04cposix\nsystem\n(S'touch evil'\ntR."),
    *(_render(f"values-{name}", signed("run", _values(name)), r"scores/imported.*") for name in (
        "shape", "axes", "type", "ints", "nan", "infinite", "none", "wider")),
    _render("overlay-gone", lambda here: (here / "run/overlays/run.toml").unlink(), r"run\.toml: No such file"),
    _render("overlay-garbled", put("run/overlays/run.toml", b"\xff"), r"run\.toml.*UTF-8"),
    _render("overlay-endless", link("run/overlays/run.toml", "/dev/zero"), r"run\.toml: .*not a regular file"),
    *(
        Case(f"run-link-{name.replace('/', '-')}", RENDER, rf"run/{name} is a link out", {"outside/precious": "x"},
             ("run",), link(f"run/{name}", "{here}/outside"))
        for name in ("report", "scores", "overlays")
    ),
    Case("run-link-figures", RENDER, "report/figures is a link out", {"outside/precious.svg": "x"}, ("run",),
         lambda here: ((here / "run/report").mkdir(), (here / "run/report/figures").symlink_to(here / "outside"))),
    Case("run-link-lock", RENDER, r"\.lock is a link out", {"outside": "precious"}, ("run",),
         link("run/.lock", "{here}/outside")),
    Case("run-figure-id", ("figure", "{here}/run", "../../etc/passwd"), "no figure '../../etc/passwd'", base=("run",)),
    Case("run-figure-escape", ("figure", "{here}/run", "\x1b[2J"), r"no figure '\\x1b", base=("run",)),
    Case("run-figure-format", ("figure", "{here}/run", "x", "--format", "exe"), "No format 'exe'", base=("run",)),
    Case("run-figure-width", ("figure", "{here}/run", "x", "--width", "1e999in"), "1e999in", base=("run",)),
    Case("run-figure-size", ("figure", "{here}/run", "x", "--font-size", "nan"), "Font size nan", base=("run",)),
    Case("run-compare-itself", ("compare", "{here}/run", "{here}/run"), "with itself", base=("run",)),
    Case("run-compare-measure", ("compare", "{here}/run", "{here}/other", "--measure", "../x"), r"'\.\./x'",
         base=("run", "other")),
    Case("run-compare-name", ("compare", "{here}/run", "{here}/other", "--name", "../x"), "plain folder name",
         base=("run", "other")),
    Case("run-compare-damaged", ("compare", "{here}/run", "{here}/other"), "differs from the digest",
         base=("run", "other"), damage=cut("other/scores/imported.json", 0.5)),
    Case("run-suite-gone", (*RENDER, "--suite", "{here}/s.py"), "No suite file", base=("run",)),
    Case("run-render-overlay", (*RENDER, "--overlay", "{here}/o.toml"), r"o\.toml, entry 1.*L5H5",
         {"o.toml": '[[entry]]\nclass = "x"\nheads = ["L5H5"]\n'}, ("run",)),
    Case("run-render-published", (*RENDER, "--published", "x<script>"), "no published heads", base=("run",)),
)  # fmt: skip
