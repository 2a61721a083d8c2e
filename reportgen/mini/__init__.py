"""The bundled models, made in this repository."""

from __future__ import annotations

from pathlib import Path

BUNDLED = {"mini": "checkpoint", "mini-sparse": "checkpoint-sparse"}  # name -> folder here


def bundled_folder(name: str) -> Path | None:
    """Where the bundled model of this name lies; None for another name."""
    return Path(__file__).parent / BUNDLED[name] if name in BUNDLED else None
