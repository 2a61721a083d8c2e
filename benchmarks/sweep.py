"""Sweeps over checkpoints: a lost machine, Ray against the local engine, and finding out that all is done.

    python -m benchmarks.sweep FOLDER      FOLDER holds checkpoint folders: `reportgen mini train --save-steps ...`
    python -m benchmarks.sweep FOLDER --suite relations --set relations.dynamic=off      other suites than attention
    python -m benchmarks.sweep done        the third one alone, with checkpoints it makes itself

Both engines have the same two cores and one thread a member; each sweep is a process of its own, as a user starts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SUITES = ("--suite", "attention", "--threads", "1")
MEMBERS = 200


def sweep(out: Path, folder: Path, *words: str, kill: Any = None) -> tuple[float, float, list[dict[str, Any]]]:
    """Wall and CPU seconds of one `reportgen sweep`, and its events. CPU: of the process and of what it waits for."""
    before = _cpu()
    started = time.perf_counter()
    code = "from reportgen.cli import main\nmain()"
    typed = ["sweep", str(folder), "--name", "sweep", "--out", str(out), *SUITES, *words, "--json"]
    process = subprocess.Popen([sys.executable, "-c", code, *typed], stdout=subprocess.PIPE, text=True)
    events = []
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            events.append({**json.loads(line), "at": time.perf_counter() - started, "cpu": _cpu_of(process.pid)})
            if kill is not None and events[-1]["event"] == "member_end":
                kill(events)
    if process.wait():
        raise SystemExit(f"the sweep ended with {process.returncode}")
    return time.perf_counter() - started, _cpu() - before, events


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(pid: int) -> float:
    """CPU seconds of a running process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def scores(out: Path) -> dict[str, bytes]:
    """Every member's scores.csv."""
    return {path.parent.parent.name: path.read_bytes() for path in sorted((out / "sweep").glob("*/report/scores.csv"))}


