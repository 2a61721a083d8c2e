"""Synthetic runs of heads whose scores come from a few hidden factors: like one another only where a test says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reportgen.aliases import Floats
from reportgen.atlas.fingerprint import Fingerprints, of_scores
from reportgen.manifest import SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import TWIN, Control, HeadScores, HeadSet, SuiteResult
from tests.fixtures import manifest, model_record

MEASURES = 24  # in three suites of two measures of four tasks
LOADINGS = np.random.default_rng(7).standard_normal((MEASURES, 4))  # [measure factor]: the same for all models


def values(rng: np.random.Generator, layers: int, heads: int) -> Floats:
    """[layer head measure] of unrelated heads: four factors, a trend over layers, and noise."""
    depth = np.linspace(-1, 1, layers)[:, None, None]
    factors = rng.standard_normal((layers, heads, LOADINGS.shape[1]))
    noise = 0.5 * rng.standard_normal((layers, heads, MEASURES))
    return depth * LOADINGS[:, 0] + factors @ LOADINGS.T + noise


def scores(found: Floats, twin: Floats | None = None) -> list[HeadScores]:
    """One score per measure of [layer head measure]; `twin` are the random twin's heads."""

    def controls(i: int) -> tuple[Control, ...]:
        return () if twin is None else (Control(TWIN, 0.0, twin[..., i].astype(np.float32)),)

    return [
        HeadScores(
            f"s{i % 3}/m{i % 2}/t{i // 6}", f"m{i}", found[..., i].astype(np.float32), 10, no_null="made up",
            controls=controls(i),
        )
        for i in range(MEASURES)
    ]  # fmt: skip


def prints(slug: str, found: Floats, twin: Floats | None = None) -> Fingerprints:
    """Fingerprints of a made-up model of these scores."""
    record = model_record(*found.shape[:2], slug=slug, title=slug)
    return of_scores(record, scores(found, twin), np.exp(found[..., 0]))


def half_copied(found: Floats, rng: np.random.Generator) -> Floats:
    """A model whose even heads are those of `found` with some noise, and whose odd ones are unrelated."""
    copy = found + 0.3 * rng.standard_normal(found.shape)
    copy[:, 1::2] = values(rng, *found.shape[:2])[:, 1::2]
    return copy


def stored(folder: Path, slug: str, found: Floats) -> Run:
    """A stored run of [layer head measure], marked synthetic, whose first suite found a class of heads."""
    record = model_record(*found.shape[:2], slug=slug, id=slug)
    movers = HeadSet(
        "s0/t0/movers", "Mover Heads", ((1, 2),), "Made up", "computed: t0 on this model", "made up",
        evidence={"causal effect": "passed", "replicated (templates)": "failed"},
    )  # fmt: skip
    made = scores(found)
    with RunWriter(folder / slug, manifest(record)) as writer:
        for name in ("s0", "s1", "s2"):
            own = tuple(score for score in made if score.suite == name)
            result = SuiteResult(name, own, (movers,) if name == "s0" else ())
            writer.store(name, result, SuiteRecord("done", 1, {}, {}))
        return writer.run
