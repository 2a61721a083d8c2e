"""Coloured objects, capitals and greater-than on the bundled model's tokenizer: aligned, balanced, counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportgen.mini.vocab import build_tokenizer
from reportgen.models.load import load
from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.tasks import BUILDERS, capitals, colored_objects, greater_than
from reportgen.suites.circuits.tasks.task import Task, prompt, read_words, spaced
from tests.tiny import tiny_folder, word_tokenizer


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(build_tokenizer())


@pytest.fixture(scope="module", params=list(BUILDERS))
def task(request: pytest.FixtureRequest, tokens: Tokens) -> Task:
    return BUILDERS[request.param](tokens, 80, seed=0)


def changed(task: Task) -> list[set[str]]:
    """Per pair the roles whose token the corruption changes; a position without a role is called by its number."""
    out = []
    for pair in task.pairs:
        names = {at: role for role, at in pair.roles.items()}
        both = enumerate(zip(pair.clean, pair.corrupted, strict=True))
        out.append({names.get(at, str(at)) for at, (a, b) in both if a != b})
    return out


def test_every_task_has_enough_templates_and_prompts(task: Task) -> None:
    assert len(task.pairs) == 80
    assert len(task.templates) >= 8
    assert {pair.template for pair in task.pairs} == set(range(len(task.templates)))


def test_only_the_role_that_matters_is_corrupted(task: Task) -> None:
    wanted = {
        "ioi": {"IO", "S1", "S2"}, "colored_objects": {"asked"}, "capitals": {"country"}, "greater_than": {"YY"},
    }  # fmt: skip
    assert all(roles == wanted[task.name] for roles in changed(task))


def test_the_words_are_what_the_tokens_say(task: Task, tokens: Tokens) -> None:
    for pair in task.pairs:
        assert tokens.decode(list(pair.clean)) == pair.text
        assert task.attended[0] in pair.roles
        assert set(task.foils) <= set(task.attended) <= set(pair.roles)


def test_same_seed_same_task_and_other_words_are_other_templates(task: Task, tokens: Tokens) -> None:
    build = BUILDERS[task.name]
    assert build(tokens, 80, seed=0) == task
    assert build(tokens, 80, seed=1).pairs != task.pairs
    other = build(tokens, 40, seed=0, rephrased=True)
    assert len(other.pairs) == 40
    assert len(other.templates) >= 4
    assert not set(other.templates) & set(task.templates)


def test_the_asked_objects_colour_is_the_answer(tokens: Tokens) -> None:
    for pair in colored_objects.build(tokens, 40, seed=0).pairs:
        at = pair.roles
        assert pair.clean[at["color"]] == pair.answer_ids[0]
        assert pair.clean[at["other_color"]] == pair.foil_ids[0]
        assert pair.clean[at["object"]] == pair.clean[at["asked"]]
        assert at["color"] == at["object"] - 1
        assert pair.clean[at["other_color"] + 1] == pair.corrupted[at["asked"]]
        assert pair.text.count("\n") == 1  # the worked example before the question


def test_no_colour_begins_with_a_vowel_since_a_stands_before_it() -> None:
    data = read_words("colored_objects")
    assert all(color[0] not in "aeiou" for color in data["colors"])
    assert len(set(data["colors"])) == len(data["colors"])
    assert len(set(data["objects"])) == len(data["objects"])


def test_the_foil_is_the_other_countrys_capital_and_never_the_same_city(tokens: Tokens) -> None:
    task = capitals.build(tokens, 80, seed=0)
    city = {source: answers for source, (answers, _) in task.maps.items()}
    for pair in task.pairs:
        at = pair.roles["country"]
        assert pair.answer_ids == city[pair.clean[at]]
        assert pair.foil_ids == city[pair.corrupted[at]]
    shown = [pair.clean[pair.roles["country"]] for pair in task.pairs]
    assert max(map(shown.count, shown)) - min(map(shown.count, shown)) <= 1


def test_answers_are_the_later_years_of_the_same_century(tokens: Tokens) -> None:
    for pair in greater_than.build(tokens, 40, seed=0).pairs:
        century, year = tokens.text(pair.clean[pair.roles["XX"]]), tokens.text(pair.clean[pair.roles["YY"]])
        assert tokens.text(pair.clean[-1]) == century
        assert tokens.text(pair.corrupted[pair.roles["YY"]]) == "01"
        assert {tokens.text(i) for i in pair.answer_ids} == {f"{y:02d}" for y in range(int(year) + 1, 100)}
        assert {tokens.text(i) for i in pair.foil_ids} == {f"{y:02d}" for y in range(int(year) + 1)}


def test_years_of_one_token_leave_no_task() -> None:
    words = ["The", "war", "lasted", "from", "to", "a", *(str(year) for year in range(1100, 1900))]
    task = greater_than.build(Tokens(word_tokenizer(words)), 40, seed=0)
    assert task.pairs == ()
    assert task.dropped["two-digit years that are not a token of their own"] == 100


def test_a_tokenizer_without_the_words_gives_empty_tasks(tmp_path: Path) -> None:
    tokens = load(tiny_folder("gpt2", tmp_path, words=["tide", "moon"]), device="cpu").tokens
    for build in BUILDERS.values():
        assert build(tokens, 20, seed=0).pairs == ()


def test_bos_stands_in_front_where_the_model_uses_one() -> None:
    words = "The capital of is France Paris Spain Madrid Italy Rome Japan Tokyo a".split()
    for pair in capitals.build(Tokens(word_tokenizer(words, bos=True)), 8, seed=0).pairs:
        assert pair.clean[0] == pair.corrupted[0] == 0
        assert pair.roles["country"] == 4


def test_a_word_that_joins_its_neighbour_is_found_out(tokens: Tokens) -> None:
    words = {"a": ("Mary", tokens.word_id("Mary") or 0)}
    assert prompt(tokens, "When {a} went", words) is not None
    assert prompt(tokens, "When x{a} went", words) is None


def test_an_answer_that_is_another_token_after_the_prompt_is_found_out(tokens: Tokens) -> None:
    mary, john = (tokens.word_id(name) or 0 for name in ("Mary", "John"))
    words = {"a": ("Mary", mary)}
    assert prompt(tokens, "When {a} went to", words, spaced(("John", john))) is not None
    assert prompt(tokens, "When {a} went to", words, spaced(("John", mary))) is None
    assert prompt(tokens, "When {a} went to", words, [("John", john)]) is None  # without its space
