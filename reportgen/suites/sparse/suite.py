"""Sparse against dense attention circuits. Imports neither torch nor altair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from reportgen.errors import DataError
from reportgen.files import expanded, is_file, is_folder, read_json, read_toml
from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.base import Measure, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.documents import check as check_documents
from reportgen.suites.documents import files_of
from reportgen.suites.settings import check, setting

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


# User files: a TOML file of templates and pairs, a JSON file of feature groups. No torch.

BUNDLED = Path(__file__).parent / "data" / "antonyms.toml"
_MOST_FEATURES = 1 << 20  # bytes


class PairTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TOML file: templates with one {x}, pairs (word, answer), the drawn pair."""

    title: str
    templates: list[str]
    pairs: list[tuple[str, str]]
    drawn: tuple[str, str]


class FeatureGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the user's file: a named group of features at a position, over a range of layers."""

    name: str
    position: int
    layers: tuple[int, int]


def read_task(path: Path) -> PairTask:
    """The task in a TOML file. DataError names the file and the place."""
    task = read_toml(path, PairTask, f"See {BUNDLED.name} for the form.")
    bad = [text for text in task.templates if text.count("{x}") != 1]
    if bad or not task.templates or len(task.pairs) < 3:
        raise DataError(f"{path}: every template needs one {{x}}; at least 3 pairs are required.", f"Fix {bad[:1]}.")
    return task


GROUPS_FORM = 'Expected [{"name": "large", "position": 5, "layers": [0, 3]}, ...].'


def read_feature_groups(path: Path) -> list[FeatureGroup]:
    """The groups in a JSON file; DataError names the file and the place. Prompt and model are checked later."""
    groups = read_json(path, list[FeatureGroup], GROUPS_FORM, most=_MOST_FEATURES)
    for group in groups:
        low, high = group.layers
        if group.position < 0 or not 0 <= low <= high:
            raise DataError(f"{path}: {group.name!r} has no such position or layers.", GROUPS_FORM)
    return groups


# Cost of comparing sparse and dense circuits, reported before the model is loaded; none without a sparse copy.

COLUMNS = 3  # dense, thresholded, sparse
TEMPLATES = 5
TOKENS = 10  # of a prompt
SEARCH = 60  # numbers of edges and heads tried for a count
CUTS = 25  # thresholds of the dense pattern


def phases(record: ModelRecord, s: Settings, partners: tuple[str, ...]) -> tuple[Phase, ...]:
    """Losses on text at every threshold, then heads and edges patched prompt by prompt in three columns."""
    if not s.sparse_model and (record.source != "bundled" or record.id not in partners):
        return ()
    heads = record.n_layers * record.n_heads
    text = s.sequences * s.length
    prompts = COLUMNS * TEMPLATES * s.per_template
    tried = prompts * (SEARCH * s.draws * (1 + s.zeroed) + min(heads, s.exact_heads))
    return (
        Phase("losses on text", tokens=8 * text, logits=8 * text, calls=cost.passes(record, 8 * s.sequences / 16)),
        Phase(
            "cutting the dense pattern", tokens=CUTS * text, logits=CUTS * text, elements=CUTS * text * record.d_vocab
        ),
        Phase("patching edges", tokens=tried * TOKENS, logits=tried, calls=cost.passes(record, tried / 8)),
    )


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Prompts and templates behind every count, and the smallest difference of columns that its interval shows."""
    if not s.sparse_model and (record.source != "bundled" or record.id not in BUNDLED_PAIRS):
        return ()
    from reportgen.suites.sparse.scoring import prompts

    task = read_task(Path(s.prompts) if s.prompts else BUNDLED)
    counts = [n for text in task.templates if (n := min(s.per_template, len(prompts.usable(tokens, task, text))))]
    words = (f"n: {sum(counts)} prompts in {len(counts)} templates",)
    if len(counts) < 2:
        return words
    least = cost.smallest_mean(len(counts))
    shown = f"smallest difference that an interval sets apart from 0: about {least:.2g} sd of a template"
    return (*words, f"no p: counts with intervals over {len(counts)} templates; {shown}")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Templates and pairs of the task that are not single tokens."""
    if not (s.prompts or s.sparse_model):
        return ()  # the bundled task is for the bundled pair; other models have no sparse copy
    from reportgen.suites.sparse.scoring import prompts  # its groups are arrays

    task = read_task(Path(s.prompts) if s.prompts else BUNDLED)
    made = [prompts.usable(tokens, task, text) for text in task.templates]
    fits, templates = sum(map(len, made)), sum(map(bool, made))
    whole = len(task.templates) * len(task.pairs)
    if fits == whole:
        return ()
    return (f"{task.title}: {fits} of {whole} prompts in {templates} of {len(made)} templates are single tokens",)


