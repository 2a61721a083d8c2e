"""What a score function of a user's suite may return, and the numbers that the house makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen.figures.figure import View
from reportgen.figures.theme import clean
from reportgen.runner import SuiteJob
from reportgen.scores import BadScores, HeadScores, SuiteResult
from reportgen.suites import maps, samples
from reportgen.suites.base import Context, Measure, Suite
from reportgen.suites.samples import Samples
from tests import fixtures

SHAPE = (2, 3)
SHARE = Measure("share", "Share", "mean of x", "High: much of it.", range=(0.0, 1.0))
EFFECT = Measure("effect", "Effect", "mean of y", "Positive: more of it.", unit="logits")
RNG = np.random.default_rng(0)
EACH = RNG.uniform(0.2, 0.8, (40, *SHAPE))  # [sample layer head]


def made(found: Any, *measures: Measure) -> SuiteResult:
    return samples.result("mine", measures or (SHARE,), found, SHAPE, 0)


def one(found: Any, *measures: Measure) -> HeadScores:
    (score,) = made(found, *measures).scores
    return score


def test_samples_give_mean_n_and_an_interval_that_holds_the_mean() -> None:
    score = one(EACH)
    assert (score.key, score.n, score.range) == ("mine/share/all", 40, (0.0, 1.0))
    np.testing.assert_allclose(score.values, EACH.mean(0), atol=1e-6)
    assert score.low is not None
    assert score.high is not None
    half = 1.96 * EACH.std(0) / np.sqrt(40)  # what a normal interval has
    np.testing.assert_allclose(score.high - score.low, 2 * half, rtol=0.15)
    assert ((score.low < score.values) & (score.values < score.high)).all()
    assert score.p is None
    assert score.no_null == "the suite gives no draws of one"
    again = one(EACH)
    assert again.low is not None
    assert (again.low == score.low).all()


def test_one_grid_has_neither_interval_nor_null_and_says_so() -> None:
    score = one(EACH[0].astype(np.float32))
    assert (score.n, score.low, score.p) == (1, None, None)
    assert "no interval" in score.no_null
    assert not made(EACH[0]).arrays


def test_draws_of_a_null_give_family_wise_p() -> None:
    draws = RNG.uniform(0.4, 0.6, (199, *SHAPE))
    each = np.full((20, *SHAPE), 0.5)
    each[:, 1, 2] = 0.9
    score = one(Samples(each, null=draws))
    assert score.p is not None
    assert score.p[1, 2] == pytest.approx(1 / 200)
    assert (np.delete(score.p.ravel(), 5) > 0.5).all()
    assert score.no_null == ""
    with pytest.raises(BadScores, match=r"null has 9 draws.*0\.1: give 19"):
        one(Samples(each, null=draws[:9]))


def test_groups_make_the_interval_as_wide_as_the_groups_are_apart() -> None:
    groups = np.repeat(np.arange(5), 8)
    each = np.broadcast_to((groups / 10 + 0.2)[:, None, None], (40, *SHAPE))
    score, alone = one(Samples(each, groups=list(groups))), one(Samples(each))
    assert score.low is not None
    assert score.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert ((score.high - score.low) > 2 * (alone.high - alone.low)).all()
    with pytest.raises(BadScores, match="3 groups for 40 samples"):
        one(Samples(each, groups=[1, 2, 3]))


def test_several_scores_by_measure_and_task() -> None:
    found = made({"share/cats": EACH, "share/dogs": EACH, "effect": Samples(EACH - 0.5)}, SHARE, EFFECT)
    assert [score.key for score in found.scores] == ["mine/share/cats", "mine/share/dogs", "mine/effect/all"]
    assert found.scores[2].label == "Effect (logits)"
    with pytest.raises(BadScores, match="'shrae', which is no measure of the suite \\(share, effect\\)"):
        made({"shrae": EACH}, SHARE, EFFECT)
    with pytest.raises(BadScores, match="one score and the suite declares the measures share, effect"):
        made(EACH, SHARE, EFFECT)


def test_a_head_with_a_sample_that_is_no_number_has_no_value_and_a_reason() -> None:
    each = EACH.copy()
    each[3:5, 0, 1] = np.nan
    score = one(each)
    assert np.isnan(score.values).sum() == 1
    assert score.reason(0, 1) == "not a number in 2 of 40 samples"
    assert not score.stray()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (EACH[:, :, :2], r"\[40, 2, 2\], expected \[layer head\] = \[2, 3\] or \[sample layer head\]"),
        (EACH[0, 0], r"\[3\], expected"),
        (EACH[:0], r"\[0, 2, 3\], expected"),
        ("words", "gave str, no array"),
        (None, "expected"),
        (Samples(EACH, null=EACH[0]), r"draws are \[2, 3\], expected \[draw layer head\]"),
    ],
)
def test_another_shape_is_answered_with_the_one_expected(found: Any, says: str) -> None:
    with pytest.raises(BadScores, match=says) as refused:
        made(found)
    assert "docs/suites.md" in str(refused.value)


def test_the_best_head_is_picked_on_one_half_and_estimated_on_the_other() -> None:
    """All heads alike: at face value the best is above a half, on the other samples it is not, as often as not."""
    above = []
    for seed in range(40):
        each = np.random.default_rng(seed).normal(0.5, 0.1, (40, 4, 8))
        found = samples.result("mine", (Measure("share", "S", "x", "y"),), each, (4, 8), seed)
        held = found.scores[0].held_out
        assert held is not None
        assert held.n == 20
        above.append(held.value - 0.5)
    assert abs(np.mean(above)) < 3 * 0.1 / np.sqrt(20 * 40)


class _Model:
    record = fixtures.model_record(*SHAPE)


def scored(function: Any) -> Any:
    suite = Suite("mine", score=function, measures=SHARE)  # type: ignore[arg-type]
    return suite.load_score()(_Model(), suite.make_settings(), Context(seed=7, threads=1))


def test_a_score_function_is_given_what_it_names() -> None:
    def both(model: Any, context: Context, settings: Any) -> Any:  # three in order: settings come second
        assert settings.seed == 7
        return EACH

    def seeded(model: Any, context: Context) -> Any:
        assert context.seed == 7
        return EACH

    for function in (lambda model: EACH, seeded, both, lambda model, settings: EACH):
        assert scored(function).scores[0].n == 40
    own = fixtures.head_scores("mine/share/x", *SHAPE)
    assert scored(lambda model: [own]).scores == (own,)


def test_the_default_figure_says_what_it_was_made_from() -> None:
    suite = Suite("mine", score=lambda model: EACH, measures=(SHARE,))
    draws = RNG.uniform(0, 1, (99, *SHAPE))
    view = View(fixtures.model_record(*SHAPE))
    for found, words in (
        (Samples(EACH, of="short prompts"), ("n = 40 short prompts", "No null:", "mean of x")),
        (Samples(EACH, null=draws), ("n = 40 samples", "99 draws", "beat the null")),
        (EACH[0], ("no samples, no interval", "No null:")),
    ):
        result = samples.result("mine", (SHARE,), found, SHAPE, 0)
        (figure,) = maps.figures(suite)(result, view)
        assert figure.id == "mine-share"
        said = " ".join((figure.caption, *figure.notes))
        assert all(word in said for word in words), said
        assert len(figure.caption.split()) <= 60
        assert ("no null" in str(figure.chart.to_dict())) == (result.scores[0].p is None)
        assert len(figure.data.rows) == 6
        assert clean(figure.caption) == figure.caption


def test_a_suite_without_a_version_is_scored_again_when_its_file_changes() -> None:
    for version, files in ((0, [Path(__file__)]), (3, [])):
        suite = Suite("mine", score=lambda model: EACH, measures=(SHARE,), version=version)
        assert SuiteJob(suite, suite.make_settings()).files() == files


def test_title_and_summary_have_defaults() -> None:
    def score(model: Any) -> Any:
        """How often a head
        does it.

        More words.
        """

    suite = Suite("how_often", score=score, measures=(SHARE,))
    assert (suite.title, suite.summary) == ("How often", "How often a head does it.")
    assert Suite("x", score=lambda model: None, measures=(SHARE,)).summary == SHARE.meaning
    assert suite.measures == (SHARE,)
    assert suite.file == __file__


def test_draws_give_the_p_of_each_head_beside_the_adjusted_one() -> None:
    null = RNG.normal(0.5, 0.02, (199, *SHAPE))
    each = EACH - EACH.mean(0) + 0.5
    each[:, 1, 2] += 0.1
    score = one(Samples(each, null=null))
    assert score.p is not None
    assert score.p_each is not None
    assert (score.p_each <= score.p + 1e-6).all()  # one head's chance is no larger than that of any head
    assert score.p_each[1, 2] == pytest.approx(1 / 200)
    np.testing.assert_allclose(score.p_each[0, 0], (1 + (null[:, 0, 0] >= each[:, 0, 0].mean()).sum()) / 200)