def cluster() -> Any:
    """Two raylets on loopback, one CPU each; lost machines are noticed as Ray's defaults have it."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    return made


def lost_machine(folder: Path, out: Path, want: dict[str, bytes]) -> None:
    """Kill the second raylet and its workers once a third of the members has ended."""
    made = cluster()
    (node,) = made.worker_nodes
    victim = node.all_processes["raylet"][0].process.pid

    def kill(events: list[dict[str, Any]]) -> None:
        ended = [event for event in events if event["event"] == "member_end"]
        if len(ended) == 4 and not killed:
            workers = [pid for pid, parent in _parents().items() if parent == victim]
            for pid in (victim, *workers):
                os.kill(pid, signal.SIGKILL)
            killed.append(events[-1]["at"])

    killed: list[float] = []
    wall, _, events = sweep(out, folder, "--engine", "ray", "--ray-address", made.address, "--cpus", "1", kill=kill)
    made.shutdown()
    found = scores(out)
    same = sum(found.get(name) == content for name, content in want.items())
    failed = events[-1]["failed"]
    at = f"{killed[0]:.0f} s" if killed else "never"
    print(
        f"raylet killed at {at} of {wall:.0f} s: {same} of {len(want)} scores.csv equal byte for byte, failed {failed}"
    )


def ratio(folder: Path, home: Path) -> dict[str, bytes]:
    """Local against a local Ray cluster of two workers, and where the time goes."""
    local_wall, local_cpu, events = sweep(home / "local", folder)
    print(f"local: {local_wall:.1f} s wall, {local_cpu:.1f} CPU s; {parts(events, local_wall)}")
    made = cluster()
    wall, cpu, events = sweep(home / "ray", folder, "--engine", "ray", "--ray-address", made.address, "--cpus", "1")
    made.shutdown()
    print(f"ray, 2 workers: {wall:.1f} s wall, {cpu:.1f} CPU s in the driver; {parts(events, wall)}")
    same = scores(home / "local") == scores(home / "ray")
    print(f"wall, ray / local: {wall / local_wall:.2f}; scores.csv equal: {same}; load {os.getloadavg()[0]:.1f}")
    return scores(home / "local")


def _parents() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return found


def parts(events: list[dict[str, Any]], wall: float) -> str:
    """When the first member began (or ended), when the last ended, what came after."""
    at = {kind: [e["at"] for e in events if e["event"] == kind] for kind in ("sweep", "member_end")}
    suites = sum(e["elapsed_s"] for e in events if e["event"] == "member_end")
    ends = at["member_end"]
    return (
        f"start {at['sweep'][0]:.1f} s, first member ended at {ends[0]:.1f}, last at {ends[-1]:.1f}, members' own time "
        f"{suites:.1f} s, report {wall - ends[-1]:.1f} s"
    )


def done_already(home: Path) -> None:
    """200 members, all done: the same command again, as far as it needs to find that out, and with its report.

    One member is scored; the others' run folders are written as scoring them would, each with its own hash and key.
    """
    import msgspec

    from reportgen.manifest import Manifest
    from reportgen.models.hub import content_hash
    from reportgen.runfolder import resume_key
    from tests.tiny import tiny_folder

    global SUITES
    SUITES = ("--suite", str(Path(__file__).parent.parent / "tests" / "data" / "toy_suite.py"), "--threads", "1")
    folder, out = home / "many", home / "done" / "sweep"
    first = tiny_folder("gpt2", folder / "step-1", n_embd=128, n_head=8, n_layer=6, n_inner=256)
    sweep(home / "done", folder)
    raw = (first / "model.safetensors").read_bytes()
    scored = msgspec.json.decode((out / "many@step-1" / "run.json").read_bytes(), type=Manifest)
    record = scored.suites["toy"]
    for step in range(2, MEMBERS + 1):
        name = f"step-{step}"
        shutil.copytree(first, folder / name)
        (folder / name / "model.safetensors").write_bytes(raw[:-2] + step.to_bytes(2, "little"))
        shutil.copytree(out / "many@step-1", out / f"many@{name}")
        model = msgspec.structs.replace(scored.model, slug=f"many@{name}", content_hash=content_hash(folder / name))
        key = resume_key(
            suite="toy", version=1, model=model.content_hash, weights=model.weights, dtype=model.dtype, seed=0,
            settings=record.settings, data=[],
        )  # fmt: skip
        suites = {"toy": msgspec.structs.replace(record, resume_key=key)}
        manifest = msgspec.structs.replace(scored, model=model, suites=suites)
        (out / f"many@{name}" / "run.json").write_bytes(msgspec.json.encode(manifest))
    print(f"{MEMBERS} members of {len(raw) / 1e6:.1f} MB")
    for note in ("second sweep", "third sweep"):
        wall, cpu, events = sweep(home / "done", folder)
        plan = next(event for event in events if event["event"] == "sweep")
        assert plan["n_kept"] == MEMBERS, plan
        known = f"{note}: knows that {MEMBERS} are done after {plan['at']:.2f} s, {plan['cpu']:.2f} CPU s"
        print(f"{known}; {wall:.1f} s, {cpu:.1f} CPU s with its report")


def main() -> None:
    """Print what was asked for; without a folder the third one."""
    global SUITES
    cut = next((i for i, word in enumerate(sys.argv) if word.startswith("--")), len(sys.argv))
    SUITES = (*(sys.argv[cut:] or SUITES[:2]), *SUITES[2:])
    folders = [Path(word) for word in sys.argv[1:cut] if Path(word).is_dir()]
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(home / "cache")  # digests of this benchmark alone
        for folder in folders:
            steps = len([p for p in folder.iterdir() if re.search(r"\d+$", p.name)])
            print(f"{folder.name}: {steps} checkpoints")
            want = ratio(folder.resolve(), home)
            lost_machine(folder.resolve(), home / "lost", want)
        if not folders:
            done_already(home)


if __name__ == "__main__":
    main()
