"""The command line: the list of verbs. Each group of verbs is a module of `reportgen.verbs`.

Heavy imports are inside the verbs (--help takes a tenth of a second).
Exit codes: 0 success; 1 a suite or figure failed, as its section explains; 2 bad input, named in one line;
130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from types import FrameType
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from reportgen import __version__
from reportgen.errors import FigureError, FontWarning, UserError
from reportgen.verbs import again, papers, render, run

app = typer.Typer(
    name="reportgen",
    help="Static reports and figures for the attention heads of language models.",
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich alone takes as long to import as all else
    context_settings={"max_content_width": 110},
    pretty_exceptions_enable=False,
)
suite_app = typer.Typer(help="Check a custom suite.", no_args_is_help=True)
mini_app = typer.Typer(help="The bundled model: retrain it.", no_args_is_help=True)


def _version(value: bool) -> None:
    if value:
        print(f"reportgen {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


# The order is that of --help.
app.command("run")(run.run_verb)
app.command("render")(render.render_verb)
app.command("figure")(render.figure_verb)
app.command("export")(render.export_verb)
app.command("compare")(render.compare_verb)
app.command("verify")(again.verify_verb)
app.command("replicate")(again.replicate_verb)
app.command("site")(render.site_verb)
app.command("atlas")(render.atlas_verb)
app.command("sweep")(run.sweep_verb)
app.command("import")(render.import_verb)
app.command("check")(render.check_verb)
app.command("methods")(papers.methods_verb)
app.command("suites")(render.suites_verb)
app.add_typer(suite_app, name="suite")
suite_app.command("check")(run.suite_check_verb)
app.command("published")(render.published_verb)
app.command("sparsify")(run.sparsify_verb)
app.command("selftest")(run.selftest_verb)
app.add_typer(mini_app, name="mini")
mini_app.command("train")(run.mini_train_verb)


def main() -> None:
    """Entry point: a user's error is one line and exit 2, Ctrl-C is exit 130, SIGTERM 143."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the terminal's encoding lacks are escaped
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warn
    words = sys.argv[1:] or ["--help"]
    garbled = next((i for i, word in enumerate(words, 1) if not word.isprintable() and _is_garbled(word)), 0)
    if garbled:
        _say(f"Argument {garbled}, {words[garbled - 1]!r}, is not UTF-8 text. Rename the file, or set LANG=C.UTF-8.")
        sys.exit(2)
    stopped_by: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        stopped_by.append(number)
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        raise KeyboardInterrupt  # finished suites are kept, as after Ctrl-C

    signal.signal(signal.SIGTERM, terminate)
    try:
        code = app(words, prog_name="reportgen", standalone_mode=False)
    except UserError as error:
        _say(str(error))
        code = 2
    except FigureError as error:
        _say(str(error))
        code = 1
    except TyperException as error:
        context = getattr(error, "ctx", None)  # for a usage error: its verb
        where = context.command_path if context else "reportgen"
        said = error.format_message().rstrip(".")
        _say(f"{said}{'' if said.endswith('?') else '.'} See '{where} --help'.")
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second complaint at exit
        code = 0
    except OSError as error:
        if error.filename is None or sys.flags.dev_mode:  # python -X dev shows the traceback
            raise
        _say(f"{error.filename}: {error.strerror}. Check the path and its permissions.")
        code = 2
    if code == 130:  # typer turns KeyboardInterrupt into this code and says nothing
        _say("Stopped. Finished suites are kept: rerun the command to resume.")
        code = 128 + stopped_by[0] if stopped_by else 130
    sys.exit(code)


def _is_garbled(word: str) -> bool:
    """Whether an argument contained bytes that are not text, which can be neither printed nor stored."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return True
    return False


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Print our own warnings in one line, others as Python does."""
    if issubclass(category, FontWarning):
        _say(str(message))
    else:
        print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)


def _say(message: str) -> None:
    from reportgen.errors import one_line

    print(f"reportgen: {one_line(message)}", file=sys.stderr)
