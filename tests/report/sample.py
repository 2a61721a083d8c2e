"""A small made-up run with everything a report has to cope with: maps, signed values, gaps, failures, hostile text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import altair as alt
import msgspec
import numpy as np

from reportgen.figures import chart_data
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap
from reportgen.manifest import Manifest, SelfCheck, SuiteRecord
from reportgen.scores import (
    Column,
    Control,
    FloatGrid,
    HeadScores,
    HeadSet,
    HeldOut,
    NamedArray,
    NotComputed,
    SuiteResult,
    Table,
)  # fmt: skip
from reportgen.suites.base import Measure, Suite
from tests import fixtures

LAYERS, HEADS = 3, 4
EVIDENCE = {"causal effect": "passed", "replicated (templates)": "passed", "natural text": "not run"}
BY_HEAD = {"replicated (templates)": {"L1H2": "passed", "L2H3": "passed"}}  # the causal test was of the set
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u202eRTL\u0007 \u4e2d\u6587 {{ 7*7 }} #let x"
LONG = "Donaudampfschifffahrt" * 20


@dataclass(frozen=True)
class Settings:
    """Settings of the made-up suites."""

    k: int = field(default=10, metadata={"help": "a target within the top k is a hit"})
    words: tuple[str, ...] = field(default=(), metadata={"help": "words to use"})


@dataclass(frozen=True)
class FakeRun:
    """What build() needs of a run."""

    path: Path
    manifest: Manifest
    results: Mapping[str, SuiteResult]

    def overlay_files(self) -> list[Path]:
        return []

    def beside(self) -> tuple[list[FakeRun], dict[str, str]]:
        return [], {}


def grid(seed: int, low: float = 0.0) -> FloatGrid:
    return np.random.default_rng(seed).uniform(low, 1, (LAYERS, HEADS)).astype(np.float32)


def signed() -> HeadScores:
    values = grid(3, -1.0)
    values[2, 1] = -0.999
    return HeadScores(
        "alpha/effect/ioi", "Effect on IOI", values, n=50, low=values - np.float32(0.1), high=values + np.float32(0.1),
        line=0.9, range=(-np.inf, np.inf),
    )  # fmt: skip


HELD_OUT = HeldOut("L2H3", 0.81, 0.6, 0.95, 20, "one half of the pairs")
CONTROLS = (Control("ideal copier", 0.25), Control("random twin", float(grid(9).max()), grid(9)))
BOUND = (Control("random twin", 0.1, bound=True),)


def arrays(text: str) -> dict[str, NamedArray]:
    """Salient tokens of every head but L0H0."""
    token = np.tile(np.array([0, 1], np.int32), (2, LAYERS, HEADS, 1))  # [list layer head place]
    token[:, 0, 0] = -1
    outputs = np.tile(np.array([[2, 1], [1, -1]], np.int32), (2, LAYERS, HEADS, 1, 1))
    words = (text, "new\nline", "</script>")
    places = ("list", "layer", "head", "place")
    return {
        "salient_token": NamedArray(places, token),
        "salient_sigma": NamedArray(places, np.where(token < 0, np.nan, 1.5).astype(np.float32)),
        "salient_raised": NamedArray((*places, "output"), outputs),
        "salient_lowered": NamedArray((*places, "output"), outputs[..., ::-1]),
        "salient_words": NamedArray(("word",), np.arange(3), {"word": words}),
        **snippets(text),
    }


def snippets(text: str) -> dict[str, NamedArray]:
    """Two windows of five tokens; every head attends from token 3 of a window to token 1, place 1 to nothing."""
    dims, shape = ("layer", "head", "place"), (LAYERS, HEADS, 2)
    query = np.zeros(shape, np.int32) + np.array([3, 8], np.int32)
    key = np.zeros((*shape, 1), np.int32) + np.array([[1], [-1]], np.int32)
    weight = np.where(key < 0, np.nan, 0.8).astype(np.float32)
    ids = np.array([[0, 1, 2, 3, 0], [3, 2, 1, 0, 3]], np.int32)
    return {
        "snippet_text": NamedArray(("window", "pos"), ids),
        "snippet_words": NamedArray(("word",), np.arange(4), {"word": (" a", text, "</script>", LONG * 25)}),
        "snippet_query": NamedArray(dims, query, {"place": ("100%", "50%")}),
        "snippet_key": NamedArray((*dims, "key"), key),
        "snippet_weight": NamedArray((*dims, "key"), weight),
        "snippet_sink": NamedArray(dims, np.full(shape, 0.1, np.float32)),
    }


def result(text: str = "Mary") -> SuiteResult:
    """The result of the suite `alpha`; `text` stands wherever a model's or user's words may stand."""
    plain = dataclasses.replace(fixtures.head_scores("alpha/score/capital"), held_out=HELD_OUT, controls=CONTROLS)
    no_null = HeadScores(
        "alpha/score/names", f"Names {text}", grid(1), n=0, no_null=f"no permutations of {text}", range=(0, 1),
        controls=BOUND,
    )  # fmt: skip
    return SuiteResult(
        "alpha",
        scores=(plain, no_null, signed()),
        head_sets=(
            HeadSet("alpha/ioi/movers", f"Movers {text}", ((1, 2), (2, 3)), "Made-up sets", "computed here",
                    "effect above .5", evidence=EVIDENCE, by_head=BY_HEAD),
        ),
        tables=(Table("pairs", f"Pairs {text}", (Column("pair"), Column("count"), Column("share")),
                      ((text, 12000, 0.25), (LONG, None, -0.5))),),
        arrays=arrays(text),
        notes=(f"A note on {text}",),
        not_computed=(NotComputed(f"the task {text}", "22 of 84 pairs are single tokens"),),
    )  # fmt: skip


def figures(found: SuiteResult, view: View) -> list[Figure]:
    """Two maps and a bar chart."""
    text = found.notes[0].removeprefix("A note on ")
    maps = [
        Figure(
            id=f"alpha-{s.task}", suite="alpha", title=s.label, caption=f"{s.label}, n = {s.n}, words {text}.",
            alt=f"Heat map, words {text}", chart=heatmap(s, view, found.head_sets, title=text),
            data=chart_data.table([(s, found.head_sets)]), head_sets=found.head_sets,
        )
        for s in (found["score/capital"], found["effect/ioi"])
    ]  # fmt: skip
    rows = [{"word": text, "count": 3}, {"word": "b", "count": 5}]
    bars = alt.Chart(alt.Data(values=rows)).mark_bar().encode(x="word:N", y="count:Q")
    table = Table("bars", "Counts", (Column("word"), Column("count")), tuple((r["word"], r["count"]) for r in rows))  # type: ignore[arg-type]
    return [*maps, Figure("alpha-bars", "alpha", "Counts", f"Counts of {text}.", "Bar chart.", bars, table)]


def broken(found: SuiteResult, view: View) -> list[Figure]:
    raise ZeroDivisionError("the drawing's own bug\nover two lines")


def suite(name: str = "alpha", drawn: str = "figures") -> Suite:
    return Suite(
        name=name, title=f"Suite {name}", summary="A made-up suite.", version=1, settings=Settings,
        score="nowhere:score", figures=f"tests.report.sample:{drawn}",
        measures=(
            Measure("score", "Relation score", "hits / n, <= k & more", "High: it writes t.", "share",
                    "wang2022ioi, section 3"),
            Measure("effect", "Effect", "m_clean - m_patched", "Positive: it helps.", source="ours"),
        ),
        citations=("wang2022ioi",), left_out=("the slow experiment",),
    )  # fmt: skip


SUITES = {"alpha": suite(), "beta": suite("beta", "broken"), "gamma": suite("gamma"), "delta": suite("delta")}


def manifest(text: str = "Mary", **changes: object) -> Manifest:
    check = SelfCheck(1e-5, 3.0, 1e-3, 64, passed=True)
    record = fixtures.model_record(LAYERS, HEADS, title=f"Model {text}", self_check=check, synthetic=False)
    sums = {"alpha.json": "ab" * 32}
    done = SuiteRecord("done", 1, {"k": 5, "words": [text]}, {"k": "5"}, elapsed_s=1.5, sha256=sums)
    made = msgspec.structs.replace(
        fixtures.manifest(record), argv=["reportgen", "run", text], versions={"reportgen": "0.1.0"}, synthetic=False,
        suites={
            "gamma": SuiteRecord("failed", 1, {}, {}, error=f"ValueError: {text}"),
            "beta": done,
            "alpha": done,
        },
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def run(folder: Path, text: str = "Mary", **changes: object) -> FakeRun:
    """A run with one whole suite, one whose drawing fails, one that failed, and one that was not part of it."""
    capital = fixtures.head_scores("beta/score/capital")
    beta = dataclasses.replace(result(text), suite="beta", scores=(capital,), head_sets=())
    return FakeRun(folder, manifest(text, **changes), {"beta": beta, "alpha": result(text)})
