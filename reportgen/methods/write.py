"""The account of a run as plain text, Markdown or LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from reportgen.methods.account import Account, Sentence, time_words
from reportgen.published import citation, short_citation

COLUMNS = ("suite", "device", "dtype", "threads", "time", "RAM", "GPU memory")


def text(account: Account) -> str:
    """Plain text; sources at the end."""
    parts = [_paragraph(sentences, _cited) for sentences in account.done]
    rows = _rows(account)
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    parts.append("\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows))
    parts += [f"{question}: {answer}" for question, answer in account.answers]
    parts.append("\n".join(citation(key) for key in account.cites))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(account: Account) -> str:
    """Markdown with a heading for each part; names of models and files are escaped."""
    parts = ["## What was done", *(_md(_paragraph(sentences, _cited)) for sentences in account.done), "## Compute"]
    head, *rows = _rows(account)
    lines = [head, ("---",) * len(COLUMNS), *(tuple(_md(cell) for cell in row) for row in rows)]
    parts.append("\n".join("| " + " | ".join(row) + " |" for row in lines))
    parts.append("## Checklist, draft answers")
    parts += [f"**{question}.** {_md(answer)}" for question, answer in account.answers]
    if account.cites:
        parts += ["## Sources", "\n".join(f"- {_md(citation(key))}" for key in account.cites)]
    return "\n\n".join(parts) + "\n"


def latex(account: Account) -> str:
    r"""LaTeX for a paper with natbib: \citep of the keys in the report's references.bib; a table with booktabs."""
    parts = [
        "% Written by reportgen methods. Needs natbib, booktabs, and the report's references.bib.",
        *(_paragraph(sentences, _citep, _tex) for sentences in account.done),
    ]
    head, *rows = _rows(account)
    body = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in (head, *rows)]
    table = [
        r"\begin{tabular}{lllrrrr}",
        r"\toprule",
        body[0],
        r"\midrule",
        *body[1:],
        r"\bottomrule",
        r"\end{tabular}",
    ]
    parts.append("\n".join(table))
    parts += [rf"\paragraph{{{_tex(question)}.}} {_tex(answer)}" for question, answer in account.answers]
    return "\n\n".join(parts) + "\n"


FORMATS: Mapping[str, Callable[[Account], str]] = {"text": text, "md": markdown, "latex": latex}


def _paragraph(
    sentences: Sequence[Sentence], cite: Callable[[Sequence[str]], str], plain: Callable[[str], str] = str
) -> str:
    found = []
    for sentence in sentences:
        words = plain(sentence.text)
        found.append(f"{words.removesuffix('.')} {cite(sentence.cites)}." if sentence.cites else words)
    return " ".join(found)


def _cited(keys: Sequence[str]) -> str:
    return f"({'; '.join(short_citation(key) for key in keys)})"


def _citep(keys: Sequence[str]) -> str:
    return rf"\citep{{{','.join(keys)}}}"


def _rows(account: Account) -> list[tuple[str, ...]]:
    rows = [
        (r.suite, r.device, r.dtype, str(r.threads or "–"), time_words(r.hours), f"{r.ram_gb:.1f} GB",
         f"{r.gpu_gb:.1f} GB" if r.gpu_gb else "–")
        for r in account.compute
    ]  # fmt: skip
    return [COLUMNS, *rows, ("all", "", "", "", time_words(account.hours), "", "")]


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "×": r"$\times$",
}  # fmt: skip


def _tex(words: str) -> str:
    return "".join(_TEX.get(c, c) for c in " ".join(words.split()))


def _md(words: str) -> str:
    return re.sub(r"([\\`*_|<\[\]])", r"\\\1", " ".join(words.split()))
