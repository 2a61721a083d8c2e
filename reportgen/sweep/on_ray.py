"""The engine `ray`: members as Ray tasks, on a running cluster or on a local one started for the sweep.

Ray schedules, moves and retries the tasks; there is no queue of our own. Before the first task every machine is asked
for its package versions and whether it sees the sweep's folder and the checkpoints.
"""

from __future__ import annotations

import importlib
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from reportgen import __version__
from reportgen import suites as registry
from reportgen.errors import ReportgenError, RunError, SettingsError, one_line
from reportgen.files import write_atomic
from reportgen.manifest import Manifest
from reportgen.runner import SuiteJob
from reportgen.sweep import driver
from reportgen.sweep.driver import Ended, Watcher
from reportgen.sweep.spec import RayOptions

# The driver's check of every machine before sending work: versions, and visible folders.

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "safetensors")  # other versions, other last digits


@dataclass(frozen=True)
class MachineQuestion:
    """The question: a file with a secret in the sweep's folder, the checkpoint folders, the driver's versions."""

    token: Path
    secret: str
    folders: tuple[str, ...]
    versions: Mapping[str, str]

    @classmethod
    def make(cls, home: Path, folders: Sequence[str]) -> MachineQuestion:
        """Write the secret into the sweep's folder."""
        secret = secrets.token_hex(8)
        token = home / f".probe-{secret}"
        write_atomic(token, secret.encode())
        return cls(token, secret, tuple(folders), _versions())

    def question(self) -> dict[str, Any]:
        """What is sent: plain values."""
        return {"token": str(self.token), "folders": list(self.folders), "packages": list(PACKAGES)}


@dataclass(frozen=True)
class MachineAnswer:
    """A machine's answer. `secret`: what it read in the sweep's folder; `unseen`: checkpoints it does not have."""

    host: str
    versions: Mapping[str, str]
    secret: str
    can_write: bool
    unseen: Sequence[str]


