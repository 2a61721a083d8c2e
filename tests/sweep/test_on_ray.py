"""A sweep on a Ray cluster of two machines on loopback: the same bytes as the local engine, lost machines, mistakes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from reportgen import runner
from reportgen.errors import RunError, SettingsError
from reportgen.sweep.driver import MemberTask, sweep
from reportgen.sweep.on_ray import OnRay, pieces
from reportgen.sweep.spec import RayOptions
from tests.sweep.conftest import TOY, Ledger, scores_of, toy_spec

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'reportgen[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray")
HEAD = {
    "num_cpus": 1,
    "include_dashboard": False,
    "_system_config": {  # a lost machine is noticed within seconds
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 3,
    },
}
T = TypeVar("T")
ROOT = str(Path(__file__).parent.parent.parent)


def started(start: Callable[[], T]) -> T:
    """What `start` returns; Ray gives a machine 30 s to start, which a busy one needs more than once."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one CPU each. Workers find this copy of the package, and are told to report to nobody."""
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ROOT)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        made = started(lambda: Cluster(initialize_head=True, head_node_args=HEAD))
        started(lambda: made.add_node(num_cpus=1))
        yield made
        made.shutdown()


def at(cluster: Any, **changes: Any) -> RayOptions:
    return RayOptions(address=cluster.address, cpus=1, **changes)


@pytest.fixture(scope="module")
def local(training: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """scores.csv of every member by the local engine."""
    out = tmp_path_factory.mktemp("local")
    sweep(toy_spec(training, out), Ledger())
    return scores_of(out / "three")


def test_a_lost_machine_loses_nothing_and_the_bytes_are_the_local_engines(
    cluster: Any, training: Path, tmp_path: Path, local: dict[str, bytes]
) -> None:
    """The second machine is killed while it scores a member, which is then scored on the first one."""
    (raylet,) = (node for node in cluster.worker_nodes)
    victim = raylet.all_processes["raylet"][0].process.pid
    suite, working = tmp_path / "stuck.py", tmp_path / "working"
    stuck = f"""
    if os.getppid() == {victim}:  # a worker's parent is its machine's raylet
        Path({str(working)!r}).write_text(str(os.getpid()))
        import time
        time.sleep(120)
    rows = []"""
    suite.write_text(Path(TOY).read_text().replace("\n    rows = []", stuck))
    spec = toy_spec(training, tmp_path, at(cluster))
    spec = replace(spec, options=replace(spec.options, suites=(str(suite),)))

    def kill() -> None:
        while not working.exists() or not working.read_text():
            time.sleep(0.05)
        os.kill(victim, signal.SIGKILL)
        os.kill(int(working.read_text()), signal.SIGKILL)  # the machine is gone, not its raylet alone

    threading.Thread(target=kill, daemon=True).start()
    ledger = Ledger()
    done = sweep(spec, ledger)
    cluster.remove_node(raylet, allow_graceful=False)
    started(lambda: cluster.add_node(num_cpus=1))
    assert working.exists()
    assert sorted(ledger.ended) == sorted((m.slug, "done") for m in done.record.members)
    assert scores_of(tmp_path / "three") == local
    for member, run in done.runs():
        assert run.manifest.suites["toy"].status == "done"
        assert run.manifest.model.slug == member.slug
        assert run.manifest.argv[0] != "default_worker.py"
    assert not list((tmp_path / "three").glob("**/*.record.json"))
    assert not list((tmp_path / "three").glob(".probe-*"))
    assert done.record.engine.startswith("ray (")


def test_one_task_per_suite_and_failures_are_named(cluster: Any, training: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.py"
    second.write_text(Path(TOY).read_text().replace('name="toy"', 'name="second"').replace('"toy', '"second'))
    spec = toy_spec(training, tmp_path, at(cluster, per="suite"), mood="broken")
    options = replace(spec.options, suites=(TOY, str(second)))
    done = sweep(replace(spec, models=(replace(spec.models[0], revisions=("step-4",)),), options=options), Ledger())
    assert [m.error for m in done.failed()] == ["toy: ZeroDivisionError: the suite's own bug over two lines"]
    ((_, run),) = done.runs()
    assert {name: record.status for name, record in run.manifest.suites.items()} == {"toy": "failed", "second": "done"}


def test_a_folder_that_workers_do_not_see(
    cluster: Any, training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the workers stand elsewhere
    spec = toy_spec(training, Path("/proc/self/cwd"), at(cluster))
    with pytest.raises(RunError, match=r"does not see the folder /proc/self/cwd/three\. Give --out DIR on a shared"):
        sweep(spec, Ledger())
    assert not list(tmp_path.glob("three/.probe-*"))


def test_another_version_of_ray(cluster: Any, training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = ray.__version__
    monkeypatch.setattr("ray.__version__", "1.0.0")
    with pytest.raises(SettingsError, match=rf"runs Ray {true} on Python .* this is Ray 1\.0\.0") as caught:
        sweep(toy_spec(training, tmp_path, at(cluster)), Ledger())
    assert f"pip install ray=={true}" in str(caught.value)
    assert not ray.is_initialized()
    assert ray._private.worker.global_worker.node is None  # nothing of the refused connection is left


def test_more_than_any_machine_has_is_said(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    class Impatient(Ledger):
        def stage(self, words: str) -> None:
            if "waiting for one to join" in words:
                raise Enough(words)

    monkeypatch.setattr(OnRay, "_probe", lambda engine: None)
    engine = OnRay(replace(at(cluster), cpus=64), 1, tmp_path, [], [], Impatient())
    with pytest.raises(Enough, match="num_cpus 64"), engine:
        pass
    assert not ray.is_initialized()


def test_an_address_where_nobody_answers(training: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"No Ray cluster at {address} .*ray start --head"):
            sweep(toy_spec(training, tmp_path, RayOptions(address=address)), Ledger())
        free.listen()  # something that is no gRPC server: closes at once
        threading.Thread(target=lambda: free.accept()[0].close(), daemon=True).start()
        with pytest.raises(SettingsError, match=r"another service answers there|reset"):
            sweep(toy_spec(training, tmp_path, RayOptions(address=address)), Ledger())


@pytest.mark.parametrize("address", ["ray://h:10001", "localhost", "host:port"])
def test_an_address_of_another_shape(training: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match=r"is not HOST:PORT\. For example"):
        sweep(toy_spec(training, tmp_path, RayOptions(address=address)), Ledger())


def test_suites_that_need_each_other_stay_in_one_task(training: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.py"
    first.write_text(Path(TOY).read_text().replace('name="toy"', 'name="first"'))
    third = tmp_path / "third.py"
    third.write_text(
        Path(TOY).read_text().replace('name="toy"', 'name="third"').replace("version=1", 'version=1, needs=("first",)')
    )
    options = replace(toy_spec(training, tmp_path).options, suites=(str(first), TOY, str(third)))
    options = replace(options, settings={"toy": {"scale": "2"}})
    made = pieces(MemberTask("m", options, "/"), runner.plan(options))
    assert [part.options.suites for part in made] == [(TOY,), (str(first), str(third))]
    assert [part.options.settings for part in made] == [{"toy": {"scale": "2"}}, {}]
    assert all(part.alone for part in made)
