"""The suite scored once more in a process of its own, where Python's hashes are others: sets come in another order.

`python -m reportgen.suitecheck.again MODEL SUITE SETTINGS THREADS` prints the digests of what would be kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from reportgen import codec, suites
from reportgen.models.load import load, set_threads
from reportgen.runfolder import Run
from reportgen.suitecheck import trials
from reportgen.suitecheck.line import FAIL, Line, judged

_LIMIT_S = 3600
HINT = "sort what comes out of a set, and draw everything random from context.seed"


def elsewhere(run: Path, suite: str, name: str, model: str, given: Mapping[str, object]) -> Line:
    """The stored scores of `run` against those of another process.

    suite  the suite's name;  name  how `suites.find` finds it again;  model  what `load` takes
    """
    command = [sys.executable, "-m", "reportgen.suitecheck.again", model, name]
    command += [json.dumps(dict(given)), str(torch.get_num_threads())]
    env = {**os.environ, "PYTHONHASHSEED": "271"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S, env=env)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Line("process", FAIL, f"another process raised {last}", HINT)
    sums = json.loads(done.stdout.splitlines()[-1])
    here = Run.open(run).manifest.suites[suite].sha256
    differing = [f"scores/{file} is another in another process" for file in sums if sums[file] != here[file]]
    return judged("process", differing, HINT, "another process gives the same bytes")


def main(model: str, name: str, settings: str, threads: str) -> None:
    """Score and print the digests."""
    set_threads(int(threads))
    suite = suites.find(name)
    found = trials.run(suite, load(model, device="cpu"), json.loads(settings)).found
    if isinstance(found, Exception):
        raise found
    meaning, arrays = codec.encode(found)
    blobs = {f"{suite.name}.json": meaning, f"{suite.name}.safetensors": arrays}
    print(json.dumps({file: hashlib.sha256(blob).hexdigest() for file, blob in blobs.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
