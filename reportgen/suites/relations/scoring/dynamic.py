"""Dynamic relation scores: what every head writes for a source when the model reads it in a prompt.

After Elhelo and Geva (arXiv 2412.11965) and its code. Notable decisions:

- A head's z at the LAST position is projected to the vocabulary, z W_O W_U, without biases and final norm; the score is
  the share of pairs whose target has mid-rank <= k, as in the static score.
- With context: z of the plain run. Without context: z if the last position attended to the source alone, while every
  other head's output stays what it was. Since earlier layers are untouched, that z is the value vector at the source's
  position (b_V included): one clean pass gives both.
- A prompt is run once per source, not once per relation, and its beginning once per template.
- Every relation's pairs are the same under all templates; templates are averaged.
- Sources of several tokens have a prompt and scores of their own (`multi_token`), compared with the static score of the
  single-token pairs of the same relation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Progress
from reportgen.models.prefix_cache import Past
from reportgen.scores import HeadScores, NamedArray, NotComputed, head_name
from reportgen.stats import two_way_wilson
from reportgen.suites.pairs import KeptPairs, Relation, pick, sample
from reportgen.suites.relations.scoring.correlation import CorrelationRow, correlation_table, correlations, head_weights
from reportgen.suites.relations.scoring.near_ranks import NearRanks
from reportgen.suites.relations.scoring.ranks import PairIndex
from reportgen.suites.relations.scoring.results import Pieces

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens


# Prompts around a source word, and what every head does with them at two positions.
#
# - `<X>` stands for the source. A prompt is used only where the source's own token stands alone in it: the words
#   before
#   <X>, the token, the words after; otherwise the position that the score is about would be a guess.
# - Prompts of one beginning and one length are run together, the shared beginning once.

SLOT = "<X>"
LOGITS_MIB = 256  # memory for the logits of one batch
MAX_ROWS = 512  # rows of one batch, however small the vocabulary


@dataclass(frozen=True)
class RelationPrompt:
    """One prompt's ids: those before the source, and the rest; `source` is the source's last token in `after`."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    source: int = 0

    @property
    def ids(self) -> tuple[int, ...]:
        return self.before + self.after


def make_prompts(
    tokens: Tokens, template: str, sources: Iterable[tuple[str, int]], n_ctx: int
) -> list[RelationPrompt | None]:
    """The template about every (word, its token); None where that token does not stand alone after the beginning."""
    before = tuple(tokens.prompt_ids(template.split(SLOT)[0].rstrip(" ")))
    at = len(before)
    prompts: list[RelationPrompt | None] = []
    for word, token in sources:
        ids = tuple(tokens.prompt_ids(template.replace(SLOT, word)))
        whole = at < len(ids) <= n_ctx and ids[:at] == before and ids[at] == token
        prompts.append(RelationPrompt(before, ids[at:]) if whole else None)
    return prompts


def batches(prompts: Sequence[RelationPrompt], size: int) -> list[list[int]]:
    """Places of the prompts that can be run together: one beginning, one length, at most `size`."""
    alike: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for i, prompt in enumerate(prompts):
        alike.setdefault((prompt.before, len(prompt.after)), []).append(i)
    return [places[a : a + size] for places in alike.values() for a in range(0, len(places), size)]


