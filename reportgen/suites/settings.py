"""One rule for the settings of all suites: what a value means, what may be 0 or none, and what that switches off.

- A list takes `none` (or nothing) for no items; a count takes 0 (or `none`, `off`) if its field says what that
  switches off or means. Otherwise the error says what the setting needs.
- A field says so in its metadata, beside `help`:

      off    what the value 0, none or off leaves out, in words; the report names it under "not computed"
      zero   what 0 means where it switches nothing off: "all", "no limit"
      option  the option of `reportgen run` that stands for it: "text", "prompt"
      least  the smallest number; needs  why it can't be less, or why a list can't be empty
      share  it lies between 0 and 1;  one_of  the words that there are, of which a list takes several
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from reportgen.errors import SettingsError
from reportgen.scores import SWITCHED_OFF, NotComputed, SuiteResult

MOST = 2**31 - 1  # the largest whole number a setting can be
NONE = ("none", "off")  # words for an empty list and for 0
ALL, AUTO = "all", "auto"  # first items of a list that stand for every item, and for the suite's own
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "none", "0"}


def setting(default: object, words: str, **rule: object) -> Any:
    """A field of a suite's settings with its help and its part of the rule."""
    return dataclasses.field(default=default, metadata={"help": words, **rule})


def read(suite: str, name: str, value: object, default: object) -> object:
    """`value` converted to the type of `default`; strings come from the command line. Lists are comma-separated.

    Raises SettingsError for another type.
    """
    try:
        return _convert(value, default)
    except (TypeError, ValueError, OverflowError) as error:
        kind = "on or off" if isinstance(default, bool) else type(default).__name__
        raise SettingsError(f"{suite}.{name}={_shown(value)}: expected {kind}, e.g. {default!r}.") from error


def check(settings: Any) -> None:
    """Refuse what a field's part of the rule excludes. ValueError says what is needed."""
    for f in dataclasses.fields(settings):
        value, needs = getattr(settings, f.name), f.metadata.get("needs", "")
        if isinstance(value, tuple) and not value and needs:
            raise ValueError(f"{f.name} can't be none: {needs}.")
        known = f.metadata.get("one_of", ())
        for word in (value if isinstance(value, tuple) else (value,)) if known else ():
            if word not in known:
                raise ValueError(f"{f.name} is {word!r}, must be one of {', '.join(known)}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if f.metadata.get("share") and not 0 < value < 1:
            raise ValueError(f"{f.name} is {value}, must lie between 0 and 1.")
        least = f.metadata.get("least", 0 if {"off", "zero"} & set(f.metadata) else None)
        if least is None or value >= least or (value == 0 and is_off(f, value)):
            continue
        zero = "0 (off) or " if least and "off" in f.metadata else ""
        raise ValueError(f"{f.name} is {value}, must be {zero}at least {least}{f': {needs}' if needs else ''}.")


def is_off(f: dataclasses.Field[Any], value: object) -> bool:
    """Whether the field has an off switch and `value` is it."""
    return "off" in f.metadata and not value


def switched_off(suite: str, name: str) -> str:
    """Why something is not computed: the setting that switched it off."""
    return f"{SWITCHED_OFF} ({suite}.{name})"


def with_switched_off(suite: str, settings: Any, given: Iterable[str], result: SuiteResult) -> SuiteResult:
    """`result` with what the user's settings switched off added to `not_computed`, if the suite didn't list it."""
    said = " ".join(missing.why for missing in result.not_computed)
    wanted = set(given)
    more = tuple(
        NotComputed(str(f.metadata["off"]), why)
        for f in dataclasses.fields(settings)
        if f.name in wanted
        and is_off(f, getattr(settings, f.name))
        and (why := switched_off(suite, f.name)) not in said
    )
    return dataclasses.replace(result, not_computed=(*result.not_computed, *more)) if more else result


def help_of(f: dataclasses.Field[Any]) -> str:
    """The field's help, and what 0 or none means there."""
    words = str(f.metadata.get("help", ""))
    if "zero" in f.metadata:
        return f"{words} (0: {f.metadata['zero']})"
    if "off" in f.metadata and not isinstance(f.default, bool):
        return f"{words} ({'none' if isinstance(f.default, tuple) else '0'}: off)"
    return words


def zero_words(f: dataclasses.Field[Any], value: object) -> str:
    """What 0 or an empty list means in this field; "" for any other value."""
    if value or value is None or isinstance(value, bool | str):
        return ""
    return "off" if is_off(f, value) else str(f.metadata.get("zero", "none" if isinstance(f.default, tuple) else ""))


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"


def _convert(value: object, default: object) -> object:
    if isinstance(default, bool):
        return _switch(value)
    if isinstance(default, int):
        return _whole(value)
    if isinstance(default, float):
        number = float("nan" if isinstance(value, bool) else cast("Any", value))
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    if isinstance(default, tuple):
        return _list(value, default[0] if default else "")
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise TypeError(value)
    return str(value)


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(word)
    return word in _TRUE


def _whole(value: object) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    if isinstance(value, str) and value.lower() in NONE:
        return 0
    whole = int(cast("Any", value))
    if abs(whole) > MOST:
        raise ValueError(value)
    return whole


def _list(value: object, inner: object) -> tuple[object, ...]:
    if not isinstance(value, str | list | tuple):
        raise TypeError(value)
    items = [item for item in (value.split(",") if isinstance(value, str) else value) if item != ""]
    if len(items) == 1 and isinstance(items[0], str) and items[0].strip().lower() in NONE:
        return ()
    return tuple(_convert(item, inner) for item in items)
