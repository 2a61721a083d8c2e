"""Removing heads: what it does to z, which heads, and what the tests make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from reportgen.models.model import Model
from reportgen.models.prefix_cache import check_branches, check_cache
from reportgen.suites.cognitive.scoring import ablation
from reportgen.suites.cognitive.scoring.ablation import (
    AblationEffects,
    Answers,
    Text,
    Variants,
    curve_sizes,
    equal_size,
    neutral_loss,
)
from reportgen.suites.cognitive.scoring.ablation_tests import judge, sign_flip_p
from reportgen.suites.cognitive.scoring.prompts import Encoded

SHAPE = (3, 4)
IDS = (5, 9, 2, 30, 4, 7)
ROW = Encoded(IDS, (4, 5), (3, 4), False)  # two answer tokens


@pytest.fixture
def model(model_of: Callable[[str], Model]) -> Model:
    return model_of("gpt2")


def _mean(model: Model) -> torch.Tensor:
    return torch.randn(*SHAPE, model.record.d_head, generator=torch.Generator().manual_seed(0))


def ask(model: Model, row: Encoded, variants: Variants, *, cached: bool = True, packed: bool = True) -> Answers:
    text = Text(model, row.ids[: row.first], _mean(model), cached=cached, packed=packed)
    return text.answers([row], [variants], [len(variants)])[0]


def _logprob(model: Model, hooks: object) -> float:
    logits = model.run(torch.tensor([IDS]), hooks).log_softmax(-1)[0]  # type: ignore[arg-type]
    return sum(float(logits[at - 1, IDS[at]]) for at in ROW.answer)


@pytest.mark.parametrize(("cached", "packed"), [(True, True), (True, False), (False, False)])
def test_a_removed_head_is_its_mean_at_the_answer_sites_only(model: Model, cached: bool, packed: bool) -> None:
    mean = _mean(model)

    def edit(z: torch.Tensor) -> torch.Tensor:
        out = z.clone()
        out[:, 3:5, 2] = mean[1, 2]
        return out

    wanted = _logprob(model, {("z", 1): edit})
    got = ask(model, ROW, Variants.removed([[6], []], SHAPE, "mean", 0.0), cached=cached, packed=packed)
    assert got.intact == pytest.approx(_logprob(model, {}), abs=1e-4)
    assert got.outcome.logprob[0] == pytest.approx(wanted, abs=1e-4)
    assert got.outcome.logprob[1] == pytest.approx(got.intact, abs=1e-4)


def test_scaling_to_zero_is_zeroing_the_slice_of_the_output_matrix(model: Model) -> None:
    row = Encoded(IDS, (1, 2, 3, 4, 5), (0,), False)
    got = ask(model, row, Variants.removed([[6]], SHAPE, "scale", 0.0)).outcome.logprob[0]
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
    wrong = ask(model, ROW, Variants.removed([[]], SHAPE, "mean", 0.0))
    assert not wrong.right
    assert list(wrong.said) == said
    assert (wrong.outcome.right[0], wrong.outcome.unchanged[0]) == (False, True)
    row = Encoded((*IDS[:4], *said), (4, 5), (3, 4), False)
    right = ask(model, row, Variants.removed([[], list(range(12))], SHAPE, "scale", 0.0))
    assert right.right
    assert right.outcome.right[0]
    assert (right.outcome.right == right.outcome.unchanged).all()


# Two questions of one text and one that stands alone, with one, three and two answer tokens.
CHAIN = (5, 9, 2, 30, 4, 7, 8, 21, 3, 11, 6)
ROWS = (
    Encoded(CHAIN[:6], (5,), (4,), False),
    Encoded(CHAIN, (8, 9, 10), (7, 8, 9), False),
    Encoded((3, 4, 9, 12, 6), (3, 4), (2, 3), False),
)


def _plainly(model: Model, row: Encoded, variants: Variants) -> list[tuple[float, list[int]]]:
    """Per variant: log-probability of the answer, and what greedy decoding says; whole prompts, one token at a time."""
    first, mean = row.first, _mean(model)

    def run(ids: list[int], v: int) -> torch.Tensor:
        keep, fill = (torch.from_numpy(part[v])[..., None] for part in (variants.keep, variants.fill_in))

        def edit(layer: int) -> Callable[[torch.Tensor], torch.Tensor]:
            def hook(z: torch.Tensor) -> torch.Tensor:
                edited = z[:, first:] * keep[layer] + fill[layer] * mean[layer]
                return torch.cat([z[:, :first], edited], dim=1)

            return hook

        return model.run(torch.tensor([ids]), {("z", layer): edit(layer) for layer in range(SHAPE[0])})[0]

    found = []
    for v in range(len(variants)):
        logits = run(list(row.ids), v).log_softmax(-1)
        made = list(row.ids[: first + 1])
        while len(made) < len(row.ids):
            made.append(int(run(made, v)[-1].argmax()))
        found.append((sum(float(logits[at - 1, row.ids[at]]) for at in row.answer), made[first + 1 :]))
    return found


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2", "bloom"])
@pytest.mark.parametrize("places", [512, 7])
def test_questions_of_a_text_are_answered_as_one_by_one(
    family: str, places: int, model_of: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped queries, a window shorter than the text, and a family whose branches cannot stand in a row."""
    model = model_of(family)
    monkeypatch.setattr(ablation, "_PLACES", places)
    shape = (model.record.n_layers, model.record.n_heads)
    assert shape == SHAPE
    sets = [[], [6], [1, 10], list(range(12)), [2, 5, 7, 8]]
    variants = Variants.stacked([Variants.removed(sets, SHAPE, how, 0.2) for how in ("mean", "scale")])
    packed = check_branches(model)
    assert packed == (family != "bloom")
    for rows in (ROWS[:2], ROWS[2:]):
        ids = max((row.ids[: row.first] for row in rows), key=len)
        text = Text(model, ids, _mean(model), cached=check_cache(model), packed=packed)
        for row, got in zip(rows, text.answers(rows, [variants] * len(rows), [7] * len(rows)), strict=True):
            plain = _plainly(model, row, variants)
            said = plain[0][1]
            assert list(got.said) == said
            np.testing.assert_allclose(got.outcome.logprob[:7], [one[0] for one in plain[:7]], atol=2e-4)
            assert np.isnan(got.outcome.logprob[7:]).all()
            assert got.outcome.right.tolist() == [one[1] == list(row.ids[row.first + 1 :]) for one in plain]
            assert got.outcome.unchanged.tolist() == [one[1] == said for one in plain]


