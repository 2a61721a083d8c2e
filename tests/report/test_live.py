from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from reportgen.report import html
from reportgen.report.build import build
from reportgen.report.document import Report
from tests.report import sample


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run"), sample.HOSTILE), suites=sample.SUITES)


def whole(value: Any, parts: list[Any]) -> Any:
    """A specification with its shared parts put back."""
    if isinstance(value, list):
        return [whole(item, parts) for item in value]
    if isinstance(value, dict):
        return whole(parts[value["@"]], parts) if "@" in value else {k: whole(v, parts) for k, v in value.items()}
    return value


def test_shared_parts_come_back_as_they_were(report: Report) -> None:
    held: Any = html.specifications(report.plates)
    assert held["parts"]
    bars = report.plates[2]
    assert whole(held["figures"][bars.id], held["parts"]) == bars.spec


def test_the_rows_of_a_map_are_left_out_and_nothing_else(report: Report) -> None:
    plate = report.plates[0]
    held: Any = html.specifications([plate])
    lean = whole(held["figures"][plate.id], held["parts"])
    changed = [name for name, rows in lean["datasets"].items() if rows != plate.spec["datasets"][name]]
    (name,) = changed
    rows = plate.spec["datasets"][name]
    assert lean["datasets"][name]["@rows"] == "alpha/score/capital"
    assert lean["datasets"][name]["fields"] == list(rows[0])
    assert lean["datasets"][name]["sets"] == {r["name"]: r["sets"] for r in rows if r["sets"]}
    assert {**lean, "datasets": {}} == {**plate.spec, "datasets": {}}


def test_what_the_page_carries_unpacks_to_the_same(report: Report) -> None:
    block: Any = html.spec_block(report.plates)
    unpacked = json.loads(zlib.decompress(base64.b64decode(block["packed"])))
    assert unpacked == html.specifications(report.plates)
    assert block["held"] == [p.id for p in report.plates]
    assert block["maps"] == ["alpha-capital", "alpha-ioi"]


def test_a_large_specification_stays_in_its_file(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(json.dumps(report.plates[2].spec, ensure_ascii=False, separators=(",", ":")).encode())
    monkeypatch.setattr(html, "TOO_LARGE", size - 1)
    held: Any = html.specifications(report.plates)
    assert report.plates[2].id not in held["figures"]


def test_a_report_without_figures_has_none(tmp_path: Path) -> None:
    empty = build(sample.run(tmp_path), suites={"gamma": sample.SUITES["gamma"]})
    assert html.specifications(empty.plates) == {"parts": [], "figures": {}}
