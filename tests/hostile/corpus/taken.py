"""Odd and right: names full of markup and control characters are taken, and escaped wherever they are shown."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from pathlib import Path, PurePosixPath

from tests.hostile.bases import IMPORT, TABLE, edit, signed
from tests.hostile.case import Case, Outcome

NAME = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}} #panic("x") $x$ \\input{/etc/passwd} \u202e\x07'
LABEL = '=cmd() </title><script>alert(2)</script> #read("/etc/passwd") \\write18{touch evil} \x1b]0;evil\x07 %'
OVERLAY = (
    f"[[entry]]\nclass = {json.dumps(NAME)}\nheads = ['L1H2']\nlabel = {json.dumps(LABEL)}\n"
    "legend = '<b>\\input{x}'\n"
)
SITE = f"title = {json.dumps(NAME)}\ndescription = {json.dumps(LABEL)}\nruns = ['run']\n"
# The last: a template engine ran {{7*7}}. The text itself may end an element: a title is wrapped into several.
_MARKUP = re.compile(r"<img src=x|<script>alert|</title><script|onerror=alert\(1\)>|script(?:>|&gt;)49\b")
_COMMENT = re.compile(r"(?<!\\)%.*")
_COMMANDS = re.compile(r"(?<!\\)\\(input|write18|include)\b")


def escaped(found: Outcome, here: Path) -> None:
    """No page has the markup, no LaTeX the commands, no table a formula, no archive a path that leads out."""
    pages = [*here.glob("**/*.html")]
    assert pages
    for page in (*pages, *here.glob("**/*.svg")):
        text = page.read_text()
        assert not _MARKUP.search(re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)), (
            page
        )
        for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
            assert "<" not in block
            json.loads(block)
    for tex in here.glob("**/*.tex"):
        assert not _COMMANDS.search(_COMMENT.sub("", tex.read_text())), tex
    for table in here.glob("**/scores.csv"):
        cells = [cell for row in csv.reader(io.StringIO(table.read_text())) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]
    for pdf in here.glob("**/report.pdf"):
        assert pdf.read_bytes().startswith(b"%PDF")
    for archive in here.glob("**/*.zip"):
        names = [PurePosixPath(name) for name in zipfile.ZipFile(archive).namelist()]
        assert names
        assert not [name for name in names if name.is_absolute() or ".." in name.parts]
    assert not (here / "evil").exists()


def _shown(found: Outcome, here: Path) -> None:
    assert "layers x" in found.out
    assert "\\x1b[31m" in found.out


def _forged(here: Path) -> None:
    """A stored run all of whose words are hostile."""
    edit("run/run.json", model__id=NAME, model__title=NAME, model__family=LABEL, model__dtype=LABEL, device=NAME,
         device_name=LABEL, preset=NAME, created=LABEL, updated=NAME, argv=[NAME, LABEL], versions={NAME: LABEL},
         git_commit=LABEL, suites__imported__settings={NAME: LABEL})(here)  # fmt: skip
    signed("run", edit("run/scores/imported.json", scores__0__label=LABEL, scores__0__no_null=NAME, facts={NAME: LABEL},
                       notes=[LABEL], not_computed=[[NAME, LABEL]]))(here)  # fmt: skip


def _sweep(here: Path) -> None:
    for i in (0, 1):
        edit("sweep/sweep.json", **{f"members__{i}__label": NAME, f"members__{i}__error": LABEL,
                                    f"members__{i}__name": LABEL})(here)  # fmt: skip
    edit("sweep/sweep.json", engine=NAME, argv=[LABEL], created=NAME, version=LABEL)(here)


def _renamed(here: Path) -> None:
    (here / "model").rename(here / "m\x1b[31m\x07<b>[red]")


HEADER = f'layer,head,"{LABEL.replace(chr(34), chr(34) * 2)}"\n'
CASES = (
    Case("taken-import", (*IMPORT, "--overlay", "{here}/o.toml", "--model-name", NAME), code=0, check=escaped,
         files={"t.csv": HEADER + TABLE.partition("\n")[2], "o.toml": OVERLAY}),
    Case("taken-run", ("render", "{here}/run"), code=0, check=escaped, base=("run",), damage=_forged),
    Case("taken-site", ("site", "--config", "{here}/site.toml", "--out", "{here}/out"), code=0, check=escaped,
         base=("run",), files={"site.toml": SITE}),
    Case("taken-sweep", ("render", "{here}/sweep"), code=0, check=escaped, base=("sweep",), damage=_sweep),
    Case("taken-model-name", ("run", "./m\x1b[31m\x07<b>[red]", "--dry-run", "--suite", "attention"), code=0,
         check=_shown, base=("model",), damage=_renamed),
)  # fmt: skip