def test_a_text_is_run_once_and_its_questions_beside_each_other(model: Model) -> None:
    """Counted: positions through the first block, and passes."""
    passes: list[int] = []
    handle = model.bridge.blocks[0].register_forward_pre_hook(
        lambda _, args, given: passes.append(int((args[0] if args else given["hidden_states"]).shape[:2].numel())),
        with_kwargs=True,
    )
    variants = Variants.removed([[6], [], [3]], SHAPE, "mean", 0.0)
    text = Text(model, CHAIN[: ROWS[1].first], _mean(model), cached=True, packed=True)
    right = [replace_answer(model, row) for row in ROWS[:2]]
    before = len(passes)
    text.answers(right, [variants] * 2, [1] * 2)
    handle.remove()
    assert passes[0] == ROWS[1].first
    assert passes[before:] == [4 * (1 + 3)]  # the intact model and three variants, one and three answer tokens


def replace_answer(model: Model, row: Encoded) -> Encoded:
    """The row with what the model says as its answer: nothing has to be asked twice."""
    said = _greedy(model, row.ids[: row.first + 1], len(row.answer))
    return replace(row, ids=(*row.ids[: row.first + 1], *said))


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


def test_set_sizes() -> None:
    assert [equal_size(n, 0) for n in (12, 48, 144, 1024)] == [1, 4, 12, 85]
    assert equal_size(48, 100) == 12
    assert curve_sizes(48) == (0, 1, 2, 4, 8)
    assert curve_sizes(2) == (0, 1)


def _effects(specific: float, items: int = 40, sets: int = 399) -> AblationEffects:
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
    return AblationEffects(
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
