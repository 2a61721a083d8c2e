"""All checks by name, and running them. Those of scores computed from weights are in static.py.

Here are those that run a model: planted heads and their decoys, closed forms, identities.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reportgen.errors import one_line
from reportgen.models.model import HookFn, Model
from reportgen.scores import SuiteResult, head_name
from reportgen.selftest import heads, static
from reportgen.selftest.models import Bench, pair_task
from reportgen.selftest.record import Found, at_most, exactly, within
from reportgen.suites import ov
from reportgen.suites.attention.scoring import patterns
from reportgen.suites.attention.scoring.patterns import plain_words, repeated
from reportgen.suites.attention.scoring.score import score as score_attention
from reportgen.suites.attention.suite import Settings as AttentionSettings
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring.effects import attributions, direct_effects, directions
from reportgen.suites.circuits.scoring.score import measure_task
from reportgen.suites.circuits.scoring.task_runs import TaskOutcome, trace
from reportgen.suites.circuits.settings import Settings as CircuitSettings

LAGS = (4, 8, 11)
ATTENTION = AttentionSettings(
    lags=LAGS, sequences=24, permutations=200, resamples=50, copy_tokens=20, batch=24, text_windows=0
)
CIRCUITS = CircuitSettings(
    flips=200, resamples=50, patch_prompts=32, edge_prompts=16, curve_prompts=16, random_sets=19, bands=0, rephrased=0,
    backups=False, denoising=False, twins=0, text=False,
)  # fmt: skip
_EXACT = 1e-3  # logits and attention of planted heads, whose softmax is sharp but not infinite


def _attention(model: Model) -> SuiteResult:
    return score_attention(model, ATTENTION, Context(seed=0, threads=1))


def _named(result: SuiteResult, key: str) -> str:
    heads = [head_name(*lh) for s in result.head_sets if s.key.endswith(f"/{key}") for lh in s.heads]
    return ", ".join(heads) or "none"


def planted_induction(bench: Bench) -> Found:
    """Induction score of the planted head: all of its attention."""
    return within(1.0, float(_attention(bench.planted)["induction/repeated_tokens"].values[1, 0]), _EXACT)


def induction_heads(bench: Bench) -> Found:
    """Induction, previous-token and duplicate-token heads by label: L1H1 attends as one but copies nothing."""
    result = _attention(bench.planted)
    sets = ("induction_heads", "previous_token_heads", "duplicate_token_heads")
    return exactly("L1H0; L0H0; none", "; ".join(_named(result, name) for name in sets))


def fixed_distance(bench: Bench) -> Found:
    """L0H1 attends three positions back: right at block length 4 but not at the others."""
    result = _attention(bench.planted)["induction/repeated_tokens"]
    return within(1 / 3, float(result.values[0, 1]), 0.02)


def permuted_repeats(bench: Bench) -> Found:
    """With block lengths permuted over sequences, the induction score of the same patterns is 0 for L0H1."""
    p = _attention(bench.planted)["induction/repeated_tokens"].p
    assert p is not None
    return exactly("L1H0 True, L0H1 False", f"L1H0 {bool(p[1, 0] <= 0.05)}, L0H1 {bool(p[0, 1] <= 0.05)}")


def uniform(bench: Bench) -> Found:
    """Even attention in closed form: means of 1 / (query + 1) over the cells of each measure, entropy 1."""
    result, length = _attention(bench.even), 1 + 2 * max(LAGS)
    row = [1 / (query + 1) for query in range(length)]
    mean = {"previous_token": row[2:], "current_token": row[1:], "first_token": row[1:]}
    mean |= {"duplicate_token": row[-LAGS[0] :], "induction": row[-LAGS[0] :], "entropy": [1.0]}
    off = [
        float(np.abs(result[f"{name}/repeated_tokens"].values - sum(cells) / len(cells)).max())
        for name, cells in mean.items()
    ]
    return at_most(1e-6, max(off))


def uniform_base_rate(bench: Bench) -> Found:
    """The base rate for a score's excess, as the same closed form."""
    del bench
    words = list(range(40))
    made = repeated(words, LAGS, 6, None, np.random.default_rng(0))
    row = [1 / (query + 1) for query in range(1 + 2 * max(LAGS))]
    want = {"previous_token": row[2:], "current_token": row[1:], "induction": row[-LAGS[0] :]}
    rates = patterns.base_rates(made)
    return at_most(1e-9, max(abs(rates[name] - sum(cells) / len(cells)) for name, cells in want.items()))


