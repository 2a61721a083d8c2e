"""In how many ways a finding holds: from stored evidence, in other runs of the model, and what the figure says."""

from __future__ import annotations

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportgen import cli, suites
from reportgen.atlas.classes import classes
from reportgen.atlas.drawing import robustness_figure, write_figure
from reportgen.atlas.robustness import COLUMNS, SEVERAL, findings, robustness_csv
from reportgen.figures.robustness import HoldLine, holds
from reportgen.figures.theme import Style
from reportgen.manifest import SuiteRecord
from reportgen.nulls import above_line
from reportgen.report.build import build
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites.variants import Variant, over_line
from tests.fixtures import manifest, model_record, write_run

STORED = Path(__file__).parents[2] / "site" / "runs" / "mini"
RUN = Run.open(STORED)
DECLARING = [suite for suite in suites.BUILT_IN if suite.variants and suite.name in RUN.done()]


def ways_of(name: str) -> tuple[Variant, ...]:
    """What a suite computes in other ways from the stored run."""
    return suites.find(name).load_variants()(RUN.result(name), RUN.manifest.suites[name].settings)


@pytest.mark.parametrize("suite", DECLARING, ids=[suite.name for suite in DECLARING])
def test_variants_are_of_the_run_s_scores_and_near_them(suite: suites.Suite) -> None:
    found = ways_of(suite.name)
    keys = {score.key: score for one in RUN.results.values() for score in one.scores}
    assert {one.score for one in found} <= set(keys)
    assert len({(one.score, one.setting, one.value) for one in found}) == len(found)
    for one in found:
        score = keys[one.score]
        assert one.above.shape == score.values.shape
        assert np.isfinite(one.above).sum() in (np.isfinite(score.values).sum(), 0)


def test_a_score_s_own_setting_is_what_the_run_stores() -> None:
    """The rule that variants apply gives the set that the run found, where nothing is changed."""
    result = RUN.result("relations")
    for heads in result.head_sets:
        if not heads.score.startswith("relations/score/"):
            continue
        task = heads.score.rsplit("/", 1)[1]
        k = result.facts["relations"][task]["k"]  # type: ignore[index,call-overload]
        ranks = result.arrays[f"ranks/{task}"].values
        share = (ranks <= 2 * k).mean(0)
        assert set(heads.heads) <= {(int(x), int(y)) for x, y in np.argwhere(share >= 0.15 - 1e-6)}


def test_a_larger_k_never_loses_a_head() -> None:
    found = [one for one in ways_of("relations") if one.setting == "k"]
    by_score: dict[str, list[Variant]] = {}
    for one in found:
        by_score.setdefault(one.score, []).append(one)
    for each in by_score.values():
        each.sort(key=lambda one: int(one.value))
        for small, large in itertools.pairwise(each):
            assert (np.nan_to_num(large.above) >= np.nan_to_num(small.above)).all()


def test_leaving_a_template_out_is_the_ratio_of_means_of_the_rest() -> None:
    result = RUN.result("circuits")
    found = {one.value: one for one in ways_of("circuits") if one.score.endswith("/ioi")}
    arrays = {name: result.arrays[f"ioi/{name}"].values for name in ("direct", "m_clean", "m_corrupted", "template")}
    assert len(found) == len(np.unique(arrays["template"])) == 16
    kept = arrays["template"] != 3
    ratio = arrays["direct"][kept].mean(0) / (arrays["m_clean"] - arrays["m_corrupted"])[kept].mean()
    want = ratio * np.sign(result["direct/ioi"].values) >= 0.02
    np.testing.assert_array_equal(found["template 3"].above == 1, want)


def test_findings_count_their_heads_and_all_others() -> None:
    found = {one.key: one for one in findings(RUN)}
    movers = found["circuits/ioi/name_movers"]
    assert movers.heads == ("L4H1", "L4H5", "L5H0")
    held, asked, others, of = movers.counts()
    assert asked == 3 * 16
    assert of == 45 * 16
    assert held / asked > others / of
    assert movers.words().startswith("template left out: 48 of 48; other heads: ")
    assert len(found) > 30


def test_settings_are_counted_in_which_every_head_holds() -> None:
    found = {one.key: one for one in findings(RUN)}
    one = found["circuits/ioi/direct"]
    assert one.whole() == (sum(way.held == way.heads for way in one.ways), 16)
    assert one.whole()[0] < 16
    assert found["circuits/ioi/name_movers"].whole("template left out") == (16, 16)


def test_text_says_whether_heads_of_another_suite_hold() -> None:
    found = {one.key: one for one in findings(RUN)}["attention/repeated_tokens/induction_heads"]
    assert found.settings == ("block length left out", "natural text")
    assert found.suite == "attention"
    assert found.counts("natural text")[:2] == (9, 9)


def test_a_suite_whose_own_function_fails_does_not_lose_the_others() -> None:
    broken = replace(suites.find("circuits"), variants=_fails)
    known = {**suites.drawable(RUN.done()), "circuits": broken}
    told: list[tuple[str, str]] = []
    found = findings(RUN, known=known, tell=lambda name, why: told.append((name, why)))
    assert {one.suite for one in found} == {one.suite for one in findings(RUN)} - {"circuits"}
    assert told == [("circuits", "RuntimeError: broken")]
    wrong = replace(broken, variants=_of_another_shape)
    told.clear()
    findings(RUN, known={**known, "circuits": wrong}, tell=lambda name, why: told.append((name, why)))
    assert "[1, 2] is not [6, 8]" in told[0][1]


