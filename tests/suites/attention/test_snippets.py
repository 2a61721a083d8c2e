"""Where heads attend in text, on heads with planted patterns."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.attention.scoring.patterns import KEYS, QUANTILES, snippets
from reportgen.suites.prose import Prose
from tests.suites.circuits.planted import induction_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(induction_folder(tmp_path_factory.mktemp("planted")), device="cpu")


def prose(model: Model, windows: int = 6, length: int = 12) -> Prose:
    rng = np.random.default_rng(0)
    return Prose(rng.integers(0, model.record.d_vocab, (windows, length)), "random tokens")


def test_a_previous_token_head_points_one_back_wherever_it_is_sharp(model: Model) -> None:
    found = snippets(model, prose(model), 4)
    shape = (model.record.n_layers, model.record.n_heads, len(QUANTILES))
    assert found["snippet_query"].values.shape == shape
    assert found["snippet_key"].values.shape == (*shape, KEYS)
    query, key = found["snippet_query"].values[0, 0], found["snippet_key"].values[0, 0]  # L0H0 is planted so
    weight = found["snippet_weight"].values[0, 0]
    assert weight[0, 0] == pytest.approx(1.0, abs=0.02)
    assert key[0, 0] == query[0] % 12 - 1
    assert (key[0, 1:] == -1).all()
    assert np.isnan(weight[0, 1:]).all()


def test_places_stand_at_their_quantiles_and_do_not_depend_on_the_batch(model: Model) -> None:
    text = prose(model)
    found, again = snippets(model, text, 6), snippets(model, text, 1)
    assert found["snippet_query"].labels["place"][:2] == ("100%", "90%")
    peaks = np.nan_to_num(found["snippet_weight"].values[..., 0])
    assert (np.diff(peaks, axis=-1) <= 1e-6).all()
    np.testing.assert_allclose(
        np.nan_to_num(found["snippet_weight"].values[..., 0]),
        np.nan_to_num(again["snippet_weight"].values[..., 0]),
        atol=1e-5,
    )
    ids = found["snippet_text"].values
    assert ids.shape == text.ids.shape
    words = found["snippet_words"].labels["word"]
    assert words[int(ids[2, 3])] == model.tokens.text(int(text.ids[2, 3]))
    assert (found["snippet_query"].values % 12 >= 1).all()