def beginning(bench: Bench) -> Found:
    """The token at position 0 of random sequences and of prompts, for a tokenizer that prepends one."""
    tokens = bench.gpt2.tokens
    words = plain_words(tokens, tokens.size, 24, np.random.default_rng(0))
    made = repeated(words, LAGS, 6, tokens.bos_id, np.random.default_rng(0))
    first = {*made.ids[:, 0].tolist(), tokens.prompt_ids(" worda wordb")[0]}
    return exactly("<|endoftext|>", ", ".join(sorted(tokens.decode([token]) for token in first)))


def _measure(bench: Bench) -> TaskOutcome:
    model = bench.planted
    return measure_task(model, pair_task(model.tokens, 48), CIRCUITS, Context(seed=0, threads=1))


def planted_mover(bench: Bench) -> Found:
    """Movers of the planted task, the heads that feed them, and every other labelled head."""
    out = _measure(bench)
    named = {s.key.split("/")[-1]: [head_name(*lh) for lh in s.heads] for s in out.head_sets}
    movers, feeding = named.get("movers", []), named.get("previous_token_heads", [])
    others = {head for heads in named.values() for head in heads} - {"L1H0", "L0H0"}
    return exactly("L1H0; fed by L0H0; others none", "; ".join(
        [", ".join(movers), "fed by " + ", ".join(feeding), "others " + (", ".join(sorted(others)) or "none")]
    ))  # fmt: skip


def metric(bench: Bench) -> Found:
    """m of every prompt against the logits themselves: the answer's minus the foil's."""
    model = bench.gpt2
    task = pair_task(model.tokens, 12)
    m = trace(model, task, 5).m
    logits = [model.logits(torch.tensor([pair.clean]))[0, -1] for pair in task.pairs]
    want = [
        float(row[pair.answer_ids[0]] - row[pair.foil_ids[0]]) for row, pair in zip(logits, task.pairs, strict=True)
    ]
    return at_most(1e-4, float((m - torch.tensor(want)).abs().max()))


def attribution_sum(bench: Bench) -> Found:
    """Direct logit attributions of all heads, with what embeddings and MLPs add, are the metric: LayerNorm, biases."""
    return at_most(1e-4, _attribution_gap(bench.gpt2))


def attribution_sum_rms(bench: Bench) -> Found:
    """The same with RMS norms and grouped queries."""
    return at_most(1e-4, _attribution_gap(bench.llama))


def _attribution_gap(model: Model) -> float:
    task = pair_task(model.tokens, 12)
    clean = trace(model, task, 64)
    heads = attributions(model, task, clean, replace(clean, z=torch.zeros_like(clean.z))).metric.sum((1, 2))
    rest = clean.residual[:, 0].clone()  # [prompt d_model], everything that is no head
    tensors = model.source
    for layer in range(model.record.n_layers):
        for row, pair in enumerate(task.pairs):
            rest[row] += _read(model, ("mlp_out", layer), pair.clean)[0, -1]
        bias = tensors.get(f"transformer.h.{layer}.attn.c_proj.bias")
        rest += 0.0 if bias is None else bias
    answer, foil = directions(model, task, clean.final)
    total = torch.from_numpy(heads) + (rest * (answer - foil)).sum(1)
    last = tensors.get("transformer.ln_f.bias")
    if last is not None:
        W_U = model.W_U()
        total += torch.stack([last @ (W_U[:, p.answer_ids[0]] - W_U[:, p.foil_ids[0]]) for p in task.pairs])
    return float((total - clean.m).abs().max())


