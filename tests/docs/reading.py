"""The project's pages as tests read them: code blocks, inline code, links, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CHANGELOG.md",
    ROOT / "reportgen" / "mini" / "CARD.md",
    *sorted(DOCS.glob("*.md")),
)
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEREDOC = re.compile(r"cat > (\S+) <<'EOF'")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [found[3] for found in _BLOCK.finditer(page.read_text("utf-8")) if found[2] == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def inline(page: Path) -> list[str]:
    """Inline code, a line break in it taken for a space."""
    return [" ".join(code.split()) for code in _INLINE.findall(prose(page))]


def links(page: Path) -> list[str]:
    """Link targets that are files, without their anchors."""
    found = [target.partition("#")[0] for target in _LINK.findall(prose(page))]
    return [target for target in found if target and "://" not in target]


def steps(block: str) -> Iterator[tuple[list[str], str]]:
    """Each command of a shell block as words, with the text of its here-document: `cat > FILE <<'EOF'`."""
    lines = iter(block.replace("\\\n", " ").splitlines())
    for line in lines:
        text = ""
        if _HEREDOC.match(line):
            for inner in lines:
                if inner == "EOF":
                    break
                text += inner + "\n"
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word == "&&":
                if words:
                    yield words, text
                words = []
            else:
                words.append(word)


def tables(page: Path) -> dict[str, set[str]]:
    """Heading -> names in the first column of the table under it; several in one cell count each."""
    found: dict[str, set[str]] = {}
    heading = ""
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.startswith("| `"):
            found.setdefault(heading, set()).update(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found
