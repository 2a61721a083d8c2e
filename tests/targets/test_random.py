"""Targets whose models are not here, end to end on random weights of the same grid: never reproduced.

The heads are small, since no rule of a verdict looks at their size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.shapes import mark_synthetic
from reportgen import runner
from reportgen.cli import app
from reportgen.config import Options
from reportgen.errors import UserError
from reportgen.runfolder import Run
from reportgen.targets import read
from reportgen.targets.replicate import Replication, as_json, check_model, lines, replicate
from tests.families.made import spoken_folder

GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 96, "n_inner": 96}
MEDIUM = {"n_layer": 24, "n_head": 16, "n_embd": 64, "n_inner": 64}
LLAMA = {
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_size": 128,
    "intermediate_size": 128,
}  # fmt: skip
GPTJ = {"n_layer": 28, "n_head": 16, "n_embd": 64, "n_inner": 64}
# target -> family, grid, and how little of its suites is enough
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "wang-ioi": ("gpt2", GPT2),
    "maps-gpt2": ("gpt2", GPT2),
    "mcdougall-copy-suppression": ("gpt2", GPT2),
    "maps-gpt2-medium": ("gpt2", MEDIUM),
    "merullo-reuse": ("gpt2", MEDIUM),
    "feucht-induction": ("llama", LLAMA),
    "wu-retrieval": ("llama", LLAMA),
    "todd-function-vectors": ("gptj", GPTJ),
}
FEW: dict[str, dict[str, object]] = {
    "attention": {"sequences": 8, "permutations": 0, "text_windows": 0},
    "relations": {"permutations": 19},
    "weights": {"words": 60, "keys": 0, "rotations": 0, "permutations": 0, "composition": "", "mlp_tokens": 200},
}


def random_run(folder: Path, name: str, suites: tuple[str, ...]) -> Run:
    """Random weights of the grid of a target's model, scored with the source's settings where they matter."""
    target = read.load(name)
    family, grid = OTHERS[name]
    mark_synthetic(spoken_folder(family, folder / "m", **grid))
    settings = {n: {**FEW.get(n, {}), **target.settings.get(n, {}), **target.only.get(n, {})} for n in suites}
    return runner.run(
        Options(
            model=str(folder / "m"), suites=suites, preset="quick", settings=settings, out=str(folder / "runs"),
            selftest=False,
        )
    )  # fmt: skip


def never(found: Replication) -> dict[str, str]:
    """Claim -> verdict; nothing is reproduced, and every answer that is not compared says why."""
    assert found.run is not None
    assert found.run.model.synthetic
    assert {answer.verdict for answer in found.answers} <= {"not", "not comparable"}
    assert all(answer.why for answer in found.answers if answer.verdict == "not comparable")
    assert "SYNTHETIC" in list(lines(found))[1]
    assert as_json(found)["synthetic"] is True
    return {answer.what: answer.verdict for answer in found.answers}


def test_lists_of_attention_and_those_without_a_score(tmp_path: Path) -> None:
    """The circuit has no score: random weights do not do the task."""
    found = replicate(read.load("wang-ioi"), random_run(tmp_path, "wang-ioi", ("attention",)), "gpt2")
    said = never(found)
    assert said["Induction heads"] == said["Previous-token heads"] == "not"
    assert said["Name movers write the answer"] == "not comparable"
    by_what = {answer.what: answer for answer in found.answers}
    assert by_what["Induction heads"].numbers is not None
    assert 0.1 < float(str(by_what["Induction heads"].numbers["auroc"])) < 0.9
    assert "no result of suite circuits" in by_what["Name movers write the answer"].why


def test_a_list_by_the_verb_as_one_types_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = random_run(tmp_path, "maps-gpt2", ("relations",))
    words = ["replicate", "maps-gpt2", "--run", str(run.path), "--published", "gpt2", "--json"]
    assert app(words, prog_name="reportgen", standalone_mode=False) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["synthetic"] is True
    verdicts = {claim["what"]: claim["verdict"] for claim in said["claims"]}
    assert verdicts["Name movers copy names"] == "not"
    assert "reproduced" not in verdicts.values()


def test_one_number_and_a_list_of_the_weights(tmp_path: Path) -> None:
    run = random_run(tmp_path, "mcdougall-copy-suppression", ("weights",))
    said = never(replicate(read.load("mcdougall-copy-suppression"), run, "gpt2"))
    assert said["L10H7 writes against the word it reads"] == "not"
    assert said["Negative heads suppress copies"] == "not"
    assert said["76.9 % of L10H7's effect on OpenWebText"] == "not comparable"


def test_numbers_head_by_head(tmp_path: Path) -> None:
    """Only the project's own targets have them: mini's, asked of random weights of its grid."""
    folder = spoken_folder("gpt2", tmp_path / "m", n_layer=6, n_head=8, n_embd=64, n_inner=64)
    mark_synthetic(folder)
    run = runner.run(
        Options(
            model=str(folder), suites=("attention", "relations"), preset="quick", out=str(tmp_path / "runs"),
            settings={"attention": FEW["attention"], "relations": {**FEW["relations"], "relations": ["name_copying"]}},
            selftest=False,
        )
    )  # fmt: skip
    target = msgspec.structs.replace(read.load("mini"), content_hash="")
    said = never(replicate(target, run, "mini"))
    assert said["Induction scores of the ten highest heads"] == "not"
    assert said["Name-copying scores of the five highest heads"] == "not"
    assert said["Best induction head (L4H5)"] == "not"


@pytest.mark.parametrize(("name", "suites"), [
    ("maps-gpt2-medium", ("relations",)), ("merullo-reuse", ("attention",)), ("feucht-induction", ("attention",)),
])  # fmt: skip
def test_larger_grids(name: str, suites: tuple[str, ...], tmp_path: Path) -> None:
    target = read.load(name)
    found = replicate(target, random_run(tmp_path, name, suites), target.models[0])
    never(found)
    grid = OTHERS[name][1]
    heads = grid.get("n_layer", grid.get("num_hidden_layers")) * grid.get("n_head", grid.get("num_attention_heads"))
    held = [answer for answer in found.answers if answer.numbers]
    assert held
    assert all(answer.numbers is not None and answer.numbers["of"] == heads for answer in held)


@pytest.mark.parametrize("name", ["wu-retrieval", "todd-function-vectors"])
def test_targets_whose_suite_a_random_model_does_not_pass(name: str, tmp_path: Path) -> None:
    """Retrieval and learning in context need answers that random weights do not give: nothing to compare."""
    target = read.load(name)
    found = replicate(target, random_run(tmp_path, name, target.suites), target.models[0])
    assert set(never(found).values()) == {"not comparable"}
    assert found.code == 2


@pytest.mark.parametrize("name", [name for name in read.names() if name in OTHERS])
def test_a_refusal_names_what_to_type(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = read.load(name)
    first = target.models[0]
    with pytest.raises(UserError, match=f"add --published {first}"):
        check_model(target, "./somewhere", "")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    words = ["replicate", name, "--offline", "--out", str(tmp_path / "runs")]
    with pytest.raises(UserError, match="not in the local cache") as refused:
        app(words, prog_name="reportgen", standalone_mode=False)
    assert f"Type: reportgen replicate {name} FOLDER --published {first}, or a stored run with --run." in str(
        refused.value
    )
    assert "mini" not in str(refused.value)
    assert not list(tmp_path.glob("runs/*/run.json"))


def test_every_target_of_another_model_is_asked_of_random_weights() -> None:
    own = {name for name in read.names() if read.load(name).content_hash}
    assert set(read.names()) == own | set(OTHERS)
