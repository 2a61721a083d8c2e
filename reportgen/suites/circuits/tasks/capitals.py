"""Capitals of countries (Merullo et al. 2023, arXiv 2310.08744, appendix H).

clean      "The capital of France is"  ->  Paris, not Rome
corrupted  the same template with another country (here Italy)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reportgen.suites.circuits.tasks.task import (
    Ids,
    Mover,
    Pair,
    Task,
    prompt,
    read_words,
    round_robin,
    single_tokens,
    spaced,
    usable,
    written,
)

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

NAME = "capitals"
ROLES = ("country",)
_LEAST = 4  # countries


def build(tokens: Tokens, prompts: int, seed: int, rephrased: bool = False) -> Task:
    """Up to `prompts` pairs on this tokenizer, spread evenly over templates and countries."""
    data = read_words(NAME)
    rng = np.random.default_rng([seed, 4 + 10 * rephrased])
    listed: dict[str, str] = data["capitals"]
    countries = single_tokens(tokens, list(listed))
    known = {
        country: (token, city) for country, token in countries.items() if (city := tokens.word_id(listed[country]))
    }
    dropped = Counter({"countries or capitals that are not one token": len(listed) - len(known)})
    wanted = data["rephrased" if rephrased else "templates"]
    templates: list[str] = []
    if len(known) >= _LEAST:
        name, (token, _) = next(iter(known.items()))
        templates = usable(tokens, wanted, {"country": (name, token)})
    dropped["templates with an unknown token"] = len(wanted) - len(templates)
    pairs: list[Pair] = []
    order = round_robin(list(known), prompts if templates else 0, rng)
    for index, country in enumerate(order):
        template = index % len(templates)
        pair = _pair(tokens, templates[template], template, country, listed, known, rng)
        if pair is None:
            dropped["prompts in which the country does not stand alone"] += 1
        else:
            pairs.append(pair)
    maps: dict[int, tuple[Ids, Ids]] = {token: ((city,), ()) for token, city in known.values()}
    return Task(
        name=NAME,
        title="Capitals",
        metric="logit_diff",
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=ROLES,
        maps=maps,
        words=tuple(sorted({city for _, city in known.values()})),
        mover=Mover("movers", "Capital Heads", "capital head"),
        dropped={why: count for why, count in sorted(dropped.items()) if count},
    )


def _pair(
    tokens: Tokens, template: str, index: int, country: str, listed: Mapping[str, str],
    known: Mapping[str, tuple[int, int]], rng: np.random.Generator,
) -> Pair | None:  # fmt: skip
    token, city = known[country]
    others = [name for name, (_, its) in known.items() if its != city]
    another = others[int(rng.integers(len(others)))]
    other, foil = known[another]
    answers = spaced((listed[country], city), (listed[another], foil))
    clean = prompt(tokens, template, {"country": (country, token)}, answers)
    if clean is None:
        return None
    (at,) = clean.at["country"]
    corrupted = written(clean.ids, {at: other})
    return Pair(clean.ids, corrupted, (city,), (foil,), {"country": at, "END": len(clean.ids) - 1}, index, clean.text)
