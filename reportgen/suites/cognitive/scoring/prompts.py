"""Rows as token ids, which positions of the answer count, and the head outputs at these sites.

- Which tokens belong to the answer is read from character offsets in the whole text, never by tokenizing the answer
  alone: a word may take other tokens behind a space or a quote.
- The site of a token is the position that predicts it (one before), as in the released code, or its own.
- A chain's prompts are beginnings of one another (with all earlier steps as context): each text is run once, and the
  sites of every prompt that it contains are read from that pass. In a causal model nothing later changes them, so that
  a batch may be filled up at the right with any token.
- Memory per example: n_layers * n_heads * d_head numbers in the model's own precision; no token is ever stored.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reportgen.aliases import Progress
from reportgen.errors import DataError, NotApplicable
from reportgen.files import read_text
from reportgen.models.prefix_cache import check_cache
from reportgen.suites.cognitive.rows import Earlier, Row
from reportgen.suites.cognitive.suite import Recipe

if TYPE_CHECKING:
    from reportgen.models.model import Model


# Greedy decoding in batches with kept keys and values, and the answer read out of what was generated.
#
# - Prompts of one length share a batch; nothing is filled up on the left.
# - The answer is looked for in the generated text only. A text without one is its own category, never a wrong answer.

MOST_NEW = {"plain": 16, "cogqa": 128}  # new tokens at most
_JSON = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*")')


def decode_greedily(
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


SHORT = 6  # under top5, answers with fewer tokens count whole
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
STOP_WORDS = frozenset(
    "a an the and or but of to in on at by for with from as is are was were be been being it its this that these those "
    "he she they we you i his her their our your my do does did has have had will would can could so if than "
    "then".split()
)
_COGQA = """You answer questions step by step, each with a short answer.
Main question: {question}
Prior knowledge:
{context}
Sub-question: {subquestion}
Answer the sub-question from the main question and the prior knowledge, as briefly as possible.
Give a list with one object in this form: [ {{"answer": "..."}} ]
Your answer:"""
_PLACES = ("question", "context", "subquestion")


class Tokenizer(Protocol):
    """What is needed of a model's tokens."""

    bos_id: int | None

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def chat(self, text: str) -> str: ...


@dataclass(frozen=True)
class Format:
    """How a row becomes text: what stands before the answer, what opens it, what ends it.

    body    template with {question} {context} {subquestion}; empty = the plain form
    """

    name: str
    body: str
    opener: str
    closer: str

    def prompt(self, row: Row, context: str) -> str:
        """The text up to where the answer is opened."""
        steps = chosen_steps(row, context)
        if not self.body:
            text = f"Text: {row.question}\n" if row.question else ""
            asked = "".join(f"Q: {s.q} A: {bare(s.a)}.\n" for s in steps)
            return f"{text}{asked}Q: {row.subquestion} A:"
        shown = "\n".join(f"Q{i}: {s.q}\nA{i}: {s.a}" for i, s in enumerate(steps, 1)) or "No prior knowledge."
        return self.body.format(question=row.question, context=shown, subquestion=row.subquestion).rstrip()


def bare(answer: str) -> str:
    """The answer without its final full stop."""
    return answer.rstrip().removesuffix(".").rstrip() or answer


def chosen_steps(row: Row, context: str) -> tuple[Earlier, ...]:
    """The earlier steps that the prompt shows under a context rule: all, retrieval or none."""
    if context == "none":
        return ()
    if context == "retrieval":
        return tuple(step for step in row.context if step.function == "Retrieval")
    return row.context


