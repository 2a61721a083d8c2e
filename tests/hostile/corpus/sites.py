"""site.toml, and the runs and folder of a site."""

from __future__ import annotations

from tests.hostile.bases import edit, link
from tests.hostile.case import Case, Content, Link, garbled, odd_files


def _case(name: str, content: Content, says: str) -> Case:
    words = ("site", "--config", "{here}/site.toml", "--out", "{here}/out")
    return Case(f"site-{name}", words, says, {"site.toml": content})


def _key(name: str, line: str, says: str) -> Case:
    return _case(f"key-{name}", line + "\n", rf"site\.toml.*{says}")


SITE = ("site", "{here}/run", "--out", "{here}/out")
CASES = (
    *(_case(name, content, says) for name, content, says in (*odd_files("site.toml"), *garbled(r"site\.toml"))),
    _case("empty", "", "No runs for the site"),
    _case("truncated", "runs = ['", r"site\.toml: not TOML"),
    _case("deep", "runs = " + "[" * 100_000, r"site\.toml: nested too deeply"),
    _key("title", "title = 1", r"\$\.title"),
    _key("description", "description = []", r"\$\.description"),
    _key("url", "url = 1", r"\$\.url"),
    _key("runs", "runs = 'x'", r"\$\.runs"),
    _key("runs-numbers", "runs = [1]", r"\$\.runs"),
    _key("unknown", "titel = 'x'", "titel"),
    _key("traversing", "runs = ['../../*']", "outside its folder"),
    _key("absolute", "runs = ['/etc/*']", "outside its folder"),
    _key("inner-traversing", "runs = ['a/../../*']", "outside its folder"),
    _key("empty-pattern", "runs = ['']", "not a pattern|no run folder"),
    _key("stars", "runs = ['a**b']", "not a pattern|no run folder"),
    _key("bracket", "runs = ['[z-a]']", "not a pattern|no run folder"),
    _key("nul", 'runs = ["a\\u0000b"]', "not a pattern|no run folder"),
    _key("long", f"runs = ['{'r' * 5_000}']", "not a pattern|no run folder"),
    _key("none", "runs = ['runs/*']", "no run folder matches"),
    *(
        Case(f"site-url-{name}", (*SITE, "--url", url), "not an http address", base=("run",))
        for name, url in (
            ("script", "javascript:alert(1)"), ("bracket", "http://["), ("query", "http://a.b/?x"), ("file", "file:///x"),
            ("none", "http:///x"), ("markup", "<script>"), ("port", "http://a:b:c/#x"),
        )
    ),
    Case("site-no-runs", ("site", "--out", "{here}/out"), "No runs for the site"),
    Case("site-run-loop", ("site", "{here}/a", "--out", "{here}/out"), "not a run folder", {"a": Link("a")}),
    Case("site-long", ("site", "r" * 5_000, "--out", "{here}/out"), "not a run folder"),
    Case("site-not-ours", (*SITE[:3], "{here}/mine"), "not an earlier site", {"mine/x": "y"}, ("run",)),
    Case("site-file", (*SITE[:3], "{here}/mine"), "not an earlier site", {"mine": "y"}, ("run",)),
    Case("site-itself", ("site", "{here}/run", "--out", "{here}/run"), "not an earlier site", base=("run",)),
    Case("site-slug", SITE, r"'\.\./evil'", base=("run",), damage=edit("run/run.json", model__slug="../evil")),
    Case("site-one-slug", ("site", "{here}/run", "{here}/other", "--out", "{here}/out"), "are both called", base=(
        "run", "other"), damage=edit("other/run.json", model__slug="run")),
    Case("site-damaged", SITE, "Can't read", base=("run",), damage=link("run/scores/imported.json", "nowhere")),
)  # fmt: skip
