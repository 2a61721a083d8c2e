"""Which heads encode the function of a question: a probe on head outputs, and ablation of those heads.

Imports neither torch nor altair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reportgen.errors import NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.base import Measure, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.settings import AUTO, check, setting

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


# The presets: as in the paper, as in its released code, and as this project recommends.
#
# Source: Cognitive Mirrors, arXiv 2512.10978, and its code (CognitiveMirrors, commit d4163f0). What could not be
# confirmed is listed in `UNCONFIRMED` and printed with the preset. The judge model that picks five tokens is not run
# here: `top5` applies its rule (all tokens of answers under six, else five) with the content ranking in the judge's
# place.

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
    """The recipe of this name. KeyError for an unknown name."""
    return {"recommended": _RECOMMENDED, "paper": _PAPER, "code": _CODE}[name]


# Cost and smallest p of probing for cognitive functions, reported before the model is loaded.
#
# Rows, prompt lengths and functions are those of the bundled questions; a user's set is counted when it is read.

ROWS = 800
PROMPT = 35  # tokens behind what the prompts of a chain share
TEST = 0.15  # share of rows that the ablation is measured on
FUNCTIONS = 8
ANSWER = 1.4  # tokens that a variant runs through again
CHAIN = 4  # test rows of one text
PLACES = 512  # positions of a pass through their variants
STEPS = 50  # of a probe, where early stopping usually ends
BATCH = 64  # rows a step
PROJECTION = 16  # units a head is projected to
FIXED = 50_000  # calls between the passes of a phase
SIZES = 6  # numbers of heads removed in a curve


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """A forward pass per row; probes, real and permuted; the test rows again for every set of removed heads."""
    heads = record.n_layers * record.n_heads
    width = heads * record.d_head
    step = 6 * BATCH * width * PROJECTION  # forward and back
    steps = min(STEPS, s.most_steps)
    probes, nulls = s.seeds * steps, s.permutations * (s.null_seeds or s.seeds) * steps
    sets = 2 * FUNCTIONS + 1 + s.random_sets + SIZES * (1 + s.curve_sets)
    variants = TEST * ROWS * sets
    return (
        Phase("other", calls=FIXED),
        Phase("head outputs", tokens=ROWS * PROMPT, calls=cost.passes(record, ROWS / s.batch)),
        Phase("probes", products=2 * probes * step, elements=ROWS * width * 10, calls=probes * 150),
        Phase("permuted labels", products=nulls * step, elements=nulls * 20 * width * PROJECTION, calls=nulls * 25),
        Phase(
            "heads alone", products=200 * ROWS * width * FUNCTIONS, elements=100 * ROWS * heads * FUNCTIONS, calls=FIXED
        ),
        Phase(
            "ablation",
            tokens=variants * ANSWER + TEST * ROWS * PROMPT / CHAIN,
            logits=variants * ANSWER,
            elements=3 * variants * ANSWER * record.d_vocab,
            calls=cost.passes(record, TEST * ROWS / CHAIN + variants * ANSWER / PLACES),
        ),
    )


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads and the smallest p, over heads and functions together."""
    return cost.family(record, s.permutations, int(ROWS * TEST), "test rows")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Tokens of the questions that this tokenizer does not know, or why it supports none of them."""
    from reportgen.suites.cognitive.scoring.dataset import chosen

    try:
        name, _, why = chosen(tokens, s, s.recipe())
    except NotApplicable as reason:
        return (str(reason),)
    return (f"questions {name}: {why}",) if "unknown" in why else ()


SETS = ("auto", "english", "in_vocabulary")
_LEAST_PERMUTATIONS = 99
_LEAST_FOR_P = 399


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `cognitive`. `auto` means the preset's value."""

    data: str = setting(
        AUTO, "auto (English; in_vocabulary where the tokenizer has no such words), english, in_vocabulary, or a file: "
        ".jsonl, .csv or CogQA's nested .json", option="cognitive_data",
    )  # fmt: skip
    preset: str = setting(
        "recommended", "recommended, or as published: paper, code (minutes per probe, no null)", one_of=PRESETS
    )
    context: str = setting(
        AUTO, "earlier steps in the prompt: all, retrieval (those labelled Retrieval) or none", one_of=(AUTO, *CONTEXTS)
    )
    answers: str = setting(
        AUTO, "given (teacher-forced) or generate (greedy, the model's own)", one_of=(AUTO, *ANSWERS)
    )
    tokens: str = setting(
        AUTO, "answer tokens averaged: content, all, first, last, given (key_tokens) or top5", one_of=(AUTO, *TOKENS)
    )
    k: int = setting(
        5,
        "answer tokens averaged for content and top5, at most",
        least=1,
        needs="importance is read at answer tokens",
    )
    site: str = setting(
        "predict", "predict: the position that predicts the token; token: the token's own", one_of=SITES
    )
    prompt: str = setting(AUTO, "plain, cogqa (the paper's), or a text file with {question} {context} {subquestion}")
    chat_template: bool = setting(False, "put the prompt into the model's chat template, as a user's turn")
    hook: str = setting(
        "z", "what the probe reads: z (before W_O) or result (z W_O, in the residual stream's units)", one_of=HOOKS
    )
    standardise: str = setting(
        AUTO, "on or off: features divided by their spread over the train rows", one_of=(AUTO, "on", "off")
    )
    layer_mean: bool = setting(True, "give the probe the mean over a layer's heads beside each head")
    proj: int = setting(0, "units of the probe's shared projection", zero="the preset's")
    hidden: int = setting(0, "hidden units of the probe", zero="the preset's")
    seeds: int = setting(
        5,
        "probes trained from different initialisations",
        least=1,
        needs="importance is read from trained probes",
    )
    most_steps: int = setting(
        300,
        "largest number of training steps of the early-stopped run",
        least=1,
        needs="an untrained probe says nothing",
    )
    permutations: int = setting(
        199,
        "probes trained on permuted labels, each for as long as the real one",
        off="the permuted-label null, its line and p",
    )
    null_seeds: int = setting(
        0,
        "random initialisations averaged in each permutation; 1 is conservative",
        zero="as many as seeds",
    )
    resamples: int = setting(
        2_000, "bootstrap draws over chains for the intervals", least=1, needs="every score has an interval"
    )
    alpha: float = setting(0.05, "family-wise level of the line", share=True)
    min_per_class: int = setting(12, "rows a label needs", least=1, needs="a label without rows can't be told")
    small_classes: str = setting(
        "drop", "labels with fewer rows: drop, other (collapse into one) or refuse", one_of=("drop", "other", "refuse")
    )
    heads_removed: int = setting(
        0,
        "heads ablated per function in the ablation matrix",
        zero="a twelfth of all heads",
    )
    random_sets: int = setting(
        399,
        "random head sets per function; fewer than 399 give a band but no p",
        off="random head sets beside the ablated heads",
    )
    curve_sets: int = setting(
        20,
        "random head sets per function in the ablation curves",
        off="random head sets in the ablation curves",
    )
    batch: int = setting(16, "prompts per forward pass", least=1, needs="a forward pass takes a prompt")
    cache: bool = setting(True, "keep the features in the user's cache folder")

    def __post_init__(self) -> None:
        check(self)
        if 0 < self.permutations < _LEAST_PERMUTATIONS:
            raise ValueError(f"permutations is {self.permutations}; a line needs {_LEAST_PERMUTATIONS}, 0 for none.")
        if self.permutations and (self.permutations + 1) * self.alpha < 1:
            raise ValueError(f"{self.permutations} permutations can't resolve alpha {self.alpha:g}.")
        self._check_files()

    def _check_files(self) -> None:
        """A user's files are read here, before any model is loaded. DataError names the place."""
        if self.data not in SETS:
            from reportgen.suites.cognitive.scoring import dataset

            dataset.check(self.data, self.min_per_class, self.small_classes)
        if self.prompt not in (AUTO, "plain", "cogqa"):
            from reportgen.suites.cognitive.scoring import prompts

            prompts.template(self.prompt)

    @property
    def can_test_random(self) -> bool:
        """Whether there are enough random sets for a p-value."""
        return self.random_sets >= _LEAST_FOR_P

    def recipe(self) -> Recipe:
        """The preset with the user's changes."""
        said: dict[str, Any] = {
            name: value for name in ("context", "answers", "tokens", "prompt") if (value := getattr(self, name)) != AUTO
        }
        said |= {name: value for name in ("proj", "hidden") if (value := getattr(self, name))}
        if self.standardise != AUTO:
            said["standardise"] = self.standardise == "on"
        return replace(preset(self.preset), chat=self.chat_template, **said)