def asker() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that answers on the machine itself. Ray sends its code, because a machine may lack reportgen."""

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


def complaint(asked: MachineQuestion, found: MachineAnswer) -> RunError | None:
    """What is wrong with a machine, first things first; None where it can work."""
    if "reportgen" not in found.versions:
        return RunError(
            f"reportgen is not installed on {found.host}.", f"Run there: pip install reportgen=={__version__}"
        )
    for package, here in asked.versions.items():
        there = found.versions.get(package, "")
        if _public(there) != _public(here):
            has = f"has {package} {there}" if there else f"lacks {package}"
            return RunError(
                f"{found.host} {has}, this machine {here}.", f"Run there: pip install {package}=={_public(here)}"
            )
    if found.secret != asked.secret:
        home = asked.token.parent
        return RunError(f"{found.host} does not see the folder {home}.", "Give --out DIR on a shared file system.")
    if not found.can_write:
        return RunError(f"{found.host} can't write into {asked.token.parent}.", "Change the permissions there.")
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


_ANSWER_S = 10.0  # how long a cluster's port may take to answer
_PROBE_S = 120.0  # how long a machine may take to start a worker and answer
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # HTTP/2's preface and empty settings: gRPC
_MISMATCH = re.compile(r"Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)


class OnRay:
    """Scores on Ray. Entering connects and probes every machine; leaving disconnects, and stops a local cluster."""

    def __init__(
        self, options: RayOptions, threads: int, home: Path, folders: Sequence[str], jobs: Sequence[SuiteJob],
        watcher: Watcher,
    ) -> None:  # fmt: skip
        self.options, self.home, self.folders, self.jobs, self.watcher = options, home, folders, jobs, watcher
        self.resources = options.resources(threads)
        asked = ", ".join(f"{name} {value:g}" for name, value in self.resources.items())
        where = options.address or "a local cluster"
        self.words = f"ray ({where}; one task per {options.per}; {asked}; {options.retries} retries)"
        self.ray: Any = None

    @property
    def slots(self) -> int:
        """Tasks that the cluster as it stands runs at once, were it ours alone."""
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return sum(self._fits(have) for have in alive)

    def _fits(self, have: dict[str, float]) -> int:
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        return min((int(have.get(names[name], 0.0) / want) for name, want in self.resources.items() if want), default=1)

    def __enter__(self) -> OnRay:
        self.ray = _import_ray()
        self.watcher.stage(f"Connecting to Ray at {self.options.address or 'a local cluster, which is started'}")
        _connect(self.ray, self.options.address)
        try:
            self._probe()
            if not self.slots:
                self._no_room()
        except BaseException:
            self.ray.shutdown()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.ray.shutdown()

    def _no_room(self) -> None:
        """No machine has what one task reserves: an error here, a wait where the cluster may still grow."""
        asked = ", ".join(f"{name} {value:g}" for name, value in self.resources.items())
        words = f"No machine of the cluster has the resources that one task reserves ({asked})"
        if not self.options.address:
            raise SettingsError(f"{words}.", "Lower --cpus, --gpus or --memory-gib.")
        self.watcher.stage(f"{words}: waiting for one to join")

    def _probe(self) -> None:
        """Refuse machines with other versions, or without the folders. RunError names the first one."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = MachineQuestion.make(self.home, self.folders)
        question = self.ray.remote(asker())
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        answers = [
            question.options(
                num_cpus=0, max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(asked.question())
            for node in alive
        ]  # fmt: skip
        try:
            for node, answer in zip(alive, answers, strict=True):
                found = self._answer(answer, node)
                if found is not None and (problem := complaint(asked, found)):
                    raise problem
        finally:
            asked.token.unlink(missing_ok=True)

    def _answer(self, answer: Any, node: Mapping[str, Any]) -> MachineAnswer | None:
        """A machine's answer; None where it was lost meanwhile."""
        host = str(node["NodeManagerHostname"])
        try:
            return MachineAnswer(host, **self.ray.get(answer, timeout=_PROBE_S))
        except self.ray.exceptions.RayError as error:
            if not any(other["Alive"] and other["NodeID"] == node["NodeID"] for other in self.ray.nodes()):
                return None
            why = one_line(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise RunError(f"Ray's machine {host} does not answer: {why}.", "Check it with 'ray status'.") from error

    def score(self, tasks: Sequence[driver.MemberTask]) -> Iterator[Ended]:
        """Submit everything; yield each member when the last of its tasks has ended."""
        remote = self.ray.remote(driver.score_member)
        settled = {**self.resources, "max_retries": self.options.retries, "retry_exceptions": False}
        waiting: dict[Any, str] = {}
        left: dict[str, int] = {}
        for task in tasks:
            parts = pieces(task, self.jobs) if self.options.per == "suite" else [task]
            left[task.slug] = len(parts)
            for part in parts:
                named = remote.options(**settled, name=f"reportgen {part.slug}")
                waiting[named.remote(msgspec.json.encode(part))] = part.slug
        outcomes: dict[str, list[driver.MemberOutcome]] = {task.slug: [] for task in tasks}
        started = time.monotonic()
        while waiting:
            (ready,), _ = self.ray.wait(list(waiting), num_returns=1)
            slug = waiting.pop(ready)
            outcomes[slug].append(self._outcome(slug, ready))
            left[slug] -= 1
            if not left[slug]:
                yield self._ended(slug, outcomes[slug], time.monotonic() - started)

    def _outcome(self, slug: str, ready: Any) -> driver.MemberOutcome:
        errors = self.ray.exceptions
        try:
            return msgspec.json.decode(self.ray.get(ready), type=driver.MemberOutcome)
        except errors.RayTaskError as error:
            cause = error.cause if error.cause is not None else error
            return driver.MemberOutcome(slug, error=one_line(f"{type(cause).__name__}: {cause}"))
        except errors.OutOfMemoryError:
            return driver.MemberOutcome(slug, error="its worker ran out of memory. Reserve more with --memory-gib.")
        except errors.RayError as error:
            tries = self.options.retries + 1
            return driver.MemberOutcome(
                slug, error=f"its worker was lost {tries} times in a row ({type(error).__name__})."
            )

    def _ended(self, slug: str, outcomes: Sequence[driver.MemberOutcome], elapsed_s: float) -> Ended:
        """Write the member's run.json. `elapsed_s`: what its suites took; since the start where nothing was scored."""
        found = [outcome.manifest for outcome in outcomes if outcome.manifest is not None]
        error = "; ".join(dict.fromkeys(outcome.error for outcome in outcomes if outcome.error))
        if not found:
            return Ended(slug, None, error, elapsed_s)
        try:
            manifest = driver.absorb_outcome(self.home / slug, found, sys.argv)
        except ReportgenError as problem:
            return Ended(slug, None, str(problem), elapsed_s)
        return Ended(slug, manifest, error, _suites_s(manifest))


def _suites_s(manifest: Manifest) -> float:
    return sum(record.elapsed_s for record in manifest.suites.values())


def pieces(task: driver.MemberTask, jobs: Sequence[SuiteJob]) -> list[driver.MemberTask]:
    """A member's task as one for each suite; suites that need each other stay together, in order."""
    groups: list[list[SuiteJob]] = []
    for job in jobs:
        tied = [g for g in groups if any(j.suite.name in job.suite.needs or job.suite.name in j.suite.needs for j in g)]
        groups = [g for g in groups if g not in tied] + [[j for g in tied for j in g] + [job]]
    typed = {registry.find(name).name: name for name in task.options.suites}
    made = []
    for group in groups:
        names = tuple(job.suite.name for job in group)
        settings = {name: given for name, given in task.options.settings.items() if name in names}
        options = replace(task.options, suites=tuple(typed.get(name, name) for name in names), settings=settings)
        made.append(msgspec.structs.replace(task, options=options, alone=True))
    return made


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "Ray is not installed.", "Type: pip install 'reportgen[ray]', or use --engine local."
        ) from error


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at `address`, or start one here. SettingsError: nobody there, or another version of Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local cluster reports to nobody
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": None if address else False}
    if address and address != "auto":
        _answers(address)
    try:
        ray.init(address=address or "local", **quiet)
    except Exception as error:  # Ray raises bare Exceptions too: what is not known goes on
        ray.shutdown()  # a refused connection leaves half of one behind
        if problem := _refusal(address, error):
            raise problem from error
        raise


def _refusal(address: str, error: Exception) -> ReportgenError | None:
    """What kept Ray from connecting or starting, as one line; None where it is a bug."""
    if isinstance(error, ConnectionError):
        return _nobody(address, one_line(str(error).splitlines()[0]))
    if "timed out during startup" in str(error):
        return RunError("Ray did not start on this machine within 30 s.", "Try again when it is less busy.")
    versions = _MISMATCH.search(str(error))
    if versions is None:
        return None
    theirs, their_python, ours, our_python = versions.groups()
    return SettingsError(
        f"The cluster at {address} runs Ray {theirs} on Python {their_python}, this is Ray {ours} on {our_python}.",
        f"Type: pip install ray=={theirs}, under Python {their_python}.",
    )


def _answers(address: str) -> None:
    """SettingsError unless HOST:PORT speaks gRPC: Ray itself ends the whole program after minutes of trying."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in address:
        raise SettingsError(f"--ray-address {address!r} is not HOST:PORT.", "For example --ray-address 10.0.0.1:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S) as line:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            line.settimeout(_ANSWER_S)
            line.sendall(_HELLO)
            if line.recv(9)[3:4] != b"\x04":  # a settings frame comes first
                raise _nobody(address, "another service answers there")
    except (OSError, OverflowError) as error:
        raise _nobody(address, one_line(str(error))) from error


def _nobody(address: str, why: str) -> SettingsError:
    return SettingsError(
        f"No Ray cluster at {address} ({why}).",
        "Start one with 'ray start --head', or leave --ray-address out for a local one.",
    )
