"""Post-training end to end on a small model: fewer edges within the slack, resumed, refused."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.errors import DataError, ModelError, RunError, SettingsError
from reportgen.models.load import load
from reportgen.suites.sparse.facts import LogPoint, read_record
from reportgen.suites.sparse.scoring import checkpoint
from reportgen.suites.sparse.scoring.gates import Gate, every_edge
from reportgen.suites.sparse.scoring.losses import on_text
from reportgen.suites.sparse.training import texts
from reportgen.suites.sparse.training.phase import Dual, Schedule, better
from reportgen.suites.sparse.training.sparsify import SparsifyOptions, sparsify
from tests.gguf_files import tiny_gguf
from tests.suites.sparse.conftest import Pair
from tests.suites.sparse.toy import LENGTH, write_text
from tests.tiny import tiny_folder


def test_training_closes_edges_within_the_slack(pair: Pair) -> None:
    record = pair.record
    assert record.edges_percent < 8
    assert record.edges_percent < 0.5 * record.log[0].edges_percent
    assert record.constraint_met
    assert record.sparse_hard_nats <= record.dense_nats + 0.05
    assert record.chosen["sure_nats"] <= 0.05
    assert 0.7 * 240 < record.chosen["step"] <= 240
    assert [line.step for line in record.log] == [30, 60, 90, 120, 150, 180, 210, 240]


def test_controls_stand_beside_the_result(pair: Pair) -> None:
    record = pair.record
    assert record.finetuned_nats == pytest.approx(record.dense_nats, abs=0.1)
    as_good = [cut["edges_percent"] for cut in record.cuts if cut["loss_nats"] <= record.sparse_hard_nats]
    assert as_good
    assert min(as_good) > 2 * record.edges_percent  # cutting without training leaves more edges at this loss
    assert record.gates_off_nats != record.sparse_hard_nats
    losses = [cut["loss_nats"] for cut in record.cuts]
    assert losses[0] > losses[-1]


def test_the_record_s_numbers_are_the_saved_model_s(pair: Pair) -> None:
    text = texts.from_file(pair.base / "text.txt", pair.dense.tokens, LENGTH, 240, 0)
    assert on_text(pair.dense, every_edge, text.reporting).loss_nats == pytest.approx(pair.record.dense_nats)
    hard = on_text(pair.sparse, pair.gate, text.reporting)
    assert hard.loss_nats == pytest.approx(pair.record.sparse_hard_nats)
    mean, low, high = pair.record.excess_nats
    assert mean == pytest.approx(pair.record.sparse_hard_nats - pair.record.dense_nats, abs=1e-6)
    assert low < mean < high
    assert pair.record.sequences == len(text.reporting)
    assert hard.edges_percent == pytest.approx(pair.record.edges_percent)
    assert pair.record.training_tokens > 0
    assert len(pair.record.text_sha256) == 64


def test_the_folder_is_a_hugging_face_model_with_a_gate(pair: Pair) -> None:
    config = json.loads((pair.base / "sparse" / "config.json").read_text())
    bias = pair.record.chosen["bias"]
    assert config["attention_gate"] == {"bias": bias, "slack_nats": 0.05, "rule": "score + bias > 0"}
    assert pair.gate == Gate(bias, 0.05)
    assert pair.options.bias - 1.2 <= bias <= pair.options.bias
    assert read_record(str(pair.base / "sparse")) == pair.record
    assert not (pair.base / "sparse.sparsify").exists()
    with pytest.raises(ModelError, match="no attention_gate"):
        checkpoint.load_sparse(str(pair.base / "dense"), device="cpu")


class Stop(Exception):
    """Cuts a run off."""


def test_an_interrupted_run_ends_in_the_same_weights(pair: Pair, tmp_path: Path) -> None:
    short = dataclasses.replace(pair.options, steps=7, settle=2, rounds=3, save_every=5, log_every=4, control=False)
    whole = sparsify(dataclasses.replace(short, out=tmp_path / "whole"))

    def stop_at(done: int, total: int, words: str) -> None:
        if done >= 10:
            raise Stop

    cut = dataclasses.replace(short, out=tmp_path / "cut")
    with pytest.raises(Stop):
        sparsify(cut, stop_at)
    kept = tmp_path / "cut.sparsify" / "sparse.jsonl"
    assert [json.loads(line)["step"] for line in kept.read_text().splitlines()] == [4, 8]
    resumed = sparsify(cut)
    one, other = (load(tmp_path / name, device="cpu").source.tensors for name in ("whole", "cut"))  # type: ignore[attr-defined]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [dataclass_of(p) for p in resumed.log] == [dataclass_of(p) for p in whole.log]


def dataclass_of(point: LogPoint) -> tuple[float, ...]:
    return tuple(getattr(point, name) for name in point.__struct_fields__)


def test_too_little_text_is_refused_with_the_number_needed(pair: Pair, tmp_path: Path) -> None:
    text = write_text(tmp_path / "little.txt", 300)
    short = dataclasses.replace(pair.options, text=str(text), out=tmp_path / "out", steps=1500)
    need = 20 * 1500 + 192 * LENGTH
    with pytest.raises(DataError, match=f"need {need:,}"):
        sparsify(short)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"text": "", "corpus": ""}, "--text FILE"), ({"corpus": "mini"}, "--corpus mini"),
     ({"text": "", "corpus": "web"}, "web"),
     ({"kl": 2.0}, "--kl"), ({"steps": 0}, "--steps"), ({"slack": -1.0}, "--slack")],
)  # fmt: skip
def test_options_out_of_range_are_refused(pair: Pair, changes: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        dataclasses.replace(pair.options, **changes)  # type: ignore[arg-type]


def test_places_and_models_that_cannot_be_used(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="exists already"):
        sparsify(pair.options)
    with pytest.raises(ModelError, match="sparse already"):
        sparsify(dataclasses.replace(pair.options, model=str(pair.base / "sparse"), out=tmp_path / "again"))
    hidden = tiny_folder("opt", tmp_path / "opt")
    with pytest.raises(ModelError, match="opt"):
        sparsify(dataclasses.replace(pair.options, model=str(hidden), out=tmp_path / "opt-sparse"))
    with pytest.raises(SettingsError, match="vocabulary"):
        sparsify(dataclasses.replace(pair.options, text="", corpus="mini", out=tmp_path / "mini"))
    with pytest.raises(DataError, match="nowhere"):
        sparsify(dataclasses.replace(pair.options, text="nowhere.txt", out=tmp_path / "no"))


def test_a_work_folder_of_other_options_is_refused(pair: Pair, tmp_path: Path) -> None:
    def stop(done: int, total: int, words: str) -> None:
        raise Stop

    first = dataclasses.replace(pair.options, out=tmp_path / "out", steps=5)
    with pytest.raises(Stop):
        sparsify(first, stop)
    with pytest.raises(RunError, match="other options"):
        sparsify(dataclasses.replace(first, seed=1))


def test_kl_pulls_towards_the_dense_model(pair: Pair, tmp_path: Path) -> None:
    few = dataclasses.replace(pair.options, steps=3, control=False, log_every=1)
    plain = sparsify(dataclasses.replace(few, out=tmp_path / "plain"))
    pulled = sparsify(dataclasses.replace(few, out=tmp_path / "pulled", kl=1.0))
    assert plain.sparse_hard_nats != pulled.sparse_hard_nats
    assert plain.dense_nats == pulled.dense_nats


def test_dual_steps_follow_the_mean_of_a_round() -> None:
    dual = Dual(chunks=2, log_weight=0.0, steps=2000)
    dual.step(1.0)
    assert dual.log_weight == pytest.approx(-0.05)  # a full step down
    dual.step(-1.0)  # mean of the round: 0
    assert dual.log_weight == pytest.approx(-0.05)
    dual.step(-1.0)  # mean -1
    assert dual.log_weight == pytest.approx(0.0)
    for _ in range(1000):
        dual.step(5.0)
    assert dual.log_weight == -14.0
    assert Dual.start(4, 1000.0).weight == pytest.approx(2e-4)
    assert [Dual(2, 0.0, steps=steps).rate for steps in (100, 1000, 5000)] == pytest.approx([0.2, 0.1, 0.02])


def test_the_weight_keeps_a_floor_while_settling_but_for_the_end() -> None:
    dual = Dual(chunks=1, log_weight=math.log(1e-3), steps=100)
    dual.keep(1000.0)
    for _ in range(50):
        dual.step(5.0)
    assert dual.weight == pytest.approx(3e-4)  # 0.3 nats over a thousand edges
    dual.keep(None)
    dual.step(5.0)
    assert dual.weight < 3e-4
    schedule = Schedule(1000, lr=1e-3, batch=1, kl=0.0, seed=0, log_every=1, save_every=1, settle=500, rounds=2)
    assert [schedule.has_floor(step) for step in (1000, 1001, 1500, 1850, 1851)] == [False, True, True, True, False]


def test_the_kept_step_has_the_fewest_edges_among_those_surely_within_the_slack() -> None:
    def at(sure: float, edges: float) -> dict[str, float]:
        return {"sure_nats": sure, "edges_per_token": edges}

    tried = [at(0.05, 9), at(0.04, 5), at(0.06, 1), at(0.009, 8), at(0.01, 7), at(0.0, 7.5), at(0.011, 2)]
    kept: dict[str, float] = {}
    order = []
    for found in tried:
        if better(found, kept, 0.01):
            kept = found
            order.append(tried.index(found))
    assert order == [0, 1, 3, 4]


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    schedule = Schedule(1000, lr=1e-3, batch=1, kl=0.0, seed=0, log_every=1, save_every=1)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-5)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[399] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(rates[400:]))
    assert rates[-1] == pytest.approx(1e-3 / 600)
    assert [schedule.room(step) for step in (400, 700, 1000)] == pytest.approx([1, 0.5, 0])
    settling = [dataclasses.replace(schedule, settle=500).rate(step) for step in range(1500)]
    assert settling[:1000] == rates
    assert settling[1000] == pytest.approx(2e-5)
    assert settling[1250] == pytest.approx(5e-4)
    assert settling[-1] == pytest.approx(1e-3 / 500)
    twice = dataclasses.replace(schedule, settle=500, rounds=2)
    assert [twice.rate(step) for step in range(1500)] == settling
    assert twice.rate(1750) == pytest.approx(2.5e-4)
    assert [twice.room(step) for step in (1000, 1250, 1500, 1600, 2000)] == pytest.approx([0, 0.5, 0, 0, 0])


def test_only_a_fitted_start_shortens_the_warm_up_and_the_average_of_a_short_run() -> None:
    short = Schedule(240, lr=1e-3, batch=1, kl=0.0, seed=0, log_every=1, save_every=1)
    fitted = dataclasses.replace(short, fitted=True)
    assert [made.rate(0) for made in (short, fitted)] == pytest.approx([1e-3 / 50, 1e-3 / 24])
    assert [made.memory(239) for made in (short, fitted)] == pytest.approx([0.99, 1 - 1 / 16])
    assert [made.choice_every for made in (short, fitted)] == [5, 15]
    assert [made.memory(0) for made in (short, fitted)] == [0.0, 0.0]
    long = dataclasses.replace(short, steps=3000)
    assert [dataclasses.replace(long, fitted=fit).memory(999) for fit in (False, True)] == [0.99, 0.99]
    assert long.choice_every == 30


def test_held_out_sequences_are_never_trained_on(pair: Pair) -> None:
    text = texts.from_file(pair.base / "text.txt", pair.dense.tokens, LENGTH, 100, 0)
    ids = np.array(pair.dense.tokens.encode((pair.base / "text.txt").read_text()))
    body = ids[: len(ids) // (LENGTH - 1) * (LENGTH - 1)].reshape(-1, LENGTH - 1)
    bos_id = pair.dense.tokens.bos_id
    assert bos_id is not None
    rows = np.insert(body, 0, bos_id, axis=1)  # every sequence begins with BOS
    count = text.training_tokens // LENGTH
    assert np.array_equal(np.concatenate([text.steering, text.reporting]), rows[count:])
    seen = np.concatenate([text.batch(step, count) for step in range(2)])  # two epochs: every row twice
    assert sorted(map(bytes, seen)) == sorted(map(bytes, np.concatenate([rows[:count]] * 2)))
    assert np.array_equal(text.batch(3, 16), text.batch(3, 16))


def test_a_damaged_record_is_refused(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "sparsify.json").write_text('{"schema": 1}')
    with pytest.raises(ModelError, match=r"sparsify\.json"):
        read_record(str(tmp_path))
    assert read_record("nobody/nothing") is None


def test_a_gguf_file_is_sparsified_into_a_folder_with_its_tokenizer(tmp_path: Path) -> None:
    made = tiny_gguf("llama", tmp_path / "m.gguf", kind="F32")
    write_text(tmp_path / "text.txt", 2400)
    text = str(tmp_path / "text.txt")
    sparsify(
        SparsifyOptions(str(made.path), tmp_path / "sparse", text, steps=6, length=8, batch=4, threads=1, control=False)
    )
    model, _ = checkpoint.load_sparse(str(tmp_path / "sparse"), device="cpu")
    dense = load(made.path, device="cpu")
    words = "in 1732, a b"
    assert model.tokens.encode(words) == dense.tokens.encode(words)
    assert model.tokens.bos_id == dense.tokens.bos_id
