"""A suite scored on a model with what must stay the same around it, and scored again.

Again: same seed, other batches, streamed weights, another process; and on the planted model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reportgen import score_files, suites
from reportgen.errors import one_line
from reportgen.mini.vocab import vocabulary
from reportgen.models.load import load, set_threads, stream
from reportgen.models.model import Model
from reportgen.models.weights import Weights
from reportgen.runfolder import Run
from reportgen.runner import attempt
from reportgen.scores import HeadScores, SuiteResult, parse_head
from reportgen.selftest.models import planted_folder, random_folder
from reportgen.suitecheck.result import FAIL, NOT_RUN, CheckLine, judged
from reportgen.suites.base import Context, Planted, Suite

# The models that a suite is checked on: two random ones with a small vocabulary of English words, one planted.

CONTEXT = 128
_LLAMA = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


class TrialModels:
    """The models, each made once, when first asked for; `folder` takes the files.

    model  check on this one (a name as `reportgen run` takes it) in place of the two random ones
    """

    def __init__(self, folder: Path, model: str = "") -> None:
        self.folder = folder
        self.model = model

    @cached_property
    def first(self) -> Model:
        """The one that every check runs: 3 layers of 4 heads of GPT-2, every weight random."""
        if self.model:
            return load(self.model, device="cpu")
        fields = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": CONTEXT}
        return load(random_folder("gpt2", self._first_folder, _words(), fields, bos=True), device="cpu")

    @cached_property
    def second(self) -> Model | None:
        """3 layers of 4 query heads that share 2 key-value heads, RMS norm, rotary positions: Llama's."""
        if self.model:
            return None
        fields = {**_LLAMA, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
        return load(
            random_folder("llama", self.folder / "random-llama", _words(), fields, seed=1, bos=True), device="cpu"
        )

    @cached_property
    def streamed(self) -> Weights:
        """The first one's static weights, read from disk."""
        first = self.first  # writes the folder
        return stream(self.name, device=str(first.device))

    @cached_property
    def planted(self) -> Model:
        """See `planted_folder`: 2 layers of 4 heads."""
        return load(planted_folder(self.folder / "planted"), device="cpu")

    @property
    def name(self) -> str:
        """What `load` takes for the first one."""
        return self.model or str(self._first_folder)

    @property
    def _first_folder(self) -> Path:
        return self.folder / "random-gpt2"


def _words() -> list[str]:
    """The bundled model's words: about 2,000, among them names, colours, numbers and pairs of relations."""
    return [word for token in vocabulary() if (word := token.strip()).isalnum()]


SEED = 0


@dataclass(frozen=True)
class Trial:
    """One scoring: the result or what was raised, and what it left changed (in words)."""

    found: SuiteResult | Exception
    changed: tuple[str, ...]
    rows: int  # most prompts in one forward pass

    @property
    def result(self) -> SuiteResult | None:
        return self.found if isinstance(self.found, SuiteResult) else None


def run_trial(suite: Suite, model: Model | Weights, given: Mapping[str, object]) -> Trial:
    """Score with the preset quick and `given`, and compare model, settings and torch's switches before and after.

    Raises SettingsError where `given` names no setting.
    """
    settings = suite.make_settings("quick", given)
    before = _settings_words(settings), _switches()
    weights, rows = _weights(model), [0]
    if isinstance(model, Model):
        logits = _logits(model)
        _count_rows(model, rows)
    found = attempt(model, suite, settings, Context(seed=SEED, threads=torch.get_num_threads()))
    changed = [f"weight {name}" for name, digest in _weights(model).items() if weights.get(name) != digest]
    if _settings_words(settings) != before[0]:
        changed.append("the settings")
    changed += [f"torch's {name}: {was} is now {is_}" for name, was, is_ in _differing(before[1], _switches())]
    if isinstance(model, Model):
        del model.__dict__["_forward"]
        torch.set_grad_enabled(before[1]["grad mode"])
        if not changed and not torch.equal(_logits(model), logits):
            changed.append("the model's logits (a hook was left on, or a module was put in another mode)")
    return Trial(found, tuple(changed), rows[0])


def place(error: Exception, file: str) -> str:
    """`my_suite.py:41: ZeroDivisionError: ...`: the innermost line of the suite's own file, where one is."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = ([f for f in frames if f.filename == file] or frames)[-1]
    return one_line(f"{Path(frame.filename).name}:{frame.lineno}: {type(error).__name__}: {error}")


def _settings_words(settings: Any) -> str:
    return repr(dataclasses.asdict(settings))


def _switches() -> dict[str, Any]:
    return {
        "thread count": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
    }


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, before[name], after[name]) for name in before if before[name] != after[name]]


def _weights(model: Model | Weights) -> dict[str, str]:
    """sha256 of every parameter by name, with whether it is trained; nothing for weights that are streamed."""
    if not isinstance(model, Model):
        return {}
    found = {}
    for name, parameter in model.bridge.named_parameters():
        content = parameter.detach().contiguous().cpu().numpy().tobytes()
        found[name] = hashlib.sha256(content).hexdigest() + str(parameter.requires_grad)
    return found


def _logits(model: Model) -> torch.Tensor:
    size = min(16, model.record.n_ctx)
    return model.logits(torch.arange(1, size + 1)[None] % model.record.d_vocab)


def _count_rows(model: Model, rows: list[int]) -> None:
    """Keep the size of the largest batch that goes through the model."""
    forward = model._forward

    def counted(ids: torch.Tensor, *args: Any, **how: Any) -> torch.Tensor:
        rows[0] = max(rows[0], int(ids.shape[0]))
        return forward(ids, *args, **how)

    model.__dict__["_forward"] = counted


Given = Mapping[str, object]
TOLERANCE = 1e-4  # of the largest value, at least of 1: float32 sums in another order
P_TOLERANCE = 0.02  # a rounding may move a draw of the null across the observed value
BATCHES = (1, 5, 3)


def same_seed(suite: Suite, model: Model, given: Given, first: SuiteResult) -> CheckLine:
    """Scored again under the same seed: the same bytes as the run folder would keep."""
    again = run_trial(suite, model, given).result
    hint = "derive all randomness from np.random.default_rng(context.seed)"
    if again is None:
        return CheckLine("seed", FAIL, "the second run with the same seed raised an error, the first did not", hint)
    problems = _moved(first, again, 0.0, 0.0)
    if not problems and score_files.encode(first) != score_files.encode(again):
        problems = [f"{_part(first, again)} of two runs with the same seed differ"]
    return judged("seed", [f"same seed: {p}" for p in problems], hint, "two runs with the same seed are byte-identical")


def batches(suite: Suite, model: Model, given: Given, first: Trial) -> CheckLine:
    """Scored with the same prompts in other groups: the same scores, up to rounding."""
    name, result = suite.check.batch, first.result
    fields = {f.name for f in dataclasses.fields(suite.settings)}
    if result is None or first.rows <= 1:
        return CheckLine("batches", NOT_RUN, "no forward pass takes more than one prompt")
    if name not in fields:
        return CheckLine(
            "batches",
            NOT_RUN,
            f"up to {first.rows} prompts go through at once, and no setting controls it",
            "add one called batch, or name yours: Check(batch=...)",
        )
    own = getattr(suite.make_settings("quick", given), name)
    sizes = [size for size in BATCHES if size != own][:2]
    problems = []
    for size in sizes:
        other = run_trial(suite, model, {**given, name: size})
        if other.result is None:
            problems.append(f"{name} = {size}: {other.found}")
        else:
            problems += [f"{name} = {size}: {p}" for p in _moved(result, other.result, TOLERANCE, P_TOLERANCE)]
    return judged("batches", problems, "weight each prompt equally; draw nothing random inside the loop over batches",
                  f"{name} = {own}, {', '.join(map(str, sizes))} give the same scores")  # fmt: skip


def streamed(suite: Suite, weights: Weights, given: Given, first: SuiteResult) -> CheckLine:
    """A suite that calls itself static, on weights read from disk: the scores it shares with the whole model."""
    other = run_trial(suite, weights, given)
    hint = "a static suite uses only embed, first_mlp, W_V, W_O and W_U; otherwise leave out static=True"
    if other.result is None:
        return CheckLine("streamed", FAIL, f"streamed weights: {other.found}", hint)
    shared = {s.key for s in other.result.scores} & {s.key for s in first.scores}
    if not shared:
        return CheckLine("streamed", FAIL, "streamed weights: none of the full model's scores", hint)
    problems = [
        p for key in sorted(shared) for p in _score_moved(first[key], other.result[key], TOLERANCE, P_TOLERANCE)
    ]
    return judged("streamed", problems, hint, f"{len(shared)} scores are the same from weights read from disk")


def planted(suite: Suite, model: Model, given: Given) -> CheckLine:
    """What the suite says it finds on the model with planted heads."""
    if not suite.check.planted:
        return CheckLine(
            "planted", NOT_RUN, "the suite declares nothing", "declare what it must find: Check(planted=(...))"
        )
    trial = run_trial(suite, model, given)
    if trial.result is None:
        return CheckLine(
            "planted", FAIL, f"not scored: {trial.found}", "Check(settings=...) that fit 64 tokens, 24 words"
        )
    seen, problems = [], []
    for want in suite.check.planted:
        value, words = _found(want, trial.result)
        seen.append(f"{want.score} {want.head} {value:.3g}")
        problems += [words] if words else []
    return judged("planted", problems, "fix the formula or Check(planted=...)", f"as declared: {', '.join(seen)}")


def _found(want: Planted, result: SuiteResult) -> tuple[float, str]:
    """The head's value, and what is wrong with it."""
    score = next((s for s in result.scores if want.score in (s.key, f"{s.measure}/{s.task}")), None)
    if score is None:
        return math.nan, f"there is no score {want.score}"
    layers, heads = score.values.shape
    try:
        layer, head = parse_head(want.head)
    except ValueError as error:
        return math.nan, f"{want.score}: {error}"
    if layer >= layers or head >= heads:
        return math.nan, f"{want.score}: there is no {want.head} among {layers} layers of {heads} heads"
    value = float(score.values[layer, head])
    fine = want.low <= value <= want.high
    return value, "" if fine else f"{want.score}: {want.head} has {value:.4g}, not {want.low:g} to {want.high:g}"


def _moved(one: SuiteResult, other: SuiteResult, tolerance: float, p_tolerance: float) -> list[str]:
    keys = [s.key for s in one.scores], [s.key for s in other.scores]
    if keys[0] != keys[1]:
        return [f"{len(keys[0])} scores are now {len(keys[1])}, or in another order"]
    return [
        words
        for a, b in zip(one.scores, other.scores, strict=True)
        for words in _score_moved(a, b, tolerance, p_tolerance)
    ]


def _score_moved(one: HeadScores, other: HeadScores, tolerance: float, p_tolerance: float) -> list[str]:
    found = []
    scale = max(1.0, float(np.nanmax(np.abs(one.values), initial=0.0)))
    for name in ("values", "low", "high", "p"):
        a, b = getattr(one, name), getattr(other, name)
        if (a is None) != (b is None) or (a is not None and a.shape != b.shape):
            found.append(f"{one.key}: {name} is in only one of them")
        elif a is not None:
            limit = p_tolerance if name == "p" else tolerance * scale
            off = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
            if not (off <= limit).all():
                found.append(f"{one.key}: {name} moved by {np.nanmax(off):.2g}")
    return found


def _part(one: SuiteResult, other: SuiteResult) -> str:
    """Which part of two results differs, when no score does."""
    parts = ("head_sets", "tables", "facts", "notes", "not_computed")
    return next((name for name in parts if repr(getattr(one, name)) != repr(getattr(other, name))), "arrays or scores")


# The suite scored once more in a process of its own, where Python's hashes are others: sets come in another order.
#
# `python -m reportgen.suitecheck.repeats MODEL SUITE SETTINGS THREADS` prints the digests of what would be kept.

_LIMIT_S = 3600
ORDER_HINT = "sort anything that comes from a set, and derive all randomness from context.seed"


def elsewhere(run: Path, suite: str, name: str, model: str, given: Mapping[str, object]) -> CheckLine:
    """The stored scores of `run` against those of another process.

    suite  the suite's name;  name  how `suites.find` finds it again;  model  what `load` takes
    """
    command = [sys.executable, "-m", "reportgen.suitecheck.repeats", model, name]
    command += [json.dumps(dict(given)), str(torch.get_num_threads())]
    env = {**os.environ, "PYTHONHASHSEED": "271"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S, env=env)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return CheckLine("process", FAIL, f"another process raised {last}", ORDER_HINT)
    sums = json.loads(done.stdout.splitlines()[-1])
    here = Run.open(run).manifest.suites[suite].sha256
    differing = [f"scores/{file} is another in another process" for file in sums if sums[file] != here[file]]
    return judged("process", differing, ORDER_HINT, "another process gives the same bytes")


def main(model: str, name: str, settings: str, threads: str) -> None:
    """Score and print the digests."""
    set_threads(int(threads))
    suite = suites.find(name)
    found = run_trial(suite, load(model, device="cpu"), json.loads(settings)).found
    if isinstance(found, Exception):
        raise found
    meaning, arrays = score_files.encode(found)
    blobs = {f"{suite.name}.json": meaning, f"{suite.name}.safetensors": arrays}
    print(json.dumps({file: hashlib.sha256(blob).hexdigest() for file, blob in blobs.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
