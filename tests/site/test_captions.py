"""What the published runs print: a caption is short enough for a paper, and its notes are whole sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportgen.report.build import all_figures
from reportgen.runfolder import Run

RUNS = Path(__file__).parents[2] / "site" / "runs"


@pytest.mark.parametrize("name", ["mini", "smollm2-135m-instruct"])
def test_captions_have_at_most_60_words_and_notes_are_sentences(name: str) -> None:
    figures = all_figures(Run.open(RUNS / name))
    assert len(figures) > 40
    assert not [figure.id for figure in figures if "chart" in vars(figure)]  # each is made when it is looked at
    for figure in figures:
        assert len(figure.caption.split()) <= 60, figure.id
        assert all(note.strip() == note and note[-1] in ".:!?)" for note in figure.notes), figure.id