BUNDLED_PAIRS = {"mini": "mini-sparse"}  # dense -> sparse
_CHECKPOINT = Path(__file__).parents[2] / "mini" / "checkpoint-sparse"
_PROMPTS = Path(__file__).parent / "data" / "antonyms.toml"


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `sparse`."""

    sparse_model: str = setting(
        "", "folder that reportgen sparsify made from this model; mini-sparse for mini by default"
    )
    prompt: str = setting("", "prompt of the drawn circuit; the antonym of large by default", option="prompt")
    answer: str = setting("", "the prompt's answer, one token", option="answer")
    foil: str = setting("", "a wrong answer that the answer's logit is compared with", option="foil")
    corrupted: str = setting("", "the prompt with another word and as many tokens, for causal counts")
    link: str = setting("", "KEY:QUERY positions of the drawn link, e.g. 5:8; the strongest by default")
    prompts: str = setting("", "TOML file of templates and pairs in place of the antonyms")
    per_template: int = setting(12, "prompts per template", least=1, needs="counts are means over prompts")
    text: str = setting(
        "",
        "UTF-8 text for losses, edges and agreement; by default what the sparse model has with it, or prose",
        option="text",
    )
    length: int = setting(
        64, "tokens a sequence of that text", least=8, needs="a shorter sequence has few edges to count"
    )
    sequences: int = setting(256, "sequences of that text, at most", least=8, needs="losses are means over sequences")
    zeroed: bool = setting(
        True, "also count edges with the others zeroed, not resampled", off="edge counts with the others zeroed"
    )
    draws: int = setting(
        4,
        "contexts of other text that a removed edge is resampled from",
        least=1,
        needs="causal edges are those that resampling can't do without",
    )
    exact_heads: int = setting(
        256, "models with more heads have them ranked by first-order effect for heads_90", zero="all models"
    )
    resamples: int = setting(
        5_000, "bootstrap draws (templates, then prompts within them)", least=1, needs="every count has an interval"
    )
    feature_groups: str = setting("", "JSON file of feature groups, drawn under the circuit")

    def __post_init__(self) -> None:
        check(self)
        if self.prompt and not self.answer:
            raise ValueError("sparse.prompt needs sparse.answer.")
        if self.answer and not self.prompt:
            raise ValueError("sparse.answer needs sparse.prompt.")
        if self.link:
            self.positions()
        self._check_files()

    def _check_files(self) -> None:
        """A user's files are read here, before any model is loaded. UserError names the place."""
        from reportgen.suites.sparse import facts

        check_documents(self.text)
        if self.prompts:
            read_task(Path(self.prompts))
        if self.feature_groups:
            read_feature_groups(Path(self.feature_groups))
        if self.sparse_model:
            facts.check_checkpoint(self.sparse_model)

    def positions(self) -> tuple[int, int] | None:
        """(key, query) as given; None for the strongest link."""
        if not self.link:
            return None
        key, colon, query = self.link.partition(":")
        if not (colon and key.isdigit() and query.isdigit() and int(key) <= int(query)):
            raise ValueError(f"link {self.link!r} is not KEY:QUERY with KEY <= QUERY, e.g. 5:8.")
        return int(key), int(query)


def _data(settings: Settings) -> tuple[Path, ...]:
    """Files whose bytes enter the resume key: the sparse model's, the prompts, text and feature groups."""
    folder = expanded(settings.sparse_model) if settings.sparse_model else _CHECKPOINT
    named = [Path(settings.feature_groups)] if settings.feature_groups else []
    named += files_of(settings.text) if settings.text else ()
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
    summary="The circuit of a prompt in the model and in a copy post-trained until few attention edges are left "
    "(own implementation, after Draye et al., arXiv 2512.05865).",
    version=4,
    settings=Settings,
    score="reportgen.suites.sparse.scoring.score:score",
    figures="reportgen.suites.sparse.drawing.figures:figures",
    measures=(
        Measure(
            "edges_per_token",
            "Attention edges per token",
            "mean over queries of the keys k with an edge; sparse: score + bias > 0; dense: pattern >= the highest "
            "threshold at which dropping the rest costs no more loss than the sparse model is allowed",
            "The number of positions a head reads. Without a threshold every dense head has (T + 1) / 2.",
            "edges",
            _DRAYE,
            range=(0.0, math.inf),
            null="none: edges are counted; there is no claim to test",
        ),
    ),
    licence="prompts written for this project (CC0 1.0)",
    citations=("draye2025sparse",),
    quick={"resamples": 1_000, "zeroed": False, "draws": 2, "per_template": 6, "sequences": 64},
    left_out=("sparse: edge counts with the others zeroed; fewer prompts, contexts, sequences and bootstrap draws",),
    data=_data,
    cost=lambda record, settings: phases(record, settings, tuple(BUNDLED_PAIRS)),
    reach=reach,
    drops=drops,
)
