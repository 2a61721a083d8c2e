"""Randomly initialised twins of a model: the control that shows what a score is where nothing was learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.weights import Weights


def has_twin(weights: Weights) -> bool:
    """Whether there is a model to initialise anew: streamed weights come without one."""
    return hasattr(weights, "run")


def random_twins(weights: Weights, seeds: Iterable[int]) -> Iterator[Model]:
    """A twin of each seed, one in memory at a time: its weights are let go before the next is drawn.

    None where the weights come without a model.
    """
    from reportgen.models.load import random_twin  # the model room is heavy, and only this control needs it

    for seed in seeds if has_twin(weights) else ():
        twin = random_twin(weights, seed)  # type: ignore[arg-type]  # what has a twin is a Model
        try:
            yield twin
        finally:
            twin.free()
