"""A suite scored on a model, with what must stay the same around it."""

from __future__ import annotations

import dataclasses
import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reportgen.errors import one_line
from reportgen.models.model import Model, Weights
from reportgen.runner import attempt
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context, Suite

SEED = 0


@dataclass(frozen=True)
class Trial:
    """One scoring: the result or what was raised, and what it left changed (in words)."""

    found: SuiteResult | Exception
    changed: tuple[str, ...]
    rows: int  # most prompts in one forward pass

    @property
    def result(self) -> SuiteResult | None:
        return self.found if isinstance(self.found, SuiteResult) else None


def run(suite: Suite, model: Model | Weights, given: Mapping[str, object]) -> Trial:
    """Score with the preset quick and `given`, and compare model, settings and torch's switches before and after.

    Raises SettingsError where `given` names no setting.
    """
    settings = suite.make_settings("quick", given)
    before = _settings_words(settings), _switches()
    weights, rows = _weights(model), [0]
    if isinstance(model, Model):
        logits = _logits(model)
        _count_rows(model, rows)
    found = attempt(model, suite, settings, Context(seed=SEED, threads=torch.get_num_threads()))
    changed = [f"weight {name}" for name, digest in _weights(model).items() if weights.get(name) != digest]
    if _settings_words(settings) != before[0]:
        changed.append("the settings")
    changed += [f"torch's {name}: {was} is now {is_}" for name, was, is_ in _differing(before[1], _switches())]
    if isinstance(model, Model):
        del model.__dict__["_forward"]
        torch.set_grad_enabled(before[1]["grad mode"])
        if not changed and not torch.equal(_logits(model), logits):
            changed.append("the model's logits (a hook was left on, or a module was put in another mode)")
    return Trial(found, tuple(changed), rows[0])


def place(error: Exception, file: str) -> str:
    """`my_suite.py:41: ZeroDivisionError: ...`: the innermost line of the suite's own file, where one is."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = ([f for f in frames if f.filename == file] or frames)[-1]
    return one_line(f"{Path(frame.filename).name}:{frame.lineno}: {type(error).__name__}: {error}")


def _settings_words(settings: Any) -> str:
    return repr(dataclasses.asdict(settings))


def _switches() -> dict[str, Any]:
    return {
        "thread count": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
    }


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, before[name], after[name]) for name in before if before[name] != after[name]]


def _weights(model: Model | Weights) -> dict[str, str]:
    """sha256 of every parameter by name, with whether it is trained; nothing for weights that are streamed."""
    if not isinstance(model, Model):
        return {}
    found = {}
    for name, parameter in model.bridge.named_parameters():
        content = parameter.detach().contiguous().cpu().numpy().tobytes()
        found[name] = hashlib.sha256(content).hexdigest() + str(parameter.requires_grad)
    return found


def _logits(model: Model) -> torch.Tensor:
    size = min(16, model.record.n_ctx)
    return model.logits(torch.arange(1, size + 1)[None] % model.record.d_vocab)


def _count_rows(model: Model, rows: list[int]) -> None:
    """Keep the size of the largest batch that goes through the model."""
    forward = model._forward

    def counted(ids: torch.Tensor, *args: Any, **how: Any) -> torch.Tensor:
        rows[0] = max(rows[0], int(ids.shape[0]))
        return forward(ids, *args, **how)

    model.__dict__["_forward"] = counted
