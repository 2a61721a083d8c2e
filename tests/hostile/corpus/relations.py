"""A user's own relations: NAME.json pair lists and relations.toml."""

from __future__ import annotations

from tests.hostile.bases import DRY
from tests.hostile.case import DEEP, Case, Content, Link, garbled, odd_files

PAIRS = '[["France", "Paris"], ["Spain", "Madrid"]]'
OBJECT = f'{{"capital": {PAIRS}, "plural": [["cat", "cats"]]}}'
OF_FILE = (*DRY, "--suite", "relations", "--relations", "{here}/r.json")
WORDS = (*DRY, "--suite", "relations", "--relations", "{here}/lists")


def _list(name: str, content: Content, says: str, code: int = 2) -> Case:
    return Case(f"pairs-{name}", WORDS, says, {"lists/capital.json": content}, code=code)


def _table(name: str, content: Content, says: str, code: int = 2) -> Case:
    files: dict[str, Content] = {"lists/capital.json": PAIRS, "lists/relations.toml": content}
    return Case(f"table-{name}", WORDS, says, files, code=code)


def _named(name: str, file: str, says: str) -> Case:
    return Case(f"pairs-name-{name}", WORDS, says, {f"lists/{file}": PAIRS})


def _object(name: str, content: Content, says: str) -> Case:
    return Case(f"pairs-file-{name}", OF_FILE, says, {"r.json": content})


