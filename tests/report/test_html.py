from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from pathlib import Path

import pytest

from reportgen.report.build import build
from reportgen.report.document import Report
from reportgen.report.html import FILES, data_block, page
from tests.report import sample

FORMATS = ("svg", "pdf", "png", "csv", "tex", "json")
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr", "col"}


# Elements that HTML ends by itself: rows of large tables leave their ends out.
ENDS = {"td": ("td", "th"), "th": ("td", "th"), "tr": ("td", "th", "tr"), "/tbody": ("td", "th", "tr")}


class Tree(html.parser.HTMLParser):
    """Elements as (tag, attributes, text inside, path of open tags), and whether every tag was closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[int] = []
        self.elements: list[tuple[str, dict[str, str], list[str], tuple[str, ...]]] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for ended in ENDS.get(tag, ()):
            self.end_where_open(ended)
        path = tuple(self.elements[i][0] for i in self.open)
        self.elements.append((tag, {k: v or "" for k, v in attrs}, [], path))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def end_where_open(self, tag: str) -> None:
        if self.open and self.elements[self.open[-1]][0] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        for ended in ENDS.get(f"/{tag}", ()):
            self.end_where_open(ended)
        if not self.open or self.elements[self.open[-1]][0] != tag:
            self.unbalanced.append(tag)
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        for i in self.open:
            self.elements[i][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attrs, "".join(text))
            for name, attrs, text, _ in self.elements
            if name == tag and all(attrs.get(k.rstrip("_")) == v for k, v in attributes.items())
        ]


@pytest.fixture(scope="module", params=["Mary", sample.HOSTILE], ids=["plain", "hostile"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run"), request.param), suites=sample.SUITES)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page(report, FORMATS, {"alpha-capital": "\\begin{figure}</code>"})


@pytest.fixture(scope="module")
def tree(text: str) -> Tree:
    return Tree(text)


def test_tags_are_balanced(tree: Tree) -> None:
    assert tree.unbalanced == []
    assert tree.open == []


def test_the_policy_allows_exactly_this_style_and_script(tree: Tree, text: str) -> None:
    ((meta, _),) = tree.all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = dict(part.split(" ", 1) for part in meta["content"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"


def test_nothing_is_loaded_and_no_other_script_or_style_exists(tree: Tree) -> None:
    scripts = [a for a, _ in tree.all("script")]
    assert scripts == [*({"type": "application/json", "id": name} for name in ("passport-data", "specs")), {}]
    assert len(tree.all("style")) == 1
    assert not {"img", "link", "iframe", "object", "embed", "base"} & {e[0] for e in tree.elements}
    for tag, attrs, _, _ in tree.elements:
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "src", "srcset", "action"), (tag, name)
            if name in ("href", "xlink:href"):
                assert value.startswith(("#", "figures/", *FILES)), value


def test_ids_are_unique_and_every_fragment_link_has_its_target(tree: Tree) -> None:
    ids = [attrs["id"] for _, attrs, _, _ in tree.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"][1:] for _, attrs, _, _ in tree.elements if attrs.get("href", "").startswith("#")]
    assert set(targets) <= set(ids)


def test_every_figure_has_caption_name_table_and_files(tree: Tree, report: Report) -> None:
    assert len(tree.all("figure")) == len(tree.all("figcaption")) == len(report.plates) == 3
    images = [a for a, _ in tree.all("svg", role="img")]
    assert [a["aria-label"] for a in images] == [p.alt for p in report.plates]
    for number, plate in enumerate(report.plates, 1):
        (_, caption) = tree.all("figcaption")[number - 1]
        assert f"Figure {number}." in caption
        assert plate.caption in caption
        assert (f"Figure {number} as a table") in [t.strip() for _, t in tree.all("summary")]
        for ending in ("svg", "pdf", "png", "csv", "tex", "vl.json"):
            assert tree.all("a", href=f"figures/{plate.id}.{ending}")
    twins = [path for tag, _, _, path in tree.elements if tag == "table" and "details" in path and "figure" not in path]
    assert len(twins) >= 3


def test_only_written_formats_are_offered(report: Report) -> None:
    links = {a["href"] for a, _ in Tree(page(report, ("svg",))).all("a") if "href" in a}
    assert "figures/alpha-ioi.svg" in links
    assert not any(link.endswith((".pdf", ".png", ".tex", ".vl.json")) for link in links)


def test_text_is_escaped_not_lost(tree: Tree, report: Report) -> None:
    ((_, heading),) = tree.all("h1")
    assert heading == report.model
    assert any(report.sections[0].notes[0] in t for _, t in tree.all("li"))
    assert "49" not in heading


def test_sections_say_status_reason_formula_and_settings(tree: Tree, report: Report) -> None:
    alerts = [t for a, t in tree.all("p", class_="alert")]
    assert any("ZeroDivisionError" in t for t in alerts)
    assert any(t.startswith("Failed. ValueError") for t in alerts)
    formulas = [t for _, t in tree.all("p", class_="formula")]
    assert "hits / n, <= k & more" in formulas
    assert any(t == "by you" for _, t in tree.all("td"))
    body = tree.all("main")[0][1]
    for words in ("What was not computed, and why", "Provenance", "Glossary", "BibTeX", "@misc{wang2022ioi"):
        assert words in body
    assert "ab" * 32 in body


def test_the_panel_data_are_json_whatever_the_text(tree: Tree, report: Report) -> None:
    (_, raw), (_, specs) = tree.all("script", type="application/json")
    assert "<" not in raw + specs
    assert set(json.loads(specs)["held"]) == {p.id for p in report.plates}
    known = json.loads(raw)
    assert (known["layers"], known["heads"]) == (sample.LAYERS, sample.HEADS)
    assert [s["key"] for s in known["scores"]] == [s.key for s in report.scores]
    assert known["sets"][0]["heads"] == ["L1H2", "L2H3"]


def test_the_watermark_is_there_only_for_made_up_scores(tmp_path: Path, text: str) -> None:
    assert 'class="watermark"' not in text
    made_up = build(sample.run(tmp_path, synthetic=True), suites=sample.SUITES)
    assert 'class="watermark"' in page(made_up)


def test_the_page_is_the_same_bytes_again(report: Report, text: str) -> None:
    assert page(report, FORMATS, {"alpha-capital": "\\begin{figure}</code>"}) == text


def test_data_blocks_cannot_end_their_element() -> None:
    block = data_block({"a": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(block)
    assert json.loads(block) == {"a": "</script><!--\u2028&"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        data_block(float("nan"))
