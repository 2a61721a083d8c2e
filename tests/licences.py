"""The licence of everything that installing reportgen installs, from the packages' own metadata.

`python -m tests.licences` writes docs/licences.md anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageMetadata as Metadata
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parent.parent / "docs" / "licences.md"
# What may be used beside MIT code: permissive, and MPL-2.0, whose duties end at its own files.
ACCEPTED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC",
    "LLVM-exception", "MIT", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
# Names of older metadata, where there is no SPDX expression.
_SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
} | {name.lower(): name for name in ACCEPTED}
# Not installed with builds of torch for the CPU, and not free software: said on the page.
CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")


@dataclass(frozen=True)
class Package:
    """One installed package; `by` are the packages here that ask for it."""

    name: str
    version: str
    licence: str
    by: tuple[str, ...]


def packages(root: str = "reportgen") -> list[Package]:
    """Everything that `root` needs at run time on this system, itself left out, by name."""
    asked: dict[str, set[str]] = {root: set()}
    todo = [root]
    while todo:
        name = todo.pop()
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            other = canonicalize_name(need.name)
            if other not in asked:
                todo.append(other)
            asked.setdefault(other, set()).add(name)
    found = []
    for name, by in sorted(asked.items()):
        try:
            metadata = distribution(name).metadata
        except PackageNotFoundError:
            continue
        if name != root and not CUDA.fullmatch(name):
            found.append(Package(name, metadata["Version"], licence(metadata), tuple(sorted(by))))
    return found


def licence(metadata: Metadata) -> str:
    """The licence as an SPDX expression, or "unknown"."""
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    field = str(metadata.get("License") or "").strip()
    if accepted(field):
        return field
    by_field = _SPDX.get(field.lower())
    classifiers = [str(c).rpartition("::")[2].strip().lower() for c in metadata.get_all("Classifier") or []
                   if str(c).startswith("License ::")]  # fmt: skip
    by_classifier = [_SPDX[c] for c in classifiers if c in _SPDX]
    return by_field or " AND ".join(by_classifier) or "unknown"


def accepted(expression: str) -> bool:
    """Whether every licence of the expression is, or one of two joined by OR."""
    choices = re.split(r"\s+OR\s+", expression.strip("() "))
    return any(all(part.strip("() ") in ACCEPTED for part in re.split(r"\s+(?:AND|WITH)\s+", c)) for c in choices)


def page(found: list[Package]) -> str:
    """docs/licences.md."""
    rows = [f"| {p.name} | {p.licence} | {_by(p.by)} |" for p in found]
    return "\n".join([_HEAD, "| package | licence | asked for by |", "|---|---|---|", *rows, ""])


def _by(names: tuple[str, ...]) -> str:
    if "reportgen" in names:
        return "reportgen"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_HEAD = """# Licences

reportgen is under the MIT licence. Shipped with it: the font Liberation Sans under the SIL Open Font License
(templates/fonts/OFL.txt).

The table lists everything that `pip install reportgen` installs with the versions of constraints.txt, on Linux, with
the licence from its metadata. All are permissive except certifi and tqdm (MPL-2.0, which covers only their own files).
A test fails if a package is missing here, has no licence, or has one that is not on the accepted list; `python -m
tests.licences` writes this page.

If pip installs torch's CUDA build (PyPI's default on Linux), it also installs `nvidia-*` and `cuda-*` packages, under
NVIDIA's own licence, and `triton` (MIT). A CPU build has neither.
"""

if __name__ == "__main__":
    PAGE.write_text(page(packages()), "utf-8")