def template(name: str) -> Format:
    """The prompt format of this name or file. DataError for a file without the placeholders."""
    if name == "plain":
        return Format("plain", "", " ", ".")
    if name == "cogqa":
        return Format("cogqa", _COGQA, ' [ {"answer": "', '"} ]')
    body = read_text(Path(name), "Give plain, cogqa or a text file.")
    try:
        fields = [(place, spec or "", way) for _, place, spec, way in Formatter().parse(body) if place is not None]
    except ValueError as error:
        raise DataError(
            f"{name}: expected only the placeholders {{question}}, {{context}} and {{subquestion}} ({error}).",
            "Double any other braces.",
        ) from error
    odd = [place for place, spec, way in fields if place not in _PLACES or spec or way]
    if odd:
        raise DataError(
            f"{name}: expected only the placeholders {{question}}, {{context}} and {{subquestion}}, found {odd[0]!r}.",
            "Double any other braces.",
        )
    if "{subquestion}" not in body:
        raise DataError(f"{name}: expected the placeholder {{subquestion}}.", "Put it where the question goes.")
    return Format(name, body, " ", ".")


@dataclass(frozen=True)
class Encoded:
    """A row as ids, ending with the answer's last token.

    prompt   ids[:prompt] is the prompt as far as it is the same before any answer
    answer   positions of the answer's tokens;  sites  positions whose head outputs are averaged
    whole    the token policy found nothing and all answer tokens are used
    """

    ids: tuple[int, ...]
    answer: tuple[int, ...]
    sites: tuple[int, ...]
    whole: bool

    @property
    def first(self) -> int:
        """The position that predicts the answer's first token."""
        return self.answer[0] - 1


class Encoder:
    """Rows to `Encoded`, by one format and one token policy."""

    def __init__(self, tokens: Tokenizer, rows: Sequence[Row], recipe: Recipe, k: int, site: str) -> None:
        self.tokens, self.recipe, self.k, self.site = tokens, recipe, k, site
        self.format = template(recipe.prompt)
        documents = [{word for _, _, word in _words(row.answer)} for row in rows]
        counts = Counter(word for document in documents for word in document)
        self.idf = {word: math.log(len(rows) / n) for word, n in counts.items()}

    def prompt_ids(self, row: Row) -> list[int]:
        """Ids of the prompt alone: what generation starts from."""
        return [*self._start(), *self.tokens.encode(self._asked(row))]

    def _asked(self, row: Row) -> str:
        text = self.format.prompt(row, self.recipe.context)
        return self.tokens.chat(text) if self.recipe.chat else text

    def encode(self, row: Row, answer: str) -> Encoded:
        """The row with this answer in place. An answer without any token of its own gives no sites."""
        opener = self.format.opener.lstrip() if self.recipe.chat else self.format.opener
        before = self._asked(row) + opener
        answer = bare(answer) if self.format.closer == "." else answer
        ids = self.tokens.encode(before + answer + self.format.closer)
        spans = self._spans(ids, before, answer)
        shift = len(self._start())
        at = tuple(i + shift for i, _, _ in spans)
        chosen = self._chosen(spans, answer, row)
        picked = at if not chosen else tuple(at[i] for i in chosen)
        back = 1 if self.site == "predict" else 0
        ids = [*self._start(), *ids][: at[-1] + 1] if at else []
        sites = tuple(i - back for i in picked if i >= back)
        return Encoded(tuple(ids), at, sites, whole=not chosen)

    def _start(self) -> list[int]:
        return [] if self.tokens.bos_id is None else [self.tokens.bos_id]

    def _spans(self, ids: list[int], before: str, answer: str) -> list[tuple[int, int, int]]:
        """(token, from, to) of the answer's tokens, characters counted within the answer.

        Offsets are lengths of decoded beginnings, anchored at the end of the text: what a tokenizer does to the first
        space of all shifts nothing.
        """
        text = before + answer + self.format.closer
        whole = self.tokens.decode(ids)
        if not whole.endswith(text[len(before.rstrip()) :]):
            return self._by_prefix(ids, before, answer)
        shift = len(text) - len(whole) - len(before)
        spans = []
        after = self._length(ids, whole)
        for i in range(len(ids) - 1, -1, -1):
            before_it = self._length(ids[:i], whole)
            start, end = before_it[0] + shift, after[1] + shift
            after = before_it
            if start < len(answer) and end > 0:
                spans.append((i, start, end))
            elif end <= 0:
                break
        return spans[::-1]

    def _length(self, ids: Sequence[int], whole: str) -> tuple[int, int]:
        """Characters of `whole` that ids decode to, without and with a last one of which only some bytes are there."""
        text = self.tokens.decode(ids)
        if text.endswith("\ufffd") and not whole.startswith(text):
            complete = len(text.rstrip("\ufffd"))
            return complete, complete + 1
        return len(text), len(text)

    def _by_prefix(self, ids: list[int], before: str, answer: str) -> list[tuple[int, int, int]]:
        """For tokenizers that change the text: tokens by comparing with the beginnings; no offsets, so all count."""
        start = _common(ids, self.tokens.encode(before.rstrip()))
        end = max(start, _common(ids, self.tokens.encode(before + answer)))
        return [(i, 0, len(answer)) for i in range(start, end)]

    def _chosen(self, spans: Sequence[tuple[int, int, int]], answer: str, row: Row) -> list[int]:
        """Places in `spans` of the tokens that count; empty where the policy finds none."""
        policy, every = self.recipe.tokens, list(range(len(spans)))
        if policy == "first":
            return every[:1]
        if policy == "last":
            return every[-1:]
        if policy == "all" or (policy == "top5" and len(spans) < SHORT):
            return every
        if policy == "given":
            ranges = [_find(word, answer) for word in row.key_tokens]
        else:
            ranges = [(a, b) for a, b, word in self._ranked(answer)]
        picked: list[int] = []
        for low, high in ranges:
            inside = [i for i, (_, a, b) in enumerate(spans) if a < high and b > low]
            picked += [i for i in inside if low < high and i not in picked]
        return sorted(picked if policy == "given" else picked[: self.k])

    def _ranked(self, answer: str) -> list[tuple[int, int, str]]:
        """The answer's content words, the rarest in the data set first, then by position."""
        words = [(a, b, word) for a, b, word in _words(answer) if word not in STOP_WORDS]
        return sorted(words, key=lambda w: (-self.idf.get(w[2], math.inf), w[0]))


