"""Splits, small classes, and the two shipped sets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from reportgen.errors import DataError
from reportgen.mini import corpus
from reportgen.mini.vocab import token_ids
from reportgen.mini.words import UNKNOWN
from reportgen.suites.cognitive import make_rows
from reportgen.suites.cognitive.rows import SPLITS, Row
from reportgen.suites.cognitive.scoring import dataset
from reportgen.suites.cognitive.scoring.null import strata_of
from reportgen.suites.cognitive.scoring.prompts import template
from reportgen.suites.cognitive.suite import SUITE
from tests.suites.cognitive import toy


def _rows(tmp_path: Path, chains: int = 60) -> tuple[Row, ...]:
    return dataset.load(str(toy.write(tmp_path / "toy.jsonl", toy.rows(chains))))


def test_splits_are_by_chain_and_even_over_functions(tmp_path: Path) -> None:
    rows = dataset.split(_rows(tmp_path), seed=3)
    for chain in {row.chain for row in rows}:
        assert len({row.split for row in rows if row.chain == chain}) == 1
    counts = Counter((row.split, row.function) for row in rows)
    for function in toy.FUNCTIONS:
        assert [counts[s, function] for s in SPLITS] == pytest.approx([36, 6, 9, 9], abs=1)
    assert dataset.split(_rows(tmp_path), seed=3) == rows
    assert dataset.split(_rows(tmp_path), seed=4) != rows


def test_counts_and_oddities_are_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    made = toy.rows(60)
    for i, row in enumerate(made):  # 1 stray label, and every question in several splits under two labels
        row["function"] = "Stray" if i == 5 else "sum" if i > 90 and row["function"] == "Sum" else row["function"]
    path = toy.write(tmp_path / "toy.jsonl", made)
    settings = SUITE.make_settings("quick", {"data": str(path), "min_per_class": 5})
    said = SUITE.says(settings, 0)
    data = dataset.make_dataset(str(path), dataset.load(str(path)), 5, "drop", 0)
    assert said[0].startswith(f"Questions: {path}: 179 rows in 60 chains: Place 59, ")
    assert f"{path}: labels with too few rows, left out or collapsed: Stray 1." in said[1]
    assert data.about["test_questions_in_train"]
    assert any(f"verbatim: {data.about['test_questions_in_train']}." in line for line in said)
    assert any("texts with two labels: " in line for line in said)
    assert any("labels that differ only in case or punctuation: [['" in line for line in said)
    assert SUITE.says(SUITE.make_settings(), 0) == ()  # of the shipped sets the report says it
    shipped = SUITE.says(SUITE.make_settings("quick", {"data": "english"}), 0)
    assert "800 rows in 200 chains: 100 of each of Knowledge Recall" in shipped[0]


def test_missing_splits_are_taken_out_of_train(tmp_path: Path) -> None:
    given = [replace(row, split="test" if int(row.chain[1:]) < 20 else "train") for row in _rows(tmp_path)]
    rows = dataset.split(given, seed=0)
    assert {row.chain for row in rows if row.split == "test"} == {f"c{i}" for i in range(20)}
    assert {row.split for row in rows} == set(SPLITS)


def test_small_classes_are_dropped_collapsed_or_refused(tmp_path: Path) -> None:
    rows = list(_rows(tmp_path))
    odd = list(range(3, 33, 3))
    for i, label in ((0, "Rare"), *((i, "Odd") for i in odd)):
        rows[i] = replace(rows[i], function=label, split="")
    kept = dataset.make_dataset("x", rows, 12, "drop", 0)
    assert kept.stray == {"Rare": 1, "Odd": 10}
    assert len(kept.rows) == len(rows) - 11
    merged = dataset.make_dataset("x", rows, 11, "other", 0)
    assert sum(row.function == dataset.OTHER for row in merged.rows) == 11
    assert set(merged.functions) == {*toy.FUNCTIONS, dataset.OTHER}
    with pytest.raises(DataError, match=r"fewer than 12 rows: 'Rare' \(1\), 'Odd' \(10\)"):
        dataset.make_dataset("x", rows, 12, "refuse", 0)


def test_too_little_data_is_refused(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    with pytest.raises(DataError, match="fewer than two functions"):
        dataset.make_dataset("x", [row for row in rows if row.function == "Sum"], 12, "drop", 0)
    with pytest.raises(DataError, match="Splits are drawn by chain"):
        dataset.make_dataset("x", [replace(row, chain="one", split="") for row in rows], 12, "drop", 0)


def test_oddities_are_counted(tmp_path: Path) -> None:
    rows = list(dataset.split(_rows(tmp_path), 0))
    test = next(i for i, row in enumerate(rows) if row.split == "test" and row.function == "Sum")
    train = next(row for row in rows if row.split == "train" and row.function == "Place")
    rows[test] = replace(rows[test], subquestion=train.subquestion.upper())
    sums = [i for i, row in enumerate(rows) if row.function == "Sum" and i != test][::2]
    for i in sums:
        rows[i] = replace(rows[i], function="sum")
    about = dataset.make_dataset("x", rows, 1, "drop", 0).about
    assert about["test_questions_in_train"] >= 1
    assert about["texts_with_two_labels"] >= 1
    assert ["Sum", "sum"] in [sorted(group) for group in about["labels_that_look_alike"]]


def test_a_user_s_file_is_checked_before_any_model(tmp_path: Path) -> None:
    path = toy.write(tmp_path / "bad.jsonl", [*toy.rows(4), {"subquestion": "q", "answer": "", "function": "Sum"}])
    with pytest.raises(DataError, match="line 13, field 'answer'"):
        SUITE.make_settings("quick", {"data": str(path)})


@pytest.mark.parametrize("name", dataset.SHIPPED)
def test_shipped_sets_have_the_stated_shape(name: str) -> None:
    data = dataset.make_dataset(name, dataset.load(name), 12, "refuse", 0)
    assert data.functions == dataset.PAPER
    assert set(Counter(row.function for row in data.rows).values()) == {100}
    assert set(Counter((row.function, row.step) for row in data.rows).values()) == {25}
    assert set(Counter(row.chain for row in data.rows).values()) == {4}
    for label in data.functions:
        assert data.about["counts"][label] == dict(zip(SPLITS, (60, 10, 15, 15), strict=True))
    assert data.about["test_questions_in_train"] == 0
    assert data.about["texts_with_two_labels"] == 0


def test_answers_of_the_english_set_give_no_function_away() -> None:
    data = dataset.make_dataset("english", dataset.load("english"), 12, "refuse", 0)
    for label in data.functions:
        shapes = data.about["answer_shapes"][label]
        assert sorted(shapes) == ["name", "number", "word", "yes/no"]
        assert all(22 <= n <= 28 for n in shapes.values()), (label, shapes)
        yes = [row.answer for row in data.rows if row.function == label and row.answer in ("yes", "no")]
        assert abs(yes.count("yes") - yes.count("no")) <= 3
    assert strata_of(data.rows)[1] == "split, chain position and answer shape"


def test_the_english_set_is_what_its_script_writes() -> None:
    shipped = dataset.SHIPPED["english"].read_text("utf-8")
    assert make_rows.english() == shipped
    train = {json.loads(line)["subquestion"].split()[0] for line in shipped.splitlines()}
    assert len(train) > 20  # not one phrasing for all


def test_the_in_vocabulary_set_is_in_the_bundled_vocabulary() -> None:
    form = template("plain")
    texts = [form.prompt(row, "all") + f" {row.answer}." for row in dataset.load("in_vocabulary")]
    unknown = token_ids()[UNKNOWN]
    assert not [text for text in texts if unknown in corpus.encode(text)]
