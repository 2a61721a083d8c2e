"""Which heads carry the task that the examples of a prompt have in common. Imports neither torch nor altair."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.base import Check, Measure, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.documents import check as check_documents
from reportgen.suites.documents import files_of
from reportgen.suites.icl.tasks import CONTROLS, OWN, TASKS, Task, form_of, load_tasks, prepared
from reportgen.suites.pairs import BUNDLED, data_files
from reportgen.suites.prose import PASSAGES
from reportgen.suites.settings import ALL, check, setting

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

TASK = "all_tasks"  # in keys: the mean over the tasks that pass the gate
SHOT = 9.0  # tokens of a shot
LEAST_SHOTS = 3
OURS, PAPER = "own", "todd"
PAPERS = (10, 25)  # Todd et al. 2023, compute_indirect_effect: examples, and prompts a task
OVERLAP = 1.1  # heads that the rankings choose together, over those of the first
FEW = 8  # prompts of a task, and windows of text, on which sets of heads are ablated at all positions
READ = 120  # positions of a window of text whose logits are read
FIXED = 30_000  # calls between the passes


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `icl`."""

    tasks: tuple[str, ...] = setting(
        (ALL,), "only these tasks, by name; or all", needs="without a task there is nothing to learn from"
    )
    pairs_dir: str = setting(
        "", "pair lists of your own as tasks, in place of the bundled ones: a folder or a JSON file", option="relations"
    )
    controls: tuple[str, ...] = setting(
        tuple(CONTROLS), "tasks that copying solves: shown beside the others, never part of the mean over tasks",
        off="control: copying tasks", one_of=tuple(CONTROLS),
    )  # fmt: skip
    preset: str = setting(
        OURS, "own, or todd, the paper's own protocol: outputs permuted at random (some may stay), 10 examples, 25 "
        "prompts, and the heads highest in effect on the probability, without a null", one_of=(OURS, PAPER),
    )  # fmt: skip
    shots: int = setting(10, "examples before the query; 5 or 3 where the context is short", least=LEAST_SHOTS,
                         needs="a task is learnt from examples")  # fmt: skip
    prompts: int = setting(24, "prompts per task", least=4, needs="a head's mean is taken over the other prompts")
    accuracy: float = setting(0.3, "accuracy with intact examples that a task needs")
    gain: float = setting(0.15, "how far that must lie above the accuracy with deranged examples")
    exact_heads: int = setting(256, "models of at most so many heads have every head patched", least=1,
                               needs="0 heads are no model")  # fmt: skip
    verified: int = setting(64, "heads of larger models patched: the first by the gradient screen, and half as many "
                            "by induction", least=4, needs="the screen is checked on exact effects")  # fmt: skip
    verified_task: int = setting(8, "and the first by the screen of each task", zero="none")
    sampled: int = setting(32, "and heads drawn at random, on which the screen is checked", least=8,
                           needs="a rank correlation needs heads")  # fmt: skip
    other_tasks: int = setting(6, "other tasks whose mean is patched in instead", off="what is specific to a task")
    random_vectors: int = setting(20, "random vectors patched in, as far away as the mean",
                                  off="control: norm-matched random vectors")  # fmt: skip
    vector_prompts: int = setting(6, "prompts per task that random vectors are patched into", least=1,
                                  needs="a control needs a prompt")  # fmt: skip
    twins: int = setting(1, "randomly initialised twins screened as a control", off="control: random twin")
    twin_prompts: int = setting(8, "prompts per task that a twin reads", least=4, needs="as for the model")
    flips: int = setting(9_999, "draws of the sign-flip nulls", off="p of effects, and the head sets that p names")
    resamples: int = setting(2000, "bootstrap draws over tasks and prompts", least=1,
                             needs="every score has an interval")  # fmt: skip
    alpha: float = setting(0.05, "family-wise level at which a head enters a set", share=True)
    effect_share: float = setting(0.02, "share of the gap between intact and deranged examples that a head of a set "
                                  "restores at least", share=True)  # fmt: skip
    held_prompts: int = setting(24, "held-out prompts per task, for function vectors",
                                off="the function-vector test")  # fmt: skip
    ablation_sets: int = setting(20, "random sets of heads for the band of the ablation curves", off="ablation curves")
    everywhere_sets: int = setting(4, "random sets of them ablated at all positions, too, beside the highest heads",
                                   off="sets of heads ablated at all positions")  # fmt: skip
    text_file: str = setting("", "UTF-8 text for the fall of the loss, instead of the shipped passages", option="text")
    text_windows: int = setting(16, "windows of 512 tokens of text", off="what heads do for the fall of the loss")
    text_verified: int = setting(16, "heads ablated exactly on text, the first by attribution", least=1,
                                 needs="attribution is checked on exact values")  # fmt: skip
    text_sampled: int = setting(8, "and heads drawn at random", least=4, needs="a rank correlation needs heads")
    text_sets: int = setting(20, "random sets of heads ablated on text, beside the highest heads",
                             off="sets of heads and the fall of the loss")  # fmt: skip
    vector_heads: int = setting(10, "heads whose means are summed to a function vector", least=1,
                                needs="a sum needs a head")  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        check_documents(self.text_file)
        if self.preset == PAPER and (self.shots, self.prompts) != PAPERS:
            raise ValueError(
                f"preset {PAPER} has {PAPERS[0]} examples and {PAPERS[1]} prompts. "
                f"Type --set icl.shots={PAPERS[0]} --set icl.prompts={PAPERS[1]}."
            )
        if not 0 <= self.accuracy <= 1:
            raise ValueError(f"accuracy is {self.accuracy}, must lie between 0 and 1.")
        if not -1 <= self.gain <= 1:
            raise ValueError(f"gain is {self.gain}, must lie between -1 and 1.")
        if not self.pairs_dir and (unknown := [name for name in self.tasks if name not in (ALL, *TASKS)]):
            raise ValueError(f"tasks: no task {unknown[0]!r}; there are {', '.join(TASKS)}.")

    def load(self) -> list[Task]:
        """The tasks, and after them the controls."""
        return load_tasks(self.pairs_dir, () if ALL in self.tasks else self.tasks, self.controls)


