"""--offline on every verb that can reach a hub, and no code of a repository unless it is asked for in so many words."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from reportgen import cli
from reportgen.config import Options
from reportgen.models import load
from reportgen.suites.sparse.scoring import checkpoint
from reportgen.suites.sparse.suite import Settings
from tests.hostile import bases
from tests.hostile.conftest import Command

HUB = "nobody-of-that-name/made-up"
REACHING = {"run", "sweep", "sparsify"}  # the verbs that take a model
AGAIN = {"verify", "replicate"}  # those that score the model of a run or of a target
ATTEMPTS: list[str] = []


def _note(event: str, args: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        ATTEMPTS.append(f"{event} {args}")


sys.addaudithook(_note)


def test_every_verb_that_takes_a_model_has_the_option() -> None:
    verbs = {c.name: set(inspect.signature(c.callback).parameters) for c in cli.app.registered_commands if c.callback}
    takes = {name for name, words in verbs.items() if words & {"revision", "revisions"}}
    assert takes == REACHING
    assert {name for name, words in verbs.items() if "offline" in words} == REACHING | AGAIN


@pytest.mark.parametrize(
    "words",
    [
        ("run", HUB, "--dry-run"),
        ("run", HUB, "--stream", "--suite", "relations"),
        ("sweep", HUB, "--revisions", "step1,step2", "--suite", "attention"),
        ("sparsify", HUB, "--text", "t.txt"),
        ("replicate", "mini", HUB),
    ],
    ids=lambda words: f"{words[0]} {words[2]}",
)
def test_offline_looks_nothing_up(
    words: tuple[str, ...], command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the option alone must hold
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "t.txt").write_text("a b\n")
    ATTEMPTS.clear()
    found = command(*words, "--offline")
    assert found.code == (1 if words[0] == "sweep" else 2), found.err
    assert "--offline forbids" in found.err
    assert not ATTEMPTS


def test_a_sparse_model_is_looked_for_offline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    class Asked(Exception):
        pass

    def note(name: str, **how: object) -> None:
        asked.append(how)
        raise Asked

    monkeypatch.setattr(checkpoint, "load", note)
    dense = load.load("mini", device="cpu")
    for offline in (True, False):
        with pytest.raises(Asked):
            checkpoint.find_partner(dense, Settings(sparse_model=HUB), offline=offline)
    assert [how["offline"] for how in asked] == [True, False]


def test_code_of_a_repository_is_not_run(command: Command, store: Path, tmp_path: Path) -> None:
    """A family that is known, with code of its own beside it: its config would name what is imported."""
    assert Options().trust_remote_code is False
    bases.copy("model", store, tmp_path)
    bases.edit("model/config.json", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})(tmp_path)
    (tmp_path / "model/evil.py").write_text(f"open({str(tmp_path / 'evil')!r}, 'w')\n")
    found = command("run", "./model", "--dry-run", "--suite", "attention")
    assert found.code == 0, found.err
    assert not (tmp_path / "evil").exists()
