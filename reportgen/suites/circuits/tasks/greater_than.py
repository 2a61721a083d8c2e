"""Greater-than (Hanna et al. 2023, arXiv 2305.00586), in the form that fits how a tokenizer splits years.

    years    17|32    "The war lasted from 1732 to 17"   ->  two digits above 32, not 32 or below; corrupted: from 1701
    decades  1|7|3|2  "The war lasted from 1732 to 17"   ->  a digit above 3, not one below; corrupted: from 1702
    units    173|2    "The war lasted from 1732 to 173"  ->  a digit above 2, not 2 or below; corrupted: from 1730

- The metric is a difference of probabilities. `years` is the published task; the others are ours.
- An end in the start's own decade is right or wrong by a digit that comes later: that digit is neither answer nor foil.
- Where one digit is asked for, starts are 1 to 8, so that digits are left on both sides, each equally often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from reportgen.suites.circuits.tasks.task import (
    END,
    Ids,
    Mover,
    Pair,
    Task,
    prompt,
    read_words,
    round_robin,
    single_tokens,
    usable,
    written,
)

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

NAME = "greater_than"
EVENT = "event"  # what lasted


@dataclass(frozen=True, eq=False)
class Form:
    """One way to split a year of four digits into tokens.

    cut      digits per token;  asked  which of these tokens comes next: the prompt ends with those before it
    roles    name -> which of the start's tokens; the first is the one compared with
    starts   values of that token in clean prompts;  corrupted  its value in corrupted ones
    mapped   values that a head's OV circuit is asked about: those with several answers
    least    values that must be tokens;  tie  whether the start's own value is a foil
    """

    title: str
    cut: tuple[int, ...]
    asked: int
    roles: Mapping[str, int]
    starts: range
    corrupted: int
    mapped: range
    least: int
    tie: bool
    words: str

    def split(self, year: str) -> tuple[str, ...]:
        """The year's digits token by token."""
        return tuple(year[a:b] for a, b in pairwise([0, *accumulate(self.cut)]))

    def template(self, template: str) -> str:
        """The template with a slot per token: {p0}{p1} ... for the start, those before the one asked for at the end."""
        slots = [f"{{p{i}}}" for i in range(len(self.cut))]
        return template.replace("{century}{year}", "".join(slots)).replace("{century}", "".join(slots[: self.asked]))


YEARS = Form(
    "Greater-than", (2, 2), 1, {"YY": 1, "XX": 0}, range(2, 99), 1, range(2, 99), 90, True,
    "Greater-than where a year is two tokens of two digits: answers are the years above the start's, foils the others.",
)  # fmt: skip
DECADES = Form(
    "Greater decade", (1, 1, 1, 1), 2, {"decade": 2, "unit": 3, "century": 1}, range(1, 9), 0, range(1, 8),
    10, False, "Greater-than where every digit is a token and the next one is the decade: answers are the digits above "
    "the start's decade, foils those below; its own counts for neither.",
)  # fmt: skip
UNITS = Form(
    "Greater digit", (3, 1), 1, {"unit": 1, "decade": 0}, range(1, 9), 0, range(1, 8), 10, True,
    "Greater-than where a year is a token of three digits and one of the last, which comes next: answers are the "
    "digits above the start's, foils the others.",
)  # fmt: skip
FORMS = (YEARS, DECADES, UNITS)  # the first that a tokenizer can write is used


@dataclass(frozen=True)
class Known:
    """A form on one tokenizer.

    values  value of the token asked for -> its id
    starts  what the prompt ends with -> value -> the years that begin so, each with its ids
    """

    values: Mapping[int, int]
    starts: Mapping[str, Mapping[int, list[tuple[str, Ids]]]]


