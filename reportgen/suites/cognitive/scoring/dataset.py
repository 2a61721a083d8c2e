"""From rows to the examples a probe sees: labels that are large enough, splits by chain, and what is odd about them.

- Train / validation (early stop) / selection (importance) / test (accuracy, ablation), 60/10/15/15 % by chain: what is
  chosen on one split is measured on another, and no chain is in two.
- Labels, splits and duplicates are counted and stored: a probe reads the surface wherever it gives the label away.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reportgen.aliases import Progress
from reportgen.errors import DataError, NotApplicable
from reportgen.suites.cognitive.rows import SPLITS, Row, read_rows
from reportgen.suites.cognitive.scoring.prompts import (
    MOST_NEW,
    Encoded,
    Encoder,
    answer_in,
    bare,
    decode_greedily,
    is_done,
    template,
)
from reportgen.suites.cognitive.suite import Recipe, Settings
from reportgen.suites.settings import AUTO

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

SHARES = (0.60, 0.10, 0.15, 0.15)
# The paper's order of panels; other labels follow in the order of the file.
PAPER = (
    "Knowledge Recall", "Retrieval", "Logical Reasoning", "Decision-making",
    "Semantic Understanding", "Syntactic Understanding", "Inference", "Math Calculation",
)  # fmt: skip
OTHER = "Other"
_ODD = {
    "test_questions_in_train": "test questions that are also in train, verbatim",
    "texts_with_two_labels": "texts with two labels",
    "labels_that_look_alike": "labels that differ only in case or punctuation",
}
DATA = Path(__file__).parents[1] / "data"
SHIPPED = {"english": DATA / "english.jsonl", "in_vocabulary": DATA / "in_vocabulary.jsonl"}


@dataclass(frozen=True)
class DataSet:
    """Rows with splits, and their labels in the order of the figures.

    stray     label -> rows left out because the label is too small
    about     counts and oddities: small JSON values for the report
    """

    name: str
    rows: tuple[Row, ...]
    functions: tuple[str, ...]
    stray: Mapping[str, int]
    about: Mapping[str, object]

    def label(self, row: Row) -> int:
        """The row's class."""
        return self.functions.index(row.function)

    def words(self) -> list[str]:
        """Counts and oddities as lines for the terminal."""
        about: Mapping[str, Any] = self.about
        sizes = {label: sum(about["counts"][label].values()) for label in self.functions}
        counts = ", ".join(f"{label} {n}" for label, n in sizes.items())
        if len(set(sizes.values())) == 1:
            counts = f"{sizes[self.functions[0]]} of each of {', '.join(self.functions)}"
        lines = [f"{self.name}: {about['rows']:,} rows in {about['chains']:,} chains: {counts}."]
        if self.stray:
            small = ", ".join(f"{label} {n}" for label, n in self.stray.items())
            lines.append(f"{self.name}: labels with too few rows, left out or collapsed: {small}.")
        for key, odd in _ODD.items():
            if about[key]:
                lines.append(f"{self.name}: {odd}: {about[key]}.")
        return lines


def source(data: str) -> Path:
    """The file behind the setting `data` when it is no `auto`."""
    return SHIPPED[data] if data in SHIPPED else Path(data)


def make_dataset(name: str, rows: Sequence[Row], min_per_class: int, small: str, seed: int) -> DataSet:
    """Drop or collapse small classes, draw missing splits, count. DataError when too little is left.

    small  what happens to labels with fewer than `min_per_class` rows: "drop", "other" (one class together) or "refuse"
    """
    rows, stray = _large_enough(name, rows, min_per_class, small)
    functions = _ordered(rows)
    if len(functions) < 2:
        counts = ", ".join(f"{label} {n}" for label, n in Counter(row.function for row in rows).items())
        raise DataError(
            f"{name}: fewer than two functions with {min_per_class} rows or more ({counts or 'none'}).",
            "Add rows, or lower it with --set cognitive.min_per_class=N.",
        )
    rows = split(rows, seed)
    _check_splits(name, rows, functions)
    return DataSet(name, rows, functions, stray, _about(rows, functions))


def load(data: str) -> tuple[Row, ...]:
    """The rows of a shipped set or of the user's file."""
    return read_rows(source(data))


def check(data: str, min_per_class: int, small: str) -> None:
    """Everything about a file that can be refused without a model."""
    make_dataset(data, load(data), min_per_class, small, 0)


