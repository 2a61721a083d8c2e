"""The one prompt whose circuit is drawn: its link, and the heads of each model that carry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import DataError, SettingsError
from reportgen.models.tokens import Tokens
from reportgen.scores import head_name
from reportgen.suites.sparse import edges, prompts
from reportgen.suites.sparse.compare import Scope, agreement, causal
from reportgen.suites.sparse.edges import Column
from reportgen.suites.sparse.forms import GROUPS_FORM, read_feature_groups
from reportgen.suites.sparse.prompts import Group, Ids, Task
from reportgen.suites.sparse.suite import Settings

if TYPE_CHECKING:
    from reportgen.models.model import Model

MOST_PANELS = 48  # heads drawn per model


@dataclass(frozen=True, eq=False)
class Drawn:
    """`facts` for captions; `panels` [panel query key] used patterns, `of` column and head of each panel."""

    facts: Mapping[str, object]
    panels: npt.NDArray[np.float32]
    of: tuple[str, ...]


def choose(tokens: Tokens, settings: Settings, task: Task, groups: Sequence[Group]) -> Group:
    """The user's prompt, else the task's drawn one, else the first that this tokenizer has."""
    if settings.prompt:
        return prompts.own(tokens, settings.prompt, settings.answer, settings.foil, settings.corrupted)
    return prompts.drawn(tokens, task) or groups[0].row(0)


def check(settings: Settings, group: Group, model: Model) -> None:
    """SettingsError for a link, DataError for feature groups that the prompt or the model does not have."""
    size = group.ids.shape[1]
    _given_link(settings, size)
    _feature_groups(settings, size, model.record.n_layers)


def measure(columns: Sequence[Column], group: Group, text: Ids | None, scope: Scope, settings: Settings) -> Drawn:
    """Every column on the one prompt of `group`; panels for the first (dense) and the last (sparse)."""
    tokens = columns[0].model.tokens
    traces = [edges.trace(column, group) for column in columns]
    found = [t.attribution()[0].cpu().double().numpy() for t in traces]  # each [layer head query key]
    key, query = _link(settings, [found[0], found[-1]], group)
    kl, same = agreement(columns, group)
    facts: dict[str, object] = {}
    panels: list[npt.NDArray[np.float32]] = []
    of: list[str] = []
    for column, trace, attribution in zip(columns, traces, found, strict=True):
        heads = edges.heads_for_link(attribution, query, key)
        link = attribution[:, :, query, key]
        shares = [float(link[head] / np.maximum(link, 0).sum()) for head in heads]
        scans = causal(column, group, trace, text, scope, 0)[0]
        facts[column.name] = {
            "m": float(trace.m[0]),
            "p_answer": float(trace.p_answer[0]),
            "guess": tokens.text(int(trace.top[0])),
            "solved": int(trace.top[0]) == int(group.answers[0]),
            "h80": len(heads),
            "heads": [head_name(*head) for head in heads],
            "shares": shares,
            "negative": float(np.minimum(link, 0).sum()),
            "n90": _whole(edges.edges_holding(attribution, edges.ENOUGH)),
            "nonzero": int((trace.pattern > 0).sum()),
            **{name: _whole(scan.reached) for name, scan in scans.items()},
        }
        if column in (columns[0], columns[-1]):
            panels += [trace.pattern[0, layer, head].cpu().numpy() for layer, head in heads[:MOST_PANELS]]
            of += [f"{column.name} {head_name(*head)}" for head in heads[:MOST_PANELS]]
    size = group.ids.shape[1]
    words = [tokens.text(int(i)) for i in group.ids[0]]
    return Drawn(
        {
            "tokens": words,
            "answer": tokens.text(int(group.answers[0])),
            "foil": "" if group.foils is None else tokens.text(int(group.foils[0])),
            "corrupted": "" if group.corrupted is None else tokens.decode([int(i) for i in group.corrupted[0]]),
            "key": key,
            "query": query,
            "causal_pairs": columns[0].model.record.n_layers * columns[0].model.record.n_heads * size * (size + 1) // 2,
            "kl_nats": float(kl[0]),
            "same_guess": bool(same[0]),
            "columns": facts,
            "feature_groups": _feature_groups(settings, size, columns[0].model.record.n_layers),
        },
        np.array(panels, dtype=np.float32).reshape(-1, size, size),
        tuple(of),
    )


def _whole(value: float) -> int | None:
    """A count for `facts`; None: not reached."""
    return None if np.isnan(value) else int(value)


def _link(settings: Settings, attributions: list[npt.NDArray[np.float64]], group: Group) -> tuple[int, int]:
    return _given_link(settings, group.ids.shape[1]) or edges.main_link(attributions)


def _given_link(settings: Settings, size: int) -> tuple[int, int] | None:
    given = settings.positions()
    if given is not None and given[1] >= size:
        raise SettingsError(
            f"sparse.link {settings.link} is outside the prompt of {size} tokens.", f"Its last position is {size - 1}."
        )
    return given


def _feature_groups(settings: Settings, size: int, n_layers: int) -> list[dict[str, object]]:
    """The user's feature groups, checked against the prompt and the model."""
    if not settings.feature_groups:
        return []
    path = Path(settings.feature_groups)
    groups = read_feature_groups(path)
    for group in groups:
        low, high = group.layers
        if not (0 <= group.position < size and 0 <= low <= high <= n_layers):
            raise DataError(f"{path}: {group.name!r} is outside the prompt or the model.", GROUPS_FORM)
    return [{"name": g.name, "position": g.position, "layers": list(g.layers)} for g in groups]
