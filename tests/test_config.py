"""Options: the command line wins over the file, and a mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.config import Options, merge, parse_set, read_config, with_aliases
from reportgen.errors import DataError, ReportgenError, SettingsError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "reportgen.toml"
    path.write_text(text, "utf-8")
    return path


def test_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 'model = "gpt2"\nsuite = ["relations"]\nseed = 3\n[suites.relations]\ntau = 0.2\n')
    options = merge(read_config(path), {})
    assert options.model == "gpt2"
    assert options.suites == ("relations",)
    assert options.seed == 3
    assert options.settings == {"relations": {"tau": 0.2}}


def test_command_line_wins_setting_by_setting(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 3\n[suites.relations]\ntau = 0.2\nk = 5\n")
    options = merge(read_config(path), {"seed": 4, "settings": parse_set(["relations.tau=0.3"])})
    assert options.seed == 4
    assert options.settings == {"relations": {"tau": "0.3", "k": 5}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "Invalid value"),
        ("models = 'gpt2'", "models"),
        ("seed = 'three'", r"\$.seed"),
        ("suite = 'relations'", r"\$.suite"),
        ("[suites]\nrelations = 3", r"\$.suites"),
    ],
)
def test_bad_file_names_the_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_config(write(tmp_path, text))
    assert "reportgen.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Can't read"):
        read_config(tmp_path / "none.toml")


@given(st.binary(max_size=80))
def test_any_bytes_are_options_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    line = ""
    try:
        merge(read_config(path), {})
    except ReportgenError as error:
        line = str(error)
    assert "\n" not in line


@pytest.mark.parametrize("entry", ["relations", "relations=1", ".tau=1", "relations.=1", "=", ""])
def test_set_of_another_shape(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"SUITE\.FIELD=VALUE"):
        parse_set([entry])


def test_set_keeps_equals_signs_in_values() -> None:
    assert parse_set(["a.b=c=d"]) == {"a": {"b": "c=d"}}


@pytest.mark.parametrize("bad", [{"preset": "fast"}, {"threads": -1}, {"seed": -1}, {"seed": 2**31}])
def test_options_out_of_range(bad: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        Options(**bad)  # type: ignore[arg-type]


OWN = """
from dataclasses import dataclass, field
from reportgen.suites import Measure, Suite

@dataclass(frozen=True)
class Settings:
    words: str = field(default="", metadata={"help": "text", "option": "text"})

SUITE = Suite("reader", score=lambda model: None, measures=Measure("m", "M", "x", "y"), settings=Settings)
"""


def test_an_option_stands_for_the_settings_that_name_it(tmp_path: Path) -> None:
    everywhere = with_aliases({}, (), text="a.txt")
    assert everywhere["attention"] == {"text_file": "a.txt"}
    assert {suite for suite, given in everywhere.items() if "a.txt" in given.values()} > {"attention", "circuits"}
    assert with_aliases({"relations": {"tau": 0.2}}, ("relations",), text="a.txt") == {"relations": {"tau": 0.2}}
    assert with_aliases({}, ("nowhere",), text=None, prompt="") == {}
    (tmp_path / "reader.py").write_text(OWN, "utf-8")
    assert with_aliases({}, (str(tmp_path / "reader.py"),), text="a.txt") == {"reader": {"words": "a.txt"}}
