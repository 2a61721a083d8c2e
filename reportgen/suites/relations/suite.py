"""The suite `relations`: what each head's OV map does to words, from the weights alone.

After Elhelo and Geva, "Inferring Functionality of Attention Heads from their Parameters", arXiv 2412.11965. No prompt
is run: a head is the map M = E W_V W_O W_U from source tokens to output tokens, a relation is a list of (source,
target) pairs, and every score counts targets that rank high enough in their source's row of M. Imports
neither torch nor altair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reportgen.manifest import ModelRecord
from reportgen.scores import Control, HeadScores, SuiteResult
from reportgen.suites import cost
from reportgen.suites.base import Measure, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.facts import part, with_estimate
from reportgen.suites.pairs import (
    KeptPairs,
    Relation,
    data_files,
    keep,
    load_relations,
    load_templates,
    unread,
)
from reportgen.suites.settings import ALL, AUTO, check, setting

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


# Cost and smallest p of scoring relations, reported before the model is loaded.
#
# Sources and pairs are those of the bundled lists on a large vocabulary; a small one has fewer and takes
# less time.

RELATIONS = 20  # bundled
SOURCES = 2000  # of all relations together, each once
PAIRS = 110  # of a relation
TEMPLATES = 4
PROMPT = 3  # tokens behind the beginning that all prompts share
SAMPLE = 1056  # columns that every pair is held against where hits are all that is wanted
LOOKED_AT = 0.006  # share of pair x column that is looked at after that
FIXED = 50_000  # calls between the passes of a phase
SHOWN = 4  # pairs named one by one
MOST_FILES = 10
SIZES = 12  # numbers of heads removed in an ablation


def phases(record: ModelRecord, s: RelationsSettings) -> tuple[Phase, ...]:
    """Passes of every source through every head's OV map to the vocabulary; the same for values read on prompts."""
    heads = record.n_layers * record.n_heads
    lists = [r for r in load_relations(s.relations_dir, s.only) if len(r.pairs) >= s.min_pairs]
    relations = len(lists)
    own = len({source for r in lists for source, _ in r.pairs})
    sources = min(own, SOURCES * relations / RELATIONS)
    hits_only = s.folded + s.matched + s.twins
    width = heads * record.d_head
    nulls = s.permutations * relations * PAIRS * heads * 3
    found = [
        Phase("other", elements=relations * PAIRS * heads * 50, calls=FIXED),
        Phase(
            "layers",
            products=width * record.d_vocab * (record.d_model + sources) + hits_only * _hits(record, relations * PAIRS),
            elements=4 * heads * sources * record.d_vocab + nulls,
            calls=heads * (record.d_vocab / s.chunk + 1) * (10 + sources / 16) + FIXED,
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
    return (*found, *_prompts(record, s, lists, heads))


def _hits(record: ModelRecord, pairs: float) -> float:
    """Products of a pass that ranks pairs up to a limit."""
    heads = record.n_layers * record.n_heads
    sample = heads * record.d_head * min(SAMPLE, record.d_vocab) * (record.d_model + pairs)
    return sample + LOOKED_AT * heads * pairs * record.d_vocab * record.d_model


def _prompts(record: ModelRecord, s: RelationsSettings, lists: Sequence[Relation], heads: int) -> list[Phase]:
    found = []
    templates = TEMPLATES if s.templates == ("auto",) else len(s.templates)
    if s.dynamic and templates and lists:
        prompts = len(lists) * templates * (s.dynamic_pairs or PAIRS)
        found += [
            Phase(
                "dynamic scores, prompts",
                tokens=prompts * PROMPT,
                calls=cost.passes(record, prompts * PROMPT / 512),
            ),
            Phase(
                "dynamic scores, layers",
                products=_hits(record, 2 * prompts),
                elements=8 * prompts * heads * min(SAMPLE, record.d_vocab),
                calls=FIXED,
            ),
        ]
    prompted = sum(bool(r.prompt) for r in lists)
    if s.ablation and prompted:
        prompts = prompted * (s.ablation_prompts or PAIRS)
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
    """Files that are not read, relations that this tokenizer leaves too few pairs, and the pairs that others lose."""
    lists = [keep(relation, tokens) for relation in load_relations(s.relations_dir, s.only)]
    few = [k for k in lists if len(k.pairs) < s.min_pairs]
    words = [f"relation {k.relation.stem}: {too_few(k, s.min_pairs)}" for k in few]
    if others := unread(s.relations_dir):
        shown = ", ".join(others[:MOST_FILES]) + (f" and {len(others) - MOST_FILES} more" * (len(others) > MOST_FILES))
        words.append(f"not read, a pair list is NAME.json or NAME/NAME.json: {shown}")
    lost = {
        k.relation.stem: k for k in lists if (k not in few or s.relations_dir) and len(k.relation.pairs) > len(k.pairs)
    }
    if lost:
        whole = sum(len(k.relation.pairs) for k in lost.values())
        gone = {stem: len(k.relation.pairs) - len(k.pairs) for stem, k in lost.items()}
        each = ", ".join(f"{stem} {n}{_which(lost[stem], s)}" for stem, n in gone.items())
        words.append(f"{sum(gone.values()):,} of {whole:,} pairs, because a word is not a single token: {each}")
    return (*words, *(_twice(k) for k in lists if s.relations_dir and len(set(k.pairs)) < len(k.pairs)))


def _which(kept: KeptPairs, s: RelationsSettings) -> str:
    """The first left-out pairs of a user's list."""
    gone = [pair for pair in kept.relation.pairs if pair not in set(kept.pairs)] if s.relations_dir else []
    shown = ", ".join(f"{source} -> {target}" for source, target in gone[:SHOWN])
    return f" ({shown}{', ...' if len(gone) > SHOWN else ''})" if gone else ""


def _twice(kept: KeptPairs) -> str:
    """Duplicate pairs: each is counted, so n is too large and the interval too narrow."""
    again = [pair for pair, count in Counter(kept.pairs).items() if count > 1]
    shown = ", ".join(f"{source} -> {target}" for source, target in again[:SHOWN])
    more = ", ..." if len(again) > SHOWN else ""
    return f"relation {kept.relation.stem}: duplicate pairs, each counted, to remove by hand: {shown}{more}"


def too_few(kept: KeptPairs, least: int) -> str:
    """Why a relation is not scored."""
    return f"{len(kept.pairs)} of {len(kept.relation.pairs)} pairs are single tokens; at least {least} are required"


SMALL_VOCAB = 100_000  # up to here k is 10 (copying 1), above 25 (copying 3): the paper's values on the paper's models


@dataclass(frozen=True)
class RelationsSettings:
    """Settings of the relation scores; the static ones' defaults are the paper's rules where it has one."""

    preset: str = setting(
        "recommended",
        "recommended, or paper: zero ablation, and its table of correlations beside ours",
        one_of=("recommended", "paper"),
    )
    relations: tuple[str, ...] = setting(
        (ALL,),
        "only these relations, by file stem; or all",
        needs="without a relation there is no score; leave the suite out instead (--suite)",
    )
    relations_dir: str = setting(
        "",
        "folder of NAME.json or NAME/NAME.json pair lists, or one JSON file of several (empty: the bundled ones)",
        option="relations",
    )
    k: int = setting(0, "a target within the top k is a hit", zero="automatic, 10 or 25 above 100,000 tokens")
    k_copying: int = setting(0, "k of copying relations", zero="automatic, 1 or 3 above 100,000 tokens")
    tau: float = setting(0.15, "a head implements a relation from this score on", share=True)
    first_mlp: bool = setting(True, "layers >= 1 read MLP_0(LN2_0(e)) in place of e")
    min_pairs: int = setting(
        30, "relations with fewer single-token pairs are left out", least=1, needs="a score is a share of pairs"
    )
    permutations: int = setting(2999, "permutations of the targets in the null", off="the permuted-target null")
    alpha: float = setting(0.05, "level of 'significant' in tables and captions", share=True)
    folded: bool = setting(
        True, "also score with the norms' scales folded into the weights", off="scores with the norms folded in"
    )
    twins: int = setting(
        1, "randomly initialised twins of the model scored as a control", off="control: randomly initialised twin"
    )
    matched: int = setting(
        1, "draws of random OV maps with each head's own singular values", off="control: OV maps with matched spectra"
    )
    chunk: int = setting(2048, "vocabulary columns per matrix product", least=32, needs="a multiple of 32 columns")
    tile_mib: int = setting(64, "memory for one tile of logits, MiB", least=1, needs="a tile takes memory")

    # What needs prompts, and salient tokens: experiments.py
    dynamic: bool = setting(True, "also score heads on prompts, with and without context", off="scores on prompts")
    templates: tuple[str, ...] = setting(
        (AUTO,), "sentences with <X> for the source; auto: those of relations.toml", off="scores on prompts"
    )
    dynamic_pairs: int = setting(0, "pairs per relation in prompts, drawn at random", zero="all")
    draws: int = setting(1000, "bootstrap draws of a correlation", off="intervals of correlations")
    paper_correlation: bool = setting(False, "also r and p over heads x templates, as the paper prints it")
    multi_token: bool = setting(True, "also score sources of several tokens", off="sources of several tokens")
    multi_token_in_text: bool = setting(False, "take their tokens as in running text (paper: without the space)")
    ablation: bool = setting(
        True,
        "switch off each relation's top heads and see whether its answers go",
        off="causal ablation of each relation's heads",
    )
    ablation_mode: str = setting(
        "auto", "what a head's output becomes: mean or zero (auto: by preset)", one_of=("auto", "mean", "zero")
    )
    ablation_prompts: int = setting(100, "prompts per relation", zero="all")
    ablation_random: int = setting(
        20, "random head sets for the band of a curve", off="random head sets in the ablation curves"
    )
    ablation_p_sets: int = setting(
        0, "random sets for a p-value, 399 or more", off="p of the ablation against random head sets"
    )
    salient_tokens: int = setting(15, "most salient tokens listed per head", off="salient tokens")
    salient_outputs: int = setting(
        5, "output tokens listed for each of them", least=1, needs="salient_tokens=0 leaves the lists out"
    )
    salient_rare: float = setting(0.02, "share of tokens nearest the mean embedding left out of the second list")
    memory_mib: int = setting(
        512, "memory for prompts' head outputs held at once, MiB", least=1, needs="prompts take memory"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.relations_dir:  # a user's files are read before any model is loaded
            load_relations(self.relations_dir, self.only)
            load_templates(self.relations_dir)
        if 0 < self.ablation_p_sets < 399:
            raise ValueError(f"ablation_p_sets={self.ablation_p_sets}: expected 0, or 399 or more")
        if self.chunk % 32:
            raise ValueError(f"chunk={self.chunk}: expected a multiple of 32")

    @property
    def only(self) -> tuple[str, ...]:
        """The relations asked for, by file stem; empty = all of the folder."""
        return () if self.relations == (ALL,) else self.relations

    @property
    def sentences(self) -> tuple[str, ...]:
        """Templates of prompts: those given, else those of relations.toml; empty if prompts are switched off."""
        if not self.dynamic or self.templates != (AUTO,):
            return self.templates if self.dynamic else ()
        return load_templates(self.relations_dir)

    @property
    def removal(self) -> str:
        """What a removed head's output becomes: mean, or zero as in the paper."""
        return self.ablation_mode if self.ablation_mode != "auto" else "zero" if self.preset == "paper" else "mean"

    @property
    def as_printed(self) -> bool:
        """Whether the paper's table of correlations is also made."""
        return self.paper_correlation or self.preset == "paper"

    def rank_limit(self, d_vocab: int, copying: bool) -> int:
        """k for a relation: the setting, or the rule by the number of columns of W_U."""
        if copying:
            return self.k_copying or (1 if d_vocab <= SMALL_VOCAB else 3)
        return self.k or (10 if d_vocab <= SMALL_VOCAB else 25)


def _data(settings: RelationsSettings) -> tuple[Path, ...]:
    return data_files(settings.relations_dir)


_PERMUTED = (
    "targets permuted over the relation's pairs, the same permutations for every head, step-down max-T over heads; "
    "one-sided"
)
SUITE = Suite(
    name="relations",
    title="Relation scores",
    summary="What each head's OV map does to words, from the weights alone.",
    version=1,
    settings=RelationsSettings,
    score="reportgen.suites.relations.scoring.score:score",
    figures="reportgen.suites.relations.drawing.figures:figures",
    threshold="tau",
    featured=("score/name_copying", "suppression/name_copying", "score/country_to_capital"),
    classes="reportgen.suites.relations.categories:classes",
    older="reportgen.suites.relations.suite:older",
    variants="reportgen.suites.relations.variants:variants",
    measures=(
        Measure(
            name="score",
            from_weights=True,
            title="Relation score",
            formula="share of pairs (s, t) whose t has rank <= k in row s of M = E W_V W_O W_U; "
            "rank = 1 + #larger + #ties/2",
            meaning="High: given s, the head's OV map writes t. It does not say that the head attends to s, "
            "or that it does more than copy if t resembles s.",
            source="elhelo2024maps, section 3",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="suppression",
            from_weights=True,
            title="Suppression score",
            formula="the same share with -M: t is among the k most negative entries of row s",
            meaning="High: given s, the head's OV map suppresses t.",
            source="elhelo2024maps, section 3",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="strict",
            from_weights=True,
            title="Strict relation score",
            formula="share of pairs with t != s whose t has rank 1 in row s of M once the column of s is left out",
            meaning="High: t is the token that the map prefers most, apart from s itself. NaN if every pair copies.",
            source="ours",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="adjusted",
            from_weights=True,
            title="Copier-adjusted relation score",
            formula="share of pairs with t != s whose t has rank <= k without the column of s in row s of M, "
            "but not in row s of E W_U",
            meaning="High: the map finds targets that copying the source's embedding would not find.",
            source="ours",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="folded",
            from_weights=True,
            title="Relation score, norms folded",
            formula="the relation score of M = E diag(w_ln1) W_V W_O diag(w_post) diag(w_final) W_U",
            meaning="The relation score with the scales of the norms around the head applied.",
            source="ours",
            range=(0.0, 1.0),
            null="none: drawn for the raw weights only",
        ),
        Measure(
            name="dynamic",
            title="Dynamic relation score, without context",
            formula="share of template x pair whose t has rank <= k in v_source W_O W_U, v_source the head's value "
            "vector at the source's position",
            meaning="High: if the head attended only to s in a sentence, it would write t.",
            source="elhelo2024maps, section 4",
            range=(0.0, 1.0),
            null="none: the static score's null permutes targets; compare dynamic scores with it",
        ),
        Measure(
            name="dynamic_context",
            title="Dynamic relation score, with context",
            formula="share of template x pair whose t has rank <= k in z_last W_O W_U, z_last the head's output at the "
            "last position",
            meaning="High: in a sentence that ends on s, the head does write t. This includes attention.",
            source="elhelo2024maps, section 4",
            range=(0.0, 1.0),
            null="none: the static score's null permutes targets; compare dynamic scores with it",
        ),
    ),
    licence="pair lists written for this project (CC0 1.0)",
    citations=("elhelo2024maps",),
    quick={"permutations": 999, "folded": False, "dynamic_pairs": 40, "multi_token": False, "ablation": False},
    left_out=(
        "causal ablation of each relation's heads",
        "norms folded into the weights",
        "2,000 of the 2,999 permutations",
        "more than 40 pairs per relation in prompts",
        "sources of several tokens",
    ),
    data=_data,
    cost=phases,
    reach=reach,
    drops=drops,
    static=True,
)


# The controls of a score, and what reportgen 0.1 stored of them and of the held-out head in facts alone.


def controls(copied: object, highest: object) -> tuple[Control, ...]:
    """What an ideal copier scores, and the highest head of the random twins; what is no number is left out."""
    copier, twin = _number(copied), _number(highest)
    found = [] if copier is None else [Control("ideal copier", copier, meaning="the identity in place of every head")]
    if twin is not None:
        found.append(Control("random twin", twin, bound=True, meaning="the model at random initialisation"))
    return tuple(found)


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]


def older(result: SuiteResult) -> SuiteResult:
    """`result` with controls and held-out head in its scores' fields, and each set with the score it was read from."""
    scores = tuple(_with_controls(s, part(result.facts, "relations", s.task)) for s in result.scores)
    sets = tuple(replace(heads, score=score_of(heads.key)) for heads in result.head_sets)
    return replace(result, scores=scores, head_sets=sets)


def _with_controls(scores: HeadScores, facts: Mapping[str, Any]) -> HeadScores:
    copied = part(facts, "copier", "embedding").get(scores.measure)
    highest = part(facts, "twin", "measures", scores.measure).get("max")
    held = with_estimate(scores, part(facts, "best", scores.measure), "pairs")
    return replace(held, controls=controls(copied, highest))


def score_of(key: str) -> str:
    """`relations/STEM/score` -> `relations/score/STEM`."""
    suite, _, rest = key.partition("/")
    stem, _, measure = rest.rpartition("/")
    return f"{suite}/{measure}/{stem}"
