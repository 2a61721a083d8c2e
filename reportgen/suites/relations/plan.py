"""What scoring relations will cost and can reach, told before the model is loaded.

Sources and pairs are those of the bundled lists on a large vocabulary; on a small one there are fewer and it is sooner.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.cost import Phase
from reportgen.suites.relations.data import Kept, keep, load_relations

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.suites.relations.suite import RelationsSettings

RELATIONS = 20  # bundled
SOURCES = 2000  # of all relations together, each once
PAIRS = 110  # of a relation
TEMPLATES = 4
PROMPT = 10  # tokens
FIXED = 50_000  # calls between the passes of a phase
SHOWN = 4  # pairs named one by one
SIZES = 8  # numbers of heads removed in an ablation


def phases(record: ModelRecord, s: RelationsSettings) -> tuple[Phase, ...]:
    """Passes of every source through every head's OV map to the vocabulary; the same for values read on prompts."""
    heads = record.n_layers * record.n_heads
    relations = len(s.only) or RELATIONS
    sources = SOURCES * relations / RELATIONS
    passes = 1 + s.folded + s.matched + s.twins
    width = heads * record.d_head
    nulls = s.permutations * relations * PAIRS * heads * 3
    found = [
        Phase("other", elements=relations * PAIRS * heads * 50, calls=FIXED),
        Phase(
            "layers",
            products=passes * width * record.d_vocab * (record.d_model + sources),
            elements=2 * passes * heads * sources * record.d_vocab + nulls,
            calls=passes * heads * (record.d_vocab / s.chunk + 1) * 20 + FIXED,
        ),
    ]
    if s.salient_tokens:
        norms = width * record.d_vocab * record.d_model
        written = heads * 2 * s.salient_tokens * record.d_head * record.d_vocab
        found += [
            Phase("salient tokens, norms", products=norms, elements=heads * record.d_vocab),
            Phase(
                "salient tokens, what is written",
                products=written,
                elements=4 * heads * s.salient_tokens * record.d_vocab,
            ),
        ]
    return (*found, *_prompts(record, s, relations, heads))


def _prompts(record: ModelRecord, s: RelationsSettings, relations: int, heads: int) -> list[Phase]:
    found = []
    templates = TEMPLATES if s.templates == ("auto",) else len(s.templates)
    if s.dynamic and templates:
        prompts = relations * templates * (s.dynamic_pairs or PAIRS)
        found += [
            Phase(
                "dynamic scores, prompts",
                tokens=prompts * PROMPT,
                calls=cost.passes(record, prompts * PROMPT / 512),
            ),
            Phase(
                "dynamic scores, layers",
                products=2 * prompts * heads * record.d_head * record.d_vocab,
                elements=4 * prompts * heads * record.d_vocab,
                calls=FIXED,
            ),
        ]
    if s.ablation:
        prompts = relations * (s.ablation_prompts or PAIRS)
        variants = prompts * SIZES * (1 + s.ablation_random) + prompts * s.ablation_p_sets
        count = cost.passes(record, variants / 64)
        found.append(Phase("causal ablation, own heads", tokens=variants, logits=variants, calls=count))
    return found


def reach(record: ModelRecord, s: RelationsSettings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads, the smallest p, and how many relations this tokenizer keeps."""
    lists = [keep(relation, tokens) for relation in load_relations(s.relations_dir, s.only)]
    scored = sum(len(k.pairs) >= s.min_pairs for k in lists)
    words = cost.family(record, s.permutations, s.min_pairs, "pairs")
    return (*words, f"{scored} of {len(lists)} relations have {s.min_pairs} pairs or more")


def drops(s: RelationsSettings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The relations that this tokenizer leaves too few pairs, and the pairs that the others lose."""
    lists = [keep(relation, tokens) for relation in load_relations(s.relations_dir, s.only)]
    few = [k for k in lists if len(k.pairs) < s.min_pairs]
    words = [f"relation {k.relation.stem}: {too_few(k, s.min_pairs)}" for k in few]
    lost = {
        k.relation.stem: k for k in lists if (k not in few or s.relations_dir) and len(k.relation.pairs) > len(k.pairs)
    }
    if lost:
        whole = sum(len(k.relation.pairs) for k in lost.values())
        gone = {stem: len(k.relation.pairs) - len(k.pairs) for stem, k in lost.items()}
        each = ", ".join(f"{stem} {n}{_which(lost[stem], s)}" for stem, n in gone.items())
        words.append(f"{sum(gone.values()):,} of {whole:,} pairs, not of one token each: {each}")
    return (*words, *(_twice(k) for k in lists if s.relations_dir and len(set(k.pairs)) < len(k.pairs)))


def _which(kept: Kept, s: RelationsSettings) -> str:
    """The first pairs of a list of the user's own that are left out."""
    gone = [pair for pair in kept.relation.pairs if pair not in set(kept.pairs)] if s.relations_dir else []
    shown = ", ".join(f"{source} -> {target}" for source, target in gone[:SHOWN])
    return f" ({shown}{', ...' if len(gone) > SHOWN else ''})" if gone else ""


def _twice(kept: Kept) -> str:
    """That pairs stand more than once: each counts as often, so that n is too large and the interval too narrow."""
    again = [pair for pair, count in Counter(kept.pairs).items() if count > 1]
    shown = ", ".join(f"{source} -> {target}" for source, target in again[:SHOWN])
    more = ", ..." if len(again) > SHOWN else ""
    return f"relation {kept.relation.stem}: pairs that stand twice count twice, remove one: {shown}{more}"


def too_few(kept: Kept, least: int) -> str:
    """Why a relation is not scored."""
    return f"{len(kept.pairs)} of {len(kept.relation.pairs)} pairs are single tokens; it takes {least}"
