"""Narrow against wide on heads with planted behaviour, and quiet heads."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import Head, HeadScores, HeadSet, NamedArray, SuiteResult, with_judgements
from reportgen.selftest.models import POSITIONS, WORDS, Blank
from reportgen.suites.base import Context
from reportgen.suites.text import classes
from reportgen.suites.text.classes import KINDS
from reportgen.suites.text.scoring import measures, quiet, roles
from reportgen.suites.text.scoring.measures import Units
from reportgen.suites.text.scoring.statistics import Tally, tally, writers
from reportgen.suites.text.scoring.stream import Window

FIRST = 4
INDUCTION, BOTH = (1, 0), (1, 1)  # heads of layer 1


def folder_of(path: Path) -> Path:
    """L0H0 reads the previous token. L1H0 attends to the token after an earlier copy where there is one, else to every
    token alike; L1H1 does so too, but where there is none it attends to the previous token. Both write what they read.
    """
    count = len(WORDS)
    blank = Blank(WORDS, n_layer=2, n_head=2, d_head=POSITIONS + count, n_inner=count)
    own, place = range(2, 2 + count), 2 + count
    before = place + POSITIONS
    for word, dimension in zip(WORDS, own, strict=True):
        blank.embed(word, dimension)
    for at in range(POSITIONS):
        blank.position(at, place + at, 1.0)
    blank.copy_in_mlp(list(own))
    here = [(place + at, count + at, 1.0) for at in range(POSITIONS)]
    read = [(dimension, i, 1.0) for i, dimension in enumerate(own)]
    back = [(place + at, count + at - 1, 400.0) for at in range(1, POSITIONS)]
    blank.head(0, 0, q=back, k=here, v=read, o=[(before + i, i, 1.0) for i in range(count)])
    match = [(dimension, i, 3000.0) for i, dimension in enumerate(own)]
    keys = [(before + i, i, 1.0) for i in range(count)]
    for head, otherwise in ((0, []), (1, back)):
        blank.head(1, head, q=[*match, *otherwise], k=[*keys, *here], v=read,
                   o=[(dimension, i, 1.0) for i, dimension in enumerate(own)])  # fmt: skip
    return blank.save(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(folder_of(tmp_path_factory.mktemp("both")), device="cpu")


def made(model: Model, each: Iterable[list[int]]) -> tuple[Window, ...]:
    ids = [model.tokens.word_id(word) or 0 for word in WORDS]
    return tuple(
        Window(np.array([ids[i] for i in row]), ids[row[0]], n, bytes([n]) * 16, 0) for n, row in enumerate(each)
    )


def repeats(count: int = 8) -> list[list[int]]:
    """A block of eleven words twice."""
    rng = np.random.default_rng(0)
    blocks = [rng.permutation(24)[:11].tolist() for _ in range(count)]
    return [[*block, *block] for block in blocks]


def prose(count: int = 8) -> list[list[int]]:
    """Twenty words of which two come back."""
    rng = np.random.default_rng(1)
    rows = [rng.permutation(24)[:20].tolist() for _ in range(count)]
    return [[*row, row[3], row[4]] for row in rows]


def run(model: Model, windows: tuple[Window, ...], listener: object = None) -> Tally:
    table = classes.table(model.tokens, np.concatenate([w.ids for w in windows]), "")
    return tally(model, windows, writers(model), table, len(classes.names("")), FIRST, 4, listener=listener)  # type: ignore[arg-type]


def shares(found: Tally, head: Head) -> dict[str, float]:
    own = found.sum_of("kind")[:, head[0], head[1]].sum(0)
    return dict(zip(KINDS, (own / own.sum()).tolist(), strict=True))


def test_a_head_that_is_induction_on_repeats_and_previous_token_on_text_is_told_apart(model: Model) -> None:
    """On repeats alone it can't be told from an induction head."""
    narrow, wide = run(model, made(model, repeats())), run(model, made(model, prose()))
    assert shares(narrow, INDUCTION)["induction"] > 0.8
    assert shares(narrow, BOTH)["induction"] > 0.5  # as much as there are queries with an earlier copy
    assert shares(wide, BOTH)["previous"] > 0.8
    assert shares(wide, BOTH)["induction"] < 0.2
    assert shares(wide, INDUCTION)["previous"] < 0.1
    narrow_mass, wide_mass = (measures.ratios(t)["induction"].value for t in (narrow, wide))
    for found in (narrow_mass, wide_mass):  # the mass on such keys, where there are any, tells them apart nowhere
        assert found[BOTH] == pytest.approx(found[INDUCTION], abs=0.1)


def named(key: str, heads: tuple[Head, ...], label: str = "Heads", score: str = "") -> HeadSet:
    rungs = {"causal effect": "passed", "natural text": "failed"}
    return HeadSet(key, label, heads, "l", "computed: a task on this model", "r", evidence=rungs, score=score)


