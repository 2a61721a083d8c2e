"""LaTeX text: escaping, and the snippet that puts a figure into a paper."""

from __future__ import annotations

import re

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " ",
    "\u2265": r"$\geq$", "\u2264": r"$\leq$", "\u00d7": r"$\times$", "\u2212": "$-$", "\u00b1": r"$\pm$",
    "\u03c4": r"$\tau$", "\u2013": "--", "\u2014": "---", "\u2026": r"\ldots{}", "\u00a0": "~", "\u2009": r"\,",
}  # fmt: skip
_LABEL = re.compile(r"[^A-Za-z0-9:_.-]")


def escape(text: str) -> str:
    r"""`text` with LaTeX's special characters and the captions' mathematical signs written as commands."""
    return "".join(_SPECIAL.get(char, char) for char in text)


def figure(figure_id: str, caption: str, folder: str = "figures", width: str = "") -> str:
    r"""A figure environment for `<folder>/<figure_id>.pdf`; `width` is a LaTeX length, `\linewidth` by default."""
    name = _LABEL.sub("-", figure_id)
    path = f"{folder.rstrip('/')}/{name}" if folder else name
    return (
        "\\begin{figure}[t]\n  \\centering\n"
        f"  \\includegraphics[width={width or chr(92) + 'linewidth'}]{{{path}.pdf}}\n"
        f"  \\caption{{{escape(caption)}}}\n  \\label{{fig:{name}}}\n\\end{{figure}}\n"
    )
