"""The command line: one function per verb, heavy imports inside the functions (--help takes a tenth of a second).

Exit codes: 0 done; 1 a suite failed, its section says why; 2 the user can mend it, one line says how; 130 Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from reportgen import __version__
from reportgen.errors import SettingsError, UserError, nearest

app = typer.Typer(
    name="reportgen",
    help="Static reports and figures for the attention heads of language models.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
mini_app = typer.Typer(help="The bundled model: how it was made, and making it again.", no_args_is_help=True)
app.add_typer(mini_app, name="mini")

Suites = Annotated[list[str] | None, typer.Option("--suite", help="Suite to run; repeat for more. Default: all.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="SUITE.FIELD=VALUE", help="A suite's setting.")]
Overlays = Annotated[list[Path] | None, typer.Option("--overlay", help="TOML file with your own head sets.")]
Published = Annotated[str, typer.Option(metavar="KEY", help="Draw the published heads of this catalogue model.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/mini.")]

# Options that stand for a setting of a suite: option -> (suite, setting)
ALIASES = {
    "relations": (("relations", "relations_dir"),),
    "tasks": (("circuits", "tasks_file"),),
    "cognitive_data": (("cognitive", "data"),),
    "text": (("circuits", "text_file"),),
}


def _version(value: bool) -> None:
    if value:
        print(f"reportgen {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


@app.command("run")
def run_verb(
    model: Annotated[str, typer.Argument(help="mini, a hub id, or a local Hugging Face folder. [default: mini]")] = "",
    suite: Suites = None,
    preset: Annotated[str, typer.Option(help="quick or full. [default: quick]")] = "",
    set_: Sets = None,
    config: Annotated[Path | None, typer.Option(help="reportgen.toml; the command line wins.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. [default: auto]")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16. [default: auto]")] = "",
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 = torch's choice. [default: 0]")] = None,
    out: Annotated[str, typer.Option(help="Folder that the run folder goes into. [default: runs]")] = "",
    name: Annotated[str, typer.Option(help="Name of the run folder. [default: from the model's id]")] = "",
    revision: Annotated[str, typer.Option(help="Hub revision: branch, tag or commit.")] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. [default: 0]")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Use the local hub cache only.")] = None,
    trust_remote_code: Annotated[
        bool | None, typer.Option("--trust-remote-code", help="Run Python code that the model's repository brings.")
    ] = None,
    stream: Annotated[
        bool | None, typer.Option("--stream", help="Static scores only, weights read from disk layer by layer.")
    ] = None,
    relations: Annotated[Path | None, typer.Option(help="Folder of your own relation lists.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="JSONL of your own prompt pairs; circuits.tasks_file.")] = None,
    cognitive_data: Annotated[Path | None, typer.Option(help="Your own questions: JSONL, CSV or CogQA JSON.")] = None,
    text: Annotated[Path | None, typer.Option(help="UTF-8 text for the suites that read natural text.")] = None,
    overlay: Overlays = None,
    no_overlay: Annotated[bool | None, typer.Option("--no-overlay", help="Draw no head sets.")] = None,
    published: Annotated[
        str, typer.Option(metavar="KEY", help="Draw the published heads of this catalogue model.")
    ] = "",
    cmap: Annotated[str, typer.Option(help="Colour scheme of score maps. [default: viridis]")] = "",
    palette: Annotated[str, typer.Option(help="published or safe. [default: published]")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, with time and memory.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines.")] = False,
) -> None:
    """Score every attention head of MODEL and write its report."""
    from reportgen.config import merge, parse_set, read_config

    said: dict[str, Any] = {
        "model": model, "preset": preset, "device": device, "dtype": dtype, "threads": threads, "out": out,
        "name": name, "revision": revision, "seed": seed, "offline": offline, "published": published, "cmap": cmap,
        "palette": palette, "no_overlay": no_overlay, "trust_remote_code": trust_remote_code,
        "stream": stream,
        "suites": tuple(suite or ()), "overlays": tuple(str(p) for p in overlay or ()),
    }  # fmt: skip
    settings = parse_set(set_ or ())
    given = {"relations": relations, "tasks": tasks, "cognitive_data": cognitive_data, "text": text}
    for option, path in given.items():
        for target, field_name in ALIASES[option]:
            if path is not None and (not suite or target in suite):
                settings.setdefault(target, {})[field_name] = str(path)
    kept = {key: value for key, value in said.items() if value not in ("", None, ())}
    options = merge(read_config(config) if config else {}, {**kept, "settings": settings})
    _style(options.cmap, options.palette)  # a misspelt scheme is told now, not after scoring
    if dry_run:
        from reportgen.estimate import print_plan

        print_plan(options, json_lines)
        return
    raise typer.Exit(_run_and_render(options, json_lines))


def _run_and_render(options: Any, json_lines: bool) -> int:
    from reportgen import runner
    from reportgen.console import Reporter

    reporter = Reporter(json_lines)
    with reporter.live():
        done = runner.run(options, reporter)
        reporter.stage("Rendering the report")
        page = _render(done, _style(options.cmap, options.palette), overlays=not options.no_overlay)
    failed = [name for name, record in done.manifest.suites.items() if record.status == "failed"]
    if json_lines:
        print(json.dumps({"event": "done", "run": str(done.path), "report": str(page), "failed": failed}))
    else:
        print(page)
    return 1 if failed else 0


def _style(cmap: str, palette: str, **more: Any) -> Any:
    from reportgen.figures.figure import Style
    from reportgen.figures.marks import check_style

    return check_style(Style(cmap=cmap, palette=palette, **more))


def _render(run: Any, style: Any, **options: Any) -> Path:
    from reportgen.report.render import render

    return render(run, style=style, **options)


@app.command("render")
def render_verb(
    run: RunDir,
    overlay: Overlays = None,
    no_overlay: Annotated[bool, typer.Option("--no-overlay", help="Draw no head sets.")] = False,
    published: Annotated[
        str, typer.Option(metavar="KEY", help="Draw the published heads of this catalogue model.")
    ] = "",
    cmap: Annotated[str, typer.Option(help="Colour scheme of score maps.")] = "viridis",
    palette: Annotated[str, typer.Option(help="published or safe.")] = "published",
) -> None:
    """Write the report of a stored run again; torch is not needed."""
    from reportgen.runfolder import Run

    style = _style(cmap, palette)
    files = tuple(overlay or ())
    print(_render(Run.open(run), style, overlays=not no_overlay, overlay_files=files, published=published))


@app.command("figure")
def figure_verb(
    run: RunDir,
    figure_id: Annotated[str, typer.Argument(metavar="ID", help="Figure id, e.g. relations-name_copying.")],
    format_: Annotated[str, typer.Option("--format", help="svg, pdf, png, csv, tex or json.")] = "svg",
    width: Annotated[str, typer.Option(help="Printed width, e.g. 3.25in.")] = "",
    font_size: Annotated[float, typer.Option(help="Text size in points at that width.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="File to write. [default: ID.FORMAT here]")] = None,
    cmap: Annotated[str, typer.Option(help="Colour scheme of score maps.")] = "viridis",
    palette: Annotated[str, typer.Option(help="published or safe.")] = "published",
) -> None:
    """Write one figure of a stored run."""
    from reportgen.figures.export import FORMATS
    from reportgen.files import write_atomic
    from reportgen.report.build import find_figure
    from reportgen.report.render import ENDINGS
    from reportgen.runfolder import Run

    if format_ not in FORMATS:
        raise SettingsError(f"No format {format_!r}.", nearest(format_, FORMATS))
    style = _style(cmap, palette, width_in=_inches(width), font_size=font_size)
    figure = find_figure(Run.open(run), figure_id, style)
    path = out or Path(f"{figure_id}.{ENDINGS[format_]}")
    write_atomic(path, FORMATS[format_](figure, style))
    print(path)


def _inches(text: str) -> float | None:
    if not text:
        return None
    number = text.removesuffix("in").strip()
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0.5 <= value <= 40:
        raise SettingsError(f"--width {text!r} is not a width in inches.", "For example --width 3.25in")
    return value


@app.command("suites")
def suites_verb(name: Annotated[str, typer.Argument(help="Show one suite's settings and measures.")] = "") -> None:
    """List the suites, or one suite's settings, measures and formulas."""
    from reportgen.listing import print_suite, print_suites

    if name:
        print_suite(name)
    else:
        print_suites()


