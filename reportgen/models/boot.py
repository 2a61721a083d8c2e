"""From a Hugging Face model to a TransformerBridge, quietly and without touching the network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast


def boot(hf_model: Any) -> Any:
    """A TransformerBridge around `hf_model`: shares its storage and rewires it in place. Weights are frozen.

    The bridge insists on a tokenizer and would look for one by name; it gets a throwaway, since ids are made by
    `Tokens` alone.
    """
    hf_model.config.architectures = [type(hf_model).__name__]  # what was loaded, whatever the file says
    fast: Any = PreTrainedTokenizerFast  # half-typed upstream
    blank = fast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))
    with quiet(), torch.random.fork_rng(devices=[]):  # splitting joint Q, K and V draws random numbers it throws away
        bridge = TransformerBridge.boot_transformers(
            "reportgen", hf_model=hf_model, tokenizer=blank, device=str(hf_model.device)
        )
    for parameter in bridge.parameters():  # the bridge makes parameters of its own for joint Q, K and V
        parameter.requires_grad_(False)
    return bridge


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bars; its warnings stay."""
    log: Any = transformers.utils.logging  # half-typed upstream
    bars = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            log.enable_progress_bar()
