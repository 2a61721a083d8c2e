"""sparsify: a model post-trained until few attention edges are left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sparsify_verb(
    model: Annotated[str, typer.Argument(help="mini, a hub id, or a local Hugging Face folder.")] = "mini",
    text: Annotated[str, typer.Option(help="UTF-8 file to train on.")] = "",
    corpus: Annotated[str, typer.Option(help="mini: the bundled model's own corpus, in place of --text.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the sparse model.")] = Path("sparse"),
    slack: Annotated[float, typer.Option(help="Loss allowed above the dense model's, in nats.")] = 0.01,
    bias: Annotated[float, typer.Option(help="Added to every score; 2 to 5 where 0 breaks the model.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1500,
    settle: Annotated[int, typer.Option(help="Further steps without noise in the gates, a round.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds of these steps, each at half the rate of the one before.")] = 1,
    kl: Annotated[float, typer.Option(help="0 to 1: share of the loss that is KL to the dense model.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of gates and batches.")] = 0,
    length: Annotated[int, typer.Option(help="Tokens a sequence, at most the model's context.")] = 128,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 5e-4,
    control: Annotated[bool, typer.Option(help="Also train the dense model on for as many steps.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = torch's choice.")] = 0,
    revision: Annotated[str, typer.Option(help="Hub revision: branch, tag or commit.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Use the local hub cache only.")] = False,
) -> None:
    """Post-train a model so that few attention edges carry its predictions (after Draye et al. 2025)."""
    from reportgen import models  # noqa: F401  sets how threads wait, before torch is imported
    from reportgen.console import Reporter
    from reportgen.suites.sparse.sparsify import Options, sparsify

    options = Options(
        model=model, out=out, text=text, corpus=corpus, slack=slack, bias=bias, steps=steps, settle=settle,
        rounds=rounds, kl=kl, seed=seed, length=length, lr=lr, control=control, device=device, threads=threads,
        revision=revision, offline=offline,
    )  # fmt: skip
    reporter = Reporter()
    sparsify(options, lambda done, total, words: reporter.stage(f"{words} ({done}/{total})"))
    print(out)
