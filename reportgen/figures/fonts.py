r"""Letters that the shipped fonts lack: set in a font of the system that has them, else written out as `\u{4e2d}`.

Never a box. The page needs none of this: a browser has its own fonts.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import typst

from reportgen.errors import FontWarning

# What Liberation Sans, Libertinus Serif and Typst's own fonts hold together; a test sets every one of these.
LACKING = re.compile(
    "[^\n\t\u0020-\u007e\u00a0-\u00ac\u00ae-\u017f\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u03ce\u0400-\u045f"
    "\u1e80-\u1e85\u2010-\u2015\u2018-\u201e\u2020-\u2022\u2026\u2030\u2032\u2033\u2039\u203a\u20ac\u2122"
    "\u2190-\u2195\u2202\u2206\u220f\u2211\u2212\u221a\u221e\u222b\u2248\u2260\u2264\u2265\u25a0\u25a1\u25cb\u25cf]"
)
_PROBE = b'#set document(title: "probe")\n#set text(lang: "en", font: "Liberation Sans")\n#sys.inputs.letter'


def printable(text: str) -> str:
    r"""`text` with every character that the report's fonts lack written out, e.g. `\u{4e2d}`."""
    return LACKING.sub(lambda match: written(match[0]), text)


def written(char: str) -> str:
    r"""A character as its number: `\u{4e2d}`."""
    return f"\\u{{{ord(char):x}}}"


def settable(text: str) -> tuple[str, bool]:
    """`text` as it can be set, and whether the system's fonts are needed for it.

    Warns (FontWarning) of the characters that no font has, which are written out.
    """
    asked = dict.fromkeys(LACKING.findall(text))
    missing = [char for char in asked if not on_system(char)]
    if missing:
        shown = ", ".join(written(char) for char in missing[:5]) + (", ..." if len(missing) > 5 else "")
        warnings.warn(
            f"No font here has {shown}: written so in PDF and PNG. Install one, e.g. Noto Sans.",
            FontWarning,
            stacklevel=2,
        )
    kept = LACKING.sub(lambda match: written(match[0]) if match[0] in missing else match[0], text)
    return kept, len(asked) > len(missing)


@cache
def on_system(char: str) -> bool:
    """Whether some installed font has this character: Typst refuses to make PDF/UA of one that none has."""
    source: Any = {"main.typ": _PROBE}  # a file in memory: typst's stubs lag
    words = {"letter": char}
    try:
        typst.compile(source, format="pdf", pdf_standards=["ua-1"], font_paths=shipped(), sys_inputs=words)
    except typst.TypstError:
        return False
    return True


@cache
def shipped() -> list[str]:
    """The folder with the fonts that ship with the package."""
    return [str(Path(str(files("reportgen.templates"))) / "fonts")]