def _files(settings: Settings) -> tuple[Path, ...]:
    own = settings.pairs_dir
    shared = () if own and not settings.controls else data_files(str(BUNDLED))
    lists = (*shared, *data_files(own or str(OWN)))
    text = files_of(settings.text_file) if settings.text_file else (PASSAGES,)
    return (*lists, *(text if settings.text_windows else ()))


# Cost and smallest p, reported before the model is loaded.


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """Each prompt up to its last position in both versions; then a token for each head, prompt and what it becomes."""
    heads = record.n_layers * record.n_heads
    loaded = s.load()
    tasks = sum(not task.control for task in loaded)
    controls = len(loaded) - tasks
    prompts = tasks * s.prompts
    length = SHOT * (s.shots + 0.5)
    most = int(OVERLAP * s.verified) + s.sampled
    exact = heads if heads <= s.exact_heads else min(heads, most)
    variants = 3 + min(s.other_tasks, max(0, tasks - 1)) + s.random_vectors * min(1.0, s.vector_prompts / s.prompts)
    single = exact * (prompts * variants + 2 * controls * s.prompts)
    twin = s.twins * tasks * min(s.twin_prompts, s.prompts)
    held = tasks * s.held_prompts
    sets = 4 * (4 + s.ablation_sets)  # shares of the heads; rankings and random sets
    everywhere = tasks * min(s.held_prompts, FEW) * length * (s.everywhere_sets + 4) * bool(s.everywhere_sets)
    on_text = min(s.text_windows, FEW) * (s.text_sets + 3) * bool(s.text_sets)  # windows

    def prefill(name: str, count: float) -> Phase:
        return Phase(name, tokens=2 * count * length, logits=2 * count, calls=cost.passes(record, 2 * ceil(count / 8)))

    return (
        prefill("prompts", prompts + controls * s.prompts),
        Phase("gradient screen", tokens=6 * prompts, logits=6 * prompts, calls=2 * cost.passes(record, prompts / 4)),
        Phase(
            "exact effects",
            tokens=0.5 * single,
            logits=single,
            elements=single * length * record.n_heads * record.n_layers,
            calls=cost.passes(record, 0.5 * record.n_layers * prompts / 4),
        ),
        prefill("random twin", twin),
        Phase(
            "function vectors",
            tokens=held * (length + 4 + 6 * min(record.n_layers, 32)),
            logits=held * 12 * min(record.n_layers, 32),
            calls=cost.passes(record, held),
        ),
        Phase(
            "text",
            tokens=512 * (s.text_windows * (8 + 0.5 * (s.text_verified + s.text_sampled)) + 0.7 * on_text),
            logits=READ * (s.text_windows * (8 + s.text_verified + s.text_sampled) + on_text),
            calls=cost.passes(record, s.text_windows * (8 + 0.5 * (s.text_verified + s.text_sampled)) + on_text),
        ),
        Phase(
            "ablation",
            tokens=(held * (length + sets) + everywhere) * bool(s.ablation_sets),
            logits=held * sets * bool(s.ablation_sets),
            calls=cost.passes(record, held * bool(s.ablation_sets)),
        ),
        Phase("other", products=8 * (s.flips + s.resamples) * prompts * exact, calls=FIXED),
    )


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads, the smallest p, and how many tasks this tokenizer keeps."""
    tasks = [task for task in s.load() if not task.control]
    form = form_of(tokens)
    kept = sum(not isinstance(prepared(task, form, tokens), str) for task in tasks) if form else 0
    words = cost.family(record, s.flips, max(1, kept) * s.prompts, "prompts")
    return (*words, f"{kept} of {len(tasks)} tasks can be asked with this tokenizer")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Tasks that this tokenizer can't be asked."""
    form = form_of(tokens)
    if form is None:
        return ()
    found = [(task, prepared(task, form, tokens)) for task in s.load()]
    return tuple(f"task {task.title}: {why}" for task, why in found if isinstance(why, str))


