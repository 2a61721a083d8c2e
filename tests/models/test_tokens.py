"""Word starts on three kinds of tokenizer, display strings, the BOS rule."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from reportgen.errors import ModelError, NotApplicable
from reportgen.models.load import read_tokens
from reportgen.models.tokens import KEPT_LENGTH, Tokens
from reportgen.selftest.models import BOS, UNK
from tests.tiny import WORDS, word_tokenizer

_FAST: Any = PreTrainedTokenizerFast


def byte_level(add_prefix_space: bool = False) -> Any:
    """GPT-2's kind: bytes, the space belongs to the word."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[BOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(["the Mary gave a ring to Mary", " Mary Mary ring the ring"] * 20, trainer)
    return _FAST(tokenizer_object=backend, bos_token=BOS, eos_token=BOS)


def llama2() -> Any:
    """Llama 2's kind: spaces become a mark of their own and one is put before every text."""
    pieces = [UNK, "<s>", "\u2581", *"Mary", "ry", "ary", "Mary", "\u2581Mary", "\u2581a"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = [("r", "y"), ("a", "ry"), ("M", "ary"), ("\u2581", "Mary"), ("\u2581", "a")]
    backend = Tokenizer(models.BPE(vocab, merges, unk_token=UNK))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    return _FAST(tokenizer_object=backend, unk_token=UNK, bos_token="<s>")


def test_word_level_words_start_with_their_space() -> None:
    tokens = Tokens(word_tokenizer())
    token = tokens.word_id("Mary")
    assert token is not None
    assert tokens.text(token) == " Mary"
    assert tokens.encode(" Mary") == [token] != tokens.encode("Mary")


def test_a_text_is_tokenized_once_and_its_ids_are_a_list_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, asked = Tokens(word_tokenizer()), list[str]()
    tokenizer = tokens._tokenizer
    monkeypatch.setattr(tokens, "_tokenizer", lambda text, **how: asked.append(text) or tokenizer(text, **how))
    first = tokens.encode("the Mary gave")
    first.append(-1)
    assert tokens.encode("the Mary gave") == first[:-1]
    long = "the " * KEPT_LENGTH
    assert tokens.encode(long) == tokens.encode(long)
    assert asked == ["the Mary gave", long, long]  # long texts are not kept


def test_ids_kept_before_the_rows_are_known_are_checked_by_them() -> None:
    tokens = Tokens(word_tokenizer())
    (token,) = tokens.encode(" Mary")
    tokens.keep_within(token, lambda *_: None)
    with pytest.raises(NotApplicable, match="no row"):
        tokens.encode(" Mary")


@pytest.mark.parametrize("word", ["Zanzibar", "", " Mary", "Mary ", "Mary John", BOS, "\n"])
def test_what_is_not_one_known_token_is_none(word: str) -> None:
    assert Tokens(word_tokenizer()).word_id(word) is None


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_byte_level_word_start(add_prefix_space: bool) -> None:
    tokens = Tokens(byte_level(add_prefix_space))
    token = tokens.word_id("Mary")
    assert token is not None
    assert tokens.text(token) == " Mary"
    assert token in tokens.encode("the Mary")
    assert tokens.word_id("Marygave") is None


def test_llama2_word_start_is_found_in_context() -> None:
    """' Mary' alone encodes to two tokens there; the running-text id is the marked one."""
    tokenizer = llama2()
    tokens = Tokens(tokenizer)
    marked = tokenizer.convert_tokens_to_ids("\u2581Mary")
    assert len(tokens.encode(" Mary")) == 2
    assert tokens.word_id("Mary") == marked
    assert tokens.text(marked) == " Mary"
    assert tokens.text(tokenizer.convert_tokens_to_ids("Mary")) == "Mary"
    assert tokens.word_id("May") is None


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_word_ids_are_the_ids_of_running_text(words: list[str]) -> None:
    tokens = _SHARED
    assert [tokens.word_id(w) for w in words] == tokens.encode("the " + " ".join(words))[1:]
    assert tokens.decode(tokens.encode(" ".join(words))) == " ".join(words)


_SHARED = Tokens(word_tokenizer())


def test_display_strings_are_safe_and_never_empty() -> None:
    tokens = Tokens(byte_level())
    shown = [tokens.text(i) for i in range(tokens.size + 3)]
    assert all(s and s.isprintable() for s in shown)
    assert shown[-1] == f"<no token {tokens.size + 2}>"
    assert tokens.text(-1) == "<no token -1>"
    assert tokens.text(tokens.encode("\n")[0]) == "\\n"
    assert [tokens.text(i) for i in tokens.encode("é")] == ["<0xC3>", "<0xA9>"]  # halves of a letter


def test_no_bos_where_the_tokenizer_adds_none() -> None:
    tokens = Tokens(word_tokenizer())
    assert tokens.bos_id is None
    assert tokens.bos_rule == "none: the tokenizer adds none by default; position 0 is treated as the sink"
    assert tokens.prompt_ids("Mary gave") == tokens.encode("Mary gave")


def test_bos_by_the_tokenizers_own_default() -> None:
    tokens = Tokens(word_tokenizer(bos=True))
    assert tokens.bos_id == 0
    assert tokens.bos_rule == f"{BOS}: prepended, as the tokenizer does by default"
    assert tokens.prompt_ids("Mary gave") == [0, *tokens.encode("Mary gave")]
    assert tokens.encode("Mary") == Tokens(word_tokenizer()).encode("Mary")  # encode never adds it


def test_bos_on_request_and_off() -> None:
    assert Tokens(word_tokenizer(), "always").prompt_ids("Mary")[0] == 0
    off = Tokens(word_tokenizer(bos=True), "never")
    assert off.prompt_ids("Mary") == off.encode("Mary")
    assert "switched off" in off.bos_rule
    with pytest.raises(ModelError, match="no BOS token"):
        Tokens(_FAST(tokenizer_object=word_tokenizer().backend_tokenizer, unk_token=UNK), "always")
    with pytest.raises(ModelError, match="BOS rule 'maybe'"):
        Tokens(word_tokenizer(), "maybe")


def test_bos_by_the_tokenizers_config(tmp_path: Path) -> None:
    """OPT's way: the file says add_bos_token, the tokenizer itself adds nothing."""
    word_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_bos_token": True}))
    assert read_tokens(tmp_path, "x").bos_id == 0


@pytest.mark.skipif(
    Version(version("transformers")) < Version("5.16"),
    reason="older ones can't read such folders with tokenizers 0.22; the line that says so is a ModelError",
)
def test_old_gpt2_folders_without_tokenizer_json(tmp_path: Path) -> None:
    """vocab.json and merges.txt alone, as early checkpoints have them."""
    new = byte_level()
    new.backend_tokenizer.model.save(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": BOS, "unk_token": BOS}))
    old = read_tokens(tmp_path, "old")
    text = "the Mary gave a ring"
    assert old.encode(text) == Tokens(new).encode(text)
    assert old.word_id("Mary") == Tokens(new).word_id("Mary") is not None


TEMPLATE = "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"


def test_a_prompt_in_the_chat_template() -> None:
    made = byte_level()
    with pytest.raises(NotApplicable, match="no chat template"):
        Tokens(made).chat("Who?")
    made.chat_template = TEMPLATE
    assert Tokens(made).chat("Who?") == "<user>Who?<assistant>"  # ids get BOS by the model's rule
    made.chat_template = "{{ raise_exception('no users here') }}"
    with pytest.raises(NotApplicable, match="no users here"):
        Tokens(made).chat("Who?")
    made.chat_template = "{{ ''.__class__.__mro__ }}"  # Jinja's sandbox
    with pytest.raises(NotApplicable, match="can't be used"):
        Tokens(made).chat("Who?")


@pytest.mark.parametrize("content", ["", "{", '{"model": 3}', "[]"])
def test_damaged_tokenizer_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match="tokenizer of x can't be read") as caught:
        read_tokens(tmp_path, "x")
    assert "\n" not in str(caught.value)


def test_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no tokenizer"):
        read_tokens(tmp_path, "x")
