"""LaTeX text: escaping, and the snippet that puts a figure into a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi - pi rho - sigma tau upsilon phi chi psi "
    "omega"
)
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "\n": " ", "\t": " ",
    "\u2265": r"$\geq$", "\u2264": r"$\leq$", "\u00d7": r"$\times$", "\u2212": "$-$", "\u00b1": r"$\pm$",
    "\u2248": r"$\approx$", "\u2260": r"$\neq$", "\u221e": r"$\infty$", "\u2192": r"$\rightarrow$",
    "\u00b7": r"$\cdot$", "\u2013": "--", "\u2014": "---", "\u2026": r"\ldots{}",
    "\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,",
    "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''",
    **{chr(0x3B1 + i): rf"$\{name}$" for i, name in enumerate(_GREEK.split()) if name != "-"},
}  # fmt: skip
NOTES = "\\providecommand{\\rgnotes}[1]{}% \\renewcommand{\\rgnotes}[1]{\\par\\footnotesize #1} prints them\n"
_LABEL = re.compile(r"[^A-Za-z0-9:_.-]")


def escape(text: str) -> str:
    r"""`text` with LaTeX's special characters and the captions' mathematical signs written as commands.

    Letters that an ordinary LaTeX font lacks are written as their numbers: `[U+4E2D]`.
    """
    return "".join(_SPECIAL.get(char) or _letter(char) for char in text)


def _letter(char: str) -> str:
    return char if " " <= char <= "~" or "\u00a1" <= char <= "\u017e" else f"[U+{ord(char):04X}]"


def figure(figure_id: str, caption: str, folder: str = "figures", width: str = "", notes: Sequence[str] = ()) -> str:
    r"""A figure environment for `<folder>/<figure_id>.pdf`; `width` is a LaTeX length, `\linewidth` by default.

    notes  how it was made: \rgnotes below the caption, which prints nothing until the paper defines it
    """
    name = _LABEL.sub("-", figure_id)
    path = f"{folder.rstrip('/')}/{name}" if folder else name
    below = f"  \\rgnotes{{{escape(' '.join(notes))}}}\n" if notes else ""
    return (
        f"{NOTES if notes else ''}\\begin{{figure}}[t]\n  \\centering\n"
        f"  \\includegraphics[width={width or chr(92) + 'linewidth'}]{{{path}.pdf}}\n"
        f"  \\caption{{{escape(caption)}}}\n  \\label{{fig:{name}}}\n{below}\\end{{figure}}\n"
    )
