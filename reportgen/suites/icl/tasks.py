"""Tasks in context: lists of (input, output) pairs, cut into shots, queries and held-out queries for one tokenizer.

- An output may take several tokens: its first one is what the model is asked for. Where more than a tenth of the pairs
  share that token with another output, those pairs are left out, and the task where they are too many.
- Splits go by word: a pair whose reverse, or whose continuation, is in the list stands on the same side.
- No torch.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from reportgen.suites.pairs import BUNDLED, Relation, load_relations

OWN = Path(__file__).parent / "data"
LEAST_PAIRS = 30
DISTINCT = 0.9  # share of pairs whose first token no other output has, from which all are kept
ENOUGH = 0.6  # the same, from which these pairs alone are kept
MANY_TO_ONE = 0.6  # distinct outputs over pairs, below which outputs repeat among the shots
SPLIT = (0.6, 0.2)  # shots, queries; the rest is held out
Pair = tuple[str, str]

# Which of the shared lists are tasks, what they are called here, and their class.
SHARED = {
    "antonym": ("word_to_antonym", "Antonym", "linguistic"),
    "synonym": ("word_to_synonym", "Synonym", "linguistic"),
    "past_tense": ("verb_to_past_tense", "Past tense", "linguistic"),
    "comparative": ("adj_to_comparative", "Comparative", "linguistic"),
    "superlative": ("adj_to_superlative", "Superlative", "linguistic"),
    "pronoun": ("noun_to_pronoun", "Pronoun", "linguistic"),
    "english_french": ("english_to_french", "English to French", "translation"),
    "english_spanish": ("english_to_spanish", "English to Spanish", "translation"),
    "capital": ("country_to_capital", "Country to capital", "knowledge"),
    "language": ("country_to_language", "Country to language", "knowledge"),
    "superclass": ("object_to_superclass", "Superclass", "knowledge"),
    "company": ("product_to_company", "Product to company", "knowledge"),
    "first_letter": ("word_to_first_letter", "First letter", "algorithmic"),
    "last_letter": ("word_to_last_letter", "Last letter", "algorithmic"),
}
TURNED = {"french_english": ("english_to_french", "French to English", "translation")}
WRITTEN = {
    "plural": "singular_to_plural", "capitalise": "word_to_capitalised", "next_item": "item_to_next",
    "first_of_three": "first_of_three", "last_of_three": "last_of_three",
}  # fmt: skip
CONTROL = "control"  # the class of tasks that copying solves
CONTROLS = {
    "copying": ("copying", "Copying"),
    "name_copying": ("name_copying", "Name copying"),
}
TASKS = (*SHARED, *TURNED, *WRITTEN)


class TaskTokens(Protocol):
    """The part of a tokenizer that tasks need."""

    unk_id: int | None
    bos_id: int | None

    def encode(self, text: str) -> list[int]: ...
    def prompt_ids(self, text: str) -> list[int]: ...
    def following(self, before: str, text: str) -> list[int] | None: ...


@dataclass(frozen=True)
class Task:
    """One task.

    name     in keys;  kind: its class: linguistic, translation, knowledge, algorithmic, extractive or the user's
    pairs    inputs are all different;  answers: their outputs' first tokens, for one tokenizer
    control  the output is the input: copying does it, so it never enters a mean over tasks
    """

    name: str
    title: str
    kind: str
    pairs: tuple[Pair, ...]
    extractive: bool = False
    answers: tuple[int, ...] = ()
    control: bool = False

    @property
    def repeats(self) -> bool:
        """Whether outputs are so few that shots share them."""
        return not self.extractive and len({y for _, y in self.pairs}) < MANY_TO_ONE * len(self.pairs)

    @property
    def answer_type(self) -> str:
        """What its outputs are, so that another task's mean can be of the same kind: letter, name or word."""
        outputs = [y for _, y in self.pairs]
        if sum(len(y) == 1 for y in outputs) > 0.5 * len(outputs):
            return "letter"
        return "name" if sum(y[:1].isupper() for y in outputs) > 0.5 * len(outputs) else "word"


def load_tasks(folder: str = "", only: Sequence[str] = (), controls: Sequence[str] = ()) -> list[Task]:
    """The project's tasks, or those of a user's folder or file of pair lists; `only` keeps some. Last the `controls`.

    A user's list that copies is a control, in place of the bundled one of its name.
    Raises DataError for a malformed file, SettingsError for an unknown name.
    """
    shared = {r.stem: r for r in load_relations(str(BUNDLED))}
    copying = {name: _task(name, shared[CONTROLS[name][0]], CONTROL, CONTROLS[name][1]) for name in controls}
    if folder:
        own = [
            _task(r.stem, r, CONTROL if r.copying else r.class_ or r.category.lower())
            for r in load_relations(folder, only)
        ]
        copying |= {task.name: task for task in own if task.control}
        return [*(task for task in own if not task.control), *copying.values()]
    written = {r.stem: r for r in load_relations(str(OWN))}
    found: dict[str, Task] = {}
    for name, (stem, title, kind) in SHARED.items():
        found[name] = _task(name, shared[stem], kind, title)
    for name, (stem, title, kind) in TURNED.items():
        found[name] = _task(name, shared[stem], kind, title, turned=True)
    for name, stem in WRITTEN.items():
        found[name] = _task(name, written[stem], written[stem].class_)
    return [*(task for name, task in found.items() if not only or name in only), *copying.values()]


