"""Removing heads: what it does to z, which heads, and what the tests make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from reportgen.models.model import Model
from reportgen.suites.cognitive.ablation import Effects
from reportgen.suites.cognitive.ablation_run import Question, Variants, neutral_loss
from reportgen.suites.cognitive.ablation_sets import curve_sizes, equal_size, matched_sets
from reportgen.suites.cognitive.ablation_stats import judge, sign_flip_p
from reportgen.suites.cognitive.prompts import Encoded

SHAPE = (3, 4)
IDS = (5, 9, 2, 30, 4, 7)
ROW = Encoded(IDS, (4, 5), (3, 4), False)  # two answer tokens


@pytest.fixture
def model(model_of: Callable[[str], Model]) -> Model:
    return model_of("gpt2")


def _mean(model: Model) -> torch.Tensor:
    return torch.randn(*SHAPE, model.record.d_head, generator=torch.Generator().manual_seed(0))


def _logprob(model: Model, hooks: object) -> float:
    logits = model.run(torch.tensor([IDS]), hooks).log_softmax(-1)[0]  # type: ignore[arg-type]
    return sum(float(logits[at - 1, IDS[at]]) for at in ROW.answer)


@pytest.mark.parametrize("cached", [True, False])
def test_a_removed_head_is_its_mean_at_the_answer_sites_only(model: Model, cached: bool) -> None:
    mean = _mean(model)
    question = Question(model, ROW, mean, cached=cached)
    assert question.intact == pytest.approx(_logprob(model, {}), abs=1e-4)

    def edit(z: torch.Tensor) -> torch.Tensor:
        out = z.clone()
        out[:, 3:5, 2] = mean[1, 2]
        return out

    wanted = _logprob(model, {("z", 1): edit})
    got = question.outcome(Variants.removed([[6], []], SHAPE, "mean", 0.0))
    assert got.logprob[0] == pytest.approx(wanted, abs=1e-4)
    assert got.logprob[1] == pytest.approx(question.intact, abs=1e-4)


def test_scaling_to_zero_is_zeroing_the_slice_of_the_output_matrix(model: Model) -> None:
    question = Question(model, Encoded(IDS, (1, 2, 3, 4, 5), (0,), False), _mean(model), cached=True)
    got = question.outcome(Variants.removed([[6]], SHAPE, "scale", 0.0)).logprob[0]
    written = _head_output(model, 1, 2)
    logits = model.run(torch.tensor([IDS]), {("attn_out", 1): lambda out: out - written}).log_softmax(-1)[0]
    wanted = sum(float(logits[at - 1, IDS[at]]) for at in (1, 2, 3, 4, 5))
    assert got == pytest.approx(wanted, abs=1e-3)


def _head_output(model: Model, layer: int, head: int) -> torch.Tensor:
    """What one head writes, [1 pos d_model], from its z and its slice of W_O."""
    kept: list[torch.Tensor] = []
    model.run(torch.tensor([IDS]), {("z", layer): lambda z: kept.append(z[:, :, head])})
    return kept[0] @ model.W_O(layer)[head]


def test_right_and_unchanged_are_kept_apart(model: Model) -> None:
    said = _greedy(model, IDS[:4], 2)
    wrong = Question(model, ROW, _mean(model), cached=True)
    assert not wrong.right
    assert wrong.said[0].tolist() == said
    nothing = wrong.outcome(Variants.removed([[]], SHAPE, "mean", 0.0))
    assert (nothing.right[0], nothing.unchanged[0]) == (False, True)
    right = Question(model, Encoded((*IDS[:4], *said), (4, 5), (3, 4), False), _mean(model), cached=True)
    assert right.right
    outcome = right.outcome(Variants.removed([[], list(range(12))], SHAPE, "scale", 0.0))
    assert outcome.right[0]
    assert (outcome.right == outcome.unchanged).all()


def _greedy(model: Model, ids: tuple[int, ...], most: int) -> list[int]:
    made = list(ids)
    for _ in range(most):
        made.append(int(model.logits(torch.tensor([made]))[0, -1].argmax()))
    return made[len(ids) :]


def test_neutral_loss(model: Model) -> None:
    texts = [IDS, (3, 4, 5), (8, 1, 7, 7)]
    removed = Variants.removed([[], [0, 5]], SHAPE, "scale", 0.0)
    found = neutral_loss(model, texts, _mean(model), removed, 2)
    losses = []
    for text in texts:
        logits = model.logits(torch.tensor([text])).log_softmax(-1)[0]
        losses += [-float(logits[i, text[i + 1]]) for i in range(len(text) - 1)]
    assert found[0] == pytest.approx(np.mean(losses), abs=1e-4)
    assert abs(found[1] - found[0]) > 1e-4


def test_matched_sets_are_disjoint_layer_by_layer_and_alike_in_norm() -> None:
    norms = np.tile([[1.0, 1.1, 1.2, 9.0, 9.5, 10.0]], (4, 1))
    like = [0, 3, 8, 22]
    made = matched_sets(like, like, np.ones((4, 6), bool), norms, 50, np.random.default_rng(0))
    assert made.sets.shape == (50, 4)
    assert not set(made.sets.ravel().tolist()) & set(like)
    assert all(sorted(row // 6) == sorted(np.array(like) // 6) for row in made.sets)
    assert all(len(set(row)) == 4 for row in made.sets.tolist())
    small = norms.ravel() < 5
    assert (small[made.sets] == small[like]).all()
    assert (made.layer_fallbacks, made.norm_fallbacks) == (0, 0)


def test_matched_sets_fall_back_and_say_so() -> None:
    allowed = np.ones((2, 3), bool)
    allowed[1, 2] = False
    made = matched_sets([0, 1, 2], [0, 1, 2], allowed, np.ones((2, 3)), 5, np.random.default_rng(0))
    assert made.sets.shape == (5, 2)  # two heads are left
    assert made.layer_fallbacks == 10


def test_set_sizes() -> None:
    assert [equal_size(n, 0) for n in (12, 48, 144, 1024)] == [1, 4, 12, 85]
    assert equal_size(48, 100) == 12
    assert curve_sizes(48) == (0, 1, 2, 4, 8)
    assert curve_sizes(2) == (0, 1)


def _effects(specific: float, items: int = 40, sets: int = 399) -> Effects:
    """Two functions; own heads cost `specific` nats more than the other's; random sets cost nothing on average."""
    rng = np.random.default_rng(1)
    label = np.arange(items) % 2
    intact = rng.normal(-1, 0.2, items)
    logprob = intact[:, None] + rng.normal(0, 0.05, (items, 2))
    logprob[np.arange(items), label] -= specific
    right = np.ones(items, bool)
    after = np.ones((items, 2), bool)
    after[np.arange(items), label] = rng.random(items) > (0.5 if specific else 0.0)
    both = {"mean": logprob, "scale": logprob}
    none = np.zeros((items, 0), bool)
    return Effects(
        label, tuple(f"c{i // 2}" for i in range(items)), intact, right, both, {"mean": after, "scale": after},
        {"mean": after, "scale": after}, intact - 0.1, right, intact[:, None] + rng.normal(0, 0.05, (items, sets)),
        np.ones((items, sets), bool), none, none, none[..., None], none[..., None], (0,), ((0,), (1,)),
        np.zeros(3), (0, 0, 0), True,
    )  # fmt: skip


