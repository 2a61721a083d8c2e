"""All suites on pretend cuda and mps: the CPU's scores, nothing refused, few transfers. `make devices`; README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen.mini import bundled_folder
from reportgen.runfolder import Run
from tests.devices import build
from tests.devices.scored import SMALL
from tests.suites.retrieval.toy import facts as written
from tests.tiny import WORDS, tiny_folder

KINDS = ("cuda", "mps")
ROOT = Path(__file__).parents[2]
TRANSFERS = ("download", "upload")
# Copies and waits per suite with the settings SMALL on cuda, about a tenth above what was measured.
CAPS = {
    "attention": 27, "relations": 530, "circuits": 2430, "cognitive": 420, "sparse": 1830, "weights": 1700, "icl": 2270,
    "text": 1250,
}  # fmt: skip

pytestmark = [
    pytest.mark.devices,
    pytest.mark.skipif(
        build.compiler() is None and not os.environ.get("CI"), reason="no C++ compiler: the pretend device is not built"
    ),
]


def start(*arguments: str) -> subprocess.Popen[str]:
    """A module of this folder in a process of its own, on one thread."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env=env, **pipes)


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return out


# Float64 looks again at the pairs that float32 leaves open, in as many heads as have any.
OPEN = ("suites/relations/scoring/ranks.py",)
STATIC = {
    "attention": SMALL["attention"],
    "relations": {
        "relations": "name_copying,word_to_antonym", "permutations": 99, "dynamic": False, "multi_token": False,
        "ablation": False, "salient_tokens": 0,
    },
    "cognitive": {**SMALL["cognitive"], "most_steps": 40},
}  # fmt: skip
HEADS = (4, 16)
RELATIONS = ("name_copying", "name_copying,word_to_antonym,word_to_synonym")
# Of a model of its own: mini's vocabulary has too few answers.
LOOKS_UP: dict[str, object] = {
    "permutations": 99, "resamples": 50, "random_sets": 2, "sequences": 8, "verified": 4, "sampled": 2,
}  # fmt: skip
PRESETS = ("own", "locos")
Jobs = dict[str, tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and counts of the CPU and of both devices, made side by side: every-cpu, every-cpu.json, every-cuda, ..."""
    build.compiled()  # once, before three processes want it
    path = tmp_path_factory.mktemp("devices")
    jobs: Jobs = {"every": ("mini", SMALL), **looking_up(path)}
    (path / "jobs.json").write_text(json.dumps(jobs))
    (path / "growing.json").write_text(json.dumps(growing(path)))
    asked = [("cuda", "jobs"), ("mps", "jobs"), ("cuda", "growing"), ("cpu", "jobs")]
    made = [start("tests.devices.scored", kind, str(path), str(path / f"{name}.json")) for kind, name in asked]
    for process in made:
        ended(process)
    return path


def looking_up(path: Path) -> Jobs:
    """retrieval with both presets, on seven layers of eight heads: heads are removed and compared with random sets."""
    size = {"num_hidden_layers": 7, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 64}
    model = tiny_folder("llama", path / "model", **size, max_position_embeddings=128)
    needles = written(path, 4, things=WORDS[34:42], words=(*WORDS[20:30], *WORDS[42:48]))
    given = {**LOOKS_UP, "needles": str(needles)}
    return {preset: (str(model), {"retrieval": {**given, "preset": preset}}) for preset in PRESETS}


def growing(path: Path) -> Jobs:
    """Static scores of few heads and of many, and of one relation and of three."""
    heads: Jobs = {f"heads-{n}": (with_heads(n, path / f"mini-{n}"), STATIC) for n in HEADS}
    few = {
        f"relations-{i}": {"relations": {**STATIC["relations"], "relations": some}} for i, some in enumerate(RELATIONS)
    }
    return heads | {name: ("mini", settings) for name, settings in few.items()}


def counts(path: Path) -> dict[str, Counter[tuple[str, str]]]:
    """suite -> (kind, place) -> times."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    for suite, rows in json.loads(path.read_text()).items():
        found[suite] = Counter()
        for kind, _, place, times in rows:
            found[suite][kind, place] += times
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suite", SMALL)
def test_scores_are_those_of_the_cpu(folder: Path, kind: str, suite: str) -> None:
    cpu, device = Run.open(folder / "every-cpu"), Run.open(folder / f"every-{kind}")
    record = device.manifest.suites[suite]
    assert (record.status, record.error) == ("done", "")
    assert record.device.split(":")[0] == kind
    assert record.device_memory_bytes > 1_000_000
    expected, got = cpu.result(suite), device.result(suite)
    assert [score.key for score in got.scores] == [score.key for score in expected.scores]
    for one, other in zip(expected.scores, got.scores, strict=True):
        for part in ("values", "low", "high", "p"):
            a, b = getattr(one, part), getattr(other, part)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6, err_msg=f"{one.key}: {part}")
    assert [(s.key, s.heads) for s in got.head_sets] == [(s.key, s.heads) for s in expected.head_sets]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_was_refused(folder: Path, kind: str) -> None:
    """Also what a suite caught: a family's cache is tried, for one."""
    found = counts(folder / f"every-{kind}.json")
    assert {key: n for suite in found.values() for key, n in suite.items() if key[0] not in TRANSFERS} == {}


