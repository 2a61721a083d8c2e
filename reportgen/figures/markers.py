"""Which marker a class of heads has: one shape and colour in every figure of a run.

The shape shows what the heads do, the colour the source: the first source of a class has the marker's own colour, the
next ones have other colours. Sets that name their marker or colour keep it, and no other set gets the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from reportgen.errors import SettingsError, nearest
from reportgen.scores import HeadSet

BLACK, GREY, WHITE = "#000000", "#8c8c8c", "#ffffff"


@dataclass(frozen=True)
class Marker:
    """A marker's shape: a path in the square -1..1. `outline` is the hollow form of a shape made of strokes.

    fill    None for shapes made of strokes
    line    stroke width as a share of the marker's radius
    scale   size relative to the others, so that shapes of different extent look equally large
    plural  what captions call several of them
    """

    name: str
    path: str
    fill: str | None
    stroke: str
    line: float
    scale: float = 1.0
    outline: str = ""
    plural: str = ""

    def coloured(self, colour: str) -> Marker:
        """The marker with `colour` in place of its own; its own where that is empty."""
        if not colour:
            return self
        if self.fill is None or self.fill == WHITE:
            return replace(self, stroke=colour)
        return replace(self, fill=colour)


def _cross(turn: float) -> str:
    """The outline of a plus with arms 0.6 wide, turned by `turn` radians."""
    arm = 0.3
    points = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1), (-arm, 1), (-arm, arm),
              (-1, arm), (-1, -arm), (-arm, -arm)]  # fmt: skip
    turned = [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in points]
    return "M" + "L".join(f"{x:.3f},{y:.3f}" for x, y in turned) + "Z"


def _star(points: int, inner: float) -> str:
    """The outline of a star with `points` tips, its inner corners at `inner`."""
    turns = [(i * math.pi / points, 1.0 if i % 2 == 0 else inner) for i in range(2 * points)]
    return "M" + "L".join(f"{r * math.sin(a):.3f},{-r * math.cos(a):.3f}" for a, r in turns) + "Z"


_CIRCLE = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z"
_X = "M-0.85,-0.85L0.85,0.85M-0.85,0.85L0.85,-0.85"
_HEXAGON = "M0.5,-0.87L1,0L0.5,0.87H-0.5L-1,0L-0.5,-0.87Z"
MARKERS = (
    Marker("x", _X, None, BLACK, 0.34, 1.0, _cross(math.pi / 4), "crosses"),
    Marker("dot", _CIRCLE, GREY, WHITE, 0.26, 0.84, plural="dots"),
    Marker("square", "M-0.8,-0.8H0.8V0.8H-0.8Z", WHITE, BLACK, 0.28, 0.86, plural="squares"),
    Marker("triangle", "M0,-0.9L0.95,0.75H-0.95Z", BLACK, WHITE, 0.24, 1.0, plural="triangles"),
    Marker("plus", "M0,-1V1M-1,0H1", None, BLACK, 0.34, 1.0, _cross(0.0), "pluses"),
    Marker("ring", _CIRCLE, None, BLACK, 0.28, 0.84, plural="rings"),
    Marker("diamond", "M0,-1L1,0L0,1L-1,0Z", WHITE, BLACK, 0.28, 0.95, plural="diamonds"),
    Marker("wedge", "M0,0.9L0.95,-0.75H-0.95Z", BLACK, WHITE, 0.24, 1.0, plural="wedges"),
    Marker("star", _star(5, 0.45), BLACK, WHITE, 0.2, 1.1, plural="stars"),
    Marker("hexagon", _HEXAGON, WHITE, BLACK, 0.28, 0.92, plural="hexagons"),
    Marker("hourglass", "M-0.8,-0.9H0.8L-0.8,0.9H0.8Z", BLACK, WHITE, 0.22, 1.0, plural="hourglasses"),
    Marker("asterisk", f"{_X}M-1.1,0H1.1", None, BLACK, 0.3, 1.0, _star(6, 0.5), "asterisks"),
    Marker("target", f"{_CIRCLE}M-0.45,0H0.45", WHITE, "#6f6f6f", 0.36, 0.84, plural="dashed circles"),
)
FLAG = Marker("flag", _CIRCLE, None, BLACK, 0.1, plural="wide circles around")
COLOURS = ("", "#d55e00", "#0072b2", "#cc79a7", "#009e73")  # the first is the marker's own; then Okabe and Ito's
_COLOUR_WORDS = {"#d55e00": "orange ", "#0072b2": "blue ", "#cc79a7": "pink ", "#009e73": "green "}
_NAMED = {marker.name: marker for marker in MARKERS}
_HEX = re.compile(r"#[0-9a-f]{6}")
_FLAGS = ("generic_copiers",)
_ROLES = (
    ("backup_negative", r"backup_negative_(name_)?mover_heads?"),
    ("backup", r"backups|backup_(name_)?mover(s|_heads?)"),
    ("negative", r"negative_(name_)?mover(s|_heads?)"),
    ("taking_over", r"taking_over"),
    ("unseen", r"unseen"),
    ("one_family", r"one_family"),
    ("mover", r"(name_)?mover(s|_heads?)"),
    ("induction", r"induction_heads?"),
    ("duplicate_token", r"duplicate_token_heads?"),
    ("previous_token", r"previous_token_heads?"),
    ("inhibition", r"(s_)?inhibition_heads?"),
    ("reused", r"reused"),
    ("function_vector", r"function_vector_heads?(_.*)?"),
)
_SHAPES = {  # name movers and backups as Elhelo and Geva draw them
    "mover": "x", "backup": "dot", "negative": "asterisk", "backup_negative": "target", "taking_over": "plus",
    "inhibition": "square", "induction": "triangle", "previous_token": "wedge", "duplicate_token": "hourglass",
    "reused": "diamond", "unseen": "hexagon", "function_vector": "star",
}  # fmt: skip


def role(head_set: HeadSet) -> str:
    """What a set's heads do, from its key's last part: "mover", "negative", "backup", "induction", ... or empty."""
    return _role_of(head_set.key.rsplit("/", 1)[-1])


@cache
def _role_of(name: str) -> str:
    return next((found for found, pattern in _ROLES if re.fullmatch(pattern, name)), "")


def is_flag(head_set: HeadSet) -> bool:
    """Whether the set's marker goes around the others."""
    return head_set.key.rsplit("/", 1)[-1] in _FLAGS


