"""docs/suites.md holds the example that tests run, and names the checks there are."""

from __future__ import annotations

import re

from tests.docs.reading import DOCS, ROOT, blocks, tables

PAGE = DOCS / "suites.md"


def test_the_example_is_the_file_that_tests_run() -> None:
    """tests/suitecheck runs it."""
    assert blocks(PAGE, "python") == [(DOCS / "my_suite.py").read_text("utf-8")]


def test_every_check_is_in_the_table() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "reportgen" / "suitecheck").glob("*.py"))
    made = set(re.findall(r'(?:Line|judged)\(\s*"(\w+)"', sources)) - {"others"}
    assert tables(PAGE)["reportgen suite check"] == made
