"""A user's own prompt pairs for the suite `circuits`, and text files of the suites that read text."""

from __future__ import annotations

import json

from tests.hostile.bases import DRY
from tests.hostile.case import DEEP, Case, Content, garbled, odd_files

PAIR = {"task": "t", "clean": "One cat, two", "corrupted": "One dog, two", "answer": " cats", "foil": " dogs"}
LINE = json.dumps(PAIR)


def _case(name: str, content: Content, says: str) -> Case:
    return Case(f"tasks-{name}", (*DRY, "--suite", "circuits", "--tasks", "{here}/t.jsonl"), says, {"t.jsonl": content})


def _field(name: str, value: object, says: str = "") -> Case:
    kind = f"{name}-{type(value).__name__}"
    return _case(kind, json.dumps({**PAIR, name: value}), says or rf"{AT}, line 1: .*\$\.{name}")


def _text(suite: str, setting: str, name: str, content: Content, says: str) -> Case:
    words = (*DRY, "--suite", suite, "--set", f"{suite}.{setting}={{here}}/text.txt")
    return Case(f"text-{suite}-{name}", words, says, {"text.txt": content})


AT = r"t\.jsonl"
CASES = (
    *(_case(name, content, says) for name, content, says in (*odd_files("t.jsonl"), *garbled(AT))),
    _case("empty", "", rf"{AT} holds no prompt pairs"),
    _case("truncated", LINE + "\n\n" + LINE[:-2], rf"{AT}, line 3: not JSON"),
    _case("list", f"[{LINE}]", rf"{AT}, line 1: Expected `object`"),
    _case("separator", LINE.replace("One cat", "One\u2028cat")[:-1] + "}\n" + "{", rf"{AT}, line 2: not JSON"),
    _case("twice", LINE[:-1] + ', "foil": "x"}', rf"{AT}, line 1: 'foil' is given twice"),
    _case("nan", LINE[:-1] + ', "roles": {"a": NaN}}', rf"{AT}, line 1: NaN"),
    _case("deep", "[" * DEEP, rf"{AT}, line 1: nested too deeply"),
    _case("digits", LINE[:-1] + f', "roles": {{"a": {"9" * 5_000}}}}}', rf"{AT}, line 1: .*digits"),
    _case("huge-role", LINE[:-1] + f', "roles": {{"a": 1{"0" * 40}}}}}', rf"{AT}, line 1"),
    *(_field(name, 1) for name in PAIR),
    *(_field(name, {}) for name in ("answer", "foil", "template", "metric")),
    _field("answer", [], rf"{AT}, line 1.*answer"),
    _field("roles", ["a"]),
    _field("roles", {"a": 1.5}),
    _field("metric", "accuracy"),
    _field("extra", 1, rf"{AT}, line 1: .*extra"),
    _field("task", "../evil", rf"{AT}, line 1: task '\.\./evil'"),
    _case("task-shipped", json.dumps({**PAIR, "task": "ioi"}), rf"{AT}, line 1: task 'ioi'"),
    _case("task-markup", json.dumps({**PAIR, "task": "<b>"}), rf"{AT}, line 1: task '<b>'"),
    _case("task-escape", json.dumps({**PAIR, "task": "\x1b[2J"}), rf"{AT}, line 1: task"),
    _case("role-name", json.dumps({**PAIR, "roles": {"a/b": 1}}), rf"{AT}, line 1: roles"),
    _case("two-metrics", LINE + "\n" + json.dumps({**PAIR, "metric": "prob_diff"}), "two metrics"),
    *(
        _text(suite, setting, name, content, says)
        for suite, setting in (("attention", "text_file"), ("circuits", "text_file"), ("sparse", "text"))
        for name, content, says in (*odd_files("text.txt")[:3], *garbled(r"text\.txt")[:2])
    ),
)  # fmt: skip