def _words(text: str) -> list[tuple[int, int, str]]:
    return [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(text)]


def _find(word: str, answer: str) -> tuple[int, int]:
    at = answer.lower().find(word.lower())
    return (at, at + len(word)) if at >= 0 else (0, 0)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


MOST_RESIDUAL_BYTES = 8 << 30  # of hook=result, whose vectors are d_model wide
KEPT_FILES = 6  # feature files in the cache folder, the newest


@dataclass(frozen=True)
class TextPass:
    """One text to run, and the examples read from it."""

    ids: tuple[int, ...]
    examples: tuple[int, ...]


def passes(encoded: Sequence[Encoded]) -> list[TextPass]:
    """The texts to run: an example whose ids begin another's is read from that one. Longest last."""
    order = sorted(range(len(encoded)), key=lambda i: encoded[i].ids)
    found: list[tuple[tuple[int, ...], list[int]]] = []
    for i in reversed(order):  # a beginning sorts right before what it begins
        ids = encoded[i].ids
        if found and found[-1][0][: len(ids)] == ids:
            found[-1][1].append(i)
        else:
            found.append((ids, [i]))
    return sorted((TextPass(ids, tuple(some)) for ids, some in found), key=lambda p: len(p.ids))


def head_outputs(model: Model, encoded: Sequence[Encoded], batch: int, progress: Progress) -> Tensor:
    """Mean z over each example's sites, [example layer head d_head] on the CPU, in the model's precision."""
    r = model.record
    half = r.dtype in ("float16", "bfloat16")
    out = torch.zeros(len(encoded), r.n_layers, r.n_heads, r.d_head, dtype=getattr(torch, r.dtype) if half else None)
    todo = passes(encoded)
    for start in range(0, len(todo), batch):
        progress(start, len(todo), "head outputs")
        some = todo[start : start + batch]
        length = max(len(p.ids) for p in some)
        ids = torch.tensor([[*p.ids, *[p.ids[-1]] * (length - len(p.ids))] for p in some])
        examples = [(line, i) for line, p in enumerate(some) for i in p.examples]
        lines = torch.tensor([line for line, _ in examples])
        weights = torch.zeros(len(examples), length)  # [example pos] 1/n at its sites
        for place, (_, i) in enumerate(examples):
            weights[place, list(encoded[i].sites)] = 1 / len(encoded[i].sites)
        rows = torch.tensor([i for _, i in examples])
        example, pos = weights.nonzero(as_tuple=True)  # on the CPU: a GPU would have to be waited for
        which, line, at, weight = (
            part.to(model.device) for part in (example, lines[example], pos, weights[example, pos])
        )
        keep = _Reduce(which, line, at, weight, len(examples), {})
        model.run(ids, {("z", layer): keep.at(layer) for layer in range(r.n_layers)}, last=True)
        means = torch.stack([keep.means[layer] for layer in range(r.n_layers)], 1)  # [example layer head d_head]
        out[rows] = means.to(out.device, out.dtype)
    return out


