"""What measuring circuits will cost and can reach, told before the model is loaded.

The counts follow the code phase by phase for tasks that the model does; how long prompts are and how many sets are
tried is typical of the shipped tasks. To calibrate again, compare `phases` in a run's run.json with `phases()` here.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost, prose
from reportgen.suites.cost import Phase

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.suites.circuits.settings import Settings

LENGTH = 16  # tokens of a prompt
RECEIVERS = 4  # heads that paths of single heads are measured into
EDGES = 8  # senders whose paths into single heads are measured
SEARCHED = 0.15  # share of heads tried as additions per round: few circuits keep too little
# Calls between the passes of a task (draws of nulls and intervals, random sets), and of natural text.
FIXED = {"direct": 100_000, "total": 30_000, "curve": 180_000, "text": 60_000}
HALF = 0.5  # of the layers, which a pass from the middle of the model on runs


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """Phases of all tasks together, then natural text."""
    heads = record.n_layers * record.n_heads
    tasks = len(s.tasks) + bool(s.tasks_file)
    exact = heads if heads <= s.exact_heads else min(heads, 4 * s.verified + s.sampled)
    sample = min(s.patch_prompts, s.prompts, s.positions // LENGTH or s.patch_prompts)
    per_task = (
        _direct(record, s, exact),
        _totals(record, s, exact, sample),
        _paths(record, s, sample),
        _curve(record, s),
    )
    return (*(_times(phase, tasks) for phase in per_task), *_text(record, s, heads))


def _times(phase: Phase, times: float) -> Phase:
    counts = {name: times * getattr(phase, name) for name in ("tokens", "logits", "products", "elements", "calls")}
    return Phase(phase.name, **counts)


def _direct(record: ModelRecord, s: Settings, exact: int) -> Phase:
    """One position per prompt and head through the whole model, again for twins, knocked-out movers and other words."""
    prompts = exact * (s.prompts * (1 + s.twins + s.backups) + s.rephrased)
    rounds = (1 + s.twins + s.backups + bool(s.rephrased)) * record.n_layers
    return Phase("direct effects", tokens=prompts, logits=prompts, calls=cost.passes(record, rounds) + FIXED["direct"])


def _totals(record: ModelRecord, s: Settings, exact: int, sample: int) -> Phase:
    """A pass per head from its layer on, and the passes forward and back of attribution."""
    variants = exact * sample * (1 + s.denoising)
    whole = 2 * s.prompts + 6 * sample
    return Phase(
        "total effects",
        tokens=HALF * variants * LENGTH + whole * LENGTH,
        logits=variants + whole,
        calls=cost.passes(record, HALF * _passes(variants * LENGTH, exact) + 12) + FIXED["total"],
    )


def _paths(record: ModelRecord, s: Settings, sample: int) -> Phase:
    """Two passes per sender and kind of input, then the strongest senders into single heads."""
    senders = s.senders or record.n_layers * record.n_heads
    kinds = [len(some) for some in (s.through_movers, s.through_those) if some]
    variants = sum(senders * sample * (1 + n) for n in kinds)
    single = 2 * len(kinds) * EDGES * RECEIVERS * min(s.edge_prompts, sample)
    tokens = HALF * (variants + single) * LENGTH
    count = _passes(tokens, sum(record.n_layers * (1 + n) for n in kinds) + 2 * len(kinds) * EDGES * RECEIVERS)
    return Phase(
        "paths between heads", tokens=tokens, logits=variants + single, calls=cost.passes(record, HALF * count)
    )


def _curve(record: ModelRecord, s: Settings) -> Phase:
    """Sets kept and removed at every size, random ones, and heads tried one by one as additions to a circuit."""
    if not s.curve_prompts:
        return Phase("faithfulness")
    heads = record.n_layers * record.n_heads
    sizes = log(heads, 1.62) + 2
    sets = 3 * sizes + 2 * s.random_sets + 2 * s.bands * (sizes - 3) + SEARCHED * s.added * heads
    tokens = sets * s.curve_prompts * LENGTH
    return Phase(
        "faithfulness",
        tokens=tokens,
        logits=sets * s.curve_prompts,
        calls=cost.passes(record, _passes(tokens, 8)) + FIXED["curve"],
    )


def _text(record: ModelRecord, s: Settings, heads: int) -> tuple[Phase, ...]:
    if not s.reads_text:
        return ()
    exact = s.text_verified or (heads if heads <= s.exact_heads else 2 * s.verified + s.sampled)
    positions = s.text_windows * s.text_tokens
    whole = Phase(
        "natural text, total",
        tokens=HALF * exact * positions + 12 * positions,
        logits=(exact + 12) * positions,
        elements=4 * (exact + 12) * positions * record.d_vocab,
        calls=cost.passes(record, HALF * _passes(exact * positions, exact) + 12) + FIXED["text"],
    )
    direct = Phase("natural text, direct", whole.tokens, whole.logits, 0.0, whole.elements, whole.calls)
    return (whole, direct)


def _passes(positions: float, least: float) -> float:
    """Forward passes that so many positions take."""
    return max(positions / cost.ROWS, least)


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads, the smallest p, and usable prompts per task on this tokenizer."""
    from reportgen.suites.circuits.score import tasks

    counts = [f"{task.title}: {len(task.pairs)} prompts" for task in tasks(tokens, s, seed)]
    return (*cost.family(record, s.flips, s.min_pairs, "prompts"), *counts)


def drops(s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """What of each task this tokenizer has no single tokens for, and tokens of the text that it does not know."""
    from reportgen.suites.circuits.score import tasks

    words = []
    for task in tasks(tokens, s, seed):
        few = f": {len(task.pairs)} usable prompts, it takes {s.min_pairs}" if len(task.pairs) < s.min_pairs else ""
        gone = "; ".join(f"{count} {why}" for why, count in task.dropped.items())
        if few or gone:
            words.append(f"task {task.title}{few}{f': without {gone}' if gone else ''}")
    return (*words, *(prose.drops(tokens, s.text_file) if s.text and s.text_windows else ()))
