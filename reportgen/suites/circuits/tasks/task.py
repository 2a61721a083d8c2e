"""A task: aligned pairs of a clean and a corrupted prompt, and what counts as the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Metric = Literal["logit_diff", "prob_diff"]
Ids = tuple[int, ...]
END = "END"
METRICS: dict[Metric, str] = {"logit_diff": "logits", "prob_diff": "probability"}  # metric -> its unit


@dataclass(frozen=True)
class Pair:
    """One clean prompt and its corruption, token by token aligned.

    clean, corrupted      ids of equal length, BOS included where the model uses one
    answer_ids, foil_ids  next tokens that the metric sets against each other; none in both
    roles                 token role -> position; "END", the last position, is the one read
    template              index into the task's templates; prompts of one template are one cluster in every interval
    text                  the clean prompt's words
    """

    clean: Ids
    corrupted: Ids
    answer_ids: Ids
    foil_ids: Ids
    roles: Mapping[str, int]
    template: int
    text: str = ""

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise ValueError(f"{len(self.clean)} clean tokens, {len(self.corrupted)} corrupted: {self.text!r}")
        if not self.answer_ids or not self.foil_ids or set(self.answer_ids) & set(self.foil_ids):
            raise ValueError(f"answers {self.answer_ids} and foils {self.foil_ids}: {self.text!r}")
        outside = {role: pos for role, pos in self.roles.items() if not 0 <= pos < len(self.clean)}
        if self.roles.get(END) != len(self.clean) - 1 or outside:
            raise ValueError(f"roles {dict(self.roles)} of {len(self.clean)} tokens: {self.text!r}")

    @property
    def read(self) -> int:
        """The position whose next-token logits are read: the last."""
        return self.roles[END]


@dataclass(frozen=True)
class Mover:
    """What a task calls the heads that write its answer: key and legend entry of their set, and one of them."""

    key: str = "movers"
    label: str = "Mover Heads"
    one: str = "mover"


@dataclass(frozen=True)
class Task:
    """A task on one tokenizer.

    metric     m = logit(answer) - logit(foil), means over the sets where they hold several tokens; or the same with
               summed probabilities
    attended   roles whose attention from END is measured; the first is the token that the answer is read from
    foils      those of them that speak for the foil
    templates  the templates' words, in the order `Pair.template` counts
    maps       token that a mover attends to -> (answers, foils): what its OV circuit should write
    words      ids of all the words that can be an answer, for what a head does to the foil among them
    form       how this tokenizer has the task put, a sentence, where there are several ways
    dropped    why candidates were left out -> how many
    user       whether it comes from the user's file
    """

    name: str
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]
    templates: tuple[str, ...]
    attended: tuple[str, ...]
    foils: tuple[str, ...] = ()
    maps: Mapping[int, tuple[Ids, Ids]] = field(default_factory=dict)
    words: Ids = ()
    mover: Mover = Mover()
    form: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    user: bool = False

    @property
    def unit(self) -> str:
        """The unit of m."""
        return METRICS[self.metric]

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


def copies(ids: Sequence[int]) -> dict[int, tuple[Ids, Ids]]:
    """The map of heads that copy: each token writes itself."""
    return {token: ((token,), ()) for token in ids}