def _fails(result: SuiteResult) -> tuple[Variant, ...]:
    raise RuntimeError("broken")


def _of_another_shape(result: SuiteResult) -> tuple[Variant, ...]:
    return (Variant("circuits/direct/ioi", "k", "2", np.zeros((1, 2), np.float32)),)


def scored(folder: Path, slug: str, p: float, **record: object) -> Run:
    """A run of one score, whose head L1H2 has this p."""
    grid = np.ones((2, 3), np.float32)
    grid[1, 2] = p
    score = HeadScores("mine/share/words", "Share", np.full((2, 3), 0.5, np.float32), 9, p=grid, threshold=0.4)
    heads = HeadSet("mine/words/top", "Top Heads", ((1, 2),), "Mine", "computed: words on this model", "p <= .05",
                    score=score.key)  # fmt: skip
    said: dict[str, object] = {"settings": {"k": 1}, "seed": 0, "dtype": "float32", "device": "cpu", **record}
    with RunWriter(folder / slug, manifest(model_record(2, 3, slug=slug))) as writer:
        writer.store("mine", SuiteResult("mine", (score,), (heads,)), SuiteRecord("done", 1, given={}, **said))  # type: ignore[arg-type]
        return writer.run


def test_other_runs_of_the_model_are_ways_named_by_what_differs(tmp_path: Path) -> None:
    one = scored(tmp_path, "one", 0.01)
    others = [
        scored(tmp_path, "seed", 0.01, seed=1, threads=5),
        scored(tmp_path, "half", 0.9, dtype="bfloat16"),
        scored(tmp_path, "k", 0.01, settings={"k": 5}),
        scored(tmp_path, "both", 0.01, settings={"k": 5}, seed=2),
        scored(tmp_path, "again", 0.01),
        scored(tmp_path, "threads", 0.01, threads=5),
    ]
    (found,) = findings(one, [one, *others, RUN])  # RUN is another model
    assert [(way.setting, way.held) for way in found.ways] == [
        ("seed", 1), ("dtype", 0), ("k", 1), (SEVERAL, 1), ("scored again", 1), ("threads", 1),
    ]  # fmt: skip
    assert found.ways[1].value == "bfloat16 (half)"
    assert found.counts() == (5, 6, 0, 30)
    assert findings(one) == []


def test_above_the_line_is_beyond_the_null_and_as_large_as_the_threshold() -> None:
    values = np.array([[0.5, 0.5, 0.1, np.nan]], np.float32)
    p = np.array([[0.01, 0.9, 0.01, np.nan]], np.float32)
    score = HeadScores("a/b/c", "x", values, 9, p=p, threshold=0.4, reasons={"*": "x"})
    np.testing.assert_array_equal(above_line(score), np.array([[1, 0, 0, np.nan]], np.float32))
    assert above_line(replace(score, p=None, no_null="none")) is None


def test_two_sided_variants_keep_their_sign() -> None:
    like = np.array([[0.5, -0.5, 0.5, np.nan]], np.float32)
    found = over_line(np.array([[0.3, -0.3, -0.3, 0.3]]), 0.2, like, two_sided=True)
    np.testing.assert_array_equal(found, np.array([[1, 1, 0, np.nan]], np.float32))
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        Variant("a/b/c", "k", "2", np.full((1, 1), 0.5, np.float32))


def test_the_figure_has_a_short_caption_and_all_its_numbers(tmp_path: Path) -> None:
    found = findings(RUN)
    figure = robustness_figure(RUN, found)
    assert len(figure.caption.split()) <= 60
    assert len(figure.data.rows) == sum(len(one.settings) for one in found)
    files = write_figure(figure, tmp_path)
    drawn = files[0].read_text("utf-8")
    assert "Name-Mover Heads" in drawn
    assert files[1].read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match="no set"):
        holds([], Style())
    made_up = holds([HoldLine("g", "l", {"k": 0.5}, 0.1, "1 of 2")], Style(), synthetic=True).to_dict()
    assert "SYNTHETIC" in str(made_up)


def test_tables_have_a_row_per_finding_and_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(RUN)
    rows = list(csv.DictReader(robustness_csv(found).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(len(one.ways) for one in found)
    cli.app(["atlas", str(STORED), "--out", str(tmp_path)], standalone_mode=False)  # one run: no pairs
    said = capsys.readouterr().out
    assert f"{len(found)} sets of heads of mini under " in said
    assert (tmp_path / "robustness-mini.svg").is_file()


def test_class_pages_say_in_how_many_ways_a_set_holds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", "relations")
    report = build(run)
    heads = HeadSet("a/b/c", "Mover Heads", ((0, 1),), "Mine", "computed: b on this model", "x", evidence={"causal effect": "passed"})  # fmt: skip  # noqa: E501
    finding = replace(findings(RUN)[0], key="a/b/c")
    found = classes([(run.manifest, replace(report, overlays=(heads,)))], {(report.slug, "a/b/c"): finding})
    member = next(one for one in found if one.key == "mover").members[0]
    assert member.holds == "{} of {}".format(*finding.counts()[:2])
    assert member.why == finding.words()
