"""Scores every head on every relation. Static: weights only, no prompt is run.

Filled below, after the functions are settled: the keys of result.facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.scores import HeadScores, NamedArray, NotComputed, SuiteResult, head_name
from reportgen.stats import wilson
from reportgen.suites.base import Context
from reportgen.suites.relations.data import Kept, keep, load_relations
from reportgen.suites.relations.engine import LayerRanks, PairIndex, Ranker
from reportgen.suites.relations.suite import RelationsSettings

if TYPE_CHECKING:
    from reportgen.models.model import Weights

NO_NULL = "not permuted yet"


def score(model: Weights, settings: RelationsSettings, context: Context) -> SuiteResult:
    """Relation, suppression scores of every head, with ranks. Raises DataError, SettingsError, NotApplicable."""
    d_vocab = model.record.d_vocab
    kept, missing = filtered(model, settings)
    if not kept:
        raise NotApplicable(f"no relation keeps {settings.min_pairs} pairs of single-token words on this tokenizer")
    pairs = PairIndex.build({k.relation.stem: (k.sources, k.targets) for k in kept})
    x0, x1, note = inputs(model, torch.from_numpy(pairs.sources), first_mlp=settings.first_mlp)
    norms = ov_norms(model)
    active = np.isfinite(norms) & (norms > 1e-6 * np.nanmedian(norms))
    ks = {k.relation.stem: settings.rank_limit(d_vocab, k.relation.copying) for k in kept}
    ranker = Ranker(
        model.W_U(), pairs, limit=max(*ks.values(), 1) + 1, chunk=settings.chunk, tile_mib=settings.tile_mib
    )
    layers = []
    for layer in range(model.record.n_layers):
        x = x0 if layer == 0 else x1
        layers.append(ranker.layer(x, model.W_V(layer), model.W_O(layer), active[layer]))
        context.progress(layer + 1, model.record.n_layers, "relations: layers")
    scores: list[HeadScores] = []
    arrays: dict[str, NamedArray] = {}
    for k in kept:
        stem = k.relation.stem
        twice, reasons = ranks_of(layers, pairs.members[stem], active, norms)
        flipped = np.where(twice == 0, 0, 2 * (d_vocab + 1) - twice).astype(np.uint32)
        for measure, ranks, words in (("score", twice, ""), ("suppression", flipped, "(Suppression) ")):
            hits = ((ranks > 0) & (ranks <= 2 * ks[stem])).sum(axis=0)
            scores.append(
                share(f"relations/{measure}/{stem}", f"{words}{k.relation.title} score", hits, reasons, len(twice))
            )
        labels = {"pair": k.labels}
        arrays[f"ranks/{stem}"] = NamedArray(("pair", "layer", "head"), twice, labels)
        arrays[f"ranks_suppression/{stem}"] = NamedArray(("pair", "layer", "head"), flipped, labels)
    facts: dict[str, object] = {
        "tau": settings.tau,
        "d_vocab": d_vocab,
        "relations": {
            k.relation.stem: {
                "title": k.relation.title,
                "category": k.relation.category,
                "copying": k.relation.copying,
                "k": ks[k.relation.stem],
                "n_pairs": len(k.pairs),
                "n_targets": len(set(k.targets)),
            }
            for k in kept
        },
    }
    return SuiteResult("relations", tuple(scores), arrays=arrays, facts=facts, notes=note, not_computed=tuple(missing))


def filtered(model: Weights, settings: RelationsSettings) -> tuple[list[Kept], list[NotComputed]]:
    """The relations that keep enough single-token pairs, and the others with their counts."""
    kept, missing = [], []
    for relation in load_relations(settings.relations_dir, settings.relations):
        k = keep(relation, model.tokens)
        if len(k.pairs) >= settings.min_pairs:
            kept.append(k)
        else:
            why = f"{len(k.pairs)} of {len(relation.pairs)} pairs are single tokens, fewer than {settings.min_pairs}"
            missing.append(NotComputed(f"relation {relation.stem}", why))
    return kept, missing


def inputs(model: Weights, ids: Tensor, *, first_mlp: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """What layer 0 reads, what layers >= 1 read [row d_model], and a note where the first MLP could not be used."""
    ids = ids.to(model.device)
    x0 = model.embed(ids).float()
    if not first_mlp:
        return x0, x0, ("Every layer reads the token's embedding (first_mlp is off).",)
    try:
        return x0, model.first_mlp(ids).float(), ()
    except NotApplicable as reason:
        return x0, x0, (f"Every layer reads the token's embedding: {reason}.",)


def ov_norms(model: Weights) -> npt.NDArray[np.float64]:
    """||W_V W_O|| (Frobenius) per head [layer head]: the root of tr((W_V' W_V)(W_O W_O')), in float64."""
    rows = []
    for layer in range(model.record.n_layers):
        W_V, W_O = model.W_V(layer).cpu().double(), model.W_O(layer).cpu().double()
        gram_V = (W_V.mT @ W_V).repeat_interleave(len(W_O) // len(W_V), dim=0)  # [head d_head d_head]
        rows.append((gram_V * (W_O @ W_O.mT)).sum((1, 2)).clamp_min(0).sqrt().numpy())
    return np.stack(rows)


def ranks_of(
    layers: list[LayerRanks],
    members: npt.NDArray[np.int64],
    active: npt.NDArray[np.bool_],
    norms: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.uint32], dict[str, str]]:
    """Doubled ranks [pair layer head] of one relation, and why heads have none."""
    twice = np.stack([layer.twice[members] for layer in layers], axis=1)
    broken = np.stack([layer.broken[members] for layer in layers], axis=1).sum(axis=0)  # [layer head]
    reasons = {}
    for layer, head in np.argwhere(~active | (broken > 0)):
        if not np.isfinite(norms[layer, head]):
            why = "non-finite weights"
        elif not active[layer, head]:
            why = "inactive: ||W_V W_O|| is below 1e-6 of the median head's"
        else:
            why = f"non-finite logits on {broken[layer, head]} of {len(members)} pairs"
        reasons[head_name(int(layer), int(head))] = why
        twice[:, layer, head] = 0
    return twice, reasons


def share(key: str, label: str, hits: npt.NDArray[np.int64], reasons: Mapping[str, str], n: int) -> HeadScores:
    """hits / n per head with Wilson's interval; NaN for heads with a reason."""
    counts = hits.astype(np.float64)
    for name in reasons:
        layer, head = (int(part) for part in name[1:].split("H"))
        counts[layer, head] = np.nan
    low, high = wilson(counts, n)
    return HeadScores(
        key=key,
        label=label,
        values=(counts / n).astype(np.float32),
        n=n,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        no_null=NO_NULL,
        range=(0.0, 1.0),
        reasons=reasons,
    )


def at_least(hits: int, n: int, tau: float) -> bool:
    """hits / n >= tau in whole numbers: 6 of 40 is exactly 0.15."""
    limit = Fraction(str(tau))
    return hits * limit.denominator >= n * limit.numerator
