"""Settings of the suite `circuits`, and what its two presets make of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from reportgen.reading import check_text
from reportgen.suites.prose import PASSAGES
from reportgen.suites.settings import check

TASKS = ("ioi", "colored_objects", "capitals", "greater_than")
DATA = Path(__file__).parent / "data"
ABLATED = {"mean": "mean-ablated", "zero": "zero-ablated"}
INPUTS = ("q", "k", "v", "kv")  # a receiver's inputs that a path may end in; "kv" is both at once

_SHARES = ("min_accuracy", "effect_share", "alpha", "mover_attention", "copy_threshold")


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `circuits`."""

    tasks: tuple[str, ...] = field(
        default=TASKS,
        metadata={
            "help": f"tasks to measure, of: {', '.join(TASKS)}",
            "off": "the tasks that come with reportgen",
        },
    )
    tasks_file: str = field(
        default="",
        metadata={
            "help": "JSONL of your own prompt pairs: task, clean, corrupted, answer, foil (roles, metric, template)"
        },
    )
    prompts: int = field(
        default=200,
        metadata={
            "help": "clean-corrupted prompt pairs per task",
            "least": 1,
            "needs": "effects are means over prompts",
        },
    )
    min_pairs: int = field(
        default=30,
        metadata={
            "help": "fewer usable pairs than this: the task is not computed",
            "least": 1,
            "needs": "effects are means over prompts",
        },
    )
    min_accuracy: float = field(
        default=0.7,
        metadata={"help": "share of prompts with the answer above its foil, below which no circuit is given"},
    )
    rule: str = field(
        default="default",
        metadata={"help": "default: effect_share and alpha; merullo: the first 2 % of heads by |effect| at each stage"},
    )
    effect_share: float = field(
        default=0.02, metadata={"help": "smallest |effect| in the circuit, as a share of the gap"}
    )
    alpha: float = field(default=0.05, metadata={"help": "family-wise level of the sign-flip null"})
    flips: int = field(
        default=10_000,
        metadata={
            "help": "draws of the sign-flip null",
            "least": 1,
            "needs": "a circuit's heads are those beyond this null",
        },
    )
    resamples: int = field(
        default=5_000,
        metadata={
            "help": "bootstrap draws (templates, then prompts within them)",
            "least": 1,
            "needs": "every effect has an interval",
        },
    )
    exact_heads: int = field(
        default=256,
        metadata={
            "help": "up to so many heads all total effects are exact; above, attribution estimates all and some are "
            "verified (direct effects are always exact)",
            "zero": "all models",
        },
    )
    verified: int = field(
        default=16,
        metadata={
            "help": "total effects verified exactly per ranking, above exact_heads",
            "least": 1,
            "needs": "only exact total effects are claimed",
        },
    )
    sampled: int = field(
        default=20,
        metadata={
            "help": "total effects of random heads verified beside them, for the rank correlation",
            "off": "the rank correlation of estimated and exact effects, above exact_heads",
        },
    )
    patch_prompts: int = field(
        default=100,
        metadata={
            "help": "prompts for total effects and for paths between heads",
            "least": 1,
            "needs": "total effects and paths are measured on them; curves, paths, text and twins can be off",
        },
    )
    positions: int = field(
        default=1600,
        metadata={
            "help": "token positions of a sample for patching: fewer prompts where they are long",
            "zero": "no limit",
        },
    )
    denoising: bool = field(
        default=True, metadata={"help": "also patch clean outputs into corrupted prompts", "off": "denoising effects"}
    )
    attribution_steps: int = field(
        default=5,
        metadata={
            "help": "interpolation steps of attribution where one gradient ranks poorly",
            "off": "attribution averaged over interpolation steps",
        },
    )
    senders: int = field(
        default=0,
        metadata={"help": "heads whose paths are measured, those of largest total effect", "zero": "all"},
    )
    through_movers: tuple[str, ...] = field(
        default=("q", "k", "v"),
        metadata={
            "help": "inputs of the movers that paths are patched into, of q, k, v, kv",
            "off": "heads that act through the movers' inputs",
        },
    )
    through_those: tuple[str, ...] = field(
        default=("k", "v"),
        metadata={
            "help": "inputs of the heads found by that, of q, k, v, kv",
            "off": "heads that act through the inputs of those",
        },
    )
    edge_prompts: int = field(
        default=48,
        metadata={
            "help": "prompts for paths between single heads, as the graph draws",
            "off": "paths between single heads",
        },
    )
    mover_attention: float = field(
        default=0.2, metadata={"help": "mean attention from the last position to the answer's token that a mover needs"}
    )
    copy_k: int = field(
        default=5,
        metadata={
            "help": "OV writes a token when it is among the k top logits of its row",
            "least": 1,
            "needs": "a written token is among the first k",
        },
    )
    copy_threshold: float = field(default=0.5, metadata={"help": "share of words that a mover writes"})
    ablation: str = field(
        default="mean",
        metadata={
            "help": "what a removed head's output becomes: its mean over corrupted prompts (or the text), or zero"
        },
    )
    twins: int = field(
        default=1,
        metadata={
            "help": "randomly initialised twins of the model that get the same prompts",
            "off": "randomly initialised twins",
        },
    )
    backups: bool = field(
        default=True,
        metadata={
            "help": "knock the movers out and measure all heads again",
            "off": "heads that take over when the movers are knocked out",
        },
    )
    rephrased: int = field(
        default=100,
        metadata={
            "help": "prompts in other words, to see who is selected again",
            "off": "the tasks in other words",
        },
    )
    curve_prompts: int = field(
        default=48,
        metadata={"help": "prompts for faithfulness against circuit size", "off": "faithfulness against circuit size"},
    )
    random_sets: int = field(
        default=399,
        metadata={
            "help": "random head sets, matched per layer and norm, at the circuit's own size",
            "off": "random head sets beside each circuit",
        },
    )
    added: int = field(
        default=4,
        metadata={
            "help": "heads outside a circuit that keeps too little tried as additions, at most so many",
            "off": "heads added to a circuit that keeps too little",
        },
    )
    bands: int = field(
        default=20,
        metadata={
            "help": "random head sets at the other sizes of the curve",
            "off": "random head sets at the other sizes of the curve",
        },
    )
    text: bool = field(
        default=True, metadata={"help": "mean-ablate heads on natural text", "off": "loss on natural text"}
    )
    text_file: str = field(default="", metadata={"help": "UTF-8 text to use instead of the shipped passage"})
    text_windows: int = field(default=48, metadata={"help": "windows of text", "off": "loss on natural text"})
    text_tokens: int = field(
        default=64, metadata={"help": "tokens in a window", "least": 2, "needs": "a loss is of the next token"}
    )
    text_verified: int = field(
        default=0,
        metadata={
            "help": "heads whose effect on text is computed exactly",
            "zero": "all, up to exact_heads",
        },
    )
    batch: int = field(
        default=64, metadata={"help": "prompts per forward pass", "least": 1, "needs": "a forward pass takes a prompt"}
    )

    def __post_init__(self) -> None:
        check(self)
        if not (self.tasks or self.tasks_file or self.reads_text):
            raise ValueError("tasks is none and text is off: nothing is left to measure. Give tasks_file (--tasks).")
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown:
            raise ValueError(f"tasks {self.tasks}: known tasks are {', '.join(TASKS)}.")
        if self.rule not in ("default", "merullo"):
            raise ValueError(f"rule {self.rule!r}: known rules are default, merullo.")
        if self.ablation not in ABLATED:
            raise ValueError(f"ablation {self.ablation!r}: known are {', '.join(ABLATED)}.")
        for name in _SHARES:
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie between 0 and 1.")
        for name in ("through_movers", "through_those"):
            wrong = [kind for kind in getattr(self, name) if kind not in INPUTS]
            if wrong:
                raise ValueError(f"{name} {getattr(self, name)}: known inputs are {', '.join(INPUTS)}.")
        self._check_files()

    @property
    def reads_text(self) -> bool:
        """Whether heads are ablated on natural text, too."""
        return self.text and self.text_windows > 0

    def _check_files(self) -> None:
        """A user's files are read here, before any model is loaded. DataError names the place."""
        check_text(self.text_file)
        if self.tasks_file:
            from reportgen.suites.circuits.tasks import user

            user.read(self.tasks_file, TASKS)


