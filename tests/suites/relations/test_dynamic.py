"""Dynamic scores against plain forward passes, one prompt and one head at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from reportgen.models.model import Model
from reportgen.scores import SuiteResult
from reportgen.suites.pairs import KeptPairs
from reportgen.suites.relations.scoring.correlation import paper_correlation
from reportgen.suites.relations.scoring.dynamic import KINDS, DynamicOptions, dynamic, make_prompts, read_heads
from reportgen.suites.relations.scoring.results import Pieces
from tests.suites.relations.plain import reference_twice
from tests.suites.relations.runnable import NAMES, TEMPLATES, THINGS, fresh, planted, relation, static, tiny

OPTIONS = DynamicOptions(TEMPLATES, min_pairs=1, draws=50)


def score(model: Model, kept: KeptPairs, k: int = 10, options: DynamicOptions = OPTIONS, **changes: object) -> Pieces:
    stem = kept.relation.stem
    grids = {stem: static(model)}
    return dynamic(model, [kept], {stem: k}, grids, grids, options, **{"cached": True, **changes})  # type: ignore[arg-type]


def clean(model: Model, ids: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """z and v of every layer at every position of one prompt, by a plain pass."""
    z: dict[int, torch.Tensor] = {}
    v: dict[int, torch.Tensor] = {}
    layers = range(model.record.n_layers)
    hooks = {("z", layer): lambda t, layer=layer: z.update({layer: t.clone()}) for layer in layers}
    hooks |= {("v", layer): lambda t, layer=layer: v.update({layer: t.clone()}) for layer in layers}
    model.run(torch.tensor([ids]), hooks)
    return [z[layer][0] for layer in layers], [v[layer][0] for layer in layers]


def reference(model: Model, kept: KeptPairs, k: int) -> np.ndarray:
    """Hits [kind template pair layer head], one prompt, head and pair at a time in float64."""
    r = model.record
    group = r.n_heads // r.n_kv_heads
    hits = np.zeros((4, len(TEMPLATES), len(kept.pairs), r.n_layers, r.n_heads), bool)
    W_U = model.W_U().double()
    for t, template in enumerate(TEMPLATES):
        for p, (source, _) in enumerate(kept.pairs):
            ids = model.tokens.prompt_ids(template.replace("<X>", source))
            at = ids.index(kept.sources[p])
            z, v = clean(model, ids)
            for layer in range(r.n_layers):
                for head in range(r.n_heads):
                    W_O = model.W_O(layer)[head].double()
                    for context, vector in enumerate((v[layer][at, head // group], z[layer][-1, head])):
                        row = (vector.double() @ W_O @ W_U).numpy()
                        hits[context, t, p, layer, head] = reference_twice(row, kept.targets[p]) <= 2 * k
                        hits[2 + context, t, p, layer, head] = reference_twice(-row, kept.targets[p]) <= 2 * k
    return hits


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2", "gpt_neo"])
def test_scores_are_those_of_plain_passes(family: str, tmp_path: Path) -> None:
    model = tiny(family, tmp_path)
    kept = relation(model)
    got = score(model, kept, k=40)
    expected = reference(model, kept, 40)
    np.testing.assert_allclose(got.arrays["dynamic/made_up"].values, expected.mean(2), atol=1e-6)
    assert 0.02 < expected.mean() < 0.9  # k = 40 of 229 columns: neither all nor nothing is hit
    by_measure = {s.measure: s for s in got.scores}
    np.testing.assert_allclose(by_measure["dynamic"].values, expected[0].mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(by_measure["dynamic_context"].values, expected[1].mean((0, 1)), atol=1e-6)
    bits = got.arrays["dynamic_hits/made_up"].values
    for kind in range(len(KINDS)):
        np.testing.assert_array_equal((bits >> kind) & 1, expected[kind])


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "phi"])
def test_without_context_is_the_value_at_the_source(family: str, tmp_path: Path) -> None:
    """The definition: pattern 1 on the source at the last position, every head's clean z passed on downstream."""
    model = tiny(family, tmp_path)
    ids = model.tokens.prompt_ids("The story of Mary contains")
    at = ids.index(model.tokens.word_id("Mary"))
    z, v = clean(model, ids)
    forced: dict[int, torch.Tensor] = {}

    def attend(pattern: torch.Tensor) -> torch.Tensor:
        out = pattern.clone()  # [batch head query key]
        out[:, :, -1] = 0.0
        out[:, :, -1, at] = 1.0
        return out

    def record(layer: int, tensor: torch.Tensor) -> torch.Tensor:
        forced[layer] = tensor[0, -1].clone()
        return z[layer][None].clone()

    layers = range(model.record.n_layers)
    hooks = {("pattern", layer): attend for layer in layers}
    logits = model.run(torch.tensor([ids]))
    passed_on = model.run(
        torch.tensor([ids]), hooks | {("z", layer): lambda t, layer=layer: record(layer, t) for layer in layers}
    )
    torch.testing.assert_close(passed_on, logits)
    group = model.record.n_heads // model.record.n_kv_heads
    for layer in layers:
        torch.testing.assert_close(forced[layer], v[layer][at].repeat_interleave(group, dim=0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(forced[0], z[0][-1], atol=1e-2)


def test_a_planted_head_is_found_and_its_mirror_suppresses(tmp_path: Path) -> None:
    model = planted(tmp_path)
    forth = relation(model, "forth")
    back = relation(model, "back", list(zip(THINGS, NAMES, strict=True)))
    options = DynamicOptions(("The <X> of a",), min_pairs=1, draws=20)
    grids = {stem: static(model, stem=stem) for stem in ("forth", "back")}
    got = dynamic(model, [forth, back], {"forth": 1, "back": 1}, grids, grids, options, cached=True)
    found = {s.key: s.values for s in got.scores}
    for measure in ("dynamic", "dynamic_context"):
        assert found[f"relations/{measure}/forth"].tolist() == [[0, 1], [0, 0]]
        assert found[f"relations/{measure}/back"].tolist() == [[0, 0], [1, 0]]
    model.bridge.original_model.transformer.h[0].attn.c_proj.weight.data.mul_(-1)
    shares = score(model, forth, k=1, options=options).arrays["dynamic/forth"].values
    assert shares[2, 0].tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("changes", [{"memory_mib": 0}, {"chunk": 32}])
def test_the_layout_of_the_work_changes_nothing(changes: dict[str, int], tmp_path: Path) -> None:
    model = tiny("qwen2", tmp_path)
    pairs = [(name, thing) for name in NAMES for thing in THINGS[:3]] + [("Mary", "Mary")]
    kept = relation(model, pairs=pairs)
    usual = score(model, kept, k=40)
    other = score(model, kept, k=40, options=DynamicOptions(TEMPLATES, min_pairs=1, draws=50, **changes))
    np.testing.assert_array_equal(
        usual.arrays["dynamic_hits/made_up"].values, other.arrays["dynamic_hits/made_up"].values
    )
    assert usual.tables == other.tables


def test_whole_prompts_give_what_continuations_give(tmp_path: Path) -> None:
    model = tiny("mistral", tmp_path)
    kept = relation(model)
    quick, plain = (
        score(model, kept, k=40, cached=cached).arrays["dynamic/made_up"].values for cached in (True, False)
    )
    np.testing.assert_allclose(quick, plain, atol=0.11)  # rounding may move one of ten pairs
    assert np.mean(quick != plain) < 0.02


def test_each_prompt_is_run_behind_its_beginning_and_unembedded_once(tmp_path: Path) -> None:
    """Counted: positions through the first block, and positions whose logits are made."""
    model = tiny("llama", tmp_path)
    kept = relation(model)
    prompts = [p for t in TEMPLATES for p in make_prompts(model.tokens, t, zip(NAMES, kept.sources, strict=False), 64)]
    assert all(prompts)
    passed: list[int] = []
    unembedded: list[int] = []
    handles = [
        model.bridge.blocks[0].register_forward_pre_hook(
            lambda _, args, given: passed.append((args[0] if args else given["hidden_states"]).shape[:2].numel()),
            with_kwargs=True,
        ),
        model.bridge.unembed.register_forward_hook(lambda _, __, out: unembedded.append(out.shape[:2].numel())),
    ]
    read_heads(model, [p for p in prompts if p is not None], cached=True)
    for handle in handles:
        handle.remove()
    beginnings = {p.before for p in prompts if p is not None}
    assert sum(passed) == sum(map(len, beginnings)) + sum(len(p.after) for p in prompts if p is not None)
    assert sum(unembedded) == len(beginnings) + len(prompts)


def test_broken_heads_are_nan_with_a_reason(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    kept = relation(model)
    values = np.full((3, 4), 0.5)
    values[1, 2] = np.nan
    grids = {"made_up": static(model, values)}
    got = dynamic(model, [kept], {"made_up": 10}, grids, grids, OPTIONS, cached=True)
    for scores in got.scores:
        assert np.argwhere(np.isnan(scores.values)).tolist() == [[1, 2]]
        assert scores.reason(1, 2) == "inactive"
    assert np.isnan(got.arrays["dynamic/made_up"].values[:, :, 1, 2]).all()


def test_a_template_that_hides_the_source_is_left_out(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    options = DynamicOptions(("The story of <X>", "<X>", "un<X>"), min_pairs=1, draws=10)
    got = score(model, relation(model), options=options)
    assert got.facts["dynamic"]["templates"] == ["The story of <X>"]  # type: ignore[index]
    assert [n.what for n in got.not_computed] == ["dynamic scores in '<X>'", "dynamic scores in 'un<X>'"]


def test_prompts_place_the_source_where_it_stands(tmp_path: Path) -> None:
    model = fresh("llama", tmp_path, bos=True)
    mary = model.tokens.word_id("Mary")
    assert mary is not None
    (prompt,) = make_prompts(model.tokens, "Mary and <X> is", [("Mary", mary)], 64)
    assert prompt is not None  # the first " Mary" of the text is not the source's, and "Mary" is another token
    assert prompt.ids[0] == model.tokens.bos_id
    assert prompt.after[0] == mary
    assert len(prompt.before) == 3
    assert make_prompts(model.tokens, "Mary and <X> is", [("Mary", mary)], 4) == [None]


def test_pairs_are_drawn_the_same_way_again(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    pairs = [(name, thing) for name in NAMES for thing in THINGS]
    options = DynamicOptions(TEMPLATES, min_pairs=1, draws=10, max_pairs=12)
    first, again, other = (score(model, relation(model, pairs=pairs), options=options, seed=s) for s in (1, 1, 2))
    labels = [p.arrays["dynamic_hits/made_up"].labels["pair"] for p in (first, again, other)]
    assert len(labels[0]) == 12
    assert labels[0] == labels[1] != labels[2]
    assert first.tables == again.tables


def test_pieces_join_a_result_once(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    got = score(model, relation(model))
    result = got.onto(SuiteResult("relations"))
    assert result.tasks("dynamic_context") == ["made_up"]
    assert [t.key for t in result.tables] == ["dynamic_correlation"]
    with pytest.raises(ValueError, match="given twice"):
        got.onto(result)


def test_the_paper_s_correlation_repeats_the_static_score(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    options = DynamicOptions(TEMPLATES, min_pairs=1, draws=20, paper=True)
    got = score(model, relation(model), k=40, options=options)
    shares = got.arrays["dynamic/made_up"].values.astype(np.float64)
    expected = scipy_stats.pearsonr(np.tile(static(model).values.ravel(), 3), shares[1].ravel())
    r, p = paper_correlation(static(model).values, shares[1])
    assert (r, p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    table = got.tables[1]
    assert table.key == "dynamic_correlation_paper"
    assert table.rows[0][4:6] == (pytest.approx(r), pytest.approx(p))
