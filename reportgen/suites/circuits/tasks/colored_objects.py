"""Coloured objects (Merullo et al. 2023, arXiv 2310.08744; the task is from BIG-bench).

    clean      "... A: green <newline> On the table, there is a red cup, a blue pen, and a green book. What color is the
               pen? A:"  ->  blue, not red
    corrupted  the question asks for another of the three objects

A worked example with other objects and colours, in the same words, stands before it: on a line of its own, or on the
same line where the tokenizer knows no line break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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

NAME = "colored_objects"
ROLES = (
    "color",
    "other_color",
    "object",
    "asked",
)  # the answer's, the foil's, the object asked for, the question's word
_GAPS = ("\n", " ")  # between the example and the question
_SCENE = 3  # objects in a scene; the example shares none with the question, in colours or objects


def build(tokens: Tokens, prompts: int, seed: int, rephrased: bool = False) -> Task:
    """Up to `prompts` pairs on this tokenizer, spread evenly over templates."""
    data = read_words(NAME)
    rng = np.random.default_rng([seed, 3 + 10 * rephrased])
    words = {kind: single_tokens(tokens, data[kind]) for kind in ("colors", "objects")}
    dropped = Counter({f"{kind} that are not one token": len(data[kind]) - len(words[kind]) for kind in words})
    wanted = data["rephrased" if rephrased else "templates"]
    gap, templates = _usable(tokens, wanted, _draw(words, rng)[0]) if _enough(words) else (_GAPS[0], [])
    dropped["templates with an unknown token"] = len(wanted) - len(templates)
    pairs: list[Pair] = []
    for index in range(prompts if templates else 0):
        template = index % len(templates)
        pair = _pair(tokens, _with_example(templates[template], gap), template, words, rng)
        if pair is None:
            dropped["prompts in which a word does not stand alone"] += 1
        else:
            pairs.append(pair)
    colors = tuple(words["colors"].values())
    return Task(
        name=NAME,
        title="Coloured objects",
        metric="logit_diff",
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=ROLES,
        foils=("other_color",),
        maps=copies(colors),
        words=colors,
        mover=Mover("movers", "Mover Heads", "mover"),
        form="" if gap == _GAPS[0] else "The worked example stands on the question's line: no token is a line break.",
        dropped={why: count for why, count in sorted(dropped.items()) if count},
    )


def _enough(words: Mapping[str, Mapping[str, int]]) -> bool:
    return min(map(len, words.values())) >= 2 * _SCENE


def _usable(tokens: Tokens, wanted: Sequence[str], words: Mapping[str, Word]) -> tuple[str, list[str]]:
    """The gap between example and question that this tokenizer can write, and the templates it can write with it."""
    for gap in _GAPS:
        found = [t for t in wanted if usable(tokens, [_with_example(t, gap)], words)]
        if found:
            return gap, found
    return _GAPS[0], []


def _with_example(template: str, gap: str) -> str:
    """The template after a worked example of itself, whose slots carry an x in front, and a gap."""
    return f"{template.replace('{', '{x')} {{xanswer}}{gap}{template}"


def _draw(words: dict[str, dict[str, int]], rng: np.random.Generator) -> tuple[dict[str, Word], int, int]:
    """A word with its id for every slot, which of the scene's objects is asked for, and which in the corruption."""
    colors, things = (
        [(str(w), words[kind][str(w)]) for w in rng.choice(list(words[kind]), size=2 * _SCENE, replace=False)]
        for kind in ("colors", "objects")
    )
    slots = {
        f"{mark}{i + 1}": word for mark, drawn in (("c", colors), ("o", things)) for i, word in enumerate(drawn[:3])
    }
    slots |= {
        f"x{mark}{i + 1}": word for mark, drawn in (("c", colors), ("o", things)) for i, word in enumerate(drawn[3:])
    }
    shown, asked = (int(i) for i in rng.integers(_SCENE, size=2))
    other = (asked + 1 + int(rng.integers(_SCENE - 1))) % _SCENE
    slots |= {"xt": things[3 + shown], "xanswer": colors[3 + shown], "t": things[asked]}
    return slots, asked, other


def _pair(
    tokens: Tokens, template: str, index: int, words: dict[str, dict[str, int]], rng: np.random.Generator
) -> Pair | None:
    drawn, asked, other = _draw(words, rng)
    color, foil = drawn[f"c{asked + 1}"], drawn[f"c{other + 1}"]
    clean = prompt(tokens, template, drawn, spaced(color, foil))
    if clean is None:
        return None
    at = {slot: places[0] for slot, places in clean.at.items()}
    roles = {
        "color": at[f"c{asked + 1}"],
        "other_color": at[f"c{other + 1}"],
        "object": at[f"o{asked + 1}"],
        "asked": at["t"],
        "END": len(clean.ids) - 1,
    }
    corrupted = written(clean.ids, {at["t"]: drawn[f"o{other + 1}"][1]})
    return Pair(clean.ids, corrupted, (color[1],), (foil[1],), roles, index, clean.text)
