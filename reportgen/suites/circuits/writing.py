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
    answers, foils = (_Sets([sets[i] for sets in maps.values()], W_U.device) for i in (0, 1))
    shares: dict[Head, Tensor] = {}
    for layer in sorted({layer for layer, _ in heads}):
        outputs = ov.head_outputs(model, layer, words.at(layer))  # [head token d_model]
        for head in sorted(h for lay, h in heads if lay == layer):
            logits = sign * (outputs[head] @ W_U)  # [token vocab]
            hits = torch.where(answers.several, _above(logits, answers, foils), _among(logits, answers, k))
            shares[layer, head] = torch.where(logits.isfinite().all(), hits.float().mean(), torch.nan)
    return ov.on_host(shares)


class _Sets:
    """A set of token ids per source token, padded: ids, member [token widest]; several [token], more than one."""

    def __init__(self, sets: Sequence[Ids], device: torch.device) -> None:
        widest = max(1, *map(len, sets))
        self.ids = torch.tensor([[*ids, *[0] * (widest - len(ids))] for ids in sets], device=device)
        sizes = torch.tensor([len(ids) for ids in sets], device=device)
        self.member = torch.arange(widest, device=device) < sizes[:, None]
        self.sizes, self.several = sizes, sizes > 1

    def mean(self, logits: Tensor) -> Tensor:
        """Mean logit of each token's set [token]; of the whole row where the set is empty."""
        found = (logits.gather(1, self.ids) * self.member).sum(1) / self.sizes.clamp_min(1)
        return torch.where(self.sizes > 0, found, logits.mean(1))


def _above(logits: Tensor, answers: _Sets, foils: _Sets) -> Tensor:
    """[token] whether the answers' mean logit lies above that of the foils."""
    return answers.mean(logits) > foils.mean(logits)


def _among(logits: Tensor, answers: _Sets, k: int) -> Tensor:
    """[token] whether the first answer is among the k largest logits of the row."""
    own = logits.gather(1, answers.ids[:, :1])
    above, ties = (logits > own).sum(1), (logits == own).sum(1) - 1
    return 1 + above + ties / 2 <= k


def words_for(maps: Maps, k: int) -> str:
    """The rule in words, for captions and head sets."""
    if any(len(answers) > 1 for answers, _ in maps.values()):
        return "the OV row of the token attended to has a higher mean logit on the answers than on their foils"
    return f"the answer stands among the {k} largest logits of the OV row of the token attended to"
