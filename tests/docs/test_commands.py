"""Commands in the pages against the real command line, and every file that a page names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.exceptions import TyperException

from tests.docs import pages
from tests.docs.reading import DOCS, PAGES, ROOT, blocks, inline, links, steps

VERBS = dict(pages.commands())
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_PATH = re.compile(r"(?:reportgen|docs|tests|templates|site|paper|benchmarks)/[\w./-]+")


def typed(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Words after `reportgen`, and whether they are a command as it would be typed."""
    for block in blocks(page, "sh"):
        yield from ((words[1:], True) for words, _ in steps(block) if words[0] == "reportgen")
    if page.name != "cli.md":
        yield from ((code.split()[1:], False) for code in inline(page) if code.startswith("reportgen "))


def verb(words: list[str]) -> tuple[str, ...]:
    return tuple(words[:2]) if tuple(words[:2]) in VERBS else tuple(words[:1])


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_parses(page: Path) -> None:
    groups = {name[0] for name in VERBS}
    for words, is_typed in typed(page):
        if words == ["--version"] or (not is_typed and words[0] == "VERB"):
            continue
        name = verb(words)
        rest = words[len(name) :]
        if not is_typed and (not rest or rest[0] == "..."):  # the verb is spoken of
            assert name[0] in groups, words
            continue
        assert name in VERBS, words
        try:
            VERBS[name].make_context(" ".join(name), [word for word in rest if word != "..."])
        except TyperException as error:
            if is_typed or type(error).__name__ != "MissingParameter":
                raise


def test_there_are_commands_to_parse() -> None:
    assert len([words for page in PAGES for words, is_typed in typed(page) if is_typed]) > 30
    with pytest.raises(TyperException, match="--bogus"):
        VERBS["render",].make_context("render", ["runs/mini", "--bogus"])


def test_every_verb_and_option_is_in_the_pages() -> None:
    """In words of their own, as --help has them: the page cli.md, and every verb somewhere else, too."""
    text = (DOCS / "cli.md").read_text("utf-8")
    elsewhere = {verb(words) for page in PAGES if page.name != "cli.md" for words, _ in typed(page) if words}
    for words, command in VERBS.items():
        section = text.split(f"\n## reportgen {' '.join(words)}\n")[1].split("\n## ")[0]
        for option in (opt for p in command.params for opt in p.opts if opt.startswith("--") and opt != "--help"):
            assert re.search(rf"`(?:[^`]*/)?{option}[ `/]", section), (words, option)
        assert words in elsewhere, words


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_named_exists(page: Path) -> None:
    for target in links(page):
        assert (page.parent / target).exists(), target
    for code in inline(page):
        if _PATH.fullmatch(code) and "NAME" not in code:
            assert (ROOT / code).exists(), code


def test_the_index_has_every_page() -> None:
    listed = {Path(target).name for target in links(DOCS / "README.md")}
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert "docs/README.md" in links(ROOT / "README.md")


def test_generated_pages_are_up_to_date() -> None:
    """Else: python -m tests.docs.pages."""
    assert (DOCS / "glossary.md").read_text("utf-8") == pages.glossary()
    assert (DOCS / "cli.md").read_text("utf-8") == pages.cli()
