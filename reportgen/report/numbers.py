r"""numbers.tex: every number of every caption as a LaTeX macro, bound to the run it comes from.

\rgnum{mini/relations-copying/3} prints the third number of that figure's caption, \rgcaption{mini/relations-copying}
the whole caption, \rghash{mini} the run's hash. An unknown key is an error of LaTeX, and `check_paper` says which of
them no longer hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reportgen.figures import latex
from reportgen.figures.figure import Figure
from reportgen.manifest import Manifest
from reportgen.report.text import clean

# A number of its own: no part of a name (L4H5, d_model), of a decimal, of a date or of a version.
NUMBER = re.compile(r"(?<![\w.,/-])[-\u2212]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-\u2212]?\d+)?(?![\w/]|[.,-]\w)")
_LINE = re.compile(r"\\rgdefine\{([^{}]*)\}\{(.*)\}% ?(.*)")
_MACROS = r"""\makeatletter
\providecommand*{\rgdefine}[2]{\expandafter\def\csname rg@#1\endcsname{#2}}
\providecommand*{\rgnum}[1]{\ifcsname rg@#1\endcsname\csname rg@#1\endcsname\else
  \PackageError{reportgen}{No number '#1'}{Write the report of its run again, or correct the key.}\fi}
\providecommand*{\rgcaption}[1]{\rgnum{#1/caption}}
\providecommand*{\rghash}[1]{\rgnum{#1/hash}}
\makeatother
"""


@dataclass(frozen=True)
class Number:
    """A number of a caption: its key, as printed, and the words before it."""

    key: str
    text: str
    context: str


def run_hash(manifest: Manifest) -> str:
    """sha256 over what a run found: its model, and the digests of its finished suites' scores."""
    suites = {name: record.sha256 for name, record in manifest.suites.items() if record.status == "done"}
    model = manifest.model
    what = {"model": [model.content_hash, model.weights, model.dtype], "suites": suites}
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def numbers(slug: str, figure: Figure) -> Iterator[Number]:
    """The numbers of a caption in order; keys count from 1."""
    caption = clean(figure.caption)
    for i, match in enumerate(NUMBER.finditer(caption), start=1):
        before = caption[max(0, match.start() - 40) : match.start()]
        yield Number(f"{slug}/{figure.id}/{i}", match[0], " ".join(before.split()))


def numbers_tex(manifest: Manifest, figures: Iterable[Figure]) -> str:
    """The file. One definition a line: `read` takes it apart again."""
    slug = manifest.model.slug
    lines = [
        "% Numbers of the captions of a reportgen run. Made by 'reportgen render'; do not edit.",
        _MACROS.strip(),
        f"\\rgdefine{{{slug}/hash}}{{{run_hash(manifest)}}}%",
    ]
    for figure in figures:
        lines += [_define(n.key, latex.escape(n.text), n.context) for n in numbers(slug, figure)]
        lines.append(_define(f"{slug}/{figure.id}/caption", latex.escape(clean(figure.caption)), ""))
    return "\n".join(lines) + "\n"


def _define(key: str, value: str, context: str) -> str:
    comment = "".join(c if c.isascii() else "?" for c in context)
    return f"\\rgdefine{{{key}}}{{{value}}}% {comment}".rstrip()


def read(text: str) -> dict[str, str]:
    """Key -> value of a numbers.tex, the hash under `<slug>/hash`."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1]: match[2] for match in found if match}


def slugs(values: dict[str, str]) -> list[str]:
    """The runs whose numbers these are."""
    return sorted({key.split("/", 1)[0] for key in values})


def expected(manifest: Manifest, figures: Sequence[Figure]) -> dict[str, str]:
    """What `read` gives for a numbers.tex made now."""
    return read(numbers_tex(manifest, figures))
