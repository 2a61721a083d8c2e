"""Hub models against a small hub on the loopback interface: what is fetched, what is refused, what works offline."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from reportgen.errors import ModelError
from reportgen.models.load import load, stream
from tests.models.hub_server import HubServer
from tests.tiny import tiny_folder

IDS = (torch.arange(24).view(2, 12) * 5 + 4) % 200
FolderOf = Callable[[str], Path]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another training step of the same architecture."""
    return tiny_folder("gpt2", tmp_path_factory.mktemp("second"), seed=9)


def refusal(name: str, **how: object) -> str:
    with pytest.raises(ModelError) as caught:
        load(name, device="cpu", **how)  # type: ignore[arg-type]
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_hub_model_is_the_folder_it_was_made_from(hub: HubServer, folder_of: FolderOf) -> None:
    commit = hub.add("owner/net", {"main": folder_of("gpt2")})["main"]
    model, local = load("owner/net", device="cpu"), load(folder_of("gpt2"), device="cpu")
    assert torch.equal(model.logits(IDS), local.logits(IDS))
    r = model.record
    assert (r.id, r.slug, r.source, r.hub_id, r.revision) == ("owner/net", "owner--net", "hub", "owner/net", commit)
    assert r.content_hash == local.record.content_hash


def test_two_revisions_are_two_models(hub: HubServer, folder_of: FolderOf, second: Path) -> None:
    commits = hub.add("owner/net", {"main": folder_of("gpt2"), "step2": second})
    main, branch = load("owner/net", device="cpu"), load("owner/net", device="cpu", revision="step2")
    by_commit = load("owner/net", device="cpu", revision=commits["step2"])
    assert main.record.revision == commits["main"] != commits["step2"] == branch.record.revision
    assert main.record.content_hash != branch.record.content_hash == by_commit.record.content_hash
    assert not torch.equal(main.logits(IDS), branch.logits(IDS))
    assert torch.equal(by_commit.logits(IDS), branch.logits(IDS))


def test_only_what_is_needed_is_fetched(hub: HubServer, folder_of: FolderOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("gpt2"), tmp_path / "net"))
    for extra in ("pytorch_model.bin", "consolidated.safetensors", "README.md", "modeling_net.py", "onnx/model.bin"):
        (folder / extra).parent.mkdir(exist_ok=True)
        (folder / extra).write_bytes(b"large")
    hub.add("owner/net", {"main": folder})
    load("owner/net", device="cpu")
    assert sorted(name for _, name in hub.fetched) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    load("owner/net", device="cpu")
    assert len(hub.fetched) == 4  # the second time nothing is fetched again


def test_a_forwarded_id_keeps_the_hubs_own_name_for_published_lists(hub: HubServer, folder_of: FolderOf) -> None:
    hub.add("gpt2", {"main": folder_of("gpt2")}, canonical="openai-community/gpt2")
    record = load("gpt2", device="cpu").record
    assert (record.id, record.slug, record.hub_id) == ("gpt2", "gpt2", "openai-community/gpt2")
    offline = load("gpt2", device="cpu", offline=True).record
    assert offline.hub_id == record.hub_id
    assert offline.content_hash == record.content_hash


def test_offline_uses_the_cache_and_asks_nobody(hub: HubServer, folder_of: FolderOf, second: Path) -> None:
    commits = hub.add("owner/net", {"main": folder_of("gpt2"), "step2": second})
    online = load("owner/net", device="cpu")
    asked = hub.requests
    offline = load("owner/net", device="cpu", offline=True)
    assert torch.equal(offline.logits(IDS), online.logits(IDS))
    assert offline.record.revision == commits["main"]
    assert "'step2' is not in the local cache, and --offline" in refusal("owner/net", revision="step2", offline=True)
    assert "owner/other is not in the local cache" in refusal("owner/other", offline=True)
    assert hub.requests == asked


