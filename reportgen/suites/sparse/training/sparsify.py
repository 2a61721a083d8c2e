"""Post-training that makes a model's attention sparse: `reportgen sparsify`.

    sparsify(Options(model="mini", corpus="mini", out=Path("mini-sparse")))

- Few edges at a loss at most `slack` above the dense model's: see phase.py; gates as in scoring/gates.py.
- OUT is an ordinary Hugging Face folder whose config holds the gate, with sparsify.json beside it.
- Controls: the dense pattern cut at thresholds, and the dense model trained for as many further steps.

Own implementation, after Draye et al., arXiv 2512.05865, whose training code is not released.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import torch
from filelock import FileLock, Timeout

from reportgen.aliases import Progress
from reportgen.errors import ModelError, RunError, SettingsError
from reportgen.files import check_text, there, unwritable, write_atomic
from reportgen.models.load import load, set_threads
from reportgen.models.model import Model
from reportgen.suites import prose
from reportgen.suites.sparse.facts import Further, LogPoint, Record
from reportgen.suites.sparse.scoring import checkpoint, losses
from reportgen.suites.sparse.scoring.gates import Gate, every_edge, gate_of
from reportgen.suites.sparse.scoring.losses import Cut, OnText
from reportgen.suites.sparse.training import fitted_start, networks, texts
from reportgen.suites.sparse.training.networks import ALL, QK, own_tensors, trainee
from reportgen.suites.sparse.training.phase import Schedule, TrainingPhase
from reportgen.suites.sparse.training.texts import Ids, Text

# What came of a post-training: losses and edges of the saved model, read back from the disk, and its controls.

PASSAGES = 64  # windows of the shipped passages at most


def record_of(
    dense: Model, sparse: Model, gate: Gate, text: Text, settings: dict[str, bool | int | float | str], seed: int,
    progress: Progress,
) -> Record:  # fmt: skip
    """The record but for what the training itself knows (steps, seconds, log)."""
    ids = text.reporting
    whole, hard, excess = _both(dense, sparse, gate, ids, seed)
    limit = whole.loss_nats + gate.slack_nats
    return Record(
        schema=1,
        dense_id=dense.record.id,
        dense_hash=dense.record.content_hash,
        text=text.name,
        text_sha256=text.sha256,
        training_tokens=text.training_tokens,
        settings=settings,
        steps=0,
        chosen={},
        length=ids.shape[1],
        elapsed_s=0.0,
        threads=torch.get_num_threads(),
        device=str(dense.device),
        dense_nats=whole.loss_nats,
        sparse_hard_nats=hard.loss_nats,
        sparse_sampled_nats=losses.on_text(sparse, losses.sampled(gate, seed, dense.device), ids).loss_nats,
        gates_off_nats=losses.on_text(sparse, every_edge, ids).loss_nats,
        limit_nats=limit,
        constraint_met=hard.loss_nats <= limit,
        edges_percent=hard.edges_percent,
        edges_per_token=hard.edges_per_token,
        finetuned_nats=None,
        cuts=[dataclasses.asdict(cut) for cut in _cuts(dense, text, progress)],
        log_dense_nats=0.0,
        log=[],
        sequences=len(ids),
        excess_nats=excess,
        sampling=dict(text.sampling),
        further=_passages(dense, sparse, gate, ids.shape[1], seed),
    )


def _both(dense: Model, sparse: Model, gate: Gate, ids: Ids, seed: int) -> tuple[OnText, OnText, list[float]]:
    whole, hard = losses.on_text(dense, every_edge, ids), losses.on_text(sparse, gate, ids)
    return whole, hard, list(losses.excess(hard, whole, seed))


def _cuts(dense: Model, text: Text, progress: Progress) -> tuple[Cut, ...]:
    return losses.threshold_curve(dense, text.reporting[: text.on_curve], progress)


def _passages(dense: Model, sparse: Model, gate: Gate, length: int, seed: int) -> Further | None:
    """The shipped passages, text that had no part in any of it; None where the vocabulary cannot read them."""
    if texts.is_mini(dense.tokens):
        return None  # its windows are the corpus that it was trained on
    found = prose.windows(dense.tokens, "", PASSAGES, length, seed, dense.record.n_ctx)
    if isinstance(found, str):
        return None
    whole, hard, excess = _both(dense, sparse, gate, found.ids, seed)
    return Further(
        text=found.source,
        sequences=len(found.ids),
        length=found.ids.shape[1],
        dense_nats=whole.loss_nats,
        sparse_hard_nats=hard.loss_nats,
        excess_nats=excess,
        edges_percent=hard.edges_percent,
        edges_per_token=hard.edges_per_token,
    )


TOKENS_A_STEP = 2048
START = "start"  # the weights that training starts from, in the work folder
FITTED = 160  # training sequences that they are fitted on
WORK = ".sparsify"  # states and logs beside OUT while it is being made: OUT with this suffix


@dataclass(frozen=True)
class SparsifyOptions:
    """Everything `reportgen sparsify` can be told; metadata holds the help of its option."""

    model: str = field(default="mini", metadata={"help": "mini, a hub id, or a local Hugging Face folder"})
    out: Path = field(default=Path("sparse"), metadata={"help": "folder for the sparse model"})
    text: str = field(default="", metadata={"help": "UTF-8 file to train on"})
    corpus: str = field(default="", metadata={"help": "mini: the bundled model's own corpus, in place of --text"})
    samples: int = field(
        default=0, metadata={"help": "tokens of text that the model writes itself, in place of --text"}
    )
    slack: float = field(default=0.01, metadata={"help": "loss allowed above the dense model's, in nats"})
    bias: float = field(default=0.0, metadata={"help": "added to every score; 2 to 5 where 0 breaks the model"})
    steps: int = field(default=1500, metadata={"help": "training steps"})
    settle: int = field(default=0, metadata={"help": "further steps without noise in the gates, a round"})
    rounds: int = field(default=1, metadata={"help": "rounds of these steps, each at half the rate of the one before"})
    kl: float = field(default=0.0, metadata={"help": "0..1: share of the loss that is KL to the dense model"})
    train: str = field(default=ALL, metadata={"help": "all, or qk: query and key weights; the rest stays as it is"})
    cut: float = field(
        default=0.0, metadata={"help": "start from gates that cut the dense pattern at about this weight (Llama)"}
    )
    seed: int = field(default=0, metadata={"help": "seed of gates, batches and sampled text"})
    length: int = field(default=128, metadata={"help": "tokens a sequence, at most the model's context"})
    batch: int = field(default=0, metadata={"help": "sequences a step; 0: 2,048 tokens' worth"})
    lr: float = field(default=5e-4, metadata={"help": "learning rate"})
    control: bool = field(default=True, metadata={"help": "also train the dense model on for as many steps"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1 or mps"})
    dtype: str = field(
        default="float32",
        metadata={"help": "or bfloat16: of sampling, and of a Llama's products with frozen weights while it trains"},
    )
    threads: int = field(default=0, metadata={"help": "CPU threads; 0 = torch's choice"})
    revision: str = field(default="", metadata={"help": "hub revision"})
    offline: bool = field(default=False, metadata={"help": "use the local hub cache only"})
    general: bool = field(default=False, metadata={"help": "train through the bridge also where there is a faster way"})
    log_every: int = field(default=50, metadata={"help": "steps between two lines of the log"})
    save_every: int = field(default=250, metadata={"help": "steps between two kept states"})

    def __post_init__(self) -> None:
        if sum(map(bool, (self.text, self.corpus, self.samples))) != 1:
            raise SettingsError(
                "sparsify needs one text to train on.", "Give --text FILE, --samples TOKENS, or --corpus mini."
            )
        for name, known in (("train", (ALL, QK)), ("dtype", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise SettingsError(f"There is no --{name} {getattr(self, name)}.", f"Give {' or '.join(known)}.")
        if self.corpus not in ("", texts.MINI):
            raise SettingsError(f"There is no corpus {self.corpus!r}.", "Type --corpus mini, or give --text FILE.")
        for name, low, high in (("slack", 0, 10), ("bias", -100, 100), ("kl", 0, 1), ("lr", 0, 1), ("cut", 0, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"--{name} {getattr(self, name)} is out of range.", f"Give {low} to {high}.")
        low_ends = dict.fromkeys(("batch", "threads", "seed", "settle", "samples"), 0)
        low_ends |= {"steps": 1, "length": 2, "rounds": 1, "log_every": 1, "save_every": 1}
        for name, low in low_ends.items():
            if getattr(self, name) < low:
                raise SettingsError(f"--{name} {getattr(self, name)} is too small.", f"Give at least {low}.")

    @property
    def total(self) -> int:
        """Training steps in all."""
        return self.steps + self.rounds * self.settle

    @property
    def number(self) -> torch.dtype:
        """Of sampling and of products with frozen weights."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def recorded(self) -> dict[str, bool | int | float | str]:
        """What decides the weights, as the record keeps it."""
        left_out = ("out", "threads", "device", "offline", "text", "revision", "save_every")
        named = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        return named | {"text": Path(self.text).name}


