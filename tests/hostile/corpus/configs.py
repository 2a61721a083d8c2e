"""reportgen.toml."""

from __future__ import annotations

from tests.hostile.case import DEEP, Case, Content, garbled, odd_files

FILE = "reportgen.toml"
SHORT = "\nsuite = ['attention']\n"


def _case(name: str, content: Content, says: str, code: int = 2) -> Case:
    return Case(
        f"config-{name}",
        ("run", "--dry-run", "--out", "{here}/out", "--config", f"{{here}}/{FILE}"),
        says,
        {FILE: content},
        code=code,
    )


# key -> a value of another type, as TOML
WRONG = {
    "model": "1", "preset": "[]", "device": "1.5", "dtype": "{}", "threads": "'2'", "out": "3", "name": "[1]",
    "revision": "1979-05-27", "seed": "'x'", "offline": "'yes'", "overlays": "'x'", "published": "true",
    "cmap": "[]", "palette": "0", "suite": "'relations'", "suites": "[]",
}  # fmt: skip
# key -> a value of the right type that means nothing -> what is said
BAD = {
    "model": ("'no/such/folder'", "no folder"),
    "preset": ("'slow'", "No preset 'slow'"),
    "device": ("'abacus'", "abacus"),
    "dtype": ("'float12'", "float12"),
    "threads": ("-1", "threads"),
    "name": ("'../../evil'", "plain folder name"),
    "seed": ("-1", "seed"),
    "overlays": ("['nowhere.toml']", "nowhere.toml"),
    "published": ("'no-such-model'", "no-such-model"),
    "cmap": ("'puce'", "puce"),
    "palette": ("'puce'", "puce"),
    "suite": ("['no_such_suite']", "no_such_suite"),
    "suites": ("{nothing = {a = 1}}", "No suite 'nothing'"),
}

CASES = (
    *(_case(name, content, says) for name, content, says in (*odd_files(FILE), *garbled(FILE))),
    *(_case(f"type-{key}", f"{key} = {value}\n", rf"{FILE}: Expected .*\$\.{key}") for key, value in WRONG.items()),
    *(_case(f"value-{key}", f"{key} = {value}{SHORT if key != 'suite' and key != 'suites' else ''}", says)
      for key, (value, says) in BAD.items()),
    _case("truncated", "model = 'mi", rf"{FILE}: not TOML"),
    _case("half-a-table", "model = 'mini'\n[suites.rel", rf"{FILE}: not TOML"),
    _case("key-twice", "model = 'mini'\nmodel = 'gpt2'\n", rf"{FILE}: .*line 2"),
    _case("table-twice", "[suites.relations]\ntau = 0.1\n[suites.relations]\nk = 1\n", rf"{FILE}: .*line 3"),
    _case("unknown-key", "modle = 'mini'\n", rf"{FILE}: .*modle"),
    _case("json", '{"model": "mini"}', rf"{FILE}: .*line 1"),
    _case("deep-list", "suite = " + "[" * (DEEP - 100), rf"{FILE}: nested too deeply"),
    _case("deep-table", "a = " + "{a=" * 10_000, rf"{FILE}: nested too deeply"),
    _case("deep-name", "a." * 10_000 + "a = 1\n", rf"{FILE}: a name .* more than 200 parts"),
    _case("deep-value", f"[suites.attention]\nlags = {'[' * 150}{']' * 150}\n", "attention.lags"),
    _case("too-long", "# " + "x" * 2_000_000, rf"{FILE} has 2,000,002 bytes"),
    _case("long-line", f"model = '{'m' * 900_000}'{SHORT}", "no folder|neither a folder nor a hub id"),
    _case("digits", f"seed = {'9' * 5_000}\n", rf"{FILE}: .*digits"),
    _case("large-seed", "seed = 2147483648\n", "seed"),
    _case("huge-seed", f"seed = 1{'0' * 400}\n", "seed"),
    _case("huge-threads", f"threads = 1{'0' * 30}{SHORT}", "threads"),
    _case("many-threads", f"threads = 1000000{SHORT}", "threads"),
    _case("nul", "model = 'mi\0ni'\n", rf"{FILE}: .*line 1"),
    _case("nul-model", f'model = "mi\\u0000ni"{SHORT}', "neither a folder nor a hub id|no folder"),
    _case("nul-name", f'name = "a\\u0000b"{SHORT}', "plain folder name"),
    _case("newline-name", f'name = "a\\nb"{SHORT}', "plain folder name"),
    _case("absolute-name", f"name = '/etc/evil'{SHORT}", "plain folder name"),
    _case("dots-name", f"name = '..'{SHORT}", "plain folder name"),
    _case("long-name", f"name = '{'n' * 300}'{SHORT}", "plain folder name"),
    _case("escape-model", f'model = "\\u001b[31m\\u0007red"{SHORT}', r"\\x1b\[31m"),
    _case("home-model", f"model = '~nobody-of-that-name/m'{SHORT}", "no folder"),
    _case("long-model", f"model = './{'m' * 5_000}'{SHORT}", "no folder"),
    _case("lone-return", "model = 'mini'\rseed = 1\r", rf"{FILE}: .*line 1"),
    _case("trust", "trust_remote_code = true\n", rf"{FILE}: .*trust_remote_code"),
    *(
        _case(f"setting-{name}", f"[suites.{suite}]\n{line}\n", says)
        for name, suite, line, says in (
            ("unknown", "relations", "taw = 0.1", "no setting 'taw'"),
            ("nan", "relations", "tau = nan", "tau"),
            ("infinite", "relations", "tau = inf", "tau"),
            ("fraction", "relations", "k = 1.5", "relations.k"),
            ("infinite-count", "relations", "k = inf", "relations.k"),
            ("huge-count", "relations", f"permutations = 1{'0' * 30}", "relations.permutations"),
            ("date", "relations", "relations = 1979-05-27", "relations.relations"),
            ("table", "relations", "relations = {a = 1}", "relations.relations"),
            ("list-of-tables", "relations", "relations = [{a = 1}]", "relations.relations"),
            ("bool", "relations", "k = true", "relations.k"),
            ("text", "relations", "tau = 'much'", "relations.tau"),
            ("list", "cognitive", "data = ['a', 'b']", "cognitive.data"),
            ("below", "cognitive", "seeds = 0", "seeds"),
            ("nul-path", "attention", 'text_file = "a\\u0000b"', "text_file|no file|Can't read"),
            ("folder-path", "attention", "text_file = '.'", "holds no .txt"),
            ("long-path", "attention", f"text_file = '{'p' * 5_000}'", "no file|Can't read"),
            ("task", "circuits", "tasks = ['xyz']", "xyz"),
            ("link", "sparse", "prompt = 'a'\nanswer = 'b'\nlink = '8:5'", "8:5"),
        )
    ),
    # Odd and right: taken.
    _case("bom", "\ufeffsuite = ['attention']\n", "", code=0),
    _case("crlf", "model = 'mini'\r\nsuite = ['attention']\r\n", "", code=0),
)  # fmt: skip
