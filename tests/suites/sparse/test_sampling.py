"""Text that a model writes itself: from its own distribution, repeatable, gone on with, and cut without overlap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.errors import ModelError, RunError
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.sparse.training import texts
from reportgen.suites.sparse.training.networks import own_tensors
from tests.tiny import tiny_folder

LENGTH = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tiny_folder("llama", tmp_path_factory.mktemp("writer"), num_key_value_heads=2)
    return load(folder, device="cpu")


def written(model: Model, folder: Path, seed: int = 0, count: int = 160, **kwargs: object) -> texts.Ids:
    folder.mkdir(exist_ok=True)
    return texts.sampled_documents(
        model, own_tensors(model), count, LENGTH, seed, torch.float32, folder, lambda *_: None, **kwargs
    )  # type: ignore[arg-type]


def test_a_seed_repeats_and_another_differs(model: Model, tmp_path: Path) -> None:
    one, same, other = (written(model, tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert one.shape == (160, LENGTH)
    assert np.array_equal(one, same)
    assert (one != other).mean() > 0.3
    assert one.min() >= 0
    assert one.max() < model.tokens.size  # padding columns are never drawn
    assert len({row.tobytes() for row in one}) == 160
    first, second = one[:128], one[128:]
    assert not np.array_equal(first[:32], second)  # batches have noise of their own


def test_documents_begin_with_the_mark_and_every_other_one_with_an_opening(model: Model, tmp_path: Path) -> None:
    tokens = model.tokens
    assert texts.document_start(tokens) == tokens.encode("<|endoftext|>")[0]
    starts = texts.openings(tokens, 8)
    made = written(model, tmp_path / "made", count=8)
    assert [len(start) for start in starts[::2]] == [1] * 4
    assert all(len(start) > 1 for start in starts[1::2])
    assert "".join(tokens.text(i) for i in starts[1][1:]).strip() in texts.OPENINGS
    for row, start in zip(made, starts, strict=True):
        assert row[: len(start)].tolist() == start


def test_tokens_are_drawn_from_the_model_s_own_distribution(model: Model) -> None:
    network = texts.network(model, own_tensors(model), torch.float32)
    starts = [[2, 5, 9]] * 4000
    made = texts.sample_tokens(network, starts, 4, model.tokens.size, torch.Generator().manual_seed(0))
    logits = model.logits(torch.tensor([[2, 5, 9]]))[0, -1, : model.tokens.size].double()
    wanted = torch.softmax(logits, -1).numpy()
    found = np.bincount(made[:, 3], minlength=model.tokens.size) / len(made)
    error = np.sqrt(wanted * (1 - wanted) / len(made))
    assert (np.abs(found - wanted) < 5 * error + 1e-3).all()
    assert wanted.max() > 0.05  # far from uniform: drawing without the logits would fail


def test_kept_keys_give_the_same_text_as_reading_everything_again(model: Model) -> None:
    network = texts.network(model, own_tensors(model), torch.float32)
    noise = torch.Generator().manual_seed(3)
    made = texts.sample_tokens(network, [[2], [2, 7]], 8, model.tokens.size, noise)
    noise.manual_seed(3)
    ids = torch.tensor([[2, -1], [2, 7]])
    for place in range(1, 8):
        logits = model.logits(ids[:, :place])[:, -1, : model.tokens.size]
        drawn = torch.multinomial(logits.softmax(-1), 1, generator=noise)
        if ids.shape[1] == place:
            ids = torch.cat((ids, drawn), 1)
        else:
            ids[0, place] = drawn[0, 0]  # the second row's opening stands
    assert made.tolist() == ids.tolist()


class Stop(Exception):
    """Cuts sampling off."""


def test_sampling_goes_on_where_it_was(model: Model, tmp_path: Path) -> None:
    whole = written(model, tmp_path / "whole")
    cut = tmp_path / "cut"
    cut.mkdir()

    def stop(done: int, total: int, words: str) -> None:
        if done > LENGTH:
            raise Stop

    with pytest.raises(Stop):
        texts.sampled_documents(model, own_tensors(model), 160, LENGTH, 0, torch.float32, cut, stop)
    kept = cut / "documents-000.npy"
    assert [path.name for path in cut.iterdir()] == [kept.name]
    before = kept.stat().st_mtime_ns
    assert np.array_equal(written(model, cut), whole)
    assert kept.stat().st_mtime_ns == before  # not made again
    kept.write_bytes(b"damaged")
    with pytest.raises(RunError, match="documents-000"):
        written(model, cut)


def test_held_out_documents_are_never_trained_on() -> None:
    documents = np.arange(20 * 10).reshape(20, 10)  # every token occurs once
    text = texts.from_documents(documents, (4, 6), 5, 0, {"seed": 0})
    assert text.training_tokens == 100
    trained = {int(i) for step in range(10) for i in text.batch(step, 4).ravel()}
    steering, reporting = set(text.steering.ravel().tolist()), set(text.reporting.ravel().tolist())
    assert (len(trained), len(steering), len(reporting)) == (100, 40, 60)
    assert trained.isdisjoint(steering | reporting)
    assert steering.isdisjoint(reporting)
    assert text.sampling == {"seed": 0}
    assert np.array_equal(text.batch(7, 4), text.batch(7, 4))


def test_facts_say_how_it_was_made(model: Model) -> None:
    facts = texts.sampling_facts(model.tokens, np.zeros((7, 9), np.int64), 3, "bfloat16")
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["tokens"], facts["documents"], facts["seed"], facts["temperature"]) == (63, 7, 3, 1.0)
    assert facts["start"] == "<|endoftext|>"


def test_a_tokenizer_without_a_document_mark_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.tokens, "document_mark", lambda: None)
    with pytest.raises(ModelError, match="--text"):
        texts.document_start(model.tokens)
