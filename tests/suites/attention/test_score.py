"""Attention scores on planted heads, and against a plain loop over cells on a random model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from reportgen import score_files
from reportgen.errors import NotApplicable, SettingsError
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import SuiteResult
from reportgen.suites.attention.scoring.score import MEASURES, score
from reportgen.suites.attention.suite import SUITE, Settings
from reportgen.suites.base import Context
from tests.suites.circuits.planted import induction_folder
from tests.tiny import tiny_folder

SETTINGS = Settings(lags=(4, 8, 11), sequences=24, permutations=300, resamples=200, copy_tokens=20, batch=7)


@pytest.fixture(scope="module")
def planted_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(induction_folder(tmp_path_factory.mktemp("planted")), device="cpu")


@pytest.fixture(scope="module")
def planted(planted_model: Model) -> SuiteResult:
    return score(planted_model, SETTINGS, Context(seed=0, threads=1))


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    words = [f"word{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    folder = tiny_folder("llama", tmp_path_factory.mktemp("random"), words=words, bos=True, num_key_value_heads=2)
    return load(folder, device="cpu")


def value(result: SuiteResult, measure: str, layer: int, head: int) -> float:
    return float(result[f"{measure}/repeated_tokens"].values[layer, head])


def p(result: SuiteResult, measure: str, layer: int, head: int) -> float:
    grid = result[f"{measure}/repeated_tokens"].p
    assert grid is not None
    return float(grid[layer, head])


def test_planted_heads_are_found_and_no_others(planted: SuiteResult) -> None:
    sets = {s.key.removeprefix("attention/repeated_tokens/"): s for s in planted.head_sets}
    assert {name: s.heads for name, s in sets.items()} == {
        "induction_heads": ((1, 0),),
        "previous_token_heads": ((0, 0),),
        "duplicate_token_heads": ((1, 1),),
    }
    assert value(planted, "induction", 1, 0) == pytest.approx(1.0, abs=0.01)
    assert value(planted, "previous_token", 0, 0) == pytest.approx(1.0, abs=0.01)
    assert value(planted, "duplicate_token", 1, 1) == pytest.approx(1.0, abs=0.01)
    assert sets["induction_heads"].weights == {"L1H0": 1.0}
    assert sets["induction_heads"].evidence["replicated (block lengths)"] == "passed"


def test_prefix_matching_without_copying_is_no_induction_head(planted: SuiteResult) -> None:
    assert value(planted, "induction", 1, 2) == pytest.approx(1.0, abs=0.01)
    assert p(planted, "induction", 1, 2) < 0.01
    assert planted.arrays["copying"].values[1].tolist() == [1.0, 0.0, 0.0]


def test_a_head_of_fixed_distance_fails_the_same_distance_control(planted: SuiteResult) -> None:
    # L0H1 stands 3 back: induction at block length 4, so a third of its sequences look like induction
    assert value(planted, "induction", 0, 1) == pytest.approx(1 / 3, abs=0.01)
    assert value(planted, "induction", 0, 1) > SETTINGS.threshold
    assert p(planted, "induction", 0, 1) > 0.5
    control = planted.arrays["control"]
    at = control.labels["measure"].index("induction")
    assert float(control.values[at, 0, 1]) == pytest.approx(1 / 3, abs=0.01)


def test_uniform_rows_score_the_base_rate_and_full_entropy(planted: SuiteResult) -> None:
    base = planted.facts["base_rates"]
    assert isinstance(base, dict)
    for measure in MEASURES:
        assert value(planted, measure, 0, 2) == pytest.approx(base[measure], abs=1e-5)
        if measure != "entropy":
            assert p(planted, measure, 0, 2) > 0.05
    assert base["entropy"] == 1.0


def test_profiles_peak_where_the_heads_look(planted: SuiteResult) -> None:
    shifts = planted.arrays["shifts"]
    peak = {head: shifts.labels["shift"][int(shifts.values[1, head].argmax())] for head in (0, 1)}
    assert peak == {0: "+1", 1: "+0"}
    offsets = planted.arrays["offsets"].values
    assert int(offsets[0, 0].argmax()) == 1
    assert int(offsets[0, 1].argmax()) == 3


def test_the_head_table_shows_copying_beside_induction(planted: SuiteResult) -> None:
    table = next(t for t in planted.tables if t.key == "attention/heads")
    names = [column.name for column in table.columns]
    row = next(row for row in table.rows if row[0] == "L1H0")
    assert row[names.index("Induction attention (prefix matching)")] == pytest.approx(1.0, abs=0.01)
    assert row[names.index("OV copying share")] == 1.0


def test_every_number_is_the_mean_over_its_cells(random_model: Model) -> None:
    settings = dataclasses.replace(SETTINGS, lags=(5, 9), sequences=6)
    result = score(random_model, settings, Context(seed=3, threads=1))
    patterns = capture(random_model, settings, seed=3)
    lags = result.arrays["lag"].values
    each = result.arrays["per_sequence"].values  # [measure sequence layer head]
    length = patterns.shape[-1]
    for sequence, layer, head in ((0, 0, 0), (1, 2, 3), (5, 1, 2)):
        lag = int(lags[sequence])
        row = patterns[sequence, layer, head].double()
        last = range(length - 5, length)
        wanted = {
            "previous_token": np.mean([row[q, q - 1] for q in range(2, length)]),
            "current_token": np.mean([row[q, q] for q in range(1, length)]),
            "first_token": np.mean([row[q, 0] for q in range(1, length)]),
            "duplicate_token": np.mean([row[q, q - lag] for q in last]),
            "induction": np.mean([row[q, q - lag + 1] for q in last]),
            "entropy": np.mean(
                [-float((row[q, : q + 1] * row[q, : q + 1].log()).sum()) / np.log(q + 1) for q in range(1, length)]
            ),
        }
        got = {name: float(each[i, sequence, layer, head]) for i, name in enumerate(MEASURES)}
        assert got == pytest.approx(wanted, abs=1e-5)
        means = each.mean(1)
        for i, name in enumerate(MEASURES):
            assert value(result, name, layer, head) == pytest.approx(float(means[i, layer, head]), abs=1e-6)


def capture(model: Model, settings: Settings, seed: int) -> torch.Tensor:
    """Every pattern [sequence layer head query key] of a score call, and the sequences' BOS."""
    kept: list[dict[int, torch.Tensor]] = []
    run = model.run

    def spy(ids: torch.Tensor, hooks: object = None) -> torch.Tensor:
        assert (ids[:, 0] == model.tokens.bos_id).all()
        seen: dict[int, torch.Tensor] = {}
        for layer in range(model.record.n_layers):
            run(ids, {("pattern", layer): lambda t, layer=layer: seen.__setitem__(layer, t.clone())})
        kept.append(seen)
        return run(ids, hooks)  # type: ignore[arg-type]

    model.run = spy  # type: ignore[method-assign, assignment]
    try:
        score(model, settings, Context(seed=seed, threads=1))
    finally:
        del model.run
    return torch.cat([torch.stack(list(seen.values()), dim=1) for seen in kept])