def _read(model: Model, at: tuple[str, int], ids: tuple[int, ...], **write: Tensor) -> Tensor:
    """An activation of one prompt, with the outputs named in `write` replaced in layer 0."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> None:
        kept.append(tensor.clone())

    hooks: dict[tuple[str, int], HookFn] = {(kind, 0): _given(value) for kind, value in write.items()}
    model.run_until(torch.tensor([ids]), {**hooks, at: keep}, at[1] + 1)
    return kept[0]


def _given(value: Tensor) -> HookFn:
    return lambda tensor: value.expand_as(tensor)


def head_outputs(bench: Bench) -> Found:
    """z W_O of all heads, with the bias, is what the attention layer adds."""
    off = 0.0
    for model in (bench.gpt2, bench.llama):
        ids = pair_task(model.tokens, 1).pairs[0].clean
        z, added = _read(model, ("z", 1), ids), _read(model, ("attn_out", 1), ids)
        bias = model.source.get("transformer.h.1.attn.c_proj.bias")
        total = torch.einsum("bphd,hdm->bpm", z, model.W_O(1)) + (0.0 if bias is None else bias)
        off = max(off, float((total - added).abs().max()))
    return at_most(1e-4, off)


def value_maps(bench: Bench) -> Found:
    """W_V of the norm's output, with the bias, is what the model's own value vectors are, per key-value head."""
    off = 0.0
    for model in (bench.gpt2, bench.llama):
        ids = pair_task(model.tokens, 1).pairs[0].clean
        x, v = _read(model, ("resid_pre", 0), ids), _read(model, ("v", 0), ids)
        scale = model.ln1_scale(0)
        assert scale is not None
        shift = model.source.get("transformer.h.0.ln_1.bias")
        centred = x if shift is None else x - x.mean(-1, keepdim=True)
        eps = getattr(model.config, "rms_norm_eps", getattr(model.config, "layer_norm_epsilon", 0.0))
        normed = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * scale
        normed = normed if shift is None else normed + shift
        values = torch.einsum("bpm,nmd->bpnd", normed, model.W_V(0))
        bias = model.source.get("transformer.h.0.attn.c_attn.bias")
        if bias is not None:
            values = values + bias[-model.record.d_model :].view(model.record.n_heads, -1)
        off = max(off, float((values - v).abs().max()))
    return at_most(1e-4, off)


def first_mlp(bench: Bench) -> Found:
    """What later layers are given for a token is what MLP 0 puts out when attention adds nothing: norm 2, not 1."""
    off = 0.0
    for model in (bench.gpt2, bench.llama):
        ids = pair_task(model.tokens, 1).pairs[0].clean
        embedded = model.embed(torch.tensor(ids))
        nothing = torch.zeros(1)
        ran = _read(model, ("mlp_out", 0), ids, resid_pre=embedded[None], attn_out=nothing)[0]
        off = max(off, float((model.first_mlp(torch.tensor(ids)) - ran).abs().max()))
    return at_most(1e-4, off)


def copying(bench: Bench) -> Found:
    """Share of words that the heads of layer 1 copy: the mover and both copying decoys, not the one without output."""
    words = ov.sources(bench.planted, plain_words(bench.planted.tokens, 80, 24, np.random.default_rng(0)))
    shares = ov.copying_among(bench.planted, words)[1]
    return exactly("1, 0, 1, 1", ", ".join(f"{share:g}" for share in shares))


def frozen(bench: Bench) -> Found:
    """With no head left to change, direct effects of all heads are what patching each at the last position gives."""
    model = bench.gpt2
    task = pair_task(model.tokens, 6)
    clean, corrupted = trace(model, task, 64), trace(model, task, 64, corrupted=True)
    found = direct_effects(model, task, clean, corrupted).effects[:, -1]  # the last layer's: no head comes after
    off = 0.0
    for row, pair in enumerate(task.pairs):
        for head in range(model.record.n_heads):
            m = _patched(model, pair.clean, corrupted.z[row, -1, head], head)
            want = float(clean.m[row]) - float(m[pair.answer_ids[0]] - m[pair.foil_ids[0]])
            off = max(off, abs(float(found[row, head]) - want))
    return at_most(1e-4, off)


def _patched(model: Model, ids: tuple[int, ...], z: Tensor, head: int) -> Tensor:
    """Next-token logits with one head's z of the last layer replaced at the last position."""

    def write(own: Tensor) -> Tensor:
        out = own.clone()
        out[0, -1, head] = z
        return out

    return model.run(torch.tensor([ids]), {("z", model.record.n_layers - 1): write})[0, -1]


