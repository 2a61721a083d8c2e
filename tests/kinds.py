"""A tokenizer of every kind that models come with, small enough to build in memory, with all words that ship.

    tokenizer = build("bytes")               # words carry their space, years are two tokens: GPT-2
    tokenizer = build("pieces", bos=True)    # the space is a mark, and one is put before every text: Llama 2

Words that ship are one token each; what a year becomes differs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.settings import TASKS
from reportgen.suites.circuits.tasks.task import read_words
from reportgen.suites.pairs import load_relations, load_templates
from reportgen.suites.sparse.suite import BUNDLED, read_task

UNK, BOS, MARK = "<unk>", "<s>", "\u2581"
_FAST: Any = PreTrainedTokenizerFast
_CENTURIES = [str(c) for c in range(11, 19)]


def text() -> Iterable[str]:
    """All words and templates that ship, as running text."""
    for task in TASKS:
        for part in read_words(task).values():
            yield from (" ".join(pair) for pair in part.items()) if isinstance(part, dict) else part
    for relation in load_relations():
        yield from (f"{source} {target}" for source, target in relation.pairs)
        yield relation.prompt
    yield from load_templates()
    antonyms = read_task(BUNDLED)
    yield from (*antonyms.templates, *(" ".join(pair) for pair in antonyms.pairs))


@functools.cache
def words() -> tuple[str, ...]:
    """Every word and sign of it without digits, once."""
    found = chain.from_iterable(re.findall(r"[^\W\d_]+|[^\w\s]", part) for part in text())
    return tuple(dict.fromkeys(found))


def _trained(backend: Tokenizer, alphabet: list[str], space: str = " ", numbers: Iterable[str] = ()) -> Tokenizer:
    """BPE that has merged every word, at a word's start and behind a sign, and of numbers those it is given."""
    trainer = trainers.BpeTrainer(
        vocab_size=60_000, special_tokens=[UNK, BOS], show_progress=False, initial_alphabet=alphabet
    )
    listed = [*numbers, *(space + word for word in words() for _ in range(2)), *words(), "\n"]
    backend.train_from_iterator(listed, trainer)
    return backend


def _byte_level(*before: Any, numbers: Iterable[str] = ()) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    return _trained(backend, pre_tokenizers.ByteLevel.alphabet(), numbers=numbers)


def _bytes() -> Tokenizer:
    """GPT-2: centuries are the commonest numbers, so that a year is its century and two digits more."""
    numbers = [f" {c}" for c in _CENTURIES for _ in range(500)]
    return _byte_level(numbers=[*numbers, *(f"{n:02d}" for n in range(100) for _ in range(2))])


def _digits() -> Tokenizer:
    """SmolLM2: every digit a token, and the space before a number another."""
    return _byte_level(pre_tokenizers.Digits(individual_digits=True))


def _threes() -> Tokenizer:
    """Llama 3: up to three digits a token."""
    groups = pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated")
    return _byte_level(groups, numbers=(f"{n:03d}" for n in range(1000) for _ in range(2)))


def _pieces() -> Tokenizer:
    """Llama 2: no split before BPE, a mark for every space and one before the text."""
    backend = _trained(Tokenizer(models.BPE(unk_token=UNK)), [MARK, *"0123456789"], MARK)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    return backend


def _marked() -> Tokenizer:
    """Gemma: the mark again, none before the text."""
    backend = _trained(Tokenizer(models.BPE(unk_token=UNK)), [MARK, *"0123456789"], MARK)
    backend.normalizer = normalizers.Replace(" ", MARK)
    backend.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.Fuse()])
    return backend


def _unigram() -> Tokenizer:
    """T5's kind: the likeliest pieces; a line break is unknown."""
    whole = [piece for word in words() for piece in (MARK + word, word)]
    letters = [MARK, *"0123456789", *dict.fromkeys("".join(words()))]
    vocab = [(UNK, 0.0), (BOS, 0.0), *((piece, -5.0) for piece in whole), *((one, -9.0) for one in letters)]
    backend = Tokenizer(models.Unigram(list(dict(vocab).items()), unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    return backend


def _words() -> Tokenizer:
    """Whole words, no spaces at all; a year is one token."""
    pieces = [UNK, BOS, *words(), *(str(year) for year in range(1100, 1900)), *_CENTURIES]
    backend = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    return backend


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": _bytes, "digits": _digits, "threes": _threes, "pieces": _pieces, "marked": _marked, "unigram": _unigram,
    "words": _words,
}  # fmt: skip


@functools.cache
def _json(kind: str) -> str:
    made: str = KINDS[kind]().to_str()
    return made


@functools.cache
def tokens(kind: str, *, bos: bool = False) -> Tokens:
    """The tokenizer of this kind as the suites see it; `bos`: it puts its BOS before a text by default."""
    backend = Tokenizer.from_str(_json(kind))
    if bos:
        backend.post_processor = processors.TemplateProcessing(f"{BOS} $A", None, [(BOS, backend.token_to_id(BOS))])
    return Tokens(_FAST(tokenizer_object=backend, unk_token=UNK, bos_token=BOS))


def with_unknown(kind: str, token: str) -> Any:
    """The tokenizer of this kind that calls `token` its unknown and its BOS token, without putting it in front."""
    backend = Tokenizer.from_str(_json(kind))
    backend.add_special_tokens([token])
    return _FAST(tokenizer_object=backend, unk_token=token, bos_token=token)
