"""What the driver asks every machine of a cluster before it sends work: versions, and which folders it sees."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reportgen import __version__
from reportgen.errors import RunError
from reportgen.files import write_atomic

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "safetensors")  # other versions, other last digits


@dataclass(frozen=True)
class Asked:
    """The question: a file with a secret in the sweep's folder, the checkpoint folders, the driver's versions."""

    token: Path
    secret: str
    folders: tuple[str, ...]
    versions: Mapping[str, str]

    @classmethod
    def make(cls, home: Path, folders: Sequence[str]) -> Asked:
        """Write the secret into the sweep's folder."""
        secret = secrets.token_hex(8)
        token = home / f".probe-{secret}"
        write_atomic(token, secret.encode())
        return cls(token, secret, tuple(folders), _versions())

    def question(self) -> dict[str, Any]:
        """What is sent: plain values."""
        return {"token": str(self.token), "folders": list(self.folders), "packages": list(PACKAGES)}


@dataclass(frozen=True)
class Found:
    """A machine's answer. `secret`: what it read in the sweep's folder; `unseen`: checkpoints it does not have."""

    host: str
    versions: Mapping[str, str]
    secret: str
    can_write: bool
    unseen: Sequence[str]


def asker() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that answers on the machine itself. Ray ships it whole, since a machine may lack reportgen."""

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        """Versions, what stands in the token file, and what is not there."""
        import contextlib
        import os
        from importlib import import_module, metadata

        versions = {}
        for package in question["packages"]:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
        with contextlib.suppress(ImportError):
            versions["reportgen"] = str(import_module("reportgen").__version__)
        secret = ""
        with contextlib.suppress(OSError), open(question["token"], encoding="utf-8") as file:  # noqa: PTH123
            secret = file.read()
        return {
            "versions": versions,
            "secret": secret,
            "can_write": os.access(os.path.dirname(question["token"]), os.W_OK),  # noqa: PTH120
            "unseen": [f for f in question["folders"] if not os.path.isfile(os.path.join(f, "config.json"))],  # noqa: PTH113, PTH118
        }

    return ask


def complaint(asked: Asked, found: Found) -> RunError | None:
    """What is wrong with a machine, first things first; None where it can work."""
    if "reportgen" not in found.versions:
        return RunError(f"reportgen is not installed on {found.host}.", f"There: pip install reportgen=={__version__}")
    for package, here in asked.versions.items():
        there = found.versions.get(package, "")
        if _public(there) != _public(here):
            has = f"has {package} {there}" if there else f"lacks {package}"
            return RunError(
                f"{found.host} {has}, this machine {here}.", f"There: pip install {package}=={_public(here)}"
            )
    if found.secret != asked.secret:
        home = asked.token.parent
        return RunError(f"{found.host} does not see the folder {home}.", "Give --out DIR on a shared file system.")
    if not found.can_write:
        return RunError(f"{found.host} may not write into {asked.token.parent}.", "Change its permissions there.")
    if found.unseen:
        return RunError(
            f"{found.host} does not see the checkpoint {found.unseen[0]}.", "Put it on a shared file system."
        )
    return None


def _public(text: str) -> str:
    """A version without its local part: `2.13.0+cpu` and `2.13.0+cu130` are builds of one release."""
    return text.partition("+")[0]


def _versions() -> dict[str, str]:
    found = {"reportgen": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
