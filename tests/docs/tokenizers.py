"""docs/tokenizers.md: which pairs of every task and relation are left on four tokenizers.

`python -m tests.docs.tokenizers` writes the page anew. A column whose tokenizer isn't on this machine stays as it is;
`path_of` says where they are looked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoTokenizer, GPT2Tokenizer

from reportgen.mini import vocab as mini
from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import BUILDERS, greater_than
from reportgen.suites.circuits.tasks.task import read_words, single_tokens
from reportgen.suites.pairs import keep, load_relations
from reportgen.suites.relations.suite import RelationsSettings
from reportgen.suites.sparse.scoring import prompts as sparse
from reportgen.suites.sparse.suite import BUNDLED, read_task
from tests.real import fetch

PAGE = Path(__file__).parents[2] / "docs" / "tokenizers.md"
COLUMNS = ("mini", "SmolLM2", "Gemma 3", "GPT-2")
GGUF = {"SmolLM2": "smollm2", "Gemma 3": "gemma"}  # column -> model of tests/real
_GPT2 = "REPORTGEN_GPT2"
_PROMPTS, _LEAST, _FEWEST = Settings().prompts, Settings().min_pairs, RelationsSettings().min_pairs
_auto: Any = AutoTokenizer
Cells = Mapping[tuple[str, str], str]  # (first, second column) -> what this tokenizer makes of it

HEAD = f"""\
# Tokenizers

Word lists and prompts are the same for every model; tokens are not. A word is used only if it is a single token in
running text (encoded after other words, never alone, because some tokenizers add a space before a text). A prompt is
used only if each of its words is that token, and its answer is the next token when both are tokenized together.
`tests/suites/test_kinds.py` tests this with and without BOS on small tokenizers of seven kinds: byte-level with whole
numbers, single digits or groups of three digits, SentencePiece with and without a leading mark, unigram, whole words.
Pairs with the unknown token are left out.

## Greater-than

| form | a year is | prompt | answers | foils | corrupted | roles |
|---|---|---|---|---|---|---|
| Greater-than, as published | 17, 32 | The war lasted from 1732 to 17 | 33 to 99 | 00 to 32 | 1701 | YY, XX |
| Greater decade | 1, 7, 3, 2 | The war lasted from 1732 to 17 | 4 to 9 | 0 to 2 | 1702 | decade, unit, century |
| Greater digit | 173, 2 | The war lasted from 1732 to 173 | 3 to 9 | 0 to 2 | 1730 | unit, decade |

- The first form that the tokenizer supports is used; title, captions and `form` in the facts say which. If it supports
  none (a year is one token), the task is left out and the report says why.
- Greater decade: whether an end year in the start's own decade, 173_, is right depends on a later digit, so the digit 3
  is neither answer nor foil.
- Greater decade and digit start at 1 to 8, each equally often, so that there are digits on both sides. The published
  form starts at 02 to 98 and, as published, both sides contain all two-digit tokens, including those of years that this
  tokenizer encodes as one token.
- The metric in all three is the summed probability of the answers minus that of the foils.

## Pairs kept

Written by `python -m tests.docs.tokenizers` and tested by `tests/docs/test_tokenizers.py`, for the tokenizers of the
bundled model, SmolLM2-135M-Instruct and Gemma 3 270M (from their GGUF files), and GPT-2.

