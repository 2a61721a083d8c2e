"""Indirect object identification (Wang et al. 2022, arXiv 2211.00593).

    clean      "When Mary and John went to the store, John gave a drink to"  ->  Mary, not John
    corrupted  the same template with three fresh names, so that nobody is named twice

- Two names in either order (ABBA and BABA), half each; IO is the name that stands once, S the subject (S1, then S2).
- Names, places and objects are one token each at a word start; a prompt with an unknown token is left out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from reportgen.suites.circuits.tasks.task import (
    Mover,
    Pair,
    Task,
    Word,
    copies,
    prompt,
    read_words,
    single_tokens,
    spaced,
    usable,
    written,
)

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

NAME = "ioi"
ROLES = ("IO", "S1", "S2")
_NAMES_PER_PAIR = 5  # IO, S and three fresh ones


def build(tokens: Tokens, prompts: int, seed: int, rephrased: bool = False) -> Task:
    """Up to `prompts` pairs on this tokenizer, spread evenly over templates and both orders of the names.

    The task has fewer pairs, down to none, where the tokenizer lacks the words; `dropped` counts why.
    """
    data = read_words(NAME)
    rng = np.random.default_rng([seed, 1 + 10 * rephrased])
    words = {kind: single_tokens(tokens, data[kind]) for kind in ("names", "places", "objects")}
    dropped = Counter({f"{kind} that are not one token": len(data[kind]) - len(words[kind]) for kind in words})
    wanted = data["rephrased" if rephrased else "templates"]
    enough = min(map(len, words.values())) > 0 and len(words["names"]) >= _NAMES_PER_PAIR
    templates = usable(tokens, wanted, _sample(words)) if enough else []
    dropped["templates with an unknown token"] = len(wanted) - len(templates)
    pairs: list[Pair] = []
    for index in range(prompts if templates else 0):
        again, template = divmod(index, len(templates))
        order = (again + template) % 2  # both orders among the first prompts, and in every template
        pair = _pair(tokens, templates[template], template, order, words, rng)
        if pair is None:
            dropped["prompts in which a name does not stand alone"] += 1
        else:
            pairs.append(pair)
    names = tuple(words["names"].values())
    return Task(
        name=NAME,
        title="IOI",
        metric="logit_diff",
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=ROLES,
        foils=("S1", "S2"),
        maps=copies(names),
        words=names,
        mover=Mover("name_movers", "Name-Mover Heads", "name mover"),
        dropped={why: count for why, count in sorted(dropped.items()) if count},
    )


def _sample(words: dict[str, dict[str, int]]) -> dict[str, Word]:
    """One word and its id for every slot."""
    a, b, *_ = words["names"].items()
    place, thing = (next(iter(words[kind].items())) for kind in ("places", "objects"))
    return {"a": a, "b": b, "s": b, "place": place, "object": thing}


def _pair(
    tokens: Tokens, template: str, index: int, order: int, words: dict[str, dict[str, int]], rng: np.random.Generator
) -> Pair | None:
    """One pair with random words, or None when its names cannot be found in the tokens.

    order 0 is ABBA (the indirect object stands first), 1 is BABA.
    """
    names = words["names"]
    io, s, *fresh = (str(n) for n in rng.choice(list(names), size=_NAMES_PER_PAIR, replace=False))
    place, thing = (str(rng.choice(list(words[kind]))) for kind in ("places", "objects"))
    a, b = (io, s) if order == 0 else (s, io)
    slots = {slot: (name, names[name]) for slot, name in (("a", a), ("b", b), ("s", s))}
    slots |= {"place": (place, words["places"][place]), "object": (thing, words["objects"][thing])}
    clean = prompt(tokens, template, slots, spaced((io, names[io]), (s, names[s])))
    if clean is None:
        return None
    (first,), (second,), (again,) = (clean.at[slot] for slot in "abs")
    at_io, at_s = (first, second) if order == 0 else (second, first)
    roles = {"IO": at_io, "S1": at_s, "S2": again, "END": len(clean.ids) - 1}
    corrupted = written(clean.ids, {roles[role]: names[n] for role, n in zip(ROLES, fresh, strict=True)})
    return Pair(clean.ids, corrupted, (names[io],), (names[s],), roles, index, clean.text)
