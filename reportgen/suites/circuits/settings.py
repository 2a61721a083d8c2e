"""Settings of the suite `circuits`, and its two presets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from reportgen.suites.documents import check as check_documents
from reportgen.suites.documents import files_of
from reportgen.suites.prose import PASSAGES
from reportgen.suites.settings import check, setting

TASKS = ("ioi", "colored_objects", "capitals", "greater_than")
DATA = Path(__file__).parent / "data"
ABLATED = {"mean": "mean-ablated", "zero": "zero-ablated"}
INPUTS = ("q", "k", "v", "kv")  # a receiver's inputs that a path may end in; "kv" is both at once
RULES = ("default", "merullo")


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `circuits`."""

    tasks: tuple[str, ...] = setting(
        TASKS, f"tasks to measure, of: {', '.join(TASKS)}", off="the tasks that come with reportgen", one_of=TASKS
    )
    tasks_file: str = setting(
        "",
        "JSONL of your own prompt pairs: task, clean, corrupted, answer, foil (roles, metric, template)",
        option="tasks",
    )
    prompts: int = setting(
        200, "clean-corrupted prompt pairs per task", least=1, needs="effects are means over prompts"
    )
    min_pairs: int = setting(
        30, "fewer usable pairs than this: the task is not computed", least=1, needs="effects are means over prompts"
    )
    min_accuracy: float = setting(
        0.7, "share of prompts with the answer above its foil, below which no circuit is given", share=True
    )
    rule: str = setting(
        "default",
        "default: effect_share and alpha; merullo: the first 2 % of heads by |effect| at each stage",
        one_of=RULES,
    )
    effect_share: float = setting(0.02, "smallest |effect| in the circuit, as a share of the gap", share=True)
    alpha: float = setting(0.05, "family-wise level of the sign-flip null", share=True)
    flips: int = setting(
        10_000, "draws of the sign-flip null", least=1, needs="a circuit's heads are those beyond this null"
    )
    resamples: int = setting(
        5_000, "bootstrap draws (templates, then prompts within them)", least=1, needs="every effect has an interval"
    )
    exact_heads: int = setting(
        256,
        "up to so many heads all total effects are exact; above, attribution estimates all and some are "
        "verified (direct effects are always exact)",
        zero="all models",
    )
    verified: int = setting(
        16,
        "heads verified exactly per ranking: of total effects above exact_heads, of additions to a circuit that keeps "
        "too little, of a twin",
        least=1,
        needs="only exact values are claimed",
    )
    sampled: int = setting(
        20,
        "total effects of random heads verified beside them, for the rank correlation",
        off="the rank correlation of estimated and exact effects, above exact_heads",
    )
    patch_prompts: int = setting(
        100,
        "prompts for total effects and for paths between heads",
        least=1,
        needs="total effects and paths are measured on them; curves, paths, text and twins can be off",
    )
    positions: int = setting(
        1600, "token positions of a sample for patching: fewer prompts where they are long", zero="no limit"
    )
    denoising: bool = setting(True, "also patch clean outputs into corrupted prompts", off="denoising effects")
    attribution_steps: int = setting(
        5,
        "interpolation steps of attribution where one gradient ranks poorly",
        off="attribution averaged over interpolation steps",
    )
    senders: int = setting(0, "heads whose paths are measured, those of largest total effect", zero="all")
    through_movers: tuple[str, ...] = setting(
        ("q", "k", "v"),
        "inputs of the movers that paths are patched into, of q, k, v, kv",
        off="heads that act through the movers' inputs",
        one_of=INPUTS,
    )
    through_those: tuple[str, ...] = setting(
        ("k", "v"),
        "inputs of the heads found by that, of q, k, v, kv",
        off="heads that act through the inputs of those",
        one_of=INPUTS,
    )
    edge_prompts: int = setting(
        48, "prompts for paths between single heads, as the graph draws", off="paths between single heads"
    )
    mover_attention: float = setting(
        0.2, "mean attention from the last position to the answer's token that a mover needs", share=True
    )
    copy_k: int = setting(
        5,
        "OV writes a token when it is among the k top logits of its row",
        least=1,
        needs="a written token is among the first k",
    )
    copy_threshold: float = setting(0.5, "share of words that a mover writes", share=True)
    ablation: str = setting(
        "mean",
        "what a removed head's output becomes: its mean over corrupted prompts (or the text), or zero",
        one_of=tuple(ABLATED),
    )
    twins: int = setting(
        1, "randomly initialised twins of the model that get the same prompts", off="randomly initialised twins"
    )
    backups: bool = setting(
        True,
        "knock the movers out and measure heads again",
        off="heads that take over when the movers are knocked out",
    )
    direct_again: int = setting(
        0,
        "heads whose direct effects are measured again without the movers and, with the circuit's, in other words: "
        "the first by gradient",
        zero="all",
    )
    rephrased: int = setting(
        100, "prompts in other words, to see who is selected again", off="the tasks in other words"
    )
    curve_prompts: int = setting(
        48, "prompts for faithfulness against circuit size", off="faithfulness against circuit size"
    )
    random_sets: int = setting(
        399,
        "random head sets, matched per layer and norm, at the circuit's own size",
        off="random head sets beside each circuit",
    )
    added: int = setting(
        4,
        "heads outside a circuit that keeps too little tried as additions, at most so many",
        off="heads added to a circuit that keeps too little",
    )
    bands: int = setting(
        20, "random head sets at the other sizes of the curve", off="random head sets at the other sizes of the curve"
    )
    text: bool = setting(True, "mean-ablate heads on natural text", off="loss on natural text")
    text_file: str = setting("", "UTF-8 text to use instead of the shipped passage", option="text")
    text_windows: int = setting(48, "windows of text", off="loss on natural text")
    text_tokens: int = setting(64, "tokens in a window", least=2, needs="a loss is of the next token")
    text_verified: int = setting(
        0,
        "heads per ranking whose effect on text is exact, in models of more than four times as many; others: estimates",
        zero="as total effects: all, up to exact_heads",
    )
    batch: int = setting(64, "prompts per forward pass", least=1, needs="a forward pass takes a prompt")

    def __post_init__(self) -> None:
        check(self)
        if not (self.tasks or self.tasks_file or self.reads_text):
            raise ValueError("tasks is none and text is off: nothing is left to measure. Give tasks_file (--tasks).")
        self._check_files()

    @property
    def reads_text(self) -> bool:
        """Whether heads are also ablated on natural text."""
        return self.text and self.text_windows > 0

    @property
    def exact_on_text(self) -> tuple[int, int]:
        """Heads up to which a model has all of them ablated exactly on text, and heads per ranking above that."""
        first = self.text_verified
        return (4 * first, first) if first else (self.exact_heads, self.verified)

    def _check_files(self) -> None:
        """A user's files are read here, before any model is loaded. DataError names the place."""
        check_documents(self.text_file)
        if self.tasks_file:
            from reportgen.suites.circuits.tasks import user

            user.read(self.tasks_file, TASKS)


