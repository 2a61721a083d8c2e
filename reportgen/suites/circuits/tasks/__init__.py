"""The tasks: each module builds one on a given tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from reportgen.suites.circuits.tasks import capitals, colored_objects, greater_than, ioi
from reportgen.suites.circuits.tasks.task import Mover, Pair, Task, batches

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

__all__ = ["BUILDERS", "Mover", "Pair", "Task", "batches"]


class Builder(Protocol):
    """Builds a task on a tokenizer; `rephrased` takes the templates that the measurements never see."""

    def __call__(self, tokens: Tokens, prompts: int, seed: int, rephrased: bool = False) -> Task: ...


BUILDERS: Mapping[str, Builder] = {
    ioi.NAME: ioi.build,
    colored_objects.NAME: colored_objects.build,
    capitals.NAME: capitals.build,
    greater_than.NAME: greater_than.build,
}
