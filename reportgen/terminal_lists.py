"""Lists on the terminal: suites, their settings and formulas, published heads, and the plan of a dry run."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from reportgen import runner, suites
from reportgen.config import Options
from reportgen.console import duration
from reportgen.errors import SettingsError, nearest, one_line
from reportgen.manifest import ModelRecord
from reportgen.runner import SuiteJob
from reportgen.scores import head_name
from reportgen.suites import answerable
from reportgen.suites.cost import Speeds, rendering
from reportgen.suites.settings import help_of

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens


# --dry-run: what a run would do, with smallest p and estimated time and memory, before any weight is read.
#
# Time is the cost of each suite's phases (suites/cost.py) divided by this machine's measured speeds.


def print_plan(options: Options, json_lines: bool) -> None:
    """Print the model, the suites with their settings, and the estimates. Raises UserError as a run would."""
    jobs = runner.plan(options)
    from reportgen.models import load

    load.set_threads(options.threads)
    from reportgen.models.memory import measure, pick_device

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
    """A suite of the run: estimated seconds (None: not estimated), smallest p and examples, and data left out."""

    job: SuiteJob
    seconds: float | None
    reach: list[str]
    left_out: list[str]


def _planned(job: SuiteJob, record: ModelRecord, tokens: Tokens, speeds: Speeds, seed: int) -> Planned:
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
    memory = f"about {needed / 1e9:.2f} GB for the {what}, and as much again while suites run"
    rows = table("suite", "about", "settings")
    for p in planned:
        about = "not estimated" if p.seconds is None else duration(p.seconds)
        plain = SuiteJob(p.job.suite, p.job.suite.settings()).as_dict
        changed = ", ".join(f"{k}={v}" for k, v in p.job.as_dict.items() if v != plain[k])
        rows.add_row(p.job.suite.name, about, Text(one_line(changed) or "defaults"))
    rows.add_row("report", duration(report_s), Text("page, PDF and figures"))
    whole = report_s + sum(p.seconds or 0.0 for p in planned)
    least = "at least " if any(p.seconds is None for p in planned) else ""
    tail = f"In all {least}about {duration(whole)} (within a factor of 2 on two models); nothing was scored."
    reach = [Text(f"  {p.job.suite.name}: {words}") for p in planned for words in p.reach]
    lost = [Text(f"  {p.job.suite.name}: {words}") for p in planned for words in p.left_out]
    show(
        Text(f"{head}\n{memory}"),
        rows,
        Text(tail),
        *reach,
        *([Text("Left out:"), *lost] if lost else []),
    )


# Lists for the terminal: suites, their settings and formulas, published heads.

MOST_COLUMNS = 100_000  # of a line in a pipe: nothing is truncated or wrapped there


def table(*names: str) -> Table:
    """An empty table whose cells are wrapped if needed and never truncated."""
    made = Table(box=None, pad_edge=False)
    for name in names:
        made.add_column(name, overflow="fold")
    return made


def show(*parts: RenderableType) -> None:
    """Print to standard output: as wide as the terminal, or one full row per line without one."""
    if sys.stdout.isatty():
        Console(highlight=False).print(*parts, sep="\n")
        return
    text = io.StringIO()
    Console(file=text, width=MOST_COLUMNS, highlight=False, color_system=None).print(*parts, sep="\n")
    print("\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n")))


def print_suites() -> None:
    """A line per suite: name, measures, what it does."""
    rows = table("suite", "measures", "what it does")
    for suite in suites.known().values():
        rows.add_row(suite.name, ", ".join(m.name for m in suite.measures), Text(suite.summary))
    show(rows)


def print_suite(name: str) -> None:
    """One suite's settings (with defaults and help) and its measures (with formulas)."""
    suite = suites.find(name)
    settings = table("setting", "default", "meaning")
    for f in dataclasses.fields(suite.settings):
        settings.add_row(f"{suite.name}.{f.name}", Text(repr(f.default)), Text(help_of(f)))
    measures = table("measure", "formula")
    for measure in suite.measures:
        measures.add_row(measure.name, Text(measure.formula))
    show(Text(f"{suite.name}: {suite.title}\n{suite.summary}\n"), settings, "", measures)


def print_published(model: str) -> None:
    """The catalogue, or one model's entries: class, heads, whether confirmed, source."""
    from reportgen.published import load_catalogue

    catalogue = load_catalogue()
    entries = [e for e in catalogue.entries if model in ("", e.model, e.tl_official_name)]
    if not entries:
        names = {e.model for e in catalogue.entries} | {e.tl_official_name for e in catalogue.entries}
        raise SettingsError(f"No published heads for {model!r}.", nearest(model, names))
    rows = table("model", "class", "heads", "list", "source")
    for e in entries:
        heads = " ".join(head_name(layer, head) for layer, head in e.heads) or "none known"
        rows.add_row(e.model, Text(e.label), heads, "confirmed" if e.verified else "unconfirmed", Text(e.paper))
    show(rows)
