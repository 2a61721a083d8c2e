"""Every suite's words on every kind of tokenizer: an answer is the token that follows its prompt in running text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.tasks import BUILDERS, capitals, colored_objects, greater_than, user
from reportgen.suites.circuits.tasks.task import Task
from reportgen.suites.cognitive.rows import Row
from reportgen.suites.cognitive.scoring.prompts import Encoder
from reportgen.suites.cognitive.suite import preset
from reportgen.suites.pairs import keep, load_relations, load_templates
from reportgen.suites.relations.scoring.dynamic import BEGINNING, SLOT, make_prompts, multi_token_pairs
from reportgen.suites.sparse.scoring import prompts as sparse
from reportgen.suites.sparse.suite import BUNDLED, read_task
from tests import kinds

FORMS = {
    "bytes": greater_than.YEARS, "threes": greater_than.UNITS, "digits": greater_than.DECADES,
    "pieces": greater_than.DECADES, "marked": greater_than.DECADES, "unigram": greater_than.DECADES,
}  # fmt: skip
every_kind = pytest.mark.parametrize("kind", kinds.KINDS)
with_and_without_bos = pytest.mark.parametrize("bos", [False, True])

END = "<|endoftext|>"


def words(tokens: Tokens, task: Task, token: int) -> str:
    """The text that goes on from a prompt of the task."""
    text = tokens.text(token).strip()
    return text if task.name == greater_than.NAME else f" {text}"


@every_kind
@with_and_without_bos
def test_every_task_has_its_pairs_and_says_its_form(kind: str, bos: bool) -> None:
    tokens = kinds.tokens(kind, bos=bos)
    for name, build in BUILDERS.items():
        task = build(tokens, 40, seed=0)
        if (name, kind) == (greater_than.NAME, "words"):
            assert (task.pairs, task.form) == ((), "")
            assert task.dropped["two-digit years that are not a token of their own"] == 100
            continue
        assert len(task.pairs) == 40
        assert len(task.templates) >= 8
        if name == greater_than.NAME:
            assert (task.title, task.form) == (FORMS[kind].title, FORMS[kind].words)
            assert task.attended == (*FORMS[kind].roles, "event")


@given(
    kind=st.sampled_from(sorted(kinds.KINDS)), bos=st.booleans(), name=st.sampled_from(sorted(BUILDERS)),
    seed=st.integers(0, 99), rephrased=st.booleans(),
)  # fmt: skip
def test_answers_and_foils_follow_the_prompt(kind: str, bos: bool, name: str, seed: int, rephrased: bool) -> None:
    """prompt + answer, tokenized together, are the prompt's ids and the answer's."""
    tokens = kinds.tokens(kind, bos=bos)
    task = BUILDERS[name](tokens, 6, seed, rephrased)
    assert len(task.pairs) == (0 if (kind, name) == ("words", greater_than.NAME) else 6)
    start = [tokens.bos_id] if bos else []
    for pair in task.pairs:
        assert list(pair.clean) == [*start, *tokens.encode(pair.text)]
        assert list(pair.corrupted[: len(start)]) == start
        for token in (*pair.answer_ids, *pair.foil_ids):
            assert tokens.prompt_ids(pair.text + words(tokens, task, token)) == [*pair.clean, token]


@every_kind
def test_corrupted_prompts_are_what_their_text_would_be(kind: str) -> None:
    """A token put in place of another is the one that running text has there."""
    tokens = kinds.tokens(kind)
    for task in (build(tokens, 20, seed=0) for build in BUILDERS.values()):
        for pair in task.pairs:
            clean, text = list(pair.clean), pair.text
            for at in sorted(set(pair.roles.values())):
                if pair.corrupted[at] != clean[at] and task.name in (capitals.NAME, colored_objects.NAME):
                    old, new = (tokens.text(ids[at]).strip() for ids in (clean, pair.corrupted))
                    text = f"{new}".join(text.rsplit(old, 1))
                    assert tokens.encode(text) == list(pair.corrupted)


@pytest.mark.parametrize("kind", ["digits", "pieces", "marked", "unigram"])
def test_the_decade_is_asked_for_where_digits_are_tokens(kind: str) -> None:
    tokens = kinds.tokens(kind)
    task = greater_than.build(tokens, 80, seed=0)
    for pair in task.pairs:
        shown = [tokens.text(i).strip() for i in pair.clean]
        at = pair.roles["decade"]
        assert pair.roles["century"] == at - 1
        assert pair.roles["unit"] == at + 1
        assert shown[-2:] == shown[at - 2 : at]  # the end begins as the start does
        assert 1 <= int(shown[at]) <= 8
        above, below = ({int(tokens.text(i)) for i in ids} for ids in (pair.answer_ids, pair.foil_ids))
        assert above == set(range(int(shown[at]) + 1, 10))
        assert below == set(range(int(shown[at])))  # the start's own decade is in neither
        changed = [i for i, (a, b) in enumerate(zip(pair.clean, pair.corrupted, strict=True)) if a != b]
        assert changed == [at]
        assert tokens.text(pair.corrupted[at]) == "0"
    first = Counter(pair.clean[pair.roles["decade"]] for pair in task.pairs[:16])
    assert set(first.values()) == {2}  # balanced in every sample
    assert len(first) == 8
    assert all(len(above) > 1 and below for above, below in task.maps.values())
    assert len(task.maps) == 7
    assert {int(tokens.text(i)) for i in task.words} == set(range(10))


def test_the_last_digit_is_asked_for_where_three_digits_are_a_token() -> None:
    tokens = kinds.tokens("threes")
    for pair in greater_than.build(tokens, 40, seed=0).pairs:
        at = pair.roles["unit"]
        digit = int(tokens.text(pair.clean[at]))
        assert pair.clean[at - 1] == pair.clean[-1] == pair.clean[pair.roles["decade"]]
        assert len(tokens.text(pair.clean[-1])) == 3
        above, below = ({int(tokens.text(i)) for i in ids} for ids in (pair.answer_ids, pair.foil_ids))
        assert (above, below) == (set(range(digit + 1, 10)), set(range(digit + 1)))
        assert tokens.text(pair.corrupted[at]) == "0"


def test_without_a_line_break_the_example_stands_on_the_questions_line() -> None:
    apart, along = (colored_objects.build(kinds.tokens(kind), 40, seed=0) for kind in ("bytes", "unigram"))
    assert apart.templates == along.templates
    assert [pair.text.count("\n") for pair in apart.pairs] == [1] * 40
    assert [pair.text.count("\n") for pair in along.pairs] == [0] * 40
    assert (apart.form, bool(along.form)) == ("", True)


@every_kind
def test_an_unknown_token_that_is_also_bos_drops_nothing(kind: str) -> None:
    """As in OPT and GPT-2, where every prompt would hold the unknown token."""
    own = kinds.tokens(kind, bos=True)
    same = Tokens(kinds.with_unknown(kind, kinds.BOS), "always")
    assert same.bos_id == same.unk_id == own.bos_id
    task = capitals.build(same, 40, seed=0)
    assert task.pairs == capitals.build(own, 40, seed=0).pairs
    line = user.TaskLine("mine", "The capital of France is", "The capital of Spain is", "Paris", "Madrid")
    assert len(user.build(same, "mine", [line], 1).pairs) == 1


@every_kind
@with_and_without_bos
def test_relations_keep_words_that_stand_so_in_prompts(kind: str, bos: bool) -> None:
    tokens = kinds.tokens(kind, bos=bos)
    for relation in load_relations():
        kept = keep(relation, tokens)
        if relation.stem == "year_to_following":  # numbers: all, or none, by the tokenizer
            assert bool(kept.pairs) == (kind == "words")
            continue
        assert kept.pairs == relation.pairs
        for (source, target), s, t in zip(kept.pairs, kept.sources, kept.targets, strict=True):
            assert tokens.next_id("This is the", f" {source}") == s
            assert tokens.next_id(f"This is about {source} of", f" {target}") == t


@every_kind
@with_and_without_bos
def test_relations_prompts_hold_the_source_and_go_on_with_the_target(kind: str, bos: bool) -> None:
    tokens = kinds.tokens(kind, bos=bos)
    for relation in load_relations(only=["country_to_capital", "word_to_antonym", "verb_to_past_tense"]):
        kept = keep(relation, tokens)
        sources = [(pair[0], s) for pair, s in zip(kept.pairs, kept.sources, strict=True)]
        for template in (*load_templates(), *([relation.prompt] if relation.prompt else [])):
            made = make_prompts(tokens, template, sources, 64)
            for prompt, (word, s), (_, target), t in zip(made, sources, kept.pairs, kept.targets, strict=True):
                assert prompt is not None
                assert prompt.after[prompt.source] == s
                text = template.replace(SLOT, word)
                assert tokens.prompt_ids(f"{text} {target}") == [*prompt.ids, t]


@every_kind
def test_sources_of_several_tokens_in_text(kind: str) -> None:
    tokens = kinds.tokens(kind)
    (relation,) = load_relations(only=["name_copying"])
    model: Any = SimpleNamespace(tokens=tokens, record=SimpleNamespace(n_ctx=64))
    assert not multi_token_pairs(model, relation, in_text=True)
    several = replace(relation, pairs=(("Mary Anna", "Mary"), ("Mary", "Mary")))
    ((prompt, target),) = multi_token_pairs(model, several, in_text=True)
    assert list(prompt.ids) == tokens.encode(f"{BEGINNING}Mary Anna")
    assert target == tokens.word_id("Mary")


@every_kind
@with_and_without_bos
def test_sparse_prompts_go_on_with_their_answers(kind: str, bos: bool) -> None:
    tokens = kinds.tokens(kind, bos=bos)
    task = read_task(BUNDLED)
    for group in sparse.groups(tokens, task, 8, seed=0):
        assert len(group) == 8
        assert group.foils is not None
        for ids, answer, foil in zip(group.ids, group.answers, group.foils, strict=True):
            pair = next(
                (word, mate) for word, mate in task.pairs
                if list(ids) == tokens.prompt_ids(group.template.replace("{x}", word).rstrip(" "))
                and answer == sparse.encoded(tokens, group.template.replace("{x}", word), mate)[1]  # type: ignore[index]
            )  # fmt: skip
            text = group.template.replace("{x}", pair[0])
            assert tokens.prompt_ids(text + pair[1]) == [*ids, answer]
            assert foil != answer


def test_sparse_prompts_begin_with_end_of_text_though_it_is_the_unknown_token_too() -> None:
    """SmolLM2's and GPT-2's way: byte-level BPE needs no unknown token and names that one."""
    tokens = Tokens(kinds.with_unknown("digits", END))
    assert tokens.bos_id is None
    assert sparse.start(tokens) == [tokens.unk_id]
    assert tokens.text(sparse.start(tokens)[0]) == END
    assert sparse.start(kinds.tokens("words")) == []


def test_a_space_at_the_end_of_both_prompts_is_the_answers() -> None:
    tokens = kinds.tokens("bytes")
    group = sparse.own(tokens, "The opposite of hot is ", "cold", "slow", "The opposite of fast is ")
    assert group.ids.tolist() == [tokens.encode("The opposite of hot is")]
    assert group.key == 3


@every_kind
@with_and_without_bos
def test_cognitive_answers_are_the_tokens_of_running_text(kind: str, bos: bool) -> None:
    tokens = kinds.tokens(kind, bos=bos)
    row = Row("1", "1", 1, "The capital of France", (), "What is the capital?", "Paris the city", "Retrieval")
    encoder = Encoder(tokens, [row], preset("recommended"), 5, "predict")
    found = encoder.encode(row, row.answer)
    assert [tokens.text(found.ids[i]).strip() for i in found.answer] == ["Paris", "the", "city"]
    assert found.ids[0] == tokens.bos_id or not bos
    assert found.first == found.answer[0] - 1
