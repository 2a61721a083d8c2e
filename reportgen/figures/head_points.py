"""What scatters of heads share: shapes of marks, names of heads that stand clear of each other, lines at zero."""

from __future__ import annotations

from collections.abc import Iterable

from reportgen.aliases import Floats
from reportgen.figures import theme
from reportgen.figures.curves import Axis, Curve, Label
from reportgen.figures.theme import Style
from reportgen.scores import Head, head_name

CROSS = "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8"
DIAMOND = "M0,-1L1,0L0,1L-1,0Z"
_FAINT = "#9a9a9a"


def named(
    heads: Iterable[Head], x: Floats, y: Floats, axes: tuple[Axis, Axis], style: Style,
    clear: tuple[float, float] = (0.16, 0.06),
) -> list[Label]:  # fmt: skip
    """Names of heads that stand clear of those named before, each on the side of its point where there is room.

    clear  the shares of the axes across and up within which two names would touch
    """
    found: list[Label] = []
    for head in dict.fromkeys(heads):
        a, b = float(x[head]), float(y[head])
        near = (
            abs(axes[0].share(a) - axes[0].share(o.x)) < clear[0]
            and abs(axes[1].share(b) - axes[1].share(o.y)) < clear[1]
            for o in found
        )
        if any(near):
            continue
        name = head_name(*head)
        left = axes[0].share(a) > 0.75
        right = -theme.text_width(name, 0.88 * style.font_size) - 4.0 if left else 4.0
        found.append(Label(name, a, b, right=right))
    return found


def zero_lines(x: Floats, y: Floats, across: Axis, up: Axis) -> list[Curve]:
    """A faint line at 0 on each axis that has values on both sides."""
    found = []
    if x.min() < 0 < x.max():
        found.append(Curve("", (0.0, 0.0), (up.low, up.high), _FAINT, dash=(2, 2), width=0.5))
    if y.min() < 0 < y.max():
        found.append(Curve("", (across.low, across.high), (0.0, 0.0), _FAINT, dash=(2, 2), width=0.5))
    return found
