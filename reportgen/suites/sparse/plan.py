"""What comparing sparse and dense circuits will cost, told before the model is loaded; nothing without a partner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.cost import Phase

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.suites.sparse.suite import Settings

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


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """Templates and pairs of the task that are not single tokens here."""
    if not (s.prompts or s.sparse_model):
        return ()  # the shipped task is the bundled pair's own, and other models have no partner
    from reportgen.suites.sparse import prompts  # its groups are arrays

    task = prompts.read_task(Path(s.prompts) if s.prompts else prompts.BUNDLED)
    made = [prompts.usable(tokens, task, text) for text in task.templates]
    fits, templates = sum(map(len, made)), sum(map(bool, made))
    whole = len(task.templates) * len(task.pairs)
    if fits == whole:
        return ()
    return (f"{task.title}: {fits} of {whole} prompts in {templates} of {len(made)} templates are single tokens",)
