"""Text to ids and back, word starts, and the rule for the token at position 0.

- The published tokenizer.json is used unchanged: class names in tokenizer_config.json rebuild some of them wrongly.
- Ids are always made here, without special tokens, and BOS is put in front by one recorded rule.
- Token text is untrusted: it is shown with control characters escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers.convert_slow_tokenizer import bytes_to_unicode

from reportgen.errors import ModelError, NotApplicable

# Word starts are tried after each of these; the first that stays intact decides.
_CONTEXTS = ("a", "the", ",", "The")
_DOCUMENT_MARKS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_alphabet: Any = bytes_to_unicode  # untyped upstream
_BYTE_OF = {char: byte for byte, char in _alphabet().items()}
KEPT, KEPT_LENGTH = 2**16, 512  # texts whose ids are kept, and their characters at most
_META_SPACE = "\u2581"  # SentencePiece's mark for a space


class Tokens:
    """A tokenizer as the suites see it.

    bos_id    the token that prompts begin with, or None;  bos_rule  the same in words
    unk_id    the unknown token, or None
    size      ids that stand for a token; d_vocab may be larger (padding columns)
    """

    def __init__(self, tokenizer: Any, bos: str = "auto", *, adds_bos: bool = False) -> None:
        """`bos`: "auto" (what the tokenizer does by default), "always" or "never"; `adds_bos`: its config says so."""
        self._tokenizer = tokenizer
        self.size = len(tokenizer)
        self.unk_id: int | None = tokenizer.unk_token_id
        self._rows: int | None = None  # of the embedding, where they are known
        self._known: dict[str, tuple[int, ...]] = {}
        self._word_ids: dict[str, int | None] = {}
        self._specials = {int(i) for i in tokenizer.all_special_ids}  # unknown, BOS, padding, ...
        self.bos_id, self.bos_rule = self._bos(bos, adds_bos)

    def keep_within(self, rows: int, check: Callable[[dict[str, int], set[int]], None]) -> None:
        """Use only ids below the embedding's `rows`; `check` gets token -> id, and the ids added to the vocabulary.

        Added tokens may lie beyond (a [PAD] without a resize): the text that has one is refused by `encode`.
        """
        vocabulary = {str(token): int(i) for token, i in self._tokenizer.get_vocab().items()}
        check(vocabulary, {int(i) for i in self._tokenizer.added_tokens_decoder} - {self.bos_id})
        self._rows = rows
        self.size = min(self.size, rows)

    def _bos(self, bos: str, adds_bos: bool) -> tuple[int | None, str]:
        if bos not in {"auto", "always", "never"}:
            raise ModelError(f"There is no BOS rule {bos!r}.", "Use auto, always or never.")
        known: int | None = self._tokenizer.bos_token_id
        if bos == "never":
            return None, "none: switched off; position 0 is treated as the sink"
        if bos == "always":
            if known is None:
                raise ModelError("This tokenizer has no BOS token to prepend.", "Leave out the BOS option.")
            return known, f"{self.text(known)}: prepended on request"
        if known is not None and (adds_bos or self._default_start() == known):
            return known, f"{self.text(known)}: prepended, as the tokenizer does by default"
        return None, "none: the tokenizer adds none by default; position 0 is treated as the sink"

    def _default_start(self) -> int | None:
        """The token that the tokenizer itself puts before a text, or None."""
        plain = self.encode("a")
        full = [int(i) for i in self._tokenizer("a", add_special_tokens=True)["input_ids"]]
        return full[0] if len(full) > len(plain) and full[0] not in plain[:1] else None

    def document_mark(self) -> int | None:
        """The token that separates documents in training text, by its name; None if there is none."""
        for mark in _DOCUMENT_MARKS:
            found = self.encode(mark)
            if len(found) == 1 and self.text(found[0]) == mark:  # an unknown token is written otherwise
                return found[0]
        return None

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, no special tokens added. NotApplicable where one of its tokens has no row in the embedding."""
        ids = self._known.get(text)
        if ids is None:
            ids = tuple(int(i) for i in self._tokenizer(text, add_special_tokens=False)["input_ids"])
            if len(text) <= KEPT_LENGTH and len(self._known) < KEPT:
                self._known[text] = ids  # every suite reads its lists twice: what will be left out, then the scores
        if self._rows is not None and (lost := next((i for i in ids if i >= self._rows), None)) is not None:
            token = self._tokenizer.convert_ids_to_tokens(lost)
            raise NotApplicable(
                f"The token {token!r} (id {lost}) has no row in this model's embedding ({self._rows} rows)."
            )
        return list(ids)

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of a prompt: BOS by the model's rule, then the text."""
        ids = self.encode(text)
        return ids if self.bos_id is None else [self.bos_id, *ids]

    def knows(self, text: str) -> bool:
        """Whether no part of `text` is the unknown token. BOS does not count: in OPT and GPT-2 it is the same token."""
        return self.unk_id is None or self.unk_id not in self.encode(text)

    def following(self, before: str, text: str) -> list[int] | None:
        """Ids of `text` as it goes on from `before`, both tokenized together; None where they share a token."""
        start, both = self.encode(before), self.encode(before + text)
        return both[len(start) :] if start and both[: len(start)] == start else None

    def next_id(self, before: str, text: str) -> int | None:
        """The one known token that `text` is when it goes on from `before`, or None."""
        ids = self.following(before, text)
        return ids[0] if ids is not None and len(ids) == 1 and ids[0] != self.unk_id else None

    def chat(self, text: str) -> str:
        """`text` as a user turn in the model's own chat template, up to where its answer begins.

        The beginning-of-text token is left out: ids get it by the model's rule. Raises NotApplicable where there is no
        template or it can't be used. Templates come with the model; transformers runs them in Jinja's sandbox.
        """
        if not getattr(self._tokenizer, "chat_template", None):
            raise NotApplicable("This tokenizer has no chat template.")
        turn = [{"role": "user", "content": text}]
        try:
            shown = self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise NotApplicable(f"The chat template of this tokenizer can't be used: {error}") from error
        return str(shown).removeprefix(self._tokenizer.bos_token or "")

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens shown. Untrusted."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def text(self, token: int) -> str:
        """One token for display: leading space kept, control characters escaped, stray bytes as <0xE2>."""
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token) if 0 <= token < self.size else None
        if piece is None:
            return f"<no token {token}>"
        if token in self._specials:
            shown = piece
        elif _META_SPACE in piece:
            shown = piece.replace(_META_SPACE, " ")
        else:
            shown = self.decode([token])
            if "\ufffd" in shown or not shown:
                shown = "".join(f"<0x{_BYTE_OF[c]:02X}>" if c in _BYTE_OF else c for c in piece)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)

    def word_id(self, word: str) -> int | None:
        """The one token that stands for `word` at a word start, or None when it takes several or is unknown.

        Found in context ("a word" minus "a"), so that tokenizers which keep the space apart (Llama 2) give the id
        that occurs in running text.
        """
        if word not in self._word_ids:
            self._word_ids[word] = self._find_word(word)
        return self._word_ids[word]

    def _find_word(self, word: str) -> int | None:
        if not word or word != word.strip():
            return None
        for context in _CONTEXTS:
            ids = self.following(context, f" {word}")
            if ids is not None:
                return ids[0] if len(ids) == 1 and ids[0] not in self._specials else None
        return None
