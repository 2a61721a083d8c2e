"""Debian's Chromium through Playwright. Without it these tests are skipped in one line; in CI that is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from reportgen.figures.theme import Style
from reportgen.report.build import build
from reportgen.report.render import ENDINGS, write
from tests.report import sample

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


MISSING = "no Chromium: apt-get install chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Chromium the tests here are skipped with one reason; in CI they run and fail."""
    if shutil.which("chromium") is None and os.environ.get("CI") != "true":
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail(MISSING)
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
