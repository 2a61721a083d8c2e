"""Reading users' files: every format, every mistake with its place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import DataError
from reportgen.suites.cognitive.rows import MOST_CHARACTERS, Earlier, Row, read_rows

GOOD = {"subquestion": "Who?", "answer": "Ann", "function": "Retrieval"}


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _jsonl(folder: Path, *records: object) -> Path:
    return _file(folder, "rows.jsonl", "\n".join(json.dumps(record) for record in records))


def test_defaults_of_a_minimal_row(tmp_path: Path) -> None:
    first, second = read_rows(_jsonl(tmp_path, GOOD, GOOD))
    assert first == Row("row1", "row1", 0, "", (), "Who?", "Ann", "Retrieval")
    assert second.id == second.chain == "row2"


def test_context_is_the_earlier_steps_of_the_chain(tmp_path: Path) -> None:
    steps = [{**GOOD, "chain": "c", "step": step, "subquestion": f"q{step}"} for step in (2, 0, 1)]
    by_step = {row.step: row for row in read_rows(_jsonl(tmp_path, *steps))}
    assert by_step[0].context == ()
    assert [earlier.q for earlier in by_step[2].context] == ["q0", "q1"]
    assert by_step[2].context[0] == Earlier("q0", "Ann", "Retrieval")


def test_a_row_s_own_context_wins(tmp_path: Path) -> None:
    row = {**GOOD, "context": [{"q": "before", "a": "this"}]}
    assert read_rows(_jsonl(tmp_path, row))[0].context == (Earlier("before", "this"),)


def test_csv_has_the_same_columns(tmp_path: Path) -> None:
    names = "id,subquestion,answer,function,context,key_tokens"
    text = names + '\na,"Who, then?",Ann,R,"[{""q"": ""x"", ""a"": ""y""}]","[""Ann""]"\n'
    (row,) = read_rows(_file(tmp_path, "rows.csv", text))
    assert (row.id, row.subquestion, row.context, row.key_tokens) == ("a", "Who, then?", (Earlier("x", "y"),), ("Ann",))


def test_cogqa_json(tmp_path: Path) -> None:
    steps = [{"subquestion": f"q{i}", "answer": f"a{i}", "cognitive_skill": f"F{i}"} for i in range(2)]
    rows = read_rows(
        _file(tmp_path, "cogqa.json", json.dumps([{"question": "main", "answer": "x", "generated": steps}]))
    )
    assert [(r.chain, r.step, r.function, r.question) for r in rows] == [
        ("c0", 0, "F0", "main"),
        ("c0", 1, "F1", "main"),
    ]
    assert rows[1].context == (Earlier("q0", "a0", "F0"),)


BAD = [
    ({**GOOD, "answer": None}, "line 2, field 'answer': expected text, found nothing"),
    ({**GOOD, "answer": "  "}, "line 2, field 'answer': expected text that is not empty"),
    ({"subquestion": "q", "answer": "a", "funktion": "R"}, "field 'function' is missing. Did you mean funktion"),
    ({**GOOD, "step": -1}, "field 'step': expected a whole number from 0 on, found -1"),
    ({**GOOD, "step": True}, "field 'step': expected a whole number"),
    ({**GOOD, "split": "dev"}, "field 'split': expected train, validation, selection, test or nothing, found 'dev'"),
    ({**GOOD, "context": [{"q": "x"}]}, "field 'context': expected a list of"),
    ({**GOOD, "context": {"q": "x"}}, "field 'context': expected a list, found an object"),
    ({**GOOD, "key_tokens": [1]}, "field 'key_tokens': expected a list of words"),
    ({**GOOD, "id": "row1"}, "field 'id': expected an id of its own, 'row1' is that of line 1"),
    ({**GOOD, "answer": "a" * (MOST_CHARACTERS + 1)}, "field 'answer': expected at most 20,000 characters"),
    ([1], "line 2: expected an object with the fields"),
]


@pytest.mark.parametrize(("record", "words"), BAD, ids=range(len(BAD)))
def test_a_bad_row_names_its_place(tmp_path: Path, record: object, words: str) -> None:
    path = _jsonl(tmp_path, GOOD, record)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


FILES = [
    ("a.txt", "", "Give a file that ends in .jsonl, .csv or .json"),
    ("a.jsonl", "{\n", "line 1: not JSON"),
    ("a.jsonl", "", "no rows"),
    ("a.json", "{}", "expected a list of entries"),
    ("a.json", '[{"question": "m", "generated": []}]', "entry 0, field 'generated': expected a list of sub-questions"),
    (
        "a.json",
        '[{"question": "m", "generated": [{"subquestion": "q", "answer": "a"}]}]',
        "'cognitive_skill' is missing",
    ),
    ("a.json", "[" * 100_000, "nested too deeply"),
    ("a.csv", "subquestion,answer\nq,a\n", "line 1: columns function are missing; found subquestion, answer"),
    ("a.csv", "subquestion,answer,function\nq,a,f,x\n", "line 2: more cells than columns"),
    ("a.csv", 'subquestion,answer,function\n"q,a,f\n', "Check the quotes"),
]


@pytest.mark.parametrize(("name", "text", "words"), FILES, ids=range(len(FILES)))
def test_a_bad_file_is_one_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(_file(tmp_path, name, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_chain_has_one_split_and_each_step_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one split for the whole chain, found test, train"):
        read_rows(_jsonl(tmp_path, *({**GOOD, "chain": "c", "split": split} for split in ("train", "test"))))
    with pytest.raises(DataError, match="each step once"):
        read_rows(_jsonl(tmp_path, *({**GOOD, "chain": "c", "step": 0} for _ in range(2))))


def test_missing_and_undecodable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Can't read"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{}\n{"a": "\xe9"}\n')
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read_rows(tmp_path / "latin.jsonl")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "step", "context"]), inner, max_size=5)
    ),
    max_leaves=8,
)


@given(st.lists(_json, max_size=3))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, records: list[object]) -> None:
    folder = tmp_path_factory.mktemp("any")
    for path in (_jsonl(folder, *records), _file(folder, "rows.json", json.dumps(records))):
        with contextlib.suppress(DataError):
            assert all(row.subquestion and row.answer and row.function for row in read_rows(path))
