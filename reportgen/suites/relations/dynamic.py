"""Dynamic relation scores: what every head writes for a source when the model reads it in a prompt.

After Elhelo and Geva (arXiv 2412.11965) and its code. Notable decisions:

- A head's z at the LAST position is projected to the vocabulary, z W_O W_U, without biases and final norm; the score is
  the share of pairs whose target has mid-rank <= k, as in the static score.
- With context: z of the plain run. Without context: z if the last position attended to the source alone, while every
  other head's output stays what it was. Since earlier layers are untouched, that z is the value vector at the source's
  position (b_V included): one clean pass gives both.
- A prompt is run once per source, not once per relation, and its beginning once per template.
- Every relation's pairs are the same under all templates; templates are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.scores import HeadScores, NamedArray, NotComputed, head_name
from reportgen.suites.relations.agreement import head_weights
from reportgen.suites.relations.clustered import two_way_wilson
from reportgen.suites.relations.correlation import CorrelationRow, correlation_table, correlations
from reportgen.suites.relations.data import Kept
from reportgen.suites.relations.pairs import PairIndex
from reportgen.suites.relations.pieces import Pieces
from reportgen.suites.relations.projection import Projection
from reportgen.suites.relations.prompting import Prompt, make_prompts, read_heads

if TYPE_CHECKING:
    from reportgen.models.model import Model

KINDS = ("without context", "with context", "suppression without context", "suppression with context")
NO_NULL = "no permutation null: the null of the static score permutes targets, dynamic scores are read beside it"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class DynamicOptions:
    """templates: sentences with <X> for the source;  max_pairs: pairs per relation, drawn at random (0: all);
    draws: bootstrap draws of a correlation;  paper: also r and p with n = heads x templates;
    memory_mib: for z and v of the prompts that are held at once;  chunk: vocabulary columns per matrix product"""

    templates: tuple[str, ...]
    min_pairs: int = 30
    max_pairs: int = 0
    draws: int = 1000
    paper: bool = False
    memory_mib: int = 512
    chunk: int = 2048


def dynamic(
    model: Model,
    kept: Sequence[Kept],
    ks: Mapping[str, int],
    static: Mapping[str, HeadScores],
    suppression: Mapping[str, HeadScores],
    options: DynamicOptions,
    *,
    cached: bool,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Pieces:
    """Dynamic scores of every head on every relation of `kept`, and how they agree with the static ones.

    ks                    relation -> k
    static, suppression   relation -> static scores of measure `score` and `suppression`; their NaN heads stay NaN
    cached                `past.check_cache(model)`

    scores    dynamic/<relation> (without context), dynamic_context/<relation>, intervals clustered by target and
              template
    arrays    dynamic/<relation> [kind template layer head] shares;
              dynamic_hits/<relation> [template pair layer head] uint8, bit i set where kind i hits
    tables    dynamic_correlation, and dynamic_correlation_paper with options.paper
    facts     "dynamic": see `_facts`
    """
    rng = np.random.default_rng([seed, 0xD1])
    kept = [sample(k, options.max_pairs, rng) for k in kept]
    used, prompts, missing = usable_prompts(model, kept, options.templates)
    kept, dropped = only_with_prompts(kept, prompts, options.min_pairs)
    missing += dropped
    if not used or not kept:
        return Pieces(not_computed=tuple(missing) or (NotComputed("dynamic scores", "no template given"),))
    pairs = PairIndex.build({k.relation.stem: (k.sources, k.targets) for k in kept})
    rows = [[prompts[t][int(s)] for s in pairs.sources] for t in range(len(used))]
    twice = ranks_in_prompts(
        model, pairs, rows, cached=cached, memory_mib=options.memory_mib, chunk=options.chunk, progress=progress
    )
    r = model.record
    weights = head_weights(r.n_layers, r.n_heads, r.n_kv_heads, options.draws, rng)
    scores: list[HeadScores] = []
    arrays: dict[str, NamedArray] = {}
    lines: list[CorrelationRow] = []
    for k in kept:
        stem = k.relation.stem
        hits, reasons = hits_of(twice[:, pairs.members[stem]], ks[stem], model.record.d_vocab, static[stem])
        scores += head_scores(k, hits, reasons)
        shares = np.where(missing_heads(reasons, hits.shape[-2:]), np.nan, hits.mean(2))  # [kind template layer head]
        labels = {"kind": KINDS, "template": used}
        arrays[f"dynamic/{stem}"] = NamedArray(("kind", "template", "layer", "head"), shares.astype(np.float32), labels)
        bits = (hits << np.arange(4, dtype=np.uint8)[:, None, None, None, None]).sum(0, dtype=np.uint8)
        arrays[f"dynamic_hits/{stem}"] = NamedArray(
            ("template", "pair", "layer", "head"), bits, {"template": used, "pair": k.labels}
        )
        lines += correlations(k.relation, static[stem], suppression[stem], shares, weights, paper=options.paper)
    facts = {"dynamic": _facts(kept, used, options, cached=cached)}
    tables = correlation_table(lines, "dynamic_correlation", len(used), paper=options.paper)
    return Pieces(tuple(scores), tables, arrays, facts, not_computed=tuple(missing))


def sample(kept: Kept, at_most: int, rng: np.random.Generator) -> Kept:
    """A relation with at most this many of its pairs (0: all), drawn without replacement, order kept."""
    if not 0 < at_most < len(kept.pairs):
        return kept
    return pick(kept, np.sort(rng.choice(len(kept.pairs), at_most, replace=False)).tolist())


def pick(kept: Kept, places: Sequence[int]) -> Kept:
    """A relation with some of its pairs."""
    return Kept(
        kept.relation,
        tuple(kept.pairs[i] for i in places),
        tuple(kept.sources[i] for i in places),
        tuple(kept.targets[i] for i in places),
    )


def usable_prompts(
    model: Model, kept: Sequence[Kept], templates: Sequence[str]
) -> tuple[tuple[str, ...], list[dict[int, Prompt]], list[NotComputed]]:
    """Templates whose prompts keep the source's token for at least half of the sources, and source id -> prompt."""
    words = {s: pair[0] for k in kept for s, pair in zip(k.sources, k.pairs, strict=True)}
    used, prompts, missing = [], [], []
    for template in templates:
        made = make_prompts(model.tokens, template, ((w, s) for s, w in words.items()), model.record.n_ctx)
        good = {s: prompt for s, prompt in zip(words, made, strict=True) if prompt is not None}
        if 2 * len(good) >= len(words) > 0:
            used.append(template)
            prompts.append(good)
        else:
            why = f"the source stays one token in {len(good)} of {len(words)} prompts"
            missing.append(NotComputed(f"dynamic scores in {template!r}", why))
    return tuple(used), prompts, missing


