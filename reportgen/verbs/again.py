"""Verbs that score again what was scored before: verify a stored run, replicate a published result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reportgen.errors import ModelError, SettingsError, UserError
from reportgen.verbs.options import RunDir

if TYPE_CHECKING:
    from reportgen.targets.read import Target
    from reportgen.targets.replicate import Replication

AsJson = Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use the local hub cache only.")]


def say(line: str) -> None:
    """Print a line that may quote names from files, with control characters escaped; its columns stay."""
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in line))


def verify_verb(
    run: RunDir,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite", metavar="NAME,FILE.py", help="Suites to score again; files of your own. (default: all)"
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="PATH", help="The model: a folder, GGUF file or hub id. (default: found by its hash)")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. (default: the run's)")] = "",
    threads: Annotated[int | None, typer.Option(help="CPU threads. (default: the run's)")] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            help="Largest difference, as a share of a score's largest value. (default: the measured one)",
        ),
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Score a stored run's model again and compare every number; exit 0 reproduced, 1 differs, 2 not verifiable."""
    from reportgen.config import check_threads
    from reportgen.console import Reporter
    from reportgen.runfolder import Run
    from reportgen.suites import listed
    from reportgen.verify import told
    from reportgen.verify.rescore import Asked, verify

    if limit is not None and not 0 <= limit < float("inf"):
        raise SettingsError(f"--tolerance {limit:g}: expected 0 or more.", "For example --tolerance 1e-4")
    check_threads(threads or 0)
    asked = Asked(listed(suite or ()), model, device, threads, offline, limit)
    reporter = Reporter()
    with reporter.live():
        found = verify(Run.open(run), asked, reporter)
    if as_json:
        print(json.dumps(told.as_json(found)))
    else:
        for line in told.lines(found):
            say(line)
    if found.code:
        raise typer.Exit(found.code)


# replicate: a published result held against a run.


def replicate_verb(
    target: Annotated[
        str, typer.Argument(metavar="[TARGET]", help="A target's name, or a TOML file of your own; see --list.")
    ] = "",
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="Hub id, folder or GGUF file. (default: the source's model)")
    ] = "",
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Use this stored run in place of scoring; torch is not needed.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the targets, and what each needs.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the run folder.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = torch's choice.")] = 0,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    published: Annotated[
        str, typer.Option(metavar="KEY", help="The model is this one of the target's, under another name.")
    ] = "",
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Hold a published result against a run, by rules stated beforehand; exit 1 if a claim is not reproduced."""
    from reportgen.targets import read
    from reportgen.targets.replicate import as_json as in_json
    from reportgen.targets.replicate import lines

    if list_ or not target:
        _list_targets(as_json)
        return
    chosen = read.load(target)
    if run is not None:
        if model:
            raise SettingsError("--run stands for the model.", f"Leave {model} out, or --run.")
        found = _stored(chosen, run, published)
    else:
        options = {"device": device, "dtype": dtype, "threads": threads, "seed": seed, "offline": offline}
        found = _score(chosen, model, published, out, options)
    if as_json:
        print(json.dumps(in_json(found)))
    else:
        for line in lines(found):
            say(line)
    if found.code:
        raise typer.Exit(found.code)


def _stored(target: Target, folder: Path, published: str) -> Replication:
    from reportgen.runfolder import Run
    from reportgen.targets.replicate import model_of, replicate

    opened = Run.open(folder)
    return replicate(target, opened, model_of(target, opened, published))


def _score(target: Target, model: str, published: str, out: Path, options: dict[str, Any]) -> Replication:
    """Run the target's suites that are installed, with the source's settings, and hold its claims against them."""
    from reportgen import runner
    from reportgen.config import Options
    from reportgen.console import Reporter
    from reportgen.runfolder import slug_of
    from reportgen.targets.read import chosen
    from reportgen.targets.replicate import check_model, missing_suites, model_of, replicate

    gone = missing_suites(target)
    names = tuple(name for name in target.suites if name not in gone)
    if not names:
        return replicate(target, None, model or target.models[0], f"no suite {', '.join(gone)} in this version")
    reporter = Reporter()
    settings = {name: {**target.settings.get(name, {}), **target.only.get(name, {})} for name in names}
    scored = model or _default(target)
    check_model(target, scored, published)
    asked = Options(
        model=scored, suites=names, preset=target.preset, settings=settings, out=str(out), selftest=False,
        name=f"replicate-{target.key}-{slug_of(scored)}"[:120], **options,
    )  # fmt: skip
    try:
        with reporter.live():
            made = runner.run(asked, reporter)
    except ModelError as error:
        if published or not chosen(target, scored):
            raise
        how = f"reportgen replicate {target.key} FOLDER --published {scored}, or a stored run with --run."
        raise ModelError(error.problem, f"{error.hint.replace(', or mini', '')} Type: {how}".strip()) from error
    return replicate(target, made, model_of(target, made, published))


def _default(target: Target) -> str:
    """The target's model where none is named: its hub id, or the weights that it gives the hash of."""
    from reportgen.mini import bundled_folder
    from reportgen.verify.weights import by_hash

    name = target.models[0]
    if not target.content_hash or bundled_folder(name) is not None:
        return name
    if found := by_hash(target.content_hash, target.models):
        return str(found)
    raise SettingsError(
        f"The weights of target {target.key} ({name}, hash {target.content_hash[:12]}) are not on this machine.",
        f"Give their folder or file: reportgen replicate {target.key} PATH, or a stored run with --run.",
    )


def _list_targets(as_json: bool) -> None:
    """Every target: its source, models and suites, and what is missing here."""
    from reportgen.models.hub import fetch  # huggingface_hub, no torch
    from reportgen.published import short_citation
    from reportgen.report.text import plural
    from reportgen.targets import read
    from reportgen.targets.replicate import what_is_missing

    def is_here(target: Target) -> bool:
        try:
            name = _default(target)
            if not target.content_hash:
                fetch(name, offline=True)
        except UserError:
            return False
        return True

    rows = []
    for name in read.names():
        found = read.load(name)
        missing = what_is_missing(found, here=is_here(found))
        rows.append((name, short_citation(found.paper) if found.paper else found.source, found, missing))
    if as_json:
        said = [{"target": n, "title": f.title, "paper": f.paper, "models": list(f.models), "suites": list(f.suites),
                 "claims": len(f.claim), "missing": why} for n, _, f, why in rows]  # fmt: skip
        print(json.dumps(said))
        return
    for name, cited, found, missing in rows:
        say(f"{name}: {found.title} ({cited})")
        needs = f"{found.models[0]}; suites {', '.join(found.suites)}; {plural(len(found.claim), 'claim')}"
        say(f"  {needs}{missing and f'; {missing}'}")
    say("Type: reportgen replicate TARGET, or --run RUN to use a stored run.")
