"""Prompts: one length per template, twins that share no word, refusals that say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportgen.errors import DataError, NotApplicable, SettingsError
from reportgen.models.load import read_tokens
from reportgen.models.tokens import Tokens
from reportgen.suites.sparse.scoring import prompts
from reportgen.suites.sparse.suite import BUNDLED, PairTask, read_task
from tests.suites.sparse.toy import WORDS, write_task
from tests.tiny import tiny_folder

MINI = Path(__file__).parents[3] / "reportgen" / "mini" / "checkpoint"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    folder = tiny_folder("gpt2", tmp_path_factory.mktemp("tokens"), words=WORDS)
    return read_tokens(folder, "tiny")


@pytest.fixture
def task(tmp_path: Path) -> PairTask:
    return read_task(write_task(tmp_path / "task.toml"))


def test_groups_are_of_one_length_and_twins_share_no_word(tokens: Tokens, task: PairTask) -> None:
    made = prompts.groups(tokens, task, 14, seed=0)
    assert [len(group) for group in made] == [14, 14, 14]
    assert [group.ids.shape[1] for group in made] == [9, 9, 11]
    assert [group.key for group in made] == [5, 5, 4]
    for group in made:
        assert group.corrupted is not None
        assert group.foils is not None
        assert ((group.ids != group.corrupted).sum(1) == 1).all()
        for row in range(len(group)):
            words = {tokens.text(int(group.ids[row, group.key])), tokens.text(int(group.answers[row]))}
            twin = {tokens.text(int(group.corrupted[row, group.key])), tokens.text(int(group.foils[row]))}
            assert not words & twin
    again = prompts.groups(tokens, task, 14, seed=0)
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(made, again, strict=True))


def test_prompts_begin_with_the_end_of_text_token(tokens: Tokens, task: PairTask) -> None:
    assert tokens.bos_id is None
    group = prompts.drawn(tokens, task)
    assert group is not None
    assert [tokens.text(int(i)) for i in group.ids[0]] == [
        "<|endoftext|>", "The", " opposite", " of", ' "', "large", '"', " is", ' "',
    ]  # fmt: skip
    assert tokens.text(int(group.answers[0])) == "small"
    assert group.key == 5


def test_an_answer_of_two_tokens_is_left_out(tokens: Tokens) -> None:
    assert prompts.encoded(tokens, 'The opposite of "large" is "', "small") is not None
    assert prompts.encoded(tokens, 'The opposite of "large" is "', "small small") is None
    assert prompts.encoded(tokens, 'The opposite of "large" is "', "gargantuan") is None
    assert prompts.encoded(tokens, "", "small") is None


def test_too_few_prompts_are_not_applicable(tokens: Tokens, task: PairTask) -> None:
    with pytest.raises(NotApplicable, match="Only 39 prompts in 3 templates"):
        prompts.groups(tokens, task, 13, seed=0)


def test_the_user_s_own_prompt(tokens: Tokens) -> None:
    text = 'The antonym of "{}" is "'
    group = prompts.own(tokens, text.format("hot"), "cold", "slow", text.format("fast"))
    assert group.ids.shape == (1, 9)
    assert group.key == 5
    plain = prompts.own(tokens, text.format("hot"), "cold", "", "")
    assert plain.corrupted is None
    assert plain.foils is None
    with pytest.raises(SettingsError, match="not one token"):
        prompts.own(tokens, text.format("hot"), "warmish", "", "")
    with pytest.raises(SettingsError, match="9"):
        prompts.own(tokens, text.format("hot"), "cold", "slow", 'The "fast" is "')


def test_contexts_begin_as_prompts_do(tokens: Tokens) -> None:
    head = prompts.start(tokens)
    text = np.array([[*head, 5, 6, 7, 8], [9, 10, 11, 12, 13]])
    assert prompts.contexts(tokens, text, 4).tolist() == [[*head, 5, 6, 7], [*head, 9, 10, 11]]


@pytest.mark.parametrize(
    "content", ["title = 3", 'title = "x"\ntemplates = ["no slot"]\npairs = []\ndrawn = ["a", "b"]', "= ="]
)
def test_a_malformed_task_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"mine\.toml"):
        read_task(path)
    with pytest.raises(DataError, match="gone"):
        read_task(tmp_path / "gone.toml")


def test_the_shipped_task_is_whole() -> None:
    task = read_task(BUNDLED)
    assert len(task.templates) == 7
    assert len(set(map(tuple, task.pairs))) == len(task.pairs) > 90
    assert tuple(task.drawn) in {tuple(pair) for pair in task.pairs}


def test_a_space_at_a_templates_end_belongs_to_the_answer() -> None:
    tokens = read_tokens(MINI, "mini")
    task = read_task(BUNDLED)
    found = prompts.groups(tokens, task, 6, 0)
    assert [group.template for group in found] == task.templates
    assert [len(group) for group in found] == [6] * 7
    for group in found:
        starts = {tokens.text(int(answer))[0] for answer in group.answers}
        assert (starts == {" "}) == group.template.endswith(" ")
    assert prompts.encoded(tokens, "The opposite of hot is ", "cold") == prompts.encoded(
        tokens, "The opposite of hot is", " cold"
    )