def test_a_specific_effect_is_found() -> None:
    found = judge(_effects(0.5), "mean", 2, True, 500, np.random.default_rng(0))
    assert found.right_only
    assert found.contrast == pytest.approx(-0.5, abs=0.05)
    assert found.low < -0.5 < found.high
    assert found.p < 0.001
    assert np.diag(found.matrix).max() < -0.4 < 0.1 > np.abs(found.matrix[0, 1])
    for function in found.functions:
        assert function.p_holm < 0.01
        assert function.p_random_holm == pytest.approx(2 / 400)
        assert function.lost > 0
        assert function.gained == 0
        assert function.p_mcnemar_holm < 0.05
        assert function.kept_own < function.kept_others == 1.0


def test_no_effect_no_finding() -> None:
    found = judge(_effects(0.0), "mean", 2, True, 500, np.random.default_rng(0))
    assert found.p > 0.05
    assert all(f.p_holm > 0.05 and f.p_random_holm > 0.05 and f.p_mcnemar == 1.0 for f in found.functions)


def test_few_right_answers_and_few_random_sets_are_said() -> None:
    effects = _effects(0.5, sets=20)
    wrong = replace(effects, right=np.arange(40) < 6)
    found = judge(wrong, "mean", 2, False, 100, np.random.default_rng(0))
    assert not found.right_only
    assert [f.used for f in found.functions] == [20, 20]
    assert [f.n_right for f in found.functions] == [3, 3]
    assert all(np.isnan(f.p_random_holm) for f in found.functions)


def test_sign_flips_go_by_chain() -> None:
    values = np.array([1.0, 1.0, 1.0, 1.0])
    rng = np.random.default_rng(0)
    assert sign_flip_p(values, ["a", "b", "c", "d"], rng) == pytest.approx(2 / 16)
    assert sign_flip_p(values, ["a", "a", "b", "b"], rng) == pytest.approx(2 / 4)
    assert sign_flip_p(np.zeros(3), ["a", "b", "c"], rng) == 1.0
    many = sign_flip_p(np.ones(30), [str(i) for i in range(30)], rng)
    assert many == pytest.approx(1 / 10_001)
