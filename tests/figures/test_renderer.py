"""The process that draws: it is another one, it ends with this one, and its end costs one chart."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from reportgen.figures import svg
from reportgen.figures.svg import Renderer

SPEC: dict[str, Any] = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "data": {"values": [{"a": 1, "b": 2}]},
    "mark": "point",
    "encoding": {"x": {"field": "a", "type": "quantitative"}},
}
ENDS_IT = json.dumps({**SPEC, "title": "bell \x07"})  # the renderer aborts on a control character
TEXT = json.dumps(SPEC)


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.end()


def process_of(renderer: Renderer) -> subprocess.Popen[bytes]:
    found = renderer._process
    assert found is not None
    return found


def test_one_process_draws_every_chart_and_ends_with_its_renderer(renderer: Renderer) -> None:
    first = renderer.svg(TEXT)
    process = process_of(renderer)
    assert first.startswith("<svg")
    assert renderer.svg(TEXT) == first
    assert process_of(renderer) is process
    assert renderer.end() == 0
    assert process.poll() == 0


def test_a_chart_that_ends_the_renderer_costs_only_itself(
    renderer: Renderer, capfd: pytest.CaptureFixture[str]
) -> None:
    good = renderer.svg(TEXT)
    with pytest.raises(RuntimeError, match="renderer ended with exit code"):
        renderer.svg(ENDS_IT)
    assert renderer.svg(TEXT) == good
    process_of(renderer).kill()
    process_of(renderer).wait()
    assert renderer.svg(TEXT) == good


def test_what_the_renderer_refuses_is_said_in_its_words(renderer: Renderer) -> None:
    with pytest.raises(ValueError, match="conversion failed"):
        renderer.svg(json.dumps({**SPEC, "mark": "nothing-like-it"}))
    process = process_of(renderer)
    assert renderer.svg(TEXT).startswith("<svg")
    assert process_of(renderer) is process
    with pytest.raises(ValueError, match="JSON"):
        svg.render({**SPEC, "data": {"values": [{"a": float("nan")}]}})


def test_ctrl_c_is_not_for_the_renderer_and_no_answer_is_taken_for_anothers(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, titled = renderer.svg(TEXT), json.dumps({**SPEC, "title": "another"})
    process = process_of(renderer)
    process.send_signal(signal.SIGINT)
    assert renderer.svg(TEXT) == good
    assert process_of(renderer) is process

    class Stopped:
        def readline(self) -> bytes:
            raise KeyboardInterrupt

        def close(self) -> None:
            answers.close()

    answers = process.stdout
    assert answers is not None
    monkeypatch.setattr(process, "stdout", Stopped())
    with pytest.raises(KeyboardInterrupt):
        renderer.svg(titled)
    assert renderer.svg(TEXT) == good


def test_a_fork_draws_with_a_process_of_its_own(renderer: Renderer) -> None:
    good = renderer.svg(TEXT)
    child = os.fork()
    if child == 0:
        same = renderer.svg(TEXT) == good and renderer.end() == 0
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert renderer.svg(TEXT) == good


def test_it_ends_when_the_process_that_started_it_is_killed() -> None:
    code = (
        "from reportgen.figures.svg import RENDERER, render\n"
        f"render({SPEC!r})\n"
        "import sys\nassert 'vl_convert' not in sys.modules\n"
        "print(RENDERER._process.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        worker = os.pidfd_open(pid)
        parent.kill()
    ready, _, _ = select.select([worker], [], [], 30)  # readable when the process has ended
    os.close(worker)
    assert ready
