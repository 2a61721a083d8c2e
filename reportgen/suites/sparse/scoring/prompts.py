"""Prompts with an answer and a corrupted twin of the same length, from a TOML file or the user's own words.

The corrupted twin is the same template with another pair's word; its answer is the foil. Prompts begin with the model's
BOS, or with <|endoftext|> where the tokenizer puts none in front but has it (the papers' GPT-2 prompts do).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable, SettingsError
from reportgen.models.tokens import Tokens
from reportgen.suites.sparse.suite import PairTask

Ids = npt.NDArray[np.int64]
LEAST = 40  # prompts behind an interval


@dataclass(frozen=True, eq=False)
class PromptGroup:
    """Prompts of one template and one length: ids and corrupted ids [prompt pos], answer and foil [prompt].

    `key` is the position of the word; `foils` and `corrupted` are None where the user gave none.
    """

    template: str
    ids: Ids
    answers: Ids
    corrupted: Ids | None
    foils: Ids | None
    key: int | None

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> PromptGroup:
        """One prompt as a group of its own."""
        part = slice(index, index + 1)
        corrupted = None if self.corrupted is None else self.corrupted[part]
        foils = None if self.foils is None else self.foils[part]
        return PromptGroup(self.template, self.ids[part], self.answers[part], corrupted, foils, self.key)


def start(tokens: Tokens) -> list[int]:
    """What stands before every prompt: BOS, else the mark between documents (<|endoftext|>), else nothing."""
    found = tokens.document_mark() if tokens.bos_id is None else tokens.bos_id
    return [] if found is None else [found]


def groups(tokens: Tokens, task: PairTask, per_template: int, seed: int) -> list[PromptGroup]:
    """One group per template, `per_template` prompts each or as many as the tokenizer allows.

    Raises NotApplicable when fewer than 40 prompts in 3 templates are left.
    """
    rng = np.random.default_rng([seed, 80])
    made = [group for text in task.templates if (group := _group(tokens, task, text, per_template, rng)) is not None]
    count = sum(len(group) for group in made)
    if count < LEAST or len(made) < 3:
        raise NotApplicable(
            f"Only {count} prompts in {len(made)} templates of {task.title!r} are single tokens here; "
            f"{LEAST} in 3 are needed.",
            "Give others with --set sparse.prompts=FILE.",
        )
    return made


def _group(tokens: Tokens, task: PairTask, text: str, most: int, rng: np.random.Generator) -> PromptGroup | None:
    found = usable(tokens, task, text)
    if not found:
        return None
    length = Counter(len(ids) for _, (ids, _) in found).most_common(1)[0][0]
    kept = [entry for entry in found if len(entry[1][0]) == length]
    picks = rng.permutation(len(kept))[:most]
    rows = [(kept[i], twin) for i in picks if (twin := _twin(kept, i)) is not None]
    if not rows:
        return None
    ids = np.array([one[1][0] for one, _ in rows])
    corrupted = np.array([other[1][0] for _, other in rows])
    answers, foils = (np.array([pair[1][1] for pair in side]) for side in zip(*rows, strict=True))
    return PromptGroup(text, ids, answers, corrupted, foils, _differs(ids, corrupted))


_Entry = tuple[tuple[str, str], tuple[list[int], int]]


def usable(tokens: Tokens, task: PairTask, text: str) -> list[_Entry]:
    """The task's pairs in one template whose answer is one token and whose words are all known, encoded."""
    return [(pair, made) for pair in task.pairs if (made := encoded(tokens, text.replace("{x}", pair[0]), pair[1]))]


def _twin(entries: list[_Entry], index: int) -> _Entry | None:
    """The next entry that shares no word with this one."""
    words = set(entries[index][0])
    turned = entries[index + 1 :] + entries[:index]
    return next((entry for entry in turned if not words & set(entry[0])), None)


def _differs(ids: Ids, corrupted: Ids) -> int | None:
    """The one position where prompts and their twins differ, or None."""
    where = np.flatnonzero((ids != corrupted).any(0))
    return int(where[0]) if len(where) == 1 else None


def encoded(tokens: Tokens, prompt: str, answer: str) -> tuple[list[int], int] | None:
    """(ids with the start token, id of the answer) or None where the answer is not one token or a word is unknown.

    A space at the prompt's end belongs to the answer's token.
    """
    if prompt.endswith(" "):
        prompt, answer = prompt[:-1], f" {answer}"
    token = tokens.next_id(prompt, answer)
    if token is None or not tokens.knows(prompt):
        return None
    return [*start(tokens), *tokens.encode(prompt)], token


def own(tokens: Tokens, prompt: str, answer: str, foil: str, corrupted: str) -> PromptGroup:
    """The user's prompt. SettingsError where the answer is not one token or the corrupted prompt has another length."""
    made = encoded(tokens, prompt, answer)
    if made is None:
        raise SettingsError(f"{answer!r} is not one token after {prompt!r}.", "Give another sparse.answer.")
    ids, answer_id = np.array([made[0]]), np.array([made[1]])
    foils = twin = None
    if foil:
        other = encoded(tokens, prompt, foil)
        if other is None:
            raise SettingsError(f"{foil!r} is not one token after {prompt!r}.", "Give another sparse.foil.")
        foils = np.array([other[1]])
    if corrupted:
        twin = np.array([[*start(tokens), *tokens.encode(corrupted.removesuffix(" "))]])
        if twin.shape != ids.shape:
            raise SettingsError(
                f"The corrupted prompt has {twin.shape[1]} tokens, the prompt {ids.shape[1]}.",
                "Give both the same number of tokens.",
            )
    return PromptGroup(prompt, ids, answer_id, twin, foils, None if twin is None else _differs(ids, twin))


def drawn(tokens: Tokens, task: PairTask) -> PromptGroup | None:
    """The task's own drawn prompt in its first template, None where this tokenizer splits its words."""
    entries = [(pair, made) for pair in task.pairs
               if (made := encoded(tokens, task.templates[0].replace("{x}", pair[0]), pair[1]))]  # fmt: skip
    index = next((i for i, (pair, _) in enumerate(entries) if pair == tuple(task.drawn)), None)
    if index is None:
        return None
    same = [entry for entry in entries if len(entry[1][0]) == len(entries[index][1][0])]
    twin = _twin(same, same.index(entries[index]))
    if twin is None:
        return None
    ids, corrupted = np.array([entries[index][1][0]]), np.array([twin[1][0]])
    text = task.templates[0].replace("{x}", task.drawn[0])
    answer, foil = np.array([entries[index][1][1]]), np.array([twin[1][1]])
    return PromptGroup(text, ids, answer, corrupted, foil, _differs(ids, corrupted))


def contexts(tokens: Tokens, text: Ids, length: int) -> Ids:
    """[sequence pos] of other text, `length` tokens each, that begin as prompts do; to resample edges from."""
    head = start(tokens)
    lead = len(head)
    begins = (text[:, :lead] == head).all(1)[:, None]
    rest = np.where(begins, text[:, lead:length], text[:, : length - lead])
    return np.concatenate([np.tile(np.array(head, np.int64), (len(text), 1)), rest], axis=1)
