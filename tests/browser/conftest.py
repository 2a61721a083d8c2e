"""Debian's Chromium through Playwright. Without it these tests are skipped in one line; in CI that is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from reportgen.figures.figure import Style
from reportgen.report.build import build
from reportgen.report.render import ENDINGS, write
from tests.report import sample

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        words = "no Chromium: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with hostile words, written whole."""
    folder = tmp_path_factory.mktemp("hostile")
    run = sample.run(folder, sample.HOSTILE)
    write(
        build(run, suites=sample.SUITES),
        run,
        folder / "report",
        Style(),
        tuple(ENDINGS),
        lambda done, total, words: None,
    )
    return folder / "report"