def check_look(marker: str, colour: str) -> tuple[str, str]:
    """`marker` and `colour` (each may be empty) as sets keep them. SettingsError names what there is."""
    if marker and marker not in _NAMED:
        raise SettingsError(f"marker {marker!r}: no such marker.", nearest(marker, _NAMED))
    if colour and not _HEX.fullmatch(colour.lower()):
        raise SettingsError(f"color {colour!r}: not a colour.", 'Write it as six hexadecimal digits: "#d55e00".')
    return marker, colour.lower()


def marker_of(head_set: HeadSet) -> Marker:
    """The marker of a set that `styled` has been through."""
    return FLAG if is_flag(head_set) else _NAMED[head_set.marker].coloured(head_set.color)


def words_of(head_set: HeadSet) -> str:
    """What captions call a set's markers: `crosses`, `orange crosses`, `crosses in #112233`."""
    marker = marker_of(head_set)
    if marker is FLAG or not head_set.color:
        return marker.plural
    known = _COLOUR_WORDS.get(head_set.color)
    return f"{known}{marker.plural}" if known else f"{marker.plural} in {head_set.color}"


def styled(sets: Sequence[HeadSet]) -> tuple[HeadSet, ...]:
    """The sets, each with its marker and colour: sets of one class and one source have the same.

    Classes with a role get the role's shape; others, the user's first, shapes that nothing has taken.
    """
    looks: dict[tuple[str, str], tuple[str, str]] = {}
    fixed = [s for s in sets if s.marker]
    for s in fixed:
        looks.setdefault(_class(s), (s.marker, s.color))
    for s in sorted((s for s in sets if not is_flag(s)), key=lambda s: (not role(s), s.kind != "user")):
        if _class(s) not in looks:
            looks[_class(s)] = _free(s, set(looks.values()), {_SHAPES[r] for t in sets if (r := role(t))})
    return tuple(s if is_flag(s) else _with_look(s, *_look(s, looks)) for s in sets)


def _with_look(head_set: HeadSet, marker: str, color: str) -> HeadSet:
    return replace(head_set, marker=marker, color=color)


def _look(head_set: HeadSet, looks: dict[tuple[str, str], tuple[str, str]]) -> tuple[str, str]:
    return (head_set.marker, head_set.color) if head_set.marker else looks[_class(head_set)]


def _class(head_set: HeadSet) -> tuple[str, str]:
    """(who says so, what): computed sets of one role are one class whatever the task, published ones per paper."""
    last = head_set.key.rsplit("/", 1)[-1]
    if head_set.kind == "user":
        return "user", head_set.key
    return (head_set.source if head_set.kind == "published" else "computed"), role(head_set) or last


def _free(head_set: HeadSet, taken: set[tuple[str, str]], roles: set[str]) -> tuple[str, str]:
    """The role's shape in the first colour that is free; else a shape of no role, then any."""
    own = _SHAPES.get(role(head_set), "")
    spare = [name for name in _NAMED if name not in roles]
    colours = (head_set.color,) if head_set.color else COLOURS
    wanted = [(own, c) for c in colours] if own else [(n, c) for c in colours for n in spare]
    wanted += [(n, c) for c in colours for n in _NAMED]
    return next((look for look in wanted if look not in taken), (own or spare[0] if spare else own or "x", colours[0]))
