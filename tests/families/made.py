"""What every suite needs to run on a random model: a vocabulary, a task that the model does, a sparse partner.

Nothing here was learnt: the task's answers are whatever the random weights prefer.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import reportgen.mini
from reportgen import runner
from reportgen.config import Options
from reportgen.models.load import load
from reportgen.models.model import Model, quiet
from reportgen.runfolder import Run
from reportgen.selftest.models import PADDING_COLUMNS, randomise
from reportgen.suites.cognitive.scoring import dataset
from reportgen.suites.sparse.facts import CONFIG_KEY
from reportgen.suites.sparse.scoring import prompts
from reportgen.suites.sparse.scoring.gates import Gate
from tests.tiny import FAMILIES

MINI = Path(reportgen.mini.__file__).parent / "checkpoint"
NAMES = "Mary John Anna Paul Mark Peter".split()
_auto: Any = AutoModelForCausalLM  # half-typed upstream


def spoken_folder(family: str, folder: Path, seed: int = 0, **config: Any) -> Path:
    """A tiny random checkpoint of `family` with the bundled model's vocabulary, which every suite has words in."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MINI / name, folder / name)
    tokens = json.loads((MINI / "config.json").read_text())["vocab_size"]
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    fields = {"vocab_size": tokens + PADDING_COLUMNS, **special, **FAMILIES[family], **_size(family), **config}
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = _auto.from_config(AutoConfig.for_model(family, **fields)).eval()
        with torch.no_grad():
            randomise(model)
        model.save_pretrained(folder)
    return folder


def _size(family: str) -> dict[str, int]:
    """Two layers where the family allows, and room for the longest question, under the family's own names."""
    given = FAMILIES[family]
    size = {next(n for n in ("n_positions", "seq_length", "max_position_embeddings") if n in given): 192}
    if "attention_types" in given or "layer_types" in given:
        return size
    return size | {next(n for n in ("n_layer", "num_hidden_layers") if n in given): 2}


def own_task(model: Model, path: Path, count: int = 12) -> Path:
    """Prompt pairs that this model does: answer and foil are the words it tells clean and corrupted apart by."""
    words = [model.tokens.word_id(w) for w in NAMES]
    names = [w for w, i in zip(NAMES, words, strict=True) if i is not None]
    texts = {model.tokens.text(i): i for i in range(model.tokens.size)}
    answers = [text for text in texts if text[0] == " " and text[1:].isalpha()]
    ids = torch.tensor([texts[text] for text in answers])
    triples = random.Random(0).sample(list(itertools.permutations(names, 3)), count)
    lines = []
    for at, (a, b, c) in enumerate(triples):
        how = ("store", "garden", "house", "tree", "table", "book")[at % 6]
        clean, corrupted = (f"When {x} and {b} went to the {how}, {x} gave a ring to" for x in (a, c))
        both = torch.tensor([model.tokens.prompt_ids(text) for text in (clean, corrupted)])
        seen = model.run(both, last=True)[:, -1, ids]  # [2 word]
        liking = 3 * seen[0] - 2 * seen[1]
        answer, foil = answers[int(liking.argmax())], answers[int(liking.argmin())]
        line = {"task": "own", "clean": clean, "corrupted": corrupted, "answer": answer, "foil": foil}
        lines.append(json.dumps(line | {"roles": {"giver": a, "other": b}, "template": how}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def gated_copy(folder: Path, out: Path, bias: float = 0.0) -> Path:
    """The same weights with an attention gate in their config: a sparse partner that nobody trained."""
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, CONFIG_KEY: Gate(bias).as_config()}))
    return out


# Cheapest settings under which every stage of every suite runs; statistics on so little mean nothing.
SMALL: dict[str, dict[str, object]] = {
    "attention": {
        "sequences": 8, "lags": "5,8", "permutations": 99, "resamples": 50, "copy_tokens": 30, "text_windows": 2,
        "text_tokens": 16,
    },
    "circuits": {
        "tasks": "", "prompts": 12, "min_pairs": 4, "min_accuracy": 0.05, "flips": 99, "resamples": 50,
        "patch_prompts": 4, "edge_prompts": 4, "senders": 4, "rephrased": 4, "curve_prompts": 4, "random_sets": 4,
        "added": 1, "sampled": 2, "text_windows": 2, "text_tokens": 16, "mover_attention": 0.01, "copy_threshold": 0.01,
        "copy_k": 500, "alpha": 0.5, "effect_share": 0.001,
    },
    "relations": {
        "relations": "name_copying,country_to_capital", "permutations": 99, "draws": 50, "dynamic_pairs": 8,
        "ablation_prompts": 8, "ablation_random": 2, "salient_tokens": 3, "min_pairs": 8, "folded": True,
    },
    "weights": {"rotations": 20, "permutations": 99, "words": 40, "keys": 60, "k": 3},
    "cognitive": {
        "seeds": 1, "most_steps": 20, "permutations": 0, "resamples": 50, "random_sets": 2, "curve_sets": 2,
        "min_per_class": 3, "cache": False,
    },
    "sparse": {"per_template": 1, "sequences": 8, "resamples": 50, "draws": 1, "zeroed": False, "length": 16},
}  # fmt: skip
EACH = 3  # questions of each function in each split
FUNCTIONS = ("Retrieval", "Logical Reasoning", "Knowledge Recall")


def few_questions(path: Path) -> Path:
    """The first questions of each function and split among those that ship."""
    lines = dataset.SHIPPED["in_vocabulary"].read_text("utf-8").splitlines()
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for line in lines:
        row = json.loads(line)
        seen[row["function"], row["split"]] += 1
        if row["function"] in FUNCTIONS and seen[row["function"], row["split"]] <= EACH:
            kept.append(line)
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


def small_run(folder: Path, out: Path, suites: tuple[str, ...] = (), asks: Model | None = None, **options: Any) -> Run:
    """All suites, or these, at `SMALL` on the model in `folder`, which must load; the run lies in `out`.

    asks  the model whose answers the task takes, where it is not this one
    """
    out.mkdir(parents=True, exist_ok=True)
    said = {name: dict(given) for name, given in SMALL.items() if not suites or name in suites}
    if "circuits" in said:
        said["circuits"]["tasks_file"] = str(own_task(asks or load(folder, device="cpu"), out / "own.jsonl"))
    if "cognitive" in said:
        said["cognitive"]["data"] = str(few_questions(out / "questions.jsonl"))
    if "sparse" in said:
        said["sparse"]["sparse_model"] = str(gated_copy(folder, out / "sparse" / folder.name))
    asked = Options(
        model=str(folder), suites=tuple(said), settings=said, device="cpu", threads=1, out=str(out / "runs"), **options
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "LEAST", 3)  # prompts behind an interval: a matter of statistics, not of families
        return runner.run(asked)
