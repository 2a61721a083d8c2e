"""Ablation against plain forward passes with one prompt each, and on a model whose heads are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.model import Model
from reportgen.suites.ov import output_norms
from reportgen.suites.pairs import KeptPairs
from reportgen.suites.relations.scoring.ablation import (
    AblationOptions,
    Runner,
    ablation,
    balanced_mean,
    masks,
    most_removed,
    removal_steps,
    top_heads,
)
from reportgen.suites.relations.scoring.dynamic import RelationPrompt, make_prompts
from tests.suites.relations.runnable import NAMES, THINGS, fresh, planted, relation, static, tiny

PROMPT = "The story of <X> is"


def prompts_of(model: Model, kept: KeptPairs) -> list[RelationPrompt]:
    words = [(pair[0], s) for pair, s in zip(kept.pairs, kept.sources, strict=True)]
    made = make_prompts(model.tokens, kept.relation.prompt, words, model.record.n_ctx)
    return [prompt for prompt in made if prompt is not None]


def last_z(model: Model, prompt: RelationPrompt) -> torch.Tensor:
    """z at the last position of one prompt [layer head d_head]."""
    z: dict[int, torch.Tensor] = {}
    layers = range(model.record.n_layers)
    hooks = {("z", layer): lambda t, layer=layer: z.update({layer: t[0, -1].clone()}) for layer in layers}
    model.run(torch.tensor([prompt.ids]), hooks)
    return torch.stack([z[layer] for layer in layers])


def answers(model: Model, prompts: list[RelationPrompt], off: np.ndarray, fill: torch.Tensor) -> list[int]:
    """The most likely next token of every prompt with the heads off [layer head], one prompt and one hook at a time."""
    out = []
    for prompt in prompts:
        hooks = {}
        for layer in range(len(off)):

            def edit(z: torch.Tensor, layer: int = layer) -> torch.Tensor:
                z = z.clone()
                for head in np.flatnonzero(off[layer]):
                    z[:, -1, head] = fill[layer, head]
                return z

            hooks["z", layer] = edit
        out.append(int(model.run(torch.tensor([prompt.ids]), hooks)[0, -1].argmax()))
    return out


def loud(model: Model) -> Model:
    """With heads that write eight times as much, so that switching them off changes answers."""
    layout = model.layout
    for layer in range(model.record.n_layers):
        model.source.get(layout.at(layer, f"{layout.output}.weight")).mul_(8)  # type: ignore[union-attr]
        if layout.post_attn:  # Gemma 2 divides by the size of what heads write, and multiplies by 1 + w
            model.source.get(layout.at(layer, f"{layout.post_attn}.weight")).add_(7)  # type: ignore[union-attr]
    return model


@pytest.mark.parametrize("mode", ["mean", "zero"])
@pytest.mark.parametrize(("family", "cached"), [("gpt2", True), ("qwen2", True), ("qwen2", False), ("gemma2", True)])
def test_answers_are_those_of_plain_passes(family: str, cached: bool, mode: str, tmp_path: Path) -> None:
    model = loud(fresh(family, tmp_path))
    kept = relation(model, prompt=PROMPT)
    prompts = prompts_of(model, kept)
    assert len(prompts) == len(NAMES)
    z = torch.stack([last_z(model, prompt) for prompt in prompts])  # [prompt layer head d_head]
    fill = torch.zeros_like(z[0]) if mode == "zero" else z.mean(0)  # every target occurs once
    off = np.random.default_rng(0).random((5, *z.shape[1:3])) < 0.4
    off[0] = False
    expected = [answers(model, prompts, variant, fill) for variant in off]
    for variant in range(len(off)):
        # Targets that the variant itself gives, so that every wrong answer shows.
        runner = Runner(model, prompts, expected[variant], mode="zero", cached=cached)
        runner.fill = fill
        assert runner.correct(off)[variant].all()
        assert (runner.correct(off) == (np.array(expected) == np.array(expected[variant]))).all()
    runner = Runner(model, prompts, kept.targets, mode=mode, cached=cached)
    torch.testing.assert_close(runner.fill, fill, atol=2e-5, rtol=1e-4)
    assert len({tuple(row) for row in expected}) > 2


def test_norms_are_of_what_is_taken_away(tmp_path: Path) -> None:
    model = tiny("qwen2", tmp_path)
    kept = relation(model, prompt=PROMPT)
    runner = Runner(model, prompts_of(model, kept), kept.targets, mode="mean", cached=True)
    z = torch.stack([last_z(model, prompt) for prompt in prompts_of(model, kept)]).double()
    gone = z - z.mean(0)
    for layer, head in ((0, 0), (2, 3)):
        written = gone[:, layer, head] @ model.W_O(layer)[head].double()
        expected = float(written.square().sum(-1).mean().sqrt())
        assert runner.norms[layer, head] == pytest.approx(expected, rel=1e-4)
    assert (output_norms(model, torch.zeros(2, 3, 4, 8)) == 0).all()


def test_the_mean_weighs_targets_alike() -> None:
    z = torch.tensor([[1.0], [3.0], [10.0]])
    assert balanced_mean(z, torch.tensor([7, 7, 8])).tolist() == [6.0]


def two_tasks(tmp_path: Path) -> tuple[Model, list[KeptPairs]]:
    model = planted(tmp_path)
    forth = relation(model, "forth", prompt="The <X>")
    back = relation(model, "back", list(zip(THINGS, NAMES, strict=True)), prompt="The <X>")
    return model, [forth, back]


@pytest.mark.parametrize("mode", ["mean", "zero"])
def test_only_the_planted_head_takes_the_answer_away(mode: str, tmp_path: Path) -> None:
    model, tasks = two_tasks(tmp_path)
    order = {"forth": static(model, np.array([[0, 0.9], [0, 0]])), "back": static(model, np.array([[0, 0], [0.9, 0]]))}
    options = AblationOptions(mode=mode, n_random=6, p_sets=399)
    got = ablation(model, tasks, order, options, cached=True)
    summary, curves = got.tables
    names = [c.name for c in summary.columns]
    for row in summary.rows:
        assert row[names.index("Base accuracy")] == 1.0
        assert row[names.index("Heads removed")] == 1
        assert row[names.index("Accuracy without them")] == 0.0
        assert row[names.index("Random heads")] == 1.0
        assert row[names.index("Controls, same heads removed")] == 1.0
        assert row[names.index("p")] == pytest.approx(2 / 400)  # Holm over two relations
    assert [row[:3] for row in curves.rows] == [
        ("forth", 0, 1.0),
        ("forth", 1, 0.0),
        ("back", 0, 1.0),
        ("back", 1, 0.0),
    ]
    assert got.facts["ablation"]["relations"]["forth"]["controls"] == ["back"]  # type: ignore[index]
    assert not got.not_computed


def test_removing_others_first_shows_when_the_answer_goes(tmp_path: Path) -> None:
    """The planted head comes third: the curve falls there, and the random sets avoid all three."""
    model, tasks = two_tasks(tmp_path)
    order = {"forth": static(model, np.array([[0.5, 0.1], [0.4, 0]]))}
    got = ablation(model, tasks[:1], order, AblationOptions(n_random=5), cached=True)
    assert got.arrays["ablation_correct/forth"].values.mean(1).tolist() == [1, 1, 1, 0]
    about = got.facts["ablation"]["relations"]["forth"]  # type: ignore[index]
    assert (about["heads"], about["removed"], about["reached_zero"]) == (["L0H0", "L1H0", "L0H1"], 3, True)
    assert got.arrays["ablation_random_heads/forth"].values.tolist() == [[3]] * 5  # L1H1 alone is left
    assert got.arrays["ablation_random/forth"].values.tolist() == [[1, 1]] * 5
    assert about["layer_fallbacks"] == 5  # L0H0 had to be matched in layer 1
    assert [n.what for n in got.not_computed] == ["random heads beside more than 1 heads of forth"]
    assert [row[5] for row in got.tables[1].rows] == [1.0, 1.0, None, None]


def test_what_cannot_be_removed_is_listed(tmp_path: Path) -> None:
    model, (forth, back) = two_tasks(tmp_path)
    wrong = relation(model, "wrong", list(zip(NAMES, NAMES[::-1], strict=True)), prompt="The <X>")
    hidden = relation(model, "hidden", prompt="The un<X>")
    plain = relation(model, "plain")
    grids = {stem: static(model, np.zeros((2, 2))) for stem in ("forth", "back", "wrong", "hidden", "plain")}
    got = ablation(model, [forth, back, wrong, hidden, plain], grids, AblationOptions(), cached=True)
    why = {n.what.removeprefix("causal ablation of "): n.why for n in got.not_computed}
    assert set(why) == set(grids)
    assert "no head" in why["forth"]
    assert why["wrong"] == "base accuracy is 0.00 on 10 prompts, below 0.1"
    assert "0 of 10" in why["hidden"]
    assert "no prompt" in why["plain"]
    assert got.tables == ()


def test_the_same_seed_gives_the_same_result_and_leaves_no_hook(tmp_path: Path) -> None:
    model, tasks = two_tasks(tmp_path)
    order = {stem: static(model, np.array([[0.3, 0.9], [0.2, 0.1]])) for stem in ("forth", "back")}
    before = model.run(torch.tensor([prompts_of(model, tasks[0])[0].ids]))
    first, again = (ablation(model, tasks, order, AblationOptions(n_random=4), cached=True, seed=5) for _ in range(2))
    assert first.tables == again.tables
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array.values, again.arrays[name].values)
    assert torch.equal(model.run(torch.tensor([prompts_of(model, tasks[0])[0].ids])), before)


def test_prompts_are_capped(tmp_path: Path) -> None:
    model, tasks = two_tasks(tmp_path)
    order = {"forth": static(model, np.array([[0, 0.9], [0, 0]]))}
    got = ablation(model, tasks[:1], order, AblationOptions(max_prompts=4, n_random=0, min_prompts=2), cached=True)
    assert got.tables[0].rows[0][2] == 4
    assert got.arrays["ablation_correct/forth"].values.tolist() == [[1] * 4, [0] * 4]


def test_steps_and_caps_are_the_paper_s() -> None:
    assert removal_steps(30) == (0, 1, 2, 3, 5, 8, 13, 21, 30)
    assert removal_steps(1) == (0, 1)
    assert [most_removed(n) for n in (144, 299, 300, 500, 999, 1200, 5120)] == [30, 30, 50, 100, 100, 150, 250]


def test_heads_are_removed_in_the_paper_s_order() -> None:
    scores = np.array([[0.5, 0.0, np.nan], [0.5, 0.7, 0.5]], np.float32)
    assert top_heads(scores, 9) == [(1, 1), (1, 2), (1, 0), (0, 0)]  # ties: the larger flat index first
    assert top_heads(scores, 2) == [(1, 1), (1, 2)]


def test_masks_are_prefixes() -> None:
    got = masks(np.array([[3, 0, 1]], np.int32), (1, 3), (2, 2))
    assert got[0, 0].tolist() == [[False, False], [False, True]]
    assert got[0, 1].tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("wrong", [{"mode": "noise"}, {"p_sets": 20}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"mode|399"):
        AblationOptions(**wrong)  # type: ignore[arg-type]