def residual(model: Model, z: Tensor) -> Tensor:
    """What each head adds to the residual stream, z W_O, without the bias: [example layer head d_model] float32.

    Of the mean over sites it is the mean, so that it is taken from the stored z. NotApplicable where it has no room.
    """
    r = model.record
    need = 4 * z.shape[0] * r.n_layers * r.n_heads * r.d_model
    if need > MOST_RESIDUAL_BYTES:
        raise NotApplicable(
            f"hook=result needs {need / 2**30:.0f} GiB for {len(z):,} rows of {r.d_model} numbers per head; "
            "use --set cognitive.hook=z or fewer rows."
        )
    out = torch.empty(*z.shape[:3], r.d_model, device=model.device)
    for layer in range(r.n_layers):
        at = z[:, layer].to(model.device).float()
        out[:, layer] = torch.einsum("nhe,hed->nhd", at, model.W_O(layer))
    return out


@dataclass(frozen=True)
class _Reduce:
    """Means of z over the sites of a batch's examples. Per site: its example, its line and position, 1/n of the
    example's n sites; means: layer -> [example head d_head]."""

    example: Tensor
    line: Tensor
    pos: Tensor
    weight: Tensor
    examples: int
    means: dict[int, Tensor]

    def at(self, layer: int) -> Callable[[Tensor], None]:
        def hook(z: Tensor) -> None:  # [line pos head d_head]
            picked = z[self.line, self.pos].float() * self.weight[:, None, None]  # [site head d_head]
            mean = torch.zeros(self.examples, *z.shape[2:], device=z.device)
            self.means[layer] = mean.index_add_(0, self.example, picked)

        return hook


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/reportgen/cognitive, or the same under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "reportgen" / "cognitive"


def recall(key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The features kept under `key`, or None: a damaged or foreign file counts as absent."""
    path = cache_folder() / f"{key}.safetensors"
    try:
        found = load_file(path)
    except (OSError, SafetensorError):
        return None
    kept = found.get("z")
    return kept if kept is not None and tuple(kept.shape) == shape and bool(torch.isfinite(kept).all()) else None


def remember(key: str, z: Tensor) -> None:
    """Keep features, whole or not at all, and only the newest few. A cache that can't be written is no error."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        os.close(handle)
        save_file({"z": z.contiguous()}, name)
        Path(name).replace(folder / f"{key}.safetensors")
        kept = sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in kept[KEPT_FILES:]:
            old.unlink()
    except (OSError, SafetensorError):
        return