def _large_enough(name: str, rows: Sequence[Row], least: int, small: str) -> tuple[tuple[Row, ...], dict[str, int]]:
    counts = Counter(row.function for row in rows)
    stray = {label: n for label, n in counts.items() if n < least}
    if not stray:
        return tuple(rows), {}
    if small == "refuse":
        shown = ", ".join(f"{label!r} ({n})" for label, n in stray.items())
        raise DataError(f"{name}, field 'function': labels with fewer than {least} rows: {shown}.", "Fix or drop them.")
    if small == "other" and sum(stray.values()) >= least:
        return tuple(replace(r, function=OTHER) if r.function in stray else r for r in rows), stray
    return tuple(row for row in rows if row.function not in stray), stray


def _ordered(rows: Sequence[Row]) -> tuple[str, ...]:
    found = dict.fromkeys(row.function for row in rows)
    known = [label for label in PAPER if label in found]
    return (*known, *(label for label in found if label not in known))


def split(rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """Every row with a split, whole chains at a time, each function as near to 60/10/15/15 % as a greedy walk makes it.

    A file with train and test but without validation or selection has those taken out of its train chains.
    """
    given = {row.chain: row.split for row in rows}
    present = {s for s in given.values() if s}
    free = [chain for chain, s in given.items() if not s]
    wanted = dict(zip(SPLITS, SHARES, strict=True))
    if present and not free:
        missing = [s for s in SPLITS if s not in present]
        if not missing:
            return tuple(rows)
        free = [chain for chain, s in given.items() if s == "train"]
        wanted = {s: wanted[s] for s in ("train", *missing) if s != "test" or "test" in missing}
    elif present:
        wanted = {s: share for s, share in wanted.items() if s not in present} or wanted
    return _assigned(rows, given, free, wanted, seed)


def _assigned(
    rows: Sequence[Row], given: dict[str, str], free: Sequence[str], wanted: Mapping[str, float], seed: int
) -> tuple[Row, ...]:
    """Chains of `free` spread over `wanted`, each to the split that lacks most of what the chain holds."""
    chosen, names = set(free), list(wanted)
    functions = {label: i for i, label in enumerate(dict.fromkeys(row.function for row in rows))}
    holds = {chain: np.zeros(len(functions)) for chain in free}
    for row in rows:
        if row.chain in chosen:
            holds[row.chain][functions[row.function]] += 1
    total = np.sum(list(holds.values()), axis=0)  # [function]
    shares = np.array([wanted[s] for s in names]) / sum(wanted.values())
    lacking = shares[:, None] * total  # [split function]
    order = np.random.default_rng([seed, 5]).permutation(len(free))
    for place in sorted(order, key=lambda i: -holds[free[i]].sum()):  # stable: large chains first
        chain = free[place]
        # The share of its target that a split still lacks, over the functions that this chain has.
        need = (lacking / np.maximum(shares[:, None] * total, 1e-9)) @ holds[chain]
        best = int(need.argmax())
        given[chain] = names[best]
        lacking[best] -= holds[chain]
    return tuple(replace(row, split=given[row.chain]) for row in rows)


def _check_splits(name: str, rows: Sequence[Row], functions: Sequence[str]) -> None:
    counts = Counter((row.split, row.function) for row in rows)
    for part in SPLITS:
        absent = [label for label in functions if not counts[part, label]]
        if absent:
            raise DataError(
                f"{name}: no {part} rows of {', '.join(absent)} ({len({r.chain for r in rows})} chains in all).",
                "Splits are drawn by chain: give more chains, or a split in the file.",
            )


def _about(rows: Sequence[Row], functions: Sequence[str]) -> dict[str, object]:
    counts = {label: Counter(r.split for r in rows if r.function == label) for label in functions}
    train = {_plain(row.subquestion) for row in rows if row.split == "train"}
    repeated = [row for row in rows if row.split == "test" and _plain(row.subquestion) in train]
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(_plain(row.subquestion), set()).add(row.function)
    steps = [np.mean([row.step for row in rows if row.function == label]) for label in functions]
    return {
        "rows": len(rows),
        "chains": len({row.chain for row in rows}),
        "counts": {label: {part: counts[label][part] for part in SPLITS} for label in functions},
        "test_questions_in_train": len(repeated),
        "texts_with_two_labels": sum(len(found) > 1 for found in labels.values()),
        "labels_that_look_alike": _alike(functions),
        "mean_step": {label: float(at) for label, at in zip(functions, steps, strict=True)},
        "answer_words": {
            label: float(np.mean([len(r.answer.split()) for r in rows if r.function == label])) for label in functions
        },
        "answer_shapes": {
            label: dict(Counter(answer_shape(r.answer) for r in rows if r.function == label)) for label in functions
        },
    }


def _alike(functions: Sequence[str]) -> list[list[str]]:
    """Labels that differ in case, spaces or signs only: most likely one function written in several ways."""
    groups: dict[str, list[str]] = {}
    for label in functions:
        groups.setdefault(re.sub(r"[\W_]+", "", label.lower()), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


_NUMBERS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty".split()
)


def answer_shape(answer: str) -> str:
    """The form of an answer: yes/no, number, name or word (one), phrase (two to five words) or sentence."""
    words = re.findall(r"[^\W_]+", answer.lower())
    if len(words) == 1 and words[0] in ("yes", "no", "true", "false"):
        return "yes/no"
    if words and all(word.isdecimal() or word in _NUMBERS for word in words) and len(words) <= 2:
        return "number"
    if len(words) <= 1:
        return "name" if answer[:1].isupper() else "word"
    return "phrase" if len(words) <= 5 else "sentence"


# From settings and model to encoded rows: which data set, which answers, what had to be left out.

MOST_UNKNOWN = 0.2  # share of unknown tokens from which the set says nothing of this model


@dataclass(frozen=True)
class Prepared:
    """The examples of a run. encoded, gold: the rows with the answers that are read, and with the right ones.

    correct   [row] whether the generated answer is the right one; None where answers are given
    recipe    what was done: the one asked for, with a prompt that the tokenizer has words for
    about     what was chosen and left out: small JSON values
    """

    data: DataSet
    encoded: tuple[Encoded, ...]
    gold: tuple[Encoded, ...]
    correct: tuple[bool, ...] | None
    recipe: Recipe
    about: Mapping[str, object]


def prepare(model: Model, settings: Settings, recipe: Recipe, seed: int, progress: Progress) -> Prepared:
    """Raises NotApplicable where the tokenizer or the context has no room for the set, DataError for its own faults."""
    recipe, prompt_why = _with_prompt(model, settings, recipe)
    name, rows, why = chosen(model.tokens, settings, recipe)
    rows = split(rows, seed)
    encoder = Encoder(model.tokens, rows, recipe, settings.k, settings.site)
    gold = [encoder.encode(row, row.answer) for row in rows]
    room = model.record.n_ctx
    fits = [i for i, e in enumerate(gold) if e.answer and e.sites and len(e.ids) <= room]
    too_long = sum(len(e.ids) > room for e in gold)
    answers = (
        _answers(model, encoder, [rows[i] for i in fits], settings, progress) if recipe.answers == "generate" else {}
    )
    kept, encoded, correct = _read(encoder, rows, gold, fits, answers, recipe, room)
    try:
        data = make_dataset(name, [rows[i] for i in kept], settings.min_per_class, settings.small_classes, seed)
    except DataError as error:
        reasons = (
            (too_long, "too long for the context"),
            (len(gold) - len(fits) - too_long, "without a token of the answer"),
            (len(fits) - len(kept), "with a generated answer that can't be read"),
        )
        shown = ", ".join(f"{n} {words}" for n, words in reasons if n)
        raise NotApplicable(
            f"{len(rows) - len(kept)} of {len(rows)} rows can't be used ({shown}): {error}",
            "Give other questions: --cognitive-data FILE.",
        ) from error
    place = {rows[i].id: n for n, i in enumerate(kept)}
    order = [place[row.id] for row in data.rows]
    about: dict[str, object] = {
        "set": name, "why": why, "too_long": too_long, "without_answer": len(gold) - len(fits) - too_long,
        "unparsable": len(fits) - len(kept), "tried": len(rows), "prompt_why": prompt_why,
    }  # fmt: skip
    return Prepared(
        data,
        tuple(encoded[i] for i in order),
        tuple(gold[kept[i]] for i in order),
        tuple(correct[i] for i in order) if answers else None,
        recipe,
        about,
    )


def _with_prompt(model: Model, settings: Settings, recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe, with the plain prompt where the tokenizer has no words for the preset's; and why."""
    form = template(recipe.prompt)
    if settings.prompt != AUTO or not form.body or model.tokens.unk_id is None:
        return recipe, ""
    ids = model.tokens.encode(form.body.format(question="", context="", subquestion="") + form.opener + form.closer)
    share = ids.count(model.tokens.unk_id) / max(len(ids), 1)
    if not share:
        return recipe, ""
    why = f"{share:.0%} of the tokens of the preset's prompt ({recipe.prompt}) are unknown here: the plain one instead"
    return replace(recipe, prompt="plain"), why


def chosen(tokens: Tokens, settings: Settings, recipe: Recipe) -> tuple[str, tuple[Row, ...], str]:
    """Name, rows, and in words why this set: the English one unless the tokenizer lacks its words.

    Raises NotApplicable where the tokenizer has words for none.
    """
    if settings.data != AUTO:
        rows = load(settings.data)
        share = unknown_share(tokens, rows, recipe)
        if share > MOST_UNKNOWN:
            raise NotApplicable(
                f"{share:.0%} of the tokens of {settings.data} are unknown to this tokenizer.",
                "Give other questions: --cognitive-data FILE.",
            )
        words = "as asked" if not share else f"as asked; {share:.1%} of its tokens are unknown to this tokenizer"
        return settings.data, rows, words
    tried: list[tuple[float, str, tuple[Row, ...]]] = []
    for name in SHIPPED:
        rows = load(name)
        share = unknown_share(tokens, rows, recipe)
        if share == 0:
            words = "the default" if not tried else f"{tried[0][0]:.0%} of the English set's tokens are unknown here"
            return name, rows, words
        tried.append((share, name, rows))
    share, name, rows = min(tried, key=lambda entry: entry[0])
    if share > MOST_UNKNOWN:
        way_out = "your own rows with --set cognitive.data=FILE"
        way_out += "" if recipe.prompt == "plain" else ", or --set cognitive.prompt=plain"
        raise NotApplicable(
            f"{share:.0%} or more of the tokens of either bundled set are unknown to this tokenizer; give {way_out}."
        )
    return name, rows, f"{share:.1%} of its tokens are unknown to this tokenizer, fewer than of the other set"


def unknown_share(tokens: Tokens, rows: Sequence[Row], recipe: Recipe) -> float:
    """Share of the prompts' and answers' tokens that are the unknown token; 0 for tokenizers without one."""
    if tokens.unk_id is None:
        return 0.0
    form = template(recipe.prompt)
    dress = tokens.chat if recipe.chat else str
    texts = [dress(form.prompt(row, recipe.context)) + form.opener + bare(row.answer) for row in rows]
    ids = [token for text in texts for token in tokens.encode(text)]
    return ids.count(tokens.unk_id) / max(len(ids), 1)


def _answers(
    model: Model, encoder: Encoder, rows: Sequence[Row], settings: Settings, progress: Progress
) -> dict[str, str | None]:
    """Row id -> the answer that the model generates, None where it gives none."""
    progress(0, 1, "generated answers")
    form = "cogqa" if encoder.format.name == "cogqa" else "plain"
    prompts = [encoder.prompt_ids(row) for row in rows]
    made = decode_greedily(model, prompts, MOST_NEW[form], is_done(form), settings.batch)
    texts = [model.tokens.decode(ids) for ids in made]
    return {row.id: answer_in(text, form) for row, text in zip(rows, texts, strict=True)}


def _read(
    encoder: Encoder, rows: Sequence[Row], gold: Sequence[Encoded], fits: Sequence[int],
    answers: Mapping[str, str | None], recipe: Recipe, room: int,
) -> tuple[list[int], list[Encoded], list[bool]]:  # fmt: skip
    """Rows that are left, how they are read, and whether what was generated is right."""
    if recipe.answers == "given":
        return list(fits), [gold[i] for i in fits], []
    kept, encoded, correct = [], [], []
    for i in fits:
        answer = answers[rows[i].id]
        made = encoder.encode(rows[i], answer) if answer else None
        if made is not None and answer is not None and made.sites and len(made.ids) <= room:
            kept.append(i)
            encoded.append(made)
            correct.append(bare(answer).casefold() == bare(rows[i].answer).casefold())
    return kept, encoded, correct
