"""The suite `relations`: what each head's OV map does to words, read from the weights alone.

After Elhelo and Geva, "Inferring Functionality of Attention Heads from their Parameters", arXiv 2412.11965. No prompt
is run: a head is the map M = E W_V W_O W_U from source tokens to output tokens, a relation is a list of (source,
target) pairs, and every score is a count of targets that stand high enough in their source's row of M. Imports
neither torch nor altair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reportgen.suites.base import Measure, Suite
from reportgen.suites.relations import plan
from reportgen.suites.relations.data import data_files, load_relations, load_templates
from reportgen.suites.settings import ALL, AUTO, check

SMALL_VOCAB = 100_000  # up to here k is 10 (copying 1), above 25 (copying 3): the paper's values on the paper's models


@dataclass(frozen=True)
class RelationsSettings:
    """Settings of the relation scores; the static ones' defaults are the paper's rules where it has one."""

    preset: str = field(
        default="recommended",
        metadata={"help": "recommended, or paper: zero ablation, and its table of correlations beside ours"},
    )
    relations: tuple[str, ...] = field(
        default=(ALL,),
        metadata={
            "help": "only these relations, by file stem; or all",
            "needs": "without a relation there is no score; leave the suite out instead (--suite)",
        },
    )
    relations_dir: str = field(
        default="",
        metadata={
            "help": "folder of NAME.json or NAME/NAME.json pair lists, or one JSON file of several (empty: the bundled "
            "ones)"
        },
    )
    k: int = field(
        default=0,
        metadata={
            "help": "a target within the top k is a hit",
            "zero": "10, or 25 above 100,000 tokens",
        },
    )
    k_copying: int = field(
        default=0,
        metadata={
            "help": "k of copying relations",
            "zero": "1, or 3 above 100,000 tokens",
        },
    )
    tau: float = field(default=0.15, metadata={"help": "a head implements a relation from this score on"})
    first_mlp: bool = field(default=True, metadata={"help": "layers >= 1 read MLP_0(LN2_0(e)) in place of e"})
    min_pairs: int = field(
        default=30,
        metadata={
            "help": "relations with fewer single-token pairs are left out",
            "least": 1,
            "needs": "a score is a share of pairs",
        },
    )
    permutations: int = field(
        default=2999,
        metadata={"help": "permutations of the targets in the null", "off": "the permuted-target null"},
    )
    alpha: float = field(default=0.05, metadata={"help": "level of 'significant' in tables and captions"})
    folded: bool = field(
        default=True,
        metadata={
            "help": "also score with the norms' scales folded into the weights",
            "off": "scores with the norms folded in",
        },
    )
    twins: int = field(
        default=1,
        metadata={
            "help": "randomly initialised twins of the model scored as a control",
            "off": "control: randomly initialised twin",
        },
    )
    matched: int = field(
        default=1,
        metadata={
            "help": "draws of random OV maps with each head's own singular values",
            "off": "control: OV maps with matched spectra",
        },
    )
    chunk: int = field(
        default=2048,
        metadata={"help": "vocabulary columns per matrix product", "least": 32, "needs": "a multiple of 32 columns"},
    )
    tile_mib: int = field(
        default=64, metadata={"help": "memory for one tile of logits, MiB", "least": 1, "needs": "a tile takes memory"}
    )

    # What needs prompts, and salient tokens: experiments.py
    dynamic: bool = field(
        default=True,
        metadata={"help": "also score heads on prompts, with and without context", "off": "scores on prompts"},
    )
    templates: tuple[str, ...] = field(
        default=(AUTO,),
        metadata={
            "help": "sentences with <X> for the source; auto: those of relations.toml",
            "off": "scores on prompts",
        },
    )
    dynamic_pairs: int = field(
        default=0, metadata={"help": "pairs per relation in prompts, drawn at random", "zero": "all"}
    )
    draws: int = field(
        default=1000, metadata={"help": "bootstrap draws of a correlation", "off": "intervals of correlations"}
    )
    paper_correlation: bool = field(
        default=False, metadata={"help": "also r and p over heads x templates, as the paper prints it"}
    )
    multi_token: bool = field(
        default=True, metadata={"help": "also score sources of several tokens", "off": "sources of several tokens"}
    )
    multi_token_in_text: bool = field(
        default=False, metadata={"help": "take their tokens as in running text (paper: without the space)"}
    )
    ablation: bool = field(
        default=True,
        metadata={
            "help": "switch off each relation's top heads and see whether its answers go",
            "off": "causal ablation of each relation's heads",
        },
    )
    ablation_mode: str = field(
        default="auto", metadata={"help": "what a head's output becomes: mean or zero (auto: by preset)"}
    )
    ablation_prompts: int = field(default=100, metadata={"help": "prompts per relation", "zero": "all"})
    ablation_random: int = field(
        default=20,
        metadata={"help": "random head sets for the band of a curve", "off": "random head sets in the ablation curves"},
    )
    ablation_p_sets: int = field(
        default=0,
        metadata={
            "help": "random sets for a p-value, 399 or more",
            "off": "p of the ablation against random head sets",
        },
    )
    salient_tokens: int = field(
        default=15, metadata={"help": "most salient tokens listed per head", "off": "salient tokens"}
    )
    salient_outputs: int = field(
        default=5,
        metadata={
            "help": "output tokens listed for each of them",
            "least": 1,
            "needs": "salient_tokens=0 leaves the lists out",
        },
    )
    salient_rare: float = field(
        default=0.02, metadata={"help": "share of tokens nearest the mean embedding left out of the second list"}
    )
    memory_mib: int = field(
        default=512,
        metadata={
            "help": "memory for prompts' head outputs held at once, MiB",
            "least": 1,
            "needs": "prompts take memory",
        },
    )

    def __post_init__(self) -> None:
        check(self)
        if self.relations_dir:  # a user's files are read before any model is loaded
            load_relations(self.relations_dir, self.only)
            load_templates(self.relations_dir)
        if self.preset not in ("recommended", "paper"):
            raise ValueError(f"preset={self.preset!r}: expected recommended or paper")
        if self.ablation_mode not in ("auto", "mean", "zero"):
            raise ValueError(f"ablation_mode={self.ablation_mode!r}: expected auto, mean or zero")
        if 0 < self.ablation_p_sets < 399:
            raise ValueError(f"ablation_p_sets={self.ablation_p_sets}: expected 0, or 399 or more")
        if self.chunk % 32:
            raise ValueError(f"chunk={self.chunk}: expected a multiple of 32")
        for name in ("tau", "alpha"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a share between 0 and 1")

    @property
    def only(self) -> tuple[str, ...]:
        """The relations asked for, by file stem; empty = all of the folder."""
        return () if self.relations == (ALL,) else self.relations

    @property
    def sentences(self) -> tuple[str, ...]:
        """Templates of prompts: those given, else those of relations.toml; empty where prompts are switched off."""
        if not self.dynamic or self.templates != (AUTO,):
            return self.templates if self.dynamic else ()
        return load_templates(self.relations_dir)

    @property
    def removal(self) -> str:
        """What a removed head's output becomes: mean, or zero as in the paper."""
        return self.ablation_mode if self.ablation_mode != "auto" else "zero" if self.preset == "paper" else "mean"

    @property
    def as_printed(self) -> bool:
        """Whether the paper's table of correlations is made, too."""
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
    summary="What each head's OV map does to words, read from the weights alone.",
    version=1,
    settings=RelationsSettings,
    score="reportgen.suites.relations.score:score",
    figures="reportgen.suites.relations.figures:figures",
    measures=(
        Measure(
            name="score",
            from_weights=True,
            title="Relation score",
            formula="share of pairs (s, t) whose t has rank <= k in row s of M = E W_V W_O W_U; "
            "rank = 1 + #larger + #ties/2",
            meaning="High: the head's OV map, given s, writes t. It does not say that the head attends to s, "
            "nor that it does more than copy where t resembles s.",
            source="elhelo2024maps, section 3",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="suppression",
            from_weights=True,
            title="Suppression score",
            formula="the same share with -M: t is among the k most negative entries of row s",
            meaning="High: the head's OV map, given s, writes against t.",
            source="elhelo2024maps, section 3",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="strict",
            from_weights=True,
            title="Strict relation score",
            formula="share of pairs with t != s whose t has rank 1 in row s of M once the column of s is left out",
            meaning="High: t is the single token the map prefers after s itself. NaN where every pair copies.",
            source="ours",
            range=(0.0, 1.0),
            null=_PERMUTED,
        ),
        Measure(
            name="adjusted",
            from_weights=True,
            title="Copier-adjusted relation score",
            formula="share of pairs with t != s whose t has rank <= k without the column of s in row s of M, "
            "and has not in row s of E W_U",
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
            meaning="High: were the head to attend to s alone in a sentence, it would write t.",
            source="elhelo2024maps, section 4",
            range=(0.0, 1.0),
            null="none: the static score's null permutes targets; dynamic scores are read beside it",
        ),
        Measure(
            name="dynamic_context",
            title="Dynamic relation score, with context",
            formula="share of template x pair whose t has rank <= k in z_last W_O W_U, z_last the head's output at the "
            "last position",
            meaning="High: reading a sentence that ends on s, the head does write t. Attention counts here.",
            source="elhelo2024maps, section 4",
            range=(0.0, 1.0),
            null="none: the static score's null permutes targets; dynamic scores are read beside it",
        ),
    ),
    citations=("elhelo2024maps",),
    quick={"permutations": 999, "folded": False, "dynamic_pairs": 40, "multi_token": False, "ablation": False},
    left_out=(
        "causal ablation of each relation's heads",
        "norms folded into the weights",
        "2,000 of the 2,999 permutations",
        "pairs beyond 40 of a relation in prompts",
        "sources of several tokens",
    ),
    data=_data,
    cost=plan.phases,
    reach=plan.reach,
    drops=plan.drops,
    static=True,
)
