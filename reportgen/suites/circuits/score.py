"""Effects of every head on each task, the circuits they make, and the heads that circuits share.

`facts["tasks"][task]` of the result; keys after `done` only where the model does the task:
    title, metric, unit, n, templates (words of each), dropped (why -> count), roles, user, mover (its word for one)
    form                                    which of a task's forms this tokenizer took, in words; "" where it has one
    accuracy, accuracy_low, accuracy_high   share of prompts with m > 0, Wilson interval
    top                                     share of prompts whose most likely next token is the answer
    p_answer, m_clean, m_corrupted          means over prompts;  gap, gap_low, gap_high  m_clean - m_corrupted
    done, done_rule, why                    whether the model does the task, the rule, why not ("" when it does)
    frozen_error                            largest |m - m_clean| with every head held at its clean output
    effect_share, alpha, flips, resamples   the rule's numbers;  interval, null, rule, rules  in words
    n_large, n_beyond, n_both, n_first      heads with |effect| >= share; with p <= alpha; both; the first 2 % by size
    n_circuit, remark                       heads that the rule asked for selects; on n_beyond
    sum_direct                              sum of all heads' direct effects (share of the gap)
    top_head    {head, chosen_on, measured_on, effect, low, high, n}: largest |effect| on even templates, estimated on
                odd ones; absent with one template
    copy_k, copy_threshold, mover_attention, copy_note
    attribution {spearman, over, n_heads, n_exact, steps, poor, exact_passes, n (prompts), spearman_one_step}: estimate
                against exact values of the total effect;  attribution_denoising {spearman}, where denoising is on
    rephrased   {n, templates, accuracy, again, new}: the task in other words; absent where it was not tried
    families    {n, templates, tried, both, unsettled, one_only (head -> [value, low, high] here and in other words)}:
                total effects on the rephrased prompts; absent where they were not tried
    receivers, receivers_are                heads that the later stages act through
    through_movers, through_those           {receivers, kinds, heads (name -> role), edges [[sender, receiver, kind,
                effect]]}; absent without senders
    members     stage -> heads
    faithfulness  {n, m_clean, m_none, sizes, kept, removed, removed_direct, cpr, cmd, area_removed, bands {sizes, sets,
                kept | removed {low, mean, high}, other_layer, shared}, circuit {size, kept, removed, kept_interval,
                removed_interval, accuracy_kept, accuracy_removed, accuracy_clean, random_sets, random_kept and
                random_removed {low, mean, high}, p_kept, p_removed, other_layer, shared}}; absent where heads carry
                none of the task
    ablated     "mean-ablated" or "zero-ablated": what removing a head means below
    faithfulness.added  {ways, both, enough}: heads added to a circuit that keeps too little, chosen on half of the
                templates and measured on the others, both ways round; absent where it keeps enough
    twin        {count, accuracy, does_it, largest}: the same prompts on randomly initialised twins; largest |direct
                effect| of any of their heads as a share of this model's gap; absent where none was made
    knock_out   {heads, m_before, m_after, accuracy_before, accuracy_after, n_backups, n_taking_over}: movers ablated;
                absent without them
`facts["reuse"]`, where two tasks have a circuit: tasks, titles, sizes, pairs, groups, reused, null
`facts["natural_text"]`, where it was measured: source, windows, tokens, loss_nats, spearman, spearman_direct, over,
    ablated, n_random, n_exact, n_helpful (beyond the null), n_repaired (direct above total), null
`arrays`, each under "<task>/":
    direct, dla, dla_answer, dla_foil, total, total_denoising, attribution [prompt layer head]   in units of m (dla:
                logits); total effects NaN for heads whose score is an estimate
    m_clean, m_corrupted, template [prompt]
    attention [role layer head]                           mean attention from END
    direct_knocked_out [prompt layer head]                direct effects with the movers ablated
    random_kept, random_removed [set]                     faithfulness of random sets of the circuit's make-up
  and under "natural_text/": text_loss, text_loss_direct, *_attribution [window layer head], loss [window]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reportgen.scores import SuiteResult
from reportgen.suites import finite
from reportgen.suites.base import Context
from reportgen.suites.circuits import natural, twins
from reportgen.suites.circuits.measure import measure_task
from reportgen.suites.circuits.reuse import reuse
from reportgen.suites.circuits.runs import Outcome
from reportgen.suites.circuits.settings import TASKS, Settings
from reportgen.suites.circuits.tasks import BUILDERS, Task, user

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Measure every task asked for. A task that the model or its tokenizer cannot do is left out with its reason.

    Raises NotApplicable where the model's logits are not finite.
    """
    finite.require_logits(model)
    outcomes: dict[str, Outcome] = {}
    models = twins.make(model, settings.twins, context.seed)
    for task in tasks(model.tokens, settings, context.seed):
        outcomes[task.name] = measure_task(model, task, settings, context, models)
    shared = reuse(outcomes, (model.record.n_layers, model.record.n_heads))
    text = natural.natural_text(model, settings, context)
    parts = [*outcomes.values(), shared, text]
    facts: dict[str, object] = {"tasks": {name: out.facts for name, out in outcomes.items()}}
    facts |= {"reuse": shared.facts} if shared.facts else {}
    facts |= {natural.TASK: text.facts} if text.facts else {}
    return SuiteResult(
        suite="circuits",
        scores=tuple(score for part in parts for score in part.scores),
        head_sets=tuple(natural.with_rung([s for part in parts for s in part.head_sets], text, settings.alpha)),
        tables=tuple(table for part in parts for table in part.tables),
        arrays={name: array for part in parts for name, array in part.arrays.items()},
        facts=facts,
        notes=tuple(note for part in parts for note in part.notes),
        not_computed=tuple(missing for part in parts for missing in part.not_computed),
    )


def tasks(tokens: Tokens, settings: Settings, seed: int) -> Iterator[Task]:
    """The tasks asked for, then the user's, built on this tokenizer one by one."""
    lines = user.read(settings.tasks_file, TASKS) if settings.tasks_file else {}
    for name in dict.fromkeys(settings.tasks):
        yield BUILDERS[name](tokens, settings.prompts, seed)
    for name, of in lines.items():
        yield user.build(tokens, name, of, settings.prompts)