def data_files(settings: Settings) -> tuple[Path, ...]:
    """Files whose bytes enter the resume key: word lists, the passage, the user's own."""
    shipped = [DATA / f"{task}.toml" for task in settings.tasks]
    if settings.reads_text and not settings.text_file:
        shipped.append(PASSAGES)
    return (*shipped, *(Path(given) for given in (settings.tasks_file, settings.text_file) if given))


QUICK: dict[str, object] = {
    "prompts": 100,
    "flips": 2_000,
    "resamples": 1_000,
    "patch_prompts": 32,
    "positions": 640,
    "edge_prompts": 12,
    "denoising": False,
    "senders": 16,
    "through_movers": ("q",),
    "through_those": ("kv",),
    "rephrased": 48,
    "curve_prompts": 12,
    "random_sets": 20,
    "bands": 0,
    "added": 2,
    "sampled": 12,
    "text_windows": 16,
}
_LEFT_OUT = """\
half the prompts (for total effects and paths 32 in place of 100, or 16 of long ones)
2,000 instead of 10,000 draws of the sign-flip null, 1,000 instead of 5,000 bootstrap draws
denoising
paths into the movers' keys and values; the next heads' keys and values one by one; paths from any but 16 heads
399 random head sets like each circuit (20 here, so no p below 1/21), and any at other sizes
two thirds of the windows of natural text
a third and a fourth head added to a circuit that keeps too little"""
LEFT_OUT = tuple(_LEFT_OUT.splitlines())

assert set(QUICK) <= {f.name for f in fields(Settings)}