def context(sets: tuple[HeadSet, ...], arrays: dict[str, NamedArray] | None = None, score: str = "") -> Context:
    grid = np.array([[0.1, 0.2], [0.9, 0.8]], np.float32)
    scores = (HeadScores(score, "x", grid, 5, no_null="none"),) if score else ()
    result = SuiteResult("made", scores, sets, arrays=arrays or {})
    return Context(0, 1, {"made": sets}, {"made": result})


def rows_of(model: Model, ctx: Context, windows: tuple[Window, ...]) -> tuple[list[roles.Wide], Tally]:
    known, _ = roles.roles(model.tokens, ctx, "", (2, 2))
    ids = np.unique(np.concatenate([w.ids for w in windows]))
    events = roles.RoleEvents.of_roles(model, known, writers(model), FIRST, len(windows), ids)
    found = run(model, windows, events)
    rng = np.random.default_rng(0)
    return roles.wide(known, events, found, Units([w.document for w in windows]), ctx.results, 200, rng), found


def test_the_table_says_what_share_of_a_heads_writing_is_its_role(model: Model) -> None:
    key = "made/induction/repeats"
    ctx = context((named("made/repeats/induction_heads", (INDUCTION, BOTH), score=key),), score=key)
    rows, found = rows_of(model, ctx, made(model, prose()))
    assert [row.head for row in rows] == ["L1H0", "L1H1"]
    assert rows[1].share == pytest.approx(shares(found, BOTH)["induction"], abs=1e-6)
    assert rows[1].low <= rows[1].share <= rows[1].high
    assert (rows[0].narrow, rows[0].narrow_rank) == (pytest.approx(0.9), 1)


def test_pairs_count_where_the_key_holds_the_first_and_the_head_raises_the_second(model: Model) -> None:
    """L1H1 writes what it reads: of the pairs a -> a every event counts, of a -> b none."""
    same = tuple(f"{w} -> {w}" for w in WORDS)
    other = tuple(f"{a} -> {b}" for a, b in pairwise(WORDS))
    shown = {}
    for name, pairs in (("same", same), ("other", other)):
        arrays = {f"ranks/{name}": NamedArray(("pair",), np.zeros(len(pairs)), {"pair": pairs})}
        rows, _ = rows_of(model, context((named(f"made/{name}/score", (BOTH,)),), arrays), made(model, prose()))
        (shown[name],) = rows
    assert shown["same"].share > 0.95
    assert shown["same"].events > 100
    assert shown["other"].share < 0.05
    assert shown["same"].chance < 0.2


def test_a_rung_replaces_the_one_that_was_judged_before(model: Model) -> None:
    ctx = context((named("made/repeats/induction_heads", (INDUCTION, BOTH)), named("made/x/other", (BOTH,))))
    rows, _ = rows_of(model, ctx, made(model, prose()))
    judged = SuiteResult("text", judged=roles.judged(rows))
    results = with_judgements({**ctx.results, "text": judged})
    first, other = results["made"].head_sets
    assert "natural text" not in first.evidence
    assert first.evidence[roles.TEST] == "passed"
    assert first.by_head[roles.TEST] == {"L1H0": "passed", "L1H1": "passed"}
    assert other.evidence == ctx.head_sets["made"][1].evidence  # no test on tokens tells what it does


def test_quiet_heads_are_below_the_limit_in_nearly_every_window() -> None:
    honor = np.full((20, 1, 3), 1.0)
    honor[:, 0, 1] = 0.1
    honor[:, 0, 2] = 0.1
    honor[:3, 0, 2] = 0.5
    assert quiet.quiet_heads(honor, 0.25, 0.95) == [(0, 1)]
    assert quiet.quiet_heads(honor, 0.25, 0.8) == [(0, 1), (0, 2)]


def test_ablating_a_head_that_writes_nothing_changes_no_loss_and_others_do(model: Model) -> None:
    windows = made(model, prose(12))
    telling, held = quiet.split(windows, 0, 4)
    assert sorted([*telling, *held]) == list(range(12))
    assert len(held) == 4
    means = quiet.MeanOutputs(frozenset(telling), FIRST)
    run(model, windows, means)
    found = quiet.ablated(
        model, [windows[i] for i in held], [(0, 1)], means, quiet.Ablation(0.25, 0.95, 3, 2, 0)
    )  # L0H1 is not planted: all zeros
    assert found.heads == ["L0H1"]
    assert found.change == pytest.approx(0, abs=1e-6)
    assert found.others == pytest.approx([found.others[0]] * 3)
    assert abs(found.others[0]) > 1e-4
    assert found.p == pytest.approx(1 / 4)
    z: list[torch.Tensor] = []
    model.run(torch.from_numpy(np.stack([windows[i].ids for i in telling])), {("z", 0): lambda t: z.append(t)})
    torch.testing.assert_close(means.mean(0), z[0][:, FIRST:].flatten(0, 1).mean(0), rtol=1e-4, atol=1e-5)
