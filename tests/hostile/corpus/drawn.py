"""What a run keeps as drawn of a user's suite, drawn/SUITE.json: anybody may have written it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.hostile.bases import Edit, cut, edit, link, put
from tests.hostile.case import DEEP, Case, Outcome
from tests.hostile.corpus.taken import LABEL, NAME, escaped

FILE = "kept/drawn/mine.json"
RENDER = ("render", "{here}/kept")
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'


def _file(name: str, damage: Edit, says: str) -> Case:
    """A file that is refused as a whole."""
    return Case(f"drawn-{name}", RENDER, says, base=("kept",), damage=damage)


def _refused(says: str) -> Callable[[Outcome, Path], None]:
    """The drawing is left out with its reason, on the page, too; nothing of it is in any file."""

    def check(found: Outcome, here: Path) -> None:
        assert re.search(rf"mine-share as stored in the run.*{says}", found.err), found.err
        page = (here / "kept/report/index.html").read_text()
        assert "as stored in the run" in page
        assert "evil" not in re.sub("mine-share as stored in the run[^<]*", "", page)
        assert not [*here.glob("kept/report/figures/mine-share.*")]

    return check


def _svg(name: str, svg: str, says: str) -> Case:
    damage = edit(FILE, figures__0__svg=svg)
    return Case(f"drawn-svg-{name}", RENDER, base=("kept",), damage=damage, code=1, check=_refused(says))


def _inside(name: str, inside: str, says: str) -> Case:
    return _svg(name, f"{HEAD}{inside}</svg>", says)


def _words(here: Path) -> None:
    edit(FILE, title=NAME, summary=LABEL, measures__0__title=NAME, measures__0__formula=LABEL, citations=[NAME],
         figures__0__title=NAME, figures__0__caption=LABEL, figures__0__alt=NAME, figures__0__data__title=LABEL,
         )(here)  # fmt: skip


_NESTED = "<g>" * 200 + "</g>" * 200
_CHAIN = '<defs><clipPath id="mine-share-1"><path clip-path="url(#mine-share-1)" d="M0,0"/></clipPath></defs>'
CASES = (
    _file("cut", cut(FILE, 0.5), r"mine\.json is damaged"),
    _file("text", put(FILE, "evil"), r"mine\.json is damaged: not JSON"),
    _file("binary", put(FILE, bytes(range(256))), r"mine\.json is damaged.*UTF-8"),
    _file("deep", put(FILE, "[" * DEEP), "nested too deeply"),
    _file("newer", edit(FILE, schema_version=99), "has schema 99"),
    _file("other-suite", edit(FILE, suite="relations"), "holds the suite 'relations'"),
    _file("figures", edit(FILE, figures=7), r"\$\.figures"),
    _file("svg-number", edit(FILE, figures__0__svg=7), r"\$\.figures\[0\]\.svg"),
    _file("measure-range", edit(FILE, measures__0__range=["a", 1]), r"\$\.measures\[0\]\.range"),
    _file("no-rows", edit(FILE, figures__0__data=...), "data"),
    _file("endless", link(FILE, "/dev/zero"), r"mine\.json: .*not a regular file"),
    Case("drawn-link", RENDER, "kept/drawn is a link out", {"outside/precious": "x"},
         ("kept",), link("kept/drawn", "{here}/outside")),
    _inside("script", "<script>evil()</script>", "<script> element"),
    _inside("script-of-html", '<script xmlns="http://www.w3.org/1999/xhtml">evil()</script>', "<script> element"),
    _inside("handler", '<rect onclick="evil()"/>', "attribute onclick"),
    _svg("load", HEAD.replace(" viewBox", ' onload="evil()" viewBox') + "</svg>", "attribute onload"),
    _inside("foreign", '<foreignObject><p xmlns="http://www.w3.org/1999/xhtml">evil</p></foreignObject>',
            "<(foreignObject|p)> element"),
    _inside("image", '<image href="http://evil.example/x.png"/>', "<image> element"),
    _inside("link", '<a href="javascript:evil()"><text>x</text></a>', "<a> element"),
    _inside("use", '<use href="http://evil.example/x.svg#a"/>', "<use> element"),
    _inside("style", "<style>@import 'http://evil.example'</style>", "<style> element"),
    _inside("style-attribute", '<rect style="fill:url(http://evil.example)"/>', "attribute style"),
    _inside("fill", '<rect fill="url(http://evil.example/x)"/>', "SVG with fill"),
    _inside("fill-escaped", r'<rect fill="\75rl(http://evil.example/x)"/>', "SVG with fill"),
    _inside("fill-image", '<rect fill="image-set(\'http://evil.example/x\' 1x)"/>', "SVG with fill"),
    _inside("fill-other", '<rect fill="url(#evil)"/>', "SVG with fill"),
    _inside("xlink", '<g xmlns:x="http://www.w3.org/1999/xlink" x:href="http://evil.example"/>', "attribute href"),
    _inside("animate", '<rect><set attributeName="fill" to="evil"/></rect>', "<set> element"),
    _inside("nested", _NESTED, "nested more than 60 deep"),
    _inside("clips", _CHAIN, "SVG with clip-path"),
    _inside("id", '<g id="specs"/>', "id 'specs'"),
    _inside("panels", '<g data-panels="[[1]]"/>', "attribute data-panels"),
    _inside("cut", "<g>", "not well-formed"),
    _svg("entities", '<!DOCTYPE svg [<!ENTITY evil "x">]>' + HEAD + "<text>&evil;</text></svg>", "plain SVG"),
    _svg("stylesheet", '<?xml-stylesheet href="http://evil.example/x.css"?>' + HEAD + "</svg>", "plain SVG"),
    _svg("html", "<html><body>evil</body></html>", "plain SVG"),
    _svg("huge", HEAD.replace("10 10", "1e9 1e9") + "</svg>", "SVG of 1e\\+09"),
    _svg("endless", HEAD.replace("10 10", "inf nan") + "</svg>", "without a viewBox"),
    _svg("empty", "", "not well-formed"),
    Case("drawn-table-ragged", RENDER, base=("kept",), code=1, damage=edit(FILE, figures__0__data__rows=[[1]]),
         check=lambda found, here: None),
    Case("drawn-set-outside", RENDER, base=("kept",), code=1, check=_refused("marks L9H9"), damage=edit(
        FILE, figures__0__head_sets=[{"key": "user/a/b", "label": "x", "heads": [[9, 9]], "legend": "", "source": "",
                                      "rule": "", "kind": "user", "verified": True, "weights": {}, "evidence": {}}])),
    _file("panels", edit(FILE, figures__0__panels=[[1]]), r"\$\.figures\[0\]\.panels"),
    Case("drawn-map-flat", RENDER, base=("kept",), code=1, check=_refused("cells have no size"), damage=edit(
        FILE, figures__0__panels=[{"key": "mine/share/all", "at": [0, 0], "step": [0, 9]}])),
    Case("drawn-other-scores", RENDER, base=("kept",), code=0, damage=edit(FILE, scores={"mine.json": "0" * 64})),
    Case("drawn-id", RENDER, base=("kept",), code=1, damage=edit(FILE, figures__0__id="../../evil"),
         check=lambda found, here: None),
    Case("drawn-taken", RENDER, base=("kept",), code=0, check=escaped, damage=_words),
    Case("drawn-site", ("site", "{here}/kept", "--out", "{here}/out"), base=("kept",), code=0, check=escaped,
         damage=_words),
)  # fmt: skip
