"""sparsify: a model post-trained until few attention edges are left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sparsify_verb(
    model: Annotated[str, typer.Argument(help="mini, a hub id, or a local Hugging Face folder.")] = "mini",
    text: Annotated[str, typer.Option(help="UTF-8 file to train on.")] = "",
    corpus: Annotated[str, typer.Option(help="mini: the bundled model's own corpus, in place of --text.")] = "",
    samples: Annotated[int, typer.Option(help="Tokens of text that the model writes itself, in place of --text.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the sparse model.")] = Path("sparse"),
    slack: Annotated[float, typer.Option(help="Loss allowed above the dense model's, in nats.")] = 0.01,
    bias: Annotated[float, typer.Option(help="Added to every score; 2 to 5 where 0 breaks the model.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1500,
    settle: Annotated[int, typer.Option(help="Further steps without noise in the gates, a round.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds of these steps, each at half the rate of the one before.")] = 1,
    kl: Annotated[float, typer.Option(help="0 to 1: share of the loss that is KL to the dense model.")] = 0.0,
    train: Annotated[str, typer.Option(help="all, or qk: query and key weights; the rest stays as it is.")] = "all",
    cut: Annotated[
        float, typer.Option(help="Start from gates that cut the dense pattern at about this weight (Llama).")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of gates, batches and sampled text.")] = 0,
    length: Annotated[int, typer.Option(help="Tokens a sequence, at most the model's context.")] = 128,
    batch: Annotated[int, typer.Option(help="Sequences a step; 0: 2,048 tokens' worth.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 5e-4,
    control: Annotated[bool, typer.Option(help="Also train the dense model on for as many steps.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, or bfloat16 for sampling and for a Llama's frozen weights while it trains.")
    ] = "float32",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = torch's choice.")] = 0,
    revision: Annotated[str, typer.Option(help="Hub revision: branch, tag or commit.")] = "",
    save_every: Annotated[int, typer.Option(help="Steps between two kept states.")] = 250,
    offline: Annotated[bool, typer.Option("--offline", help="Use the local hub cache only.")] = False,
) -> None:
    """Post-train a model so that few attention edges carry its predictions (after Draye et al. 2025)."""
    from reportgen import models  # noqa: F401  sets how threads wait, before torch is imported
    from reportgen.console import Reporter
    from reportgen.suites.sparse.sparsify import Options, sparsify

    options = Options(
        model=model, out=out, text=text, corpus=corpus, samples=samples, slack=slack, bias=bias, steps=steps,
        settle=settle, rounds=rounds, kl=kl, train=train, cut=cut, seed=seed, length=length, batch=batch,
        lr=lr, control=control, device=device, dtype=dtype, threads=threads, revision=revision, save_every=save_every,
        offline=offline,
    )  # fmt: skip
    reporter = Reporter()
    sparsify(options, lambda done, total, words: reporter.stage(f"{words} ({done}/{total})"))
    print(out)
