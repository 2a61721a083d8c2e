"""Direct effects of every head on each task, and the heads they name.

`facts["tasks"][task]` of the result; keys after `done` only where the model does the task:
    title, metric, n, templates (words of each), dropped (why -> count), roles
    accuracy, accuracy_low, accuracy_high   share of prompts with m > 0, Wilson interval
    top                                     share of prompts whose most likely next token is the answer
    p_answer, m_clean, m_corrupted          means over prompts;  gap, gap_low, gap_high  m_clean - m_corrupted
    done, done_rule, why                    whether the model does the task, the rule, why not ("" when it does)
    frozen_error                            largest |m - m_clean| with every head held at its clean output
    effect_share, alpha, flips, resamples   the rule's numbers;  interval, null, rule  in words
    n_large, n_beyond, n_circuit            heads with |effect| >= share; with p <= alpha; both;  remark  on n_beyond
    sum_direct                              sum of all heads' direct effects (share of the gap)
    top_head    {head, chosen_on, measured_on, effect, low, high, n}: largest |effect| on even templates, estimated on
                odd ones; absent with one template
    copy_k, copy_threshold, copy_words, copy_note, mover_attention
    knock_out   {heads, m_before, m_after, accuracy_before, accuracy_after, n_backups}: name movers mean-ablated; absent
                without them
`arrays`, each under "<task>/":
    direct [prompt layer head], dla [prompt layer head]   in units of m (logits), prompts labelled by their text
    m_clean, m_corrupted, template [prompt]
    attention [role layer head]                           mean attention from END
    direct_knocked_out [prompt layer head]                direct effects with the name movers mean-ablated
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.circuits.measure import measure_task
from reportgen.suites.circuits.suite import Settings
from reportgen.suites.circuits.tasks import BUILDERS

if TYPE_CHECKING:
    from reportgen.models.model import Model


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Measure every task asked for. A task that the model or its tokenizer cannot do is left out with its reason."""
    outcomes = {}
    for name in dict.fromkeys(settings.tasks):
        task = BUILDERS[name](model.tokens, settings.prompts, context.seed)
        outcomes[name] = measure_task(model, task, settings, context)
    parts = outcomes.values()
    return SuiteResult(
        suite="circuits",
        scores=tuple(score for part in parts for score in part.scores),
        head_sets=tuple(found for part in parts for found in part.head_sets),
        tables=tuple(table for part in parts for table in part.tables),
        arrays={name: array for part in parts for name, array in part.arrays.items()},
        facts={"tasks": {name: part.facts for name, part in outcomes.items()}},
        notes=tuple(note for part in parts for note in part.notes),
        not_computed=tuple(missing for part in parts for missing in part.not_computed),
    )