def sparsify(options: SparsifyOptions, progress: Progress = lambda done, total, words: None) -> Record:
    """Train, save into `options.out`, measure, and return the record, which is also OUT/sparsify.json.

    Goes on from where an interrupted call with the same options was. Raises UserError subclasses in one line:
    SettingsError (options), DataError (too little text, with the number needed), ModelError (the model),
    RunError (OUT is taken or in use, or training diverged).
    """
    set_threads(options.threads)
    _check_paths(options)
    dense = _load(options)
    length = min(options.length, dense.record.n_ctx)
    work = options.out.with_name(options.out.name + WORK)
    if not options.samples:
        _text(options, dense, length, work, progress)  # too little of it is said before anything is written
    with _owned(work):
        _claim(work, options, dense)
        return _made(options, dense, _text(options, dense, length, work, progress), work, progress)


def _made(options: SparsifyOptions, dense: Model, text: Text, work: Path, progress: Progress) -> Record:
    gate = Gate(options.bias, options.slack)
    trainable = partial(trainee, general=options.general, train=options.train, number=options.number)
    reference = trainable(dense) if options.kl > 0 or options.cut > 0 else None
    source = _start(options, dense, text, work)
    learner = trainable(source)
    schedule = _schedule(options, text)
    phase = TrainingPhase(learner, gate, text, schedule, work / "sparse.safetensors", reference)
    phase.run(progress, "sparse")
    phase.finish()
    gate = phase.tightened()
    folder = work / options.out.name
    checkpoint.save(source.config, learner.tensors(), gate, options.model, folder)
    sparse, _ = checkpoint.load_sparse(str(folder), device=options.device)
    checkpoint.check_reload(sparse, learner.tensors(), gate, folder)
    tuned = _finetuned(options, text, schedule, work, progress) if options.control else None
    if tuned:
        tuned.finish()
    record = record_of(dense, sparse, gate, text, options.recorded, options.seed, progress)
    record = msgspec.structs.replace(
        record,
        steps=options.total,
        finetuned_nats=tuned.on_reporting() if tuned else None,
        elapsed_s=round(phase.seconds + (tuned.seconds if tuned else 0.0), 1),
        chosen=phase.chosen,
        log_dense_nats=phase.dense_nats,
        log=[msgspec.convert(line, LogPoint) for line in phase.lines()],
    )
    checkpoint.write_record(record, folder)
    if options.samples:
        checkpoint.write_heldout(text.reporting, folder)
    _publish(work, folder, options.out)
    return record


