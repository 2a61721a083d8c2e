"""Whose business a thing is: no file outside a suite's folder names a suite."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from reportgen.suites import BUILT_IN

HOUSE = Path(__file__).parent.parent / "reportgen"
NAMES = "|".join(suite.name for suite in BUILT_IN)
KEY = re.compile(
    rf"(?<![\w/.-])(?:{NAMES})/(?=[a-z_]|$)(?!plain)"
)  # "circuits/ioi/movers", wherever it stands in a string
OTHER = {  # strings that are equal to a suite's name and mean something else
    *(
        (f"figures/{name}.py", "text")
        for name in (  # Vega-Lite's mark and channel
            "categories",
            "category_frame",
            "circuit_graph",
            "curves",
            "heatmap",
            "legend",
            "overlap",
            "patterns",
            "chart_data",
        )
    ),
    ("compare/numbers.py", "text"),  # a dimension that names data
    ("head_examples.py", "text"),
    ("report/example_block.py", "text"),  # an array of token indices
    ("report/heads_json.py", "text"),
    ("report/passport.py", "text"),  # an array of token indices
    ("suites/documents.py", "text"),  # a field of a file
    ("report/pdf.py", "text"),  # a field of the document
    ("methods/write.py", "text"),  # plain text
    ("verbs/papers.py", "text"),
    ("verbs/run.py", "text"),  # the option --text
    ("figures/categories.py", "relations"),  # a tooltip's title: the relations of a head
    ("selftest/checks.py", "attention"),  # a field of a task's outcome: attention masses
    ("verbs/run.py", "relations"),  # the option --relations
    ("figures/patterns.py", "weights"),  # a layer of marks: attention weights
    ("terminal_lists.py", "weights"),  # raw weights
    ("compare/numbers.py", "weights"),  # the weights of a model
    ("verbs/run.py", "sparse"),  # the folder that `sparsify` writes where none is given
}


def outside() -> Iterator[Path]:
    """Every file that is in no suite's folder, but for the registry and the bundled model."""
    inside = [HOUSE / "suites" / suite.name for suite in BUILT_IN]
    for file in HOUSE.rglob("*.py"):
        if file != HOUSE / "suites" / "__init__.py" and not {HOUSE / "mini", *inside} & set(file.parents):
            yield file


def strings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named(file: Path) -> set[str]:
    """What names a suite in the file: a string that is its name, or a key of it within a string or docstring."""
    equal = {text for text in strings(file) if re.fullmatch(NAMES, text)}
    keys = {text[m.start() : m.start() + 40] for text in strings(file) for m in KEY.finditer(text)}
    return {text for text in equal if (file.relative_to(HOUSE).as_posix(), text) not in OTHER} | keys


def test_no_file_outside_a_suites_folder_names_a_suite() -> None:
    files = list(outside())
    assert len(files) > 80
    assert {file.relative_to(HOUSE).as_posix(): found for file in files if (found := named(file))} == {}


def test_a_name_would_be_seen() -> None:
    file = HOUSE / "suites" / "circuits" / "scoring" / "results.py"
    assert any(text.startswith("circuits/") for text in named(file))
    assert all((HOUSE / path).is_file() and name in strings(HOUSE / path) for path, name in OTHER)


def test_no_file_outside_imports_a_suites_folder() -> None:
    """But for what is about one suite: the self-test's planted answers, and the verb that trains a sparse model."""
    importing = {
        file.relative_to(HOUSE).as_posix()
        for file in outside()
        if re.search(rf"^\s*from reportgen\.suites\.({NAMES})\b", file.read_text("utf-8"), re.MULTILINE)
    }
    assert {path for path in importing if not path.startswith("selftest/")} == {"verbs/run.py"}


def test_no_suite_imports_another() -> None:
    for suite in BUILT_IN:
        others = [other.name for other in BUILT_IN if other is not suite]
        for file in (HOUSE / "suites" / suite.name).rglob("*.py"):
            text = file.read_text("utf-8")
            assert not [name for name in others if f"reportgen.suites.{name}" in text], file
