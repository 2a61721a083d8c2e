"""A suite in the user's own FILE.py: it is theirs and is run; what goes wrong in it is one line."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.case import DEEP, Case, Content, Link, Locked

TOY = (Path(__file__).parents[2] / "data" / "toy_suite.py").read_text()


def _case(name: str, content: Content, says: str, file: str = "s.py") -> Case:
    words = ("run", "mini", "--dry-run", "--suite", f"{{here}}/{file}")
    return Case(f"suite-{name}", words, says, {file: content})


def _toy(name: str, old: str, new: str, says: str) -> Case:
    assert old in TOY, old
    return _case(f"toy-{name}", TOY.replace(old, new), says)


AT = r"s\.py"
CASES = (
    _case("none", Link("gone"), "No suite file"),
    _case("folder", Link("."), "No suite file"),
    _case("locked", Locked(b"x = 1"), "Permission denied"),
    _case("empty", "", rf"{AT} defines 0 Suites"),
    _case("syntax", "x = 1\ndef f(:\n", rf"{AT}, line 2: "),
    _case("indent", "x = 1\n  y = 2\n", rf"{AT}, line 2: "),
    _case("nul", "x = 1\0\n", rf"{AT}.*null bytes"),
    _case("latin-1", "# caf\u00e9\nx = '\u00e9'\n".encode("latin-1"), rf"{AT}, line 1|{AT}.*utf-8"),
    _case("codec", "# -*- coding: nonsense -*-\n", rf"{AT}.*nonsense"),
    _case("deep", "x = " + "(" * 10_000 + "\n", rf"{AT}"),
    _case("deep-sum", "x = " + "-" * (DEEP // 10) + "1\n", rf"{AT}"),
    _case("raises", "x = 1\n\nraise ValueError('over\\ntwo lines')\n", rf"{AT}, line 3: ValueError: over two lines"),
    _case("divides", "def f():\n    return 1 / 0\n\n\nf()\n", rf"{AT}, line 2: ZeroDivisionError"),
    _case("imports", "import no_such_module_at_all\n", rf"{AT}, line 1: ModuleNotFoundError"),
    _case("exits", "import sys\nsys.exit(0)\n", rf"{AT}, line 2: SystemExit: 0"),
    _case("exits-quietly", "raise SystemExit\n", rf"{AT}, line 1: SystemExit"),
    _case("asserts", "assert False\n", rf"{AT}, line 1: AssertionError"),
    _case("recurses", "def f():\n    f()\n\n\nf()\n", rf"{AT}, line 2: RecursionError"),
    _case("escape", "raise ValueError('\\x1b[31mred')\n", rf"{AT}, line 1: ValueError: \\x1b"),
    _case("long", "raise ValueError('x' * 100000)\n", rf"{AT}, line 1: ValueError: x"),
    Case("suite-relative", ("suites", "s.py"), r"s\.py, line 2: NameError", {"s.py": "\nx\n"}),
    _case("no-words", "class E(Exception):\n    __str__ = 1\n\n\nraise E\n", rf"{AT}, line 5"),
    _case("two", TOY + "\n\nOTHER = SUITE.__class__(**{f: getattr(SUITE, f) for f in SUITE.__dataclass_fields__})\n",
          rf"{AT} defines 2 Suites"),
    _toy("name-traversing", 'name="toy"', 'name="../../evil"', rf"{AT}, line \d+: .*'\.\./\.\./evil'"),
    _toy("name-absolute", 'name="toy"', 'name="/etc/evil"', rf"{AT}, line \d+: .*'/etc/evil'"),
    _toy("name-empty", 'name="toy"', 'name=""', rf"{AT}, line \d+: .*name ''"),
    _toy("name-number", 'name="toy"', "name=7", rf"{AT}, line \d+: .*name 7"),
    _toy("name-markup", 'name="toy"', 'name="<b>"', rf"{AT}, line \d+: .*'<b>'"),
    _toy("name-long", 'name="toy"', 'name="t" * 300', rf"{AT}, line \d+: .*ttt"),
    _toy("settings", "settings=Settings", "settings=dict", rf"{AT}, line \d+: .*settings"),
    _toy("settings-instance", "settings=Settings", "settings=Settings()", rf"{AT}, line \d+: .*settings"),
    _toy("no-default", 'scale: float = field(default=1.0, metadata={"help": "multiplies the norm"})', "scale: float",
         r"toy.*scale"),
    _toy("score", 'score=f"{HERE}:score"', "score=7", rf"{AT}, line \d+: .*module:function.*docs/suites\.md"),
    _toy("score-one", 'score=f"{HERE}:score"', "score=lambda: 1", rf"{AT}, line \d+: .*score\(\).*docs/suites\.md"),
    _toy("score-words", 'score=f"{HERE}:score"', "score=lambda model, seed: 1",
         rf"{AT}, line \d+: .*score\(model, seed\).*docs/suites\.md"),
    _toy("no-score", '    score=f"{HERE}:score",', "", rf"{AT}, line \d+: TypeError.*docs/suites\.md"),
    Case("suite-misspelt", ("run", "mini", "--dry-run", "--suite", "attention,{here}/my_siute.py"),
         r"No suite file .*my_siute\.py\. Did you mean .*my_suite\.py\?", {"my_suite.py": TOY}),
    Case("suite-misspelt-name", ("run", "mini", "--dry-run", "--suite", "attention,relatons"),
         r"No suite 'relatons'\. Did you mean relations\?"),
    Case("suite-without-ending", ("run", "mini", "--dry-run", "--suite", "my_suite"),
         r"No suite 'my_suite'\. Did you mean my_suite\.py\?", {"my_suite.py": TOY}),
    _toy("figures", 'figures=f"{HERE}:figures"', 'figures="figures"', rf"{AT}, line \d+: .*module:function"),
    _toy("measures", "measures=(Measure(", "measures=('x', Measure(", rf"{AT}, line \d+: .*measures"),
    _toy("data", "    settings=Settings,", "    settings=Settings, data=lambda s: 1 / 0,", rf"{AT}, line \d+: ZeroDiv"),
    _toy("data-text", "    settings=Settings,", "    settings=Settings, data=lambda s: 'x',", r"no file x"),
    _toy("settings-raise", 'scale: float = field(default=1.0, metadata={"help": "multiplies the norm"})',
         "scale: float = 1.0\n\n    def __post_init__(self):\n        raise KeyError", rf"{AT}, line \d+: KeyError"),
)  # fmt: skip
