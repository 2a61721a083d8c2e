"""Settings, the rule for k, and what enters the resume key."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from reportgen.errors import DataError, SettingsError
from reportgen.suites.relations.suite import SUITE, RelationsSettings


@pytest.mark.parametrize(
    ("d_vocab", "copying", "k"),
    [(50257, False, 10), (50257, True, 1), (100_000, False, 10), (100_001, False, 25), (128256, True, 3)],
)
def test_k_follows_the_size_of_the_vocabulary(d_vocab: int, copying: bool, k: int) -> None:
    assert RelationsSettings().rank_limit(d_vocab, copying) == k


def test_k_can_be_set() -> None:
    settings = RelationsSettings(k=7, k_copying=2)
    assert (settings.rank_limit(50257, False), settings.rank_limit(50257, True)) == (7, 2)


def test_the_paper_s_preset_removes_by_zero_and_prints_its_table() -> None:
    ours, paper = RelationsSettings(), RelationsSettings(preset="paper")
    assert (ours.removal, ours.as_printed) == ("mean", False)
    assert (paper.removal, paper.as_printed) == ("zero", True)
    assert RelationsSettings(preset="paper", ablation_mode="mean").removal == "mean"
    assert RelationsSettings(paper_correlation=True).as_printed


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "code"},
        {"ablation_mode": "none"},
        {"k": -1},
        {"tau": 0.0},
        {"tau": "1.5"},
        {"chunk": 100},
        {"min_pairs": 0},
        {"permutations": -3},
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(given))):
        SUITE.make_settings("full", given)


def test_a_malformed_list_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('[["a", "b"], ["c", 4]]')
    with pytest.raises(DataError, match=r"mine\.json, entry 2: \['c', 4\], expected \[source, target\]"):
        SUITE.make_settings("full", {"relations_dir": str(tmp_path)})


def test_every_setting_has_help_and_a_default() -> None:
    for option in dataclasses.fields(RelationsSettings):
        assert option.metadata["help"]
        assert option.default is not dataclasses.MISSING


def test_presets_are_settings() -> None:
    assert not SUITE.make_settings("quick").ablation
    assert SUITE.make_settings("full") == RelationsSettings()
    assert SUITE.make_settings("full", {"relations": "copying,name_copying"}).relations == ("copying", "name_copying")


def test_data_files_are_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    assert SUITE.data(RelationsSettings(relations_dir=str(tmp_path))) == (tmp_path / "a.json",)
    assert len(SUITE.data(RelationsSettings())) == 21


def test_looking_at_the_suite_imports_no_torch() -> None:
    code = "import sys; import reportgen.suites.relations.suite; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
