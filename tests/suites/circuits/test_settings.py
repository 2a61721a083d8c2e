"""Settings of the suite: what is refused, and what enters the resume key."""

from __future__ import annotations

import dataclasses

import pytest

from reportgen.errors import SettingsError
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.suite import SUITE


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tasks", "ioi,chess"),
        ("prompts", "0"),
        ("alpha", "0"),
        ("effect_share", "1"),
        ("bands", "-1"),
        ("through_movers", "q,x"),
        ("rule", "paper"),
        ("ablation", "none"),
        ("added", "-1"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=f"circuits: {name}"):
        SUITE.make_settings("full", {name: wrong})


def test_settings_have_help_and_the_data_enters_the_resume_key() -> None:
    assert all(f.metadata["help"] for f in dataclasses.fields(Settings))
    assert all(path.is_file() for path in SUITE.data(SUITE.make_settings("quick")))
