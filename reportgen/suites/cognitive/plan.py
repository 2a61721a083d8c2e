"""What probing for cognitive functions will cost and can reach, told before the model is loaded.

Rows, prompt lengths and functions are those of the shipped questions; a user's own set is counted when it is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportgen.errors import NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.cost import Phase

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.suites.cognitive.suite import Settings

ROWS = 800
PROMPT = 60  # tokens
TEST = 0.25  # share of rows that the ablation is measured on
FUNCTIONS = 8
ANSWER = 1.5  # tokens that a variant runs through again
STEPS = 50  # of a probe, where the early-stopped one usually ends
BATCH = 64  # rows a step
PROJECTION = 16  # units a head is projected to
FIXED = 50_000  # calls between the passes of a phase
SIZES = 5  # numbers of heads removed in a curve


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """A forward pass per row; probes, real and permuted; the test rows again for every set of removed heads."""
    heads = record.n_layers * record.n_heads
    width = heads * record.d_head
    step = 6 * BATCH * width * PROJECTION  # forward and back
    steps = min(STEPS, s.most_steps)
    probes, nulls = s.seeds * steps, s.permutations * (s.null_seeds or s.seeds) * steps
    sets = FUNCTIONS * (1 + s.random_sets + SIZES) + SIZES * s.curve_sets
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
            tokens=variants * ANSWER + TEST * ROWS * PROMPT,
            logits=variants * ANSWER,
            elements=3 * variants * ANSWER * record.d_vocab,
            calls=cost.passes(record, TEST * ROWS * (1 + sets / 128)),
        ),
    )


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads and the smallest p, over heads and functions together."""
    return cost.family(record, s.permutations, int(ROWS * TEST), "test rows")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Tokens of the questions that this tokenizer does not know, or why it has words for none of them."""
    from reportgen.suites.cognitive import prepare

    try:
        name, _, why = prepare.chosen(tokens, s, s.recipe())
    except NotApplicable as reason:
        return (str(reason),)
    return (f"questions {name}: {why}",) if "unknown" in why else ()
