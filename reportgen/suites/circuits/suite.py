"""Which heads a task runs through. Imports neither torch nor altair."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reportgen.suites.base import Measure, Suite

TASKS = ("ioi",)


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `circuits`."""

    tasks: tuple[str, ...] = field(default=("ioi",), metadata={"help": f"tasks to measure, of: {', '.join(TASKS)}"})
    prompts: int = field(default=200, metadata={"help": "clean-corrupted prompt pairs per task"})
    min_pairs: int = field(default=30, metadata={"help": "fewer usable pairs than this: the task is not computed"})
    min_accuracy: float = field(
        default=0.7,
        metadata={"help": "share of prompts with the answer above its foil, below which no circuit is given"},
    )
    effect_share: float = field(
        default=0.02, metadata={"help": "smallest |effect| in the circuit, as a share of the gap"}
    )
    alpha: float = field(default=0.05, metadata={"help": "family-wise level of the sign-flip null"})
    flips: int = field(default=10_000, metadata={"help": "draws of the sign-flip null"})
    resamples: int = field(default=5_000, metadata={"help": "bootstrap draws (templates, then prompts within them)"})
    mover_attention: float = field(
        default=0.2, metadata={"help": "mean attention from the last position to the answer's token that a mover needs"}
    )
    copy_k: int = field(default=5, metadata={"help": "a name counts as copied when it is among the k top logits of OV"})
    copy_threshold: float = field(default=0.5, metadata={"help": "share of names that a mover copies"})
    backups: bool = field(default=True, metadata={"help": "knock the name movers out and measure all heads again"})
    batch: int = field(default=64, metadata={"help": "prompts per forward pass"})

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise ValueError(f"tasks {self.tasks}: known tasks are {', '.join(TASKS)}.")
        for name in ("prompts", "min_pairs", "flips", "resamples", "copy_k", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1.")
        for name in ("min_accuracy", "effect_share", "alpha", "mover_attention", "copy_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie between 0 and 1.")


def _data(settings: Settings) -> tuple[Path, ...]:
    """Files whose bytes enter the resume key."""
    del settings
    return (Path(__file__).parent / "data" / "ioi.toml",)


_GAP = "share of the clean-corrupted gap"
_WANG = "wang2022ioi, section 3.1"
SUITE = Suite(
    name="circuits",
    title="Task circuits",
    summary="Which heads carry a task's answer to the logits, measured by patching each head and no other.",
    version=1,
    settings=Settings,
    score="reportgen.suites.circuits.score:score",
    figures="reportgen.suites.circuits.figures:figures",
    measures=(
        Measure(
            "direct",
            "Direct effect on the logits",
            "(m_clean - m_patched) / (m_clean - m_corrupted), m = logit(answer) - logit(foil); patched: this head's "
            "output is that of the corrupted prompt, every other head keeps its clean output, MLPs and final norm "
            "recompute",
            "Positive: the head's own output supports the answer. What it does through other heads is left out.",
            _GAP,
            _WANG,
        ),
        Measure(
            "direct_raw",
            "Direct effect on the logits, not normalised",
            "mean over prompts of m_clean - m_patched",
            "As the direct effect, in logits.",
            "logits",
            _WANG,
        ),
        Measure(
            "dla",
            "Direct logit attribution",
            "(z_clean - z_corrupted) W_O through the clean prompt's frozen final norm onto W_U[answer] - W_U[foil], "
            "over (m_clean - m_corrupted)",
            "The part of the direct effect that reaches the logits along the residual stream alone, past no MLP.",
            _GAP,
            "wang2022ioi; normalisation ours",
        ),
        Measure(
            "dla_raw",
            "Direct logit attribution, not normalised",
            "mean over prompts of the numerator of direct logit attribution",
            "As direct logit attribution, in logits.",
            "logits",
            "wang2022ioi",
        ),
    ),
    citations=("wang2022ioi", "merullo2023reuse"),
    quick={"prompts": 100, "flips": 2_000, "resamples": 1_000},
    left_out=("circuits: half the prompts, 2,000 instead of 10,000 draws of the sign-flip null",),
    data=_data,
)
