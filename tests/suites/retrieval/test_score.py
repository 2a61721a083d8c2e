"""The suite where little can be found: models that answer nothing, small vocabularies, short contexts, bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reportgen.errors import DataError, NotApplicable
from reportgen.figures.figure import View
from reportgen.models.load import load, random_twin
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.retrieval import user
from reportgen.suites.retrieval.drawing.figures import figures
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.scoring.measures import adjusted_p, ratio
from reportgen.suites.retrieval.scoring.passes import Read
from reportgen.suites.retrieval.scoring.score import score
from reportgen.suites.retrieval.suite import SUITE
from tests.suites.retrieval.toy import facts as written
from tests.suites.retrieval.toy import planted
from tests.tiny import WORDS, tiny_folder


def test_a_model_that_answers_nothing_has_no_copy_and_no_retrieval_head(tmp_path: Path) -> None:
    model = random_twin(planted(tmp_path), 0)
    given = {"needles": str(written(tmp_path)), "permutations": 99, "resamples": 50, "twins": 0, "shuffled": False}
    made = score(model, SUITE.make_settings("quick", given), Context(0, 1))
    copy = made["copy/needles"]
    assert np.isnan(copy.values).all()
    told = facts.read(made, RetrievalFacts)
    assert copy.reasons["*"] == f"the model answers {told.recall.right} of 48 questions"
    for name in ("copy_mass", "point", "write"):
        assert np.isfinite(made[f"{name}/needles"].values).all()
    assert not [s for s in made.head_sets if s.key.endswith("/retrieval_heads")]
    assert any("no head is called a retrieval head" in note for note in made.notes)
    drawn = {figure.id: figure for figure in figures(made, View(model.record))}
    assert "retrieval-copy" not in drawn
    assert "too few" in drawn["retrieval-recall"].caption
    assert {c.name for s in made.scores for c in s.controls} == {"random tokens"}


def test_a_layer_that_sees_a_window_is_scored_where_it_reaches(tmp_path: Path) -> None:
    """Gemma 2: its first and third layers see six positions, which reach no fact; a norm stands after W_O."""
    model = load(tiny_folder("gemma2", tmp_path / "gemma2"), device="cpu")
    things, words = WORDS[34:42], (*WORDS[20:30], *WORDS[42:48])
    path = written(tmp_path, 3, things=things, words=words)
    given = {"needles": str(path), "permutations": 49, "resamples": 50, "twins": 0, "sequences": 0}
    made = score(model, SUITE.make_settings("quick", given), Context(0, 1))
    point = made["point/needles"]
    assert np.isnan(point.values[0]).all()
    assert np.isfinite(point.values[1]).all()
    assert point.reasons["L0H0"] == "its layer's window reaches no fact"
    assert np.isnan(made["write/needles"].values).all()
    told = facts.read(made, RetrievalFacts)
    assert set(told.reach) == {"0", "2"}


def test_the_bundled_model_is_told_why_it_has_no_scores() -> None:
    with pytest.raises(NotApplicable, match=r"context|answers are 2 to 4 known tokens") as raised:
        score(load("mini", device="cpu"), SUITE.make_settings("quick"), Context(0, 1))
    assert raised.value


def table(rng: np.random.Generator, own: float) -> Read:
    """Four questions against four facts, two layers of three heads; L1H2 prefers the fact asked for."""
    values = rng.normal(0, 1, (4, 4, 2, 3)).astype(np.float32)
    values[range(4), range(4), 1, 2] += own
    ones = np.full(4, 2)
    return Read({"point": values}, ones, ones, ones > 0, np.zeros(4, np.float32), np.zeros((2, 3), np.float32),
                np.zeros((2, 3), np.float32))  # fmt: skip


def test_the_null_finds_a_preference_and_holds_its_level_without_one() -> None:
    rng, kept = np.random.default_rng(0), [np.ones(4, bool)] * 5
    found = adjusted_p([table(rng, 2.0) for _ in range(5)], "point", kept, 499, rng)
    assert float(found[1, 2]) <= 0.01
    none = [adjusted_p([table(rng, 0.0) for _ in range(5)], "point", kept, 199, rng).min() for _ in range(60)]
    assert np.mean(np.array(none) <= 0.05) < 0.15  # 3 of 60 expected


def test_a_question_left_out_leaves_score_and_null() -> None:
    rng = np.random.default_rng(1)
    reads, kept = [table(rng, 0.0) for _ in range(3)], [np.ones(4, bool) for _ in range(3)]
    kept[0][2] = False
    of = ratio(reads, "point", kept)
    each = [one.tables["point"][i, i] - (one.tables["point"][i].sum(0) - one.tables["point"][i, i]) / 3
            for one, keep in zip(reads, kept, strict=True) for i in np.flatnonzero(keep)]  # fmt: skip
    np.testing.assert_allclose(of.value, np.mean(each, axis=0), atol=1e-6)
    reads[0].tables["point"][2] = 1e6
    np.testing.assert_allclose(ratio(reads, "point", kept).value, of.value)
    assert (adjusted_p(reads, "point", kept, 99, rng) > 0.01).all()


GOOD = {"text": "A motto is red fox. A name is blue owl.", "question": "What is the motto?", "answer": "red fox"}
OTHER = {**GOOD, "question": "What is the name?", "answer": "blue owl"}
BAD = {
    "no JSON": ("{", "line 1"),
    "a field is missing": (json.dumps({"text": "a"}), "line 1"),
    "an unknown field": (json.dumps({**GOOD, "answr": "x"}), "line 1"),
    "the answer is not there": (json.dumps({**GOOD, "answer": "green owl"}), "does not hold the answer"),
    "an empty question": (json.dumps({**GOOD, "question": " "}), "question is empty"),
    "one fact": (json.dumps(GOOD), "the only fact of its text"),
    "one text": ("\n".join(map(json.dumps, (GOOD, OTHER))), "holds one text"),
    "nothing": ("\n\n", "holds no facts"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_with_the_place(name: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(BAD[name][0], "utf-8")
    with pytest.raises(DataError) as raised:
        SUITE.make_settings("quick", {"needles": str(path)})
    assert BAD[name][1] in str(raised.value)
    assert "\n" not in str(raised.value.problem)


def test_every_other_question_is_asked_as_its_paraphrase(tmp_path: Path) -> None:
    lines = [{**one, "text": one["text"] + end, "paraphrase": "How is it called?"} for end in ("", " x")
             for one in (GOOD, OTHER)]  # fmt: skip
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    for one in user.read(str(path)):
        assert [f.kind for f in one.facts] == ["literal", "paraphrased"]
        assert one.facts[1].question == "\nQuestion: How is it called?\nAnswer:"
        assert one.text[one.facts[1].at :].startswith(" blue owl")
        assert one.text[one.facts[1].start :].startswith(" A name")
