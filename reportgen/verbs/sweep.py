"""`reportgen sweep`: its options; heavy imports inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reportgen.verbs.options import Suites

if TYPE_CHECKING:
    from reportgen.sweep.spec import SweepSpec
    from reportgen.sweep.stored import Sweep


def sweep_verb(
    what: Annotated[
        str,
        typer.Argument(metavar="SWEEP.TOML|MODEL", help="A sweep.toml, a hub id, or a folder of checkpoint folders."),
    ],
    revisions: Annotated[
        str,
        typer.Option(help="Comma-separated; NAME=STEP where the name doesn't say its step. [default: all of a folder]"),
    ] = "",
    engine: Annotated[str, typer.Option(help="local or ray. [default: local]")] = "",
    ray_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A running Ray cluster, or auto. [default: one is started here]")
    ] = "",
    per: Annotated[str, typer.Option(help="Ray: one task per model or per suite. [default: model]")] = "",
    cpus: Annotated[float | None, typer.Option(help="Ray: CPUs reserved for a task. [default: --threads]")] = None,
    gpus: Annotated[float | None, typer.Option(help="Ray: GPUs reserved for a task, fractions allowed.")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="Ray: memory reserved for a task.")] = None,
    retries: Annotated[int | None, typer.Option(help="Ray: new starts after a lost worker. [default: 3]")] = None,
    suite: Suites = None,
    preset: Annotated[str, typer.Option(help="quick or full. [default: quick]")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SUITE.FIELD=VALUE", help="A suite's setting.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. [default: auto]")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16. [default: auto]")] = "",
    threads: Annotated[int | None, typer.Option(help="CPU threads of one member; 0 = torch's choice.")] = None,
    out: Annotated[str, typer.Option(help="Folder that the sweep's folder goes into. [default: runs]")] = "",
    name: Annotated[str, typer.Option(help="Name of the sweep's folder. [default: from the model's id]")] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. [default: 0]")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Use the local hub cache only.")] = None,
    reports: Annotated[bool | None, typer.Option("--reports", help="Also render every member's own report.")] = None,
    cmap: Annotated[str, typer.Option(help="Colour scheme of score maps.")] = "viridis",
    palette: Annotated[str, typer.Option(help="published or safe.")] = "published",
    json_lines: Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines.")] = False,
) -> None:
    """Score many models or checkpoints, each into its run folder, and write a report over all of them."""
    from reportgen.config import parse_set
    from reportgen.figures.figure import Style
    from reportgen.figures.marks import check_style
    from reportgen.suites import listed
    from reportgen.sweep.spec import ModelSpec, make_spec, parse_revisions, read_spec

    said: dict[str, Any] = {
        "engine": engine, "suites": listed(suite or ()), "preset": preset, "device": device, "dtype": dtype,
        "threads": threads, "out": out, "name": name, "seed": seed, "offline": offline, "reports": reports,
    }  # fmt: skip
    ray = {
        "address": ray_address, "cpus": cpus, "gpus": gpus, "memory_gib": memory_gib, "retries": retries, "per": per,
    }  # fmt: skip
    said = {key: value for key, value in said.items() if value not in ("", ())}
    said["ray"] = {key: value for key, value in ray.items() if value != ""}
    said["settings"] = parse_set(set_ or ())
    if what.endswith(".toml"):
        base = read_spec(Path(what))
    else:
        base = {"models": (ModelSpec(what, parse_revisions(revisions) if revisions else ()),)}
    style = check_style(Style(cmap=cmap, palette=palette))  # a misspelt scheme is told now, not after scoring
    raise typer.Exit(_sweep_and_render(make_spec(base, said), style, json_lines))


def _sweep_and_render(spec: SweepSpec, style: Any, json_lines: bool) -> int:
    from reportgen.sweep.driver import sweep
    from reportgen.sweep.progress import SweepReporter
    from reportgen.sweep.render import render
    from reportgen.verbs.options import say_undrawn

    reporter = SweepReporter(json_lines)
    with reporter.live():
        done = sweep(spec, reporter)
        reporter.stage("Rendering the report")
        undrawn: list[str] = []
        page = render(done, style, reports=spec.reports, tell=undrawn.append)
    failed = done.failed()
    if json_lines:
        names = [{"member": m.slug, "error": m.error} for m in failed]
        print(
            json.dumps(
                {"event": "done", "sweep": str(done.path), "report": str(page), "failed": names, "undrawn": undrawn}
            )
        )
    else:
        _say_failed(reporter, done)
        say_undrawn(undrawn)
        print(page)
    return 1 if failed or undrawn else 0


def _say_failed(reporter: Any, done: Sweep) -> None:
    """The members that failed, with their reasons, at the end where they are seen."""
    failed = done.failed()
    if failed:
        reporter.stage(f"{len(failed)} of {len(done.record.members)} members failed:")
    for member in failed:
        reporter.stage(f"  {member.slug}: {member.error}")