Tasks, at the default of {_PROMPTS} prompts; with fewer than {_LEAST} the task is left out. Tokens per prompt: the mean,
which determines the cost of patching.
"""
RELATIONS = f"""
Relations: pairs whose words are both single tokens. With fewer than {_FEWEST} the relation is left out (shown as a
dash). **Bold**: fewer than half of the pairs are kept, so scores represent only the common words.
"""
CAUSES = """
Why relations lose most of their pairs on a real tokenizer: `year_to_following` loses every year if digits are tokens;
`adj_to_superlative`, `adj_to_comparative`, both translations and `country_to_capital` targets of several tokens
(thickest, sadder, maison, Hanoi) while all sources are kept; `product_to_company` products. The filter is that of the
published method, and lost pairs are not replaced. `multi_token` scores sources of several tokens, never targets.
"""


def path_of(column: str) -> Path | None:
    """The file or folder that holds the column's tokenizer, or None where there is none on this machine.

    SmolLM2 and Gemma 3: the files that `make real` keeps. GPT-2: the folder REPORTGEN_GPT2, or the hub's cache.
    """
    if column in GGUF:
        return fetch.kept(GGUF[column])
    if given := os.environ.get(_GPT2, ""):
        return Path(given)
    cached = try_to_load_from_cache("openai-community/gpt2", "vocab.json")
    return Path(cached).parent if isinstance(cached, str) else None


def tokens_of(column: str) -> Tokens | None:
    """The column's tokenizer as the suites see it, or None where it isn't on this machine."""
    if column == "mini":
        return Tokens(mini.build_tokenizer())
    path = path_of(column)
    if path is None:
        return None
    if column in GGUF:
        return Tokens(_auto.from_pretrained(path.parent, gguf_file=path.name))
    return Tokens(GPT2Tokenizer.from_pretrained(path))


def cells(tokens: Tokens) -> dict[str, Cells]:
    """Table -> its cells for this tokenizer."""
    return {"tasks": dict(_tasks(tokens)), "relations": dict(_relations(tokens))}


def _tasks(tokens: Tokens) -> Iterator[tuple[tuple[str, str], str]]:
    yield ("", "BOS"), "none" if tokens.bos_id is None else f"`{tokens.text(tokens.bos_id)}`"
    for name, build in BUILDERS.items():
        task = build(tokens, _PROMPTS, 0)
        yield (name, "prompt pairs"), str(len(task.pairs)) if len(task.pairs) >= _LEAST else "\u2013"
        yield (name, "templates"), _of(len(task.templates), len(read_words(name)["templates"]))
        length = sum(len(pair.clean) for pair in task.pairs) / max(1, len(task.pairs))
        yield (name, "tokens per prompt"), f"{length:.1f}" if task.pairs else "\u2013"
        if name == greater_than.NAME:
            yield (name, "form"), task.title
        for kind, listed in read_words(name).items():
            if kind not in ("templates", "rephrased", "centuries"):
                count = len(task.maps) if isinstance(listed, dict) else len(single_tokens(tokens, listed))
                yield (name, kind), _of(count, len(listed))
    antonyms = read_task(BUNDLED)
    counts = [len(group) for group in sparse.groups(tokens, antonyms, len(antonyms.pairs), 0)]
    yield ("antonyms (`sparse`)", "prompts"), _of(sum(counts), len(antonyms.pairs) * len(antonyms.templates))


def _relations(tokens: Tokens) -> Iterator[tuple[tuple[str, str], str]]:
    for relation in load_relations():
        left, listed = len(keep(relation, tokens).pairs), len(relation.pairs)
        shown = "\u2013" if left < _FEWEST else f"**{left}**" if 2 * left < listed else str(left)
        yield (relation.stem, str(listed)), shown
    kept = sum(len(keep(relation, tokens).pairs) >= _FEWEST for relation in load_relations())
    yield ("relations scored", str(len(load_relations()))), str(kept)


def _of(count: int, listed: int) -> str:
    return f"{count} of {listed}"


def page(made: Mapping[str, Mapping[str, Cells]]) -> str:
    """The page from column -> table -> cells, where every column has the same rows."""
    first = made[COLUMNS[0]]
    tasks = _table(("task", "item"), first["tasks"], lambda column: made[column]["tasks"])
    relations = _table(("relation", "pairs listed"), first["relations"], lambda column: made[column]["relations"])
    return f"{HEAD}\n{tasks}{RELATIONS}\n{relations}{CAUSES}"


def _table(head: tuple[str, str], rows: Cells, of: Callable[[str], Cells]) -> str:
    lines = [(*head, *COLUMNS), *((*row, *(of(column)[row] for column in COLUMNS)) for row in rows)]
    shown = [f"| {' | '.join(line)} |\n" for line in lines]
    return shown[0] + "|---" * len(lines[0]) + "|\n" + "".join(shown[1:])


def written() -> dict[str, dict[str, Cells]]:
    """What the page holds now: column -> table -> cells."""
    found: dict[str, dict[str, dict[tuple[str, str], str]]] = {name: {"tasks": {}, "relations": {}} for name in COLUMNS}
    table = ""
    for line in PAGE.read_text("utf-8").splitlines() if PAGE.is_file() else []:
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[-len(COLUMNS) :] == list(COLUMNS):
            table = {"task": "tasks", "relation": "relations"}[row[0]]
        elif not line.startswith("|"):
            table = ""
        elif table and not line.startswith("|---"):
            for column, cell in zip(COLUMNS, row[2:], strict=True):
                found[column][table][row[0], row[1]] = cell
    return {column: dict(tables) for column, tables in found.items()}


if __name__ == "__main__":
    now = written()
    for name in COLUMNS:
        found = tokens_of(name)
        if found is not None:
            now[name] = cells(found)
    PAGE.write_text(page(now), "utf-8")
