"""`sparsify --samples` end to end on a small Llama: record, held-out text, interruption, and what the suite reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.errors import ModelError, SettingsError
from reportgen.models.load import load
from reportgen.suites.sparse.facts import Record, read_record
from reportgen.suites.sparse.scoring import checkpoint, losses
from reportgen.suites.sparse.scoring.gates import every_edge
from reportgen.suites.sparse.suite import SUITE, Settings
from reportgen.suites.sparse.training.networks import own_tensors
from reportgen.suites.sparse.training.sparsify import SparsifyOptions, sparsify
from tests.tiny import tiny_folder

LENGTH = 16


@dataclasses.dataclass(frozen=True)
class Made:
    """A finished call and what it was asked."""

    options: SparsifyOptions
    record: Record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.mktemp("own")
    dense = tiny_folder("llama", base / "dense", num_key_value_heads=2)
    options = SparsifyOptions(
        model=str(dense), out=base / "sparse", samples=8192, steps=1, settle=30, kl=1.0, train="qk", cut=0.05,
        length=LENGTH, batch=16, lr=2e-3, slack=0.05, control=False, dtype="bfloat16", log_every=10, device="cpu",
    )  # fmt: skip
    return Made(options, sparsify(options))


def test_the_record_says_what_it_was_trained_on(made: Made) -> None:
    record = made.record
    assert record.text == "text that the dense model wrote itself"
    assert record.sampling["tokens"] == 8192
    assert record.sampling["seed"] == 0
    assert record.sampling["temperature"] == 1.0
    assert record.sampling["document_length"] == 2 * LENGTH
    documents = record.sampling["documents"]
    assert isinstance(documents, int)
    held = documents // 8 + documents // 6
    assert record.training_tokens == (documents - held) * 2 * LENGTH
    assert record.sequences == documents // 6 * 2
    assert record.settings["train"] == "qk"
    assert record.settings["cut"] == 0.05
    assert read_record(str(made.options.out)) == record
    assert record.edges_percent < 95
    assert record.dense_nats == pytest.approx(record.log_dense_nats, abs=0.05)  # the start's own loss is another


def test_only_queries_and_keys_moved(made: Made) -> None:
    before, after = (own_tensors(load(name, device="cpu")) for name in (made.options.model, made.options.out))
    changed = {name.split(".", 3)[-1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"self_attn.q_proj.weight", "self_attn.k_proj.weight"}
    added = {name.split(".", 3)[-1] for name in after.keys() - before.keys()}
    assert added == {f"self_attn.{kind}_proj.bias" for kind in "qkvo"}
    values = [tensor for name, tensor in after.items() if name.endswith(("v_proj.bias", "o_proj.bias"))]
    assert not any(bool(tensor.any()) for tensor in values)


def test_the_suite_reads_the_held_out_sequences(made: Made, tmp_path: Path) -> None:
    dense = load(made.options.model, device="cpu")
    settings = Settings(sparse_model=str(made.options.out), length=LENGTH, sequences=1000)
    sample = checkpoint.draw_sample(dense, settings, np.zeros((1, 4), np.int64))
    assert sample.is_text
    assert "wrote itself" in sample.name
    whole = losses.on_text(dense, every_edge, sample.ids)
    assert whole.loss_nats == pytest.approx(made.record.dense_nats, abs=1e-5)
    assert made.options.out / "heldout.json" in SUITE.data(settings)
    other = checkpoint.draw_sample(dense, dataclasses.replace(settings, sparse_model=""), np.zeros((1, 4), np.int64))
    assert not other.is_text  # these words are not those of the shipped passages
    (tmp_path / "heldout.json").write_text(json.dumps([[1, 2], [3]]))
    with pytest.raises(ModelError, match=r"heldout\.json"):
        checkpoint.read_heldout(str(tmp_path), 100)
    (tmp_path / "heldout.json").write_text(json.dumps([[1, 200]]))
    with pytest.raises(ModelError, match=r"heldout\.json"):
        checkpoint.read_heldout(str(tmp_path), 100)


class Stop(Exception):
    """Cuts a run off."""


def test_an_interrupted_run_samples_once_and_ends_in_the_same_weights(made: Made) -> None:
    cut = dataclasses.replace(made.options, out=made.options.out.with_name("cut"), save_every=5)
    work = cut.out.with_name("cut.sparsify")

    def stop_in_training(done: int, total: int, words: str) -> None:
        if words.startswith("sparse") and done >= 20:
            raise Stop

    with pytest.raises(Stop):
        sparsify(cut, stop_in_training)
    kept = {path.name: path.stat().st_mtime_ns for path in work.glob("documents-*.npy")}
    assert len(kept) == 2

    def not_sampled(done: int, total: int, words: str) -> None:
        assert words != "sampling text"

    assert sparsify(cut, not_sampled).chosen == made.record.chosen
    one, other = (own_tensors(load(path, device="cpu")) for path in (made.options.out, cut.out))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"samples": 100}, "--samples 100"), ({"text": "x.txt"}, "one text"), ({"train": "v"}, "--train v"),
     ({"dtype": "float16"}, "--dtype float16"), ({"cut": 1.0}, "--cut")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(made: Made, changes: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        sparsify(dataclasses.replace(made.options, out=made.options.out.with_name("no"), **changes))  # type: ignore[arg-type]


def test_a_fitted_start_is_refused_for_other_families(made: Made, tmp_path: Path) -> None:
    dense = tiny_folder("gpt2", tmp_path / "gpt2")
    with pytest.raises(ModelError, match="--cut is not made for gpt2"):
        sparsify(dataclasses.replace(made.options, model=str(dense), out=tmp_path / "no"))
