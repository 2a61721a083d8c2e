"""From a Hugging Face model to a TransformerBridge, quietly and without touching the network."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast


def boot(hf_model: Any, device: torch.device) -> Any:
    """A TransformerBridge around `hf_model`: shares its storage and rewires it in place. Weights are frozen.

    The bridge insists on a tokenizer and would look for one by name; it gets a throwaway, since ids are made by
    `Tokens` alone.
    """
    hf_model.requires_grad_(False)
    fast: Any = PreTrainedTokenizerFast  # half-typed upstream
    blank = fast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))
    with quiet():
        return TransformerBridge.boot_transformers("reportgen", hf_model=hf_model, tokenizer=blank, device=str(device))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers prints while loading: its progress bar, and messages below an error."""
    log: Any = transformers.utils.logging  # half-typed upstream
    bars = log.is_progress_bar_enabled()
    level = log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Module-level filters of transformer_lens must not leak into the caller's.
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