def build(tokens: Tokens, prompts: int, seed: int, rephrased: bool = False) -> Task:
    """Up to `prompts` pairs on this tokenizer, spread evenly over templates."""
    data = read_words(NAME)
    rng = np.random.default_rng([seed, 5 + 10 * rephrased])
    events = single_tokens(tokens, data["events"])
    dropped = Counter({"events that are not one token": len(data["events"]) - len(events)})
    wanted = data["rephrased" if rephrased else "templates"]
    spelt = _spelt(tokens, data["centuries"])
    found = {form: _known(tokens, form, spelt) for form in FORMS}
    form = next((form for form in FORMS if len(found[form].values) >= form.least and found[form].starts), YEARS)
    known = found[form]
    templates: list[str] = []
    if len(known.values) >= form.least and known.starts and events:
        templates = [t for t in wanted if _can_write(tokens, t, form, known, events)]
    else:
        dropped["two-digit years that are not a token of their own"] = 100 - len(known.values)
    dropped["templates with an unknown token"] = len(wanted) - len(templates)
    count = prompts if templates else 0
    values = [None] * count if form is YEARS else round_robin(list(form.starts), count, rng)
    pairs: list[Pair] = []
    for index, value in enumerate(values):
        template = index % len(templates)
        pair = _pair(tokens, templates[template], template, form, known, events, value, rng)
        if pair is None:
            dropped["prompts in which a word does not stand alone"] += 1
        else:
            pairs.append(pair)
    return Task(
        name=NAME,
        title=form.title,
        metric="prob_diff",
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=(*form.roles, EVENT),
        maps={known.values[v]: _sides(known.values, v, form) for v in form.mapped if v in known.values},
        words=tuple(known.values.values()),
        mover=Mover("movers", "Year Heads", "year head"),
        form=form.words if pairs else "",
        dropped={why: count for why, count in sorted(dropped.items()) if count},
    )


def _spelt(tokens: Tokens, centuries: list[str]) -> dict[str, Ids]:
    """Every year of these centuries -> its ids in running text."""
    years = [f"{century}{year:02d}" for century in centuries for year in range(100)]
    return {year: tuple(tokens.following("a", f" {year}") or ()) for year in years}


def _known(tokens: Tokens, form: Form, spelt: Mapping[str, Ids]) -> Known:
    """The years that are tokens of this form; a space before them may be a token of its own."""
    values: dict[int, int] = {}
    starts: dict[str, dict[int, list[tuple[str, Ids]]]] = {}
    for year, ids in spelt.items():
        pieces, own = form.split(year), ids[-len(form.cut) :]
        space = "".join(tokens.text(i) for i in ids[: -len(form.cut)]).strip()
        if space or tuple(tokens.text(i).strip() for i in own) != pieces:
            continue
        value, token = int(pieces[form.asked]), own[form.asked]
        if values.setdefault(value, token) == token:
            starts.setdefault("".join(pieces[: form.asked]), {}).setdefault(value, []).append((year, own))
    least = 1 if form is YEARS else len(form.starts)
    usable = {
        end: inside
        for end, inside in starts.items()
        if form.corrupted in inside and sum(value in inside for value in form.starts) >= least
    }
    return Known(values, usable)


def _can_write(tokens: Tokens, template: str, form: Form, known: Known, events: Mapping[str, int]) -> bool:
    inside = next(iter(known.starts.values()))
    year, own = next(iter(inside.values()))[0]
    words = _words(form, year, own) | {EVENT: next(iter(events.items()))}
    return bool(usable(tokens, [form.template(template)], words))


def _words(form: Form, year: str, own: Ids) -> dict[str, tuple[str, int]]:
    """Slot of the form's templates -> digits and id."""
    return {f"p{i}": piece for i, piece in enumerate(zip(form.split(year), own, strict=True))}


def _sides(values: Mapping[int, int], value: int, form: Form) -> tuple[Ids, Ids]:
    """Tokens of the values above `value`, and those that are foils."""
    above = tuple(token for its, token in sorted(values.items()) if its > value)
    return above, tuple(token for its, token in sorted(values.items()) if its < value + form.tie)


def _pair(
    tokens: Tokens, template: str, index: int, form: Form, known: Known, events: Mapping[str, int], value: int | None,
    rng: np.random.Generator,
) -> Pair | None:  # fmt: skip
    """A pair that starts at `value` (None: at one drawn), or None when its words do not stand alone."""
    inside = known.starts[str(rng.choice(list(known.starts)))]
    if value is None:
        value = int(rng.choice([v for v in inside if v in form.starts]))
    year, own = inside[value][int(rng.integers(len(inside[value]))) if len(inside[value]) > 1 else 0]
    event = str(rng.choice(list(events)))
    words = _words(form, year, own) | {EVENT: (event, events[event])}
    answers = [] if form is YEARS else [(str(v), token) for v, token in known.values.items()]
    clean = prompt(tokens, form.template(template), words, answers)
    if clean is None:
        return None
    roles = {name: clean.at[f"p{i}"][0] for name, i in form.roles.items()}
    roles |= {EVENT: clean.at[EVENT][0], END: len(clean.ids) - 1}
    corrupted = written(clean.ids, {roles[next(iter(form.roles))]: known.values[form.corrupted]})
    return Pair(clean.ids, corrupted, *_sides(known.values, value, form), roles, index, clean.text)