AT = r"capital\.json"
CASES = (
    *(_list(name, content, says) for name, content, says in (*odd_files("capital.json"), *garbled(AT))),
    _list("empty", "", rf"{AT}: not JSON.*line 1"),
    _list("truncated", PAIRS[:-4], rf"{AT}: not JSON.*line 1"),
    _list("object", '{"France": "Paris"}', rf"{AT}.*Expected a list"),
    _list("title-alone", '{"title": "Capitals"}', rf"{AT}.*Expected a list"),
    _list("title-null", f'{{"title": null, "pairs": {PAIRS}}}', rf"{AT}, title: None, expected str"),
    _list("title-no-list", '{"title": "Capitals", "pairs": 1}', rf"{AT}: 1.*Expected a list"),
    _list("number", "1", rf"{AT}.*Expected a list"),
    _list("null", "null", rf"{AT}.*Expected a list"),
    _list("one-word", '[["France"]]', rf"{AT}, entry 1"),
    _list("three-words", '[["France", "Paris", "x"]]', rf"{AT}, entry 1"),
    _list("number-for-word", '[["a", "b"], ["a", 1]]', rf"{AT}, entry 2"),
    _list("objects", '[{"source": "a", "target": "b"}]', rf"{AT}, entry 1"),
    _list("object-twice", '[["a", "b"], {"a": 1, "a": 2}]', rf"{AT}: 'a' is given twice"),
    _list("nan", "[NaN]", rf"{AT}: NaN"),
    _list("infinity", '[["a", Infinity]]', rf"{AT}: Infinity"),
    _list("too-large", "[1e999]", rf"{AT}: the number 1e999"),
    _list("digits", f"[{'9' * 5_000}]", rf"{AT}: .*digits"),
    _list("deep", "[" * DEEP, rf"{AT}: nested too deeply"),
    _list("deep-object", '{"a":' * DEEP, rf"{AT}: nested too deeply"),
    _list("empty-word", '[["", "b"]]', rf"{AT}, entry 1"),
    _list("spaces", '[[" a", "b"]]', rf"{AT}, entry 1"),
    _list("control", '[["a\\u0007", "b"]]', rf"{AT}, entry 1"),
    _list("escape", '[["\\u001b[2J", "b"]]', rf"{AT}, entry 1"),
    _list("direction", '[["a\\u202eb", "b"]]', rf"{AT}, entry 1"),
    _list("surrogate", '[["a\\ud800", "b"]]', rf"{AT}, entry 1"),
    _list("nul", "[[\"a\0\", \"b\"]]", rf"{AT}: not JSON.*line 1"),
    _list("trailing", PAIRS + "]", rf"{AT}: not JSON.*line 1"),
    _list("toml", "a = 1", rf"{AT}: not JSON.*line 1"),
    _named("space", "my list.json", "file name has letters"),
    _named("markup", "<b>.json", "file name has letters"),
    _named("escape", "a\x1b[31m.json", "file name has letters"),
    _named("long", "n" * 120 + ".json", "file name has letters"),
    Case("pairs-no-folder", WORDS, "no folder and no file"),
    Case("pairs-empty-folder", WORDS, "no pair list", {"lists/notes.txt": "x"}),
    *(_object(name, content, says) for name, content, says in (*odd_files("r.json")[1:], *garbled(r"r\.json"))),
    _object("empty", "{}", r"r\.json: no relation"),
    _object("number", "7", r"r\.json: 7\..*\[\[\"subject\", \"object\"\], \.\.\.\]"),
    _object("pairs", '{"cap": {"France": "Paris"}}', r"r\.json, 'cap': .*Expected \{"),
    _object("entry", '{"cap": [["a", "b"], ["a"]]}', r"r\.json, 'cap', entry 2"),
    _object("name", '{"../x": [["a", "b"]]}', r"r\.json, '\.\./x': a relation's name"),
    _object("twice", '{"a": [], "a": []}', r"r\.json: 'a' is given twice"),
    _object("deep", '{"a":' * DEEP, r"r\.json: nested too deeply"),
    Case("pairs-file", OF_FILE, "", {"r.json": OBJECT}, code=0),
    Case("pairs-file-list", OF_FILE, "", {"r.json": PAIRS}, code=0),
    Case("pairs-loop-for-folder", WORDS, "no folder", {"lists": Link("lists")}),
    Case("pairs-twice", WORDS, "twice", {"lists/a.json": PAIRS, "lists/a/a.json": PAIRS}),
    Case("pairs-unknown", (*WORDS, "--set", "relations.relations=x"), "no relation 'x'", {"lists/a.json": PAIRS}),
    *(_table(name, content, says) for name, content, says in garbled(r"relations\.toml")),
    _table("truncated", "[capital", r"relations\.toml: not TOML"),
    _table("no-table", "capital = 1", r"relations\.toml, capital"),
    _table("unknown-field", "[capital]\ntitel = 'x'", "no field 'titel'"),
    _table("title", "[capital]\ntitle = 1", "title: 1, expected str"),
    _table("empty-title", "[capital]\ntitle = ' '", "expected a name"),
    _table("category", "[capital]\ncategory = []", "category"),
    _table("k-text", "[capital]\nk = 'x'", "k: 'x', expected int"),
    _table("k-bool", "[capital]\nk = true", "k: True, expected int"),
    _table("k-zero", "[capital]\nk = 0", "k: 0, expected 1 to"),
    _table("k-nan", "[capital]\nk = nan", "k: nan, expected int"),
    _table("k-huge", f"[capital]\nk = 1{'0' * 30}", "expected 1 to 1,000,000"),
    _table("copying", "[capital]\ncopying = 1", "copying: 1, expected bool"),
    _table("prompt", "[capital]\nprompt = 'no place'", "one <X>"),
    _table("templates", "templates = 'x'", "templates: expected"),
    _table("templates-none", "templates = []", "templates: expected"),
    _table("templates-numbers", "templates = [1]", "templates: expected"),
    _table("templates-no-place", "templates = ['x']", "templates: expected"),
    _table("twice", "[capital]\nk = 1\n[capital]\nk = 2", r"relations\.toml.*line 3"),
    _table("deep", "a = " + "[" * 100_000, r"relations\.toml: nested too deeply"),
    _table("digits", f"[capital]\nk = {'9' * 5_000}", r"relations\.toml.*digits"),
    _list("bom", "\ufeff" + PAIRS, "", code=0),
    _list("crlf", PAIRS.replace(" ", "\r\n"), "", code=0),
    _table("title-markup", "[capital]\ntitle = '<script>alert(1)</script>'", "", code=0),
)  # fmt: skip
