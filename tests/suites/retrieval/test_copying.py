"""Copying on short sequences: what they are made of, planted heads that copy tokens and tell prefixes apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import HookFn, Model
from reportgen.selftest.models import planted_folder
from reportgen.suites.retrieval.scoring import copying, patching
from reportgen.suites.retrieval.scoring.passes import writer
from tests.tiny import tiny_folder

POOL = np.arange(2, 26)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of the self-test: L1H0 finds the token after the earlier copy and writes it, L1H1 writes nothing."""
    return load(planted_folder(tmp_path_factory.mktemp("planted")), device="cpu")


def test_a_sequence_repeats_its_random_tokens_around_the_entity(planted: Model) -> None:
    rng = np.random.default_rng(0)
    rows, (first, last) = copying._rows(planted.tokens, np.arange(2, 150), [[7, 8]] * 4, 2, 4, rng)
    for same, other, named in zip(*(one.tolist() for one in rows), strict=True):
        m = first
        assert len(same) == 2 * m + 3 <= copying.LENGTH
        assert same[:m] == same[m + 3 :]
        assert other[m:] == same[m:]
        assert not set(other[:m]) & set(same)
        assert named[m : m + 2] == [7, 8]
        assert named[:m] + named[m + 2 :] == same[:m] + same[m + 2 :]
        assert last == first + 1


def test_the_end_shares_its_prefix_with_one_place_and_one_token_with_the_other(planted: Model) -> None:
    for length in copying.PREFIXES:
        rows, places = copying._prefixes(planted.tokens, np.arange(2, 150), length, 6, np.random.default_rng(1))
        for row, (c, d) in zip(rows.tolist(), places, strict=True):
            assert len(row) <= copying.PREFIX_LENGTH
            assert row[c - length : c] == row[-length:]
            assert row[d - 1] == row[-1]
            assert not set(row[d - length : d - 1]) & set(row[-length:])
            assert len(set(row)) == len(row) - length - 1
        assert {c < d for c, d in places} == {True, False}


def test_an_induction_head_copies_tokens_and_knows_no_prefix(planted: Model) -> None:
    small = np.array([planted.tokens.word_id(f"word{chr(97 + i)}") for i in range(24)])
    of = writer(planted)
    rng, m = np.random.default_rng(2), 6
    drawn = [rng.choice(small, 2 * m + 2, replace=False).tolist() for _ in range(8)]
    same = torch.tensor([[*d[:m], *d[2 * m :], *d[:m]] for d in drawn])
    other = torch.tensor([[*d[m : 2 * m], *d[2 * m :], *d[:m]] for d in drawn])
    found = [copying._weighted(planted, of, rows, (m, m + 1)) for rows in (same, other)]
    assert found[0].shape == (8, 2, 2, 4)
    np.testing.assert_allclose(found[0][:, 0, 1, 0], 1, atol=1e-3)
    assert float(found[1][:, 0, 1, 0].max()) < 0.5
    # L1H1 looks there and writes nothing: its outputs have no size to be weighted by
    np.testing.assert_allclose(found[0][:, :, 1, 1], 0, atol=1e-6)


