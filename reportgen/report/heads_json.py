"""A run as JSON for other front ends: an index, and a file per head (`reportgen export RUN --json DIR`).

The format is documented in docs/export.md and named in every file by VERSION. NaN is null, numbers have five
significant digits, and tokens are given as id and text both; without stored text, as ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reportgen.errors import SettingsError
from reportgen.figures.chart_data import places
from reportgen.figures.theme import clean
from reportgen.files import check_inside, check_writable, there, write_atomic
from reportgen.head_examples import Example, HeadExamples, of_run
from reportgen.report.build import ReportScene, computed
from reportgen.report.labels import score_names
from reportgen.report.verdicts import ladder
from reportgen.scores import Head, HeadScores, HeadSet, head_name, parse_head

VERSION = "reportgen-heads-1"
DIGITS = 5
_GRIDS = ("low", "high", "p", "p_each", "fdr")


def wanted_heads(words: Sequence[str], shape: tuple[int, int]) -> list[Head]:
    """The heads that `words` name ("L9H6"), in layer-major order; none = all. SettingsError names what there is."""
    layers, heads = shape
    if not words:
        return [(layer, head) for layer in range(layers) for head in range(heads)]
    found = set()
    for word in words:
        try:
            head = parse_head(word.strip())
        except ValueError as error:
            raise SettingsError(f"--heads: {error}.", "Give names like L9H6, with commas between.") from error
        if head[0] >= layers or head[1] >= heads:
            last = head_name(layers - 1, heads - 1)
            raise SettingsError(f"--heads: there is no {head_name(*head)}; the last head is {last}.", "Count from 0.")
        found.add(head)
    return sorted(found)


def export(scene: ReportScene, folder: Path, words: Sequence[str] = ()) -> tuple[Path, int]:
    """Write index.json and heads/L0H0.json, ... into `folder`; the index's path and how many heads there are.

    Raises SettingsError for heads that the model lacks, or a run without scores of every head.
    """
    record = scene.manifest.model
    shape = (record.n_layers, record.n_heads)
    scores = [s for name in scene.names if name in scene.results for s in scene.results[name].scores]
    scores = [s for s in scores if s.values.shape == shape]
    heads = wanted_heads(words, shape)
    examples = of_run(scene.results)
    examples = examples if examples is not None and examples.shape == shape else None
    if not scores and examples is None:
        raise SettingsError("The run has neither scores nor examples of heads.", "Score it with 'reportgen run'.")
    check_writable(folder)
    check_inside(folder)
    if there(folder / "heads") and (folder / "heads").is_symlink():
        raise SettingsError(f"{folder / 'heads'} is a link.", "Choose another folder.")
    sets = tuple({s.key: s for s in (*scene.sets, *computed(scene.results))}.values())
    ranks = {s.key: places(s) for s in scores}
    for head in heads:
        found = [] if examples is None else examples.of_head(head)
        content = _head(head, scores, ranks, sets, found, examples)
        write_atomic(folder / "heads" / f"{head_name(*head)}.json", _bytes(content))
    index = folder / "index.json"
    write_atomic(index, _bytes(_index(scene, scores, sets, heads, examples)))
    return index, len(heads)


def _index(
    scene: ReportScene, scores: Sequence[HeadScores], sets: Sequence[HeadSet], heads: Sequence[Head],
    examples: HeadExamples | None,
) -> dict[str, Any]:  # fmt: skip
    """Model, scores, sets, and every exported head with all its scores as flat numbers."""
    manifest, model = scene.manifest, scene.manifest.model
    names = score_names(scene.results.values())
    return {
        "format": VERSION,
        "run": manifest.model.slug,
        "created": manifest.created,
        "seed": manifest.seed,
        "synthetic": scene.synthetic,
        "model": {
            "id": model.id, "name": model.name, "layers": model.n_layers, "heads": model.n_heads,
            "kv_heads": model.n_kv_heads, "d_model": model.d_model, "d_head": model.d_head, "vocabulary": model.d_vocab,
        },
        "scores": [_score(s, names[s.key], scene) for s in scores],
        "sets": [_set(s) for s in sets],
        "examples": None if examples is None else {"suite": examples.suite, "has_text": examples.has_text},
        "heads": [
            {
                "name": head_name(*head), "layer": head[0], "head": head[1], "file": f"heads/{head_name(*head)}.json",
                "scores": {s.key: number(s.values[head]) for s in scores},
            }
            for head in heads
        ],
    }  # fmt: skip


def _score(scores: HeadScores, name: str, scene: ReportScene) -> dict[str, Any]:
    suite = scene.suites.get(scores.suite)
    measure = next((m for m in suite.measures if m.name == scores.measure), None) if suite else None
    return {
        "key": scores.key, "name": clean(name), "label": clean(scores.label), "n": scores.n,
        "range": [number(bound) for bound in scores.range], "line": number(scores.line),
        "no_null": scores.no_null, "formula": measure.formula if measure else "",
        "controls": {c.name: number(c.value) for c in scores.controls},
    }  # fmt: skip


def _set(heads: HeadSet) -> dict[str, Any]:
    return {
        "key": heads.key, "label": heads.label, "kind": heads.kind, "source": heads.source, "rule": heads.rule,
        "verified": heads.verified, "heads": [head_name(*h) for h in heads.heads],
        "evidence": dict(ladder(heads.evidence)) if heads.evidence else {},
    }  # fmt: skip


def _head(
    head: Head, scores: Sequence[HeadScores], ranks: Mapping[str, Mapping[Head, int]], sets: Sequence[HeadSet],
    found: Sequence[Example], examples: HeadExamples | None,
) -> dict[str, Any]:  # fmt: skip
    """One head's file."""
    return {
        "format": VERSION,
        "name": head_name(*head),
        "layer": head[0],
        "head": head[1],
        "scores": [
            {
                "key": s.key, "value": number(s.values[head]), "n": s.n, "rank": ranks[s.key].get(head),
                **{grid: number(None if (g := getattr(s, grid)) is None else g[head]) for grid in _GRIDS},
                "note": clean(s.note(*head)),
            }
            for s in scores
        ],
        "sets": [
            {
                "key": s.key, "label": s.label,
                "evidence": {t: s.by_head.get(t, {}).get(head_name(*head), whole) for t, whole in s.evidence.items()},
            }
            for s in sets
            if head in s.heads
        ],
        "examples": [] if examples is None else [_example(e, examples) for e in found],
    }  # fmt: skip


