"""Head outputs at the sites: one pass per text, whatever is filled up at its right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.models.model import Model
from reportgen.suites.cognitive import dataset, features
from reportgen.suites.cognitive.prompts import Encoded, Encoder
from reportgen.suites.cognitive.recipe import preset
from tests.suites.cognitive import toy


def _encoded(model: Model, folder: Path, chains: int = 6) -> list[Encoded]:
    rows = dataset.load(str(toy.write(folder / "toy.jsonl", toy.rows(chains))))
    encoder = Encoder(model.tokens, rows, preset("recommended"), 5, "predict")
    return [encoder.encode(row, row.answer) for row in rows]


def _one_by_one(model: Model, encoded: list[Encoded]) -> Tensor:
    """Each example alone, sites averaged afterwards."""
    out = []
    for example in encoded:
        kept: dict[int, Tensor] = {}
        layers = range(model.record.n_layers)
        hooks = {("z", layer): lambda z, at=layer, into=kept: into.update({at: z[0]}) for layer in layers}
        model.run(torch.tensor([example.ids]), hooks)  # type: ignore[arg-type]
        out.append(torch.stack([kept[layer][list(example.sites)].mean(0) for layer in sorted(kept)]))
    return torch.stack(out)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_the_residual_parts_of_the_heads_add_up(
    family: str, model_of: Callable[[str], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(family)
    example = _encoded(model, tmp_path)[0]
    parts = features.residual(model, features.head_outputs(model, [example], 1, lambda *_: None))
    assert parts.shape == (1, model.record.n_layers, model.record.n_heads, model.record.d_model)
    kept: list[Tensor] = []
    model.run(torch.tensor([example.ids]), {("attn_out", 1): lambda out: kept.append(out[0])})
    zero: list[Tensor] = []
    silent = {("z", 1): torch.zeros_like, ("attn_out", 1): lambda out: zero.append(out[0])}  # what is left is the bias
    model.run(torch.tensor([example.ids]), silent)
    wanted = (kept[0] - zero[0])[list(example.sites)].mean(0)
    assert torch.allclose(parts[0, 1].sum(0), wanted, atol=1e-5)
    monkeypatch.setattr(features, "MOST_RESIDUAL_BYTES", 100)
    with pytest.raises(NotApplicable, match="hook=result needs"):
        features.residual(model, features.head_outputs(model, [example], 1, lambda *_: None))


@pytest.mark.parametrize(
    "family", ["gpt2", "qwen3", "gemma2"]
)  # plain; d_head is not d_model / n_heads; sliding window
def test_batched_passes_give_what_single_ones_give(
    family: str, model_of: Callable[[str], Model], tmp_path: Path
) -> None:
    model = model_of(family)
    encoded = _encoded(model, tmp_path)
    assert len({len(e.ids) for e in encoded}) > 2  # so that some are filled up
    made = features.head_outputs(model, encoded, 5, lambda *_: None)
    assert made.shape == (len(encoded), model.record.n_layers, model.record.n_heads, model.record.d_head)
    assert torch.allclose(made, _one_by_one(model, encoded), atol=1e-5)


def test_sites_read_while_generating_are_the_teacher_forced_ones(model_of: Callable[[str], Model]) -> None:
    """Head outputs at the last position of every decoding step, against one pass over prompt and answer."""
    model, ids, steps = model_of("gpt2"), [5, 9, 2, 30], []
    for _ in range(3):
        kept: dict[int, Tensor] = {}
        layers = range(model.record.n_layers)
        hooks = {("z", layer): lambda z, at=layer, into=kept: into.update({at: z[0, -1]}) for layer in layers}
        ids.append(int(model.run(torch.tensor([ids]), hooks)[0, -1].argmax()))  # type: ignore[arg-type]
        steps.append(torch.stack([kept[layer] for layer in layers]))
    read = Encoded(tuple(ids), (4, 5, 6), (3, 4, 5), False)
    made = features.head_outputs(model, [read], 4, lambda *_: None)[0]
    assert torch.allclose(made, torch.stack(steps).mean(0), atol=1e-5)


def test_one_pass_per_chain(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    encoded = _encoded(model_of("gpt2"), tmp_path)
    todo = features.passes(encoded)
    assert len(todo) == 6  # chains, not rows
    assert sorted(i for p in todo for i in p.examples) == list(range(18))
    for p in todo:
        assert all(p.ids[: len(encoded[i].ids)] == encoded[i].ids for i in p.examples)


def test_texts_that_only_share_words_stay_apart() -> None:
    texts = [(1, 2, 3), (1, 2), (1, 3), (2,), (1, 2, 3)]
    todo = features.passes([Encoded(ids, (1,), (0,), False) for ids in texts])
    assert sorted((p.ids, tuple(sorted(p.examples))) for p in todo) == [
        ((1, 2, 3), (0, 1, 4)), ((1, 3), (2,)), ((2,), (3,)),
    ]  # fmt: skip


def test_the_cache_keeps_features_and_forgets_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    z = torch.randn(3, 2, 2, 4)
    assert features.recall("key", (3, 2, 2, 4)) is None
    features.remember("key", z)
    kept = features.recall("key", (3, 2, 2, 4))
    assert kept is not None
    assert torch.equal(kept, z)
    assert features.recall("key", (4, 2, 2, 4)) is None
    (features.cache_folder() / "key.safetensors").write_bytes(b"damaged")
    assert features.recall("key", (3, 2, 2, 4)) is None
    for i in range(features.KEPT_FILES + 3):
        features.remember(f"key{i}", z)
    assert len(list(features.cache_folder().iterdir())) == features.KEPT_FILES