def data_files(settings: Settings) -> tuple[Path, ...]:
    """Files whose bytes enter the resume key: word lists, the passage, the user's own."""
    shipped = [DATA / f"{task}.toml" for task in settings.tasks]
    if settings.reads_text and not settings.text_file:
        shipped.append(PASSAGES)
    own = [Path(settings.tasks_file)] if settings.tasks_file else []
    return (*shipped, *own, *(files_of(settings.text_file) if settings.text_file else ()))


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
    "direct_again": 64,
    "rephrased": 48,
    "curve_prompts": 12,
    "random_sets": 20,
    "bands": 0,
    "added": 2,
    "sampled": 12,
    "text_windows": 16,
    "text_verified": 16,
}
_LEFT_OUT = """\
half the prompts (32 instead of 100 for total effects and paths, or 16 if they are long)
direct effects in other words and without the movers of heads after the first 64 by gradient, in models of more
2,000 instead of 10,000 draws of the sign-flip null, 1,000 instead of 5,000 bootstrap draws
denoising
paths into the movers' keys and values; the next heads' keys and values separately; paths from all but 16 heads
399 random head sets per circuit (20 here, so no p below 1/21), and all sets at other sizes
two thirds of the windows of natural text; exact effects on it of all heads of a model of 65 to 256
a third and a fourth head added to a circuit that keeps too little"""
LEFT_OUT = tuple(_LEFT_OUT.splitlines())

assert set(QUICK) <= {f.name for f in fields(Settings)}
