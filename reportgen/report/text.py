"""Words and numbers as the report prints them. Everything from a model, tokenizer or data file passes `clean` once."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from reportgen.figures.theme import clean as clean  # used from here by the whole report

T = TypeVar("T")

NOT_COMPUTED = "–"
MINUS = "−"


def cleaned(value: T) -> T:
    """`value` with `clean` applied to every string inside, through records, sequences and mappings."""
    return _cleaned(value)  # type: ignore[no-any-return]


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value)
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **_cleaned(msgspec.structs.asdict(value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _cleaned(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    return value


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` decimals and a true minus; one significant pair where it would round to nothing."""
    if value is None or math.isnan(value):
        return NOT_COMPUTED
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value != 0 and (abs(value) < 0.5 * 10**-digits or abs(value) >= 1e7):
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    rounded = f"{value + 0.0:.{digits}f}"
    return rounded.replace("-", MINUS)


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """`[0.912, 0.998]`, or a dash where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NOT_COMPUTED
    return f"[{number(low, digits)}, {number(high, digits)}]"


def p_value(p: float | None) -> str:
    """An adjusted p-value: three decimals, `<0.001` below."""
    if p is None or math.isnan(p):
        return NOT_COMPUTED
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: int) -> str:
    """`124,439,808`."""
    return f"{value:,}"


def parameters(value: int) -> str:
    """A parameter count in the field's short form: `124 M`, `1.56 B`."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}" if value / size < 1000 else f"{value / size:.0f} {letter}"
    return str(value)


def plural(n: int, noun: str) -> str:
    """`1 head`, `3 heads`."""
    return f"{count(n)} {noun}" if n == 1 else f"{count(n)} {noun}s"


def anchor(text: str) -> str:
    """`text` as a fragment id: letters, digits, `-`, `_` and `.`, the rest as `-`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def value_words(value: object) -> str:
    """A setting's value in words: lists comma-separated, booleans on or off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "" or value == [] or value == ():
        return NOT_COMPUTED
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(value_words(item) for item in value)
    return str(value)