def _check_paths(options: SparsifyOptions) -> None:
    """What can be refused before a model is loaded: the text, and a folder that is taken or has no name."""
    check_text(options.text)
    if not options.out.name or "\0" in options.out.name:
        raise SettingsError(f"--out {str(options.out)!r} is no name for a new folder.", "For example --out sparse")
    if there(options.out):
        raise RunError(f"{options.out} exists already.", "Choose another folder with --out DIR.")


def _load(options: SparsifyOptions) -> Model:
    """The dense model in float32; refused where it has a gate already."""
    model = load(options.model, options.device, "float32", options.revision, offline=options.offline)
    if gate_of(model.config, model.record.id) is not None:
        raise ModelError(f"{model.record.id} is sparse already.", "Give the dense model that it was made from.")
    if not model.can_edit_pattern:
        raise ModelError(
            f"A {model.record.family} model can't be made sparse here: its attention scores are hidden.",
            "Use a model of another family, e.g. gpt2.",
        )
    return model


def _start(options: SparsifyOptions, dense: Model, text: Text, work: Path) -> Model:
    """The model whose weights are trained: the dense one again, or one whose gates cut already."""
    if not options.cut:
        return _load(options)
    if not networks.fits_llama(dense.config):
        raise ModelError(f"--cut is not made for {dense.record.family} models.", "Leave it out.")
    folder = work / START
    if not folder.is_dir():
        ids = text.batch(0, FITTED)
        found = fitted_start.cut_start(own_tensors(dense), dense.config, options.cut, ids, options.number)
        checkpoint.save(found.config, found.tensors, None, options.model, folder, torch.float32)
    return load(folder, options.device, "float32")


