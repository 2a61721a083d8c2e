"""Checks a LaTeX paper against its runs: numbers, captions and figures."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reportgen.errors import DataError
from reportgen.figures import export
from reportgen.figures.captions import SIGNIFICANT, number
from reportgen.figures.export import escape_latex
from reportgen.figures.figure import Figure
from reportgen.figures.theme import clean
from reportgen.files import is_file, read_bytes
from reportgen.manifest import Manifest
from reportgen.report.build import AS_STORED, Marks, RunLike, all_figures
from reportgen.report.html import cell, is_map, panel_keys
from reportgen.runfolder import MANIFEST, Run
from reportgen.scores import Head, HeadScores, Table, head_name

# numbers.tex: numbers of a run for papers, as LaTeX macros whose names say what each number is.
#
# \rgnum{mini/attention-induction/best} is the highest value of that figure's map, \rghead{mini/attention-
# induction/best} the head that has it, \rgscore{mini/attention/induction/L4H1} the score of any head (\rgscorelow,
# \rgscorehigh: its interval), \rgcaption{mini/attention-induction} a whole caption, \rghash{mini} the run's hash. Each
# definition includes its meaning, so that `check_paper` detects a name whose meaning changed.

MOST_HEADS = 60_000  # scores x heads of one file: LaTeX has room for about twice as many names
MOST_ROWS = 200
_SET = re.compile(r"\\rgset\{([^{}]*)\}\{(.*)\}\{([^{}]*)\}%?")
_SCORES = re.compile(r"\\rgscores\{([^{}]*)\}\{([^{}]*)\}%?")
_NUMBER = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # with \ensuremath{5.0 \times 10^{-4}}
_AT = re.compile(rf"\\rgat\{{([^{{}}]*)\}}{_NUMBER * 3}%?")
_BY_PLACE = re.compile(r"\\rgdefine\{([^{}]*)\}\{(.*)\}% ?(.*)")  # before keys had names
_NONE = r"\rgnone"
_HEADER = "% What a paper cites of a reportgen run. Made by 'reportgen render'; do not edit."
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
    """sha256 over a run's results: its model, and the digests of its finished suites' scores."""
    suites = {name: record.sha256 for name, record in manifest.suites.items() if record.status == "done"}
    model = manifest.model
    what = {"model": [model.content_hash, model.weights, model.dtype], "suites": suites}
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def numbers_tex(run: RunLike, figures: Sequence[Figure]) -> str:
    """The file. One definition a line: `read` takes it apart again."""
    lines = [_HEADER, _MACROS.strip()]
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
        yield Named(f"{key}/n", escape_latex(f"{scores.n:,}"), f"examples behind each value of {what}")
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
    text = number(float(value))
    return text if text.replace(".", "").isdigit() else escape_latex(text)  # most are plain, and there are 100,000


def _text(key: str, text: str, meaning: str) -> Named:
    return Named(key, escape_latex(clean(text)), _words(meaning))


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
    """Whether a LaTeX file is a numbers.tex, of this or of an earlier kind; a paper that has \\rgset is none."""
    return text.startswith(_HEADER) or "\\rgdefine{" in text


def slugs(values: Mapping[str, Named]) -> list[str]:
    """The runs whose numbers these are."""
    return sorted({key.split("/", 1)[0] for key in values})


def expected(run: RunLike, figures: Sequence[Figure]) -> dict[str, Named]:
    """What `read` gives for a numbers.tex made now."""
    return read(numbers_tex(run, figures))


_COMMENT = re.compile(r"(?<!\\)%.*")
_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{([^{}]+)\}")
_GRAPHICS = re.compile(r"\\include(?:graphics|svg)\*?\s*(?:\[[^\]]*\])?\s*\{([^{}]+)\}")
_FOLDERS = re.compile(r"\\graphicspath\s*\{((?:\{[^{}]*\})+)\}")
_ENVIRONMENT = re.compile(r"\\begin\{((?:sub|wrap)?figure\*?)\}(.*?)\\end\{\1\}", re.DOTALL)
_USED = re.compile(r"\\rg(num|head|caption|hash|scorelow|scorehigh|score)\s*\{([^{}]+)\}")
_ENDS = {"head": "/head", "caption": "/caption", "hash": "/hash", "scorelow": "/low", "scorehigh": "/high"}
_OWN = re.compile(  # a definition in the paper's own text: what is printed is then no longer what is compared
    r"\\(?:[egx]?def|let|(?:re|provide)?newcommand|renewcommand|DeclareRobustCommand)\*?\s*\{?\s*"
    r"(\\rg(?:set|scores|at|num|head|caption|hash|scorelow|scorehigh|score|none))(?![A-Za-z@])|(\\rgset|\\rgat)\s*\{"
)
_ENDINGS = (".pdf", ".png", ".jpg", ".jpeg", ".eps", ".svg", "")
_PARAMETER = re.compile(r"[#\\]")
MOST_FILES = 200
MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class PaperCheck:
    """What was compared, and a sentence for everything that no longer agrees; empty `problems` is a pass.

    numbers, figures  how many citations, and how many included files with a stamp, were compared
    unchecked         what was not, each with the reason
    """

    numbers: int
    figures: int
    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Included:
    """A file that the paper includes: its name there, where it lies (None: nowhere) and its stamp."""

    name: str
    path: Path | None
    stamp: export.Stamp | None


def check_paper(paper: Path, run: RunLike | None = None, marks: Marks = AS_STORED) -> PaperCheck:
    r"""Compare the numbers, captions and figures of a LaTeX file, and of what it inputs, with their run.

    run    the run they come from; None = the run folders in which the inputted numbers.tex files lie
    marks  the head sets that its figures are drawn with

    A number agrees when the copy of numbers.tex that the paper reads has the run's value under its key, and means the
    same by it; a figure when the stamp inside the file is that of the run's figure, at whatever width it was written,
    and the drawing is as it was written. A paper of which nothing can be compared does not pass.
    Raises UserError: no such paper, a damaged run, or no run to compare with.
    """
    texts = _texts(paper)
    copies = [(path, read(text)) for path, text in texts.items() if is_numbers(text)]
    held = {key: value for _, values in copies for key, value in values.items()}
    runs = [run] if run is not None else [Run.open(folder) for folder in _folders(copies)]
    if not runs:
        raise DataError(
            f"{paper} does not input a numbers.tex from a run's report folder.", "Give the run: --run runs/mini."
        )
    now: dict[str, Named] = {}
    stamps: dict[str, str] = {}
    for one in runs:
        figures = all_figures(one, marks=marks)
        now |= expected(one, figures)
        stamps |= {figure.id: export.stamp(figure) for figure in figures}
    own = {path: _COMMENT.sub("", text) for path, text in texts.items() if not is_numbers(text)}
    body = "\n".join(own.values())
    cited = [f"{key.strip()}{_ENDS.get(kind, '')}" for kind, key in _USED.findall(body)]
    used = [key for key in cited if not _PARAMETER.search(key)]
    included = list(_included(paper.parent, body))
    stamped = sum(one.stamp is not None for one in included)
    problems = [*_own(own), *_numbers(used, held, now), *_figures(included, stamps), *_captions(included, body)]
    if not (used or stamped or problems):
        problems = [_nothing(slugs(now)[0])]
    left = [f"{key}: its name is put together by a macro" for key in cited if _PARAMETER.search(key)]
    return PaperCheck(len(used), stamped, _once(problems), _once([*left, *_unchecked(included, stamps)]))


def _once(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(clean, lines)))


def _nothing(slug: str) -> str:
    cite = f"\\rgnum{{{slug}/heads}}, \\rghead{{{slug}/FIGURE/best}} or \\rgcaption{{{slug}/FIGURE}}"
    return f"Nothing to compare: cite numbers with {cite}, or include a file that 'reportgen figure' wrote."


def _own(texts: Mapping[Path, str]) -> Iterator[str]:
    for path, text in texts.items():
        for match in _OWN.finditer(text):
            yield f"{path.name} defines {match[1] or match[2]} itself, so it may print another number than its run's."


def _texts(paper: Path) -> dict[Path, str]:
    """The paper and every file it inputs, each once."""
    texts: dict[Path, str] = {}
    waiting = [paper]
    while waiting and len(texts) < MOST_FILES:
        path = waiting.pop(0)
        if path in texts:
            continue
        try:
            texts[path] = read_bytes(path, "Give a .tex file.", most=MOST_BYTES).decode("utf-8", errors="replace")
        except DataError:
            if path == paper:
                raise
            continue  # an input that LaTeX finds elsewhere, e.g. a package's
        for name in _INPUT.findall(_COMMENT.sub("", texts[path])):
            file = paper.parent / name.strip()
            waiting.append(file if file.suffix else file.parent / f"{file.name}.tex")
    return texts


def _folders(copies: Sequence[tuple[Path, dict[str, Named]]]) -> list[Path]:
    """Run folders of the numbers.tex files that were read from where the report wrote them."""
    folders = [Path(os.path.realpath(path)).parent.parent for path, _ in copies]
    return [folder for folder in dict.fromkeys(folders) if is_file(folder / MANIFEST)]


def _numbers(used: Sequence[str], held: Mapping[str, Named], now: Mapping[str, Named]) -> Iterator[str]:
    known = set(slugs(now))
    for slug in dict.fromkeys(key.split("/", 1)[0] for key in used):
        old, new = held.get(f"{slug}/hash"), now.get(f"{slug}/hash")
        if old and new and old.text != new.text:
            copy = f"numbers.tex is of {slug}, run {old.text[:12]}"
            yield f"{copy}; the run is now {new.text[:12]}: copy its numbers.tex again."
    for key in dict.fromkeys(used):
        if key.endswith("/hash") and key in held and key in now:
            continue  # said above
        if key.split("/", 1)[0] not in known:
            yield f"{key}: no run {key.split('/', 1)[0]!r} to compare with; known: {', '.join(sorted(known))}."
        elif key not in now:
            was = f" In the paper it is {_short(held[key].text)}, {held[key].meaning}." if key in held else ""
            yield f"{key}: the run has no number of this name.{was}{_near(key, now)}"
        elif key not in held:
            yield f"{key}: no numbers.tex of the paper defines it."
        elif held[key].meaning != now[key].meaning:
            sides = _apart(held[key].meaning, now[key].meaning, most=120)
            yield f"{key}: in the paper it is {sides[0]}; in the run, {sides[1]}."
        elif held[key].text != now[key].text:
            paper, run = _apart(held[key].text, now[key].text)
            yield f"{key}: the paper has {paper}, the run has {run}."


def _near(key: str, now: Mapping[str, Named]) -> str:
    """The names nearest to an unknown key; first those of its own figure or score."""
    place = key.rsplit("/", 1)[0]
    mine = [name for name in now if name.startswith(f"{place}/")] or list(now)
    close = difflib.get_close_matches(key, mine, n=3, cutoff=0.8) or difflib.get_close_matches(key, mine, n=4, cutoff=0)
    return f" Near: {', '.join(close)}." if close else ""


def _apart(old: str, new: str, most: int = 60) -> tuple[str, str]:
    """Two texts cut to about `most` characters where they differ, so that the words shown are never the same."""
    if max(len(old), len(new)) <= most:
        return old, new
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - most // 3)
    found = []
    for text in (old, new):
        part = text[start : start + most]
        found.append(f"'{'...' if start else ''}{part}{'...' if start + most < len(text) else ''}'")
    return found[0], found[1]


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}..."


def _included(folder: Path, body: str) -> Iterator[_Included]:
    """The files that the paper includes, each once."""
    places = [folder]
    for group in _FOLDERS.findall(body):
        places += [folder / name for name in re.findall(r"\{([^{}]*)\}", group)]
    for name in dict.fromkeys(map(str.strip, _GRAPHICS.findall(body))):
        tries = [place / f"{name}{ending}" for place in places for ending in _ENDINGS]
        path = next((path for path in tries if is_file(path)), None)
        yield _Included(name, path, export.read_stamp(path, MOST_BYTES) if path else None)


def _figures(included: Sequence[_Included], stamps: Mapping[str, str]) -> Iterator[str]:
    for one in included:
        name = one.path.name if one.path else one.name
        if one.path is None:
            if not _PARAMETER.search(one.name):
                yield f"{one.name}: there is no such file beside the paper."
        elif one.stamp is None:
            if one.path.stem in stamps and one.path.suffix != ".svg":
                yield f"{name}: no stamp of a reportgen figure in it; write it again with 'reportgen figure'."
        elif one.stamp.figure not in stamps:
            yield f"{name}: the run has no figure {one.stamp.figure!r} any more."
        elif one.path.stem in stamps and one.path.stem != one.stamp.figure:
            yield f"{name} holds another figure than its name says: {one.stamp.figure}."
        else:
            yield from _changed(name, one.stamp, stamps[one.stamp.figure])


def _changed(name: str, stamp: export.Stamp, now: str) -> Iterator[str]:
    """What differs between a file's stamp and that of its figure now, and whether its drawing was changed."""
    again = f"write it again, reportgen figure RUN {stamp.figure} --out {name}"
    its = now.rsplit(":", 1)[1]
    other = [part for part, digits in export.PARTS.items() if stamp.shows[digits] != its[digits]]
    if other:
        yield f"{name}: the run's figure has different {', '.join(other)}: {again}."
    elif stamp.drawing is None:
        yield f"{name}: its stamp says nothing of its drawing, as an earlier version wrote it: {again}."
    elif not stamp.drawing:
        yield f"{name}: the file was changed after reportgen wrote it: {again}."


def _captions(included: Sequence[_Included], body: str) -> Iterator[str]:
    """Figure environments whose caption is of a figure that is not in them."""
    files = {one.name: one for one in included}
    for _, inside in _ENVIRONMENT.findall(body):
        drawn = {one.stamp.figure for name in _GRAPHICS.findall(inside) if (one := files[name.strip()]).stamp}
        for key in [key.strip() for kind, key in _USED.findall(inside) if kind == "caption"]:
            if drawn and key.split("/", 1)[-1] not in drawn:
                yield f"\\rgcaption{{{key}}} stands under {', '.join(sorted(drawn))}."


def _unchecked(included: Sequence[_Included], stamps: Mapping[str, str]) -> Iterator[str]:
    for one in included:
        if one.path is None and _PARAMETER.search(one.name):
            yield f"{one.name}: its name is put together by a macro"
        elif one.path is not None and one.stamp is None and one.path.suffix == ".svg":
            yield f"{one.name}: SVG files carry no stamp"
        elif one.path is not None and one.stamp is None and one.path.stem not in stamps:
            yield f"{one.name}: no stamp of a reportgen figure in it"
