"""Pairs of runs in words and files: the share that finds itself, chance beside it, and what the verb says."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportgen import cli
from reportgen.atlas.fingerprint import Fingerprints
from reportgen.atlas.pairs import COLUMNS, MOST_OTHERS, between, weights_csv, write_atlas
from reportgen.errors import SettingsError
from tests.atlas import made_up
from tests.fixtures import model_record, write_run


@pytest.fixture(scope="module")
def lineage() -> tuple[Fingerprints, ...]:
    """A made-up model, one with half of its heads, and an unrelated one of another grid."""
    rng = np.random.default_rng(0)
    a = made_up.values(rng, 5, 8)
    return (
        made_up.prints("old", a),
        made_up.prints("new", made_up.half_copied(a, rng)),
        made_up.prints("other", made_up.values(rng, 4, 6)),
    )


def test_heads_of_one_lineage_find_themselves_and_chance_stands_beside_it(
    lineage: tuple[Fingerprints, ...],
) -> None:
    atlas = between(lineage, draws=59)
    pairs = {(p.first, p.second): p for p in atlas.pairs()}
    assert len(pairs) == 6
    own = pairs["old", "new"]
    assert own.same is not None
    assert own.low is not None
    assert 18 <= own.same <= 24  # of the 20 that are there
    assert own.low > 1 / 8  # far above chance, even in a given layer
    assert 15 <= own.partners <= 22
    assert "by chance 2.5%, 12.5% if the layer is given" in own.words()
    assert pairs["old", "other"].same is None  # another grid: a name means nothing
    assert pairs["old", "other"].partners <= 2
    assert pairs["old", "other"].expected == pytest.approx(0.05 * 40)


def test_passports_name_up_to_three_heads_nearest_first_or_none(lineage: tuple[Fingerprints, ...]) -> None:
    atlas = between(lineage, draws=59)
    found = atlas.alike("old")
    assert len(found) == 40
    assert 15 < sum(map(bool, found.values())) < 30
    m = atlas.matches["old", "new"]
    for head, each in found.items():
        assert len(each) <= 3
        assert [one.distance for one in each] == sorted(one.distance for one in each)
        for one in each:
            assert one.chance <= 0.05
            assert one.measures == made_up.MEASURES
        layer, place = (int(x) for x in head[1:].split("H"))
        assert bool([one for one in each if one.run == "new"]) == bool(m.found[layer * 8 + place].any())


def test_synthetic_runs_are_looked_for_among_synthetic_ones_and_eight_runs_at_most() -> None:
    rng = np.random.default_rng(1)
    every = [made_up.prints(f"r{i}", made_up.values(rng, 2, 3)) for i in range(MOST_OTHERS + 3)]
    every[0] = replace(every[0], synthetic=False)
    every[1] = replace(every[1], synthetic=False)
    atlas = between(every, draws=3)
    assert [pair for pair in atlas.matches if "r0" in pair] == [("r0", "r1"), ("r1", "r0")]
    assert sum(first == "r2" for first, _ in atlas.matches) == MOST_OTHERS


def test_files_hold_every_match_and_its_null(lineage: tuple[Fingerprints, ...], tmp_path: Path) -> None:
    atlas = between(lineage[:2], draws=19)
    index = write_atlas(atlas, tmp_path / "out")
    rows = list(csv.DictReader((index.parent / "nearest.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 2 * 40 * 3
    told = json.loads(index.read_text())
    named = {(run, head) for run, heads in told["heads"].items() for head in heads}
    assert {(r["run"], r["head"]) for r in rows if r["beyond_nulls"] == "yes"} == named
    weights = list(csv.DictReader(weights_csv(atlas).splitlines()))
    assert sum(float(r["weight"]) for r in weights if r["run"] == "old") == pytest.approx(1, abs=1e-3)
    assert {r["suite"] for r in weights} == {"s0", "s1", "s2", "place"}


def test_the_verb_prints_a_line_per_pair_and_needs_scores_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, slug in enumerate(("one", "two")):
        made_up.stored(tmp_path, slug, made_up.values(np.random.default_rng(seed), 3, 4))
    cli.app(["atlas", str(tmp_path), "--out", str(tmp_path / "out"), "--seed", "3"], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("one in two (24 scores, 199 null searches): ")
    assert "by chance 0.6" in said[0]
    assert said[-1] == str(tmp_path / "out" / "atlas.json")
    write_run(tmp_path / "few", "relations", record=model_record(slug="few"))
    with pytest.raises(SettingsError, match="8 scores in common"):
        cli.app(["atlas", str(tmp_path / "few"), "--out", str(tmp_path / "out")], standalone_mode=False)