def batch_rows(model: Model, positions: int) -> int:
    """Rows of a batch whose logits at `positions` positions take at most LOGITS_MIB."""
    return min(MAX_ROWS, max(1, LOGITS_MIB * 2**20 // (4 * model.record.d_vocab * max(1, positions))))


@torch.no_grad()
def read_heads(model: Model, prompts: Sequence[RelationPrompt], *, cached: bool) -> tuple[Tensor, Tensor]:
    """z [row layer head d_head] at the last position and v [row layer kv d_head] at the source of a clean run."""
    r = model.record
    z = torch.empty(len(prompts), r.n_layers, r.n_heads, r.d_head, device=model.device)
    v = torch.empty(len(prompts), r.n_layers, r.n_kv_heads, r.d_head, device=model.device)
    longest = max((len(p.after) if cached else len(p.ids) for p in prompts), default=1)
    pasts: dict[tuple[int, ...], Past] = {}
    for rows in batches(prompts, batch_rows(model, longest)):
        first = prompts[rows[0]]
        if first.before not in pasts:
            before = torch.tensor([first.before], dtype=torch.long)  # [1 pos]
            pasts = {first.before: Past(model, before, cached=cached)}
        ids = torch.tensor([prompts[i].after for i in rows])  # [row pos]
        at = torch.tensor([prompts[i].source for i in rows], device=model.device)
        places = torch.tensor(rows, device=model.device)
        hooks = {("z", layer): _keep(z, layer, places, None) for layer in range(r.n_layers)}
        hooks |= {("v", layer): _keep(v, layer, places, at) for layer in range(r.n_layers)}
        pasts[first.before].run(ids, hooks, last=True)
    return z, v


def _keep(into: Tensor, layer: int, rows: Tensor, at: Tensor | None) -> Callable[[Tensor], None]:
    """A hook that writes position `at` of every row (None: the last) into `into` [row layer head d_head]."""

    def hook(tensor: Tensor) -> None:
        picked = tensor[:, -1] if at is None else tensor[torch.arange(len(at), device=at.device), at]
        into[rows, layer] = picked.float()

    return hook


KINDS = ("without context", "with context", "suppression without context", "suppression with context")
NO_NULL = "no permutation null: the null of the static score permutes targets, dynamic scores are read beside it"


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
    kept: Sequence[KeptPairs],
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
        model, pairs, rows, max(ks.values()),
        cached=cached, memory_mib=options.memory_mib, chunk=options.chunk, progress=progress,
    )  # fmt: skip
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


def usable_prompts(
    model: Model, kept: Sequence[KeptPairs], templates: Sequence[str]
) -> tuple[tuple[str, ...], list[dict[int, RelationPrompt]], list[NotComputed]]:
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
    kept: Sequence[KeptPairs], prompts: Sequence[Mapping[int, RelationPrompt]], min_pairs: int
) -> tuple[list[KeptPairs], list[NotComputed]]:
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
    prompts: Sequence[Sequence[RelationPrompt]],
    limit: int,
    *,
    cached: bool,
    memory_mib: int = 512,
    chunk: int = 2048,
    progress: Progress = lambda done, total, words: None,
) -> npt.NDArray[np.uint32]:
    """Doubled ranks [context*template pair layer head]: first without context, every template, then with context.

    They are exact up to `limit` from either end and otherwise beyond both: see NearRanks.heads.
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
        z_parts, v_parts = [], []
        for rows in prompts:
            z, v = read_heads(model, rows[start:stop], cached=cached)
            z_parts.append(z)
            v_parts.append(v)
            progress(done := done + 1, total, "dynamic scores, prompts")
        mine = np.flatnonzero((pairs.row >= start) & (pairs.row < stop))
        places = np.arange(2 * n_templates)[:, None] * (stop - start) + pairs.row[mine] - start
        near = NearRanks(W_U, places.ravel(), np.tile(pairs.targets[mine], 2 * n_templates), limit=limit, chunk=chunk)
        for layer in range(r.n_layers):
            alone = [v[:, layer].repeat_interleave(r.n_heads // r.n_kv_heads, dim=1) for v in v_parts]
            heads = torch.cat([*alone, *(z[:, layer] for z in z_parts)])  # [context*template*row head d_head]
            found = near.heads(heads.unbind(1), model.W_O(layer)).twice
            out[:, mine, layer] = found.reshape(2 * n_templates, len(mine), r.n_heads)
            progress(done := done + 1, total, "dynamic scores, layers")
    return out


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


def head_scores(k: KeptPairs, hits: npt.NDArray[np.uint8], reasons: Mapping[str, str]) -> list[HeadScores]:
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


def _facts(
    kept: Sequence[KeptPairs], used: tuple[str, ...], options: DynamicOptions, *, cached: bool
) -> dict[str, object]:
    return {
        "templates": list(used),
        "max_pairs": options.max_pairs,
        "draws": options.draws,
        "cached": cached,
        "relations": {k.relation.stem: {"n_pairs": len(k.pairs), "n_targets": len(set(k.targets))} for k in kept},
    }


BEGINNING = "This is a document about "


def multi_token(
    model: Model,
    relations: Sequence[Relation],
    ks: Mapping[str, int],
    static: Mapping[str, HeadScores],
    suppression: Mapping[str, HeadScores],
    options: DynamicOptions,
    *,
    cached: bool,
    in_text: bool = False,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Pieces:
    """Dynamic scores of every head on sources of several tokens, where a relation is marked `multi_token` and has a
    static score (Elhelo and Geva, arXiv 2412.11965, and its code).

    The source follows BEGINNING; its last token is the last position. With context: z there. Without: the value vector
    there, which is z if that position attended to itself alone.

    options  its templates and max_pairs are not used;  in_text: see `multi_token_pairs`

    arrays   multi_token/<relation> [kind layer head] shares; kinds as in KINDS
    tables   multi_token_correlation, and multi_token_correlation_paper with options.paper
    facts    "multi_token": {"in_text": bool, "relations": {stem: {"n_pairs": int}}}
    """
    rng = np.random.default_rng([seed, 0x4D])
    wanted = [relation for relation in relations if relation.multi_token and relation.stem in static]
    if not wanted:
        return Pieces()
    items = {relation.stem: multi_token_pairs(model, relation, in_text=in_text) for relation in wanted}
    kept, missing = _with_enough(wanted, items, options.min_pairs)
    if not kept:
        return Pieces(not_computed=tuple(missing))
    prompts = list(dict.fromkeys(prompt for relation in kept for prompt, _ in items[relation.stem]))
    row = {prompt: i for i, prompt in enumerate(prompts)}
    ids = {r.stem: ([row[p] for p, _ in items[r.stem]], [t for _, t in items[r.stem]]) for r in kept}
    pairs = PairIndex.build(ids)
    rows = [[prompts[int(i)] for i in pairs.sources]]
    twice = ranks_in_prompts(
        model, pairs, rows, max(ks.values()),
        cached=cached, memory_mib=options.memory_mib, chunk=options.chunk, progress=progress,
    )  # fmt: skip
    r = model.record
    weights = head_weights(r.n_layers, r.n_heads, r.n_kv_heads, options.draws, rng)
    arrays: dict[str, NamedArray] = {}
    lines: list[CorrelationRow] = []
    for relation in kept:
        stem = relation.stem
        hits, reasons = hits_of(twice[:, pairs.members[stem]], ks[stem], r.d_vocab, static[stem])
        shares = np.where(missing_heads(reasons, hits.shape[-2:]), np.nan, hits.mean(2))  # [kind template=1 layer head]
        values = shares[:, 0].astype(np.float32)
        arrays[f"multi_token/{stem}"] = NamedArray(("kind", "layer", "head"), values, {"kind": KINDS})
        lines += correlations(relation, static[stem], suppression[stem], shares, weights, paper=options.paper)
    counts = {relation.stem: {"n_pairs": len(items[relation.stem])} for relation in kept}
    facts = {"multi_token": {"in_text": in_text, "relations": counts}}
    tables = correlation_table(lines, "multi_token_correlation", 1, paper=options.paper)
    return Pieces(tables=tables, arrays=arrays, facts=facts, not_computed=tuple(missing))


def _with_enough(
    wanted: Sequence[Relation], items: Mapping[str, Sequence[object]], least: int
) -> tuple[list[Relation], list[NotComputed]]:
    """The relations with at least `least` sources of several tokens; why the others are left out."""
    kept = [relation for relation in wanted if len(items[relation.stem]) >= least]
    if not kept:
        most = max(len(items[relation.stem]) for relation in wanted)
        why = f"no relation has {least} sources of several tokens; the most is {most}"
        return [], [NotComputed("multi-token sources", why)]
    few = ((r, len(items[r.stem])) for r in wanted if len(items[r.stem]) < least)
    return kept, [
        NotComputed(
            f"multi-token sources of {relation.stem}",
            f"{n} of {len(relation.pairs)} sources take several tokens, fewer than {least}",
        )
        for relation, n in few
    ]


def multi_token_pairs(model: Model, relation: Relation, *, in_text: bool = False) -> list[tuple[RelationPrompt, int]]:
    """The relation's pairs with a source of several known tokens and a target of one: (prompt, target id).

    The paper encodes the source by itself, without the space before it; `in_text` takes the source's tokens as running
    text has them: the sources that stay several are then fewer.
    """
    tokens = model.tokens
    items = []
    for source, target in relation.pairs:
        t = tokens.word_id(target)
        if t is None:
            continue
        if in_text:
            before = tuple(tokens.prompt_ids(BEGINNING.rstrip(" ")))
            after = tuple(tokens.following(BEGINNING.rstrip(" "), f" {source}") or ())
        else:
            before = tuple(tokens.prompt_ids(BEGINNING))
            after = tuple(tokens.encode(source))
        if len(after) > 1 and tokens.unk_id not in after and len(before) + len(after) <= model.record.n_ctx:
            items.append((RelationPrompt(before, after, len(after) - 1), t))
    return items