@app.command("published")
def published_verb(model: Annotated[str, typer.Argument(help="Hub id or catalogue key.")] = "") -> None:
    """List the heads that papers have classified, with their sources."""
    from reportgen.listing import print_published

    print_published(model)


@mini_app.command("train")
def mini_train_verb(
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("mini-trained"),
    seed: Annotated[int | None, typer.Option(help="Seed of weights and corpus. [default: the shipped model's]")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps. [default: the shipped model's]")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; weights are bit-identical for the same number.")] = 1,
    save_steps: Annotated[str, typer.Option(help="Comma-separated steps whose checkpoints are kept.")] = "",
) -> None:
    """Train the bundled model again from nothing, by the recipe it was made with."""
    from dataclasses import replace

    from reportgen.mini.train import TrainConfig, train

    try:
        kept = tuple(int(step) for step in save_steps.split(",") if step)
    except ValueError as error:
        raise SettingsError(f"--save-steps {save_steps!r} is no list of steps.", "For example 100,200") from error
    shipped = TrainConfig(threads=threads, save_steps=kept)
    config = replace(
        shipped, seed=shipped.seed if seed is None else seed, steps=shipped.steps if steps is None else steps
    )
    print(train(config, out))


def main() -> None:
    """Entry point: a user's error is one line and exit 2, Ctrl-C is exit 130."""
    words = sys.argv[1:] or ["--help"]
    try:
        code = app(words, standalone_mode=False)
    except UserError as error:
        _say(str(error))
        code = 2
    except TyperException as error:
        _say(f"{error.format_message().rstrip('.')}. See 'reportgen --help'.")
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        _say("Stopped. What is finished is kept; the same command goes on from there.")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second complaint at exit
        code = 0
    sys.exit(code)


def _say(message: str) -> None:
    from reportgen.errors import one_line

    print(f"reportgen: {one_line(message)}", file=sys.stderr)
