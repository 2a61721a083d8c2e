import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from reportgen.errors import RunError, SettingsError
from reportgen.mini import corpus, network, train
from reportgen.mini.network import Network, Shape
from reportgen.mini.train import SMOKE, TrainConfig, learning_rate
from reportgen.mini.vocab import vocabulary

TINY = Shape(vocab_size=40, n_positions=16, n_embd=16, n_layer=3, n_head=2, n_inner=32)


def quiet(line: str) -> None:
    del line


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return network.load(folder).state_dict()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini")
    train.train(replace(SMOKE, save_steps=(8,), evaluate_every=16), out, quiet)
    return out


def test_the_loss_falls_and_is_logged(trained: Path) -> None:
    entries = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss_nats"] for entry in entries if "loss_nats" in entry]
    assert len(losses) == SMOKE.steps // SMOKE.log_every
    assert losses[0] < math.log(len(vocabulary())) + 0.2
    assert losses[-1] < losses[0] - 0.3
    assert [entry["step"] for entry in entries if "properties" in entry] == [16, SMOKE.steps]
    assert json.loads((trained / "properties.json").read_text())["heldout_loss_nats"] < losses[0]


def test_the_export_is_an_ordinary_folder(trained: Path) -> None:
    folder = trained / "model"
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert wanted <= {file.name for file in folder.iterdir()}
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    assert (model.config.n_inner, model.config.n_positions, model.config.activation_function) == (64, 128, "gelu_new")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == model.config.bos_token_id == model.config.eos_token_id
    ids = torch.from_numpy(corpus.windows(5, 2).astype(np.int64))
    with torch.no_grad():
        assert float((model(ids).logits - network.load(folder)(ids)[0]).abs().max()) < 1e-4
    assert not model.state_dict()["transformer.h.1.mlp.c_fc.weight"].any()
    assert (trained / "step-8" / "model.safetensors").exists()
    assert not list(trained.glob("**/*.part"))
    assert not (trained / train.STATE).exists()


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the properties, which take longer than the training itself."""
    monkeypatch.setattr(train.Trainer, "evaluate", lambda self, step: {})


class Cut(Exception):
    """Stands for a crash."""


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_cut_run_goes_on_and_ends_the_same(tmp_path: Path, optimizer: str) -> None:
    config = replace(SMOKE, optimizer=optimizer, windows=2)
    train.train(config, tmp_path / "whole", quiet)

    def cut(line: str) -> None:
        if line.startswith("step 16/"):
            raise Cut

    with pytest.raises(Cut):
        train.train(config, tmp_path / "cut", cut)
    assert (tmp_path / "cut" / train.STATE).exists()
    assert not (tmp_path / "cut" / "model").exists()
    train.train(config, tmp_path / "cut", quiet)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert steps == [8, 16, 16, 24]  # 16 again: the checkpoint of step 8 is the last one
    whole, gone_on = weights(tmp_path / "whole" / "model"), weights(tmp_path / "cut" / "model")
    assert all(torch.equal(whole[name], gone_on[name]) for name in whole)


@pytest.mark.usefixtures("unmeasured")
def test_the_seed_decides_the_weights(trained: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    train.train(
        replace(SMOKE, save_steps=(8,), evaluate_every=0), again, quiet
    )  # evaluating must not change the weights
    train.train(replace(SMOKE, seed=7), other, quiet)
    first = weights(trained / "model")
    assert all(torch.equal(tensor, first[name]) for name, tensor in weights(again / "model").items())
    assert not torch.equal(first["wte.weight"], weights(other / "model")["wte.weight"])


def test_another_configuration_in_the_same_folder_is_refused(trained: Path) -> None:
    with pytest.raises(RunError, match="other settings"):
        train.train(replace(SMOKE, seed=9), trained, quiet)


def test_a_corrupt_state_is_refused(tmp_path: Path) -> None:
    state = tmp_path / train.STATE
    state.write_bytes(b"not safetensors")
    with pytest.raises(RunError, match="cannot be read"):
        train.restore(state, Network(TINY), [])


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"seed": -1}, {"lr": 0.0}, {"n_head": 5}, {"optimizer": "sgd"}, {"threads": 0}, {"length": 64}],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        train.train(replace(SMOKE, **change), tmp_path / "out", quiet)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_schedule_warms_up_and_ends_at_its_floor() -> None:
    config = TrainConfig(steps=1000, warmup_steps=100, lr=1.0e-2, final_share=0.02)
    rates = [learning_rate(config, step) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[99] == rates[100] == pytest.approx(1e-2)
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert rates[1000] == pytest.approx(2e-4)


def test_batches_do_not_depend_on_where_a_run_starts() -> None:
    config = replace(SMOKE, steps=train.CHUNK_STEPS + 3)
    whole = list(train.batches(config, 0))
    late = list(train.batches(config, train.CHUNK_STEPS - 2))
    assert len(whole) == config.steps
    assert len(late) == 5
    assert all(torch.equal(a, b) for a, b in zip(whole[-5:], late, strict=True))
    assert not torch.equal(whole[0], whole[train.CHUNK_STEPS])


def test_the_command_trains_what_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[TrainConfig, Path]] = []
    monkeypatch.setattr(train, "train", lambda config, out, log: seen.append((config, out)))
    train.main([*f"--steps 7 --optimizer muon --lr 1e-3 --save-steps 3 5 --out {tmp_path}".split()])
    assert seen == [(TrainConfig(steps=7, optimizer="muon", lr=1e-3, save_steps=(3, 5)), tmp_path)]
