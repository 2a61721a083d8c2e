"""Tasks of the user's own: what a line may hold, and how it becomes pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import DataError
from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.settings import TASKS
from reportgen.suites.circuits.tasks import user
from reportgen.suites.circuits.tasks.task import Task
from tests.tiny import word_tokenizer

LINE = {"task": "plural", "clean": "one cat two", "corrupted": "one dog two", "answer": " bird", "foil": "fish"}


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(word_tokenizer("one two cat dog bird fish tree the".split()))


def write(folder: Path, *lines: object) -> str:
    path = folder / "tasks.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return str(path)


def build(tokens: Tokens, folder: Path, *lines: dict[str, object]) -> Task:
    (name, found), *_ = user.read(write(folder, *lines), TASKS).items()
    return user.build(tokens, name, found, 100)


def test_a_line_becomes_a_pair(tmp_path: Path, tokens: Tokens) -> None:
    task = build(tokens, tmp_path, {**LINE, "roles": {"noun": "cat", "last": -1}, "template": "one {noun} two"})
    (pair,) = task.pairs
    assert tokens.decode(list(pair.clean)) == "one cat two"
    assert [tokens.text(i) for i in (*pair.answer_ids, *pair.foil_ids)] == [" bird", " fish"]
    assert pair.roles == {"noun": 1, "last": 2, "END": 2}
    assert (task.title, task.metric, task.attended, task.user) == ("Plural", "logit_diff", ("noun", "last"), True)
    assert task.templates == ("one {noun} two",)
    assert task.maps == {pair.clean[1]: (pair.answer_ids, ())}


def test_several_answers_and_the_foils_role(tmp_path: Path, tokens: Tokens) -> None:
    line = {**LINE, "answer": ["bird", "tree"], "metric": "prob_diff", "roles": {"noun": "cat", "foil": 0}}
    task = build(tokens, tmp_path, line)
    assert [tokens.text(i) for i in task.pairs[0].answer_ids] == [" bird", " tree"]
    assert (task.metric, task.foils) == ("prob_diff", ("foil",))


def test_templates_are_clusters_in_the_files_order(tmp_path: Path, tokens: Tokens) -> None:
    lines = [{**LINE, "template": name} for name in "abab"]
    assert [pair.template for pair in build(tokens, tmp_path, *lines).pairs] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"corrupted": "one dog dog two"}, "different numbers of tokens"),
        ({"corrupted": "one cat two"}, "the same tokens"),
        ({"clean": "one cow two"}, "unknown token"),
        ({"answer": "bird fish"}, "not one token"),
        ({"answer": "fish"}, "foils, too"),
        ({"roles": {"noun": "tree"}}, "not found in the prompt"),
        ({"roles": {"noun": 7}}, "not found in the prompt"),
        ({"roles": {"noun": ""}}, "not found in the prompt"),
    ],
)
def test_pairs_that_cannot_be_used_are_counted(
    tmp_path: Path, tokens: Tokens, change: dict[str, object], why: str
) -> None:
    task = build(tokens, tmp_path, {**LINE, **change})
    assert task.pairs == ()
    ((reason, count),) = task.dropped.items()
    assert why in reason
    assert count == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ({"task": "x"}, "line 2: Object missing required field `clean`"),
        ({**LINE, "answr": "x"}, "unknown field `answr`"),
        ({**LINE, "metric": "loss"}, "line 2"),
        ({**LINE, "task": "ioi"}, "task 'ioi'"),
        ({**LINE, "task": "../up"}, "task '../up'"),
        ({**LINE, "roles": {"END": 1}}, "roles"),
        ({**LINE, "metric": "prob_diff"}, "two metrics"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: object, said: str) -> None:
    with pytest.raises(DataError) as error:
        user.read(write(tmp_path, LINE, line), TASKS)
    assert said in error.value.problem
    assert "tasks.jsonl" in error.value.problem
    assert error.value.hint


def test_files_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DataError, match="Can't read"):
            user.read(str(path), TASKS)
    with pytest.raises(DataError, match="no prompt pairs"):
        user.read(write(tmp_path, "", "  "), TASKS)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(text, "utf-8", newline="")
    with pytest.raises(DataError):
        user.read(str(path), TASKS)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=8), st.integers(-9, 9))
def test_any_words_make_a_pair_or_a_reason(clean: str, corrupted: str, answer: str, at: int) -> None:
    tokens = Tokens(word_tokenizer(["one", "two"]))
    line = user.TaskLine("t", clean, corrupted, answer, "two", {"at": at, "word": clean[-3:]})
    task = user.build(tokens, "t", [line], 5)
    assert len(task.pairs) + sum(task.dropped.values()) == 1
