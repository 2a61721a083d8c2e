"""Intervals across seeds on a trained model: what changes with the seed must be inside them."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen import suites
from reportgen.models.load import load
from reportgen.suites.base import Context

SEEDS, LEAST = 24, 0.92


@pytest.mark.soak
def test_attention_intervals_hold_the_mean_over_seeds() -> None:
    suite, model = suites.find("attention"), load("mini", device="cpu")
    settings = suite.make_settings("quick", {"text_windows": 0, "permutations": 0})
    results = [suite.load_score()(model, settings, Context(seed=seed, threads=1)) for seed in range(SEEDS)]
    for first in results[0].scores:
        found = [result[first.key] for result in results]
        mean = np.mean([scores.values for scores in found], axis=0)
        held = np.mean([(scores.low <= mean) & (mean <= scores.high) for scores in found])
        assert held >= LEAST, (first.key, held)
