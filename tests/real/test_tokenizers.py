"""docs/tokenizers.md against the tokenizers of the real models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import tokenizers

pytestmark = pytest.mark.real


@pytest.mark.parametrize("column", tokenizers.GGUF)
def test_the_pairs_left_are_those_of_the_tokenizer(column: str, file_of: Callable[[str], Path]) -> None:
    file_of(tokenizers.GGUF[column])  # fetched, or skipped in a line
    tokens = tokenizers.tokens_of(column)
    assert tokens is not None
    assert tokenizers.written()[column] == tokenizers.cells(tokens)
