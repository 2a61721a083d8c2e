"""What OV circuits write for the tokens that a task's answers are read from, against plain loops over the row."""

from __future__ import annotations

import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites import ov
from reportgen.suites.circuits.writing import writes
from tests.tiny import tiny_folder

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
