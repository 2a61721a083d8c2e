"""The example suite of the docs keeps to every rule; each broken variant of it fails with the line that names the bug.

A variant is the example's own text with one piece replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reportgen import suites
from reportgen.cli import app
from reportgen.errors import SettingsError, UserError
from reportgen.models.load import set_threads
from reportgen.suitecheck import checks, result
from reportgen.suitecheck.repeats import TrialModels
from reportgen.suitecheck.result import FAIL, NOT_RUN, OK, CheckLine

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "my_suite.py"
SMALL = {"sequences": 12, "batch": 4, "resamples": 20}
DRAW = "rng = np.random.default_rng(context.seed)"
MEAN = "[:, :, FIRST:].mean(-1).cpu())"
VALUES = "values=each.mean(0, dtype=np.float64).astype(np.float32),"
RESULT = "    return SuiteResult("


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> TrialModels:
    set_threads(1)
    return TrialModels(tmp_path_factory.mktemp("bench"))


def variant(folder: Path, name: str, before: str, after: str) -> Path:
    """The example with a piece of its text replaced, as NAME.py."""
    text = EXAMPLE.read_text("utf-8")
    assert text.count(before) == 1, (before, text.count(before))
    path = folder / f"{name}.py"
    path.write_text(text.replace(before, after), "utf-8")
    return path


def lines_of(path: Path, bench: TrialModels) -> Iterator[CheckLine]:
    return checks.scoring(checks.CheckedSuite(suites.find(str(path)), str(path), SMALL), bench)


NO_NULL = 'no_null="a distance is descriptive; there is no claim to test",'
LOW = "low=low.astype(np.float32),"
PASS = "        model.run(ids[start : start + settings.batch]"
ADDED = '    measures=(\n        Measure("more", "More", "one", "None."),'

# What is replaced, by what, the first check that must fail, and what its line says.
BROKEN = {
    "low_transposed": (VALUES, VALUES[:-1] + ".T,", "shape", "reach/distance/random_tokens: low is float32 (3, 4)"),
    "transposed": ("dim=1).numpy()", "dim=1).numpy().transpose(0, 2, 1)", "shape", "is [4, 3], not [layer head]"),
    "float64": (VALUES, "values=each.mean(0, dtype=np.float64),", "shape", "values are float64"),
    "out_of_range": ("float(settings.tokens - 1)),", "1.0),", "range", "outside the range 0..1"),
    "interval_out_of_range": ("high=high.astype", "high=(high + 99).astype", "range", "high leaves the range"),
    "undeclared_range": ('range=(0.0, float("inf"))', "range=(0.0, 5.0)", "range", "its measure declares 0..5"),
    "no_n": ("n=settings.sequences,", "n=0,", "null", "has n = 0"),
    "no_null": (NO_NULL, "", "null", "no p, no line"),
    "half_an_interval": (LOW, "", "null", "one end of an interval"),
    "crossed": (LOW, "low=(high + 0.1).astype(np.float32),", "null", "low is above high"),
    "nan": (RESULT, "    reach.values[0, 1] = np.nan\n    HeadScores(**vars(reach))\n" + RESULT, "NaN", "L0H1 is NaN"),
    "misspelt": ('key="reach/distance/', 'key="reach/distanse/', "measures", "reach/distanse/random_tokens"),
    "nothing": ('SuiteResult("reach", (reach,)', 'SuiteResult("reach", ()', "scores", "none on random-gpt2"),
    "no_score": ("    measures=(", ADDED, "measures", "measure more has no score"),
    "raises": (DRAW, DRAW + "\n    1 / 0", "scores", "raises.py:"),
    "refuses": ("settings.tokens > model", "settings.tokens < model", "scores", "refused on random-gpt2"),
    "unseeded": (DRAW, "rng = np.random.default_rng()", "seed", "values moved by"),
    "unseeded_fact": ("facts={", 'facts={"draw": float(np.random.rand()), ', "seed", "facts of two runs"),
    "mean_of_batches": (MEAN, "[:, :, FIRST:].mean((0, -1))[None].cpu())", "batches", "batch = 1: reach"),
    "drawn_by_batch": (PASS, f"        ids = ids[rng.permutation(len(ids))]\n{PASS}", "batches", "batch = 1"),
    "off_by_one": ("at[:, None] - at[None, :]", "at[:, None] - at[None, :] + 1", "planted", "L0H0 has 2, not 0.99"),
    "no_such_head": ('"L1H3", 1.99', '"L7H3", 1.99', "planted", "there is no L7H3"),
    "not_storable": ("facts={", 'facts={"rng": rng, ', "stored", "can't be stored"),
    "no_formula": ('formula=f"mean', 'formula="" and f"mean', "declared", "measure distance has no formula"),
    "not_frozen": ("@dataclass(frozen=True)", "@dataclass", "declared", "Settings can be changed"),
    "no_help": ('metadata={"help": "tokens per sequence"}', "metadata={}", "declared", "setting tokens"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_variant_fails_with_its_line(name: str, bench: TrialModels, tmp_path: Path) -> None:
    before, after, check, words = BROKEN[name]
    path = variant(tmp_path, name, before, after)
    first = next(line for line in lines_of(path, bench) if line.status == FAIL)
    assert (first.check, words in first.words) == (check, True), str(first)
    assert first.hint


# These leave something changed: each has a model of its own.
_FIRST = "next(model.bridge.parameters())"
CHANGING = {
    "weights": (f"{_FIRST}.data.mul_(1.5)", "weight"),
    "thawed": (f"{_FIRST}.requires_grad_(not {_FIRST}.requires_grad)", "weight"),
    "hook": ("model.bridge.blocks[0].register_forward_hook(lambda block, given, out: out * 0)", "logits"),
    "settings": ("object.__setattr__(settings, 'resamples', 3)", "settings"),
    "grad": ("torch.set_grad_enabled(False)", "grad mode"),
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_suite_that_changes_its_inputs(name: str, tmp_path: Path) -> None:
    code, words = CHANGING[name]
    lines = list(lines_of(variant(tmp_path, name, RESULT, f"    {code}\n{RESULT}"), TrialModels(tmp_path)))
    found = [line for line in lines if line.status == FAIL]
    assert [line.check for line in found] == ["untouched"]
    assert words in found[0].words
    assert lines[-1].status == NOT_RUN


def test_grouped_queries_are_tried(bench: TrialModels, tmp_path: Path) -> None:
    code = "    model.W_V(0) @ model.W_O(0)  # one matrix per key-value head, one per query head\n"
    found = [
        line for line in lines_of(variant(tmp_path, "grouped", RESULT, code + RESULT), bench) if line.status == FAIL
    ]
    assert [line.check for line in found] == ["scores"]
    assert "on random-llama: grouped.py:" in found[0].words


def test_what_a_figure_must_say() -> None:
    whole = {"id": "reach-distance", "title": "t", "caption": "c", "alt": "a", "rows": 12}
    assert list(result.wordless(whole)) == []
    for word in ("title", "caption", "alt"):
        assert list(result.wordless({**whole, word: " "})) == [f"figure reach-distance has no {word}"]
    assert list(result.wordless({**whole, "rows": 0})) == ["figure reach-distance has no data"]


def test_a_shipped_suite(bench: TrialModels) -> None:
    small = {"sequences": 12, "permutations": 50, "resamples": 20}
    suite = suites.find("attention")
    lines = list(checks.scoring(checks.CheckedSuite(suite, "attention", small), bench))
    assert {line.status for line in lines} == {OK}, [str(line) for line in lines]


def test_a_static_suite_is_tried_on_streamed_weights(bench: TrialModels, tmp_path: Path) -> None:
    text = (ROOT / "tests" / "data" / "toy_suite.py").read_text("utf-8")
    path = tmp_path / "static_toy.py"
    path.write_text(text.replace("    settings=Settings,", "    settings=Settings,\n    static=True,"), "utf-8")
    suite = suites.find(str(path))
    lines = {line.check: line for line in checks.scoring(checks.CheckedSuite(suite, str(path), {}), bench)}
    assert lines["streamed"].status == OK
    assert lines["batches"].status == NOT_RUN
    path.write_text(path.read_text("utf-8").replace("    rows = []", "    rows = []\n    model.bridge"), "utf-8")
    lines = {
        line.check: line for line in checks.scoring(checks.CheckedSuite(suites.find(str(path)), str(path), {}), bench)
    }
    assert lines["streamed"].status == FAIL


def test_a_setting_of_the_check_that_does_not_exist(bench: TrialModels) -> None:
    suite = suites.find("attention")
    with pytest.raises(SettingsError, match="sequences"):
        list(checks.scoring(checks.CheckedSuite(suite, "attention", {"sequences_": 3}), bench))


def test_the_example_keeps_to_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """The command as it is typed, figures included."""
    app(["suite", "check", str(EXAMPLE), "--set", "reach.sequences=8"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "reach: 21 checks pass, 0 fail, 0 were not run."
    looks = ["scores", "shape", "range", "null", "NaN", "measures"]
    last = ["untouched", "stored", "seed", "batches", "planted", "process", "figures", "captions"]
    assert [line.split()[:2] for line in lines[:-1]] == [["ok", name] for name in ["declared", *looks, *looks, *last]]
    planted, figures = (next(line for line in lines if line.split()[1] == name) for name in ("planted", "figures"))
    for words in ("L0H0 1", "L0H1 3", "L1H3 2"):
        assert words in planted
    assert "1 drawn from the stored run, without torch: reach-distance" in figures


def test_the_command_on_what_only_another_process_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The order of a set, and figures that need torch."""
    path = variant(tmp_path, "elsewhere", "facts={", 'facts={"heads": list({f"L{i}" for i in range(40)}), ')
    before = "    from reportgen.figures import captions\n"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, f"    import torch\n{before}"), "utf-8")
    assert app(["suite", "check", str(path), "--set", "reach.sequences=8"], standalone_mode=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("FAIL")] == [["FAIL", "process"], ["FAIL", "figures"]]
    assert any("scores/reach.json is another in another process" in line for line in lines)
    assert any(line.startswith("FAIL figures") and "torch" in line for line in lines)
    assert lines[-1] == "reach: 18 checks pass, 2 fail, 1 were not run."


def test_what_is_no_suite(tmp_path: Path) -> None:
    """A UserError is one line and exit 2."""
    (tmp_path / "none.py").write_text("x = 1\n")
    wrong = (
        [str(tmp_path / "none.py")],
        ["no_suite"],
        [str(EXAMPLE), "--set", "reach.tokenz=3"],
        [str(EXAMPLE), "--set", "attention.batch=3"],
        [str(EXAMPLE), "--model", "./no-such-folder"],
    )
    for words in wrong:
        with pytest.raises(UserError):
            app(["suite", "check", *words], standalone_mode=False)
