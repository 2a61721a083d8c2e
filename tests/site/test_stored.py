"""The run that this project publishes: stored as the command wrote it, rendered, and cited by the example paper."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from reportgen import cli
from reportgen.runfolder import Run

ROOT = Path(__file__).parent.parent.parent
STORED = ROOT / "site" / "runs" / "mini"
NO_LATEX = "no LaTeX: apt-get install texlive-latex-recommended"
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stored") / "public"
    words = ["site", "--config", str(ROOT / "site" / "site.toml"), "--url", "https://me.example/", "--out", str(out)]
    cli.app(words, standalone_mode=False)
    return out


def test_the_stored_run_is_whole_small_and_names_no_machine() -> None:
    run = Run.open(STORED)
    assert run.model.source == "bundled"
    assert set(run.results) >= {"attention", "circuits", "relations", "cognitive"}  # reading checks every digest
    assert not any(word.startswith("/") for word in run.manifest.argv)
    files = [p for p in STORED.glob("**/*") if p.is_file() and "report" not in p.parts]
    assert sum(p.stat().st_size for p in files) < 8_000_000


def test_the_site_shows_every_suite_of_the_stored_run(site: Path) -> None:
    text = (site / "mini" / "index.html").read_text("utf-8")
    for name in Run.open(STORED).done():
        assert f'id="suite-{name}"' in text
    assert "could not be drawn" not in text
    gallery = (site / "index.html").read_text("utf-8")
    assert gallery.count("data:image/png;base64,") == 2 * 8
    assert 0 < gallery.index('href="smollm2-135m-instruct/') < gallery.index('href="mini/')
    assert "could not be drawn" not in (site / "smollm2-135m-instruct" / "index.html").read_text("utf-8")
    assert len(list((site / "mini" / "at").glob("*.html"))) == text.count('class="plate') > 20


def paper(folder: Path, run: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", str(ROOT / "paper" / "build.sh"), str(run), str(folder)]
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=env)


def test_the_example_paper_compiles_and_agrees_with_its_run(site: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_LATEX)
        pytest.skip(NO_LATEX)
    run = tmp_path / "mini"
    shutil.copytree(STORED, run, ignore=shutil.ignore_patterns("report"))
    shutil.copytree(site / "mini", run / "report")
    done = paper(tmp_path / "out", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 numbers and 2 figures agree with the run" in done.stdout
    assert (tmp_path / "out" / "paper.pdf").stat().st_size > 50_000


@pytest.mark.parametrize("name", ["ci.yml", "pages.yml"])
def test_workflows_pin_every_action_by_its_commit(name: str) -> None:
    uses = [line for line in (ROOT / ".github" / "workflows" / name).read_text().splitlines() if "uses: " in line]
    steps = [line.strip().removeprefix("- ") for line in uses if not line.lstrip().startswith("#")]
    assert steps
    assert all(PINNED.fullmatch(step) for step in steps), steps


def test_pages_runs_no_input_as_a_script() -> None:
    text = (ROOT / ".github" / "workflows" / "pages.yml").read_text()
    scripts = re.findall(r"run: \|\n((?: {10}.*\n)+)", text)
    assert len(scripts) == 2
    assert not any("${{" in script for script in scripts)


def test_pages_installs_what_the_package_asks_for() -> None:
    """Torch and its kin are left out; whatever is named is named with the package's own bounds."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    named = re.findall(r'"([\w-]+[<>=][^"]*)"', (ROOT / ".github" / "workflows" / "pages.yml").read_text())
    assert len(named) == 12
    assert set(named) <= set(asked)
    assert not [name for name in named if name.startswith(("torch", "transformer"))]


def test_intervals_hold_their_value_and_stay_within_the_range() -> None:
    run = Run.open(STORED)
    for name in run.done():
        for scores in run.result(name).scores:
            if scores.low is None or scores.high is None:
                continue
            known = np.isfinite(scores.values) & np.isfinite(scores.low)
            low, value, high = (grid[known] for grid in (scores.low, scores.values, scores.high))
            assert (low <= value + 1e-6).all(), scores.key
            assert (value <= high + 1e-6).all(), scores.key
            assert low.min(initial=scores.range[0]) >= scores.range[0], scores.key
            assert high.max(initial=scores.range[1]) <= scores.range[1], scores.key
