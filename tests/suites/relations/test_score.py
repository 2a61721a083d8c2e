"""The whole suite on weights in memory: planted heads are found with their exact share, the rest is accounted for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from reportgen.errors import NotApplicable
from reportgen.scores import HeadScores, SuiteResult
from reportgen.selftest.planted import PlainWeights, random_weights
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring import score as score_module
from reportgen.suites.relations.scoring.results import reaches, score_hits
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.suite import SUITE, RelationsSettings

STATIC = {"dynamic": False, "multi_token": False, "ablation": False, "salient_tokens": 0}
QUICK = {"permutations": 60, "chunk": 64, "tile_mib": 1, **STATIC}


def run(w: PlainWeights, folder: Path, relations: dict[str, list[tuple[int, int]]], **given: object) -> SuiteResult:
    """Score token pairs, written down as the words 'w0', 'w1', ..."""
    folder.mkdir(exist_ok=True)
    for stem, pairs in relations.items():
        (folder / f"{stem}.json").write_text(json.dumps([[f"w{s}", f"w{t}"] for s, t in pairs]))
    settings = RelationsSettings(relations_dir=str(folder), **{**QUICK, **given})  # type: ignore[arg-type]
    return score(w, settings, Context(seed=0, threads=1))


def planted(vocab: int = 128) -> tuple[PlainWeights, list[tuple[int, int]]]:
    """Two layers of two heads. L1H0 writes the right target of 37 of 60 pairs and of no other source; L0H1 copies."""
    g = torch.Generator().manual_seed(0)
    eye = torch.eye(vocab)
    pairs = [(i, 60 + i) for i in range(60)]
    head = torch.zeros(vocab, vocab)
    for s, t in pairs[:37]:
        head[s, t] = 1.0
    maps = torch.stack([0.1 * torch.randn(vocab, vocab, generator=g), eye, head, -head]).view(2, 2, vocab, vocab)
    W_V = eye.expand(2, 2, vocab, vocab).contiguous()
    return PlainWeights(E=eye, V=W_V, O=maps, U=eye.contiguous(), mlp=eye), pairs


def test_a_planted_head_has_its_exact_share(tmp_path: Path) -> None:
    w, pairs = planted()
    result = run(w, tmp_path, {"plan": pairs}, k=1)
    found = result["score/plan"]
    assert found.n == 60
    assert found.values[1, 0] == np.float32(37 / 60)
    assert found.values[0, 1] == 0
    assert result["suppression/plan"].values[1, 1] == np.float32(37 / 60)
    assert result["strict/plan"].values[1, 0] == np.float32(37 / 60)
    assert result["adjusted/plan"].values[1, 0] == np.float32(37 / 60)
    assert found.p is not None
    assert found.p[1, 0] == np.float32(1 / 61)
    assert found.p[0, 0] > 0.05
    assert found.low is not None
    assert found.low[1, 0] == pytest.approx(binomtest(37, 60).proportion_ci(method="wilson").low, abs=1e-6)
    facts = result.facts["relations"]["plan"]  # type: ignore[index]
    assert facts["heads_at_tau"]["score"] == ["L1H0"]
    assert facts["n_significant"]["score"] == 1
    assert found.held_out is not None
    assert (found.held_out.head, found.held_out.n) == ("L1H0", 30)  # 60 targets, half of them
    assert facts["twin"] is None
    assert [(c.name, c.bound) for c in found.controls] == [("ideal copier", False)]
    assert {s.key for s in result.head_sets} >= {"relations/plan/score", "relations/plan/adjusted"}


def test_a_copying_head_scores_on_copies_and_is_adjusted_away(tmp_path: Path) -> None:
    """Tokens come in look-alike pairs: whoever copies i also promotes its twin i + 64."""
    torch.manual_seed(0)
    half = torch.linalg.qr(torch.randn(64, 64)).Q
    E = torch.cat([half, 0.9 * half])  # [128 64]
    eye = torch.eye(64).expand(1, 1, 64, 64).contiguous()
    w = PlainWeights(E=E, V=eye, O=eye.clone(), U=E.T.contiguous(), mlp=E)
    twins, copies = [(i, i + 64) for i in range(40)], [(i, i) for i in range(40)]
    result = run(w, tmp_path, {"twins": twins, "copying": copies}, k=2, matched=0)
    assert result["score/twins"].values[0, 0] == 1.0
    assert result["strict/twins"].values[0, 0] == 1.0  # first, once the source is out of the way
    assert result["adjusted/twins"].values[0, 0] == 0.0
    assert result["score/copying"].values[0, 0] == 1.0
    facts = result.facts["relations"]
    copier = facts["twins"]["copier"]["embedding"]  # type: ignore[index]
    assert (copier["score"], copier["strict"], copier["adjusted"]) == (1.0, 1.0, 0.0)
    strict = result["strict/copying"]
    assert np.isnan(strict.values).all()
    assert (strict.n, strict.p) == (0, None)
    assert strict.reason(0, 0) == "no pair has a target other than its source"
    assert facts["copying"]["copier"]["embedding"]["adjusted"] is None  # type: ignore[index]


def test_a_relation_s_own_k_and_category_are_used(tmp_path: Path) -> None:
    w, pairs = planted()
    about = '[first]\ncategory = "Knowledge"\nk = 3\n[second]\ncategory = "Linguistic"\ncopying = true\n'
    (tmp_path / "relations.toml").write_text(about)
    result = run(w, tmp_path, {"first": pairs, "second": pairs, "third": pairs}, k=1, k_copying=2)
    facts = result.facts["relations"]
    assert {stem: facts[stem]["k"] for stem in ("first", "second", "third")} == {"first": 3, "second": 2, "third": 1}  # type: ignore[index]
    several = next(table for table in result.tables if table.key == "several_categories")
    assert several.rows[0][:4] == ("L1H0", 3, 3, "Knowledge; Linguistic; Other")
    table = next(table for table in result.tables if table.key == "relations")
    row = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert (row["k"], row["k / V"], row["significant, BH"]) == (3, 3 / 128, None)  # 60 draws can't resolve it


def test_stored_ranks_give_the_scores_back(tmp_path: Path) -> None:
    w = random_weights(1)
    pairs = [(i % 50, (7 * i) % 90) for i in range(80)]
    result = run(w, tmp_path, {"plan": pairs}, k=5)
    for array, measure in (("ranks", "score"), ("ranks_suppression", "suppression")):
        stored = result.arrays[f"{array}/plan"]
        assert stored.dims == ("pair", "layer", "head")
        assert stored.labels["pair"][1] == "w1 -> w7"
        np.testing.assert_array_equal(
            (stored.values <= 10).mean(axis=0).astype(np.float32), result[f"{measure}/plan"].values
        )
    strict = result.arrays["ranks_strict/plan"].values
    apart = np.array([s != t for s, t in pairs])
    assert (strict[~apart] == 0).all()
    np.testing.assert_array_equal((strict[apart] == 2).mean(axis=0).astype(np.float32), result["strict/plan"].values)
    assert result["strict/plan"].n == apart.sum()


def test_layer_0_reads_embeddings_and_the_others_the_first_mlp(tmp_path: Path) -> None:
    w, pairs = planted()
    assert w.mlp is not None
    w.mlp = w.mlp.roll(1, dims=0)  # every layer but the first now reads the vector of the token before
    shifted = [(s + 1, t) for s, t in pairs]
    result = run(w, tmp_path / "a", {"plan": shifted}, k=1)
    assert result["score/plan"].values[1, 0] == np.float32(37 / 60)
    assert result.facts["first_mlp"] is True
    off = run(w, tmp_path / "b", {"plan": pairs}, k=1, first_mlp=False)
    assert off["score/plan"].values[1, 0] == np.float32(37 / 60)
    assert "first_mlp is off" in off.notes[0]
    w.mlp = None
    without = run(w, tmp_path / "c", {"plan": pairs}, k=1)
    assert without.facts["first_mlp"] is False
    assert "no norm feeds an MLP" in without.notes[0]
    assert without.facts["relations"]["plan"]["copier"]["first_mlp"] is None  # type: ignore[index]


def test_dead_and_broken_heads_have_a_reason_and_no_p(tmp_path: Path) -> None:
    w = random_weights(2)
    w.O[0, 1] = 0.0
    w.O[1, 2, 0, 0] = torch.nan
    w.E[7] = torch.inf
    pairs = [(i, (3 * i) % 90) for i in range(8, 60)]
    result = run(w, tmp_path, {"fine": pairs, "touched": [(7, 9), *pairs]}, k=5)
    for measure in ("score", "suppression", "strict", "adjusted"):
        fine = result[f"{measure}/fine"]
        assert fine.reason(0, 1) == "inactive: ||W_V W_O|| is below 1e-6 of the median head's"
        assert fine.reason(1, 2) == "weights are not finite"
        assert np.isfinite(fine.values).sum() == 4
        assert fine.p is not None
        assert np.isfinite(fine.p).sum() == 4
    touched = result["score/touched"]
    assert touched.reason(0, 0) == "logits are not finite on 1 of 53 pairs"
    assert np.isfinite(touched.values[1, :2]).all()
    assert result.facts["n_tested"] == 4
    assert result.facts["inactive"] == ["L0H1", "L1H2"]
    assert (result.arrays["ranks/fine"].values[:, 0, 1] == 0).all()


def test_grouped_queries_score_as_the_expanded_model(tmp_path: Path) -> None:
    w = random_weights(3, heads=6, kv=2)
    full = replace(w, V=w.V.repeat_interleave(3, dim=1))
    pairs = [(i, (3 * i) % 90) for i in range(40)]
    grouped, expanded = (run(m, tmp_path, {"plan": pairs}, k=20) for m in (w, full))
    for measure in ("score", "suppression", "strict", "adjusted"):
        np.testing.assert_array_equal(grouped[f"{measure}/plan"].values, expanded[f"{measure}/plan"].values)
        np.testing.assert_array_equal(grouped[f"{measure}/plan"].p, expanded[f"{measure}/plan"].p)
    assert "groups of 3 share W_V" in grouped.notes[-1]


def test_folding_scales_that_are_all_alike_changes_nothing(tmp_path: Path) -> None:
    w = random_weights(4)
    pairs = [(i, (3 * i) % 90) for i in range(40)]
    assert run(w, tmp_path, {"plan": pairs}).get("folded", "plan") is None
    w.ln1, w.final = torch.full((2, 16), 2.0), torch.full((16,), 0.5)
    alike = run(w, tmp_path, {"plan": pairs})
    np.testing.assert_array_equal(alike["folded/plan"].values, alike["score/plan"].values)
    assert alike.facts["spearman_folded"] == pytest.approx(1.0)
    assert alike["folded/plan"].no_null
    w.final = torch.rand(16, generator=torch.Generator().manual_seed(0)) + 0.1
    other = run(w, tmp_path, {"plan": pairs}, k=40)
    assert (other["folded/plan"].values != other["score/plan"].values).any()


def test_relations_with_too_few_pairs_are_named_with_their_count(tmp_path: Path) -> None:
    w = random_weights(5, vocab=100)
    pairs = [(i, i + 1) for i in range(30)]  # as many as it takes
    result = run(w, tmp_path, {"long": pairs, "short": [(i, i + 1) for i in range(80, 110)]})
    assert result.tasks("score") == ["long"]
    missing = {m.what: m.why for m in result.not_computed}
    assert missing["relation short"].startswith("19 of 30 pairs")
    coverage = next(t for t in result.tables if t.key == "coverage")
    assert [row[2:7] for row in coverage.rows] == [(30, 30, 30, 30, True), (30, 19, 19, 19, False)]
    with pytest.raises(NotApplicable, match="No relation keeps 70 pairs"):
        run(w, tmp_path, {}, min_pairs=70)


def test_what_is_switched_off_is_said(tmp_path: Path) -> None:
    w = random_weights(6)
    pairs = [(i, (3 * i) % 90) for i in range(40)]
    result = run(w, tmp_path, {"plan": pairs}, permutations=0, matched=0, folded=False, twins=0)
    assert result["score/plan"].p is None
    assert result["score/plan"].no_null == "no permutations were asked for"
    assert {m.what for m in result.not_computed} == {
        "measure folded",
        "control: randomly initialised twin",
        "control: OV maps with matched spectra",
        "permuted-target null",
    }
    facts = result.facts["relations"]["plan"]  # type: ignore[index]
    assert facts["matched"] is None
    assert facts["n_significant"]["score"] is None


def test_the_twin_is_scored_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w, pairs = planted()
    seeds: list[int] = []

    def twins(weights: object, of: list[int]) -> list[PlainWeights]:
        seeds.extend(of)
        return [w] * len(of)

    monkeypatch.setattr(score_module, "has_twin", lambda weights: True)
    monkeypatch.setattr(score_module, "random_twins", twins)
    progress: list[tuple[int, int]] = []
    folder = tmp_path / "lists"
    run(w, folder, {"plan": pairs}, k=1)
    seeds.clear()
    settings = RelationsSettings(relations_dir=str(folder), k=1, twins=2, matched=1, permutations=0, salient_tokens=0)
    context = Context(seed=5, threads=1, progress=lambda done, total, words: progress.append((done, total)))
    result = score(w, settings, context)
    assert seeds == result.facts["twin_seeds"] == [6, 7]
    twin = result.facts["relations"]["plan"]["twin"]  # type: ignore[index]
    measures = twin.pop("measures")
    assert twin == {"max": pytest.approx(37 / 60), "n_at_tau": 2, "n_heads": 8, "draws": 2}
    assert measures["adjusted"] == measures["suppression"] == {"max": pytest.approx(37 / 60), "n_at_tau": 2}
    assert progress[-1] == (8, 8)
    assert [done for done, _ in progress] == list(range(1, 9))


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    w = random_weights(7)
    pairs = [(i, (3 * i) % 90) for i in range(40)]
    first, again = (run(w, tmp_path, {"plan": pairs}, k=20) for _ in range(2))
    assert json.dumps(first.facts, sort_keys=True) == json.dumps(again.facts, sort_keys=True)
    np.testing.assert_array_equal(first["adjusted/plan"].p, again["adjusted/plan"].p)


def test_benjamini_hochberg_is_left_out_where_the_draws_cannot_resolve_it(tmp_path: Path) -> None:
    w, pairs = planted()
    few = run(w, tmp_path, {"plan": pairs}, k=1, permutations=60)  # 4 heads at 0.05 take 79
    assert few.facts["relations"]["plan"]["n_bh"]["score"] is None  # type: ignore[index]
    assert "79 are needed" in few.notes[0]
    enough = run(w, tmp_path, {"plan": pairs}, k=1, permutations=79)
    assert enough.facts["relations"]["plan"]["n_bh"]["score"] == 1  # type: ignore[index]
    assert enough.notes == ()


def test_a_relation_of_too_many_cells_has_no_null_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "MAX_CELLS", 1000)
    w = random_weights(8)
    lists = {"large": [(i, 3 * i) for i in range(40)], "small": [(i, i % 5) for i in range(40)]}
    result = run(w, tmp_path, lists)
    assert result["score/large"].p is None
    assert "cells" in result["score/large"].no_null
    assert result["score/small"].p is not None
    assert [m.what for m in result.not_computed if "null" in m.what] == ["permuted-target null of large"]


def test_every_fact_is_documented(tmp_path: Path) -> None:
    """A caption reads the facts by the names in the module's docstring."""
    assert score_module.__doc__ is not None
    w, pairs = planted()
    result = run(w, tmp_path, {"plan": pairs}, k=1)
    relation = result.facts["relations"]["plan"]  # type: ignore[index]
    for name in [*result.facts, *relation, *relation["matched"]]:
        assert name in score_module.__doc__
    assert {measure.name for measure in SUITE.measures} >= {s.measure for s in result.scores}


def test_a_share_reaches_tau_in_whole_numbers() -> None:
    hits = np.array([[5.0, 6.0, np.nan]])
    assert reaches(hits, 40, 0.15).tolist() == [[False, True, False]]
    assert reaches(np.array([[3.0]]), 20, 0.15).tolist() == [[True]]
    grid = (np.arange(41, dtype=np.float64) / 40).astype(np.float32)[None, :]
    scores = HeadScores(key="a/b/c", label="", values=grid, n=40, no_null="none")
    assert score_hits(scores)[0].tolist() == list(range(41))
