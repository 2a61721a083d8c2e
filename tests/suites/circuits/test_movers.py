"""Which role a head of a circuit gets, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reportgen.suites.circuits import movers
from reportgen.suites.circuits.circuit import Circuit, Effects
from reportgen.suites.circuits.suite import Settings

SETTINGS = Settings()
HEAD = (0, 0)


def evidence(
    effect: float, attention: tuple[float, float, float], copying: float, suppression: float, on_foil: float | None
) -> movers.Evidence:
    grid = np.array([[effect]])
    zero = np.zeros((1, 1))
    return movers.Evidence(
        Effects(grid, zero, zero, zero, zero, zero, zero, zero, np.zeros((2, 1, 1))),
        Circuit(zero == 0, zero == 0),
        np.array(attention, np.float32)[:, None, None],
        {HEAD: copying},
        {HEAD: suppression},
        None if on_foil is None else np.array([[on_foil]], np.float32),
    )


MOVER = evidence(0.3, (0.6, 0.1, 0.1), copying=0.9, suppression=0.0, on_foil=-0.5)
NEGATIVE = evidence(-0.3, (0.6, 0.1, 0.1), copying=0.0, suppression=0.9, on_foil=0.5)
SUPPRESSOR = evidence(0.3, (0.1, 0.1, 0.6), copying=0.0, suppression=0.0, on_foil=-0.5)


@pytest.mark.parametrize(
    ("found", "role"),
    [
        (MOVER, movers.MOVER),
        (replace(MOVER, copying={HEAD: 0.4}), movers.SUPPORTS),  # does not copy
        (replace(MOVER, attention=np.array([0.15, 0.1, 0.1], np.float32)[:, None, None]), movers.SUPPORTS),
        (replace(MOVER, attention=np.array([0.3, 0.1, 0.5], np.float32)[:, None, None]), movers.SUPPRESSOR),
        (NEGATIVE, movers.NEGATIVE),
        (replace(NEGATIVE, suppression={HEAD: 0.4}), movers.OPPOSES),
        (replace(NEGATIVE, effects=MOVER.effects), movers.SUPPORTS),  # attends to IO, supports it, copies nothing
        (SUPPRESSOR, movers.SUPPRESSOR),
        (replace(SUPPRESSOR, on_foil=-SUPPRESSOR.on_foil), movers.SUPPORTS),  # type: ignore[operator]
        (replace(SUPPRESSOR, on_foil=None), movers.SUPPORTS),
    ],
)
def test_roles(found: movers.Evidence, role: str) -> None:
    assert movers.role_of(HEAD, found, SETTINGS) == role


def test_every_role_of_a_set_has_its_rule_in_words() -> None:
    words = movers.rules(Settings(mover_attention=0.33, copy_k=7, copy_threshold=0.6))
    assert "0.33" in words[movers.MOVER]
    assert "0.6 of the names stand among the 7 largest" in words[movers.MOVER]
    assert "smallest" in words[movers.NEGATIVE]
    assert "below 0" in words[movers.SUPPRESSOR]
    assert all(words["direct"] in rule for rule in words.values())
