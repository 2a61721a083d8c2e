"""Salient tokens against plain matrix products, token by token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.model import Model
from reportgen.report.passport import operations
from reportgen.suites.relations.scoring.results import Pieces
from reportgen.suites.relations.scoring.salient import not_a_word, rare_tokens, salient
from tests.suites.relations.runnable import NAMES, THINGS, fresh, planted, tiny


def inputs(model: Model, layer: int) -> torch.Tensor:
    ids = torch.arange(model.tokens.size)
    return (model.embed(ids) if layer == 0 else model.first_mlp(ids)).double()


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2"])
@pytest.mark.parametrize("chunk", [50, 2048])
def test_tokens_and_outputs_are_those_of_plain_products(family: str, chunk: int, tmp_path: Path) -> None:
    model = tiny(family, tmp_path)
    r = model.record
    got = salient(model, n_tokens=4, n_outputs=3, rare=0.0, chunk=chunk)
    group = r.n_heads // r.n_kv_heads
    text = model.tokens.text
    for layer in range(r.n_layers):
        x = inputs(model, layer)
        for head in range(r.n_heads):
            out = x @ model.W_V(layer)[head // group].double() @ model.W_O(layer)[head].double()
            sigma = out.norm(dim=1) / x.norm(dim=1)
            order = sigma.argsort(descending=True)[:4]
            rows = operations(got.arrays, layer, head, rare=True)
            assert [row.token for row in rows] == [text(int(i)) for i in order]
            np.testing.assert_allclose([row.sigma for row in rows], sigma[order].numpy(), rtol=1e-4)
            for row, token in zip(rows, order, strict=True):
                logits = (out[token] @ model.W_U().double()).argsort(descending=True)
                assert row.raised == tuple(text(int(i)) for i in logits[:3])
                assert row.lowered == tuple(text(int(i)) for i in logits.flip(0)[:3])


def test_the_planted_head_s_tokens_are_its_sources(tmp_path: Path) -> None:
    model = planted(tmp_path)
    got = salient(model, n_tokens=10, n_outputs=1, rare=0.0, first_mlp=False)
    rows = operations(got.arrays, 0, 1)
    assert {row.token: row.raised for row in rows} == {
        f" {name}": (f" {thing}",) for name, thing in zip(NAMES, THINGS, strict=True)
    }
    assert [row.sigma for row in rows] == pytest.approx([3.0] * 10)
    assert got.facts["salient"]["note"] == "first_mlp is off"  # type: ignore[index]


def test_rare_tokens_are_left_out_of_the_second_list_only(tmp_path: Path) -> None:
    model = fresh("gpt2", tmp_path)
    weights = model.bridge.original_model.transformer.wte.weight.data
    usual = salient(model, n_tokens=3, rare=0.0)
    first = operations(usual.arrays, 0, 0)[0].token
    chosen = next(i for i in range(model.tokens.size) if model.tokens.text(i) == first)
    direction = weights[chosen] - weights.mean(0)
    weights[chosen] = weights.mean(0) + 1e-3 * direction  # an embedding that training never moved
    near = rare_tokens(model, model.tokens.size, 0.01)
    assert near[chosen]
    assert near.sum() == int(0.01 * model.tokens.size) + 2  # and <|endoftext|> and <unk>
    got = salient(model, n_tokens=model.tokens.size, rare=0.01)
    every = [row.token for row in operations(got.arrays, 0, 0, rare=True)]
    common = [row.token for row in operations(got.arrays, 0, 0)]
    assert set(every) - set(common) == {model.tokens.text(int(i)) for i in np.flatnonzero(near)}
    assert got.facts["salient"]["n_rare"] == near.sum()  # type: ignore[index]


def test_special_tokens_are_told_by_their_text(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    found = [model.tokens.text(i) for i in range(model.tokens.size) if not_a_word(model, i)]
    assert found == ["<|endoftext|>", "<unk>"]


def test_inactive_heads_have_no_table(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    active = np.ones((3, 4), bool)
    active[1, 2] = False
    got = salient(model, n_tokens=3, active=active)
    assert operations(got.arrays, 1, 2) == ()
    assert np.isnan(got.arrays["salient_sigma"].values[:, 1, 2]).all()
    assert len(operations(got.arrays, 1, 1)) == 3


def test_a_family_without_a_first_mlp_says_so_and_reads_embeddings(tmp_path: Path) -> None:
    model = tiny("mixtral", tmp_path)
    got: Pieces = salient(model, n_tokens=2, rare=0.0)
    assert "mixture of experts" in got.facts["salient"]["note"]  # type: ignore[index]
    x = inputs(model, 0)
    out = x @ model.W_V(2)[1].double() @ model.W_O(2)[3].double()
    best = int((out.norm(dim=1) / x.norm(dim=1)).argmax())
    assert operations(got.arrays, 2, 3, rare=True)[0].token == model.tokens.text(best)


def test_a_run_without_the_table_has_no_operations() -> None:
    assert operations({}, 0, 0) == ()
