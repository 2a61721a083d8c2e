"""The exception tree.

ReportgenError
├── UserError            the user can fix it: one line, what to type next, exit 2
│   ├── ModelError       a model that cannot be found, read or trusted
│   ├── SettingsError    an option, suite, figure or config entry that does not exist or is out of range
│   │   └── UnknownScore run["..."] that matches no score, or several
│   ├── DataError        a data file: file, entry, what is expected
│   └── RunError         a run folder: corrupt, newer schema, another model's, in use
├── FigureError          a requested figure could not be drawn: exit 1
└── NotApplicable        a suite cannot run on this model: its section says why, the other suites run
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class ReportgenError(Exception):
    """Base of all errors that reportgen raises deliberately."""


class UserError(ReportgenError):
    """An error the user can fix. `problem` says what is wrong, `hint` what to type next."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = _short(one_line(problem))
        self.hint = _short(one_line(hint))
        if self.hint and self.problem[-1:] not in ".?!":
            self.problem += "."
        super().__init__(f"{self.problem} {self.hint}".strip())


class ModelError(UserError):
    """A model that cannot be found, read or trusted."""


class SettingsError(UserError):
    """An option, suite, figure or config entry that does not exist or is out of range."""


class UnknownScore(SettingsError, KeyError):
    """`run[...]` for a score that the run does not have, or for a prefix that several share."""

    __str__ = UserError.__str__  # KeyError's would quote the message


class UnknownFigure(SettingsError):
    """A figure id that the run does not have; the verb first lists the known ids with their `titles`."""

    def __init__(self, problem: str, hint: str = "", titles: Mapping[str, str] | None = None) -> None:
        super().__init__(problem, hint)
        self.titles = titles or {}


class DataError(UserError):
    """A data file with a malformed entry; the message names the file, the entry and what is expected."""


class RunError(UserError):
    """A run folder that is corrupt, in use, of a newer schema, or belongs to another model."""


class FigureError(ReportgenError):
    """A requested figure that could not be drawn: a bug in the program, exit 1."""


class NotApplicable(ReportgenError):
    """A suite that cannot run on this model: the reason printed in its section, and what to type next."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(f"{problem}{'.' if hint and problem[-1:] not in '.?!' else ''} {hint}".strip())


class FontWarning(UserWarning):
    """Characters that no font on this machine has are written as code points in PDF and PNG."""


class LeftOutWarning(UserWarning):
    """Data of a run that the model's tokenizer cannot encode."""


_MOST = 600  # characters of a message; quoted text may be any length


def _short(text: str) -> str:
    """`text` with its middle elided if it is too long to read."""
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"


def one_line(text: str) -> str:
    """`text` on one line, control characters shown as escapes: messages quote untrusted names."""
    folded = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in folded)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known names nearest to `name`, or all of them if none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {', '.join(close)}?"
    return f"Known: {', '.join(names)}."
