"""The whole suite on the bundled model: scores, facts, figures and what little text gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportgen.errors import DataError, NotApplicable, SettingsError
from reportgen.figures.figure import View
from reportgen.head_examples import HeadExamples
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.text import classes
from reportgen.suites.text.drawing.figures import figures
from reportgen.suites.text.facts import TextFacts
from reportgen.suites.text.scoring.score import SAMPLED, read, score, sizes, sliding
from reportgen.suites.text.suite import SUITE, Settings
from tests.tiny import WORDS, tiny_folder

SMALL = {"windows": 20, "shuffled": 4, "twin_windows": 2, "edge_windows": 3, "flips": 200, "resamples": 100}


@pytest.fixture(scope="module")
def model() -> Model:
    return load("mini", device="cpu")


@pytest.fixture(scope="module")
def made(model: Model) -> SuiteResult:
    induction = HeadSet("attention/x/induction_heads", "Induction Heads", ((4, 1),), "l", "computed", "r")
    context = Context(0, 1, {"attention": (induction,)})
    return score(model, SUITE.make_settings("quick", SMALL), context)


def test_every_measure_has_its_scores_with_interval_and_control(made: SuiteResult) -> None:
    assert {s.measure for s in made.scores} == {m.name for m in SUITE.measures}
    for s in made.scores:
        assert s.low is not None
        assert s.high is not None
        assert (s.low <= s.values + 1e-5).all(), s.key
        assert (s.values <= s.high + 1e-5).all(), s.key
        assert [c.name for c in s.controls] == ["shuffled text", "random twin"]
        tested = s.measure in ("induction", "duplicate", "copy_next", "excess")
        assert (s.p is not None) == tested
        assert bool(s.no_null) != tested


def test_order_is_what_the_shuffled_control_lacks(made: SuiteResult) -> None:
    """mini copies: heads that find the next token do so in text alone."""
    found = made["copy_next/text"]
    assert found.p is not None
    best = found.ranking()[0]
    assert found.p[best] < 0.05
    control = next(c for c in found.controls if c.name == "shuffled text")
    assert control.values is not None
    assert found.values[best] > 2 * max(0.0, float(control.values[best]))


def test_shares_add_up(made: SuiteResult) -> None:
    offsets, kinds = made.arrays["offsets"].values[0], made.arrays["classes"].values[0]
    sink = made["sink/text"].values
    np.testing.assert_allclose(offsets.sum(-1) + sink, 1, atol=1e-4)
    np.testing.assert_allclose(kinds.sum(-1) + sink, 1, atol=1e-4)
    np.testing.assert_allclose(made.arrays["kinds"].values.sum(-1), 1, atol=1e-4)
    np.testing.assert_allclose(made["previous/text"].values, offsets[..., 1], atol=1e-5)


def test_facts_and_figures(made: SuiteResult, model: Model) -> None:
    told = facts.read(made, TextFacts)
    assert (told.windows, told.tokens, told.units) == (20, 20 * 128, 20)
    assert sum(told.class_shares) == pytest.approx(1)
    (row,) = told.wide
    assert (row.head, row.role) == ("L4H1", f"strongest key: {classes.KIND_WORDS['induction']}")
    view = View(model.record, overlays=made.head_sets, results={"text": made})
    drawn = {figure.id: figure for figure in figures(made, view)}
    assert {
        "text-roles",
        "text-examples",
        "text-clouds",
        "text-shuffled",
        "text-shares",
        "text-induction",
    } <= drawn.keys()
    for figure in drawn.values():
        assert len(figure.caption.split()) <= 60, figure.caption
        assert figure.alt
        assert figure.notes
        assert figure.data.rows
        _ = figure.chart  # drawn
    mixed = next(c for c in made["previous/text"].controls if c.name == "shuffled text").values
    assert mixed is not None
    columns = [column.name for column in drawn["text-shuffled"].data.columns]
    row = next(row for row in drawn["text-shuffled"].data.rows if row[0] == "L2H3")
    assert row[columns.index("Previous token")] == pytest.approx(float(made["previous/text"].values[2, 3]))
    assert row[columns.index("Previous token, shuffled")] == pytest.approx(float(mixed[2, 3]))


def test_examples_come_with_the_result(made: SuiteResult) -> None:
    found = HeadExamples.of(made)
    assert found is not None
    assert found.shape == (6, 8)
    assert len(found.of_head((4, 1))) == 15


def test_larger_models_get_fewer_examples_of_a_head() -> None:
    settings = Settings()
    assert len(sizes(settings, 270).places) == 52
    assert len(sizes(settings, 1024).places) == 12


def test_text_that_the_model_writes_is_the_same_for_the_same_seed(model: Model) -> None:
    settings = SUITE.make_settings("quick", {**SMALL, "source": "samples", "windows": 4, "tokens": 100})
    one, two, other = (read(model, settings, Context(seed, 1)) for seed in (1, 1, 2))
    assert one.source == SAMPLED
    assert [w.ids.tolist() for w in one.windows] == [w.ids.tolist() for w in two.windows]
    assert [w.ids.tolist() for w in one.windows] != [w.ids.tolist() for w in other.windows]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder("gpt2", tmp_path_factory.mktemp("tiny")), device="cpu")


def own(folder: Path, count: int, **changes: object) -> Settings:
    path = folder / "a.txt"
    path.write_text(" " + " ".join(np.random.default_rng(0).choice(WORDS, count)), "utf-8")
    given = {**SMALL, "text_file": str(path), "tokens": 48, "twins": 0, "shuffled": 0, **changes}
    settings: Settings = SUITE.make_settings("quick", given)
    return settings


def test_less_than_2000_tokens_are_one_unit_and_less_than_300_none(tiny: Model, tmp_path: Path) -> None:
    found = score(tiny, own(tmp_path, 900), Context(0, 1))
    assert all(s.low is None and s.p is None and s.held_out is None for s in found.scores)
    assert "one unit" in found["induction/text"].no_null
    assert "one unit" in " ".join(found.notes)
    with pytest.raises(NotApplicable, match="at least 300"):
        score(tiny, own(tmp_path, 200), Context(0, 1))


def test_without_text_no_word_is_stored(tiny: Model, tmp_path: Path) -> None:
    found = score(tiny, own(tmp_path, 2500, no_text=True), Context(0, 1))
    assert not found.arrays["example_words"].labels
    assert not any(isinstance(cell, str) and "Mary" in cell for t in found.tables for row in t.rows for cell in row)
    view = View(tiny.record, results={"text": found})
    assert "text-examples" not in {figure.id for figure in figures(found, view)}


def test_the_same_numbers_whatever_the_batch_and_more_text_than_is_used_costs_nothing(
    tiny: Model, tmp_path: Path
) -> None:
    first = score(tiny, own(tmp_path, 3000, batch=1), Context(0, 1))
    again = score(tiny, own(tmp_path, 3000, batch=7), Context(0, 1))
    for a, b in zip(first.scores, again.scores, strict=True):
        np.testing.assert_allclose(a.values, b.values, rtol=1e-3, atol=1e-5, err_msg=a.key)
    bytes_of = {n: sum(x.values.nbytes for x in score(tiny, own(tmp_path, n), Context(0, 1)).arrays.values())
                for n in (3000, 30_000)}  # fmt: skip
    assert bytes_of[30_000] == pytest.approx(bytes_of[3000], rel=0.02)


def test_own_classes_are_read_and_bad_ones_refused(tiny: Model, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("name = '\\s*(Mary|John)'\nrest = '.*'\n", "utf-8")
    found = score(tiny, own(tmp_path, 2500, classes=str(path)), Context(0, 1))
    assert {s.task for s in found.scores if s.measure == "excess"} == {"name", "rest"}
    path.write_text("name = '['\n", "utf-8")
    with pytest.raises((DataError, SettingsError), match="no regular expression"):
        own(tmp_path, 400, classes=str(path))


def test_layers_that_see_a_window_are_named(tmp_path: Path, tiny: Model) -> None:
    assert sliding(tiny) == {}
    gemma = load(tiny_folder("gemma3_text", tmp_path), device="cpu")
    assert sliding(gemma) == {"0": 6, "1": 6}
    found = score(gemma, own(tmp_path, 2500), Context(0, 1))
    offsets = found.arrays["offsets"].values[0]
    assert np.isnan(offsets[0, :, 6:]).all()  # 9 tokens back and more
    assert np.isfinite(offsets[0, :, :6]).all()
    assert np.isfinite(offsets[2, :, :8]).all()
