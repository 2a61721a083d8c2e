"""Direct effects and attributions against brute force, on random checkpoints of many families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from reportgen.errors import NotApplicable
from reportgen.models.load import load
from reportgen.models.model import HookFn, Model
from reportgen.suites.circuits.scoring import effects
from reportgen.suites.circuits.scoring.effects import attributions, direct_effects
from reportgen.suites.circuits.scoring.passes import Metric
from reportgen.suites.circuits.scoring.task_runs import Means, knock_out, trace
from reportgen.suites.circuits.tasks.task import Pair, Task
from tests.tiny import tiny_folder

FAMILIES = ("gpt2", "llama", "gpt_neox", "gemma2", "qwen2", "opt", "gptj", "olmo2", "cohere", "bloom", "starcoder2")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder("gpt2", tmp_path_factory.mktemp("plain")), device="cpu")


def random_task(metric: str = "logit_diff", count: int = 6) -> Task:
    """Pairs of random tokens, of two lengths and two templates, with answer and foil sets of one or two tokens."""
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(count):
        length = 5 + index % 2
        clean, corrupted = rng.integers(2, 90, size=(2, length)).tolist()
        corrupted[-1] = clean[-1]  # corruption stands before the position read
        answer, foil, other = rng.choice(np.arange(2, 90), size=3, replace=False).tolist()
        answers = (answer,) if index % 3 else (answer, other)
        roles = {"A": 1, "B": 2, "END": length - 1}
        pairs.append(Pair(tuple(clean), tuple(corrupted), answers, (foil,), roles, index % 2, f"prompt {index}"))
    return Task("random", "Random", metric, tuple(pairs), ("one", "two"), ("A", "B"))  # type: ignore[arg-type]


def keep(into: dict[int, torch.Tensor], layer: int) -> Callable[[torch.Tensor], None]:
    def hook(tensor: torch.Tensor) -> None:
        into[layer] = tensor.clone()

    return hook


def metric_of(model: Model, pair: Pair, logits: torch.Tensor, metric: str = "logit_diff") -> float:
    """m, computed apart from the code under test."""
    row = logits[0, pair.read]
    if metric == "prob_diff":
        p = row.softmax(-1)
        return float(p[list(pair.answer_ids)].sum() - p[list(pair.foil_ids)].sum())
    return float(row[list(pair.answer_ids)].mean() - row[list(pair.foil_ids)].mean())


def brute_force(model: Model, pair: Pair, metric: str = "logit_diff", frozen: bool = True) -> np.ndarray:
    """m_clean - m_patched [layer head], prompt by prompt, patching z at every position of the whole sequence."""
    layers, heads = model.record.n_layers, model.record.n_heads
    clean: dict[int, torch.Tensor] = {}
    corrupted: dict[int, torch.Tensor] = {}
    m_clean = metric_of(
        model, pair, model.run(torch.tensor([pair.clean]), {("z", i): keep(clean, i) for i in range(layers)}), metric
    )
    model.run(torch.tensor([pair.corrupted]), {("z", i): keep(corrupted, i) for i in range(layers)})
    out = np.empty((layers, heads))
    for layer in range(layers):
        for head in range(heads):
            held = {i: z.clone() for i, z in clean.items()} if frozen else {layer: clean[layer].clone()}
            held[layer][:, :, head] = corrupted[layer][:, :, head]
            hooks = {("z", i): (lambda z, given=held[i]: given) for i in held}
            out[layer, head] = m_clean - metric_of(model, pair, model.run(torch.tensor([pair.clean]), hooks), metric)
    return out


def check_against_brute_force(model: Model, metric: str) -> None:
    task = random_task(metric)
    direct = direct_effects(model, task, trace(model, task, 4), trace(model, task, 4, corrupted=True))
    wanted = np.stack([brute_force(model, pair, metric) for pair in task.pairs])
    largest = np.abs(wanted).max()
    assert largest > 1e-3
    np.testing.assert_allclose(direct.effects, wanted, rtol=0, atol=2e-3 * largest)
    assert direct.frozen_error < 1e-4


def test_direct_effect_is_path_patching(model: Model) -> None:
    check_against_brute_force(model, "logit_diff")


def writing(embedded: torch.Tensor, z: dict[int, torch.Tensor]) -> dict[tuple[str, int], HookFn]:
    """Hooks that write block 0's input and every layer's z."""

    def write(values: torch.Tensor) -> HookFn:
        return lambda _: values

    return {("resid_pre", 0): write(embedded), **{("z", layer): write(given) for layer, given in z.items()}}


def from_the_embedding(model: Model, task: Task) -> np.ndarray:
    """The same position alone, but every block of the model for every head and prompt: [prompt layer head]."""
    layers, heads = model.record.n_layers, model.record.n_heads
    out = np.empty((len(task.pairs), layers, heads))
    metric = Metric(task, torch.device("cpu"))
    for index, pair in enumerate(task.pairs):
        seen: list[dict[int, torch.Tensor]] = [{}, {}]
        start: dict[int, torch.Tensor] = {}
        for kept, ids in zip(seen, (pair.clean, pair.corrupted), strict=True):
            hooks = {("z", i): keep(kept, i) for i in range(layers)}
            hooks |= {("resid_pre", 0): keep(start, len(start))}
            model.run(torch.tensor([ids]), hooks)
        row, token = torch.tensor([index]), torch.tensor([[pair.clean[-1]]])
        for layer, head in np.ndindex(layers, heads):
            held = {i: z[:, -1:].clone() for i, z in seen[0].items()}
            patched = {i: z.clone() for i, z in held.items()}
            patched[layer][:, :, head] = seen[1][layer][:, -1:, head]
            m = [metric(model.run(token, writing(start[0][:, -1:], z))[:, -1], row) for z in (held, patched)]
            out[index, layer, head] = float(m[0] - m[1])
    return out


def test_direct_effect_from_the_senders_block_on_is_that_from_the_embedding_on(model: Model) -> None:
    task = random_task(count=3)
    direct = direct_effects(model, task, trace(model, task, 4), trace(model, task, 4, corrupted=True)).effects
    wanted = from_the_embedding(model, task)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(direct, wanted, rtol=0, atol=3e-6 * max(1.0, np.abs(wanted).max()))


def test_every_head_costs_one_token_a_prompt_and_no_block_below_its_own(
    gpt2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = random_task()
    clean, corrupted = trace(gpt2, task, 4), trace(gpt2, task, 4, corrupted=True)
    tokens: list[tuple[int, int]] = []  # (first block, rows) of every pass
    run = gpt2.run

    def counted(ids: torch.Tensor, *args: object, **how: object) -> torch.Tensor:
        assert ids.shape[1] == 1
        tokens.append((how["start"][0], len(ids)))  # type: ignore[index]
        return run(ids, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(gpt2, "run", counted)
    direct_effects(gpt2, task, clean, corrupted)
    layers, heads, count = gpt2.record.n_layers, gpt2.record.n_heads, len(task.pairs)
    by_layer = {layer: sum(rows for first, rows in tokens if first == layer) for layer in range(layers)}
    check = count  # once more from block 0 on, for `frozen_error`
    assert by_layer == {layer: heads * count + (check if layer == 0 else 0) for layer in range(layers)}


def test_direct_effect_on_a_probability_difference(gpt2: Model) -> None:
    check_against_brute_force(gpt2, "prob_diff")


def test_last_layer_direct_effect_is_the_total_effect(gpt2: Model) -> None:
    task = random_task()
    direct = direct_effects(gpt2, task, trace(gpt2, task, 4), trace(gpt2, task, 4, corrupted=True))
    total = np.stack([brute_force(gpt2, pair, frozen=False) for pair in task.pairs])
    np.testing.assert_allclose(direct.effects[:, -1], total[:, -1], atol=1e-4)
    assert not np.allclose(direct.effects[:, 0], total[:, 0], atol=1e-2)  # earlier heads act through others too


def test_frozen_norm_directions_give_the_metric_back(model: Model) -> None:
    """Everything in the residual stream, through the frozen norm, plus biases, is m itself."""
    if model.record.family == "gemma2":
        return  # final logits are capped: not linear, and attribution is refused for this family
    task = random_task()
    clean = trace(model, task, 4)
    toward = torch.sub(*effects.directions(model, task, clean.final))
    norm_bias = model.source.get(f"{model.layout.final_norm}.bias")
    unembed_bias = model.source.get("lm_head.bias")
    W_U = model.W_U()
    for pair, along, final, m in zip(task.pairs, toward, clean.final, clean.m, strict=True):
        answer, foil = list(pair.answer_ids), list(pair.foil_ids)
        constant = torch.zeros(())
        if norm_bias is not None:
            constant = constant + norm_bias @ (W_U[:, answer].mean(1) - W_U[:, foil].mean(1))
        if unembed_bias is not None:
            constant = constant + unembed_bias[answer].mean() - unembed_bias[foil].mean()
        assert float(along @ final + constant) == pytest.approx(float(m), abs=1e-4)


def test_attributions_and_mlps_add_up_to_the_change_of_the_residual(model: Model) -> None:
    task = random_task()
    clean, corrupted = trace(model, task, 4), trace(model, task, 4, corrupted=True)
    if model.post_attn_scale(0) is not None:
        with pytest.raises(NotApplicable, match="norm follows W_O"):
            attributions(model, task, clean, corrupted)
        return
    heads = attributions(model, task, clean, corrupted).metric.sum((1, 2))
    toward = torch.sub(*effects.directions(model, task, clean.final))
    layers = model.record.n_layers
    for index, pair in enumerate(task.pairs):
        mlps = torch.zeros(model.record.d_model)
        for ids, sign in ((pair.clean, 1.0), (pair.corrupted, -1.0)):
            seen: dict[int, torch.Tensor] = {}
            model.run(torch.tensor([ids]), {("mlp_out", i): keep(seen, i) for i in range(layers)})
            mlps += sign * torch.stack([out[0, -1] for out in seen.values()]).sum(0)
        rest = toward[index] @ (clean.final[index] - corrupted.final[index] - mlps)
        assert heads[index] == pytest.approx(float(rest), abs=1e-4)


def test_answer_and_foil_are_their_logits_among_the_words(gpt2: Model) -> None:
    task = replace(random_task(), words=(7, 8, 9, 10))
    clean, corrupted = trace(gpt2, task, 4), trace(gpt2, task, 4, corrupted=True)
    found = attributions(gpt2, task, clean, corrupted)
    # with the words as answers, m is their logit less the foil's: the other sign; as foils, the answer's less theirs
    words = {"answer_ids": (7, 8, 9, 10)}, {"foil_ids": (7, 8, 9, 10)}
    other, same = (
        attributions(gpt2, replace(task, pairs=tuple(replace(p, **ids) for p in task.pairs)), clean, corrupted).metric
        for ids in words
    )
    np.testing.assert_allclose(found.foil, -other, atol=1e-5)
    np.testing.assert_allclose(found.answer, same, atol=1e-5)
    assert not np.allclose(found.answer, -found.foil, atol=1e-3)
    plain = attributions(gpt2, replace(task, words=()), clean, corrupted)
    np.testing.assert_allclose(found.metric, plain.metric, atol=1e-5)  # whatever the words are


def test_swapping_answer_and_foil_flips_every_sign(gpt2: Model) -> None:
    task = random_task()
    swapped = replace(task, pairs=tuple(replace(p, answer_ids=p.foil_ids, foil_ids=p.answer_ids) for p in task.pairs))
    results = []
    for each in (task, swapped):
        clean, corrupted = trace(gpt2, each, 4), trace(gpt2, each, 4, corrupted=True)
        results.append((direct_effects(gpt2, each, clean, corrupted).effects,
                        attributions(gpt2, each, clean, corrupted).metric, clean.m.numpy()))  # fmt: skip
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, -other, atol=1e-5)


def test_batches_do_not_change_the_effects(gpt2: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    task = random_task()
    whole = direct_effects(gpt2, task, trace(gpt2, task, 64), trace(gpt2, task, 64, corrupted=True)).effects
    monkeypatch.setattr(effects, "LOGIT_BUDGET", 5 * gpt2.record.d_vocab)
    parts = direct_effects(gpt2, task, trace(gpt2, task, 1), trace(gpt2, task, 1, corrupted=True)).effects
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_trace_reads_the_clean_run(model: Model) -> None:
    task = random_task()
    clean = trace(model, task, 4)
    for index, pair in enumerate(task.pairs):
        seen: dict[int, torch.Tensor] = {}
        hooks = {("pattern", i): keep(seen, i) for i in range(model.record.n_layers)}
        logits = model.run(torch.tensor([pair.clean]), hooks)
        assert float(clean.m[index]) == pytest.approx(metric_of(model, pair, logits), abs=1e-4)
        row = logits[0, -1]
        assert float(clean.p_answer[index]) == pytest.approx(
            float(row.softmax(-1)[list(pair.answer_ids)].sum()), abs=1e-5
        )
        assert bool(clean.top[index]) == (int(row.argmax()) in pair.answer_ids)
        for role, name in enumerate(task.attended):
            for layer, pattern in seen.items():
                wanted = pattern[0, :, -1, pair.roles[name]]
                torch.testing.assert_close(clean.attention[index, role, layer], wanted, atol=1e-5, rtol=0)


def test_knock_out_writes_the_mean_over_corrupted_prompts_of_the_template(gpt2: Model) -> None:
    task = random_task()
    gone = [(0, 1), (2, 3)]
    means = Means(gpt2)
    corrupted = trace(gpt2, task, 2, corrupted=True, means=means)
    without = trace(gpt2, task, 4, knock_out=knock_out(means, gone))
    for index, pair in enumerate(task.pairs):
        same = [i for i, p in enumerate(task.pairs) if p.template == pair.template]
        torch.testing.assert_close(without.z[index, 0, 1], corrupted.z[same, 0, 1].mean(0), atol=1e-5, rtol=0)
    untouched = trace(gpt2, task, 4)
    torch.testing.assert_close(without.z[:, 0, 0], untouched.z[:, 0, 0])
    assert not torch.allclose(without.m, untouched.m)  # layers above recompute


def test_a_model_that_cannot_be_frozen_is_refused(gpt2: Model) -> None:
    task = random_task()
    clean, corrupted = trace(gpt2, task, 4), trace(gpt2, task, 4, corrupted=True)
    wrong = replace(clean, m=clean.m + 1.0)
    with pytest.raises(NotApplicable, match="off by up to 1"):
        direct_effects(gpt2, task, wrong, corrupted)


def test_metric_of_sets_is_a_mean_of_logits_or_a_sum_of_probabilities() -> None:
    pair = Pair((1, 2), (1, 2), (3, 4), (5,), {"END": 1}, 0)
    logits = torch.tensor([[0.0, 0.0, 0.0, 1.0, 3.0, 0.5]])
    row = torch.tensor([0])
    for metric, wanted in (("logit_diff", 1.5), ("prob_diff", None)):
        task = Task("sets", "Sets", metric, (pair,), ("t",), ())  # type: ignore[arg-type]
        p = logits.softmax(-1)[0]
        m = float(Metric(task, torch.device("cpu"))(logits, row))
        assert m == pytest.approx(wanted if wanted is not None else float(p[3] + p[4] - p[5]))
