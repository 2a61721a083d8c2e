"""IOI prompts: aligned, of single tokens, each role where it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportgen.models.load import load
from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.tasks import ioi
from reportgen.suites.circuits.tasks.task import Pair, Task, read_words
from tests.suites.circuits.planted import ioi_folder
from tests.tiny import tiny_folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return load(ioi_folder(tmp_path_factory.mktemp("ioi")), device="cpu").tokens


@pytest.fixture(scope="module")
def task(tokens: Tokens) -> Task:
    return ioi.build(tokens, 64, seed=0)


def test_the_data_holds_enough_templates_and_names() -> None:
    data = read_words("ioi")
    assert len(data["templates"]) >= 8
    assert len(set(data["names"])) == len(data["names"]) >= 100
    for template in data["templates"]:
        assert template.endswith(" to")
        assert " {a} and {b} " in template
        assert template.count("{s}") == 1


def test_pairs_are_aligned_and_differ_in_the_names_only(task: Task, tokens: Tokens) -> None:
    assert len(task.pairs) == 64
    for pair in task.pairs:
        assert len(pair.clean) == len(pair.corrupted)
        changed = {i for i, (a, b) in enumerate(zip(pair.clean, pair.corrupted, strict=True)) if a != b}
        assert changed == {pair.roles["IO"], pair.roles["S1"], pair.roles["S2"]}
        assert pair.roles["END"] == len(pair.clean) - 1
        io, s = pair.clean[pair.roles["IO"]], pair.clean[pair.roles["S1"]]
        assert pair.clean[pair.roles["S2"]] == s
        assert (pair.answer_ids, pair.foil_ids) == ((io,), (s,))
        fresh = [pair.corrupted[pair.roles[role]] for role in ("IO", "S1", "S2")]
        assert len({io, s, *fresh}) == 5
        assert tokens.decode(list(pair.clean)) == pair.text
        assert max(pair.roles["IO"], pair.roles["S1"]) < pair.roles["S2"] < pair.roles["END"]


def test_both_orders_and_all_templates_are_there(task: Task) -> None:
    orders = {template: set() for template in range(len(task.templates))}  # type: ignore[var-annotated]
    for pair in task.pairs:
        orders[pair.template].add(pair.roles["IO"] < pair.roles["S1"])
    assert len(orders) == 16
    assert all(both == {True, False} for both in orders.values())


def test_same_seed_same_prompts(task: Task, tokens: Tokens) -> None:
    assert ioi.build(tokens, 64, seed=0) == task
    assert ioi.build(tokens, 64, seed=1).pairs != task.pairs


def test_what_the_tokenizer_lacks_is_counted(tmp_path: Path, task: Task) -> None:
    assert task.dropped["names that are not one token"] > 100
    words = "When Mary John Tom Anna Paul and went to the gave a ring store".split()
    few = ioi.build(load(tiny_folder("gpt2", tmp_path, words=words), device="cpu").tokens, 20, seed=0)
    assert few.templates == ("When {a} and {b} went to the {place}, {s} gave a {object} to",)
    assert few.dropped["templates with an unknown token"] == 15
    assert len(few.pairs) == 20


def test_a_tokenizer_without_the_words_gives_an_empty_task(tmp_path: Path) -> None:
    none = ioi.build(load(tiny_folder("gpt2", tmp_path, words=["tide", "moon"]), device="cpu").tokens, 20, seed=0)
    assert none.pairs == ()
    assert none.templates == ()


def test_bos_stands_in_front_where_the_model_uses_one(tmp_path: Path) -> None:
    words = "When Mary John Tom Anna Paul and went to the gave a ring store".split()
    tokens = load(tiny_folder("llama", tmp_path, words=words, bos=True), device="cpu").tokens
    for pair in ioi.build(tokens, 8, seed=0).pairs:
        assert pair.clean[0] == pair.corrupted[0] == tokens.bos_id


@pytest.mark.parametrize(
    "wrong",
    [
        {"corrupted": (1, 2)},
        {"answer_ids": ()},
        {"foil_ids": (7,)},
        {"roles": {"END": 3}},
        {"roles": {"END": 1}},
        {"roles": {"IO": 0}},
    ],
)
def test_a_malformed_pair_is_refused(wrong: dict[str, object]) -> None:
    good = {"clean": (1, 2, 3), "corrupted": (1, 4, 3), "answer_ids": (7,), "foil_ids": (8,), "roles": {"END": 2}}
    Pair(**good, template=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompt"):
        Pair(**{**good, **wrong}, template=0, text="prompt")  # type: ignore[arg-type]
