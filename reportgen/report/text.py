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


def printed_count(value: int) -> str:
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
    return f"{printed_count(n)} {noun}" if n == 1 else f"{printed_count(n)} {noun}s"


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


# Terms that every report uses. Measures bring their own entries from their suites.

_TEXT = """
Head, L9H6: Attention head 6 of layer 9; layers and heads are counted from 0. Heads are query heads, even if a group
shares keys and values.

Not computed (–): A value the run does not have. It is never a zero: the reason is in the section or in scores.csv.

n: Examples behind a value: pairs, prompts or cells of the attention pattern, after filtering.

95 % interval: The range of values expected for other examples of the same kind. It says nothing about other kinds of
examples, and it is biased for a head that was selected because it ranks first.

Adjusted p: Family-wise: the probability, if the null holds for every head, that any head of the model would score this
high. Small values are evidence against the null, not for a mechanism.

Beyond the null: How many heads have an adjusted p of 0.05 or less, or lie beyond the line.

Line: A threshold in score units beyond which a head passes the family-wise null. Drawn only where one line holds for
every head.

Null: The distribution of the score without the property in question, e.g. with the targets shuffled over the pairs.
Each caption names its own.

Score, finding: A score is a measurement. It is called a finding only after a causal intervention and a replication
agree. A finding's number comes from the half of the examples that its head was not selected on.

Evidence (static, dynamic, causal, text, repeated): The tests of a label on a head: a score from the weights;
activations on prompts; an intervention on the head; natural text; other templates, seeds or a random twin. Failed tests
are shown beside those that passed.

Head set: A named set of heads: from a publication, from a user's file, or computed on this model. Published sets are
drawn only on the model they were published for.

Unconfirmed list: A published set that was not confirmed in the paper or its code. Its markers are hollow.

Raw weights, folded weights: Raw: as in the checkpoint. Folded: the norms' scales multiplied into the weights that read
them.
"""


def _terms(text: str) -> tuple[tuple[str, str], ...]:
    """(term, meaning) of every paragraph "term: meaning"."""
    pairs = (" ".join(paragraph.split()).split(": ", 1) for paragraph in text.strip().split("\n\n"))
    return tuple((term, meaning) for term, meaning in pairs)


TERMS = _terms(_TEXT)
