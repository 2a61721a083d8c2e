"""--dry-run: what a run would do and can reach, with estimated time and memory, before a weight is read.

Time is what each suite says its phases cost (suites/cost.py) over this machine's speeds, measured here and now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from reportgen import runner
from reportgen.config import Options
from reportgen.errors import one_line
from reportgen.listing import show, table
from reportgen.manifest import ModelRecord
from reportgen.progress import duration
from reportgen.runner import Job
from reportgen.suites import answerable
from reportgen.suites.cost import Speeds, rendering

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


def print_plan(options: Options, json_lines: bool) -> None:
    """Print the model, the suites with their settings, and the estimates. Raises UserError as a run would."""
    jobs = runner.plan(options)
    from reportgen.models import load

    load.set_threads(options.threads)
    from reportgen.models.memory import pick_device
    from reportgen.models.speeds import measure

    record, needed, tokens = load.inspect(
        options.model,
        dtype=options.dtype,
        device=options.device,
        revision=options.revision,
        offline=options.offline,
        trust_remote_code=options.trust_remote_code,
        twin=runner.needs_twin(jobs),
    )
    speeds = measure(pick_device(options.device))
    jobs = [job for job in jobs if job.suite.static or not options.stream]  # the others are skipped
    planned = [_planned(job, record, tokens, speeds, options.seed) for job in jobs]
    if json_lines:
        suites = {
            p.job.suite.name: {
                "settings": p.job.as_dict, "about_s": p.seconds, "reach": p.reach, "left_out": p.left_out
            }
            for p in planned
        }  # fmt: skip
        model = {"id": record.id, "n_layers": record.n_layers, "n_heads": record.n_heads, "dtype": record.dtype}
        print(json.dumps({"event": "plan", "model": model, "memory_bytes": needed, "suites": suites}))
        return
    _print(record, needed, planned, rendering(len(jobs), speeds))


@dataclass(frozen=True)
class Planned:
    """A suite of the run, the seconds it should take (None: not estimated), what it can reach, what it loses."""

    job: Job
    seconds: float | None
    reach: list[str]
    left_out: list[str]


def _planned(job: Job, record: ModelRecord, tokens: Tokens, speeds: Speeds, seed: int) -> Planned:
    with answerable(job.suite):
        seconds = job.suite.estimate(record, job.settings, speeds)
        reach = [one_line(words) for words in job.suite.reach(record, job.settings, tokens, seed)]
    left_out = runner.drops(job, tokens, seed)
    return Planned(job, None if seconds is None else round(seconds, 1), reach, left_out)


def _print(record: ModelRecord, needed: int, planned: Sequence[Planned], report_s: float) -> None:
    grid = f"{record.n_layers} layers x {record.n_heads} heads"
    size = f"{record.n_params / 1e6:.1f} M parameters"
    head = ", ".join(filter(None, (f"{one_line(record.id)}: {grid}", size, record.dtype, record.dequantised)))
    what = "weights and those of a random twin" if runner.needs_twin([p.job for p in planned]) else "weights"
    memory = f"about {needed / 1e9:.2f} GB for the {what}, and as much again while the suites work"
    rows = table("suite", "about", "settings")
    for p in planned:
        about = "not estimated" if p.seconds is None else duration(p.seconds)
        plain = Job(p.job.suite, p.job.suite.settings()).as_dict
        changed = ", ".join(f"{k}={v}" for k, v in p.job.as_dict.items() if v != plain[k])
        rows.add_row(p.job.suite.name, about, Text(one_line(changed) or "defaults"))
    rows.add_row("report", duration(report_s), Text("page, PDF and figures"))
    whole = report_s + sum(p.seconds or 0.0 for p in planned)
    least = "at least " if any(p.seconds is None for p in planned) else ""
    tail = f"In all {least}about {duration(whole)}, within a factor of 2 on two models; nothing was scored."
    reach = [Text(f"  {p.job.suite.name}: {words}") for p in planned for words in p.reach]
    lost = [Text(f"  {p.job.suite.name}: {words}") for p in planned for words in p.left_out]
    show(
        Text(f"{head}\n{memory}"),
        rows,
        Text(tail),
        *reach,
        *([Text("Left out, for want of tokens:"), *lost] if lost else []),
    )
