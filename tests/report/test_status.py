"""A skipped suite is no fault: neutral on the page, in the PDF, in the gallery and on the terminal; a failed one is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from reportgen.console import Reporter
from reportgen.errors import NotApplicable
from reportgen.manifest import SuiteRecord
from reportgen.report import pdf
from reportgen.report.build import build
from reportgen.report.document import Report
from reportgen.report.html import page
from reportgen.site import cards
from tests.report import sample

WHY = str(NotApplicable("Mini has no partner", "Make one: reportgen sparsify mini."))
RECORD = {status: SuiteRecord(status, 1, {}, {}, error=WHY) for status in ("skipped", "failed")}


def report(folder: Path, status: str) -> tuple[sample.FakeRun, Report]:
    run = sample.run(folder)
    manifest = msgspec.structs.replace(run.manifest, suites={**run.manifest.suites, "gamma": RECORD[status]})
    run = sample.FakeRun(run.path, manifest, run.results)
    return run, build(run, suites=sample.SUITES)


def test_a_reason_ends_in_the_next_thing_to_type() -> None:
    assert WHY == "Mini has no partner. Make one: reportgen sparsify mini."


@pytest.mark.parametrize(("status", "block"), [("skipped", "aside"), ("failed", "alert")])
def test_the_page_marks_failures_alone(tmp_path: Path, status: str, block: str) -> None:
    text = page(report(tmp_path, status)[1])
    section = text[text.index('id="suite-gamma"') :]
    assert f'<p class="{block}" role="note"><b>{status.capitalize()}.</b> {WHY}</p>' in section
    assert f'<span class="status {status}">{status}</span>' in text
    assert re.search(r"\.status \{[^}]*--soft", text)
    assert not re.search(r"\.(aside|status\.skipped)[^}]*--bad", text)


def test_the_pdf_marks_failures_alone() -> None:
    typst = (Path(pdf.__file__).parents[2] / "templates" / "report.typ").read_text()
    assert re.search(r'if s\.status == "skipped" \{ aside \} else \{ alert \}', typst)
    assert "a02c22" not in typst[typst.index("#let aside") : typst.index("#let alert")]


def test_the_gallery_tells_skipped_from_failed(tmp_path: Path) -> None:
    for status in ("skipped", "failed"):
        run, built = report(tmp_path, status)
        (card,) = cards([(run.manifest, built)])
        named = {"skipped": card.skipped, "failed": card.failed}
        assert named.pop(status) == ("Suite gamma",)
        assert named.popitem()[1] == ()
        assert "Suite gamma" not in card.suites


def test_the_terminal_is_red_for_failures_alone(capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for status, record in RECORD.items():
        reporter = Reporter()
        reporter.console = Console(force_terminal=True, color_system="standard", highlight=False, width=200)
        reporter.suite_ended(sample.suite("gamma"), record, kept=False)
        said[status] = capsys.readouterr().out
    assert "gamma: skipped: Mini has no partner. Make one" in said["skipped"]
    assert "\x1b[31m" in said["failed"]
    assert "\x1b[31m" not in said["skipped"]
