"""A small model that learns quoted antonyms in seconds, and the text it learns from."""

from __future__ import annotations

import random
from pathlib import Path

from reportgen.models.load import load
from reportgen.suites.sparse.scoring import checkpoint
from reportgen.suites.sparse.training import texts
from reportgen.suites.sparse.training.networks import trainee
from reportgen.suites.sparse.training.phase import Schedule, TrainingPhase
from tests.tiny import tiny_folder

PAIRS = "large small|hot cold|high low|long short|fast slow|hard soft|rich poor|strong weak"
WORDS = tuple(
    dict.fromkeys(
        [*(w for pair in PAIRS.split("|") for w in pair.split()), *"The opposite antonym of is word the".split()]
    )
)
LENGTH = 16
_TEMPLATES = ('The opposite of "{}" is "{}".', 'The antonym of "{}" is "{}".', 'The word "{}" is the opposite of "{}".')


def pairs() -> list[tuple[str, str]]:
    """Every pair in both directions."""
    found = [tuple(pair.split()) for pair in PAIRS.split("|")]
    return [(a, b) for a, b in found] + [(b, a) for a, b in found]


def write_text(path: Path, sentences: int, seed: int = 0) -> Path:
    """Sentences of three templates, one a line."""
    rng = random.Random(seed)
    lines = [rng.choice(_TEMPLATES).format(*rng.choice(pairs())) for _ in range(sentences)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_task(path: Path) -> Path:
    """The same task as a prompts file."""
    templates = ", ".join(f"'{t.split('{}')[0]}{{x}}{t.split('{}')[1]}'" for t in _TEMPLATES)
    entries = ", ".join(f'["{a}", "{b}"]' for a, b in pairs())
    path.write_text(
        f'title = "antonyms"\ntemplates = [{templates}]\ndrawn = ["large", "small"]\npairs = [{entries}]\n',
        encoding="utf-8",
    )
    return path


def dense_folder(base: Path, steps: int = 400) -> Path:
    """A trained two-layer model in base/dense that knows every pair; its text is base/text.txt.

    Prompts begin with a token that must have been trained on, so the tokenizer puts its BOS in front of every sequence.
    """
    source = tiny_folder("gpt2", base / "raw", words=WORDS, n_layer=2, n_embd=64, n_inner=64, n_positions=32, bos=True)
    text = write_text(base / "text.txt", 2400)
    model = load(source, device="cpu")
    learner = trainee(model)
    data = texts.from_file(text, model.tokens, LENGTH, steps, seed=0)
    schedule = Schedule(steps, lr=4e-3, batch=32, kl=0.0, seed=0, log_every=steps, save_every=steps)
    phase = TrainingPhase(learner, None, data, schedule, base / "dense.state")
    phase.run(lambda *_: None, "")
    phase.finish()
    checkpoint.save(model.config, learner.tensors(), None, str(source), base / "dense")
    return base / "dense"
