"""A site of imported runs: every page is there, every link leads somewhere, and the same runs give the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import pytest

from reportgen import cli
from reportgen.errors import DataError, RunError, SettingsError
from reportgen.figures.export import stamp
from reportgen.imported.store import TableSource, import_table
from reportgen.published import load_catalogue
from reportgen.report.build import build
from reportgen.report.html import policy
from reportgen.report.tiles import GREY
from reportgen.runfolder import Run
from reportgen.scores import HeadScores
from reportgen.site import MARK, SHARES, SIGNED, Site, build_site, chosen, open_runs, pixels, read_site, under_maps

URL = "https://me.example/heads/"
HOSTILE = "Model </script><img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for seed, name in enumerate(("alpha", HOSTILE)):
        rng = np.random.default_rng(seed)
        rows = np.stack([rng.random(6), rng.normal(size=6)], axis=1)
        table = folder / f"t{seed}.csv"
        table.write_text("induction,effect\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in rows) + "\n")
        made.append(import_table(table, TableSource(name, 2, 3), folder / "stored"))
    return made


@pytest.fixture(scope="module")
def site(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "public"
    build_site(runs, out, Site("Two models", "Made for a test.", URL))
    return out


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("**/*.html"))


def test_every_link_of_every_page_leads_to_a_file_or_an_anchor_that_is_there(site: Path) -> None:
    kinds = len(list((site / "classes").glob("*.html")))
    assert kinds > 40
    # gallery, every head, published heads and 404; classes; a report and two permalinks per run
    assert len(pages(site)) == 4 + kinds + 2 * (1 + 2)
    checked = 0
    for page in pages(site):
        text = page.read_text("utf-8")
        here = urljoin(URL, page.relative_to(site).as_posix())
        for href in [a or b for a, b in re.findall(r'href=(?:"([^"]+)"|([^\s>"]+))', text)]:
            at = urlsplit(urljoin(here, href))
            assert at.netloc == "me.example", href
            target = site / unquote(at.path).removeprefix("/heads/")
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (page, href)
            if at.fragment:
                is_head = re.fullmatch(r"L\d+H\d+", at.fragment)  # the page's script opens its passport
                assert f'id="{"passport-data" if is_head else at.fragment}"' in target.read_text("utf-8"), (page, href)
            checked += 1
    assert checked > 60


def test_the_gallery_has_a_card_and_maps_per_run(site: Path) -> None:
    text = (site / "index.html").read_text("utf-8")
    assert text.count('<li class="card"') == 2
    assert text.count("data:image/png;base64,") == 4
    assert "onerror=alert(1)>" not in text
    assert "\u202e" not in text
    assert 'data-layers="2"' in text
    assert 'data-heads="6"' in text


def test_pages_allow_their_own_script_and_style_alone(site: Path) -> None:
    for page in pages(site):
        text = page.read_text("utf-8")
        style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        assert len(style) == len(scripts) == 1, page
        assert policy(style[0], scripts[0]) in text.replace("&#39;", "'"), page
        assert "http" not in re.sub(r"http://www\.w3\.org|https?://arxiv[^\"<]*", "", "".join(scripts)), page


def test_permalinks_hold_the_hash_of_the_figure_and_copies_of_its_files(site: Path, runs: list[Run]) -> None:
    figure = build(runs[0]).plates[0].figure
    stem = f"alpha/at/{figure.id}-{stamp(figure).rsplit(':', 1)[1]}"
    for ending in ("svg", "pdf", "csv"):
        copy, original = site / f"{stem}.{ending}", site / "alpha" / "figures" / f"{figure.id}.{ending}"
        assert copy.read_bytes() == original.read_bytes()
    assert figure.caption in (site / f"{stem}.html").read_text("utf-8")
    assert f"at/{Path(stem).name}.html" in (site / "alpha" / "index.html").read_text("utf-8")


def test_every_published_list_is_on_its_page_by_model_and_class(site: Path) -> None:
    text = (site / "published.html").read_text("utf-8")
    entries = load_catalogue().entries
    assert text.count('<tr><th scope="row">') == len(entries)
    assert text.count('<h2 id="model-') == len({entry.model for entry in entries})
    movers = next(entry for entry in entries if entry.name == "Name Mover Heads")
    assert "L9H9, L10H0, L9H6" in text
    assert f">{escape(movers.model)}</h2>" in text
    assert 'href="published.html"' in (site / "index.html").read_text("utf-8")


def test_the_sitemap_names_every_page(site: Path) -> None:
    root = ElementTree.parse(site / "sitemap.xml").getroot()
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    places = [element.text or "" for element in root.iter(f"{space}loc")]
    files = {URL + p.relative_to(site).as_posix().removesuffix("index.html") for p in pages(site)} - {f"{URL}404.html"}
    assert set(places) == files
    assert f"{URL}sitemap.xml" in (site / "robots.txt").read_text()


def test_the_missing_page_knows_where_every_figure_is(site: Path) -> None:
    text = (site / "404.html").read_text("utf-8")
    block = re.search(r'id="places">(.*?)</script>', text, re.DOTALL)
    assert block is not None
    known = json.loads(block[1])
    assert known["root"] == "/heads/"
    assert len(known["places"]) == 4
    assert all((site / place).is_file() for place in known["places"].values())


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in folder.glob("**/*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_building_again_replaces_the_site_by_the_same_bytes(runs: list[Run], site: Path) -> None:
    before = digests(site)
    (site / "stale.html").write_text("old")
    build_site(runs, site, Site("Two models", "Made for a test.", URL))
    assert digests(site) == before
    assert not list(site.parent.glob(".*.part"))


def test_a_folder_that_is_no_site_is_left_alone(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SettingsError, match="--out public"):
        build_site(runs[:1], tmp_path, Site())
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert not (tmp_path / MARK).exists()


def test_settings_are_read_and_refused_in_one_line(runs: list[Run], tmp_path: Path) -> None:
    stored = runs[0].path.parent
    file = stored / "site.toml"
    file.write_text('title = "T"\nurl = "https://me.example/x"\nruns = ["*"]\n')
    site, folders = read_site(file)
    assert (site.title, site.url, site.root) == ("T", "https://me.example/x/", "/x/")
    assert len(open_runs(folders)) == 2
    assert len(open_runs([stored])) == 2
    for text, words in (
        ('runs = ["../*"]', "outside its"), ('runs = ["none*"]', "no run folder matches"), ("tilte = 1", "tilte"),
        ("title = [", "site.toml"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read_site(file)
    file.unlink()
    with pytest.raises(SettingsError, match="not an http address"):
        Site(url="ftp://x/")
    with pytest.raises(RunError, match="No runs"):
        open_runs([])
    with pytest.raises(RunError, match="not a run folder"):
        open_runs([tmp_path])


def test_two_runs_of_one_name_are_refused(runs: list[Run], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs[0].path, tmp_path / "copy")
    with pytest.raises(RunError, match="both called 'alpha'"):
        open_runs([runs[0].path, tmp_path / "copy"])


def test_the_verb_says_what_a_sitemap_needs(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.app(["site", str(runs[0].path), "--out", str(tmp_path / "out")], standalone_mode=False)
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "out" / "index.html")
    assert "--url" in said.err
    assert not (tmp_path / "out" / "sitemap.xml").exists()


VALUES = np.array([[0.0, 1.0, np.nan], [0.5, 0.25, 0.0]], dtype=np.float32)  # [layer head]


def decoded(png: bytes) -> npt.NDArray[np.uint8]:
    """[row column rgb] of an 8-bit RGB PNG without filters, every checksum verified."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(png):
        (size,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        parts[kind] = body
        at += 12 + size
    wide, high = struct.unpack(">II", parts[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(high, 1 + 3 * wide)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(high, wide, 3)


def scores(low: float) -> HeadScores:
    return HeadScores("a/b/c", "x", VALUES, 1, no_null="none", range=(low, 1.0), reasons={"*": "why"})


def hex_of(pixel: npt.NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(c):02x}" for c in pixel)


def test_a_pixel_a_head_in_the_colours_of_the_scale() -> None:
    image = decoded(pixels(scores(0.0), SHARES, down=False))
    assert image.shape == (3, 2, 3)  # heads down, layers across
    assert [hex_of(image[0, 0]), hex_of(image[1, 0]), hex_of(image[2, 0])] == ["#440154", "#fde725", GREY]
    assert decoded(pixels(scores(0.0), SHARES, down=True)).shape == (2, 3, 3)
    signed = decoded(pixels(scores(-1.0), SIGNED, down=False))
    assert hex_of(signed[1, 0]) == "#8d1228"


def tile(key: str) -> Any:
    return SimpleNamespace(key=key, suite=key.split("/")[0])


def test_maps_are_chosen_in_turn_from_every_suite_and_drawn_in_the_reports_order() -> None:
    tiles = [tile(f"a/{i}") for i in range(20)] + [tile("b/0"), tile("b/1")]
    counts = Counter({"a/7": 3})
    found = [t.key for t in chosen(tiles, counts)]
    assert len(found) == 8
    assert {"b/0", "b/1", "a/7"} <= set(found)
    assert found == sorted(found, key=[t.key for t in tiles].index)


def test_what_stands_under_the_maps_is_said_only_where_something_does() -> None:
    def said(*notes: tuple[str, str]) -> str:
        card: Any = SimpleNamespace(maps=[SimpleNamespace(key=key, note=note) for key, note in notes])
        return under_maps([card])

    null, size = "heads beyond the map's family-wise null", "the size at which the colours of a difference saturate"
    assert said(("attention/a/b", ""), ("compared/a/b", "")) == said() == ""
    assert said(("attention/a/b", "3 of 16")) == f"Under a map: {null}."
    assert said(("attention/a/b", "3 of 16"), ("compared/a/b", "± 0.1")) == f"Under a map: {null}, or {size}."
