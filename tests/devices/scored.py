"""Runs on one device, in a process of their own: `python -m tests.devices.scored cuda runs jobs.json`.

"cpu" makes the same runs without a pretend device. jobs.json holds {name: [model, settings]}, and settings by suite say
which suites there are. Each run lies in runs/NAME-KIND, and what the device reported of it per suite in
runs/NAME-KIND.json: {suite: [[kind, what, place, times], ...]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.devices import pretend

SMALL: dict[str, dict[str, object]] = {
    "attention": {"sequences": 8, "batch": 4, "permutations": 99, "resamples": 50, "text_windows": 4},
    "relations": {
        "relations": "name_copying,word_to_antonym", "permutations": 99, "dynamic_pairs": 6, "ablation_prompts": 6,
        "ablation_random": 2, "salient_tokens": 3, "draws": 50,
    },
    "circuits": {
        "tasks": "ioi,greater_than", "prompts": 32, "flips": 99, "resamples": 50, "patch_prompts": 8, "positions": 0,
        "denoising": True, "senders": 2, "edge_prompts": 4, "rephrased": 8, "curve_prompts": 4, "random_sets": 2,
        "bands": 2, "added": 1, "text_windows": 2, "through_movers": "q", "through_those": "kv",
        "attribution_steps": 2,
    },
    "cognitive": {
        "permutations": 99, "seeds": 1, "null_seeds": 1, "random_sets": 2, "curve_sets": 2, "resamples": 50,
        "most_steps": 20, "cache": False, "proj": 4, "hidden": 8,
    },
    "sparse": {"per_template": 1, "sequences": 8, "draws": 1, "resamples": 50},
    "weights": {"rotations": 20, "permutations": 99, "words": 60, "keys": 40, "mlp_tokens": 100, "pairs": 5},
    "icl": {
        "accuracy": 0, "gain": -1, "shots": 3, "prompts": 4, "exact_heads": 1, "verified": 4, "verified_task": 1,
        "sampled": 8, "random_vectors": 2, "other_tasks": 2, "twin_prompts": 4, "flips": 99, "resamples": 50,
        "text_windows": 2, "text_verified": 2, "text_sampled": 4, "held_prompts": 4, "ablation_sets": 2,
        "everywhere_sets": 1, "text_sets": 2,
    },
    "text": {"windows": 12, "tokens": 48, "shuffled": 2, "edge_windows": 2, "flips": 99, "resamples": 50},
}  # fmt: skip
"""Settings of every suite that mini can run: each experiment on, each as small as it may be."""
FEWEST = 7  # prompts of sparse, which asks for 40: on a pretend device they would take half of all time


def main(kind: str, out: str, jobs: str) -> None:
    """Make each of the runs on a device of this kind."""
    if kind != "cpu":
        pretend.become(kind)
    for name, (model, settings) in json.loads(Path(jobs).read_text()).items():
        scored(kind, Path(out), f"{name}-{kind}", model, settings)


def scored(kind: str, folder: Path, name: str, model: str, given: dict[str, dict[str, object]]) -> None:
    """One run, and what was counted."""
    from reportgen import runner
    from reportgen.config import Options
    from reportgen.models import memory
    from reportgen.suites.sparse.scoring import prompts
    from tests.soak.threads import few_questions

    prompts.LEAST, memory.GPU_PRODUCT = FEWEST, memory.CPU_PRODUCT
    folder.mkdir(parents=True, exist_ok=True)
    if "cognitive" in given:
        own = folder / f"questions-{name}"  # not shared: three of these run at once
        own.mkdir(exist_ok=True)
        given["cognitive"]["data"] = str(few_questions(own))
    found: dict[str, list[list[object]]] = {}

    class Watch(runner.Silent):
        """Keeps what each suite did apart."""

        def suite_started(self, suite: runner.Suite, index: int, total: int) -> None:
            pretend.seen.clear()

        def suite_ended(self, suite: runner.Suite, record: runner.SuiteRecord, kept: bool) -> None:
            found[suite.name] = [[*what, times] for what, times in sorted(pretend.seen.items())]

    options = Options(
        model=model, device=kind, suites=tuple(given), settings=given, threads=1, out=str(folder), name=name,
        selftest=False,
    )  # fmt: skip
    runner.run(options, Watch())
    (folder / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
