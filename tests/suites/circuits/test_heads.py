"""Head sets: who is called a backup, and who merely gains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reportgen.models.load import load
from reportgen.suites.circuits.scoring import results
from reportgen.suites.circuits.scoring.circuit import Effects, circuit
from reportgen.suites.circuits.scoring.roles import HeadEvidence
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import ioi
from tests.suites.circuits.planted import ioi_folder


def test_a_head_that_gains_without_the_evidence_of_a_mover_is_no_backup(tmp_path: Path) -> None:
    task = ioi.build(load(ioi_folder(tmp_path), device="cpu").tokens, 32, seed=0)
    effects = _effects({(3, 0): 0.3, (3, 1): 0.3, (3, 2): 0.3})
    attention = np.zeros((len(task.attended), 4, 4), np.float32)
    attention[0, 3, :2] = attention[1, 3, 2] = 0.9  # L3H0 and L3H1 look at the answer, L3H2 at the subject
    writes = {(3, 0): 1.0, (3, 1): 0.1, (3, 2): 1.0}
    found = HeadEvidence(
        task, effects, circuit(effects, 0.02, 0.05), attention, writes, dict.fromkeys(writes, 0.0), None
    )
    backups, others = results.backup_sets(found, effects, [(2, 0)], Settings())
    assert backups.heads == ((3, 0),)
    assert others.heads == ((3, 1), (3, 2))
    assert "mean-ablated at every position" in backups.rule


def test_a_set_fails_a_rung_where_one_head_does_and_the_others_keep_their_own_outcome(tmp_path: Path) -> None:
    task = ioi.build(load(ioi_folder(tmp_path), device="cpu").tokens, 32, seed=0)
    same = np.ones((4, 4), bool)
    same[3, 1] = False
    members = ((3, 0), (3, 1))
    found = results.head_set(task, "direct", "Heads", members, "a rule", dict.fromkeys(members, 0.5), same)
    assert found.evidence[results.TEMPLATES] == "failed"
    assert found.by_head[results.TEMPLATES] == {"L3H0": "passed", "L3H1": "failed"}
    assert found.by_head["causal effect"] == {"L3H0": "passed", "L3H1": "passed"}
    assert "replicated (random twin)" not in found.by_head
    twin = found.judged("replicated (random twin)", {(3, 0): "passed", (3, 1): "not run"})
    assert twin.evidence["replicated (random twin)"] == "not run"


def _effects(of: dict[tuple[int, int], float]) -> Effects:
    grid = np.zeros((4, 4))
    for head, value in of.items():
        grid[head] = value
    return Effects(grid, grid, grid, grid, grid, grid, 1.0 - (grid > 0), np.ones((4, 4)), np.stack([grid, grid]))