def _text(options: SparsifyOptions, model: Model, length: int, work: Path, progress: Progress) -> Text:
    if options.corpus:
        return texts.from_mini(model.tokens, min(length, texts.MINI_LENGTH), options.seed)
    if options.samples:
        return _sampled(options, model, length, work, progress)
    return texts.from_file(Path(options.text), model.tokens, length, options.total, options.seed)


def _sampled(options: SparsifyOptions, model: Model, length: int, work: Path, progress: Progress) -> Text:
    """Text that the model writes itself, in documents of two sequences: one begins a document, one does not."""
    each = min(2 * length, model.record.n_ctx)
    count = max(1, options.samples // each)
    held = max(count // 8, 16), max(count // 6, 16)  # documents that steer, and that are reported on
    if count < 2 * sum(held):
        raise SettingsError(
            f"--samples {options.samples} is too little to train and to measure on.", f"Give {64 * each:,} or more."
        )
    made = texts.sampled_documents(model, own_tensors(model), count, each, options.seed, options.number, work, progress)
    facts = texts.sampling_facts(model.tokens, made, options.seed, options.dtype)
    return texts.from_documents(made, held, length, options.seed, facts)


def _schedule(options: SparsifyOptions, text: Text) -> Schedule:
    batch = options.batch or max(1, TOKENS_A_STEP // text.reporting.shape[1])
    every = options.log_every, options.save_every
    lengths = options.settle, options.rounds
    return Schedule(options.steps, options.lr, batch, options.kl, options.seed, *every, *lengths, options.cut > 0)


@contextmanager
def _owned(work: Path) -> Iterator[None]:
    """Hold the work folder for this process alone."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / ".lock", timeout=0):
            yield
        if not any(path for path in work.iterdir() if path.name != ".lock"):
            shutil.rmtree(work)
    except Timeout as error:
        raise RunError(f"Another reportgen is writing {work}.", "Wait for it, or choose another --out.") from error
    except OSError as error:
        raise unwritable(work, error) from error


def _claim(work: Path, options: SparsifyOptions, dense: Model) -> None:
    """Write down what the work folder is for; RunError when it is for something else or OUT is taken."""
    if there(options.out):
        raise RunError(f"{options.out} exists already.", "Choose another folder with --out DIR.")
    read = hashlib.sha256(Path(options.text).read_bytes()).hexdigest() if options.text else ""
    found = json.dumps({**options.recorded, "dense": dense.record.content_hash, "sha256": read}, indent=1)
    path = work / "options.json"
    if path.exists() and path.read_bytes() != found.encode():
        raise RunError(
            f"{work} holds a run with other options.", f"Delete it, or choose another --out than {options.out}."
        )
    write_atomic(path, found.encode())


def _finetuned(
    options: SparsifyOptions, text: Text, schedule: Schedule, work: Path, progress: Progress
) -> TrainingPhase:
    """The control: the dense model trained on for as many steps, without gates."""
    tuned = trainee(_load(options), general=options.general, train=options.train, number=options.number)
    phase = TrainingPhase(tuned, None, text, schedule, work / "dense.safetensors")
    phase.run(progress, "control: dense")
    return phase


def _publish(work: Path, folder: Path, out: Path) -> None:
    """Move the finished model to OUT and drop what training needed."""
    folder.replace(out)
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
