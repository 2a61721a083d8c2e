"""Faithfulness curves against knock-outs, random sets like a given one, and heads added to what keeps too little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.circuits.scoring.faithfulness import (
    Ablation,
    area,
    by_size,
    faithfulness,
    first,
    random_sets,
    sizes,
)
from reportgen.suites.circuits.scoring.passes import Batches
from reportgen.suites.circuits.scoring.task_runs import Means, knock_out, trace
from reportgen.suites.circuits.tasks.task import Task
from tests.suites.circuits.test_effects import random_task
from tests.tiny import tiny_folder


def ablation_of(model: Model, task: Task, chosen: Sequence[int], ablation: str = "mean") -> Ablation:
    means = Means(model, ablation)
    trace(model, task, 3, corrupted=True, means=means)
    return Ablation(Batches(model, task, chosen), means)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder("gpt2", tmp_path_factory.mktemp("gpt2")), device="cpu")


def test_ablating_a_set_is_knocking_it_out(model: Model) -> None:
    task = random_task(count=8)
    ablation = ablation_of(model, task, [5, 0, 2])
    sets = np.zeros((3, 3, 4), bool)
    sets[1, 0, 1] = sets[1, 2, 3] = True
    sets[2] = True
    found = ablation.m(sets)
    np.testing.assert_allclose(found[0], trace(model, task, 4).m[[5, 0, 2]], atol=1e-5)
    for row in (1, 2):
        gone = [(int(layer), int(head)) for layer, head in np.argwhere(sets[row])]
        without = trace(model, task, 4, knock_out=knock_out(ablation.means, gone)).m
        np.testing.assert_allclose(found[row], without[[5, 0, 2]], atol=1e-5)


def test_zero_ablation_takes_the_whole_output_away(model: Model) -> None:
    task = random_task(count=8)
    sets = np.zeros((1, 3, 4), bool)
    sets[0, 1, 2] = True
    found = ablation_of(model, task, range(8), "zero").m(sets)[0]
    tensors = model.source.tensors["transformer.h.1.attn.c_proj.weight"]  # type: ignore[attr-defined]
    kept = tensors.clone()
    try:
        tensors[16:24] = 0.0  # rows of W_O of L1H2
        without = trace(model, task, 4).m
    finally:
        tensors.copy_(kept)
    np.testing.assert_allclose(found, without, atol=1e-5)
    assert abs(found - ablation_of(model, task, range(8)).m(sets)[0]).max() > 1e-3


def test_norms_are_what_ablation_takes_away(model: Model) -> None:
    task = random_task(count=8)
    norms = ablation_of(model, task, range(8)).norms()
    assert norms.shape == (3, 4)
    assert (norms > 0).all()
    kept = model.source.tensors["transformer.h.1.attn.c_proj.weight"].clone()  # type: ignore[attr-defined]
    try:
        model.source.tensors["transformer.h.1.attn.c_proj.weight"][:8] *= 3  # type: ignore[attr-defined]
        again = ablation_of(model, task, range(8)).norms()
    finally:
        model.source.tensors["transformer.h.1.attn.c_proj.weight"].copy_(kept)  # type: ignore[attr-defined]
    assert again[1, 0] == pytest.approx(3 * norms[1, 0], rel=1e-4)
    assert again[0] == pytest.approx(norms[0], rel=1e-4)


def test_curves_begin_with_nothing_and_end_with_everything() -> None:
    assert sizes(48).tolist() == [0, 1, 2, 3, 5, 8, 13, 21, 34, 48]
    assert sizes(3).tolist() == [0, 1, 2, 3]
    assert by_size(np.array([[0.1, -0.5], [np.nan, 0.3]])) == [(0, 1), (1, 1), (0, 0), (1, 0)]
    grid = first([(0, 1), (1, 0)], [0, 1, 2], (2, 2))
    assert grid.sum((1, 2)).tolist() == [0, 1, 2]
    assert faithfulness(np.array([[1.0, 3.0], [5.0, 5.0]]), 5.0, 1.0).tolist() == [0.25, 1.0]
    assert area(np.array([0, 1, 4]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.875)


@given(st.data())
def test_random_sets_keep_layers_and_leave_the_set_alone_while_they_can(data: st.DataObject) -> None:
    layers, heads = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 6))
    every = [(layer, head) for layer in range(layers) for head in range(heads)]
    like = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    norms = np.exp(np.random.default_rng(0).normal(size=(layers, heads)))
    drawn = random_sets(like, norms, 5, np.random.default_rng(data.draw(st.integers(0, 99))))
    own = np.zeros((layers, heads), bool)
    for head in like:
        own[head] = True
    assert (drawn.sets.sum((1, 2)) == len(like)).all()
    free = (~own).sum(1)
    if (own.sum(1) <= free).all():
        assert (drawn.sets.sum(2) == own.sum(1)).all()
        assert drawn.other_layer == drawn.shared == 0
    if 2 * len(like) <= own.size:
        assert not (drawn.sets & own).any()
        assert drawn.shared == 0
    else:
        assert drawn.shared > 0


def test_random_sets_are_of_like_norm() -> None:
    norms = np.array([[1.0, 1.1, 0.9, 1.2, 100.0, 110.0, 90.0, 105.0]])
    sets = random_sets([(0, 4)], norms, 40, np.random.default_rng(0)).sets
    assert not sets[:, 0, :4].any()
    assert sets[:, 0, 5:].any(0).all()