def batch_split(bench: Bench) -> Found:
    """Prompts of four lengths, in batches of 1 and of 64: the same metric, head outputs and attention."""
    model = bench.llama
    task = pair_task(model.tokens, 12)
    one, all_ = trace(model, task, 1), trace(model, task, 64)
    return at_most(1e-4, max(float((getattr(one, f) - getattr(all_, f)).abs().max()) for f in ("m", "z", "attention")))


def batch_split_patterns(bench: Bench) -> Found:
    """Random sequences in batches of 5 and of 24: the same tally, means over sequences included."""
    model = bench.gpt2
    rng = np.random.default_rng(0)
    words = plain_words(model.tokens, model.tokens.size, 24, rng)
    made = repeated(words, LAGS, 24, model.tokens.bos_id, rng)
    some, all_ = patterns.measure(model, made, 5), patterns.measure(model, made, 24)
    fields = ("previous", "induction", "entropy", "offsets", "shifts", "output_norm")
    return at_most(1e-4, max(float(np.abs(getattr(some, f) - getattr(all_, f)).max()) for f in fields))


def padding(bench: Bench) -> Found:
    """Tokens after a prompt change no logit of the prompt."""
    off = 0.0
    for model in (bench.gpt2, bench.llama):
        ids = pair_task(model.tokens, 1).pairs[0].clean
        bare = model.logits(torch.tensor([ids]))
        padded = model.logits(torch.tensor([[*ids, *[0] * 7]]))[:, : len(ids)]
        off = max(off, float((bare - padded).abs().max()))
    return at_most(1e-4, off)


Check = Callable[[Bench], Found]


def _static(check: Callable[[static.Static], Found]) -> Check:
    return lambda bench: check(bench.static)


# Static first: they need no checkpoint.
CHECKS: dict[str, Check] = {
    "planted relation": _static(static.planted_relation),
    "planted suppression": _static(static.planted_suppression),
    "planted relation, p": _static(static.planted_p),
    "permuted targets": _static(static.permuted_targets),
    "copier, adjusted": _static(static.copier),
    "tied targets": _static(static.ties),
    "rank k": _static(static.third),
    "dead head": _static(static.dead_head),
    "what layers read": _static(static.first_layer),
    "heads permuted": _static(static.permuted_heads),
    "vocabulary permuted": _static(static.permuted_vocabulary),
    "W_V R, R^-1 W_O": _static(static.rotated_values),
    "grouped queries, relations": _static(static.grouped_relations),
    "grouped queries, copying": _static(static.grouped_copying),
    "eigenvalues of copiers": heads.copying,
    "eigenvalues, small and whole": heads.eigenvalues,
    "eigenvalues, null": heads.rotated_null,
    "composition": heads.composition,
    "composition, rotary": heads.composition_rotary,
    "norm folded": heads.folded_norm,
    "composition, null": heads.composition_null,
    "planted suppressor": heads.planted_suppressor,
    "planted successor": heads.planted_successor,
    "queries and keys": heads.queries_and_keys,
    "single token": heads.single_token,
    "planted induction": planted_induction,
    "induction heads named": induction_heads,
    "decoy of fixed distance": fixed_distance,
    "repeats permuted": permuted_repeats,
    "uniform attention": uniform,
    "uniform base rate": uniform_base_rate,
    "position 0": beginning,
    "planted mover and decoys": planted_mover,
    "metric": metric,
    "attributions sum, LayerNorm": attribution_sum,
    "attributions sum, RMS norm": attribution_sum_rms,
    "W_O": head_outputs,
    "W_V": value_maps,
    "first MLP": first_mlp,
    "copying": copying,
    "direct effects": frozen,
    "batches, prompts": batch_split,
    "batches, patterns": batch_split_patterns,
    "tokens after the prompt": padding,
}


def run_checks() -> Iterator[tuple[str, Found]]:
    """Run every check, one after another, on models made in a temporary folder. OSError where that has no room."""
    with tempfile.TemporaryDirectory(prefix="reportgen-selftest-") as folder:
        bench = Bench(Path(folder))
        for name, check in CHECKS.items():
            yield name, _run(check, bench)


def _run(check: Check, bench: Bench) -> Found:
    try:
        return check(bench)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  a check that breaks has failed, and the others still say what they find
        return Found("an answer", one_line(f"{type(error).__name__}: {error}"), holds=False)
