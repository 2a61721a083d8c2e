"""The tasks: each module builds one on a given tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reportgen.suites.circuits.tasks import ioi
from reportgen.suites.circuits.tasks.task import Pair, Task, batches

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

__all__ = ["BUILDERS", "Pair", "Task", "batches"]

# name -> build(tokens, prompts, seed)
BUILDERS: Mapping[str, Callable[[Tokens, int, int], Task]] = {ioi.NAME: ioi.build}
