"""The bundled model's tokenizer: one word with its leading space is one token, with an exact round trip."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reportgen.mini import words
from reportgen.mini.vocab import token_ids

MAX_LENGTH = 128


def build() -> PreTrainedTokenizerFast:
    """The word-level tokenizer over `vocabulary()`; decode(encode(text)) == text for text without <unk>."""
    core = Tokenizer(models.WordLevel(dict(token_ids()), unk_token=words.UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(words.PATTERN), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        bos_token=words.END,
        eos_token=words.END,
        unk_token=words.UNKNOWN,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def save(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json into a model folder."""
    build().save_pretrained(str(folder))
