"""docs/tokenizers.md against the tokenizers of mini and, where it is here, GPT-2; tests/real has the others."""

from __future__ import annotations

import pytest

from reportgen.suites.circuits.tasks import greater_than
from tests.docs import tokenizers

HERE = {"GPT-2": "REPORTGEN_GPT2=FOLDER"}


@pytest.mark.parametrize("column", ["mini", "GPT-2"])
def test_the_pairs_left_are_those_of_the_tokenizer(column: str) -> None:
    tokens = tokenizers.tokens_of(column)
    if tokens is None:
        pytest.skip(f"no tokenizer of {column} here; give {HERE[column]}")
    assert tokenizers.written()[column] == tokenizers.cells(tokens)


def test_the_page_is_what_the_module_writes() -> None:
    assert tokenizers.PAGE.read_text("utf-8") == tokenizers.page(tokenizers.written())


def test_the_forms_are_on_the_page() -> None:
    for form in greater_than.FORMS:
        assert f"\n| {form.title}" in tokenizers.HEAD
        assert f"| {', '.join(form.split('1732'))} |" in tokenizers.HEAD
        assert f"| {', '.join(form.roles)} |" in tokenizers.HEAD