def test_the_environments_offline_switch(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "not in the local cache" in refusal("owner/net")
    assert hub.requests == 0


def test_an_unreachable_hub_is_asked_once(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client itself would retry for 23 seconds; sleeping at all means it does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        monkeypatch.setattr("time.sleep", lambda s: pytest.fail(f"slept for {s} s between retries"))
        text = refusal("owner/net")
    assert "can't be reached" in text
    assert "owner/net is not in the local cache" in text


@pytest.mark.parametrize("state", ["down", "gone"])
def test_without_the_hub_the_cache_serves(
    hub: HubServer, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    commit = hub.add("owner/net", {"main": folder_of("gpt2")})["main"]
    load("owner/net", device="cpu")
    if state == "down":
        hub.down = True
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert load("owner/net", device="cpu").record.revision == commit


def test_a_hub_that_is_down_is_named_with_its_status(hub: HubServer) -> None:
    hub.down = True
    assert "status 503" in refusal("owner/net")


def test_unknown_model(hub: HubServer) -> None:
    text = refusal("owner/nonet")
    assert "no model 'owner/nonet'" in text
    assert "HF_TOKEN" in text


def test_unknown_revision(hub: HubServer, folder_of: FolderOf) -> None:
    hub.add("owner/net", {"main": folder_of("gpt2")})
    assert "no revision 'v9'" in refusal("owner/net", revision="v9")


def test_gated_model_names_the_token(hub: HubServer, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("owner/gated", {"main": folder_of("gpt2")}, token="sesame")
    text = refusal("owner/gated")
    assert "owner/gated is gated" in text
    assert "HF_TOKEN" in text
    monkeypatch.setenv("HF_TOKEN", "sesame")
    assert load("owner/gated", device="cpu").record.id == "owner/gated"


def test_pickle_only_repository_is_not_downloaded(hub: HubServer, folder_of: FolderOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("gpt2"), tmp_path / "net"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.add("owner/pickled", {"main": folder})
    assert "only as pytorch_model.bin" in refusal("owner/pickled")
    assert [name for _, name in hub.fetched] == ["config.json"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": "mamba"}, "'mamba', which is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"model_type": "novel", "auto_map": {"AutoConfig": "x.Y"}}, "Python code from its own repository"),
    ],
)
def test_what_the_config_shows_is_refused_before_the_weights(
    hub: HubServer, folder_of: FolderOf, tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    folder = Path(shutil.copytree(folder_of("gpt2"), tmp_path / "net"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    hub.add("owner/net", {"main": folder})
    assert words in refusal("owner/net")
    assert [name for _, name in hub.fetched] == ["config.json"]


def test_what_cannot_fit_is_not_downloaded(hub: HubServer, folder_of: FolderOf) -> None:
    hub.add("owner/vast", {"main": folder_of("gpt2")}, parameters={"BF16": 405 * 10**12, "F32": 5})
    text = refusal("owner/vast")
    assert "owner/vast needs about 1620000.0 GB (405000.00 billion parameters as float32)" in text
    assert "--stream" in text
    assert [name for _, name in hub.fetched] == ["config.json"]
    assert stream("owner/vast", device="cpu").record.n_layers == 3  # streaming needs no such room


def test_half_a_download_is_not_a_model(hub: HubServer, folder_of: FolderOf, tmp_path: Path) -> None:
    hub.add("owner/net", {"main": folder_of("gpt2")})
    load("owner/net", device="cpu")
    next((tmp_path / "hub-cache").rglob("model.safetensors")).unlink()
    assert "only partly in the local cache" in refusal("owner/net", offline=True)
    assert load("owner/net", device="cpu").record.self_check is not None  # online, the rest is fetched again


def test_repository_that_is_no_model(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    hub.add("owner/empty", {"main": tmp_path})
    assert "owner/empty on the hub has no config.json" in refusal("owner/empty")


def test_streaming_from_the_hub(hub: HubServer, folder_of: FolderOf) -> None:
    hub.add("owner/net", {"main": folder_of("llama")})
    local = load(folder_of("llama"), device="cpu")
    assert torch.equal(stream("owner/net", device="cpu").W_V(1), local.W_V(1))
