"""A site of imported runs: every page is there, every link leads somewhere, and the same runs give the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest

from reportgen import cli
from reportgen.errors import DataError, RunError, SettingsError
from reportgen.figures.export import stamp
from reportgen.imported.store import Source, import_table
from reportgen.report.build import build
from reportgen.report.html import policy
from reportgen.runfolder import Run
from reportgen.site.build import MARK, build_site
from reportgen.site.settings import Site, open_runs, read_site

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
        made.append(import_table(table, Source(name, 2, 3), folder / "stored"))
    return made


@pytest.fixture(scope="module")
def site(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "public"
    build_site(runs, out, Site("Two models", "Made for a test.", URL))
    return out


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("**/*.html"))


def test_every_link_of_every_page_leads_to_a_file_or_an_anchor_that_is_there(site: Path) -> None:
    assert len(pages(site)) == 2 + 2 * (1 + 2)  # gallery and 404; a report and two permalinks per run
    checked = 0
    for page in pages(site):
        text = page.read_text("utf-8")
        here = urljoin(URL, page.relative_to(site).as_posix())
        for href in re.findall(r'href="([^"]+)"', text):
            at = urlsplit(urljoin(here, href))
            assert at.netloc == "me.example", href
            target = site / at.path.removeprefix("/heads/")
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (page, href)
            if at.fragment:
                assert f'id="{at.fragment}"' in target.read_text("utf-8"), (page, href)
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
        ('runs = ["../*"]', "leads out"), ('runs = ["none*"]', "no run folder matches"), ("tilte = 1", "tilte"),
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
