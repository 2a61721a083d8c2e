"""sweep.toml, and a stored sweep: sweep.json and the folders beside it."""

from __future__ import annotations

from tests.hostile.bases import cut, edit, folder, link, put
from tests.hostile.case import DEEP, Case, Content, garbled, odd_files

MODELS = '[[models]]\nmodel = "{here}"\n'
RENDER = ("render", "{here}/sweep")


def _case(name: str, content: Content, says: str) -> Case:
    return Case(f"sweep-{name}", ("sweep", "{here}/s.toml"), says, {"s.toml": content})


def _key(name: str, line: str, says: str) -> Case:
    return _case(f"key-{name}", f"{line}\n[[models]]\nmodel = 'mini'\n", says)


def _ray(name: str, line: str, says: str) -> Case:
    return _case(f"ray-{name}", f"[[models]]\nmodel = 'mini'\n[ray]\n{line}\n", says)


def _model(name: str, lines: str, says: str) -> Case:
    return _case(f"model-{name}", f"[[models]]\n{lines}\n", says)


WRONG = {
    "name": "1", "out": "[]", "engine": "1", "reports": "'yes'", "preset": "2", "device": "[]", "dtype": "1",
    "threads": "'2'", "seed": "1.5", "offline": "0", "stream": "'x'", "trust_remote_code": "'yes'", "suite": "'x'",
    "suites": "1",
}  # fmt: skip
AT = r"sweep\.json"
CASES = (
    *(_case(name, content, says) for name, content, says in (*odd_files("s.toml"), *garbled(r"s\.toml"))),
    *(_key(f"type-{key}", f"{key} = {value}", rf"s\.toml: Expected .*\$\.{key}") for key, value in WRONG.items()),
    _case("empty", "", "has no model"),
    _case("truncated", "[[models", r"s\.toml: not TOML"),
    _case("one-model", "[models]\nmodel = 'mini'\n", r"s\.toml: .*\$\.models"),
    _case("deep", "models = " + "[" * 100_000, r"s\.toml: nested too deeply"),
    _key("unknown", "modle = 1", r"s\.toml: .*modle"),
    _key("engine", "engine = 'steam'", "No engine 'steam'"),
    _key("name-traversing", "name = '../../evil'", "plain folder name"),
    _key("name-absolute", "name = '/etc/evil'", "plain folder name"),
    _key("name-long", f"name = '{'n' * 300}'", "plain folder name"),
    _key("threads", "threads = -1", "--threads -1"),
    _key("seed", "seed = -1", "--seed -1"),
    _key("preset", "preset = 'slow'", "No preset 'slow'"),
    _key("suite", "suite = ['x']", "No suite 'x'"),
    _key("setting", "suites = {relations = {tau = nan}}", "relations.tau"),
    _ray("cpus-nan", "cpus = nan", "--cpus nan"),
    _ray("cpus-below", "cpus = -1", "--cpus -1"),
    _ray("gpus-infinite", "gpus = inf", "--gpus inf"),
    _ray("gpus-part", "gpus = 1.5", "--gpus 1.5"),
    _ray("memory", "memory_gib = inf", "--memory-gib inf"),
    _ray("retries", "retries = -1", "--retries -1"),
    _ray("retries-huge", f"retries = 1{'0' * 30}", "--retries 1"),
    _ray("per", "per = 'head'", "--per 'head'"),
    _ray("unknown", "cluster = 'x'", r"s\.toml: .*cluster"),
    _model("number", "model = 1", r"s\.toml: .*model"),
    _model("revisions", "model = 'mini'\nrevisions = 'a'", r"s\.toml: .*revisions"),
    _model("label", "model = 'mini'\nlabel = 1", r"s\.toml: .*label"),
    _model("no-folder", "model = './nowhere'", "no folder './nowhere'"),
    _model("home", "model = '~nobody-of-that-name/x'", "no folder"),
    _model("long", f"model = './{'m' * 5_000}'", "no folder"),
    _model("revision-of-mini", "model = 'mini'\nrevisions = ['../../x']", "no revision"),
    Case("sweep-empty-folder", ("sweep", "{here}/models"), "no checkpoint folder", {"models/readme": "x"}),
    Case("sweep-revision", ("sweep", "{here}/models", "--revisions", "../x"), r"no checkpoint '\.\./x'",
         {"models/a/config.json": "{}"}),
    Case("sweep-revisions-empty", ("sweep", "mini", "--revisions", "a,,b"), "empty entry"),
    Case("sweep-doubles", ("sweep", "{here}/s.toml"), "Two members of the sweep",
         {"s.toml": "[[models]]\nmodel = 'mini'\n[[models]]\nmodel = 'mini'\n"}),
    *(
        Case(f"stored-{name}", RENDER, rf"{AT}.*{says}", base=("sweep",), damage=damage)
        for name, damage, says in (
            ("empty", put("sweep/sweep.json", ""), "not JSON"),
            ("truncated", cut("sweep/sweep.json", 0.8), "not JSON"),
            ("list", put("sweep/sweep.json", "[]"), "Expected `object`"),
            ("deep", put("sweep/sweep.json", "[" * DEEP), "nested too deeply"),
            ("garbled", put("sweep/sweep.json", b"\xff"), "UTF-8"),
            ("newer", edit("sweep/sweep.json", schema_version=9), "schema 9"),
            ("name", edit("sweep/sweep.json", name="../../evil"), r"'\.\./\.\./evil'"),
            ("name-number", edit("sweep/sweep.json", name=1), r"\$\.name"),
            ("members", edit("sweep/sweep.json", members={}), r"\$\.members"),
            ("slug", edit("sweep/sweep.json", members__0__slug="../../evil"), r"'\.\./\.\./evil'"),
            ("slug-absolute", edit("sweep/sweep.json", members__0__slug="/etc"), "'/etc'"),
            ("slug-twice", edit("sweep/sweep.json", members__0__slug="m@step-2"), "'m@step-2' twice"),
            ("step", edit("sweep/sweep.json", members__0__step="x"), r"\$\.members"),
            ("step-huge", edit("sweep/sweep.json", members__0__step=10**40), r"\$\.members"),
            ("status", edit("sweep/sweep.json", members__0__status="maybe"), r"\$\.members"),
            ("elapsed", edit("sweep/sweep.json", elapsed_s="x"), r"\$\.elapsed_s"),
        )
    ),
    Case("stored-folder", RENDER, "not a run folder", base=("sweep",), damage=folder("sweep/sweep.json")),
    Case("stored-member-damaged", RENDER, r"run\.json.*not JSON", base=("sweep",),
         damage=cut("sweep/m@step-1/run.json", 0.5)),
    Case("stored-scores-damaged", RENDER, "differs from the digest", base=("sweep",),
         damage=cut("sweep/m@step-1/scores/imported.json", 0.5)),
    Case("stored-link-report", RENDER, "report is a link out", {"outside/precious": "x"}, ("sweep",),
         link("sweep/report", "{here}/outside")),
    Case("stored-figure", ("figure", "{here}/sweep", "../x"), r"no figure '\.\./x'", base=("sweep",)),
)  # fmt: skip
