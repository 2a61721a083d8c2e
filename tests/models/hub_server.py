"""A small model hub on the loopback interface: what the client asks of the real one, and nothing more.

    with HubServer() as hub:
        hub.add("owner/net", {"main": folder, "v2": other_folder})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        ...
        hub.fetched          # [("owner/net", "model.safetensors"), ...]: files whose bytes were sent

Weights are served as large files (their ETag is the sha256), the rest with the git blob's hash, like the real hub.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")


@dataclass
class Repository:
    """commits: sha -> path -> content;  revisions: branch or tag -> sha;  a gated one wants "Bearer <token>"."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    token: str = ""
    canonical: str = ""  # the id that the hub itself uses, where it forwards
    parameters: Mapping[str, int] = field(default_factory=dict)  # number type -> how many, as the hub counts them


class HubServer:
    """Serves repositories until the `with` block ends. `down` makes it answer 503."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.fetched: list[tuple[str, str]] = []
        self.requests = 0
        self.down = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(
        self,
        model_id: str,
        revisions: Mapping[str, Path],
        token: str = "",
        canonical: str = "",
        parameters: Mapping[str, int] | None = None,
    ) -> dict[str, str]:
        """Publish folders as revisions of one model; returns revision -> commit."""
        repository = Repository(token=token, canonical=canonical or model_id, parameters=parameters or {})
        for name, folder in revisions.items():
            files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
            commit = hashlib.sha1(
                repr([(n, hashlib.sha1(b).hexdigest()) for n, b in files.items()]).encode()
            ).hexdigest()
            repository.commits[commit] = files
            repository.revisions[name] = commit
        self.repositories[model_id] = repository
        return dict(repository.revisions)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        self.hub.requests += 1
        if self.hub.down:
            return self._send(503, b"{}", body=body)
        parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        model_id = "/".join(parts[:2]) if "/".join(parts[:2]) in self.hub.repositories else parts[0]
        repository = self.hub.repositories.get(model_id)
        if repository is None:
            return self._fail(404, "RepoNotFound", body=body)
        rest = parts[model_id.count("/") + 1 :]
        if api:
            return self._api(repository, rest, body=body)
        return self._file(model_id, repository, rest, body=body)

    def _api(self, repository: Repository, rest: list[str], *, body: bool) -> None:
        if rest == ["refs"]:
            heads = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                for name, commit in repository.revisions.items()
            ]
            return self._json({"branches": heads, "converts": [], "tags": []}, body=body)
        commit = _commit(repository, rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return self._fail(404, "RevisionNotFound", body=body)
        files = repository.commits[commit]
        if rest[:1] == ["tree"]:
            return self._json([_entry(name, content) for name, content in files.items()], body=body)
        info: dict[str, object] = {
            "id": repository.canonical,
            "sha": commit,
            "siblings": [{"rfilename": name} for name in files],
        }
        if repository.parameters:
            info["safetensors"] = {
                "parameters": dict(repository.parameters),
                "total": sum(repository.parameters.values()),
            }
        return self._json({"private": False, "downloads": 0, "likes": 0, "tags": [], **info}, body=body)

    def _file(self, model_id: str, repository: Repository, rest: list[str], *, body: bool) -> None:
        if rest[:1] != ["resolve"]:
            return self._fail(404, "", body=body)
        if repository.token and self.headers.get("authorization") != f"Bearer {repository.token}":
            return self._fail(403, "GatedRepo", body=body)
        commit = _commit(repository, rest[1])
        if commit is None:
            return self._fail(404, "RevisionNotFound", body=body)
        name = "/".join(rest[2:])
        content = repository.commits[commit].get(name)
        if content is None:
            return self._fail(404, "EntryNotFound", body=body, commit=commit)
        if body:
            self.hub.fetched.append((model_id, name))
        etag = hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else _git_hash(content)
        return self._send(200, content, body=body, headers={"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def _json(self, value: object, *, body: bool) -> None:
        self._send(200, json.dumps(value).encode(), body=body, headers={"Content-Type": "application/json"})

    def _fail(self, status: int, code: str, *, body: bool, commit: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code} | ({"X-Repo-Commit": commit} if commit else {})
        self._send(status, b"{}", body=body, headers=headers)

    def _send(self, status: int, content: bytes, *, body: bool, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _commit(repository: Repository, revision: str) -> str | None:
    return revision if revision in repository.commits else repository.revisions.get(revision)


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": _git_hash(content)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry
