"""A target file for `reportgen replicate`, and run folders for `verify`, `methods` and the gate."""

from __future__ import annotations

from tests.hostile.case import Case, Content, odd_files

WORDS = ("replicate", "{here}/t.toml", "--run", "{here}/run")
GATE = ("compare", "{here}/run")
HEAD = 'title = "t"\nsource = "s"\nmodels = ["m"]\nsuites = ["imported"]\n'
CLAIM = '[[claim]]\nwhat = "w"\nkind = "number"\nscore = "imported/score"\n'


def _case(name: str, content: Content, says: str) -> Case:
    return Case(f"target-{name}", WORDS, says, {"t.toml": content}, base=("run",))


CASES = (
    *(_case(name, content, says) for name, content, says in odd_files("t.toml")),
    _case("empty", "", r"t\.toml"),
    _case("binary", bytes(range(256)), r"t\.toml"),
    _case("no-claim", HEAD, r"t\.toml.*claim"),
    _case("no-value", HEAD + CLAIM, r"t\.toml, claim 1 \(w\).*needs a value"),
    _case("no-models", HEAD.replace('["m"]', "[]") + CLAIM + "value = 1\n", r"t\.toml.*models"),
    _case("unknown-field", HEAD + CLAIM + "value = 1\nvaleu = 2\n", r"t\.toml.*valeu"),
    _case("value-words", HEAD + CLAIM + 'value = "high"\n', r"t\.toml.*value"),
    _case("head-name", HEAD + CLAIM + 'value = 1\nat = "<b>"\n', r"t\.toml, claim 1.*not a head name"),
    _case("other-suite", HEAD + CLAIM.replace("imported/", "nobody/") + "value = 1\n", r"nobody.*not among"),
    _case("other-model", HEAD + CLAIM + "value = 1\n", r"about m.*--published m"),
    Case("target-unknown", ("replicate", "../../etc/passwd"), "no target"),
    Case("verify-nothing", ("verify", "{here}/r"), "not a run folder"),
    Case("methods-nothing", ("methods", "{here}/r"), "not a run folder"),
    Case("methods-import", ("methods", "{here}/run"), "holds no scores that reportgen made", base=("run",)),
    Case("gate-nothing", (*GATE, "{here}/r", "--fail-over", "0.1"), "not a run folder", base=("run",)),
    Case("gate-nan", (*GATE, "{here}/other", "--fail-over", "nan"), "--fail-over", base=("run", "other")),
)  # fmt: skip
