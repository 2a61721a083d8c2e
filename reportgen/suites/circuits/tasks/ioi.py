"""Indirect object identification (Wang et al. 2022, arXiv 2211.00593).

    clean      "When Mary and John went to the store, John gave a drink to"  ->  Mary, not John
    corrupted  the same template with three fresh names, so that nobody is named twice

- Two names in either order (ABBA and BABA), half each; IO is the name that stands once, S the subject (S1, then S2).
- Names, places and objects are one token each at a word start; a prompt with an unknown token is left out.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reportgen.suites.circuits.tasks.task import Pair, Task

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

NAME = "ioi"
DATA = Path(__file__).parent.parent / "data" / "ioi.toml"
ROLES = ("IO", "S1", "S2")
_NAMES_PER_PAIR = 5  # IO, S and three fresh ones


def build(tokens: Tokens, prompts: int, seed: int) -> Task:
    """Up to `prompts` pairs on this tokenizer, spread evenly over templates and both orders of the names.

    The task has fewer pairs, down to none, where the tokenizer lacks the words; `dropped` counts why.
    """
    data = tomllib.loads(DATA.read_text("utf-8"))
    rng = np.random.default_rng([seed, 1])
    words = {kind: _single(tokens, data[kind]) for kind in ("names", "places", "objects")}
    dropped = Counter({f"{kind} that are not one token": len(data[kind]) - len(words[kind]) for kind in words})
    usable = [] if min(map(len, words.values())) == 0 or len(words["names"]) < _NAMES_PER_PAIR else data["templates"]
    templates = [t for t in usable if _readable(tokens, t, words)]
    dropped["templates with an unknown token"] = len(data["templates"]) - len(templates)
    forms = [(template, order) for order in range(2) for template in range(len(templates))]
    pairs: list[Pair] = []
    for index in range(prompts if forms else 0):
        template, order = forms[index % len(forms)]
        pair = _pair(tokens, templates[template], template, order, words, rng)
        if pair is None:
            dropped["prompts in which a name does not stand alone"] += 1
        else:
            pairs.append(pair)
    return Task(
        name=NAME,
        title="IOI",
        metric="logit_diff",
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=ROLES,
        words=tuple(words["names"].values()),
        dropped={why: count for why, count in sorted(dropped.items()) if count},
    )


def _single(tokens: Tokens, words: Sequence[str]) -> dict[str, int]:
    """word -> id, for the words that are one token at a word start; two words with one id count once."""
    ids = {word: tokens.word_id(word) for word in words}
    first = {token: word for word, token in reversed(ids.items()) if token is not None}
    return {word: token for word, token in ids.items() if token is not None and first[token] == word}


def _readable(tokens: Tokens, template: str, words: dict[str, dict[str, int]]) -> bool:
    """Whether the template has no unknown token, tried with the first words of each kind."""
    a, b = list(words["names"])[:2]
    text = template.format(a=a, b=b, s=b, place=next(iter(words["places"])), object=next(iter(words["objects"])))
    return tokens.unk_id is None or tokens.unk_id not in tokens.encode(text)


def _pair(
    tokens: Tokens, template: str, index: int, order: int, words: dict[str, dict[str, int]], rng: np.random.Generator
) -> Pair | None:
    """One pair with random words, or None when its names cannot be found in the tokens.

    order 0 is ABBA (the indirect object stands first), 1 is BABA.
    """
    ids = words["names"]
    io, s, *fresh = (str(n) for n in rng.choice(list(ids), size=_NAMES_PER_PAIR, replace=False))
    place, thing = (str(rng.choice(list(words[kind]))) for kind in ("places", "objects"))
    a, b = (io, s) if order == 0 else (s, io)
    text = template.format(a=a, b=b, s=s, place=place, object=thing)
    clean = tokens.prompt_ids(text)
    at = {name: [pos for pos, token in enumerate(clean) if token == ids[name]] for name in (io, s)}
    if len(at[io]) != 1 or len(at[s]) != 2:
        return None
    roles = {"IO": at[io][0], "S1": at[s][0], "S2": at[s][1], "END": len(clean) - 1}
    corrupted = list(clean)
    for role, name in zip(ROLES, fresh, strict=True):
        corrupted[roles[role]] = ids[name]
    return Pair(tuple(clean), tuple(corrupted), (ids[io],), (ids[s],), roles, index, text)
