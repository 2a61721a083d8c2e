"""Head sets of the user's own: overlay TOML."""

from __future__ import annotations

from tests.hostile.bases import IMPORT, TABLE
from tests.hostile.case import Case, Content, Link, garbled, odd_files

ENTRY = '[[entry]]\nclass = "Mine"\nheads = ["L1H2"]\n'


def _case(name: str, content: Content, says: str) -> Case:
    files: dict[str, Content] = {"t.csv": TABLE, "o.toml": content}
    return Case(f"overlay-{name}", (*IMPORT, "--overlay", "{here}/o.toml"), says, files)


def _entry(name: str, line: str, says: str) -> Case:
    """One line more, or another one, in an entry."""
    key = line.split(" ")[0]
    kept = "".join(old + "\n" for old in ENTRY.splitlines() if not old.startswith(f"{key} "))
    return _case(f"entry-{name}", kept + line + "\n", rf"o\.toml, entry 1.*{says}")


CASES = (
    *(_case(name, content, says) for name, content, says in (*odd_files("o.toml"), *garbled(r"o\.toml"))),
    _case("empty", "", r"o\.toml: no \[\[entry\]\]"),
    _case("truncated", ENTRY[:-3], r"o\.toml: not TOML"),
    _case("single", ENTRY.replace("[[entry]]", "[entry]"), r"o\.toml: \[entry\] should be"),
    _case("unknown-table", "[[entries]]\n", r"o\.toml: unknown table 'entries'"),
    _case("heads-table", '[heads]\nmovers = ["L1H2"]\n',
          r'unknown table .heads.\. Write entry = \[\{ class = "movers", heads = \["L1H2"\] \}\]'),
    _case("heads-list", 'heads = ["L1H2"]\n', r'Write entry = \[\{ class = "Mine", heads = \["L1H2"\] \}\]'),
    _case("heads-long", f"[heads]\n{'x' * 5000} = ['{'y' * 5000}']\n", r"Write entry = \[\{ class = "),
    _case("number", "entry = 1\n", r"o\.toml: \[entry\] should be"),
    _case("deep", "entry = " + "[" * 100_000, r"o\.toml: nested too deeply"),
    _case("deep-name", "entry." * 10_000 + "a = 1", r"o\.toml: a name .* more than 200 parts"),
    _case("twice", ENTRY + ENTRY, "class 'mine' is given twice"),
    _case("alike", ENTRY + ENTRY.replace("Mine", "mine!"), "class 'mine' is given twice"),
    _case("too-long", "#" * 1_100_000, r"o\.toml has 1,100,000 bytes"),
    _case("many", '[[entry]]\nclass = "Mine"\nheads = [' + '"L1H2",' * 100_000 + "]\n", "L1H2 is listed twice"),
    _case("paper", "[[paper]]\nkey = 1\n" + ENTRY, r"o\.toml, paper 1"),
    _entry("no-class", "class_ = 'x'", "class"),
    _entry("class-number", "class = 1", r"\$\.class"),
    _entry("heads-text", "heads = 'L1H2'", r"\$\.heads"),
    _entry("heads-numbers", "heads = [1, 2]", r"\$\.heads"),
    _entry("heads-three", "heads = [[1, 2, 3]]", r"\$\.heads"),
    _entry("heads-below", "heads = [[-1, 0]]", r"\$\.heads"),
    _entry("heads-huge", f"heads = [[1{'0' * 30}, 0]]", r"\$\.heads"),
    _entry("heads-nan", "heads = [[nan, 0]]", r"\$\.heads"),
    _entry("head-name", "heads = ['9.6']", "not a head name: '9.6'"),
    _entry("head-escape", 'heads = ["\\u001b[31mL1H2"]', r"not a head name: '\\x1b"),
    _entry("head-outside", "heads = ['L2H0']", "L2H0 is outside the grid"),
    _entry("head-twice", "heads = ['L1H2', [1, 2]]", "L1H2 is listed twice"),
    _entry("grid", "n_layers = 0", r"\$\.n_layers"),
    _entry("weight-nan", "weights = {L1H2 = nan}", "weight L1H2 = nan"),
    _entry("weight-above", "weights = {L1H2 = 2.0}", "weight L1H2 = 2"),
    _entry("weight-other", "weights = {L0H0 = 0.5}", "weight L0H0"),
    _entry("verified", "verified = 'yes'", r"\$\.verified"),
    _entry("overlay", "overlay = 'sometimes'", r"\$\.overlay"),
    _entry("unknown", "colour = 'red'", "colour"),
    Case("overlay-two-of-one-name", ("run", "mini", "--dry-run", "--overlay", "a/o.toml", "--overlay", "b/o.toml"),
         r"Two overlay files are called o\.toml", {"a/o.toml": ENTRY, "b/o.toml": ENTRY}),
    Case("overlay-import-two", (*IMPORT, "--overlay", "a/o.toml", "--overlay", "b/o.toml"),
         r"Two overlay files are called o\.toml", {"t.csv": TABLE, "a/o.toml": ENTRY, "b/o.toml": ENTRY}),
    Case("overlay-run-folder", ("run", "mini", "--dry-run", "--overlay", "a"), "a: Is a directory", {"a/x": ""}),
    Case("overlay-run-link", ("run", "mini", "--dry-run", "--overlay", "a"), "not TOML", {"a": Link("/etc/passwd")}),
)  # fmt: skip
