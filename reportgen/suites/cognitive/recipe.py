"""The presets: how the paper says it, how the released code does it, and what this project recommends.

Source: Cognitive Mirrors, arXiv 2512.10978, and its code (CognitiveMirrors, commit d4163f0). What could not be
confirmed is said in `UNCONFIRMED` and printed with the preset. The judge model that picks five tokens is not run here:
`top5` applies its rule (answers under six tokens whole, else five) with the content ranking in the judge's place.
"""

from __future__ import annotations

from dataclasses import dataclass

PRESETS = ("recommended", "paper", "code")
CONTEXTS = ("all", "retrieval", "none")
ANSWERS = ("given", "generate")
TOKENS = ("content", "all", "first", "last", "given", "top5")
SITES = ("predict", "token")
HOOKS = ("z", "result")
UNCONFIRMED = {
    "recommended": "",
    "paper": "Not confirmed in the paper itself: answers generated, 4:1 split, batch size (1, as in the code).",
    "code": "The judge's top-5 tokens are replaced by this suite's content ranking.",
}


@dataclass(frozen=True)
class Recipe:
    """Everything a preset decides.

    proj, hidden     units of the shared projection and of the hidden layer
    epochs           0 = as many steps as one early-stopped run takes
    shuffle          draw a new order every epoch
    mean_over_units  importance is the mean over projection units (the code) or the sum (the paper's formula)
    bias_counts      the projection's bias is part of the published importance (the code) or not (the paper: x only)
    rule             which heads are a function's: beyond the family-wise line, or before the elbow
    ablation         what the main matrix does to a head: "mean" or "scale"
    null             whether permuted labels are run
    chat             the prompt is a user's turn in the model's chat template
    """

    context: str
    answers: str
    tokens: str
    prompt: str
    standardise: bool
    optimiser: str
    learning_rate: float
    weight_decay: float
    batch: int
    epochs: int
    shuffle: bool
    proj: int
    hidden: int
    mean_over_units: bool
    bias_counts: bool
    rule: str
    ablation: str
    scale: float
    null: bool
    dropout: float = 0.3
    chat: bool = False


_RECOMMENDED = Recipe(
    context="all", answers="given", tokens="content", prompt="plain", standardise=True, optimiser="adamw",
    learning_rate=3e-3, weight_decay=0.01, batch=64, epochs=0, shuffle=True, proj=16, hidden=64, mean_over_units=True,
    bias_counts=True, rule="line", ablation="mean", scale=0.001, null=True,
)  # fmt: skip
_PAPER = Recipe(
    context="all", answers="generate", tokens="top5", prompt="cogqa", standardise=False, optimiser="adam",
    learning_rate=1e-4, weight_decay=0.0, batch=1, epochs=100, shuffle=True, proj=64, hidden=512, mean_over_units=False,
    bias_counts=False, rule="elbow", ablation="scale", scale=0.001, null=False,
)  # fmt: skip
_CODE = Recipe(
    context="retrieval", answers="generate", tokens="top5", prompt="cogqa", standardise=False, optimiser="adamw",
    learning_rate=1e-4, weight_decay=0.01, batch=1, epochs=100, shuffle=False, proj=64, hidden=512,
    mean_over_units=True, bias_counts=True, rule="elbow", ablation="scale", scale=0.0001, null=False,
)  # fmt: skip


def preset(name: str) -> Recipe:
    """The recipe of this name; KeyError for another."""
    return {"recommended": _RECOMMENDED, "paper": _PAPER, "code": _CODE}[name]