def _task(name: str, listed: Relation, kind: str, title: str = "", *, turned: bool = False) -> Task:
    """Each input once, with its first output; pairs of a word with itself say nothing and are left out."""
    pairs = [(y, x) if turned else (x, y) for x, y in listed.pairs]
    first: dict[str, str] = {}
    for x, y in pairs:
        first.setdefault(x, y)
    kept = tuple((x, y) for x, y in first.items() if x != y or listed.copying)
    return Task(name, title or listed.title, kind, kept, listed.extractive, control=listed.copying)


# How a prompt is written.


@dataclass(frozen=True)
class Form:
    """`before` x `between` y `after`, repeated; x and y begin with a space."""

    name: str
    before: str
    between: str
    after: str

    def shot(self, x: str, y: str) -> str:
        return f"{self.before} {x}{self.between} {y}{self.after}"

    def query(self, x: str) -> str:
        return f"{self.before} {x}{self.between}"


FORMS = (Form("Q: x / A: y", "Q:", "\nA:", "\n\n"), Form("x -> y;", "", " ->", ";"))


def form_of(tokens: TaskTokens) -> Form | None:
    """The first form whose marks the tokenizer knows; the second is for word-level tokenizers without line breaks."""
    for form in FORMS:
        ids = tokens.encode(form.shot("a", "a") + form.query("a"))
        own = tokens.encode(form.before + form.between + form.after)
        if tokens.unk_id is None or (tokens.unk_id not in own and len(ids) > 0):
            return form
    return None


# What a tokenizer keeps.


def prepared(task: Task, form: Form, tokens: TaskTokens) -> Task | str:
    """The task with its answers' first tokens and without pairs that the tokenizer does not know, or why it is left
    out."""
    kept, answers = [], []
    for x, y in task.pairs:
        ids = tokens.following(form.query(x), f" {y}")
        unknown = tokens.unk_id is not None and tokens.unk_id in tokens.encode(form.shot(x, y))
        if ids and not unknown:
            kept.append((x, y))
            answers.append(ids[0])
    if len(kept) < LEAST_PAIRS:
        return f"{len(kept)} of {len(task.pairs)} pairs are known to this tokenizer, at least {LEAST_PAIRS} are needed"
    owners: dict[int, set[str]] = {}
    for (_, y), token in zip(kept, answers, strict=True):
        owners.setdefault(token, set()).add(y)
    if len(owners) < 3:
        return f"its outputs begin with {len(owners)} tokens in all"
    clear = [len(owners[token]) == 1 for token in answers]
    share = sum(clear) / len(clear)
    if share < DISTINCT:
        own = [i for i, is_clear in enumerate(clear) if is_clear]
        kept, answers = [kept[i] for i in own], [answers[i] for i in own]
    if share < ENOUGH or len(kept) < LEAST_PAIRS:
        return f"the outputs of {100 * (1 - share):.0f} % of the pairs begin with the token of another output"
    return replace(task, pairs=tuple(kept), answers=tuple(answers))


# Splits.


@dataclass(frozen=True)
class Splits:
    """Indices of a task's pairs: for shots, for queries, and for queries that nothing is chosen on."""

    shots: tuple[int, ...]
    queries: tuple[int, ...]
    held: tuple[int, ...]


def split(task: Task, seed: int) -> Splits:
    """60, 20 and 20 % of the pairs, whole groups of linked pairs at a time."""
    rng = np.random.default_rng([seed, 31, zlib.crc32(task.name.encode())])
    groups = _linked(task.pairs)
    order = rng.permutation(len(groups))
    parts: tuple[list[int], ...] = ([], [], [])
    wanted = [SPLIT[0] * len(task.pairs), SPLIT[1] * len(task.pairs), len(task.pairs)]
    for at in order:
        side = next(i for i in (1, 2, 0) if i == 0 or len(parts[i]) + len(groups[at]) <= wanted[1] + 0.5)
        parts[side].extend(groups[at])
    return Splits(*(tuple(sorted(part)) for part in parts))


