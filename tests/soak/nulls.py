"""p-values of the suites' own code where nothing is to be found: null name -> p [test ...] of one twin.

Random weights alone are no null for every claim. A random head does treat two equal tokens unlike two others, or the
previous position unlike a uniform row, if ever so little, and a test with enough examples says so. Where that is the
claim, what would carry the effect is taken away and the twin is kept: see each function.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reportgen.models.model import Model
from reportgen.suites.attention.scoring import patterns
from reportgen.suites.attention.scoring import score as attention_score
from reportgen.suites.attention.suite import Settings as Attention
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring import task_runs as runs
from reportgen.suites.circuits.scoring.effects import direct_effects, total_effects
from reportgen.suites.circuits.settings import Settings as Circuits
from reportgen.suites.circuits.tasks import user
from reportgen.suites.cognitive.scoring import fit as probes
from reportgen.suites.cognitive.scoring.dataset import prepare
from reportgen.suites.cognitive.scoring.score import _alone, _features
from reportgen.suites.cognitive.scoring.tables import Scored, family_lines
from reportgen.suites.cognitive.suite import Settings as Cognitive
from reportgen.suites.ov import output_norms
from reportgen.suites.relations.scoring.score import score as relations_score
from reportgen.suites.relations.suite import RelationsSettings
from tests.soak.twins import WORDS

P = npt.NDArray[np.floating]
PAIRS, SHARED = 40, 12
LAGS = (5, 8, 11, 14)
SEQUENCES, LONG = 32, 1024
PROMPTS = 60
CHAINS, FUNCTIONS = 60, ("Alpha", "Beta", "Gamma")


def relations(twin: Model, seed: int, folder: Path) -> dict[str, P]:
    """Words paired at random: their vectors are drawn alike, so that targets are exchangeable. One list has every
    target once, the other 12 targets for 40 sources."""
    rng = np.random.default_rng([seed, 1])
    words = rng.permutation(WORDS).tolist()
    sources, targets = words[:PAIRS], words[PAIRS : 2 * PAIRS]
    shared = [targets[i] for i in rng.integers(0, SHARED, PAIRS)]
    for name, chosen in (("distinct", targets), ("shared", shared)):
        (folder / f"{name}.json").write_text(json.dumps(list(zip(sources, chosen, strict=True))))
    settings = RelationsSettings(
        relations_dir=str(folder), k=60, permutations=999, folded=False, twins=0, matched=0, dynamic=False,
        multi_token=False, ablation=False, salient_tokens=0,
    )  # fmt: skip
    found = relations_score(twin, settings, Context(seed, 1))
    return {f"relations: {s.measure}, {s.task} targets": s.p for s in found.scores if s.p is not None}


def attention(twin: Model, seed: int, folder: Path) -> dict[str, P]:
    """Three kinds. Repeated tokens as the suite has them. The same without the repeat: fresh tokens in the place of the
    copy. And the sign flips with the head's own long-run excess (1,024 further sequences) taken off."""
    settings = Attention(lags=LAGS, sequences=SEQUENCES, permutations=999, text_windows=0, batch=256)
    rng = np.random.default_rng([seed, 2])
    words = patterns.plain_words(twin.tokens, twin.tokens.size, len(WORDS), rng)
    made = patterns.repeated(words, LAGS, SEQUENCES, None, rng)
    fresh = np.stack([rng.choice(words, made.ids.shape[1], replace=False) for _ in made.ids])
    out: dict[str, P] = {}
    for kind, one in (("random tokens, repeated", made), ("no repeat", replace(made, ids=fresh))):
        measured = _attention(twin, one)
        for name in attention_score.REPEATS:
            p = attention_score._adjusted_p(name, measured, settings, rng)
            out[f"attention: {name}, {kind}"] = p
    long = _attention(twin, patterns.repeated(words, LAGS, LONG, None, rng))
    measured = _attention(twin, made)
    for name in ("previous_token", "current_token", "first_token"):
        truth = long.per_sequence[name].mean(0, dtype=np.float64)
        centred = (measured.per_sequence[name] - truth + measured.base[name]).astype(np.float32)
        one = replace(measured, per_sequence={**measured.per_sequence, name: centred})
        out[f"attention: {name}, excess centred"] = attention_score._adjusted_p(name, one, settings, rng)
    return out


