"""The fall of the loss along a text: exact changes against plain runs, and estimates against exact ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.icl.facts import IclFacts
from reportgen.suites.icl.scoring.everywhere import hooks_of, mean_everywhere
from reportgen.suites.icl.scoring.text_loss import fall, measure, reading, score, spans, text_sets
from reportgen.suites.icl.suite import SUITE


@pytest.fixture(scope="module")
def model() -> Model:
    return load("mini", device="cpu")


def along(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The fall, from the logits of all positions."""
    return fall(logits[:, reading(ids.shape[1])], ids)


def test_early_and_late_tokens() -> None:
    assert spans(512) == ((40, 60), (400, 500))
    assert spans(100) == ((10, 15), (80, 100))


def test_the_fall_is_the_late_loss_minus_the_early_one() -> None:
    ids = torch.arange(100)[None] % 7
    logits = torch.randn(1, 100, 7, generator=torch.Generator().manual_seed(0))
    each = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")  # of tokens 1 to 99
    want = each[79:99].mean() - each[9:14].mean()
    torch.testing.assert_close(fall(logits[:, reading(100)], ids)[0], want)


def test_exact_changes_are_those_of_plain_runs(model: Model) -> None:
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(2, model.tokens.size, (2, 48)))
    settings = SUITE.make_settings("full", {"text_verified": 2, "text_sampled": 4})
    found = measure(model, ids, settings, 0, lambda done, total: None)
    kept: dict[int, list[torch.Tensor]] = {}
    for row in ids:
        hooks = {
            ("z", i): (lambda z, i=i: kept.setdefault(i, []).append(z[0, 1:].clone()))
            for i in range(model.record.n_layers)
        }
        model.run(row[None], hooks)
    exact = np.argwhere(np.isfinite(found.exact[0]))
    assert 4 <= len(exact) <= 6
    for layer, head in exact.tolist():
        mean = torch.cat(kept[layer])[:, head].mean(0)

        def write(z: torch.Tensor, head: int = head, mean: torch.Tensor = mean) -> torch.Tensor:
            out = z.clone()
            out[:, 1:, head] = mean
            return out

        for window in range(2):
            row = ids[window : window + 1]
            change = along(model.run(row, {("z", layer): write}), row) - along(model.run(row), row)
            assert found.exact[window, layer, head] == pytest.approx(float(change), abs=2e-4)


def test_the_score_on_the_bundled_text(model: Model) -> None:
    told = IclFacts()
    settings = SUITE.make_settings("full", {"text_windows": 8, "text_verified": 6, "text_sampled": 6, "flips": 200})
    found = score(model, settings, 0, told, lambda done, total: None)
    assert not isinstance(found, str)
    scores, arrays, tables = found
    each = arrays["icl_score"]
    assert not tables  # without sets of heads
    np.testing.assert_allclose(scores.values[scores.exact], each.values.mean(0)[scores.exact], rtol=1e-5)
    assert told.text_windows == 8
    assert told.text_exact == int(scores.exact.sum())
    assert np.isfinite(told.text_fall)
    assert told.text_spans == [[12, 18], [104, 128]]
    assert score(model, SUITE.make_settings("quick"), 0, told, lambda done, total: None) == (
        "switched off (icl.text_windows)"
    )


def test_sets_of_heads_on_text_are_those_of_plain_runs_and_of_one_head_its_own(model: Model) -> None:
    rng, shape = np.random.default_rng(1), (model.record.n_layers, model.record.n_heads)
    ids = torch.from_numpy(rng.integers(2, model.tokens.size, (2, 48)))
    settings = SUITE.make_settings("full", {"text_verified": 1, "text_sampled": 4})
    alone = measure(model, ids, settings, 0, lambda done, total: None)
    layer, head = np.argwhere(np.isfinite(alone.exact[0]))[0].tolist()
    one, several = np.zeros(shape, bool), np.zeros(shape, bool)
    one[layer, head] = several[0, 0] = several[-1, 1] = True
    found = measure(model, ids, settings, 0, lambda done, total: None, {"one": one, "several": several})
    np.testing.assert_allclose(found.sets["one"], alone.exact[:, layer, head], atol=2e-4)
    mean = mean_everywhere(model, [row[None] for row in ids])
    for window, row in enumerate(ids):
        change = along(model.run(row[None], hooks_of(several, mean)), row[None]) - along(
            model.run(row[None]), row[None]
        )
        assert found.sets["several"][window] == pytest.approx(float(change), abs=2e-4)


def test_random_sets_on_text_have_as_many_heads_of_each_layer(model: Model) -> None:
    effect = np.zeros((10, 10), np.float32)
    effect[3, 4], effect[7, 1] = 2.0, 1.0
    settings = SUITE.make_settings("full", {"text_sets": 5})
    sets = text_sets(effect, None, settings, 0)
    assert list(sets) == ["effect", *(f"random {i}" for i in range(5))]
    assert np.argwhere(sets["effect"]).tolist() == [[3, 4], [7, 1]]
    for name, mask in sets.items():
        assert mask.sum(1).tolist() == sets["effect"].sum(1).tolist()
        assert name == "effect" or not (mask & sets["effect"]).any()
    told = IclFacts()
    given = {"text_windows": 4, "text_verified": 2, "text_sampled": 4, "flips": 100, "resamples": 100, "text_sets": 3}
    settings = SUITE.make_settings("full", given)
    shape = (model.record.n_layers, model.record.n_heads)
    small = np.random.default_rng(0).random(shape).astype(np.float32)
    found = score(
        model, settings, 0, told, lambda done, total: None, text_sets(small, small.T.reshape(shape), settings, 0)
    )
    assert not isinstance(found, str)
    (table,) = found[2]
    assert [row[0] for row in table.rows] == ["effect", "induction", "random"]
    assert table.rows[0][2] == pytest.approx(float(found[1]["text_sets"].values[0].mean()))
    assert (told.text_random, told.text_set_windows, len(told.text_sets)) == (3, 4, 3)
