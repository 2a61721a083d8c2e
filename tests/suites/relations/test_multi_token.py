"""Sources of several tokens: which pairs count, and their scores against plain passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from reportgen.models.model import Model
from reportgen.suites.pairs import Relation
from reportgen.suites.relations.scoring.dynamic import DynamicOptions, multi_token, multi_token_pairs
from reportgen.suites.relations.scoring.results import Pieces
from tests.suites.relations.plain import reference_twice
from tests.suites.relations.runnable import NAMES, THINGS, static, tiny

PAIRS = tuple((f"{a} {b}", t) for a, b, t in zip(NAMES, NAMES[3:], THINGS, strict=False))
OTHERS = (("Mary", "cat"), ("Mary Quux", "cat"), ("Mary John", "big cat"), ("red green blue", "white"))
OPTIONS = DynamicOptions((), min_pairs=2, draws=20)


def made(pairs: tuple[tuple[str, str], ...] = PAIRS + OTHERS, stem: str = "made_up") -> Relation:
    return Relation(stem, stem, "Other", False, pairs, multi_token=True)


def score(model: Model, relations: list[Relation], **changes: object) -> Pieces:
    grids = {r.stem: static(model, stem=r.stem) for r in relations}
    ks = {r.stem: 40 for r in relations}
    return multi_token(model, relations, ks, grids, grids, OPTIONS, cached=True, **changes)  # type: ignore[arg-type]


def last_position(model: Model, ids: tuple[int, ...], layer: int) -> dict[str, torch.Tensor]:
    """z and v of a layer at the last position."""
    read: dict[str, torch.Tensor] = {}
    hooks = {(kind, layer): lambda t, kind=kind: read.update({kind: t[0, -1].double()}) for kind in ("z", "v")}
    model.run(torch.tensor([ids]), hooks)
    return read


def test_pairs_have_a_source_of_several_known_tokens_and_a_target_of_one(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    items = multi_token_pairs(model, made())
    assert [model.tokens.decode(prompt.after) for prompt, _ in items] == [*(s for s, _ in PAIRS), "red green blue"]
    assert all(prompt.source == len(prompt.after) - 1 for prompt, _ in items)
    spaced = multi_token_pairs(model, made(), in_text=True)
    assert next(model.tokens.decode(prompt.after) for prompt, _ in spaced) == " Mary Anna"


def test_scores_are_those_of_plain_passes(tmp_path: Path) -> None:
    model = tiny("qwen2", tmp_path)
    r = model.record
    got = score(model, [made()]).arrays["multi_token/made_up"].values
    items = multi_token_pairs(model, made())
    hits = np.zeros((4, len(items), r.n_layers, r.n_heads), bool)
    W_U = model.W_U().double()
    for i, (prompt, target) in enumerate(items):
        for layer in range(r.n_layers):
            read = last_position(model, prompt.ids, layer)
            for head in range(r.n_heads):
                for context, vector in enumerate((read["v"][head // 2], read["z"][head])):
                    row = (vector @ model.W_O(layer)[head].double() @ W_U).numpy()
                    hits[context, i, layer, head] = reference_twice(row, target) <= 80
                    hits[2 + context, i, layer, head] = reference_twice(-row, target) <= 80
    np.testing.assert_allclose(got, hits.mean(1), atol=1e-6)
    assert 0 < got.mean() < 1


def test_relations_without_such_sources_are_listed_with_their_count(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    single = made((("Mary", "cat"), ("John Tom", "dog")), "single")
    got = score(model, [made(), single])
    assert [(n.what, n.why) for n in got.not_computed] == [
        ("multi-token sources of single", "1 of 2 sources take several tokens, fewer than 2")
    ]
    assert len(got.tables[0].rows) == 2  # the relation and its suppression
    alone = score(model, [single])
    assert [n.what for n in alone.not_computed] == ["multi-token sources"]
    assert "the most is 1" in alone.not_computed[0].why


def test_only_relations_marked_for_it_take_part(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    got = score(model, [Relation("made_up", "made_up", "Other", False, PAIRS)])
    assert not got.arrays
    assert not got.not_computed


def test_missing_heads_stay_missing(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    values = np.full((3, 4), 0.5)
    values[2, 1] = np.nan
    grids = {"made_up": static(model, values)}
    got = multi_token(model, [made()], {"made_up": 40}, grids, grids, OPTIONS, cached=True)
    assert np.argwhere(np.isnan(got.arrays["multi_token/made_up"].values[0])).tolist() == [[2, 1]]
