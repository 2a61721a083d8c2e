"""The figures of a stored run, drawn in a process that can't import torch.

`python -m reportgen.suitecheck.drawn RUN SUITE` prints what it drew as one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reportgen.suitecheck.line import FAIL, NOT_RUN, Line, judged

BARRED = ("torch", "transformers", "transformer_lens")
_LIMIT_S = 600


def figures(run: Path, suite: str) -> Iterator[Line]:
    """Two lines: the figures are drawn without torch; each has a caption, words for who can't see it, and numbers."""
    command = [sys.executable, "-m", "reportgen.suitecheck.drawn", str(run), suite]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Line("figures", FAIL, last, "import torch inside score alone, and altair inside figures alone")
        yield Line("captions", NOT_RUN, "nothing was drawn")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    drawn = found["figures"]
    if not drawn and not found["problems"]:
        yield Line("figures", NOT_RUN, "the suite draws none", "figures(result, view) gives a list of Figure")
        yield Line("captions", NOT_RUN, "the suite draws no figure")
        return
    yield judged("figures", found["problems"], "python -X dev -m reportgen render shows where it broke",
                 f"{len(drawn)} drawn from the stored run, without torch: {', '.join(f['id'] for f in drawn[:3])}"
                 + (" ..." if len(drawn) > 3 else ""))  # fmt: skip
    if not drawn:
        yield Line("captions", NOT_RUN, "nothing was drawn")
        return
    problems = [words for figure in drawn for words in wordless(figure)]
    yield judged("captions", problems, "give every Figure a title, caption, alt and data",
                 "every figure has title, caption, alt and its numbers")  # fmt: skip


def wordless(figure: dict[str, Any]) -> Iterator[str]:
    """What a figure should say and does not."""
    for word in ("title", "caption", "alt"):
        if not figure[word].strip():
            yield f"figure {figure['id']} has no {word}"
    if not figure["rows"]:
        yield f"figure {figure['id']} has no data"


def main(run: str, suite: str) -> None:
    """Draw the run with everything of BARRED made impossible to import, and print what there is."""
    for name in BARRED:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's way to refuse a name
    from reportgen import suites
    from reportgen.report.build import build
    from reportgen.runfolder import Run

    found = suites.find(suite)
    report = build(Run.open(run), suites={found.name: found})
    section = next(s for s in report.sections if s.name == found.name)
    drawn = [
        {"id": p.id, "title": p.title, "caption": p.caption, "alt": p.alt, "rows": len(p.figure.data.rows)}
        for p in section.plates
    ]
    print(json.dumps({"figures": drawn, "problems": list(section.undrawn)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
