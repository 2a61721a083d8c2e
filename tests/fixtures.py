"""Results and runs made up for tests; never drawn without the synthetic mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import Column, HeadScores, HeadSet, NamedArray, NotComputed, SuiteResult, Table
from reportgen.suites import samples
from reportgen.suites.base import Measure, Suite
from reportgen.suites.samples import Samples


def model_record(layers: int = 3, heads: int = 4, **changes: object) -> ModelRecord:
    """A made-up model's record."""
    fields: dict[str, object] = {
        "id": "made-up", "slug": "made-up", "source": "fixture", "revision": "", "content_hash": "ab" * 32,
        "family": "gpt2", "n_layers": layers, "n_heads": heads, "n_kv_heads": heads, "d_model": 8, "d_head": 2,
        "d_vocab": 100, "n_ctx": 32, "n_params": 1000, "dtype": "float32", "weights": "raw", "bos": "none",
        "synthetic": True,
    }  # fmt: skip
    return ModelRecord(**{**fields, **changes})  # type: ignore[arg-type]


def manifest(record: ModelRecord | None = None) -> Manifest:
    """A manifest without suites."""
    return Manifest(
        schema_version=SCHEMA_VERSION, model=record or model_record(), device="cpu", device_name="test", threads=1,
        seed=0, preset="quick", created="2026-01-01T00:00:00+00:00", updated="2026-01-01T00:00:00+00:00", argv=[],
        versions={}, synthetic=True,
    )  # fmt: skip


def head_scores(key: str = "relations/score/capital", layers: int = 3, heads: int = 4, seed: int = 0) -> HeadScores:
    """Scores with an interval, p-values and one head that was not computed."""
    values = np.random.default_rng(seed).random((layers, heads)).astype(np.float32)
    values[0, 1] = np.nan
    return HeadScores(
        key=key, label="Capital score", values=values, n=40,
        low=np.clip(values - 0.1, 0, 1).astype(np.float32), high=np.clip(values + 0.1, 0, 1).astype(np.float32),
        p=np.where(values > 0.8, 0.01, 1).astype(np.float32), range=(0.0, 1.0), reasons={"L0H1": "inactive head"},
    )  # fmt: skip


_DIMS = ("pair", "layer", "head")


def suite_result(suite: str = "relations") -> SuiteResult:
    """A result with one of everything."""
    return SuiteResult(
        suite=suite,
        scores=(head_scores(f"{suite}/score/capital"),),
        head_sets=(
            HeadSet(
                f"{suite}/capital/top",
                "Top heads",
                ((1, 2),),
                "Made up",
                "computed",
                "score above .8",
                by_head={"replicated (halves)": {"L1H2": "failed"}},
            ),
        ),
        tables=(Table("top", "Top heads", (Column("head"), Column("score")), (("L1H2", 0.5), ("L0H1", None))),),
        arrays={
            "ranks/capital": NamedArray(("pair", "layer", "head"), np.ones((2, 3, 4), np.uint32), {"pair": ("a", "b")})
        },
        facts={"k": 10, "share": 0.5},
        notes=("a note",),
        not_computed=(NotComputed("something", "a reason"),),
    )


def own_suite() -> Suite:
    """A suite as a user writes it: a score function, a measure, and figures by default."""
    share = Measure("share", "Share", "mean of x", "High: much of it.", range=(0.0, 1.0))
    each = np.random.default_rng(0).uniform(0, 1, (20, 3, 4))
    return Suite("mine", score=lambda model: Samples(each, of="made-up prompts"), measures=(share,))


def write_kept(folder: Path) -> Run:
    """A stored run of `own_suite` that keeps what it drew."""
    from reportgen.report import draw  # drawing brings scipy, which tests of imports look for
    from reportgen.report.build import build

    suite = own_suite()
    found = samples.result(suite.name, suite.measures, suite.score(None), (3, 4), 0)  # type: ignore[operator]
    with RunWriter(folder, manifest()) as writer:
        writer.store(suite.name, found, SuiteRecord("done", 1, {}, {}, resume_key="k"))
        run = writer.run
    plates = build(run, suites={suite.name: suite}).plates
    draw.keep_drawings(folder, run.manifest, suite, [(plate.figure, plate.svg) for plate in plates])
    return run


def write_run(folder: Path, *suites: str, record: ModelRecord | None = None) -> Run:
    """A stored run with these suites done."""
    with RunWriter(folder, manifest(record)) as writer:
        writer.save()
        for name in suites:
            writer.store(name, suite_result(name), SuiteRecord("done", 1, {}, {}, resume_key="k" + name))
        return writer.run
