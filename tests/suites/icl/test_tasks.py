"""Tasks in context: balance of the lists, splits, derangement, and that no prompt gives its answer away."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import SettingsError
from reportgen.suites.icl.suite import SUITE, Settings
from reportgen.suites.icl.tasks import (
    CONTROLS,
    FORMS,
    OWN,
    TASKS,
    Task,
    deranged,
    form_of,
    load_tasks,
    prepared,
    prompts,
    split,
)
from reportgen.suites.pairs import load_relations
from tests.tiny import word_tokenizer


class Words:
    """A tokenizer that knows every word and mark."""

    unk_id: int | None = None
    bos_id: int | None = None

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        return [self.known.setdefault(part, len(self.known)) for part in re.findall(r" ?\w+| ?[^\w\s]|\s", text)]

    prompt_ids = encode

    def following(self, before: str, text: str) -> list[int] | None:
        return self.encode(before + text)[len(self.encode(before)) :]


class Narrow(Words):
    """A tokenizer that does not know line breaks."""

    unk_id: int | None = -1

    def encode(self, text: str) -> list[int]:
        return [-1 if part == "\n" else 0 for part in re.findall(r" ?\w+| ?[^\w\s]|\s", text)]


WORDS, FORM = Words(), FORMS[0]
READY = [task for task in (prepared(t, FORM, WORDS) for t in load_tasks()) if isinstance(task, Task)]


def test_every_task_can_be_asked_and_has_pairs_enough() -> None:
    assert [task.name for task in READY] == list(TASKS)
    for task in READY:
        assert len(task.pairs) >= 100
        assert len({x for x, _ in task.pairs}) == len(task.pairs)
        assert all(x != y for x, y in task.pairs)


def test_written_lists_are_balanced() -> None:
    lists = {r.stem: r for r in load_relations(str(OWN))}
    assert all(r.provenance.endswith("CC0") and r.class_ for r in lists.values())
    first, last = lists["first_of_three"], lists["last_of_three"]
    assert [x for x, _ in first.pairs] == [x for x, _ in last.pairs]  # the same words, so only the place differs
    for place, listed in ((0, first), (2, last)):
        assert all(x.split(", ")[place] == y for x, y in listed.pairs)
        assert listed.extractive
    for place in range(3):  # every word stands equally often in every place: none is likelier to be asked for
        assert set(Counter(x.split(", ")[place] for x, _ in first.pairs).values()) == {3}
    assert all(y == x.capitalize() != x for x, y in lists["word_to_capitalised"].pairs)
    plural = lists["singular_to_plural"].pairs
    regular = sum(y == x + "s" for x, y in plural) / len(plural)
    assert 0.5 < regular < 0.75  # copying and adding an s does not do
    following = dict(lists["item_to_next"].pairs)
    assert (following["Sunday"], following["nine"], following["a"]) == ("Monday", "ten", "b")


@pytest.mark.parametrize("task", READY, ids=[task.name for task in READY])
def test_no_prompt_gives_its_answer_away(task: Task) -> None:
    parts = split(task, 0)
    every = [*parts.shots, *parts.queries, *parts.held]
    assert sorted(every) == list(range(len(task.pairs)))
    assert len(parts.queries) >= 0.15 * len(task.pairs)
    made = prompts(task, FORM, WORDS, parts.queries, 12, 6, parts.shots, np.random.default_rng(1))
    assert len(made) == 12
    for prompt in made:
        x, y = task.pairs[prompt.pair]
        shots = [task.pairs[i] for i in prompt.shots]
        assert prompt.pair not in parts.shots
        assert len(set(prompt.shots)) == 6
        words = {word for pair in shots for word in (pair[0], *pair[0].split(", "))}
        asked = {x, *x.split(", ")}
        assert not asked & words
        assert not asked & {b for _, b in shots}
        assert y not in words
        assert prompt.among == (y in {b for _, b in shots})
        assert sorted(prompt.moved) == list(range(6))
        assert all(shots[j][1] != b for j, (_, b) in zip(prompt.moved, shots, strict=True))
        assert Counter(prompt.clean) == Counter(prompt.deranged)
        assert prompt.clean[-4:] == prompt.deranged[-4:]
        assert prompt.answer == WORDS.encode(f" {y}")[0]
    if task.repeats:
        assert sum(p.among for p in made) <= 6
        assert max(max(Counter(task.pairs[i][1] for i in p.shots).values()) for p in made) <= 3
    else:
        assert not any(p.among for p in made)
        assert all(len({task.pairs[i][1] for i in p.shots}) == 6 for p in made) or task.extractive


def test_a_pair_and_its_reverse_stand_on_one_side() -> None:
    antonym = next(t for t in READY if t.name == "antonym")
    parts = split(antonym, 3)
    side = {antonym.pairs[i]: name for name in ("shots", "queries", "held") for i in getattr(parts, name)}
    turned = [(y, x) for x, y in side if (y, x) in side]
    assert len(turned) > 20
    assert all(side[pair] == side[pair[1], pair[0]] for pair in turned)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=12), st.integers(0, 99))
def test_a_derangement_moves_every_output(outputs: list[int], seed: int) -> None:
    words = [str(i) for i in outputs]
    found = deranged(words, np.random.default_rng(seed))
    if max(Counter(words).values()) * 2 > len(words):
        assert found is None
    else:
        assert found is not None
        assert sorted(found) == list(range(len(words)))
        assert all(words[j] != words[i] for i, j in enumerate(found))


def test_outputs_that_begin_alike_are_left_out_or_leave_the_task_out() -> None:
    class First(Words):
        """Answers begin with their first letter."""

        def following(self, before: str, text: str) -> list[int] | None:
            return [ord(text.strip()[0])]

    pairs = tuple((f"word{i}", f"{chr(97 + i % 26)}{i}") for i in range(40))  # 14 letters twice, 12 once
    assert prepared(Task("t", "T", "mine", pairs), FORM, First()) == (
        "the outputs of 70 % of the pairs begin with the token of another output"
    )
    few = tuple((f"word{i}", f"{chr(97 + min(i, 43) % 200)}x") for i in range(50))
    kept = prepared(Task("t", "T", "mine", few[:44]), FORM, First())
    assert isinstance(kept, Task)
    assert len(kept.pairs) == 44


def test_a_list_of_ones_own_replaces_the_tasks(tmp_path: Path) -> None:
    (tmp_path / "colour.json").write_text(str([[f"a{i}", f"b{i}"] for i in range(40)]).replace("'", '"'))
    (tmp_path / "relations.toml").write_text('[colour]\nclass = "mine"\nextractive = true\n')
    (task,) = load_tasks(str(tmp_path))
    assert (task.name, task.kind, task.extractive, len(task.pairs)) == ("colour", "mine", True, 40)
    with pytest.raises(SettingsError, match="no relation"):
        load_tasks(str(tmp_path), ["color"])
    assert prepared(Task("t", "T", "mine", task.pairs[:29]), FORM, WORDS) == (
        "29 of 29 pairs are known to this tokenizer, at least 30 are needed"
    )


def test_controls_say_the_input_again_and_stand_after_the_tasks(tmp_path: Path) -> None:
    every = load_tasks(controls=tuple(CONTROLS))
    assert [task.name for task in every] == [*TASKS, "copying", "name_copying"]
    for task in every[len(TASKS) :]:
        made = prepared(task, FORM, WORDS)
        assert isinstance(made, Task)
        assert made.control
        assert made.kind == "control"
        assert all(x == y for x, y in made.pairs)
        parts = split(made, 0)
        some = prompts(made, FORM, WORDS, parts.queries, 12, 6, parts.shots, np.random.default_rng(1))
        assert len(some) == 12
        for prompt in some:
            shots = [made.pairs[i][0] for i in prompt.shots]
            assert made.pairs[prompt.pair][0] not in shots
            assert all(shots[j] != word for j, word in zip(prompt.moved, shots, strict=True))
    assert not any(task.control for task in every[: len(TASKS)])
    (tmp_path / "name_copying.json").write_text('[["a", "a"], ["b", "b"]]')
    (tmp_path / "colour.json").write_text('[["a", "b"], ["b", "c"]]')
    own = load_tasks(str(tmp_path), controls=tuple(CONTROLS))
    assert [(task.name, task.control) for task in own] == [("colour", False), ("copying", True), ("name_copying", True)]
    assert len(own[-1].pairs) == 2  # the user's own list in place of the bundled one


def test_the_form_is_one_that_the_tokenizer_knows() -> None:
    from reportgen.models.tokens import Tokens

    assert form_of(WORDS) is FORMS[0]
    assert form_of(Tokens(word_tokenizer())) is FORMS[1]
    assert form_of(Narrow()) is FORMS[1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tasks": ("antonim",)}, "no task 'antonim'"),
        ({"accuracy": 2.0}, "between 0 and 1"),
        ({"gain": -3.0}, "-1 and 1"),
    ],
)
def test_settings_are_checked(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Settings(**given)  # type: ignore[arg-type]


def test_the_papers_protocol_has_its_counts() -> None:
    assert Settings(preset="todd", shots=10, prompts=25).preset == "todd"
    with pytest.raises(ValueError, match=r"icl\.prompts=25"):
        Settings(preset="todd")
    with pytest.raises(SettingsError, match="preset"):
        SUITE.make_settings("quick", {"preset": "tod"})


def test_permuted_outputs_may_stay_and_deranged_ones_never_do() -> None:
    made = next(task for task in READY if task.name == "antonym")
    parts = split(made, 0)
    drawn = {
        kind: prompts(made, FORM, WORDS, parts.queries, 40, 6, parts.shots, np.random.default_rng(0), permuted=kind)
        for kind in (True, False)
    }
    stay = {kind: np.mean([np.mean([i == j for i, j in enumerate(p.moved)]) for p in of]) for kind, of in drawn.items()}
    assert stay[False] == 0
    assert 0.08 < stay[True] < 0.26  # a sixth of six
