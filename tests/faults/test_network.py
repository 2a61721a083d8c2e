"""No network: every address looked up or reached would be refused and printed (tests/faults/preload.py)."""

from __future__ import annotations

from pathlib import Path

from tests.faults.started import start


def test_the_main_job_and_render_open_no_connection(tmp_path: Path) -> None:
    """The imports too: they were watched. `figure`, `site` and `check` import nothing that these two do not."""
    words = ("--suite", "attention", "--out", str(tmp_path), "--threads", "1", "--json")
    scored = start("run", "mini", *words, out=tmp_path / "said")
    assert scored.end() == 0, scored.text
    assert scored.complaints == []
    drawn = start("render", str(tmp_path / "mini"), out=tmp_path / "said-again")
    assert drawn.end() == 0, drawn.text
    assert drawn.complaints == [str(tmp_path / "mini" / "report" / "index.html")]


def test_an_attempt_would_be_seen(tmp_path: Path) -> None:
    refused = start("run", "made-up/model", "--out", str(tmp_path / "runs"), out=tmp_path / "said")
    assert refused.end() == 2, refused.text
    assert "network: socket.getaddrinfo" in refused.text


def test_offline_tries_nothing(tmp_path: Path) -> None:
    refused = start("run", "made-up/model", "--offline", "--out", str(tmp_path / "runs"), out=tmp_path / "said")
    assert refused.end() == 2, refused.text
    assert "network:" not in refused.text
