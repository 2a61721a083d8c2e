"""run: score every head of a model, then render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reportgen.verbs.options import Overlays, Sets, Suites, checked_style, render_run, say_undrawn

if TYPE_CHECKING:
    from reportgen.config import Options


def run_verb(
    model: Annotated[str, typer.Argument(help="mini, a hub id, a folder, or a GGUF file. [default: mini]")] = "",
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
    no_selftest: Annotated[
        bool, typer.Option("--no-selftest", help="Don't run the self-test (6 s) where this installation has no result.")
    ] = False,
    stream: Annotated[
        bool | None, typer.Option("--stream", help="Static scores only, weights read from disk layer by layer.")
    ] = None,
    relations: Annotated[
        Path | None, typer.Option(help="Your own relations: a JSON file, or a folder of lists.")
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="JSONL of your own prompt pairs; circuits.tasks_file.")] = None,
    cognitive_data: Annotated[Path | None, typer.Option(help="Your own questions: JSONL, CSV or CogQA JSON.")] = None,
    text: Annotated[Path | None, typer.Option(help="UTF-8 text for the suites that read natural text.")] = None,
    prompt: Annotated[str, typer.Option(help="Prompt whose circuit `sparse` draws; give --answer with it.")] = "",
    answer: Annotated[str, typer.Option(help="The prompt's next token.")] = "",
    foil: Annotated[str, typer.Option(help="A wrong next token that the answer is compared with.")] = "",
    overlay: Overlays = None,
    no_overlay: Annotated[
        bool | None, typer.Option("--no-overlay", help="Draw no published and no own head sets until the next render.")
    ] = None,
    published: Annotated[
        str, typer.Option(metavar="KEY", help="Draw the published heads of this catalogue model.")
    ] = "",
    cmap: Annotated[str, typer.Option(help="Colour scheme of score maps. [default: viridis]")] = "",
    palette: Annotated[str, typer.Option(help="published or safe. [default: published]")] = "",
    legend: Annotated[str, typer.Option(help="Legend of score maps: outside or inside. [default: outside]")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run and can be reached, with time and memory.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines.")] = False,
) -> None:
    """Score every attention head of MODEL and write its report."""
    from reportgen.config import merge, parse_set, read_config, with_aliases
    from reportgen.suites import listed

    chosen = listed(suite or ())
    said: dict[str, Any] = {
        "model": model, "preset": preset, "device": device, "dtype": dtype, "threads": threads, "out": out,
        "name": name, "revision": revision, "seed": seed, "offline": offline, "published": published, "cmap": cmap,
        "palette": palette, "legend": legend, "no_overlay": no_overlay, "trust_remote_code": trust_remote_code,
        "stream": stream, "selftest": False if no_selftest else None,
        "suites": chosen, "overlays": tuple(str(p) for p in overlay or ()),
    }  # fmt: skip
    settings = parse_set(set_ or ())
    given = {
        "relations": relations, "tasks": tasks, "cognitive_data": cognitive_data, "text": text, "prompt": prompt,
        "answer": answer, "foil": foil,
    }  # fmt: skip
    settings = with_aliases(settings, given, chosen)
    kept = {key: value for key, value in said.items() if value not in ("", None, ())}
    options = merge(read_config(config) if config else {}, {**kept, "settings": settings})
    checked_style(
        options.cmap, options.palette, legend=options.legend
    )  # a misspelt scheme is told now, not after scoring
    if dry_run:
        from reportgen.estimate import print_plan

        print_plan(options, json_lines)
        return
    raise typer.Exit(_run_and_render(options, json_lines))


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
