"""Which role a head of a circuit gets, rule by rule, and what OV circuits write against plain loops over the row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites import ov
from reportgen.suites.circuits.scoring import roles
from reportgen.suites.circuits.scoring.circuit import Circuit, Effects
from reportgen.suites.circuits.scoring.roles import writes
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks.task import Mover, Task, copies
from tests.tiny import tiny_folder

SETTINGS = Settings()
HEAD = (0, 0)
IOI = Task("ioi", "IOI", "logit_diff", (), (), ("IO", "S1", "S2"), ("S1", "S2"), copies([5, 6]),
           mover=Mover("name_movers", "Name-Mover Heads", "name mover"))  # fmt: skip
COLOURS = replace(IOI, name="colored_objects", foils=("S1",), mover=Mover())


def evidence(
    effect: float, attention: tuple[float, float, float], writes: float, suppresses: float, on_foil: float | None
) -> roles.HeadEvidence:
    grid = np.array([[effect]])
    zero = np.zeros((1, 1))
    return roles.HeadEvidence(
        IOI,
        Effects(grid, zero, zero, zero, zero, zero, zero, zero, np.zeros((2, 1, 1))),
        Circuit(zero == 0, zero == 0, zero == 0),
        np.array(attention, np.float32)[:, None, None],
        {HEAD: writes},
        {HEAD: suppresses},
        None if on_foil is None else np.array([[on_foil]], np.float32),
    )


MOVER = evidence(0.3, (0.6, 0.1, 0.1), writes=0.9, suppresses=0.0, on_foil=-0.5)
NEGATIVE = evidence(-0.3, (0.6, 0.1, 0.1), writes=0.0, suppresses=0.9, on_foil=0.5)
SUPPRESSOR = evidence(0.3, (0.1, 0.1, 0.6), writes=0.0, suppresses=0.0, on_foil=-0.5)


@pytest.mark.parametrize(
    ("found", "role"),
    [
        (MOVER, "name mover"),
        (replace(MOVER, writes={HEAD: 0.4}), roles.SUPPORTS),  # does not copy
        (replace(MOVER, writes={HEAD: float("nan")}), roles.SUPPORTS),  # not known whether it does
        (replace(MOVER, attention=np.array([0.15, 0.1, 0.1], np.float32)[:, None, None]), roles.SUPPORTS),
        (replace(MOVER, attention=np.array([0.3, 0.1, 0.5], np.float32)[:, None, None]), "subject suppressor"),
        (replace(MOVER, task=COLOURS), "mover"),
        (NEGATIVE, "negative name mover"),
        (replace(NEGATIVE, suppresses={HEAD: 0.4}), roles.OPPOSES),
        (replace(NEGATIVE, effects=MOVER.effects), roles.SUPPORTS),  # attends to IO, supports it, copies nothing
        (SUPPRESSOR, "subject suppressor"),
        (replace(SUPPRESSOR, task=COLOURS), roles.SUPPORTS),  # S2 is no foil there
        (replace(SUPPRESSOR, on_foil=-SUPPRESSOR.on_foil), roles.SUPPORTS),  # type: ignore[operator]
        (replace(SUPPRESSOR, on_foil=None), roles.SUPPORTS),
        (replace(MOVER, task=replace(IOI, attended=())), roles.SUPPORTS),  # a task without roles names nobody
    ],
)
def test_direct_roles(found: roles.HeadEvidence, role: str) -> None:
    assert roles.direct_role(HEAD, found, SETTINGS) == role


def test_a_head_that_acts_on_queries_is_named_only_where_it_looks_at_the_subject() -> None:
    assert roles.query_role(HEAD, SUPPRESSOR, SETTINGS) == roles.INHIBITION
    assert roles.query_role(HEAD, MOVER, SETTINGS) == roles.OTHER_PATH
    assert roles.query_role(HEAD, replace(SUPPRESSOR, task=COLOURS), SETTINGS) == roles.OTHER_PATH


@pytest.mark.parametrize(
    ("looks", "writes", "role"),
    [
        ({"duplicate": 0.7, "induction": 0.1, "previous": 0.2}, 0.0, "duplicate-token head"),
        ({"duplicate": 0.1, "induction": 0.7, "previous": 0.2}, 0.9, "induction head"),
        ({"duplicate": 0.1, "induction": 0.7, "previous": 0.3}, 0.1, "previous-token head"),  # prefix matching alone
        ({"duplicate": 0.1, "induction": 0.7, "previous": 0.1}, 0.1, roles.OTHER_PATH),
        ({"duplicate": 0.1, "induction": 0.1, "previous": 0.19}, 0.9, roles.OTHER_PATH),
        ({}, 0.9, roles.OTHER_PATH),
    ],
)
def test_feeding_roles(looks: dict[str, float], writes: float, role: str) -> None:
    grids = {kind: np.array([[mass]], np.float32) for kind, mass in looks.items()}
    assert roles.feeding_role(HEAD, grids, writes, SETTINGS) == role


def test_every_role_of_a_set_has_its_rule_in_words() -> None:
    words = roles.rules(IOI, Settings(mover_attention=0.33, copy_k=7, copy_threshold=0.6))
    assert "0.33" in words["name mover"]
    assert ">= 0.6 of the tokens" in words["name mover"]
    assert "7 largest logits" in words["name mover"]
    assert "sign flipped" in words["negative name mover"]
    assert "S1 or S2" in words["subject suppressor"]
    assert "below 0" in words["subject suppressor"]
    assert all(words["direct"] in words[role] for role in ("name mover", "negative name mover", "subject suppressor"))
    assert "OV copying >= 0.6" in words["induction head"]
    years = replace(IOI, maps={7: ((1, 2), (3,))})
    assert "higher mean logit" in roles.rules(years, SETTINGS)["name mover"]


K = 40
HEADS = [(0, 1), (1, 0), (1, 3), (2, 2)]
SETS = {
    5: ((9,), (11, 12)),
    6: ((6,), ()),
    7: ((20, 21, 22), (30, 31)),
    8: ((20, 23), ()),  # no foils: the whole row stands in for them
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder("gpt2", tmp_path_factory.mktemp("net") / "net"), device="cpu")


def share(model: Model, head: tuple[int, int], sign: int) -> float:
    words = ov.sources(model, list(SETS))
    rows = sign * (ov.head_outputs(model, head[0], words.at(head[0]))[head[1]] @ model.W_U())
    hits = []
    for row, (answers, foils) in zip(rows.tolist(), SETS.values(), strict=True):
        if len(answers) > 1:
            others = [row[f] for f in foils] or row
            hits.append(sum(row[a] for a in answers) / len(answers) > sum(others) / len(others))
        else:
            own = row[answers[0]]
            hits.append(1 + sum(x > own for x in row) + (row.count(own) - 1) / 2 <= K)
    return sum(hits) / len(hits)


@pytest.mark.parametrize("sign", [1, -1])
def test_shares_are_those_of_plain_loops(model: Model, sign: int) -> None:
    found = writes(model, SETS, ov.sources(model, list(SETS)), HEADS, K, sign)
    assert found == {head: pytest.approx(share(model, head, sign)) for head in HEADS}
    assert len(set(found.values())) > 1


def test_a_head_whose_logits_are_not_finite_has_no_share(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN stands above nothing: its row would count as writing whatever is asked."""
    broken = model.W_O(1).clone()
    broken[3] = torch.nan
    intact = type(model).W_O
    monkeypatch.setattr(type(model), "W_O", lambda self, layer: broken if layer == 1 else intact(self, layer))
    found = writes(model, SETS, ov.sources(model, list(SETS)), HEADS, K)
    assert [head for head, value in found.items() if value != value] == [(1, 3)]


def test_no_heads_no_shares(model: Model) -> None:
    assert writes(model, SETS, ov.sources(model, list(SETS)), [], K) == {}
