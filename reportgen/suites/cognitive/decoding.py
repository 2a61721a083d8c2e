"""Greedy decoding in batches with kept keys and values, and the answer read out of what was generated.

- Prompts of one length share a batch; nothing is filled up on the left.
- The answer is looked for in the generated text only. A text without one is its own category, never a wrong answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reportgen.models.past import check_cache

if TYPE_CHECKING:
    from reportgen.models.model import Model

MOST_NEW = {"plain": 16, "cogqa": 128}  # new tokens at most
_JSON = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*")')


def greedy(
    model: Model, prompts: Sequence[Sequence[int]], most: int, done: Callable[[str], bool], batch: int
) -> list[list[int]]:
    """The most likely continuation of every prompt, up to `most` tokens or until `done(text so far)`."""
    cached = check_cache(model)
    lengths: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        lengths.setdefault(len(prompt), []).append(i)
    out: list[list[int]] = [[] for _ in prompts]
    for length, places in lengths.items():
        room = min(most, model.record.n_ctx - length)
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            made = _decode(model, torch.tensor([list(prompts[i]) for i in some]), room, done, cached=cached)
            for i, ids in zip(some, made, strict=True):
                out[i] = ids
    return out


@torch.no_grad()
def _decode(model: Model, ids: Tensor, most: int, done: Callable[[str], bool], *, cached: bool) -> list[list[int]]:
    """Continuations of ids [row pos], each cut where it was done."""
    made: list[list[int]] = [[] for _ in ids]
    open_rows, cache = set(range(len(ids))), None
    ids = ids.to(model.device)
    given = ids
    while open_rows and len(made[0]) < most:
        if cached:
            how = {"return_type": "logits_and_cache", "use_cache": True, "logits_to_keep": 1}
            logits, cache = model.bridge(given, past_key_values=cache, **how)
        else:
            logits = model.run(ids, last=True)
        given = logits[:, -1].argmax(-1, keepdim=True)  # [row 1]
        ids = torch.cat([ids, given], dim=1)
        for row, token in enumerate(given[:, 0].tolist()):
            made[row].append(token)
            if row in open_rows and done(model.tokens.decode(made[row])):
                open_rows.discard(row)
    return [_cut(model, tokens, done) for tokens in made]


def _cut(model: Model, tokens: list[int], done: Callable[[str], bool]) -> list[int]:
    return next((tokens[:n] for n in range(1, len(tokens)) if done(model.tokens.decode(tokens[:n]))), tokens)


def is_done(form: str) -> Callable[[str], bool]:
    """When a text of this prompt format is complete: a line, or one JSON list."""
    if form == "cogqa":
        return lambda text: _JSON.search(text) is not None and "]" in text  # also where `"}]` is one token
    return lambda text: "\n" in text.lstrip() or text.rstrip().endswith(".")


def answer_in(text: str, form: str) -> str | None:
    """The answer in a generated text; None where there is none."""
    if form == "cogqa":
        found = _JSON.search('"answer": "' + text if not text.lstrip().startswith(("[", "{")) else text)
        try:
            value = json.loads(found[1]).strip() if found else ""
        except ValueError:
            return None
    else:
        value = text.strip().split("\n")[0].strip().removesuffix(".").strip()
    return value or None
