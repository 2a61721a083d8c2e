"""Pages and files about heads of all runs: classes, maps, schemas, and their size at fifty runs of a thousand heads."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import msgspec
import numpy as np
import pytest

from reportgen.atlas import records
from reportgen.atlas.classes import class_key, classes, of_heads
from reportgen.atlas.head_map import HIGH, WIDE, chosen, limits, path
from reportgen.atlas.pages import HEADS_PAGE, alike_data
from reportgen.atlas.pairs import between
from reportgen.errors import RunError
from reportgen.published import load_catalogue
from reportgen.report.build import build
from reportgen.report.document import Report
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, HeadSet
from reportgen.site import Site, heads_files, open_runs
from tests.atlas import made_up
from tests.fixtures import manifest, model_record, write_run

MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(write_run(tmp_path_factory.mktemp("run") / "made-up", "relations"))


def movers(label: str, *heads: tuple[int, int]) -> HeadSet:
    evidence = {"causal effect": "passed", "replicated (templates)": "failed"}
    return HeadSet(f"x/y/{label}", label, heads, "Made up", "computed: y on this model", "a rule", evidence=evidence)


@pytest.mark.parametrize(
    ("label", "key"),
    [
        ("Name-Mover Heads", "name-mover"), ("Name Mover Heads", "name-mover"), ("Loss", "loss"),
        ("Induction heads (extended)", "induction"), ("(Negative) Name-Mover Heads", "negative-name-mover"),
        ("Copy suppression head (Negative Head)", "copy-suppression"), ("../../etc", "etc"),
    ],
)  # fmt: skip
def test_a_class_is_one_whatever_its_spelling(label: str, key: str) -> None:
    assert class_key(label) == key


def test_names_without_latin_letters_are_classes_of_their_own() -> None:
    assert class_key("归纳头") != class_key("名字") != class_key("Heads")
    assert re.fullmatch(r"[a-z0-9-]+", class_key("归纳头"))


def test_classes_hold_judged_sets_of_runs_beside_the_papers_lists(report: Report) -> None:
    by_head = {"replicated (templates)": {"L0H1": "passed", "L1H2": "failed", "L2H3": "not run"}}
    one = replace(movers("Name-Mover Heads", (0, 1), (1, 2), (2, 3)), by_head=by_head)
    unjudged = replace(one, key="x/z/plain", label="Plain heads", evidence={}, by_head={})
    found = classes([(manifest(), replace(report, overlays=(one, unjudged)))])
    held = {c.key: c for c in found}
    assert "plain" not in held  # no ladder: a set by score alone
    mine = held["name-mover"]
    assert mine.heads == 3
    assert {r.name: (r.outcome, r.count) for r in mine.members[0].rungs}["replicated"] == ("failed", "1 of 2")
    assert {r.name: r.sign for r in mine.members[0].rungs}["causal effect"] == "✓"
    assert any(paper.model == "gpt2-small" and "L9H9" in paper.heads for paper in mine.papers)
    assert found[0].runs == 1  # those that runs have come first
    assert sum(len(c.papers) for c in found) == len(load_catalogue().entries)
    assert of_heads(found, report.slug)["L0H1"] == [found.index(mine)]


def test_a_path_has_a_move_for_every_head_and_a_dot_for_every_value() -> None:
    grid = np.array([[0.0, np.nan, 1.0], [0.5, 0.25, 1.0]])
    moves = re.findall(r"m(-?\d+) ?(-?\d+)(z)?", path(grid, 0.0, 1.0))
    assert len(moves) == 6
    assert [bool(dot) for _, _, dot in moves] == [True, False, True, True, True, True]
    at = np.cumsum([(int(dx), int(dy)) for dx, dy, _ in moves], axis=0)
    assert at[0].tolist() == [round(WIDE * (0.1 + 0.8 / 6) / 2), HIGH]
    assert at[2][1] == 0
    assert (np.diff(at[:, 0]) > 0).all()
    assert at[-1][0] <= WIDE


def test_scales_hold_every_value_and_zero_where_it_is_meant() -> None:
    def score(values: list[float], ends: tuple[float, float]) -> HeadScores:
        return HeadScores("a/b/c", "x", np.array([values], np.float32), 1, no_null="x", range=ends)

    assert limits([score([0.2, 0.9], (0, 1))]) == (0, 1)
    assert limits([score([0.02, 0.125], (0, 1))]) == (0, 0.125)
    assert limits([score([0.25, 0.5], (-np.inf, np.inf))]) == (0, 0.5)
    low, high = limits([score([0.0, 0.0], (0, np.inf))])
    assert low < high


def test_maps_are_of_what_most_runs_hold_the_suites_in_turn() -> None:
    def held(*keys: str) -> dict[str, HeadScores]:
        return dict.fromkeys(keys, made_up.scores(made_up.values(np.random.default_rng(0), 1, 1))[0])

    runs = [held("a/m/x", "a/m/y", "b/m/x"), held("a/m/y", "b/m/x", "c/m/x")]
    assert chosen(runs, 4) == ["a/m/y", "b/m/x", "c/m/x", "a/m/x"]


def test_data_files_agree_with_their_schemas(report: Report) -> None:
    files = records.data_files([(manifest(), report)])
    assert set(files) == {records.HEADS, records.HEADS_SCHEMA, records.RUNS, records.RUNS_SCHEMA}
    for data, schema in ((records.HEADS, records.HEADS_SCHEMA), (records.RUNS, records.RUNS_SCHEMA)):
        told = json.loads(files[schema])
        jsonschema.Draft202012Validator.check_schema(told)
        jsonschema.Draft202012Validator(told).validate(json.loads(files[data]))
        broken = json.loads(files[data])
        broken["format"] = 3
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(told).validate(broken)


def test_the_catalogue_and_the_index_say_what_the_sources_say(report: Report) -> None:
    files = records.data_files([(manifest(), report)])
    heads = msgspec.json.decode(files[records.HEADS], type=records.PublishedHeads)
    assert len(heads.lists) == len(load_catalogue().entries)
    wang = next(one for one in heads.lists if one.name == "Name Mover Heads")
    assert (wang.heads[0], wang.verified, "@" in wang.source) == ("L9H9", True, True)
    run = msgspec.json.decode(files[records.RUNS], type=records.RunIndex).runs[0]
    assert (run.layers, run.heads_per_layer, run.synthetic, run.content_hash) == (3, 4, True, "ab" * 32)
    score = report.scores[0]
    best = run.measures[0].best[0]
    assert best.value == pytest.approx(float(np.nanmax(score.values)))
    assert run.measures[0].beyond_null == int(np.sum(np.asarray(score.p) <= 0.05))


def test_the_page_has_every_head_with_a_link_and_its_classes(report: Report) -> None:
    one = movers("Name-Mover Heads", (0, 1))
    files = heads_files([(manifest(), replace(report, overlays=(one,)))], Site())
    text = files[HEADS_PAGE]
    assert text.count(f"<a href={report.slug}/index.html#L") == 12
    assert re.search(r'#L0H1 data-c="0">H1<', text)
    assert "synthetic" in text
    page = files["classes/name-mover.html"]
    assert f'href="../{report.slug}/index.html#L0H1"' in page
    assert all(words in page for words in ("a rule", "failed", "published.html#model-gpt2"))


def test_hostile_names_are_escaped(report: Report) -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    one = replace(movers(bad, (0, 1)), legend=bad, rule=bad)
    files = heads_files([(manifest(), replace(report, overlays=(one,), name=bad))], Site(bad, bad))
    assert all("<img src=x" not in text for text in files.values())


def test_passports_get_rows_for_heads_with_a_partner_alone() -> None:
    rng = np.random.default_rng(0)
    a = made_up.values(rng, 5, 8)
    atlas = between([made_up.prints("old", a), made_up.prints("new", made_up.half_copied(a, rng))], draws=39)
    told = alike_data(atlas, "old")
    assert told is not None
    assert told["runs"] == 1
    assert told["names"] == {"new": "new"}
    rows = told["heads"]
    assert isinstance(rows, dict)
    assert 15 < len(rows) < 30
    assert all(len(each) <= 3 and each[0][0] == "new" for each in rows.values())
    assert alike_data(atlas, "elsewhere") is None
    assert alike_data(None, "old") is None


def test_fifty_runs_of_a_thousand_heads_stay_within_five_megabytes_a_page(report: Report) -> None:
    """Synthetic scores, marked synthetic: only the size is looked at."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(50):
        slug = f"organisation--synthetic-run-{i:02d}"
        scores = tuple(
            HeadScores(f"a/m{k}/t", f"score {k}", rng.normal(size=(32, 32)).astype(np.float32), 9, no_null="synthetic")
            for k in range(6)
        )
        heads = tuple((int(x), int(y)) for x, y in rng.integers(0, 32, (40, 2)))
        sets = tuple(movers(f"Class {k} heads", *dict.fromkeys(heads[:20])) for k in range(4))
        names = {score.key: score.label for score in scores}
        made = replace(report, slug=slug, name=f"Synthetic run {i}", scores=scores, overlays=sets, names=names)
        found.append((manifest(model_record(32, 32, slug=slug)), made))
    files = {name: text.encode() for name, text in heads_files(found, Site()).items()}
    files |= records.data_files(found)
    assert files[HEADS_PAGE].count(b"<a href=organisation--synthetic-run-") == 50 * 1024
    assert files[HEADS_PAGE].count(b"z") >= 6 * 50 * 1024
    assert MOST_BYTES / 2 < max(map(len, files.values())) < MOST_BYTES
    assert b"synthetic" in files[HEADS_PAGE]


def test_a_run_that_would_take_the_place_of_the_site_s_own_folder_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "x", "relations", record=model_record(slug="runs"))
    with pytest.raises(RunError, match="another --name"):
        open_runs([tmp_path / "x"])
    assert Run.open(tmp_path / "x").model.slug == "runs"
