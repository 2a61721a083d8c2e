"""A task: aligned pairs of a clean and a corrupted prompt, and what counts as the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Metric = Literal["logit_diff", "prob_diff"]
END = "END"


@dataclass(frozen=True)
class Pair:
    """One clean prompt and its corruption, token by token aligned.

    clean, corrupted      ids of equal length, BOS included where the model uses one
    answer_ids, foil_ids  next tokens that the metric sets against each other; none in both
    roles                 token role -> position; "END" is the position read
    template              index into the task's templates; prompts of one template are one cluster in every interval
    text                  the clean prompt's words
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answer_ids: tuple[int, ...]
    foil_ids: tuple[int, ...]
    roles: Mapping[str, int]
    template: int
    text: str = ""

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise ValueError(f"{len(self.clean)} clean tokens, {len(self.corrupted)} corrupted: {self.text!r}")
        if not self.answer_ids or not self.foil_ids or set(self.answer_ids) & set(self.foil_ids):
            raise ValueError(f"answers {self.answer_ids} and foils {self.foil_ids}: {self.text!r}")
        outside = {role: pos for role, pos in self.roles.items() if not 0 <= pos < len(self.clean)}
        if END not in self.roles or outside:
            raise ValueError(f"roles {dict(self.roles)} of {len(self.clean)} tokens: {self.text!r}")

    @property
    def read(self) -> int:
        """The position whose next-token logits are read."""
        return self.roles[END]


@dataclass(frozen=True)
class Task:
    """A task on one tokenizer.

    metric     m = logit(answer) - logit(foil), means over the sets where they hold several tokens; or the same with
               summed probabilities
    attended   roles whose attention from END is measured
    templates  the templates' words, in the order `Pair.template` counts
    words      ids whose copying is asked for (the names)
    dropped    why candidates were left out -> how many
    """

    name: str
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]
    templates: tuple[str, ...]
    attended: tuple[str, ...]
    words: tuple[int, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)

    def batches(self, size: int) -> Iterator[list[int]]:
        """Indices of pairs, `size` at most together, all of one length: no padding anywhere."""
        yield from batches(self.pairs, range(len(self.pairs)), size)


def batches(pairs: Sequence[Pair], chosen: Sequence[int], size: int) -> Iterator[list[int]]:
    """The chosen indices grouped by prompt length, at most `size` together."""
    by_length: dict[int, list[int]] = {}
    for index in chosen:
        by_length.setdefault(len(pairs[index].clean), []).append(index)
    for _, indices in sorted(by_length.items()):
        for start in range(0, len(indices), size):
            yield indices[start : start + size]
