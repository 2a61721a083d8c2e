"""Greater-than (Hanna et al. 2023, arXiv 2305.00586).

    clean      "The war lasted from 1732 to 17"  ->  two digits above 32, not 32 or below
    corrupted  the same with the start year 1701

The metric is a difference of probabilities. Only years that are two tokens, century and year, are used.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from reportgen.suites.circuits.tasks import forms
from reportgen.suites.circuits.tasks.task import Mover, Pair, Task

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

NAME = "greater_than"
ROLES = ("YY", "XX", "event")  # year and century of the start, what lasted
_LEAST = 90  # of the hundred two-digit tokens
Years = dict[str, dict[int, int]]  # century -> year -> the year's token


def build(tokens: Tokens, prompts: int, seed: int, rephrased: bool = False) -> Task:
    """Up to `prompts` pairs on this tokenizer, spread evenly over templates; start years 02 to 98."""
    data = forms.read(NAME)
    rng = np.random.default_rng([seed, 5 + 10 * rephrased])
    events, centuries = (forms.single(tokens, data[kind]) for kind in ("events", "centuries"))
    digits, years = _years(tokens, centuries)
    dropped = Counter({"events that are not one token": len(data["events"]) - len(events)})
    wanted = data["rephrased" if rephrased else "templates"]
    templates: list[str] = []
    if len(digits) >= _LEAST and years and events:
        century, inside = next(iter(years.items()))
        year, token = next(iter(inside.items()))
        sample = {"event": next(iter(events.items())), "century": (century, centuries[century])}
        templates = forms.usable(tokens, wanted, {**sample, "year": (f"{year:02d}", token)})
    else:
        dropped["two-digit years that are not a token of their own"] = 100 - len(digits)
    dropped["templates with an unknown token"] = len(wanted) - len(templates)
    pairs: list[Pair] = []
    for index in range(prompts if templates else 0):
        pair = _pair(tokens, templates[index % len(templates)], index % len(templates), events, centuries,
                     (digits, years), rng)  # fmt: skip
        if pair is None:
            dropped["prompts in which a word does not stand alone"] += 1
        else:
            pairs.append(pair)
    return Task(
        name=NAME,
        title="Greater-than",
        metric="prob_diff",
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=ROLES,
        maps={token: _sides(digits, year) for year, token in digits.items() if 2 <= year <= 98},
        words=tuple(digits.values()),
        mover=Mover("movers", "Year Heads", "year head"),
        dropped={why: count for why, count in sorted(dropped.items()) if count},
    )


def _years(tokens: Tokens, centuries: dict[str, int]) -> tuple[dict[int, int], Years]:
    """Year 0..99 -> the token of its two digits after a century, and which years each century is split from so."""
    digits: dict[int, int] = {}
    years: Years = {century: {} for century in centuries}
    for century, token in centuries.items():
        for year in range(100):
            ids = tokens.encode(f"a {century}{year:02d}")[len(tokens.encode("a")) :]
            if len(ids) == 2 and ids[0] == token and digits.setdefault(year, ids[1]) == ids[1] != tokens.unk_id:
                years[century][year] = ids[1]
    return digits, {c: inside for c, inside in years.items() if 1 in inside and len(inside) > 1}


def _sides(digits: dict[int, int], year: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens of the years above `year`, and of the others."""
    above = tuple(token for its, token in sorted(digits.items()) if its > year)
    return above, tuple(token for its, token in sorted(digits.items()) if its <= year)


def _pair(
    tokens: Tokens, template: str, index: int, events: dict[str, int], centuries: dict[str, int],
    known: tuple[dict[int, int], Years], rng: np.random.Generator,
) -> Pair | None:  # fmt: skip
    digits, years = known
    century = str(rng.choice(list(years)))
    year = int(rng.choice([y for y in years[century] if 2 <= y <= 98]))
    event = str(rng.choice(list(events)))
    slots = {"event": event, "century": century, "year": f"{year:02d}"}
    ids = {"event": events[event], "century": centuries[century], "year": digits[year]}
    clean = forms.prompt(tokens, template, slots, ids)
    if clean is None:
        return None
    at = {slot: places[0] for slot, places in clean.at.items()}
    roles = {"YY": at["year"], "XX": at["century"], "event": at["event"], "END": len(clean.ids) - 1}
    corrupted = forms.written(clean.ids, {at["year"]: years[century][1]})
    return Pair(clean.ids, corrupted, *_sides(digits, year), roles, index, clean.text)
