"""What a user may give the suite: a TOML file of templates and pairs, a JSON file of feature groups. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from reportgen.errors import DataError
from reportgen.reading import read_json, read_toml

BUNDLED = Path(__file__).parent / "data" / "antonyms.toml"
_MOST_FEATURES = 1 << 20  # bytes


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TOML file: templates with one {x}, pairs (word, answer), the pair that is drawn."""

    title: str
    templates: list[str]
    pairs: list[tuple[str, str]]
    drawn: tuple[str, str]


class FeatureGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the user's file: a named group of features at a position, over a range of layers."""

    name: str
    position: int
    layers: tuple[int, int]


def read_task(path: Path) -> Task:
    """The task in a TOML file. DataError names the file and the place."""
    task = read_toml(path, Task, f"See {BUNDLED.name} for the form.")
    bad = [text for text in task.templates if text.count("{x}") != 1]
    if bad or not task.templates or len(task.pairs) < 3:
        raise DataError(f"{path}: every template needs one {{x}}, and three pairs are the least.", f"Mend {bad[:1]}.")
    return task


GROUPS_FORM = 'Expected [{"name": "large", "position": 5, "layers": [0, 3]}, ...].'


def read_feature_groups(path: Path) -> list[FeatureGroup]:
    """The groups in a JSON file; DataError names the file and the place. Prompt and model are checked later."""
    groups = read_json(path, list[FeatureGroup], GROUPS_FORM, most=_MOST_FEATURES)
    for group in groups:
        low, high = group.layers
        if group.position < 0 or not 0 <= low <= high:
            raise DataError(f"{path}: {group.name!r} has no such position or layers.", GROUPS_FORM)
    return groups
