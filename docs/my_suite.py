"""How far back each head looks: a full suite in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from reportgen.errors import NotApplicable
from reportgen.suites.base import Check, Measure, Planted, Suite

FIRST = 8  # earlier queries have few keys to attend to


@dataclass(frozen=True)
class Settings:
    sequences: int = field(default=64, metadata={"help": "sequences of random tokens"})
    tokens: int = field(default=32, metadata={"help": "tokens per sequence"})
    batch: int = field(default=16, metadata={"help": "sequences per forward pass"})
    resamples: int = field(default=2000, metadata={"help": "bootstrap draws over sequences"})


def score(model, settings, context):
    import numpy as np
    import torch

    from reportgen.scores import Control, HeadScores, SuiteResult
    from reportgen.stats import bootstrap_interval
    from reportgen.suites.samples import held_out

    if settings.tokens > model.record.n_ctx:
        raise NotApplicable(f"the context has {model.record.n_ctx} tokens, fewer than {settings.tokens}")
    rng = np.random.default_rng(context.seed)
    ids = torch.from_numpy(rng.integers(0, model.tokens.size, (settings.sequences, settings.tokens)))
    if model.tokens.bos_id is not None:
        ids[:, 0] = model.tokens.bos_id  # as in training
    at = torch.arange(settings.tokens, device=model.device)
    back = (at[:, None] - at[None, :]).clamp(min=0).float()  # [query key]

    def read(into, pattern):  # [batch head query key]
        into.append((pattern.float() * back).sum(-1)[:, :, FIRST:].mean(-1).cpu())  # [batch head]

    layers = [[] for _ in range(model.record.n_layers)]
    hooks = {("pattern", layer): partial(read, kept) for layer, kept in enumerate(layers)}
    for start in range(0, settings.sequences, settings.batch):
        model.run(ids[start : start + settings.batch], hooks, last=True)
        context.progress(min(start + settings.batch, settings.sequences), settings.sequences, "sequences")
    each = torch.stack([torch.cat(kept) for kept in layers], dim=1).numpy()  # [sequence layer head]

    low, high = bootstrap_interval(
        each, [0] * len(each), rng, draws=settings.resamples, bounds=(0, settings.tokens - 1)
    )
    reach = HeadScores(
        key="reach/distance/random_tokens",
        label="Mean distance (tokens)",
        values=each.mean(0, dtype=np.float64).astype(np.float32),
        n=settings.sequences,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        no_null="a distance is descriptive; there is no claim to test",
        range=(0.0, float(settings.tokens - 1)),
        held_out=held_out(each, context.seed, of="sequences", bounds=(0, settings.tokens - 1)),
        controls=(Control("head with uniform attention", (FIRST + settings.tokens - 1) / 4),),
    )
    return SuiteResult("reach", (reach,), facts={"tokens": settings.tokens})


def figures(result, view):
    from reportgen.figures import captions
    from reportgen.figures.chart_data import table
    from reportgen.figures.figure import Figure
    from reportgen.figures.heatmap import heatmap

    scores = result["distance/random_tokens"]
    sets = view.sets("user/")  # what --overlay gave
    title = f"{captions.model_name(view)}: how far back heads look"
    caption = captions.join(
        f"Mean distance in tokens between a query and the keys it attends to, in {captions.grid_words(view)}.",
        f"Mean over n = {scores.n} sequences of {result.facts['tokens']} random tokens, queries from {FIRST} on.",
        captions.beats_null(scores),
        captions.best_head(scores),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        captions.synthetic(view),
    )
    return [
        Figure(
            id="reach-distance",
            suite="reach",
            title=title,
            caption=caption,
            alt="Layer by head map of the mean distance that each head looks back.",
            chart=heatmap(scores, view, sets, title),
            data=table([(scores, sets)]),
            head_sets=tuple(sets),
        )
    ]


SUITE = Suite(
    name="reach",
    title="Reach",
    summary="How far back each head looks on random tokens.",
    version=1,  # raise it when scores change, so that stored ones are recomputed
    settings=Settings,
    score=score,
    figures=figures,
    measures=(
        Measure(
            name="distance",
            title="Mean distance",
            formula=f"mean over queries q >= {FIRST} of sum_k pattern[q, k] (q - k)",
            meaning="High: the head looks far back, or attends mostly to the first token. Outputs are not measured.",
            unit="tokens",
            source="ours",
            range=(0.0, float("inf")),
            null="none: a distance is descriptive",
        ),
    ),
    check=Check(
        planted=(
            Planted("distance/random_tokens", "L0H0", 0.99, 1.01),
            Planted("distance/random_tokens", "L0H1", 2.99, 3.01),
            Planted("distance/random_tokens", "L1H2", 0.0, 0.01),
            Planted("distance/random_tokens", "L1H3", 1.99, 2.01),
        )
    ),
)