@pytest.mark.parametrize("suite", SMALL)
def test_transfers_stay_below_the_cap(folder: Path, suite: str) -> None:
    found = Counter(counts(folder / "every-cuda.json")[suite])
    assert 0 < sum(found.values()) <= CAPS[suite], found.most_common(20)


def test_the_cpu_run_reports_nothing(folder: Path) -> None:
    assert not any(counts(folder / "every-cpu.json").values())


def with_heads(n: int, path: Path) -> str:
    """mini cut into another number of heads: none of GPT-2's weights has a shape that says how many there are."""
    source = bundled_folder("mini")
    assert source is not None
    path.mkdir()
    for file in source.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "n_head": n}))
    return str(path)


def lines_of(path: Path, files: tuple[str, ...]) -> Counter[tuple[str, str]]:
    """Transfers of these files' lines, all suites together."""
    found = sum(counts(path).values(), Counter[tuple[str, str]]())
    return Counter({key: n for key, n in found.items() if key[1].startswith(files)})


def test_transfers_do_not_grow_with_heads(folder: Path) -> None:
    paths = [folder / f"heads-{n}-cuda.json" for n in HEADS]
    files = ("suites/attention/", "suites/relations/", "suites/ov.py", "suites/cognitive/scoring/prompts.py",
             "suites/cognitive/scoring/probe.py")  # fmt: skip
    few, many = (lines_of(path, files) for path in paths)
    few, many = (Counter({key: n for key, n in c.items() if not key[1].startswith(OPEN)}) for c in (few, many))
    assert sum(few.values()) > 50
    assert many - few == Counter()
    engine = [lines_of(path, OPEN) for path in paths]
    again = sum((engine[1] - engine[0]).values())
    assert again <= 16 * 6 * 4  # one look per head, layer and set of maps, where it has open pairs


def test_transfers_do_not_grow_with_relations(folder: Path) -> None:
    paths = [folder / f"relations-{i}-cuda.json" for i in range(len(RELATIONS))]
    one, three = (lines_of(path, ("suites/relations/scoring/static.py", "suites/ov.py")) for path in paths)
    uploads = Counter({key: n for key, n in (three - one).items() if key[0] == "upload"})
    assert sum(one.values()) > 0
    assert (three - one) - uploads == Counter()
    assert sum(uploads.values()) <= 4 * 2 * 2  # two lists of places per relation, for copier and heads


RETRIEVAL_CAP = 1160  # as CAPS: about a tenth above what was measured


@pytest.mark.parametrize("preset", PRESETS)
def test_retrieval_on_a_random_model_is_that_of_the_cpu(folder: Path, preset: str) -> None:
    expected = Run.open(folder / f"{preset}-cpu").result("retrieval")
    assert {"copy_mass", "write", "token_effect"} <= {score.measure for score in expected.scores}
    for kind in KINDS:
        run = Run.open(folder / f"{preset}-{kind}")
        assert (run.manifest.suites["retrieval"].status, run.manifest.suites["retrieval"].error) == ("done", "")
        for one, other in zip(expected.scores, run.result("retrieval").scores, strict=True):
            for part in ("values", "low", "high", "p"):
                a, b = getattr(one, part), getattr(other, part)
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6, err_msg=f"{one.key}: {part}")
        found = counts(folder / f"{preset}-{kind}.json")["retrieval"]
        assert {key: n for key, n in found.items() if key[0] not in TRANSFERS} == {}
    every = counts(folder / f"{preset}-cuda.json")["retrieval"]
    assert 0 < sum(every.values()) <= RETRIEVAL_CAP, every.most_common(20)


@pytest.fixture(scope="module")
def tried() -> dict[str, Any]:
    """What tried.py prints, by kind."""
    build.compiled()
    made = {kind: start("tests.devices.tried", kind) for kind in KINDS}
    return {kind: json.loads(ended(process)) for kind, process in made.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_pretend_device_refuses_and_counts_what_a_real_one_does(tried: dict[str, Any], kind: str) -> None:
    found = tried[kind]
    only_mps = {"float64": "TypeError", "entr": "NotImplementedError", "qr": "NotImplementedError"}
    assert found["errors"] == {
        "product of both": "RuntimeError", "sum of both": "RuntimeError", "number of the CPU": "",
        "generator of the CPU": "RuntimeError", "numpy": "TypeError",
        **(only_mps if kind == "mps" else dict.fromkeys(only_mps, "")),
    }  # fmt: skip
    assert found["counted"] == {
        "item": {"download": 1}, "mask": {"download": 1}, "copy": {"download": 1}, "list as index": {"upload": 1},
        "upload": {"upload": 1}, "nothing": {}, "filled by mask": {},
    }  # fmt: skip
    assert found["dtype"] == "float32"  # of mini, whose file is float16
    assert (found["check"], found["broken"]) == (True, False)  # the self-check sees a wrong kernel
