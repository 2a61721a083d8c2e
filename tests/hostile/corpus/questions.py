"""A user's own questions for the suite `cognitive`: JSONL, CSV, CogQA's JSON, and a prompt."""

from __future__ import annotations

import json

from tests.hostile.bases import DRY
from tests.hostile.case import DEEP, Case, Content, garbled, odd_files

ROW = {"subquestion": "What?", "answer": "That.", "function": "Recall"}
LINE = json.dumps(ROW)
COGQA = {"question": "Q?", "answer": "A", "generated": [{"subquestion": "S?", "answer": "A", "cognitive_skill": "x"}]}


def _case(name: str, file: str, content: Content, says: str) -> Case:
    words = (*DRY, "--suite", "cognitive", "--cognitive-data", f"{{here}}/{file}")
    return Case(f"questions-{name}", words, says, {file: content})


def _lines(name: str, content: Content, says: str) -> Case:
    return _case(name, "q.jsonl", content, says)


def _field(name: str, value: object, says: str) -> Case:
    """One field of a JSONL line with another value."""
    shown = type(value).__name__ if value not in ("", " ") else "blank"
    return _lines(f"{name}-{shown}", json.dumps({**ROW, name: value}), says)


def _prompt(name: str, content: Content, says: str) -> Case:
    words = (*DRY, "--suite", "cognitive", "--set", "cognitive.prompt={here}/p.txt")
    return Case(f"prompt-{name}", words, says, {"p.txt": content})


AT = r"q\.jsonl"
CASES = (
    *(_lines(name, content, says) for name, content, says in (*odd_files(AT.replace("\\", "")), *garbled(AT))),
    _lines("empty", "", rf"{AT}: no rows"),
    _lines("blank-lines", "\n\r\n \n", rf"{AT}: no rows"),
    _lines("truncated", LINE + "\n" + LINE[:-5], rf"{AT}, line 2: not JSON"),
    _lines("list", f"[{LINE}]", rf"{AT}, line 1"),
    _lines("null", "null", rf"{AT}, line 1"),
    _lines("string", '"x"', rf"{AT}, line 1"),
    _lines("twice", '{"answer": "a", "answer": "b"}', rf"{AT}, line 1: 'answer' is given twice"),
    _lines("nan", '{"answer": NaN}', rf"{AT}, line 1: NaN"),
    _lines("too-large", '{"step": 1e999}', rf"{AT}, line 1: the number 1e999"),
    _lines("digits", f'{{"step": {"9" * 5_000}}}', rf"{AT}, line 1: .*digits"),
    _lines("deep", LINE + "\n" + "[" * DEEP, rf"{AT}, line 2: nested too deeply"),
    _lines("nul", LINE.replace("What", "Wh\0at"), rf"{AT}, line 1: not JSON"),
    _lines("one-id", "\n".join([json.dumps({**ROW, "id": "a"})] * 2), rf"{AT}, line 2.*id"),
    _lines("one-step", "\n".join([json.dumps({**ROW, "chain": "a", "step": 1})] * 2), "chain 'a'.*step"),
    _lines("too-few", LINE, "fewer than two functions"),
    *(_field(name, 7.5 if name == "step" else [], rf"{AT}, line 1.*{name}") for name in ("answer", "id", "step")),
    *(_field(name, {}, rf"{AT}, line 1.*{name}") for name in ("subquestion", "function", "split", "context")),
    *(_field(name, " ", rf"{AT}, line 1.*{name}") for name in ("subquestion", "answer", "function")),
    _field("split", "exam", rf"{AT}, line 1.*split"),
    _field("step", -1, rf"{AT}, line 1.*step"),
    _field("step", True, rf"{AT}, line 1.*step"),
    _field("context", [1], rf"{AT}, line 1.*context"),
    _field("context", "[" * 100_000, rf"{AT}, line 1.*context"),
    _field("key_tokens", [1], rf"{AT}, line 1.*key_tokens"),
    _field("answer", "x" * 1_000_000, rf"{AT}, line 1.*characters"),
    _case("ending", "q.txt", LINE, r"q\.txt.*ends in"),
    _case("csv-empty", "q.csv", "", r"q\.csv, line 1: columns"),
    _case("csv-columns", "q.csv", "a,b\n1,2\n", r"q\.csv, line 1: columns"),
    _case("csv-cells", "q.csv", "subquestion,answer,function\na,b,c,d\n", r"q\.csv, line 2"),
    _case("csv-quote", "q.csv", 'subquestion,answer,function\n"a,b,c\n', r"q\.csv, line"),
    _case("csv-short", "q.csv", "subquestion,answer,function\na\n", r"q\.csv, line 2"),
    _case("csv-nul", "q.csv", "subquestion,answer,function\na\0,b,c\n", r"q\.csv"),
    _case("csv-twice", "q.csv", "subquestion,answer,function,answer\na,b,c,d\n", r"q\.csv, line 1.*answer"),
    _case("csv-context", "q.csv", "subquestion,answer,function,context\na,b,c,[\n", r"q\.csv, line 2.*context"),
    _case("json-empty", "q.json", "", r"q\.json: not JSON"),
    _case("json-object", "q.json", LINE, r"q\.json: expected a list"),
    _case("json-none", "q.json", "[]", r"q\.json: no rows"),
    _case("json-deep", "q.json", "[" * DEEP, r"q\.json: nested too deeply"),
    _case("json-no-steps", "q.json", json.dumps([{**COGQA, "generated": []}]), r"entry 0.*generated"),
    _case("json-steps-object", "q.json", json.dumps([{**COGQA, "generated": {}}]), r"entry 0.*generated"),
    _case("json-step-text", "q.json", json.dumps([{**COGQA, "generated": ["x"]}]), r"entry 0, generated\[0\]"),
    _case("json-no-skill", "q.json", json.dumps([{**COGQA, "generated": [{"subquestion": "a", "answer": "b"}]}]),
          r"entry 0, generated\[0\].*cognitive_skill"),
    _case("json-question", "q.json", json.dumps([{**COGQA, "question": 1.5e300}, 3]), r"entry 1"),
    *(_prompt(name, content, says) for name, content, says in (*odd_files("p.txt")[:3], *garbled(r"p\.txt")[:1])),
    _prompt("no-place", "hello", r"p\.txt.*subquestion"),
    _prompt("attribute", "{subquestion.__class__.__mro__} {subquestion}", r"p\.txt.*placeholders"),
    _prompt("index", "{subquestion[0]} {subquestion}", r"p\.txt.*placeholders"),
    _prompt("other-place", "{subquestion} {secret}", r"p\.txt.*placeholders"),
    _prompt("brace", "{subquestion} {", r"p\.txt.*placeholders"),
    _prompt("width", "{subquestion:>1000000000000}", r"p\.txt"),
)  # fmt: skip