def test_output_norm_is_that_of_z_W_O(random_model: Model) -> None:
    settings = dataclasses.replace(SETTINGS, lags=(5, 9), sequences=4, batch=3)
    result = score(random_model, settings, Context(seed=0, threads=1))
    sums = np.zeros((random_model.record.n_layers, random_model.record.n_heads))
    total = 0
    run = random_model.run

    def spy(ids: torch.Tensor, hooks: object = None) -> torch.Tensor:
        nonlocal total
        for layer in range(random_model.record.n_layers):

            def add(z: torch.Tensor, layer: int = layer) -> None:
                out = torch.einsum("bphd,hdm->bphm", z[:, 1:], random_model.W_O(layer))
                sums[layer] += out.norm(dim=-1).sum((0, 1)).numpy()

            run(ids, {("z", layer): add})
        total += ids.shape[0] * (ids.shape[1] - 1)
        return run(ids, hooks)  # type: ignore[arg-type]

    random_model.run = spy  # type: ignore[method-assign, assignment]
    try:
        score(random_model, settings, Context(seed=0, threads=1))
    finally:
        del random_model.run
    np.testing.assert_allclose(result.arrays["output_norm"].values, sums / total, rtol=1e-4)


def test_same_seed_same_result_whatever_the_batch(planted_model: Model, planted: SuiteResult) -> None:
    again = score(planted_model, SETTINGS, Context(seed=0, threads=1))
    assert score_files.encode(again) == score_files.encode(planted)
    batched = score(planted_model, dataclasses.replace(SETTINGS, batch=64), Context(seed=0, threads=1))
    other = score(planted_model, SETTINGS, Context(seed=1, threads=1))
    for measure in MEASURES:
        key = f"{measure}/repeated_tokens"
        np.testing.assert_allclose(batched[key].values, planted[key].values, atol=1e-6)
    key = "entropy/repeated_tokens"
    assert not np.array_equal(other[key].values, planted[key].values)


def test_hooks_are_gone_afterwards(planted_model: Model) -> None:
    ids = torch.tensor([[2, 3, 4, 5]])
    before = planted_model.logits(ids)
    score(planted_model, SETTINGS, Context(seed=0, threads=1))
    assert torch.equal(planted_model.logits(ids), before)


def test_intervals_hold_the_value_and_the_result_can_be_stored(planted: SuiteResult) -> None:
    for s in planted.scores:
        assert s.low is not None
        assert s.high is not None
        assert (s.low <= s.values + 1e-6).all()
        assert (s.values <= s.high + 1e-6).all()
    meaning, arrays = score_files.encode(planted)
    assert score_files.decode(meaning, arrays, "test").facts["lags"] == [4, 8, 11]


def test_a_context_too_short_is_named(tmp_path: object) -> None:
    model = load(tiny_folder("gpt2", f"{tmp_path}", n_positions=16), device="cpu")
    with pytest.raises(NotApplicable, match="context of 16 tokens"):
        score(model, Settings(), Context(seed=0, threads=1))


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("lags", "13", "at least two"),
        ("lags", "13,15", "differ by 3"),
        ("sequences", "3", "two per lag"),
        ("threshold", "1.5", "between 0 and 1"),
        ("batch", "0", "at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, wrong: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        SUITE.make_settings("full", {name: wrong})


def test_settings_have_help_and_measures_match_the_scores(planted: SuiteResult) -> None:
    assert all(f.metadata["help"] for f in dataclasses.fields(Settings))
    assert [s.measure for s in planted.scores] == [m.name for m in SUITE.measures]
    assert SUITE.make_settings("quick").sequences < SUITE.make_settings("full").sequences


def test_facts_and_arrays_are_documented(planted: SuiteResult) -> None:
    from reportgen.suites.attention.scoring import score as module

    assert module.__doc__ is not None
    assert [key for key in [*planted.facts, *planted.arrays] if key not in module.__doc__] == []
