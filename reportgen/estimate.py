"""--dry-run: what a run would do, with estimated time and memory, before a weight is read.

Time is a suite's rough operation count over the speed of one large product measured here and now; real runs take up
to several times as long where small operations dominate, and the line says so.
"""

from __future__ import annotations

import json
import time

from rich.text import Text

from reportgen import runner
from reportgen.config import Options
from reportgen.errors import one_line
from reportgen.listing import show, table
from reportgen.manifest import ModelRecord
from reportgen.runner import Job


def print_plan(options: Options, json_lines: bool) -> None:
    """Print the model, the suites with their settings, and the estimates. Raises UserError as a run would."""
    jobs = runner.plan(options)
    from reportgen.models import load

    load.set_threads(options.threads)
    record, needed = load.inspect(
        options.model,
        dtype=options.dtype,
        device=options.device,
        revision=options.revision,
        offline=options.offline,
        trust_remote_code=options.trust_remote_code,
    )
    rate = operations_per_s(options.device)
    rows = [(job, _seconds(job, record, rate)) for job in jobs]
    if json_lines:
        suites = {job.suite.name: {"settings": job.as_dict, "about_s": seconds} for job, seconds in rows}
        model = {"id": record.id, "n_layers": record.n_layers, "n_heads": record.n_heads, "dtype": record.dtype}
        print(json.dumps({"event": "plan", "model": model, "memory_bytes": needed, "suites": suites}))
        return
    grid = f"{record.n_layers} layers x {record.n_heads} heads"
    head = (
        f"{one_line(record.id)}: {grid}, {record.n_params / 1e6:.1f} M parameters, {record.dtype}\n"
        f"about {needed / 1e9:.2f} GB for the weights, and as much again while the suites work"
    )
    planned = table("suite", "about", "settings")
    for job, seconds in rows:
        about = "not estimated" if seconds is None else f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
        plain = Job(job.suite, job.suite.settings()).as_dict
        changed = ", ".join(f"{k}={v}" for k, v in job.as_dict.items() if v != plain[k])
        planned.add_row(job.suite.name, about, Text(one_line(changed) or "defaults"))
    tail = "Times are lower bounds from operation counts at this machine's speed; nothing was scored."
    show(Text(head), planned, Text(tail))


def _seconds(job: Job, record: ModelRecord, rate: float) -> float | None:
    if job.suite.operations is None:
        return None
    return job.suite.operations(record, job.settings) / rate


def operations_per_s(device: str) -> float:
    """Multiply-adds per second of one float32 matrix product on the device, measured once (about 0.1 s)."""
    import torch

    from reportgen.models.memory import pick_device

    place = pick_device(device)
    size = 768 if place.type == "cpu" else 4096
    a = torch.ones(size, size, device=place)
    (a @ a)[0, 0].item()
    started = time.perf_counter()
    for _ in range(3):
        (a @ a)[0, 0].item()
    return 3 * size**3 / (time.perf_counter() - started)