def test_weights_are_those_of_a_plain_computation(tmp_path: Path) -> None:
    model = load(tiny_folder("llama", tmp_path, num_key_value_heads=2), device="cpu")
    of, rows = writer(model), torch.randint(2, 150, (3, 12), generator=torch.Generator().manual_seed(3))
    found = copying._weighted(model, of, rows, (4, 7))
    seen: dict[str, torch.Tensor] = {}
    model.run(rows, {("v", 1): lambda v: seen.__setitem__("v", v.clone()),
                     ("pattern", 1): lambda p: seen.__setitem__("p", p.clone())})  # fmt: skip
    for head in range(4):
        size = (seen["v"][:, :, head // 2] @ of.W_O[1][head]).norm(dim=-1)
        weight = seen["p"][:, head, -1] * size
        want = (weight / weight.sum(-1, keepdim=True))[:, [4, 7]]
        np.testing.assert_allclose(found[:, :, 1, head], want.numpy(), atol=1e-5)


def test_texts_differ_in_what_stands_before_the_line_end_alone(planted: Model) -> None:
    pool, entities = np.arange(2, 150), [[7, 8], [9, 10, 11], [12, 13, 14, 15, 16]]
    for concept in (True, False):
        made = patching.texts(
            planted.tokens, pool, entities, np.arange(3), concept=concept, rng=np.random.default_rng(4)
        )
        assert made.intact.shape == made.corrupted.shape == (3, copying.LENGTH + concept)
        for whole, other, entity, answer in zip(
            made.intact.tolist(), made.corrupted.tolist(), entities, made.answers.tolist(), strict=True
        ):
            at = whole.index(entity[0])
            line = at + len(entity)
            m = len(whole) - line - 1 - concept
            assert whole[at:line] == entity
            assert whole[at - m : at] == whole[line + 1 : line + 1 + m]
            assert whole[line:] == other[line:]
            assert not set(other[:line]) & set(whole)
            assert whole[line + 1 + m :] == entity[:concept]
            assert answer == entity[concept]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("concept", [True, False])
def test_a_patch_changes_what_a_whole_run_with_it_changes(tmp_path: Path, concept: bool, cached: bool) -> None:
    model = load(tiny_folder("llama", tmp_path, num_key_value_heads=2), device="cpu")
    entities = [[7, 8], [9, 10, 11], [12, 13]]
    made = patching.texts(
        model.tokens, np.arange(20, 150), entities, np.arange(3), concept=concept, rng=np.random.default_rng(5)
    )
    heads = [(0, 1), (0, 3), (1, 0), (1, 2)]
    found = patching.patched(model, made, heads, lambda done, total: None, cached=cached)
    place = -1 - concept

    def log_p(hooks: dict[tuple[str, int], HookFn]) -> torch.Tensor:
        return model.run(made.corrupted, hooks)[:, -1].log_softmax(-1).gather(1, made.answers[:, None])[:, 0]

    base = log_p({})
    for i, (layer, head) in enumerate(heads):
        clean: list[torch.Tensor] = []
        model.run(made.intact, {("z", layer): lambda z, clean=clean: clean.append(z[:, place].clone())})  # type: ignore[misc]

        def put(z: torch.Tensor, head: int = head, clean: list[torch.Tensor] = clean) -> torch.Tensor:
            out = z.clone()
            out[:, place, head] = clean[0][:, head]
            return out

        got = log_p({("z", layer): put})
        np.testing.assert_allclose(found.change[0][:, i], (got - base).numpy(), atol=2e-5)
        np.testing.assert_allclose(found.change[1][:, i], (got.exp() - base.exp()).numpy(), atol=2e-6)
    np.testing.assert_allclose(found.corrupted[0], base.numpy(), atol=2e-5)
    assert np.abs(found.change[0]).max() > 1e-3


def test_the_planted_induction_head_brings_the_token_and_no_other_does(
    planted: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1H0 writes what it reads; L1H1 looks there and writes nothing; what L1H2 and L1H3 read is the same in both."""
    monkeypatch.setattr(patching, "LENGTH", 15)
    small = np.array([planted.tokens.word_id(f"word{chr(97 + i)}") for i in range(24)])
    rng = np.random.default_rng(6)
    picked = [rng.choice(small, 2, replace=False).tolist() for _ in range(8)]
    made = patching.texts(planted.tokens, small, picked, np.arange(8), concept=False, rng=rng)
    heads = [(1, 0), (1, 1), (1, 2), (1, 3)]
    found = patching.patched(planted, made, heads, lambda done, total: None, cached=planted.keeps_past)
    assert float(found.change[0][:, 0].min()) > 0.5
    assert np.abs(found.change[0][:, 1:]).max() < 1e-4
    assert float(found.intact[0].mean()) > float(found.corrupted[0].mean()) + 0.5