def _attention(twin: Model, made: patterns.Sequences) -> attention_score.AttentionMeasured:
    nothing = np.zeros((twin.record.n_layers, twin.record.n_heads), np.float32)
    return attention_score._collect(made, patterns.measure(twin, made, 256), nothing)


def circuits(twin: Model, seed: int, folder: Path) -> dict[str, P]:
    """Random prompts; which of two random words is the answer and which the foil is a coin's toss for each prompt, so
    that every effect has either sign with the same probability."""
    rng = np.random.default_rng([seed, 3])
    lines = []
    for _ in range(PROMPTS):
        words = rng.permutation(WORDS)[:14].tolist()
        clean, corrupted = words[:8], [*words[:2], words[8], words[9], *words[4:8]]
        lines.append(
            {"task": "null", "clean": " ".join(clean), "corrupted": " ".join(corrupted),
             "answer": words[10], "foil": words[11]}
        )  # fmt: skip
    path = folder / "null.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    settings = Circuits(tasks_file=str(path), prompts=PROMPTS, flips=999, resamples=50, positions=0)
    task = user.build(twin.tokens, "null", user.read(str(path), ())["null"], PROMPTS)
    of = runs.start(twin, task, settings, Context(seed, 1))
    shape = (twin.record.n_layers, twin.record.n_heads)
    direct = direct_effects(twin, task, of.clean, of.corrupted).effects
    total = total_effects(of.batches(of.whole), np.ones(shape, bool), denoising=True)
    grids = {"direct": direct, "total": total.noising, "total, denoising": total.denoising}
    return {f"circuits: {name} effects": of.summarise(each).p for name, each in grids.items() if each is not None}


def cognitive(twin: Model, seed: int, folder: Path) -> dict[str, P]:
    """Random questions, their labels drawn at random."""
    rng = np.random.default_rng([seed, 4])
    lines = []
    for chain in range(CHAINS):
        for step in range(3):
            words = rng.permutation(WORDS)[:9].tolist()
            lines.append(
                {"chain": f"c{chain}", "step": step, "question": " ".join(words[:4]),
                 "subquestion": " ".join(words[4:8]), "answer": words[8], "function": FUNCTIONS[rng.integers(3)]}
            )  # fmt: skip
    path = folder / "null-questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    settings = Cognitive(
        data=str(path), prompt="plain", permutations=99, seeds=1, proj=4, hidden=8, most_steps=60, cache=False,
        layer_mean=True, context="none", batch=64,
    )  # fmt: skip
    context = Context(seed, 1)
    prepared = prepare(twin, settings, settings.recipe(), seed, context.progress)
    z = _features(twin, prepared, settings, prepared.recipe, context)
    rows = probes.LabelledRows.of(prepared.data)
    active = output_norms(twin, z) > 0
    found = probes.fit(z, prepared.data, rows, settings, prepared.recipe, seed, context.progress)
    each = _alone(z, prepared, rows, active, settings, prepared.recipe, context)
    lines_of = family_lines(Scored(prepared, rows, found, each, None, None, active, settings, prepared.recipe, seed, 0))  # type: ignore[arg-type]
    assert lines_of is not None
    assert each.p is not None
    return {
        "cognitive: own part of the probe's importance": lines_of.p["own"],
        "cognitive: whole importance": lines_of.p["total"],
        "cognitive: each head alone": each.p,
    }


Null = Callable[[Model, int, Path], dict[str, P]]
NULLS: dict[str, Null] = {
    "relations": relations,
    "attention": attention,
    "circuits": circuits,
    "cognitive": cognitive,
}
