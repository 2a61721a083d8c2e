from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.figure import Figure
from reportgen.report.build import build
from reportgen.report.numbers import NUMBER, expected, numbers, numbers_tex, read, run_hash, slugs
from tests.report import sample


def figure(caption: str) -> Figure:
    plate = build(sample.run(Path("nowhere")), suites=sample.SUITES).plates[0]
    return dataclasses.replace(plate.figure, caption=caption)


@pytest.mark.parametrize(
    ("caption", "want"),
    [
        ("n = 122 pairs, 5 heads at τ = 0.15 or above.", ["122", "5", "0.15"]),
        ("L4H5 at 0.844 [0.770, 0.898].", ["0.844", "0.770", "0.898"]),
        ("lowest −0.068 and 1.2e−4 of 12,406", ["−0.068", "1.2e−4", "12,406"]),
        ("6 layers × 8 heads, 95 % interval", ["6", "8", "95"]),
        ("E W_V1 of GPT-2, arXiv 2412.11965, gpt2, p≤0.05", ["2412.11965", "0.05"]),
        ("layer-matched p = 2/224; 3 of 3.", ["3", "3"]),
        ("no numbers here", []),
    ],
)
def test_the_numbers_of_a_caption(caption: str, want: list[str]) -> None:
    assert [match[0] for match in NUMBER.finditer(caption)] == want


def test_keys_count_and_say_what_stands_before() -> None:
    found = list(numbers("mini", figure("n = 122 pairs, highest 0.844.")))
    assert [(n.key, n.text) for n in found] == [("mini/alpha-capital/1", "122"), ("mini/alpha-capital/2", "0.844")]
    assert found[1].context == "n = 122 pairs, highest"


def test_the_file_is_read_back_with_hash_numbers_and_captions() -> None:
    manifest = sample.manifest()
    values = read(numbers_tex(manifest, [figure("50 % of n = 12 {x} \\ & −3")]))
    assert values == {
        "made-up/hash": run_hash(manifest),
        "made-up/alpha-capital/1": "50",
        "made-up/alpha-capital/2": "12",
        "made-up/alpha-capital/3": "$-$3",
        "made-up/alpha-capital/caption": r"50 \% of n = 12 \{x\} \textbackslash{} \& $-$3",
    }
    assert slugs(values) == ["made-up"]


def test_the_hash_is_of_what_was_found_not_of_when() -> None:
    manifest = sample.manifest()
    later = msgspec.structs.replace(manifest, created="2030-01-01T00:00:00+00:00", argv=["other"], device="cuda")
    assert run_hash(later) == run_hash(manifest)
    alpha = msgspec.structs.replace(manifest.suites["alpha"], sha256={"alpha.json": "cd" * 32})
    other = msgspec.structs.replace(manifest, suites={**manifest.suites, "alpha": alpha})
    assert run_hash(other) != run_hash(manifest)


@given(st.text(max_size=60))
def test_no_caption_breaks_the_file(caption: str) -> None:
    made = figure_of(caption)
    text = numbers_tex(MANIFEST, [made])
    assert text.count("\n") == 10 + sum(1 for _ in numbers("made-up", made))
    values = expected(MANIFEST, [made])
    assert set(values) == {n.key for n in numbers("made-up", made)} | {
        "made-up/hash",
        "made-up/alpha-capital/caption",
    }
    bare = values["made-up/alpha-capital/caption"].replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")


MANIFEST = sample.manifest()
PLAIN = figure("")


def figure_of(caption: str) -> Figure:
    return dataclasses.replace(PLAIN, caption=caption)
