"""Tasks of the user's own: one JSON object a line.

    {"task": "plural", "clean": "One cat, two", "corrupted": "One dog, two", "answer": " cats", "foil": " dogs",
     "roles": {"noun": "cat"}, "template": "One {noun}, two", "metric": "logit_diff"}

- answer and foil: the text that goes on from the prompt, one token each (a space is put in front where that makes it
  one), or lists of such; metric logit_diff (the default) or prob_diff.
- roles (optional): name -> a word of the clean prompt (its last place in it) or a token's number, counted from 0
  without BOS, or from -1 at the end. The first role is the token that the answer is read from; one named "foil" speaks
  for the foil.
- template (optional): prompts with the same words in it are one cluster in every interval.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from reportgen.errors import DataError
from reportgen.files import convert, parse_json, read_text
from reportgen.suites.circuits.tasks.task import END, Ids, Metric, Pair, Task

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

FOIL = "foil"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_MOST = 100_000  # lines


Several = Annotated[list[str], msgspec.Meta(min_length=1)]
Place = Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)]


class TaskLine(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One prompt pair of the file."""

    task: str
    clean: str
    corrupted: str
    answer: str | Several
    foil: str | Several
    roles: dict[str, str | Place] = {}
    metric: Metric = "logit_diff"
    template: str = ""


def read(path: str, taken: Sequence[str]) -> dict[str, list[TaskLine]]:
    """Task name -> its lines, in the file's order; `taken` are names of tasks that ship.

    Raises DataError with the file, the line and what is expected.
    """
    text = read_text(Path(path), "Give the path of a JSONL file of prompt pairs.")
    found: dict[str, list[TaskLine]] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        if number > _MOST:
            raise DataError(f"{path} has more than {_MOST} lines.", "Give fewer prompt pairs.")
        line = _line(path, number, raw, taken)
        found.setdefault(line.task, []).append(line)
    if not found:
        raise DataError(f"{path} holds no prompt pairs.", "Give one JSON object a line.")
    for task, lines in found.items():
        if len({line.metric for line in lines}) > 1:
            raise DataError(f"{path}: task {task!r} has two metrics.", "Give every line of a task the same metric.")
    return found


def _line(path: str, number: int, raw: str, taken: Sequence[str]) -> TaskLine:
    place, form = f"{path}, line {number}", "Expected task, clean, corrupted, answer, foil (roles, metric, template)."
    line = convert(parse_json(raw, place, form, lines=False), TaskLine, place, form)
    if not _NAME.fullmatch(line.task) or line.task in taken or line.task in ("reuse", "natural_text"):
        hint = "Use letters, digits, _ or -, and no name of a task that ships."
        raise DataError(f"{path}, line {number}: task {line.task!r}.", hint)
    if END in line.roles or not all(_NAME.fullmatch(role) for role in line.roles):
        raise DataError(f"{path}, line {number}: roles {list(line.roles)}.", "Use letters, digits, _ or -, not END.")
    return line


def build(tokens: Tokens, name: str, lines: Sequence[TaskLine], prompts: int) -> Task:
    """The task of these lines on this tokenizer, at most `prompts` pairs; `dropped` counts why others are left out."""
    dropped: Counter[str] = Counter()
    templates = {line.template: None for line in lines}
    number = {template: i for i, template in enumerate(templates)}
    roles = [role for role in lines[0].roles if all(role in line.roles for line in lines)]
    pairs: list[Pair] = []
    for line in lines:
        pair = _pair(tokens, line, number[line.template])
        if isinstance(pair, str):
            dropped[pair] += 1
        elif len(pairs) < prompts:
            pairs.append(pair)
        else:
            dropped["pairs beyond the number of prompts asked for"] += 1
    return Task(
        name=name,
        title=name.replace("_", " ").capitalize(),
        metric=lines[0].metric,
        pairs=tuple(pairs),
        templates=tuple(templates),
        attended=tuple(roles),
        foils=(FOIL,) if FOIL in roles[1:] else (),
        maps=_maps(pairs, roles[0]) if roles else {},
        words=tuple(sorted({token for pair in pairs for token in pair.answer_ids})),
        dropped=dict(sorted(dropped.items())),
        user=True,
    )


def _maps(pairs: Sequence[Pair], role: str) -> dict[int, tuple[Ids, Ids]]:
    """The token read from -> the answers it goes with, of the first pair that has it."""
    found: dict[int, tuple[Ids, Ids]] = {}
    for pair in pairs:
        foils = pair.foil_ids if len(pair.answer_ids) > 1 else ()
        found.setdefault(pair.clean[pair.roles[role]], (pair.answer_ids, foils))
    return found


def _pair(tokens: Tokens, line: TaskLine, template: int) -> Pair | str:
    """The pair, or why it can't be used."""
    clean, corrupted = tokens.prompt_ids(line.clean), tokens.prompt_ids(line.corrupted)
    if len(clean) != len(corrupted):
        return "clean and corrupted prompts of different numbers of tokens"
    if clean == corrupted:
        return "clean and corrupted prompts that are the same tokens"
    if not (tokens.knows(line.clean) and tokens.knows(line.corrupted)):
        return "prompts with an unknown token"
    sides = [_ids(tokens, line.clean, given) for given in (line.answer, line.foil)]
    answers, foils = sides
    if answers is None or foils is None:
        return "answers or foils that are not one token after the prompt"
    if set(answers) & set(foils):
        return "answers that are foils, too"
    places = {role: _place(tokens, line.clean, where, clean) for role, where in line.roles.items()}
    known = {role: at for role, at in places.items() if at is not None}
    if len(known) < len(places):
        return "roles that are not found in the prompt"
    return Pair(tuple(clean), tuple(corrupted), answers, foils, {**known, END: len(clean) - 1}, template, line.clean)


def _ids(tokens: Tokens, prompt: str, given: str | list[str]) -> Ids | None:
    """The token of each continuation of the prompt; None where one takes several."""
    found = []
    for text in [given] if isinstance(given, str) else given:
        ids = (tokens.next_id(prompt, form) for form in (text, f" {text}"))
        token = next((i for i in ids if i is not None), None)
        if token is None:
            return None
        found.append(token)
    return tuple(dict.fromkeys(found)) or None


def _place(tokens: Tokens, prompt: str, where: str | int, clean: Sequence[int]) -> int | None:
    """The position of a role in the clean ids: the last token of the last place of a word, or a token's number."""
    shift = 0 if tokens.bos_id is None else 1
    if isinstance(where, int):
        at = where + shift if where >= 0 else len(clean) + where
        return at if shift <= at < len(clean) else None
    found = [m.end() for m in re.finditer(rf"(?<!\w){re.escape(where)}(?!\w)", prompt)] if where else []
    if not found:
        return None
    ids = tokens.prompt_ids(prompt[: found[-1]])
    return len(ids) - 1 if list(clean[: len(ids)]) == ids else None
