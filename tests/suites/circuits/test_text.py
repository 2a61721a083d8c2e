"""Losses on text against brute force, and where the text comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.errors import DataError
from reportgen.mini.vocab import build_tokenizer
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.models.tokens import Tokens
from reportgen.scores import HeadSet
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring import natural_text as text
from reportgen.suites.circuits.scoring import passes
from reportgen.suites.circuits.scoring.natural_text import TASK, natural_text, read, with_rung
from reportgen.suites.circuits.scoring.task_runs import TaskOutcome
from reportgen.suites.circuits.settings import QUICK, Settings
from reportgen.suites.prose import PASSAGES
from tests.tiny import tiny_folder, word_tokenizer

IDS = torch.randint(2, 90, (5, 9), generator=torch.Generator().manual_seed(0))
EVERY = np.ones((3, 4), bool)


@pytest.fixture(scope="module", params=["gpt2", "gemma2", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def exact(model: Model, held: bool, heads: np.ndarray = EVERY) -> np.ndarray:
    parts = text.text_parts(model, IDS)
    mean = text.means(parts)
    return text.exact(model, parts, mean, heads, held=held, progress=lambda *_: None, words="")


def brute_force(model: Model, held: bool) -> np.ndarray:
    """Change of the loss [window layer head], head by head over the whole text."""
    clean: dict[int, torch.Tensor] = {}
    logits = model.run(IDS, {("z", i): (lambda z, at=i: clean.__setitem__(at, z.clone())) for i in range(3)})
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), IDS[:, 1:], reduction="none").mean(1)
    out = np.empty((5, 3, 4))
    for layer in range(3):
        for head in range(4):
            z = clean[layer].clone()
            z[:, 1:, head] = clean[layer][:, 1:, head].mean((0, 1))
            hooks = {("z", i): (lambda _, given=clean[i]: given) for i in range(3) if held and i != layer}
            again = model.run(IDS, {**hooks, ("z", layer): lambda _, given=z: given})
            pairs = again[:, :-1].transpose(1, 2), IDS[:, 1:]
            out[:, layer, head] = (torch.nn.functional.cross_entropy(*pairs, reduction="none").mean(1) - loss).numpy()
    return out


@pytest.mark.parametrize("held", [False, True])
def test_losses_are_those_of_mean_ablation(model: Model, held: bool) -> None:
    wanted = brute_force(model, held)
    np.testing.assert_allclose(exact(model, held), wanted, atol=1e-4)
    assert np.abs(wanted).max() > 1e-2


def test_the_last_layers_direct_effect_is_its_total_effect(model: Model) -> None:
    np.testing.assert_allclose(exact(model, True)[:, -1], exact(model, False)[:, -1], atol=1e-5)
    assert not np.allclose(exact(model, True)[:, 0], exact(model, False)[:, 0], atol=1e-3)


def test_batches_and_chosen_heads_change_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, some = exact(model, False), np.zeros((3, 4), bool)
    some[0, 2] = some[2, 1] = True
    monkeypatch.setattr(passes, "ROWS", 20)
    found = exact(model, False, some)
    np.testing.assert_allclose(found[:, some], whole[:, some], atol=1e-5)
    assert np.isnan(found[:, ~some]).all()


def test_estimates_are_derivatives_of_the_loss(model: Model) -> None:
    parts = text.text_parts(model, IDS)
    mean, step = text.means(parts), 0.01
    total, direct = text.estimates(model, parts, mean, [0.0])
    (part,) = parts
    for layer, head in ((0, 1), (2, 3)):
        toward = mean[layer][head] - part.z[layer][:, 1:, head]
        z = part.z[layer].clone()
        z[:, 1:, head] += step * toward
        change = text.nats(model.run(IDS, {("z", layer): lambda _, given=z: given}), IDS) - part.loss
        np.testing.assert_allclose(change / step, total[:, layer, head], atol=0.05 * np.abs(total).max())
    np.testing.assert_allclose(direct[:, -1], total[:, -1], atol=1e-4)
    there = text.estimates(model, parts, mean)
    apart = [text.estimates(model, parts, mean, [share]) for share in text.SHARES]
    for i in range(2):
        np.testing.assert_allclose(there[i], (apart[0][i] + apart[1][i]) / 2, atol=1e-5)


def test_the_bundled_models_text_is_its_held_out_corpus() -> None:
    found = read(Tokens(build_tokenizer()), Settings(text_windows=8, text_tokens=32), 0, 128)
    assert not isinstance(found, str)
    assert found.ids.shape == (8, 32)
    assert "held-out" in found.source
    same = read(Tokens(build_tokenizer()), Settings(text_windows=8, text_tokens=32), 0, 128)
    assert not isinstance(same, str)
    assert torch.equal(same.ids, found.ids)


def test_another_model_reads_the_passage_or_the_users_file(tmp_path: Path) -> None:
    passage = PASSAGES.read_text("utf-8")
    words = sorted({word.strip('.,;:?!"()') for word in passage.replace("-", " ").split()})
    tokens = Tokens(word_tokenizer([*words, "\n"], bos=True))
    found = read(tokens, Settings(text_windows=20, text_tokens=16), 0, 64)
    assert not isinstance(found, str)
    assert found.ids.shape == (20, 16)
    assert (found.ids[:, 0] == tokens.bos_id).all()
    assert "public domain" in found.source
    path = tmp_path / "mine.txt"
    path.write_text("She was very tired " * 60, "utf-8")
    own = read(tokens, Settings(text_file=str(path), text_tokens=16), 0, 64)
    assert not isinstance(own, str)
    assert own.source == "mine.txt"
    assert read(tokens, Settings(text_file=str(path), text_tokens=64), 0, 64) == (
        "the text gives 3 windows of 64 tokens, at least 8 are needed"
    )
    with pytest.raises(DataError, match="plain text file"):
        read(tokens, Settings(text_file=str(tmp_path / "none.txt")), 0, 64)


def test_text_in_a_foreign_language_is_not_measured(tmp_path: Path) -> None:
    model = load(tiny_folder("gpt2", tmp_path, words=["tide", "moon"]), device="cpu")
    found = natural_text(model, Settings(), Context(seed=0, threads=1))
    assert "of the text's tokens are unknown" in found.not_computed[0].why
    off = natural_text(model, Settings(text=False), Context(seed=0, threads=1))
    assert off.not_computed[0].why == "switched off (circuits.text)"


def test_the_part_has_scores_tables_and_facts(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("the king and the queen went to the store in Paris " * 30, "utf-8")
    settings = Settings(text_file=str(path), text_tokens=16, flips=200, resamples=50, text_verified=2, sampled=3)
    found = natural_text(model, settings, Context(seed=0, threads=1))
    keys = [score.key for score in found.scores]
    names = ("text_loss", "text_loss_direct", "text_loss_attribution", "text_loss_direct_attribution")
    assert keys == [f"circuits/{name}/{TASK}" for name in names]
    total = found.scores[0]
    known = total.exact
    assert found.natural_text is not None
    assert found.natural_text.n_exact == int(known.sum()) < 12
    assert total.estimated is not None
    assert total.p is not None
    np.testing.assert_array_equal(total.values[~known], found.scores[2].values[~known])
    assert not np.isclose(total.values[known], found.scores[2].values[known]).all()
    assert np.isnan(total.p[~known]).all()
    stored = found.arrays[f"{TASK}/text_loss"].values
    assert np.isnan(stored[:, ~known]).all()
    assert found.scores[2].no_null
    assert len(found.tables[0].rows) == int(known.sum())


def test_a_small_model_has_all_heads_ablated_exactly(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("the king and the queen went to the store in Paris " * 30, "utf-8")
    heads = model.record.n_layers * model.record.n_heads
    for first, every in ((heads // 4, True), (heads // 4 - 1, False)):
        settings = Settings(text_file=str(path), text_tokens=16, flips=50, resamples=50, text_verified=first, sampled=0)
        found = natural_text(model, settings, Context(seed=0, threads=1)).natural_text
        assert found is not None
        assert (found.n_exact == heads) is every
    assert Settings(**QUICK).exact_on_text == (64, 16)
    assert Settings().exact_on_text == (256, 16)


def test_a_set_passes_on_natural_text_only_with_all_its_heads() -> None:
    found = TaskOutcome(effects={"p": np.array([[0.01, 0.5, np.nan]]), "value": np.array([[0.1, 0.2, np.nan]])})
    sets = [
        HeadSet(f"circuits/x/{i}", "x", heads, "l", "s", "r", evidence={"natural text": "not run"})
        for i, heads in enumerate([((0, 0),), ((0, 0), (0, 1)), ((0, 0), (0, 2))])
    ]
    assert [s.evidence["natural text"] for s in with_rung(sets, found, 0.05)] == ["passed", "failed", "not run"]
    assert with_rung(sets, TaskOutcome(), 0.05) == sets
