"""mini train: the bundled model made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reportgen.errors import SettingsError


def mini_train_verb(
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("mini-trained"),
    seed: Annotated[int | None, typer.Option(help="Seed of weights and corpus. [default: the shipped model's]")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps. [default: the shipped model's]")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; weights are bit-identical for the same number.")] = 1,
    save_steps: Annotated[str, typer.Option(help="Comma-separated steps whose checkpoints are kept.")] = "",
) -> None:
    """Train the bundled model again from nothing, by the recipe it was made with."""
    from dataclasses import replace

    from reportgen.mini.train import TrainConfig, train

    try:
        kept = tuple(int(step) for step in save_steps.split(",") if step)
    except ValueError as error:
        raise SettingsError(f"--save-steps {save_steps!r} is no list of steps.", "For example 100,200") from error
    shipped = TrainConfig(threads=threads, save_steps=kept)
    config = replace(
        shipped, seed=shipped.seed if seed is None else seed, steps=shipped.steps if steps is None else steps
    )
    print(train(config, out))