def _linked(pairs: Sequence[Pair]) -> list[list[int]]:
    """Indices of pairs in groups: those of which one's output is another's input. Chains of more than a tenth of the
    list (the alphabet) are taken apart: there the prompts alone keep words of the query out of the shots."""
    at = {x: i for i, (x, _) in enumerate(pairs)}
    root = list(range(len(pairs)))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for i, (_, y) in enumerate(pairs):
        if y in at:
            root[find(i)] = find(at[y])
    groups: dict[int, list[int]] = {}
    for i in range(len(pairs)):
        groups.setdefault(find(i), []).append(i)
    found: list[list[int]] = []
    for group in groups.values():
        found += [group] if len(group) <= max(2, len(pairs) // 10) else [[i] for i in group]
    return found


# Prompts.


@dataclass(frozen=True)
class Prompt:
    """A query behind its shots, in two versions.

    clean, deranged  ids; the same shots, outputs moved so that none stands at its own input
    answer           the first token of the query's output
    among            the query's output is also that of a shot, in either version
    pair             index of the query in the task;  shots: indices, in order
    moved            shot i has the output of shot moved[i] in the deranged version
    """

    clean: tuple[int, ...]
    deranged: tuple[int, ...]
    answer: int
    among: bool
    pair: int
    shots: tuple[int, ...]
    moved: tuple[int, ...]


TRIES = 16  # prompts drawn for a query, of which one of the commonest length is kept


def prompts(
    task: Task, form: Form, tokens: TaskTokens, queries: Sequence[int], count: int, shots: int, pool: Sequence[int],
    rng: np.random.Generator, *, permuted: bool = False,
) -> list[Prompt]:  # fmt: skip
    """`count` prompts on the queries (each as often as the others), shots from `pool`; fewer where none can be drawn.

    permuted  outputs of the shots in any order, as in Todd et al. 2023, so that about one a prompt stays in its place

    Lengths in tokens differ little: of several drawings for a query one of the commonest length is kept, so that
    prompts run in batches.
    """
    if not queries:
        return []
    order = [int(i) for _ in range(-(-count // len(queries))) for i in rng.permutation(list(queries))][:count]
    drawn: list[list[Prompt]] = []
    for place, query in enumerate(order):
        among = task.repeats and place % 2 == 1
        for wanted in (True, False) if among else (False,):  # an output that no other pair has can't be among them
            tries = [_drawn(task, form, tokens, query, shots, pool, wanted, rng, permuted) for _ in range(TRIES)]
            found = [p for p in tries if p is not None]
            if found:
                break
        drawn.append(found)
    lengths = Counter(sizes for some in drawn for sizes in {(len(p.clean), len(p.deranged)) for p in some})
    return [max(some, key=lambda p: lengths[len(p.clean), len(p.deranged)]) for some in drawn if some]


def _drawn(
    task: Task, form: Form, tokens: TaskTokens, query: int, shots: int, pool: Sequence[int], among: bool,
    rng: np.random.Generator, permuted: bool,
) -> Prompt | None:  # fmt: skip
    """One prompt, or None where this drawing has no derangement."""
    x, y = task.pairs[query]
    chosen = _shots(task, query, shots, pool, among, rng)
    if len(chosen) != shots:
        return None
    moved = rng.permutation(shots).tolist() if permuted else deranged([task.pairs[i][1] for i in chosen], rng)
    if moved is None:
        return None
    pairs = [task.pairs[i] for i in chosen]
    texts = [
        "".join(form.shot(a, pairs[j][1]) for (a, _), j in zip(pairs, order, strict=True)) + form.query(x)
        for order in (range(shots), moved)
    ]
    clean, other = (tuple(tokens.prompt_ids(text)) for text in texts)
    there = any(b == y for _, b in pairs)
    return Prompt(clean, other, task.answers[query], there, query, tuple(chosen), tuple(moved))


def _shots(task: Task, query: int, count: int, pool: Sequence[int], among: bool, rng: np.random.Generator) -> list[int]:
    """Shots without a word of the query in either role, save for its output where `among` asks for it.

    Outputs are all different; where the task has few, each stands at most three times, or as often as it must.
    """
    x, y = task.pairs[query]
    outputs = {b for _, b in task.pairs} - {y}
    most = max(3, -(-count // max(1, len(outputs)))) if task.repeats else 1
    words = set(_words(x)) | ({y} if not task.extractive else set())
    taken: Counter[str] = Counter()
    found: list[int] = []
    for i in rng.permutation(list(pool)).tolist():
        a, b = task.pairs[i]
        if i == query or words & set(_words(a)) or b in set(_words(x)):
            continue
        if b == y and (not among or (taken[b] >= 1 and rng.random() < 0.5)):
            continue
        if taken[b] >= most:
            continue
        if among and len(found) == count - 1 and not taken[y] and b != y:
            continue  # the last place is kept for the query's own output
        found.append(i)
        taken[b] += 1
        if len(found) == count:
            break
    return [found[i] for i in rng.permutation(len(found)).tolist()]


def _words(text: str) -> list[str]:
    return [text, *text.split(", ")]


def deranged(outputs: Sequence[str], rng: np.random.Generator) -> list[int] | None:
    """An order in which no output stands where it stood, nor an equal one; None where there is none."""
    n = len(outputs)
    if max(Counter(outputs).values()) * 2 > n:
        return None
    for _ in range(50):
        order = rng.permutation(n).tolist()
        if all(outputs[j] != outputs[i] for i, j in enumerate(order)):
            return [int(j) for j in order]
    ranked = sorted(range(n), key=lambda i: outputs[i])  # equal ones side by side: turned by the largest group
    turn = max(Counter(outputs).values())
    moved = [0] * n
    for place, i in enumerate(ranked):
        moved[i] = ranked[(place + turn) % n]
    return moved
