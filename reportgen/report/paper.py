"""Whether a LaTeX paper still says what its runs say: its numbers, captions and figures against the run folders."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportgen.errors import DataError
from reportgen.figures import export
from reportgen.reading import is_file, read_bytes
from reportgen.report.build import all_figures
from reportgen.report.numbers import Named, expected, is_numbers, read, slugs
from reportgen.report.scene import AS_STORED, Marks, RunLike
from reportgen.report.text import clean
from reportgen.runfolder import MANIFEST, Run

_COMMENT = re.compile(r"(?<!\\)%.*")
_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{([^{}]+)\}")
_GRAPHICS = re.compile(r"\\includegraphics\s*(?:\[[^\]]*\])?\s*\{([^{}]+)\}")
_FOLDERS = re.compile(r"\\graphicspath\s*\{((?:\{[^{}]*\})+)\}")
_USED = re.compile(r"\\rg(num|head|caption|hash|scorelow|scorehigh|score)\s*\{([^{}]+)\}")
_ENDS = {"head": "/head", "caption": "/caption", "hash": "/hash", "scorelow": "/low", "scorehigh": "/high"}
_STAMP = re.compile(rb"reportgen:([A-Za-z0-9_.-]+):([0-9a-f]{16})")
_ENDINGS = (".pdf", ".png", ".jpg", ".eps", "")
MOST_FILES = 200
MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class PaperCheck:
    """What was compared, and a sentence for everything that no longer agrees; empty `problems` is a pass."""

    numbers: int
    figures: int
    problems: tuple[str, ...]


def check_paper(paper: Path, run: RunLike | None = None, marks: Marks = AS_STORED) -> PaperCheck:
    r"""Compare the numbers, captions and figures of a LaTeX file, and of what it inputs, with their run.

    run    the run they come from; None = the run folders in which the inputted numbers.tex files lie
    marks  the head sets that its figures are drawn with

    A number agrees when the copy of numbers.tex that the paper reads has the run's value under its key, and means the
    same by it; a figure when the stamp inside the file is that of the run's figure, at whatever width it was written.
    Raises UserError: no such paper, a damaged run, or no run to compare with.
    """
    texts = _texts(paper)
    copies = [(path, read(text)) for path, text in texts.items() if is_numbers(text)]
    held = {key: value for _, values in copies for key, value in values.items()}
    runs = [run] if run is not None else [Run.open(folder) for folder in _folders(copies)]
    if not runs:
        raise DataError(
            f"{paper} inputs no numbers.tex that lies in a run's report folder.", "Name the run: --run runs/mini."
        )
    now: dict[str, Named] = {}
    stamps: dict[str, str] = {}
    for one in runs:
        figures = all_figures(one, marks=marks)
        now |= expected(one, figures)
        stamps |= {figure.id: export.stamp(figure) for figure in figures}
    body = "\n".join(_COMMENT.sub("", text) for text in texts.values() if not is_numbers(text))
    used = [f"{key.strip()}{_ENDS.get(kind, '')}" for kind, key in _USED.findall(body)]
    drawings = list(_drawings(paper.parent, body))
    problems = [*_numbers(used, held, now), *_figures(drawings, stamps)]
    return PaperCheck(len(used), len(drawings), tuple(dict.fromkeys(map(clean, problems))))


def _texts(paper: Path) -> dict[Path, str]:
    """The paper and every file it inputs, each once."""
    texts: dict[Path, str] = {}
    waiting = [paper]
    while waiting and len(texts) < MOST_FILES:
        path = waiting.pop(0)
        if path in texts:
            continue
        try:
            texts[path] = read_bytes(path, "Name a .tex file.", most=MOST_BYTES).decode("utf-8", errors="replace")
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
            yield f"{key}: no run {key.split('/', 1)[0]!r} to compare with; there is {', '.join(sorted(known))}."
        elif key not in now:
            was = f" In the paper it is {_short(held[key].text)}, {held[key].meaning}." if key in held else ""
            yield f"{key}: the run has no number of this name.{was}{_near(key, now)}"
        elif key not in held:
            yield f"{key}: the paper inputs no numbers.tex that defines it."
        elif held[key].meaning != now[key].meaning:
            sides = _apart(held[key].meaning, now[key].meaning, most=120)
            yield f"{key}: in the paper it is {sides[0]}; in the run, {sides[1]}."
        elif held[key].text != now[key].text:
            paper, run = _apart(held[key].text, now[key].text)
            yield f"{key}: the paper has {paper}, the run has {run}."


def _near(key: str, now: Mapping[str, Named]) -> str:
    """The names nearest to a key that there is not; first those of its own figure or score."""
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


def _drawings(folder: Path, body: str) -> Iterator[Path]:
    """The files that \\includegraphics names, where they exist; a name without a file is given as it is."""
    places = [folder]
    for group in _FOLDERS.findall(body):
        places += [folder / name for name in re.findall(r"\{([^{}]*)\}", group)]
    for name in _GRAPHICS.findall(body):
        tries = [place / f"{name.strip()}{ending}" for place in places for ending in _ENDINGS]
        yield next((path for path in tries if is_file(path)), folder / name.strip())


def _figures(drawings: Sequence[Path], stamps: dict[str, str]) -> Iterator[str]:
    for path in dict.fromkeys(drawings):
        found = _stamp(path)
        if found is None and path.stem in stamps:
            yield f"{path.name}: no stamp of a reportgen figure in it; write it again with 'reportgen figure'."
        elif found is not None and found[0] not in stamps:
            yield f"{path.name}: the run has no figure {found[0]!r} any more."
        elif found is not None and found[1] != stamps[found[0]]:
            mine, its = found[1].rsplit(":", 1)[1], stamps[found[0]].rsplit(":", 1)[1]
            other = [name for name, part in export.PARTS.items() if mine[part] != its[part]]
            again = f"reportgen figure RUN {found[0]} --out {path.name}"
            yield f"{path.name}: the run's figure has other {', '.join(other)}: write it again, {again}."


def _stamp(path: Path) -> tuple[str, str] | None:
    """(figure id, whole stamp) of a file, None where it has none."""
    try:
        with path.open("rb") as file:
            match = _STAMP.search(file.read(MOST_BYTES))
    except (OSError, ValueError):
        return None
    return (match[1].decode(), match[0].decode()) if match else None
