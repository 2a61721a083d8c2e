"""Dynamic relation scores of sources that take several tokens, after Elhelo and Geva (arXiv 2412.11965) and its code.

- The source follows "This is a document about "; its last token is the last position. With context: z there. Without:
  the value vector there, which is z if that position attended to itself alone.
- A pair counts when its target is one token at a word start and its source several. The paper encodes the source by
  itself, without the space before it; so do we unless `in_text`, which takes the source's tokens as running text has
  them: the sources that stay several are then fewer.
- Compared with the static score, which comes from the single-token pairs of the same relation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reportgen.scores import HeadScores, NamedArray, NotComputed
from reportgen.suites.relations.agreement import head_weights
from reportgen.suites.relations.correlation import CorrelationRow, correlation_table, correlations
from reportgen.suites.relations.data import Relation
from reportgen.suites.relations.dynamic import KINDS, Progress, hits_of, missing_heads, ranks_in_prompts
from reportgen.suites.relations.pairs import PairIndex
from reportgen.suites.relations.pieces import Pieces
from reportgen.suites.relations.prompting import Prompt

if TYPE_CHECKING:
    from reportgen.models.model import Model

BEGINNING = "This is a document about "


def multi_token(
    model: Model,
    relations: Sequence[Relation],
    ks: Mapping[str, int],
    static: Mapping[str, HeadScores],
    suppression: Mapping[str, HeadScores],
    *,
    cached: bool,
    min_pairs: int = 30,
    in_text: bool = False,
    draws: int = 1000,
    paper: bool = False,
    memory_mib: int = 512,
    chunk: int = 2048,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Pieces:
    """Scores of every head on multi-token sources, for the relations marked `multi_token` that have a static score.

    arrays   multi_token/<relation> [kind layer head] shares; kinds as in dynamic.KINDS
    tables   multi_token_correlation, and multi_token_correlation_paper with `paper`
    facts    "multi_token": {"in_text": bool, "relations": {stem: {"n_pairs": int}}}
    """
    rng = np.random.default_rng([seed, 0x4D])
    wanted = [relation for relation in relations if relation.multi_token and relation.stem in static]
    found, missing = [], []
    for relation in wanted:
        items = multi_token_pairs(model, relation, in_text=in_text)
        if len(items) >= min_pairs:
            found.append((relation, items))
        else:
            why = f"{len(items)} of {len(relation.pairs)} sources take several tokens, fewer than {min_pairs}"
            missing.append(NotComputed(f"multi-token sources of {relation.stem}", why))
    if not wanted:
        return Pieces()
    if not found:
        most = max(len(multi_token_pairs(model, relation, in_text=in_text)) for relation in wanted)
        why = f"no relation has {min_pairs} sources of several tokens; the most is {most}"
        return Pieces(not_computed=(NotComputed("multi-token sources", why),))
    every = list(dict.fromkeys(prompt for _, items in found for prompt, _ in items))
    row = {prompt: i for i, prompt in enumerate(every)}
    pairs = PairIndex.build(
        {relation.stem: ([row[p] for p, _ in items], [t for _, t in items]) for relation, items in found}
    )
    prompts = [every[int(i)] for i in pairs.sources]
    twice = ranks_in_prompts(
        model, pairs, [prompts], cached=cached, memory_mib=memory_mib, chunk=chunk, progress=progress
    )
    r = model.record
    weights = head_weights(r.n_layers, r.n_heads, r.n_kv_heads, draws, rng)
    arrays: dict[str, NamedArray] = {}
    lines: list[CorrelationRow] = []
    for relation, _ in found:
        stem = relation.stem
        hits, reasons = hits_of(twice[:, pairs.members[stem]], ks[stem], r.d_vocab, static[stem])
        absent = missing_heads(reasons, hits.shape[-2:])
        shares = np.where(absent, np.nan, hits.mean(2))  # [kind template=1 layer head]
        arrays[f"multi_token/{stem}"] = NamedArray(
            ("kind", "layer", "head"), shares[:, 0].astype(np.float32), {"kind": KINDS}
        )
        lines += correlations(relation, static[stem], suppression[stem], shares, weights, paper=paper)
    facts = {stem.stem: {"n_pairs": len(items)} for stem, items in found}
    return Pieces(
        tables=correlation_table(lines, "multi_token_correlation", 1, paper=paper),
        arrays=arrays,
        facts={"multi_token": {"in_text": in_text, "relations": facts}},
        not_computed=tuple(missing),
    )


def multi_token_pairs(model: Model, relation: Relation, *, in_text: bool = False) -> list[tuple[Prompt, int]]:
    """The relation's pairs with a source of several known tokens and a target of one: (prompt, target id)."""
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
            items.append((Prompt(before, after, len(after) - 1), t))
    return items