def _example(example: Example, examples: HeadExamples) -> dict[str, Any]:
    before, after, raised, lowered = example.indices
    first = example.before[0][0] if example.before else 0
    return {
        "place": example.place,
        "window": example.window,
        "query": example.query,
        "first": first,
        "tokens": _tokens(before, examples),
        "next": _tokens((after,), examples)[0] if after >= 0 else None,
        "keys": [
            {
                "position": k.position, **_tokens((k.index,), examples)[0],
                "weight": number(k.mass), "value_weighted": number(k.weight),
            }
            for k in example.keys
        ],
        "first_position": number(example.sink),
        "output_norm": number(example.norm),
        "direct_effect": number(example.dla),
        "explained_by_top_key": number(example.top_share),
        "raised": _tokens(raised, examples),
        "lowered": _tokens(lowered, examples),
    }  # fmt: skip


def _tokens(indices: Iterable[int], examples: HeadExamples) -> list[dict[str, Any]]:
    ids: Any = examples.arrays["words"]
    return [
        {"id": int(ids[i]), **({"text": examples.words[i]} if examples.has_text else {})} for i in indices if i >= 0
    ]


def number(value: Any) -> float | None:
    """`value` with five significant digits; None for what is not finite."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(f"{float(np.float64(value)):.{DIGITS}g}")


def _bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n").encode()
