"""Which heads carry the function of a question: a probe on head outputs, and what happens without those heads.

Imports neither torch nor altair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reportgen.suites.base import Measure, Suite
from reportgen.suites.cognitive import plan
from reportgen.suites.cognitive import recipe as recipes
from reportgen.suites.settings import AUTO, check, setting

SETS = ("auto", "english", "in_vocabulary")
_LEAST_PERMUTATIONS = 99
_LEAST_FOR_P = 399


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `cognitive`. `auto` is what the preset says."""

    data: str = setting(
        AUTO, "auto (English; in_vocabulary where the tokenizer has no such words), english, in_vocabulary, or a file: "
        ".jsonl, .csv or CogQA's nested .json"
    )  # fmt: skip
    preset: str = setting("recommended", "recommended, or as published: paper, code (minutes per probe, no null)")
    context: str = setting(AUTO, "earlier steps in the prompt: all, retrieval (those labelled Retrieval) or none")
    answers: str = setting(AUTO, "given (teacher-forced) or generate (greedy, the model's own)")
    tokens: str = setting(AUTO, "answer tokens averaged: content, all, first, last, given (key_tokens) or top5")
    k: int = setting(
        5, "most answer tokens averaged under content and top5", least=1, needs="importance is read at answer tokens"
    )
    site: str = setting("predict", "predict: the position that predicts the token; token: the token's own")
    prompt: str = setting(AUTO, "plain, cogqa (the paper's), or a text file with {question} {context} {subquestion}")
    chat_template: bool = setting(False, "put the prompt into the model's chat template, as a user's turn")
    hook: str = setting("z", "what the probe reads: z (before W_O) or result (z W_O, in the residual stream's units)")
    standardise: str = setting(AUTO, "on or off: features divided by their spread over the train rows")
    layer_mean: bool = setting(True, "give the probe the mean over a layer's heads beside each head")
    proj: int = setting(0, "units of the probe's shared projection", zero="the preset's")
    hidden: int = setting(0, "hidden units of the probe", zero="the preset's")
    seeds: int = setting(
        5, "probes trained from different random starts", least=1, needs="importance is read from trained probes"
    )
    most_steps: int = setting(
        300,
        "training steps after which the early-stopped run ends at the latest",
        least=1,
        needs="a probe that was not trained says nothing",
    )
    permutations: int = setting(
        199,
        "probes trained on permuted labels, each as long as the real one",
        off="the permuted-label null, its line and p",
    )
    null_seeds: int = setting(
        0,
        "random starts averaged in each permutation; 1 is conservative",
        zero="as many as seeds",
    )
    resamples: int = setting(
        2_000, "bootstrap draws over chains for the intervals", least=1, needs="every score has an interval"
    )
    alpha: float = setting(0.05, "family-wise level of the line")
    min_per_class: int = setting(12, "rows a label needs", least=1, needs="a label without rows can't be told")
    small_classes: str = setting("drop", "labels with fewer rows: drop, other (collapse into one) or refuse")
    heads_removed: int = setting(
        0,
        "heads removed per function in the ablation matrix",
        zero="a twelfth of all heads",
    )
    random_sets: int = setting(
        399,
        "random head sets per function; fewer than 399 give a band but no p",
        off="random head sets beside the removed heads",
    )
    curve_sets: int = setting(
        20,
        "random head sets per function behind the masked-heads curves",
        off="random head sets behind the masked-heads curves",
    )
    batch: int = setting(16, "prompts per forward pass", least=1, needs="a forward pass takes a prompt")
    cache: bool = setting(True, "keep the features in the user's cache folder")

    def __post_init__(self) -> None:
        check(self)
        self._check_words()
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}, must lie between 0 and 1.")
        if 0 < self.permutations < _LEAST_PERMUTATIONS:
            raise ValueError(f"permutations is {self.permutations}; a line needs {_LEAST_PERMUTATIONS}, 0 for none.")
        if self.permutations and (self.permutations + 1) * self.alpha < 1:
            raise ValueError(f"{self.permutations} permutations can't resolve alpha {self.alpha:g}.")
        self._check_files()

    def _check_words(self) -> None:
        choices = {
            "preset": recipes.PRESETS,
            "context": (AUTO, *recipes.CONTEXTS),
            "answers": (AUTO, *recipes.ANSWERS),
            "tokens": (AUTO, *recipes.TOKENS),
            "site": recipes.SITES,
            "hook": recipes.HOOKS,
            "standardise": (AUTO, "on", "off"),
            "small_classes": ("drop", "other", "refuse"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {', '.join(known)}.")

    def _check_files(self) -> None:
        """A user's files are read here, before any model is loaded. DataError names the place."""
        if self.data not in SETS:
            from reportgen.suites.cognitive import dataset

            dataset.check(self.data, self.min_per_class, self.small_classes)
        if self.prompt not in (AUTO, "plain", "cogqa"):
            from reportgen.suites.cognitive import prompts

            prompts.template(self.prompt)

    @property
    def can_test_random(self) -> bool:
        """Whether there are random sets enough for a p-value."""
        return self.random_sets >= _LEAST_FOR_P

    def recipe(self) -> recipes.Recipe:
        """The preset with everything that was said otherwise."""
        said: dict[str, Any] = {
            name: value for name in ("context", "answers", "tokens", "prompt") if (value := getattr(self, name)) != AUTO
        }
        said |= {name: value for name in ("proj", "hidden") if (value := getattr(self, name))}
        if self.standardise != AUTO:
            said["standardise"] = self.standardise == "on"
        return replace(recipes.preset(self.preset), chat=self.chat_template, **said)


def data_files(settings: Settings) -> tuple[Path, ...]:
    """The files whose bytes enter the resume key."""
    from reportgen.suites.cognitive import dataset

    files = [dataset.source(settings.data)] if settings.data != AUTO else list(dataset.SHIPPED.values())
    if settings.prompt not in (AUTO, "plain", "cogqa"):
        files.append(Path(settings.prompt))
    return tuple(files)


def data_words(settings: Settings, seed: int) -> tuple[str, ...]:
    """What is in the user's data, and what is odd about it; the counts of shipped sets are in the report."""
    from reportgen.suites.cognitive import dataset

    if settings.data == AUTO:
        return ()
    rows = dataset.load(settings.data)
    data = dataset.prepare(settings.data, rows, settings.min_per_class, settings.small_classes, seed)
    return tuple(f"Questions: {line}" for line in data.words())


_UNIT = "logits per projection unit"
_SOURCE = "cognitive2025mirrors"
_LABELS = (
    "labels permuted within split, chain position and answer shape, a probe trained on each as long as the real one; a "
    "line and p from the maximum over heads and functions; two-sided"
)
SUITE = Suite(
    name="cognitive",
    title="Heads for cognitive functions",
    summary="A probe tells from head outputs at the answer which function a question asks for; importance is how much "
    "each head's output counts for the right function. Beside it: surface baselines, permuted labels, ablation.",
    version=3,
    settings=Settings,
    score="reportgen.suites.cognitive.score:score",
    figures="reportgen.suites.cognitive.figures:figures",
    measures=(
        Measure(
            "importance_own",
            "Importance, the head's own part",
            "mean over held-out rows of function c of (1/p) sum_k (d y_c / d p_jk) (W_own z_j)_k: y_c the probe's "
            "logit of c, p_j = W_own z_j + W_layer zbar + b the head's p projection units",
            "Far from zero: the probe rests on this very head. The default map, with the family-wise line.",
            _UNIT,
            "ours",
            null=_LABELS,
        ),
        Measure(
            "importance",
            "Importance for the function",
            "the same mean with p_jk itself: (1/p) sum_k (d y_c / d p_jk) p_jk: own, layer and bias parts together",
            "Far from zero: the probe's answer rests on what head j hands it, the layer's mean included. A probe is no "
            "mechanism: the head may carry the answer's form.",
            _UNIT,
            f"{_SOURCE}; as in its code",
            null=_LABELS,
        ),
        Measure(
            "importance_layer",
            "Importance, the layer's part",
            "the same mean with (W_layer zbar)_k for (W_own z_j)_k, zbar the mean over the layer's heads",
            "Read from a mean that all heads of the layer share: it says nothing of head j.",
            _UNIT,
            "ours",
            null="none: the layer's part is no claim about a head",
        ),
        Measure(
            "importance_bias",
            "Importance, the bias's part",
            "the same mean with b_k for (W_own z_j)_k",
            "No activation at all; the released code counts it as importance.",
            _UNIT,
            "ours",
            null="none: the bias's part is the same whatever the model computes",
        ),
        Measure(
            "alone",
            "The head alone",
            "area under the ROC curve on the test rows, function c against the others, of log p(c) of a logistic "
            "regression that sees z_j only (standardised; trained on the train rows, penalty from the validation rows)",
            "0.5 is chance; 1: this head's output tells the function without any other. The head may carry the "
            "question's words or the answer's form all the same.",
            "AUC",
            "ours",
            range=(0.0, 1.0),
            null="the test rows' labels permuted within strata, the classifiers fixed; areas standardised per head, "
            "maximum over heads and functions; one-sided",
        ),
    ),
    citations=(_SOURCE,),
    quick={"permutations": 99, "null_seeds": 1, "resamples": 1_000, "random_sets": 20, "curve_sets": 10},
    left_out=(
        "cognitive: 99 instead of 199 permutations, one start each instead of five (a conservative line)",
        "cognitive: 20 instead of 399 random head sets, so no p against random sets; 10 instead of 20 in the curves",
    ),
    data=data_files,
    says=data_words,
    cost=plan.phases,
    reach=plan.reach,
    drops=plan.drops,
)
