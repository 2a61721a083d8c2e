"""How a paper is cited: one printed line, a short form for captions, BibTeX."""

from __future__ import annotations

import re

import msgspec


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source. `nickname` is the title of its legends in figures."""

    key: str
    authors: str  # separated by commas; "et al." stands for the rest
    year: int
    title: str
    venue: str
    arxiv: str = ""
    url: str = ""
    nickname: str = ""

    @property
    def address(self) -> str:
        return self.url or (f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else "")


def people(paper: Paper) -> list[str]:
    """The authors one by one; what stands in brackets is left out, and "et al." becomes "others"."""
    names = re.sub(r"\s*\([^)]*\)", "", paper.authors).replace(" et al.", ", others").split(",")
    return [name.strip() for name in names if name.strip()]


def short(paper: Paper) -> str:
    """`Wang et al. 2022`, `Elhelo and Geva 2024`, `Nanda 2023`."""
    last = [name.split()[-1] for name in people(paper)]
    if len(last) == 1:
        who = last[0]
    elif len(last) == 2 and last[1] != "others":
        who = f"{last[0]} and {last[1]}"
    else:
        who = f"{last[0]} et al."
    return f"{who} {paper.year}"


def text_of(paper: Paper) -> str:
    """Authors (year). Title. Venue. arXiv number or address."""
    where = f"arXiv:{paper.arxiv}" if paper.arxiv else paper.url
    stop = "" if paper.title.endswith(("?", "!")) else "."
    parts = [f"{paper.authors} ({paper.year})."]
    parts += [f"{paper.title}{stop}", f"{paper.venue}."]
    return " ".join([*parts, f"{where}."] if where else parts)


def bibtex_of(paper: Paper) -> str:
    """A BibTeX entry: @misc with eprint or url, the venue in `note`, so that no field is guessed."""
    fields = {
        "author": " and ".join(_latex(name) for name in people(paper)),
        "title": "{" + _latex(paper.title) + "}",
        "year": str(paper.year),
        "note": _latex(paper.venue),
    }
    if paper.arxiv:
        fields |= {"eprint": paper.arxiv, "archivePrefix": "arXiv"}
    if paper.address:
        fields["url"] = paper.address
    body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{paper.key},\n{body}}}\n"


def _latex(text: str) -> str:
    """The few characters of titles and names that BibTeX would misread; letters with accents stay UTF-8."""
    return re.sub(r"([&%$#_])", r"\\\1", text)