def data_files(settings: Settings) -> tuple[Path, ...]:
    """The files whose bytes enter the resume key."""
    from reportgen.suites.cognitive.scoring import dataset

    files = [dataset.source(settings.data)] if settings.data != AUTO else list(dataset.SHIPPED.values())
    if settings.prompt not in (AUTO, "plain", "cogqa"):
        files.append(Path(settings.prompt))
    return tuple(files)


def data_words(settings: Settings, seed: int) -> tuple[str, ...]:
    """Contents of the user's data, and anything unusual in it; counts of bundled sets are in the report."""
    from reportgen.suites.cognitive.scoring import dataset

    if settings.data == AUTO:
        return ()
    rows = dataset.load(settings.data)
    data = dataset.make_dataset(settings.data, rows, settings.min_per_class, settings.small_classes, seed)
    return tuple(f"Questions: {line}" for line in data.words())


_UNIT = "logits per projection unit"
_SOURCE = "cognitive2025mirrors"
_LABELS = (
    "labels permuted within split, chain position and answer shape, a probe trained on each for as long as the real "
    "one; line and p from the maximum over heads and functions; two-sided"
)
SUITE = Suite(
    name="cognitive",
    title="Heads for cognitive functions",
    summary="A probe predicts from head outputs at the answer which function a question asks for; importance is each "
    "head's contribution to the correct function. Controls: surface baselines, permuted labels, ablation.",
    version=4,
    settings=Settings,
    score="reportgen.suites.cognitive.scoring.score:score",
    figures="reportgen.suites.cognitive.drawing.figures:figures",
    variants="reportgen.suites.cognitive.variants:variants",
    older="reportgen.suites.cognitive.facts:older",
    measures=(
        Measure(
            "importance_own",
            "Importance, the head's own part",
            "mean over held-out rows of function c of (1/p) sum_k (d y_c / d p_jk) (W_own z_j)_k: y_c the probe's "
            "logit of c, p_j = W_own z_j + W_layer zbar + b the head's p projection units",
            "Far from zero: the probe relies on this head itself. The default map, with the family-wise line.",
            _UNIT,
            "ours",
            null=_LABELS,
        ),
        Measure(
            "importance",
            "Importance for the function",
            "the same mean with p_jk itself: (1/p) sum_k (d y_c / d p_jk) p_jk: own, layer and bias parts together",
            "Far from zero: the probe relies on head j, including the layer's mean. A probe is not a mechanism: the "
            "head may encode the answer's form.",
            _UNIT,
            f"{_SOURCE}; as in its code",
            null=_LABELS,
        ),
        Measure(
            "importance_layer",
            "Importance, the layer's part",
            "the same mean with (W_layer zbar)_k for (W_own z_j)_k, zbar the mean over the layer's heads",
            "Comes from a mean that all heads of the layer share: it says nothing about head j.",
            _UNIT,
            "ours",
            null="none: the layer's part makes no claim about a head",
        ),
        Measure(
            "importance_bias",
            "Importance, the bias's part",
            "the same mean with b_k for (W_own z_j)_k",
            "Involves no activation; the released code counts it as importance.",
            _UNIT,
            "ours",
            null="none: the bias's part is the same whatever the model computes",
        ),
        Measure(
            "alone",
            "The head alone",
            "area under the ROC curve on the test rows, function c against the others, of log p(c) of a logistic "
            "regression that sees z_j only (standardised; trained on the train rows, penalty from the validation "
            "rows); two rows less than .001 nats apart count as a tie in part",
            "0.5 is chance; 1: this head's output alone identifies the function. The head may still encode the "
            "question's words or the answer's form.",
            "AUC",
            "ours",
            range=(0.0, 1.0),
            null="the test rows' labels permuted within strata, the classifiers fixed; areas standardised per head, "
            "maximum over heads and functions; one-sided",
        ),
    ),
    licence="questions and word lists written for this project (CC0 1.0)",
    citations=(_SOURCE,),
    quick={"permutations": 99, "null_seeds": 1, "resamples": 1_000, "random_sets": 20, "curve_sets": 10},
    left_out=(
        "cognitive: 99 instead of 199 permutations, one initialisation each instead of five (a conservative line)",
        "cognitive: 20 instead of 399 random head sets, so no p against random sets; 10 instead of 20 in the curves",
    ),
    data=data_files,
    says=data_words,
    cost=phases,
    reach=reach,
    drops=drops,
)
