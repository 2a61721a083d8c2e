"""Verbs that score or train: run, sweep, sparsify, mini train, selftest, suite check. Heavy imports are inside."""

from __future__ import annotations

import json
from dataclasses import Field, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reportgen.config import Options
from reportgen.errors import SettingsError
from reportgen.verbs.options import Overlays, Sets, Suites, checked_style, render_run, say_undrawn, tell_empty

if TYPE_CHECKING:
    from reportgen.config import Options
    from reportgen.sweep.spec import SweepSpec
    from reportgen.sweep.stored import Sweep


# mini train: the bundled model made again.


def mini_train_verb(
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("mini-trained"),
    seed: Annotated[int | None, typer.Option(help="Seed of weights and corpus. (default: the bundled model's)")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps. (default: the bundled model's)")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; weights are bit-identical for the same number.")] = 1,
    save_steps: Annotated[str, typer.Option(help="Comma-separated steps at which to save checkpoints.")] = "",
) -> None:
    """Retrain the bundled model from scratch, with its original recipe."""
    from dataclasses import replace

    from reportgen.mini.train import TrainConfig, train

    try:
        kept = tuple(int(step) for step in save_steps.split(",") if step)
    except ValueError as error:
        raise SettingsError(f"--save-steps {save_steps!r} is not a list of steps.", "For example 100,200") from error
    shipped = TrainConfig(threads=threads, save_steps=kept)
    config = replace(
        shipped, seed=shipped.seed if seed is None else seed, steps=shipped.steps if steps is None else steps
    )
    print(train(config, out))


# selftest: do the scores give the answers that are known?


def selftest_verb(threads: Annotated[int, typer.Option(help="CPU threads; 0: torch's choice.")] = 1) -> None:
    """Check the scores on planted models and identities: one line per check, offline, in seconds. Exit 1 if one fails.

    The result is kept in the user's cache folder, and runs of the same sources and versions record it.
    """
    from reportgen.models.load import set_threads
    from reportgen.selftest import record
    from reportgen.selftest.checks import run_checks

    set_threads(threads)
    outcomes: dict[str, bool] = {}
    for name, found in run_checks():
        outcomes[name] = found.holds
        print(
            f"{'ok  ' if found.holds else 'FAIL'} {name:<28} {found.measured}   (expected {found.expected})", flush=True
        )
    kept = record.keep(outcomes)
    print(f"{kept.total - len(kept.failed)} of {kept.total} checks pass.")
    if kept.failed:
        raise typer.Exit(1)


# sparsify: a model post-trained until few attention edges are left.


def sparsify_verb(
    model: Annotated[str, typer.Argument(help="mini, a hub id, or a local Hugging Face folder.")] = "mini",
    text: Annotated[str, typer.Option(help="UTF-8 file to train on.")] = "",
    corpus: Annotated[str, typer.Option(help="mini: train on the bundled model's own corpus instead of --text.")] = "",
    samples: Annotated[int, typer.Option(help="Tokens of text sampled from the model, instead of --text.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the sparse model.")] = Path("sparse"),
    slack: Annotated[float, typer.Option(help="Loss allowed above the dense model's, in nats.")] = 0.01,
    bias: Annotated[float, typer.Option(help="Added to every attention score; 2 to 5 if 0 breaks the model.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1500,
    settle: Annotated[int, typer.Option(help="Further steps per round, without noise in the gates.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds of --settle, each at half the previous learning rate.")] = 1,
    kl: Annotated[float, typer.Option(help="0 to 1: weight of the KL to the dense model in the loss.")] = 0.0,
    train: Annotated[str, typer.Option(help="all, or qk: only query and key weights.")] = "all",
    cut: Annotated[
        float, typer.Option(help="Start from gates that cut the dense pattern at about this weight (Llama).")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of gates, batches and sampled text.")] = 0,
    length: Annotated[int, typer.Option(help="Tokens per sequence, at most the model's context.")] = 128,
    batch: Annotated[int, typer.Option(help="Sequences per step; 0: 2,048 tokens' worth.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 5e-4,
    control: Annotated[bool, typer.Option(help="Also train the dense model for as many further steps.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, or bfloat16 for sampling and for a Llama's frozen weights in training.")
    ] = "float32",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = torch's choice.")] = 0,
    revision: Annotated[str, typer.Option(help="Hub revision: branch, tag or commit.")] = "",
    save_every: Annotated[int, typer.Option(help="Steps between saved states.")] = 250,
    offline: Annotated[bool, typer.Option("--offline", help="Use the local hub cache only.")] = False,
) -> None:
    """Post-train a copy of a model with few attention edges (after Draye et al. 2025)."""
    from reportgen import models  # noqa: F401  sets how threads wait, before torch is imported
    from reportgen.console import Reporter
    from reportgen.suites.sparse.training.sparsify import SparsifyOptions, sparsify

    options = SparsifyOptions(
        model=model, out=out, text=text, corpus=corpus, samples=samples, slack=slack, bias=bias, steps=steps,
        settle=settle, rounds=rounds, kl=kl, train=train, cut=cut, seed=seed, length=length, batch=batch,
        lr=lr, control=control, device=device, dtype=dtype, threads=threads, revision=revision, save_every=save_every,
        offline=offline,
    )  # fmt: skip
    reporter = Reporter()
    sparsify(options, lambda done, total, words: reporter.stage(f"{words} ({done}/{total})"))
    print(out)


# suite check: does a suite keep to the rules, on small models?


def suite_check_verb(
    suite: Annotated[str, typer.Argument(metavar="FILE.py|NAME", help="A file with one Suite, or a suite's name.")],
    model: Annotated[
        str, typer.Option(help="Check on this model. (default: two random models, 3 layers of 4 heads)")
    ] = "",
    set_: Sets = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: torch's choice.")] = 1,
) -> None:
    """Check a suite on small seeded models: shapes, ranges, repeatability, inputs, figures. Exit 1 if a check fails."""
    from reportgen import suites
    from reportgen.config import parse_set
    from reportgen.errors import SettingsError

    found = suites.find(suite)
    given = parse_set(set_ or ())
    for name in given.keys() - {found.name}:
        raise SettingsError(
            f"--set {name}.*: the suite is called {found.name}.", f"Type --set {found.name}.FIELD=VALUE."
        )
    found.make_settings("quick", {**found.check.settings, **given.get(found.name, {})})  # errors before a model is made

    from reportgen.models.load import set_threads
    from reportgen.suitecheck.checks import CheckedSuite, run_checks
    from reportgen.suitecheck.result import FAIL, NOT_RUN

    set_threads(threads)
    lines = []
    for line in run_checks(CheckedSuite(found, suite, given.get(found.name, {})), model=model):
        print(line, flush=True)
        lines.append(line.status)
    failed, left_out = lines.count(FAIL), lines.count(NOT_RUN)
    print(f"{found.name}: {len(lines) - failed - left_out} checks pass, {failed} fail, {left_out} were not run.")
    if failed:
        raise typer.Exit(1)


# `reportgen sweep`: its options; heavy imports inside.


def sweep_verb(
    what: Annotated[
        str,
        typer.Argument(metavar="SWEEP.TOML|MODEL", help="A sweep.toml, a hub id, or a folder of checkpoint folders."),
    ],
    revisions: Annotated[
        str,
        typer.Option(help="Comma-separated; NAME=STEP if the name lacks the step. (default: all of a folder)"),
    ] = "",
    engine: Annotated[str, typer.Option(help="local or ray. (default: local)")] = "",
    ray_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A running Ray cluster, or auto. (default: start one here)")
    ] = "",
    per: Annotated[str, typer.Option(help="Ray: one task per model or per suite. (default: model)")] = "",
    cpus: Annotated[float | None, typer.Option(help="Ray: CPUs reserved per task. (default: --threads)")] = None,
    gpus: Annotated[float | None, typer.Option(help="Ray: GPUs reserved per task, fractions allowed.")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="Ray: memory reserved per task.")] = None,
    retries: Annotated[int | None, typer.Option(help="Ray: retries after a lost worker. (default: 3)")] = None,
    suite: Suites = None,
    preset: Annotated[str, typer.Option(help="quick or full. (default: quick)")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SUITE.FIELD=VALUE", help="A suite's setting.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. (default: auto)")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16. (default: auto)")] = "",
    threads: Annotated[int | None, typer.Option(help="CPU threads per member; 0 = torch's choice.")] = None,
    out: Annotated[str, typer.Option(help="Folder for the sweep's folder. (default: runs)")] = "",
    name: Annotated[str, typer.Option(help="Name of the sweep's folder. (default: from the model's id)")] = "",
    seed: Annotated[int | None, typer.Option(help="Random seed. (default: 0)")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Use the local hub cache only.")] = None,
    reports: Annotated[bool | None, typer.Option("--reports", help="Also render every member's own report.")] = None,
    cmap: Annotated[str, typer.Option(help="Colour scheme of score maps.")] = "viridis",
    palette: Annotated[str, typer.Option(help="published or safe.")] = "published",
    json_lines: Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines.")] = False,
) -> None:
    """Score many models or checkpoints, each into its own run folder, and write a report over all of them."""
    from reportgen.config import parse_set
    from reportgen.figures.chart_data import check_style
    from reportgen.figures.theme import Style
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
    from reportgen.console import SweepReporter
    from reportgen.sweep.driver import sweep
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
    """List the failed members with their reasons, last, where they are seen."""
    failed = done.failed()
    if failed:
        reporter.stage(f"{len(failed)} of {len(done.record.members)} members failed:")
    for member in failed:
        reporter.stage(f"  {member.slug}: {member.error}")


# run: score every head of a model, then render.


_DATA = {  # options that stand for settings of suites, which name them in their metadata: option -> type and help
    "relations": (Path, "Your own relations: a JSON file, or a folder of lists."),
    "tasks": (Path, "JSONL of your own prompt pairs; circuits.tasks_file."),
    "cognitive_data": (Path, "Your own questions: JSONL, CSV or CogQA JSON."),
    "text": (Path, "Text for the suites that read natural text: a UTF-8 file, JSON lines, or a folder of them."),
    "prompt": (str, "Prompt whose circuit `sparse` draws; requires --answer."),
    "answer": (str, "The prompt's next token."),
    "foil": (str, "A wrong next token to compare the answer with."),
}


def run_verb(**given: Any) -> None:
    """Score every attention head of MODEL and write its report."""
    from reportgen.config import merge, parse_set, read_config, with_aliases
    from reportgen.suites import listed

    chosen = listed(given.pop("suite") or ())
    data = {name: given.pop(name) for name in _DATA}
    data["no_text"] = given.pop("no_text") or None
    settings = with_aliases(parse_set(given.pop("set_") or ()), chosen, **data)
    config, dry_run, json_lines = (given.pop(name) for name in ("config", "dry_run", "json_lines"))
    said = given | {"suites": chosen, "overlays": tuple(str(path) for path in given.pop("overlay") or ())}
    said["selftest"] = None if said["selftest"] is None else not said["selftest"]
    kept = {name: value for name, value in said.items() if value not in ("", None, ())}
    options = merge(read_config(config) if config else {}, {**kept, "settings": settings})
    checked_style(options.cmap, options.palette, legend=options.legend)  # a typo is reported now, not after scoring
    tell_empty([Path(file) for file in options.overlays])
    if dry_run:
        from reportgen.terminal_lists import print_plan

        print_plan(options, json_lines)
        return
    raise typer.Exit(_run_and_render(options, json_lines))


def _parameters() -> list[Parameter]:
    """What `reportgen run` can be told: the fields of `Options`, and what stands for several of them."""
    own = {
        "suite": Suites,
        "set_": Sets,
        "config": Annotated[Path | None, typer.Option(help="reportgen.toml; the command line takes precedence.")],
        "overlay": Overlays,
    }
    found = {f.name: _typed(f) for f in fields(Options) if "help" in f.metadata and f.name != "suites"}
    found |= {name: Annotated[kind | None, typer.Option(help=words)] for name, (kind, words) in _DATA.items()}
    words = "Print what would run, with smallest p and effect, time and memory."
    flags = {
        "dry_run": Annotated[bool, typer.Option("--dry-run", help=words)],
        "no_text": Annotated[bool, typer.Option("--no-text", help="Store positions of examples, not their text.")],
        "json_lines": Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines.")],
    }
    said = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=a) for name, a in (own | found).items()]
    return [*said, *(Parameter(n, Parameter.KEYWORD_ONLY, default=False, annotation=a) for n, a in flags.items())]


def _typed(option: Field[Any]) -> Any:
    """The annotation from which the command line makes an option of a field."""
    words, flag, metavar, shown = (option.metadata[name] for name in ("help", "flag", "metavar", "shown"))
    if shown and not flag:
        words = f"{words} (default: {shown})"
    if option.name == "model":
        return Annotated[str | None, typer.Argument(help=words)]
    more = {"metavar": metavar} if metavar else {}
    return Annotated[type(option.default) | None, typer.Option(*([flag] if flag else []), help=words, **more)]


_PARAMETERS = _parameters()
run_verb.__signature__ = Signature(_PARAMETERS)  # type: ignore[attr-defined]
run_verb.__annotations__ = {parameter.name: parameter.annotation for parameter in _PARAMETERS} | {"return": None}


def _run_and_render(options: Options, json_lines: bool) -> int:
    from reportgen import runner
    from reportgen.console import Reporter

    reporter = Reporter(json_lines)
    with reporter.live():
        done = runner.run(options, reporter)
        reporter.rendering()
        style = checked_style(options.cmap, options.palette, legend=options.legend)
        page, undrawn = render_run(done, style)
    suites = done.manifest.suites
    skipped, failed = (
        [n for n, record in suites.items() if record.status == status] for status in ("skipped", "failed")
    )
    left_out = done.left_out()
    if json_lines:
        said = {"run": str(done.path), "report": str(page), "skipped": skipped, "failed": failed, "undrawn": undrawn,
                "left_out": left_out}  # fmt: skip
        print(json.dumps({"event": "done", **said}))
    else:
        reporter.times(done.manifest)
        reporter.left_out(left_out)
        reporter.failed(failed)
        say_undrawn(undrawn)
        print(page)
    return 1 if failed or undrawn else 0