def only_with_prompts(
    kept: Sequence[Kept], prompts: Sequence[Mapping[int, Prompt]], min_pairs: int
) -> tuple[list[Kept], list[NotComputed]]:
    """The relations with the pairs whose source has a prompt under every template; those with too few are left out."""
    left, missing = [], []
    for k in kept:
        places = [i for i, s in enumerate(k.sources) if all(s in made for made in prompts)]
        if len(places) >= min(min_pairs, len(k.pairs)) and places:
            left.append(pick(k, places))
        else:
            why = f"{len(places)} of {len(k.pairs)} sources stay one token in every template"
            missing.append(NotComputed(f"dynamic scores of {k.relation.stem}", why))
    return left, missing


def ranks_in_prompts(
    model: Model,
    pairs: PairIndex,
    prompts: Sequence[Sequence[Prompt]],
    *,
    cached: bool,
    memory_mib: int = 512,
    chunk: int = 2048,
    progress: Progress = lambda done, total, words: None,
) -> npt.NDArray[np.uint32]:
    """Doubled ranks [context*template pair layer head]: first without context, every template, then with context.

    prompts[template][row] belongs to pairs.sources[row]. z and v of at most memory_mib are held at once.
    """
    r = model.record
    n_templates = len(prompts)
    per_row = 4 * n_templates * r.n_layers * r.d_head * (r.n_heads + r.n_kv_heads)
    step = max(1, memory_mib * 2**20 // per_row)
    out = np.zeros((2 * n_templates, len(pairs.targets), r.n_layers, r.n_heads), np.uint32)
    W_U = model.W_U()
    total = -(-len(pairs.sources) // step) * (n_templates + r.n_layers)
    done = 0
    for start in range(0, len(pairs.sources), step):
        stop = min(start + step, len(pairs.sources))
        slots = [slot[start:stop] for slot in pairs.slots if len(slot) > start]
        z_parts, v_parts = [], []
        for rows in prompts:
            z, v = read_heads(model, rows[start:stop], cached=cached)
            z_parts.append(z)
            v_parts.append(v)
            progress(done := done + 1, total, "dynamic scores, prompts")
        projection = Projection(W_U, [torch.from_numpy(pairs.targets[slot]) for slot in slots], chunk=chunk)
        for layer in range(r.n_layers):
            alone = [v[:, layer].repeat_interleave(r.n_heads // r.n_kv_heads, dim=1) for v in v_parts]
            heads = torch.stack([*alone, *(z[:, layer] for z in z_parts)])  # [context*template row head d_head]
            _store(projection.layer(heads, model.W_O(layer)), slots, out[:, :, layer])
            progress(done := done + 1, total, "dynamic scores, layers")
    return out


def _store(ranks: list[Tensor], slots: Sequence[npt.NDArray[np.int64]], out: npt.NDArray[np.uint32]) -> None:
    for slot, found in zip(slots, ranks, strict=True):
        out[:, slot] = found.cpu().numpy().astype(np.uint32)


def hits_of(
    twice: npt.NDArray[np.uint32], k: int, d_vocab: int, static: HeadScores
) -> tuple[npt.NDArray[np.uint8], dict[str, str]]:
    """Hits [kind template pair layer head] of doubled ranks [context*template pair layer head]; why heads have none."""
    twice = twice.reshape(2, -1, *twice.shape[1:])  # [context template pair layer head]
    top = (twice > 0) & (twice <= 2 * k)
    bottom = (twice > 0) & (2 * (d_vocab + 1) - twice.astype(np.int64) <= 2 * k)
    reasons = {}
    broken = (twice == 0).sum((0, 1, 2))  # [layer head]
    for layer, head in np.argwhere((broken > 0) | ~np.isfinite(static.values)):
        why = static.reason(int(layer), int(head))
        reasons[head_name(int(layer), int(head))] = why or f"not finite in {broken[layer, head]} projections"
    return np.concatenate([top, bottom]).astype(np.uint8), reasons


def head_scores(k: Kept, hits: npt.NDArray[np.uint8], reasons: Mapping[str, str]) -> list[HeadScores]:
    """The two head maps of a relation, templates averaged."""
    scores = []
    nan = missing_heads(reasons, hits.shape[-2:])
    for kind, measure in ((0, "dynamic"), (1, "dynamic_context")):
        values = hits[kind].mean((0, 1))  # [layer head]
        low, high = two_way_wilson(hits[kind], k.targets)
        grids = [np.where(nan, np.nan, grid).astype(np.float32) for grid in (values, low, high)]
        scores.append(
            HeadScores(
                key=f"relations/{measure}/{k.relation.stem}",
                label=f"{k.relation.title} score in prompts, {KINDS[kind]}",
                values=grids[0],
                n=hits.shape[1] * hits.shape[2],
                low=grids[1],
                high=grids[2],
                no_null=NO_NULL,
                range=(0.0, 1.0),
                reasons=dict(reasons),
            )
        )
    return scores


def missing_heads(reasons: Mapping[str, str], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """[layer head] True where a head has a reason to have no value."""
    names = [[head_name(layer, head) in reasons for head in range(shape[1])] for layer in range(shape[0])]
    return np.array(names, dtype=bool)


def _facts(kept: Sequence[Kept], used: tuple[str, ...], options: DynamicOptions, *, cached: bool) -> dict[str, object]:
    return {
        "templates": list(used),
        "max_pairs": options.max_pairs,
        "draws": options.draws,
        "cached": cached,
        "relations": {k.relation.stem: {"n_pairs": len(k.pairs), "n_targets": len(set(k.targets))} for k in kept},
    }
