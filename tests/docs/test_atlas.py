"""docs/atlas.md: the numbers of the runs that this project publishes are those that the code gives."""

from __future__ import annotations

import pytest

from reportgen.atlas.pairs import Atlas, make_atlas
from reportgen.atlas.robustness import findings
from reportgen.runfolder import Run
from tests.docs.reading import ROOT

RUNS = {name: Run.open(ROOT / "site" / "runs" / name) for name in ("mini", "smollm2-135m-instruct")}
PAGE = " ".join((ROOT / "docs" / "atlas.md").read_text("utf-8").split())


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return make_atlas(list(RUNS.values()))


def test_the_partners_of_the_published_runs(atlas: Atlas) -> None:
    of_mini, of_smol = atlas.pairs()
    assert of_mini.partners == of_smol.partners == 0
    assert not any(atlas.alike("mini").values())
    near = f"{of_mini.near} of mini's 48 heads and {of_smol.near} of SmolLM2's 270"
    assert f"no head has a partner: {near} lie within 5 % of their null" in PAGE
    assert f"{of_mini.expected:.1f} and {of_smol.expected:.1f} would by chance" in PAGE


def test_in_how_many_ways_findings_of_the_published_runs_hold() -> None:
    said = []
    for run in RUNS.values():
        found = findings(run)
        counts = [one.counts() for one in found]
        said.append((len(found), *(f"{sum(count[i] for count in counts):,}" for i in range(4))))
    (sets, *mini), (others, *smol) = said
    assert (
        f"all {sets} sets of mini {mini[0]} of {mini[1]} pairs hold, of its other heads {mini[2]} of {mini[3]}" in PAGE
    )
    assert f"SmolLM2's {others} sets {smol[0]} of {smol[1]}, other heads {smol[2]} of {smol[3]}." in PAGE
    movers = next(one for one in findings(RUNS["mini"]) if one.key == "circuits/ioi/name_movers").counts()
    assert "{} of {} pairs of head and template left out (other heads {} of {},".format(*movers) in PAGE
    capital = next(one for one in findings(RUNS["mini"]) if one.key == "relations/country_to_capital/score").counts()
    assert "{} of {} pairs of head and k.".format(*capital[:2]) in PAGE
    lines = next(one for one in findings(RUNS["mini"]) if one.key == "cognitive/inference/line")
    alone = lines.counts("a probe of each head alone")
    said_of = (*lines.counts()[:2], *alone[:2])
    assert "inference hold in {} of {}, but in {} of {} by a probe of each head alone".format(*said_of) in PAGE
