"""Models and revisions to members: folders, hub revisions, steps, mistakes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportgen.errors import DataError, ModelError, SettingsError
from reportgen.sweep.spec import (
    ModelSpec,
    RayOptions,
    SweepSpec,
    make_spec,
    members,
    parse_revisions,
    read_spec,
    step_of,
)
from tests.models.hub_server import HubServer


def spec(*models: ModelSpec) -> SweepSpec:
    return SweepSpec(models)


@pytest.mark.parametrize(
    ("name", "step"),
    [("step1000", 1000), ("step-16", 16), ("checkpoint-500", 500), ("stage1-step140000-tokens588B", 140000),
     ("iter_0001000", 1000), ("42", 42), ("main", None), ("v2-final", None), ("global_step10", 10)],
)  # fmt: skip
def test_the_step_is_read_from_the_name(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_a_folder_of_checkpoints_gives_all_of_them_in_order_of_steps(training: Path) -> None:
    found = members(spec(ModelSpec(str(training))))
    assert [(m.slug, m.step) for m in found] == [("train@step-1", 1), ("train@step-4", 4), ("train@step-16", 16)]
    assert all(m.folder == training / m.name for m in found)


def test_revisions_of_a_folder_and_a_step_that_the_name_does_not_say(training: Path) -> None:
    found = members(spec(ModelSpec(str(training), ("step-16=900", "step-1"), "mini")))
    assert [(m.title, m.step) for m in found] == [("mini @ step-1", 1), ("mini @ step-16", 900)]


def test_a_single_checkpoint_is_one_member(training: Path) -> None:
    (found,) = members(spec(ModelSpec(str(training / "step-4"))))
    assert (found.slug, found.step, found.revision) == ("step-4", 4, "")


def test_unknown_revisions_of_a_folder_are_named_with_what_is_near(training: Path) -> None:
    with pytest.raises(ModelError, match=r"has no checkpoint 'step-15'.*Did you mean .*step-16"):
        members(spec(ModelSpec(str(training), ("step-15",))))


def test_folders_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no checkpoint folder"):
        members(spec(ModelSpec(str(tmp_path))))
    with pytest.raises(ModelError, match="There is no folder"):
        members(spec(ModelSpec("./no-such")))
    with pytest.raises(ModelError, match="bundled model has no revision"):
        members(spec(ModelSpec("mini", ("step1",))))


def test_two_members_of_one_name_are_refused(training: Path) -> None:
    with pytest.raises(SettingsError, match="different labels"):
        members(spec(ModelSpec(str(training)), ModelSpec(str(training))))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_hub_revisions_are_resolved_to_commits_in_one_request(hub: HubServer, training: Path) -> None:
    commits = hub.add("owner/pythia", {"step1": training / "step-1", "step4": training / "step-4"})
    before = hub.requests
    found = members(spec(ModelSpec("owner/pythia", ("step4", "step1", commits["step1"]))))
    assert hub.requests - before == 1
    assert [(m.slug, m.revision, m.step) for m in found] == [
        ("owner--pythia@step1", commits["step1"], 1),
        ("owner--pythia@step4", commits["step4"], 4),
        (f"owner--pythia@{commits['step1']}", commits["step1"], None),
    ]


def test_an_unknown_hub_revision_is_named_with_what_is_near(hub: HubServer, training: Path) -> None:
    hub.add("owner/pythia", {"step1000": training / "step-1", "step2000": training / "step-4"})
    with pytest.raises(ModelError, match=r"no revision 'step1001' \(and 1 more\)\. Did you mean .*step1000"):
        members(spec(ModelSpec("owner/pythia", ("step1001", "step1002"))))
    with pytest.raises(ModelError, match="There is no model 'owner/none'"):
        members(spec(ModelSpec("owner/none", ("step1",))))


def test_sweep_toml_and_the_command_line_which_wins(tmp_path: Path) -> None:
    file = tmp_path / "grow.toml"
    file.write_text(
        'suite = ["attention"]\nthreads = 2\nengine = "local"\n[[models]]\nmodel = "a/b"\nrevisions = ["step1"]\n'
        '[suites.attention]\nsequences = 8\nbatch = 4\n[ray]\ncpus = 2\nper = "suite"\n'
    )
    made = make_spec(read_spec(file), {"threads": 1, "ray": {"cpus": 3.0}, "settings": {"attention": {"batch": "9"}}})
    assert made.name == "grow"
    assert made.models == (ModelSpec("a/b", ("step1",)),)
    assert (made.options.threads, made.options.suites) == (1, ("attention",))
    assert made.options.settings == {"attention": {"sequences": 8, "batch": "9"}}
    assert made.ray == RayOptions(cpus=3.0, per="suite")
    assert made.ray.resources(1) == {"num_cpus": 3.0}


def test_an_address_means_ray() -> None:
    assert make_spec({"models": (ModelSpec("a"),), "ray": {"address": "auto"}}).engine == "ray"


@pytest.mark.parametrize(
    ("text", "words"),
    [("modles = []", "modles"), ("[[models]]\nname = 1", "name"), ("threads = 'two'", "threads"), ("= 1", "grow.toml")],
)
def test_a_malformed_sweep_toml_is_one_line_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "grow.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_spec(file)
    assert "\n" not in str(caught.value)


def test_settings_out_of_range_say_what_to_type() -> None:
    with pytest.raises(SettingsError, match="No engine 'slurm'"):
        SweepSpec((ModelSpec("a"),), engine="slurm")
    with pytest.raises(SettingsError, match="has no model"):
        make_spec({})
    with pytest.raises(SettingsError, match="neither model nor suite"):
        RayOptions(per="head")
    with pytest.raises(SettingsError, match="expected 0 to"):
        RayOptions(cpus=-1)
    with pytest.raises(SettingsError, match=r"--gpus 1\.5: .*whole GPUs"):
        RayOptions(gpus=1.5)
    with pytest.raises(SettingsError, match="empty entry"):
        parse_revisions("a,,b")


def test_a_trainers_output_is_its_checkpoints_and_its_end(training: Path, tmp_path: Path) -> None:
    """Weights at the top no longer hide the checkpoints below."""
    top = Path(shutil.copytree(training, tmp_path / "out"))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(top / "step-16" / name, top / name)
    found = members(spec(ModelSpec(str(top))))
    assert [(m.slug, m.step) for m in found] == [
        ("out@step-1", 1),
        ("out@step-4", 4),
        ("out@step-16", 16),
        ("out", None),
    ]


def test_gguf_files_are_members(tmp_path: Path) -> None:
    for name in ("net-step100.gguf", "net-step20.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    (one,) = members(spec(ModelSpec(str(tmp_path / "net-step20.gguf"))))
    assert (one.slug, one.step, one.folder) == ("net-step20", 20, tmp_path / "net-step20.gguf")
    both = members(spec(ModelSpec(str(tmp_path), label="net")))
    assert [(m.slug, m.step) for m in both] == [("net@net-step20.gguf", 20), ("net@net-step100.gguf", 100)]
