"""Sparse against dense attention circuits. Imports neither torch nor altair."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from reportgen.reading import check_text, expanded, is_file, is_folder
from reportgen.suites.base import Measure, Suite
from reportgen.suites.settings import check
from reportgen.suites.sparse import plan

TASKS = ("dense", "sparse")  # tasks of the measure edges_per_token
BUNDLED_PAIRS = {"mini": "mini-sparse"}  # dense -> sparse
_CHECKPOINT = Path(__file__).parents[2] / "mini" / "checkpoint-sparse"
_PROMPTS = Path(__file__).parent / "data" / "antonyms.toml"


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `sparse`."""

    sparse_model: str = field(
        default="",
        metadata={"help": "folder that reportgen sparsify made from this model; mini-sparse for mini by default"},
    )
    prompt: str = field(default="", metadata={"help": "prompt of the drawn circuit; the antonym of large by default"})
    answer: str = field(default="", metadata={"help": "the prompt's answer, one token"})
    foil: str = field(default="", metadata={"help": "a wrong answer that the answer's logit is compared with"})
    corrupted: str = field(
        default="", metadata={"help": "the prompt with another word and as many tokens, for causal counts"}
    )
    link: str = field(
        default="", metadata={"help": "KEY:QUERY positions of the drawn link, e.g. 5:8; the strongest by default"}
    )
    prompts: str = field(default="", metadata={"help": "TOML file of templates and pairs in place of the antonyms"})
    per_template: int = field(
        default=12, metadata={"help": "prompts per template", "least": 1, "needs": "counts are means over prompts"}
    )
    text: str = field(
        default="",
        metadata={
            "help": "UTF-8 text for losses, edges and agreement; by default what the sparse model has with it, or prose"
        },
    )
    length: int = field(
        default=64,
        metadata={
            "help": "tokens a sequence of that text",
            "least": 8,
            "needs": "a shorter sequence has few edges to count",
        },
    )
    sequences: int = field(
        default=256,
        metadata={"help": "sequences of that text, at most", "least": 8, "needs": "losses are means over sequences"},
    )
    zeroed: bool = field(
        default=True,
        metadata={
            "help": "also count edges with the others zeroed, not resampled",
            "off": "edge counts with the others zeroed",
        },
    )
    draws: int = field(
        default=4,
        metadata={
            "help": "contexts of other text that a removed edge is resampled from",
            "least": 1,
            "needs": "causal edges are those that resampling can't do without",
        },
    )
    exact_heads: int = field(
        default=256,
        metadata={
            "help": "models with more heads have them ranked by first-order effect for heads_90",
            "zero": "all models",
        },
    )
    resamples: int = field(
        default=5_000,
        metadata={
            "help": "bootstrap draws (templates, then prompts within them)",
            "least": 1,
            "needs": "every count has an interval",
        },
    )
    feature_groups: str = field(default="", metadata={"help": "JSON file of feature groups, drawn under the circuit"})

    def __post_init__(self) -> None:
        check(self)
        if self.prompt and not self.answer:
            raise ValueError("a prompt needs its answer: give sparse.answer.")
        if self.answer and not self.prompt:
            raise ValueError("an answer needs its prompt: give sparse.prompt.")
        if self.link:
            self.positions()
        self._check_files()

    def _check_files(self) -> None:
        """A user's files are read here, before any model is loaded. UserError names the place."""
        from reportgen.suites.sparse import forms, record

        check_text(self.text)
        if self.prompts:
            forms.read_task(Path(self.prompts))
        if self.feature_groups:
            forms.read_feature_groups(Path(self.feature_groups))
        if self.sparse_model:
            record.check(self.sparse_model)

    def positions(self) -> tuple[int, int] | None:
        """(key, query) as given, None where the strongest link is to be taken."""
        if not self.link:
            return None
        key, colon, query = self.link.partition(":")
        if not (colon and key.isdigit() and query.isdigit() and int(key) <= int(query)):
            raise ValueError(f"link {self.link!r} is not KEY:QUERY with KEY <= QUERY, e.g. 5:8.")
        return int(key), int(query)


def _data(settings: Settings) -> tuple[Path, ...]:
    """Files whose bytes enter the resume key: the sparse model's, the prompts, text and feature groups."""
    folder = expanded(settings.sparse_model) if settings.sparse_model else _CHECKPOINT
    named = [Path(name) for name in (settings.text, settings.feature_groups) if name]
    files = [Path(settings.prompts) if settings.prompts else _PROMPTS, *named]
    if is_folder(folder):
        files += [
            folder / "config.json",
            *sorted(folder.glob("*.safetensors")),
            folder / "sparsify.json",
            folder / "heldout.json",
        ]
    return tuple(path for path in files if is_file(path))


_DRAYE = "draye2025sparse; counts ours"
SUITE = Suite(
    name="sparse",
    title="Sparse against dense circuits",
    summary="The circuit of a prompt in the model and in a copy that was trained on until few attention edges are left "
    "(our own implementation of the idea of Draye et al., arXiv 2512.05865).",
    version=4,
    settings=Settings,
    score="reportgen.suites.sparse.score:score",
    figures="reportgen.suites.sparse.figures:figures",
    measures=(
        Measure(
            "edges_per_token",
            "Attention edges per token",
            "mean over queries of the keys k with an edge; sparse: score + bias > 0; dense: pattern >= the highest "
            "threshold at which dropping the rest costs no more loss than the sparse model may",
            "How many positions a head reads. Without a threshold every dense head has (T + 1) / 2.",
            "edges",
            _DRAYE,
            range=(0.0, math.inf),
            null="none: edges are counted; there is no claim to test",
        ),
    ),
    citations=("draye2025sparse",),
    quick={"resamples": 1_000, "zeroed": False, "draws": 2, "per_template": 6, "sequences": 64},
    left_out=("sparse: edge counts with the others zeroed; fewer prompts, contexts, sequences and bootstrap draws",),
    data=_data,
    cost=lambda record, settings: plan.phases(record, settings, tuple(BUNDLED_PAIRS)),
    drops=plan.drops,
)
