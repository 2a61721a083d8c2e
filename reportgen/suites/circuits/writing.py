"""What the heads' OV circuits write for the tokens that a task's answers are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reportgen.scores import Head
from reportgen.suites import ov
from reportgen.suites.circuits.tasks.task import Ids

if TYPE_CHECKING:
    from reportgen.models.model import Weights

Maps = Mapping[int, tuple[Ids, Ids]]


@torch.inference_mode()
def writes(
    model: Weights, maps: Maps, words: ov.Sources, heads: Sequence[Head], k: int, sign: int = 1
) -> dict[Head, float]:
    """Share of the source tokens for which each head's OV circuit writes the answer.

    maps  source token -> (answers, foils), in the order of `words`. A head writes an answer that is among the k
          largest logits of the OV row, rank 1 + number above + half the ties; of several answers (later years) the mean
          must lie above that of the foils.
    sign  -1 asks for the k smallest, or for answers below the foils: suppression
    """
    if all(answers == (source,) for source, (answers, _) in maps.items()):
        return ov.copying_top_k(model, words, heads, k, sign)
    W_U = model.W_U()  # [d_model vocab]
    shares: dict[Head, float] = {}
    for layer in sorted({layer for layer, _ in heads}):
        outputs = ov.head_outputs(model, layer, words.at(layer))  # [head token d_model]
        for head in sorted(h for lay, h in heads if lay == layer):
            logits = sign * (outputs[head] @ W_U)  # [token vocab]
            hits = [_writes(row, *sets, k) for row, sets in zip(logits, maps.values(), strict=True)]
            shares[layer, head] = sum(hits) / len(hits)
    return shares


def _writes(row: Tensor, answers: Ids, foils: Ids, k: int) -> bool:
    if len(answers) > 1:
        return bool(row[list(answers)].mean() > (row[list(foils)].mean() if foils else row.mean()))
    own = row[answers[0]]
    above, ties = int((row > own).sum()), int((row == own).sum()) - 1
    return 1 + above + ties / 2 <= k


def words_for(maps: Maps, k: int) -> str:
    """The rule in words, for captions and head sets."""
    if any(len(answers) > 1 for answers, _ in maps.values()):
        return "the OV row of the token attended to has a higher mean logit on the answers than on their foils"
    return f"the answer stands among the {k} largest logits of the OV row of the token attended to"
