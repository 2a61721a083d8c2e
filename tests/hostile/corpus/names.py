"""Words of the command line itself."""

from __future__ import annotations

from tests.hostile.bases import IMPORT, TABLE
from tests.hostile.case import Case, Content, Link

DRY = ("run", "mini", "--dry-run", "--suite", "attention")


def _import(name: str, says: str, *words: str, **files: Content) -> Case:
    return Case(f"import-{name}", (*IMPORT, *words), says, {"t.csv": TABLE, **files})


CASES = (
    Case("words-verb", ("r\x1b[31mun",), r"\\x1b"),
    Case("words-option", ("run", "--\x1b]0;evil\x07"), r"\\x1b"),
    Case("words-garbled", ("run", "m\udcff", "--dry-run"), "Argument 2, .* is not UTF-8"),
    Case("words-garbled-out", (*DRY, "--out", "\udcff"), "Argument 7, .* is not UTF-8"),
    Case("words-model-newline", ("run", "a\nb", "--dry-run"), "neither a folder nor a hub id"),
    Case("words-model-empty", ("run", " ", "--dry-run"), "neither a folder nor a hub id"),
    Case("words-model-url", ("run", "https://example.org/m", "--dry-run"), "no folder"),
    Case("words-model-markup", ("run", "<img/src=x>", "--dry-run", "--offline"), "neither a folder nor a hub id"),
    Case("words-model-long", ("run", "m" * 100_000, "--dry-run"), "no folder|neither a folder nor a hub id"),
    Case("words-model-loop", ("run", "./m", "--dry-run"), "no folder", {"m": Link("m")}),
    Case("words-name", (*DRY, "--name", "../x"), "plain folder name"),
    Case("words-set", (*DRY, "--set", "attention"), "SUITE.FIELD=VALUE"),
    Case("words-set-nan", (*DRY, "--set", "attention.alpha=nan"), "attention.alpha"),
    Case("words-set-huge", (*DRY, "--set", f"attention.sequences=1{'0' * 5_000}"), "attention.sequences"),
    Case("words-set-infinite", (*DRY, "--set", "attention.alpha=1e999"), "attention.alpha"),
    Case("words-set-empty", (*DRY, "--set", "attention.sequences="), "attention.sequences"),
    Case("words-set-text", (*DRY, "--set", "attention.text_file=/"), "holds no .txt"),
    Case("words-threads", (*DRY, "--threads", "99999999999999999999"), "threads"),
    Case("words-seed", (*DRY, "--seed", "-1"), "seed"),
    Case("words-suite", ("run", "mini", "--dry-run", "--suite", "../x"), r"No suite '\.\./x'"),
    Case("words-suite-dots", ("suites", "..\x00"), r"No suite '\.\."),
    Case("words-published", ("published", "\x1b[2J"), r"\\x1b"),
    Case("words-steps", ("mini", "train", "--save-steps", "1,x"), "--save-steps '1,x'"),
    Case("words-train-threads", ("mini", "train", "--threads", "-1", "--out", "{here}/out"), "threads"),
    Case("words-selftest-threads", ("selftest", "--threads", "1000000"), "threads"),
    _import("layers", "--layers 0", "--layers", "0"),
    _import("heads", "--heads 1000000", "--heads", "1000000"),
    _import("cells", "heads: at most", "--layers", "9999", "--heads", "9999"),
    _import("model-empty", "--model-name is empty", "--model-name", " "),
    _import("name", "plain folder name", "--name", "../../x"),
    _import("name-long", "plain folder name", "--name", "n" * 300),
    _import("out-file", "Can't write", "--out", "{here}/t.csv"),
    _import("out-long", "Can't write", "--out", "o" * 5_000),
    _import("out-loop", "Can't write", "--out", "{here}/o", o=Link("o")),
    _import("published", "no published heads", "--published", "x"),
    _import("published-grid", "published heads of", "--published", "gpt2-small"),
    _import("cmap", "No colour map", "--cmap", "<b>"),
)  # fmt: skip
