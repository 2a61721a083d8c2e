"""What can go wrong, drawn as a tree.

ReportgenError
├── UserError            the user can mend it: one line, the next thing to type, exit 2
│   ├── ModelError       a model that cannot be found, read or trusted
│   ├── SettingsError    an option, suite, figure or config entry that does not exist or is out of range
│   │   └── UnknownScore run["..."] that names no score, or several
│   ├── DataError        a data file: file, entry, what is expected
│   └── RunError         a run folder: corrupt, newer schema, another model's, in use
├── FigureError          a figure that was asked for could not be drawn: exit 1
└── NotApplicable        a suite cannot run on this model: its section says why, the other suites go on
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReportgenError(Exception):
    """Base of every error that reportgen raises on purpose."""


class UserError(ReportgenError):
    """A mistake the user can mend. `problem` says what is wrong, `hint` the next thing to type."""

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
    """`run[...]` of a score that the run does not have, or of a beginning that several have."""

    __str__ = UserError.__str__  # KeyError's would quote the message


class UnknownFigure(SettingsError):
    """A figure id that the run does not have; the verb lists those there are before the line."""


class DataError(UserError):
    """A data file with a malformed entry; the message names the file, the entry and what is expected."""


class RunError(UserError):
    """A run folder that is corrupt, in use, of a newer schema, or belongs to another model."""


class FigureError(ReportgenError):
    """A figure that was asked for and could not be drawn: the program's fault, exit 1."""


class NotApplicable(ReportgenError):
    """A suite that cannot run on this model: the reason its section prints, and the next thing to type."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(f"{problem}{'.' if hint and problem[-1:] not in '.?!' else ''} {hint}".strip())


class FontWarning(UserWarning):
    """Letters that no font on this machine has are written out in PDF and PNG."""


class LeftOutWarning(UserWarning):
    """Data of a run that its model's tokenizer has no tokens for."""


_MOST = 600  # characters of a message; what is quoted in it may be any length


def _short(text: str) -> str:
    """`text` with its middle left out where it is too long to be read."""
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"


def one_line(text: str) -> str:
    """`text` on one line, control characters shown as escapes: messages quote untrusted names."""
    folded = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in folded)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known names nearest to `name`, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {', '.join(close)}?"
    return f"Known: {', '.join(names)}."
