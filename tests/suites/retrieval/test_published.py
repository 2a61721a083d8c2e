"""Heads that a paper lists for this very model: a catalogue of the test's own, from the run to the figure."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen import published, runner
from reportgen.config import Options
from reportgen.figures.figure import Figure
from reportgen.published import Catalogue, Listed
from reportgen.report.build import Marks, all_figures, find_figure
from reportgen.runfolder import Run
from reportgen.scores import Head
from tests.suites.retrieval.toy import COPIER, WRONG, planted
from tests.suites.retrieval.toy import facts as written

MODEL = "made-up/planted"
OTHER = "made-up/other"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("listed")
    planted(folder)
    given = {"needles": str(written(folder, 4)), "permutations": 99, "resamples": 50, "twins": 0, "sequences": 0,
             "random_tokens": False}  # fmt: skip
    return runner.run(
        Options(model=str(folder / "planted"), suites=("retrieval",), settings={"retrieval": given}, device="cpu",
                threads=1, out=str(folder / "runs"), selftest=False)
    )  # fmt: skip


def listed(monkeypatch: pytest.MonkeyPatch, heads: tuple[Head, ...], model: str = MODEL) -> None:
    """A catalogue whose only list, of Wu et al., is of this model."""
    papers = published.load_catalogue().papers
    entry = Listed(
        model, model.rpartition("/")[2], 2, 4, "wu2024retrieval", "Retrieval heads", "Retrieval Heads", "needles",
        heads, (), "a test", True, "written here", "optional", "",
    )  # fmt: skip
    monkeypatch.setattr(published, "load_catalogue", lambda: Catalogue(papers, (entry,)))


def drawn(run: Run, key: str) -> Figure:
    return find_figure(run, "retrieval-published", marks=Marks(published=key))


def test_auroc_is_the_share_of_pairs_whose_listed_head_is_higher(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, (COPIER, WRONG))
    figure = drawn(run, MODEL)
    found = {row[1]: dict(zip((c.name for c in figure.data.columns), row, strict=True)) for row in figure.data.rows}
    assert set(found) == {f"retrieval/{name}/needles" for name in ("copy", "copy_mass", "point", "write")}
    for key, row in found.items():
        values = run.results["retrieval"][key.partition("/")[2]].values
        inside = [float(values[head]) for head in (COPIER, WRONG)]
        outside = [float(values[head]) for head in np.ndindex(2, 4) if head not in (COPIER, WRONG)]
        pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
        assert row["AUROC"] == pytest.approx(np.mean(pairs)), key
        assert (row["set"], row["listed"], row["heads"]) == ("optional/wu2024retrieval/retrieval_heads", 2, 8)
    copy = found["retrieval/copy/needles"]
    assert copy["AUROC"] == pytest.approx(0.75)  # the copier is above all six, the other ties with them
    assert copy["hits"] >= 1
    assert "L1H0:1" in str(copy["ranks"])
    assert figure.head_sets[0].heads == (COPIER, WRONG)


def test_a_list_of_the_copier_alone_is_ranked_without_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, (COPIER,))
    figure = drawn(run, MODEL)
    best = next(row for row in figure.data.rows if row[1] == "retrieval/copy/needles")
    assert best[5] == 1
    assert "AUROC 1" in figure.caption


def test_a_list_of_another_model_is_not_drawn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, (COPIER,), OTHER)
    ids = [figure.id for figure in all_figures(run)]
    assert "retrieval-copy" in ids
    assert "retrieval-published" not in ids
