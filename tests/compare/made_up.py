"""Made-up stored runs to compare, with planted differences."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from reportgen.manifest import ModelRecord, SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import FloatGrid, HeadScores, HeadSet, NamedArray, SuiteResult
from tests.fixtures import manifest, model_record


def grid(layers: int, heads: int, seed: int = 0) -> FloatGrid:
    return np.random.default_rng(seed).uniform(0.1, 0.8, (layers, heads)).astype(np.float32)


def scores(key: str, values: FloatGrid, n: int = 40, half: float = 0.05) -> HeadScores:
    low, high = np.clip(values - np.float32(half), 0, 1), np.clip(values + np.float32(half), 0, 1)
    return HeadScores(
        key, f"{key.split('/')[2]} score", values, n, low.astype(np.float32), high.astype(np.float32), line=0.9,
        range=(0.0, 1.0),
    )  # fmt: skip


def result(values: FloatGrid, heads: tuple[tuple[int, int], ...], pairs: tuple[str, ...] = ("a", "b")) -> SuiteResult:
    """Two relations of one category, a set of heads, and the pairs scored."""
    found = (scores("relations/score/copying", values), scores("relations/score/capital", values[::-1].copy()))
    facts = {"tau": 0.5, "relations": {s.task: {"category": "Knowledge", "title": s.task} for s in found}}
    ranks = NamedArray(("pair", "layer", "head"), np.ones((len(pairs), *values.shape), np.uint32), {"pair": pairs})
    sets = (HeadSet("relations/copying/top", "Top heads", heads, "Made up", "computed here", "score above .5"),)
    return SuiteResult("relations", found, sets, arrays={"ranks/copying": ranks}, facts=facts)


def stored(
    folder: Path,
    found: SuiteResult,
    settings: dict[str, object] | None = None,
    seed: int = 0,
    data: dict[str, str] | None = None,
    **model: object,
) -> Run:
    """A run of one suite; `model` changes the model's record."""
    layers, heads = found.scores[0].values.shape
    record: ModelRecord = model_record(layers, heads, **{"slug": folder.name, "synthetic": False, **model})
    said = msgspec.structs.replace(manifest(record), seed=seed, synthetic=False)
    with RunWriter(folder, said) as writer:
        writer.store(
            "relations", found, SuiteRecord("done", 1, settings or {"tau": 0.5}, {}, resume_key="k", data=data or {})
        )
        return writer.run
