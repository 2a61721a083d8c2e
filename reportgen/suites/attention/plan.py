"""What scoring attention patterns will cost and can reach, told before the model is loaded."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost, prose
from reportgen.suites.cost import Phase

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.suites.attention.suite import Settings


FIXED = 10_000  # calls between the passes


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """A forward pass per sequence, the nulls and intervals over sequences, sampled words through every OV map."""
    heads = record.n_layers * record.n_heads
    batches, windows = ceil(s.sequences / s.batch), ceil(s.text_windows / s.batch)
    length = 2 * max(s.lags) + 1
    draws = 2 * s.permutations * len(s.lags) + 3 * s.permutations + 6 * s.resamples
    copying = s.copy_tokens * heads * record.d_head * (record.d_model + s.copy_tokens)
    return (
        Phase(
            "repeated random tokens",
            tokens=s.sequences * length,
            logits=s.sequences,
            elements=4 * s.sequences * heads * length**2,
            calls=cost.passes(record, batches) + FIXED,
        ),
        Phase(
            "other",
            products=copying + draws * s.sequences * heads,
            elements=20 * s.permutations * heads,
            calls=2 * FIXED,
        ),
        Phase(
            "natural text",
            tokens=s.text_windows * s.text_tokens,
            logits=s.text_windows,
            elements=20 * s.text_windows * heads * s.text_tokens**2,
            calls=cost.passes(record, windows) + FIXED * bool(s.text_windows),
        ),
    )


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads and the smallest p."""
    return cost.family(record, s.permutations, s.sequences, "sequences")


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Tokens of the text that this tokenizer does not know."""
    return prose.drops(tokens, s.text_file) if s.text_windows else ()
