r"""numbers.tex: what a paper cites of a run, as LaTeX macros whose names say what each number is.

\rgnum{mini/attention-induction/best} is the highest value of that figure's map, \rghead{mini/attention-induction/best}
the head that has it, \rgscore{mini/attention/induction/L4H1} the score of any head (\rgscorelow, \rgscorehigh: its
interval), \rgcaption{mini/attention-induction} a whole caption, \rghash{mini} the run's hash. Each definition carries
what it means, so that `check_paper` sees a name that came to stand for something else.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reportgen.figures import latex
from reportgen.figures.captions import SIGNIFICANT, number
from reportgen.figures.figure import Figure
from reportgen.manifest import Manifest
from reportgen.report.scene import RunLike
from reportgen.report.text import clean
from reportgen.report.twins import cell, is_map, panel_keys
from reportgen.scores import Head, HeadScores, Table, head_name

MOST_HEADS = 60_000  # scores x heads of one file: LaTeX has room for about twice as many names
MOST_ROWS = 200
_SET = re.compile(r"\\rgset\{([^{}]*)\}\{(.*)\}\{([^{}]*)\}%?")
_SCORES = re.compile(r"\\rgscores\{([^{}]*)\}\{([^{}]*)\}%?")
_AT = re.compile(r"\\rgat\{([^{}]*)\}\{([^{}]*)\}\{([^{}]*)\}\{([^{}]*)\}%?")
_BY_PLACE = re.compile(r"\\rgdefine\{([^{}]*)\}\{(.*)\}% ?(.*)")  # before keys had names
_NONE = r"\rgnone"
_MACROS = r"""\makeatletter
\providecommand*{\rgset}[3]{\expandafter\def\csname rg@#1\endcsname{#2}}
\providecommand*{\rgscores}[2]{\def\rg@score{#1}}
\providecommand*{\rgat}[4]{\expandafter\def\csname rg@\rg@score/#1\endcsname{{#2}{#3}{#4}}}
\providecommand*{\rg@missing}[1]{\PackageError{reportgen}{No number '#1'}{Correct it, or copy the run's numbers.tex.}}
\providecommand*{\rgnone}{\PackageError{reportgen}{A head without an interval}{Its estimate or score has none.}}
\providecommand*{\rg@value}[3]{#1}
\providecommand*{\rg@low}[3]{#2}
\providecommand*{\rg@high}[3]{#3}
\providecommand*{\rg@of}[2]{\ifcsname rg@#2\endcsname\expandafter\expandafter\expandafter#1\csname rg@#2\endcsname
  \else\rg@missing{#2}\fi}
\providecommand*{\rgnum}[1]{\ifcsname rg@#1\endcsname\csname rg@#1\endcsname\else\rg@missing{#1}\fi}
\providecommand*{\rghead}[1]{\rgnum{#1/head}}
\providecommand*{\rgcaption}[1]{\rgnum{#1/caption}}
\providecommand*{\rghash}[1]{\rgnum{#1/hash}}
\providecommand*{\rgscore}[1]{\rg@of\rg@value{#1}}
\providecommand*{\rgscorelow}[1]{\rg@of\rg@low{#1}}
\providecommand*{\rgscorehigh}[1]{\rg@of\rg@high{#1}}
\makeatother
"""


@dataclass(frozen=True)
class Named:
    """A number: its key, as LaTeX prints it, and what it is, in plain ASCII words."""

    key: str
    text: str
    meaning: str


def run_hash(manifest: Manifest) -> str:
    """sha256 over what a run found: its model, and the digests of its finished suites' scores."""
    suites = {name: record.sha256 for name, record in manifest.suites.items() if record.status == "done"}
    model = manifest.model
    what = {"model": [model.content_hash, model.weights, model.dtype], "suites": suites}
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def numbers_tex(run: RunLike, figures: Sequence[Figure]) -> str:
    """The file. One definition a line: `read` takes it apart again."""
    lines = ["% What a paper cites of a reportgen run. Made by 'reportgen render'; do not edit.", _MACROS.strip()]
    named: dict[str, Named] = {}
    for one in _named(run, figures):
        named.setdefault(one.key, one)
    lines += [f"\\rgset{{{one.key}}}{{{one.text}}}{{{one.meaning}}}%" for one in named.values()]
    return "\n".join([*lines, *_heads(run)]) + "\n"


def _named(run: RunLike, figures: Sequence[Figure]) -> Iterator[Named]:
    """Everything but the scores of single heads."""
    manifest = run.manifest
    slug, model = manifest.model.slug, manifest.model
    yield Named(f"{slug}/hash", run_hash(manifest), "hash of the run")
    yield Named(f"{slug}/layers", str(model.n_layers), "layers of the model")
    yield Named(f"{slug}/heads-per-layer", str(model.n_heads), "query heads of a layer")
    yield Named(f"{slug}/heads", str(model.n_layers * model.n_heads), "query heads of the model")
    scores = {score.key: score for result in run.results.values() for score in result.scores}
    for figure in figures:
        yield _text(f"{slug}/{figure.id}/caption", figure.caption, f"caption of the figure {figure.id}")
        if figure.notes:
            yield _text(f"{slug}/{figure.id}/notes", " ".join(figure.notes), f"notes of the figure {figure.id}")
        keys = [key for key in panel_keys(figure.data) if key in scores]
        for key in keys:
            panel = f"/{scores[key].measure}/{scores[key].task}" if len(keys) > 1 else ""
            yield from _map(f"{slug}/{figure.id}{panel}", scores[key], _score(manifest, key))
        if not is_map(figure.data):
            yield from _cells(f"{slug}/{figure.id}", figure.data, f"the figure {figure.id}")
    for result in run.results.values():
        for table in result.tables:
            key = table.key if table.key.startswith(f"{result.suite}/") else f"{result.suite}/{table.key}"
            yield from _cells(f"{slug}/{_plain(key)}", table, f"the table {key}")
        for found in result.head_sets:
            key, names = f"{slug}/{_plain(found.key)}", [head_name(*head) for head in found.heads]
            yield Named(f"{key}/count", str(len(names)), _words(f"number of the heads of {found.key}"))
            yield Named(f"{key}/heads", ", ".join(names) or "none", _words(f"the heads of {found.key}"))


def _map(key: str, scores: HeadScores, what: str) -> Iterator[Named]:
    """The numbers of one score map."""
    order = scores.ranking()
    yield Named(f"{key}/heads", str(len(order)), f"heads with a value of {what}")
    if scores.n:
        yield Named(f"{key}/n", latex.escape(f"{scores.n:,}"), f"examples behind each value of {what}")
    if order:
        yield from _one(f"{key}/best", scores, order[0], f"highest value of {what}")
        if float(scores.values[order[-1]]) < 0:
            yield from _one(f"{key}/lowest", scores, order[-1], f"lowest value of {what}")
    if scores.p is not None:
        above = int((np.nan_to_num(scores.p, nan=1.0) <= SIGNIFICANT).sum())
        yield Named(f"{key}/above", str(above), f"heads with a family-wise p of {SIGNIFICANT} or less in {what}")
    elif scores.line is not None:
        above = int((np.nan_to_num(scores.exact_values, nan=-math.inf) > scores.line).sum())
        yield Named(f"{key}/above", str(above), f"heads above the family-wise line of {what}")
    if scores.line is not None:
        yield Named(f"{key}/line", _printed(scores.line), f"family-wise line of {what}")


def _one(key: str, scores: HeadScores, head: Head, what: str) -> Iterator[Named]:
    yield Named(key, _printed(scores.values[head]), what)
    yield Named(f"{key}/head", head_name(*head), f"head with the {what}")
    grids = {
        "low": "lower end of the 95-percent interval",
        "high": "upper end of the 95-percent interval",
        "p": "family-wise p",
    }
    for name, words in grids.items():
        grid = getattr(scores, name)
        if grid is not None and np.isfinite(grid[head]):
            yield Named(f"{key}/{name}", _printed(grid[head]), f"{words} of the head with the {what}")


def _cells(key: str, table: Table, what: str) -> Iterator[Named]:
    """The numbers of a table by the words that start its row, and the column's name; two of one name have none."""
    if len(table.rows) > MOST_ROWS or not table.columns:
        return
    names = [_plain(column.name) for column in table.columns]
    first = next((k for k in range(1, 4) if len({row[:k] for row in table.rows}) == len(table.rows)), 0)
    labels = ["/".join(_plain(str(part)) for part in row[:first]) for row in table.rows]
    for label, row in zip(labels, table.rows, strict=True):
        for i in range(first, len(names)) if first and label and labels.count(label) == 1 else ():
            if row[i] is not None and names[i] and names.count(names[i]) == 1:
                words = f"{table.columns[i].name} where {' and '.join(names[:first])} is {label} in {what}"
                yield _text(f"{key}/{label}/{names[i]}", cell(row[i], table.columns[i].digits), words)


def _heads(run: RunLike) -> Iterator[str]:
    """The scores of all heads; of the largest in size where there would be too many."""
    slug = run.manifest.model.slug
    scores = [score for result in run.results.values() for score in result.scores]
    most = MOST_HEADS // max(1, len(scores))
    names = addresses(scores)
    for score in scores:
        order = sorted(score.ranking(), key=lambda head: -abs(float(score.values[head])))[:most]
        yield f"\\rgscores{{{slug}/{names[score.key]}}}{{{_score(run.manifest, score.key)}}}%"
        for head in sorted(order):
            ends = [
                _NONE if g is None or not np.isfinite(g[head]) else _printed(g[head]) for g in (score.low, score.high)
            ]
            yield f"\\rgat{{{head_name(*head)}}}{{{_printed(score.values[head])}}}{{{ends[0]}}}{{{ends[1]}}}%"


def addresses(scores: Sequence[HeadScores]) -> dict[str, str]:
    """Score key -> what a paper calls it: without its task where the run has no other task of the measure."""
    measures = [score.key.rsplit("/", 1)[0] for score in scores]
    return {s.key: m if measures.count(m) == 1 else s.key for s, m in zip(scores, measures, strict=True)}


def _score(manifest: Manifest, key: str) -> str:
    record = manifest.suites.get(key.split("/")[0])
    return f"{key}" + (f", version {record.version} of its suite" if record is not None else "")


def _printed(value: float) -> str:
    return latex.escape(number(float(value)))


def _text(key: str, text: str, meaning: str) -> Named:
    return Named(key, latex.escape(clean(text)), _words(meaning))


def _plain(name: str) -> str:
    """A part of a key: nothing that LaTeX would read as more than a letter."""
    return re.sub(r"[^A-Za-z0-9_./]+", "-", name).strip("-./")


def _words(text: str) -> str:
    return " ".join(re.sub(r"[^A-Za-z0-9 .,:;/()=<>_+'|*-]", "?", text).split())


def read(text: str) -> dict[str, Named]:
    """Key -> number of a numbers.tex; of one written before keys had names, with the place as what it means."""
    found: dict[str, Named] = {}
    prefix = meaning = ""
    for line in map(str.strip, text.splitlines()):
        if match := _AT.fullmatch(line):
            head, *values = match.groups()
            for end, value in zip(("", "/low", "/high"), values, strict=True):
                if value != _NONE:
                    key, words = f"{prefix}/{head}{end}", {"": "", "/low": "low end of "}.get(end, "high end of ")
                    found[key] = Named(key, value, f"{words}{head} in {meaning}")
        elif match := _SCORES.fullmatch(line):
            prefix, meaning = match.groups()
        elif match := _SET.fullmatch(line):
            found[match[1]] = Named(match[1], match[2], match[3])
        elif match := _BY_PLACE.fullmatch(line):
            place = match[1].rsplit("/", 1)[-1]
            words = (
                f"number {place} of a caption, after '{match[3]}'" if place.isdecimal() else f"{place} of {match[1]}"
            )
            found[match[1]] = Named(match[1], match[2], words)
    return found


def is_numbers(text: str) -> bool:
    """Whether a LaTeX file is a numbers.tex, of this or of an earlier kind."""
    return "\\rgset{" in text or "\\rgdefine{" in text


def slugs(values: Mapping[str, Named]) -> list[str]:
    """The runs whose numbers these are."""
    return sorted({key.split("/", 1)[0] for key in values})


def expected(run: RunLike, figures: Sequence[Figure]) -> dict[str, Named]:
    """What `read` gives for a numbers.tex made now."""
    return read(numbers_tex(run, figures))