_NATS = "nats"
_TODD = "todd2023fv"
_FLIPS = (
    "random sign for each prompt within its task of (effect of the own mean - effect of the mean over deranged "
    "prompts), tasks weighted equally, standardised per head, step-down max-T over heads; one-sided"
)
_SIGNS = "random sign for each prompt within its task, standardised per head, step-down max-T over heads; one-sided"
_P = "on prompts with deranged examples: mean over tasks of mean over prompts of"

SUITE = Suite(
    name="icl",
    title="In-context learning",
    summary="Which heads carry what the examples of a prompt have in common: a head's mean output on intact prompts of "
    "a task is put into prompts whose examples are deranged, and the answer comes back or does not.",
    version=1,
    settings=Settings,
    score="reportgen.suites.icl.scoring.score:score",
    figures="reportgen.suites.icl.drawing.figures:figures",
    variants="reportgen.suites.icl.variants:variants",
    featured=("aie/",),
    together=("attention/induction/", f"icl/aie/{TASK}"),
    needs=("attention",),
    measures=(
        Measure(
            "aie", "Average indirect effect",
            f"{_P} log P(y | z_h := mean of z_h over the task's other intact prompts) - log P(y), at the last position",
            "Positive: the head's mean output alone brings the task back. It may carry the task, or what format and "
            "answer type have in common: see the controls.", _NATS, f"{_TODD}; log P ours", null=_FLIPS,
        ),
        Measure(
            "aie_prob", "Indirect effect on the probability", f"{_P} the same with P in place of log P",
            "As published. Near zero for tasks that deranged examples solve already, or that the model can't do.",
            "probability", _TODD, null=_FLIPS,
        ),
        Measure(
            "specific", "Effect beyond another task's mean",
            f"{_P} log P(y | own task's mean) - mean over other tasks of log P(y | that task's mean)",
            "Positive: what the head carries is this task, not that there are examples at all.", _NATS,
            "ours; after todd2023fv", null=_SIGNS,
        ),
        Measure(
            "needed", "Loss without the task",
            "on intact prompts: mean over tasks of mean over prompts of log P(y) - log P(y | z_h := mean of z_h over "
            "the task's other deranged prompts), at the last position",
            "Positive: the answer suffers when the head carries no task. Other heads may make up for it.", _NATS,
            "ours", null=_SIGNS,
        ),
        Measure(
            "icl_score", "Effect on the fall of the loss",
            "change of (mean loss of tokens 400 to 499 - mean loss of tokens 40 to 59 of a window) when z_h is its "
            "mean over the text at all positions but the first; short windows: tokens about 10 % and 90 % of them",
            "Positive: without the head the loss falls less along a text. Not by itself learning from examples.",
            "nats a token", "ours; after olsson2022induction",
            null="random sign for each window, standardised per head, step-down max-T over heads; two-sided",
        ),
    ),
    data=_files,
    cost=phases,
    licence="pair lists written for this project (CC0 1.0)",
    reach=reach,
    drops=drops,
    citations=(_TODD, "olsson2022induction"),
    quick={
        "tasks": ("antonym", "past_tense", "plural", "comparative", "superclass", "capital", "capitalise",
                  "first_of_three"),
        "shots": 6, "prompts": 8, "verified": 32, "verified_task": 4, "sampled": 16, "other_tasks": 3,
        "random_vectors": 4, "vector_prompts": 4, "twin_prompts": 4, "flips": 2_000, "resamples": 1_000,
        "held_prompts": 0, "ablation_sets": 0, "text_windows": 0,
    },
    left_out=(
        "icl: 8 of 20 tasks, 8 instead of 24 prompts each, 6 instead of 10 examples",
        "icl: function vectors, curves of ablated heads, what heads do for the fall of the loss along a text",
        "icl: sets of heads ablated at all positions of prompts and of text",
    ),
    check=Check(
        settings={"tasks": (ALL,), "shots": 3, "prompts": 4, "accuracy": 0.0, "gain": -1.0,
                  "random_vectors": 2, "twins": 0, "held_prompts": 0, "text_windows": 0},
    ),
)  # fmt: skip
