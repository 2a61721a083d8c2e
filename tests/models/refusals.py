"""Damaging a checkpoint, and the one line that loading it ends in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reportgen.errors import ModelError
from reportgen.models.load import load


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(folder: Path | str, **how: Any) -> str:
    """The one line that loading ends in. Weights are never reached."""
    with pytest.raises(ModelError) as caught:
        load(folder, device="cpu", **how)
    assert caught.value.hint
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text
